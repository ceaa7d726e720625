"""The report: what was made, and what was not with its reason, on one page that needs no network, and as Markdown."""

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from browser import NARROW, chromium, keep_screens
from seen_runs import draw_runs

from bench.clip_score import TextRow
from bench.figures.figure4 import IMAGES, TEXTS, markdown, plot
from bench.grid.rows import COPY, MODELS, Comparison, TableRow
from bench.grid.show import grid
from bench.pages.answer import comparisons_of, table, verdict
from bench.pages.render import html, slug
from bench.report import Scope, deviations, main, rows_of
from bench.tables import main as tables
from mgie.io.files import write_csv

REAL = Path(__file__).parents[2] / "results" / "mini" / "report.html"


def bar(dataset: str, image: str, text: str) -> TextRow:
    paper = (22.1, "yes", 3.0, "outside the interval") if dataset == "all" else (None, "", None, "")
    numbers = (25.1, 24.0, 26.0, 7, 7, 4, 1, *paper)
    return TextRow(4, "paper", "zero-shot", dataset, image, text, *numbers, "", "clip_s: a CLIP", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Table 1 of two models on a drawn MagicBrush, a Figure 4, and a third run that is not finished."""
    root = tmp_path_factory.mktemp("report")
    draw_runs(root)
    argv = ["1", "--suite", "paper", "--data-root", str(root / "data"), "--out", str(root / "runs"), "--seeds", "1"]
    argv += ["--models", "near,far,mgie", "--datasets", "magicbrush", "--weights", str(root), "--metrics", "l1,ssim"]
    assert tables([*argv, "--split", "test", "--results", str(root / "results")]) == 0
    folder = root / "results" / "paper"
    only = "table1-test-seeds1-only-magicbrush_near_far_mgie_l1_ssim"
    for path in folder.glob(f"{only}*"):  # as without --split and as the whole table
        path.rename(path.with_name(path.name.replace(only, "table1", 1)))
    bars = [bar(d, image, text) for d in ("magicbrush", "all") for image in IMAGES for text in TEXTS]
    write_csv(folder / "figure4.csv", TextRow, bars)
    (folder / "figure4.md").write_text(markdown(bars, [], ["suite paper", "a line with <model>[-form]"]), "utf-8")
    plot(bars, folder / "figure4", "")
    draw_runs(root / "more", ("third",))
    (third,) = (root / "more" / "runs" / "paper").glob("magicbrush--third--*")
    third.rename(root / "runs" / "paper" / third.name)
    (root / "runs" / "paper" / third.name / "done.json").unlink()
    assert main(["--suite", "paper", "--results", str(root / "results"), "--out", str(root / "runs")]) == 0
    return root


def texts(made: Path) -> tuple[str, str]:
    folder = made / "results" / "paper"
    return (folder / "report.md").read_text("utf-8"), (folder / "report.html").read_text("utf-8")


def test_what_was_made_is_there_and_what_was_not_says_so(made):
    text, page = texts(made)
    for said in (text, page):
        assert "clip_s: a CLIP" in said and "no weights for mgie-e2e" in said
        assert "make table4" in said and "make tradeoff" in said and "nobody has voted" in said
        assert "MagicBrush is not zero-shot" in said  # a deviation of suite paper
        assert "built-in miniatures" not in said
        assert re.search(
            r"magicbrush--third--zero-shot--\w{8} is incomplete: 7 of 7 edits, 7 of 7 scored .*no done.json", said
        )
    assert "magicbrush--near--" in text.partition("<summary>Settings of the runs")[2]
    assert "torch" in text.partition("<summary>Environment")[2]


def test_other_settings_and_selections_are_listed_under_their_own_names_and_other_splits_are_not(tmp_path):
    (tmp_path / "mini").mkdir()
    for name in ("table1-square48-bf16-local-only-ma5k", "figure3-only-mgie", "table1-test", "rewrite-only-llava"):
        (tmp_path / "mini" / f"{name}.md").write_text(f"# {name}\n\nits head\n")
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "runs")]) == 0
    text = (tmp_path / "mini" / "report.md").read_text()
    others = text.partition("## Other settings, and selections")[2].partition("## Only on the miniature")[0]
    assert "<summary>Table 1: zero-shot editing (square48-bf16-local-only-ma5k)</summary>" in others
    assert "trade-off by image_guidance_scale (only-mgie)" in others and others.count("its head") == 3
    assert "Expressive instructions for other editors (only-llava)" in others
    assert "(test)" not in text and "table1-test" not in text
    assert "Table 1 has no number here" in text


def test_the_page_needs_nothing_beside_it_but_what_it_links_to(made):
    text, page = texts(made)
    assert not re.search(r'src="(?!data:)', page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == text.count("![") == 4  # the standings' too
    anchors = re.findall(r' id="([^"]+)"', page)
    assert len(anchors) == len(set(anchors)) and "table-1-zero-shot-editing" in anchors
    assert page.count("<caption") == page.count("<table>") > 3
    assert not re.search(r"<th(?=[ >])(?![^>]*scope=)", page)
    for name in re.findall(r"\]\(((?!#)[^)]+)\)", text):
        assert (made / "results" / "paper" / name).exists()
    assert "&lt;model&gt;" in page or "&lt;model>" in page  # what a reason holds stays text
    assert r"\input{table1}" in (made / "results" / "paper" / "report.tex").read_text()


def test_the_first_screen_says_what_was_run_what_came_out_and_what_the_tests_hold(made):
    first = texts(made)[0].partition("## Tables")[0]
    assert re.search(r"Run \d{4}-\d\d-\d\d on \w.*, commit \w+.*: MagicBrush 7 examples in 4 groups, 1 seed", first)
    assert "| Model | MagicBrush<br>L1 ↓ |" in first and "| near |" in first and "not run" in first  # MGIE
    assert "Between models, " in first and "report.png" in first and "Protocol" not in first
    assert first.count("\n") < 30


def test_a_model_is_starred_where_it_alone_is_marked_and_level_pairs_are_named():
    def row(model: str, mean: float) -> TableRow:
        numbers = (mean, mean - 0.01, mean + 0.01, 40, 40, 40, 1, None, "", None, "not comparable", "", "", "")
        return TableRow(1, "mini", "zero-shot", "e2e", "evr", model, "l1", *numbers)

    def test(a: str, b: str, difference: float, p: float) -> Comparison:
        return Comparison(1, "mini", "zero-shot", "evr", "l1", a, b, MODELS, difference, None, None, p, p, 40, 40, None,
                          "", "")  # fmt: skip

    rows = [row("inspix2pix", 0.06), row("lgie", 0.07), row("mgie", 0.05)]
    wins = [test("mgie", "lgie", -0.02, 0.01), test("mgie", "inspix2pix", -0.01, 0.02)]
    level = [test("lgie", "inspix2pix", 0.01, 0.4)]
    lines = table(grid(rows, wins + level), [("evr", "l1")])
    assert (
        "**0.050** ±\u00a00.010 ★" in lines[-1] and "★" not in "".join(lines[:-1]) and "**" not in "".join(lines[:-1])
    )
    said = verdict(wins + level)
    assert "MGIE below LGIE in L1 on mini-EVR" in said[0]
    assert said[1] == "No difference shown between LGIE and InsPix2Pix (1 test)."
    tied = table(grid(rows, [wins[0], test("mgie", "inspix2pix", -0.01, 0.2)]), [("evr", "l1")])
    assert "**0.060**" in tied[2] and "**0.050**" in tied[4] and "★" not in "".join(tied)


def test_numbers_outside_the_interval_are_put_into_words(made):
    asked = Scope("paper", "", made / "results", made / "runs")
    lines = "\n".join(deviations(asked, rows_of(asked)))
    assert "Of 6 numbers that the paper prints too, 0 agree." in lines
    assert "Figure 4, mgie on all, CLIP-S, goal image: ours 25.1 [24, 26], the paper 22.1: higher by 3" in lines
    assert "numbers that the paper prints" not in "\n".join(deviations(replace(asked, suite="mini"), {}))


def test_human_evaluation_is_shown_from_its_own_files(made, capsys):
    folder = made / "results" / "paper" / "human"
    folder.mkdir()
    (folder / "figure6.csv").write_text("question,model,mean,low,high,n\noverall quality,mgie,2.31,2.1,2.5,300\n")
    argv = ["--suite", "paper", "--results", str(made / "results"), "--out", str(made / "no runs")]
    assert main(argv) == 0
    text, page = texts(made)
    assert "| overall quality | mgie | 2.31 | 2.1 | 2.5 | 300 |" in text and "2.31" in page
    assert "that are not here: 2 of 2" in text and "what they ran on is not known" in text
    (folder / "figure6.csv").unlink()
    folder.rmdir()


def test_wrong_use_is_one_line(tmp_path, capsys):
    assert main(["--results", str(tmp_path)]) == 2
    assert "holds no results of split quick: make table1" in capsys.readouterr().err
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini" / "table1.csv").write_text("table,mean,reason\n1,,not run\n")  # rows without a number
    assert main(["--results", str(tmp_path)]) == 2
    assert "make table1 SUITE=mini writes the first" in capsys.readouterr().err
    assert list((tmp_path / "mini").iterdir()) == [tmp_path / "mini" / "table1.csv"]
    assert main(["--split", "nosuch"]) == 2


def test_headings_are_anchored_as_github_does(tmp_path):
    assert slug("Figures 7 and 8: edits, side by side") == "figures-7-and-8-edits-side-by-side"
    assert '<h2 id="a-b">' in html("## A B\n", "t", tmp_path)


@pytest.mark.browser
def test_the_report_reads_on_a_phone_and_in_the_dark(made, screens):
    """With --screens: of the miniature's own report where it was made."""
    with chromium() as context:
        page = context.new_page()
        page.goto((made / "results" / "paper" / "report.html").as_uri())
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            ink, paper = (page.evaluate(f"getComputedStyle(document.body).{c}") for c in ("color", "backgroundColor"))
            light = [sum(map(int, re.findall(r"\d+", colour))) for colour in (ink, paper)]
            assert abs(light[0] - light[1]) > 380 and (light[0] < light[1]) == (scheme == "light")
        plot = page.locator("img").first.bounding_box()
        assert plot["y"] + plot["height"] <= page.viewport_size["height"]  # all of the answer on one screen
        assert page.locator("details[open]").count() == 0
        page.goto((made / "results" / "paper" / "report.html").as_uri() + "#table-1-zero-shot-editing")
        page.get_by_text("MagicBrush is not zero-shot").wait_for(state="hidden")
        page.locator("details[open] table").first.wait_for()  # a link to what is folded opens it
        wide = "[...document.querySelectorAll('details[open] .scroll')].every((s) => s.scrollWidth <= s.clientWidth)"
        assert page.evaluate(wide)
        page.set_viewport_size(NARROW)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 0 && i.alt.length > 8)")
        if screens is not None and REAL.is_file():
            page.goto(REAL.as_uri())
        keep_screens(page, "report", screens)


def test_rows_read_back_as_they_were_written_and_older_tests_know_their_family(tmp_path):
    tests = [Comparison(1, "mini", "zero-shot", "evr", "l1", "mgie", b, family, -0.1, None, 0.2, 0.01, 0.02, 8, 4, None,
                        "flips", "") for b, family in (("lgie", MODELS), ("identity", COPY))]  # fmt: skip
    write_csv(tmp_path / "tests.csv", Comparison, tests)
    assert comparisons_of(tmp_path / "tests.csv") == tests and comparisons_of(tmp_path / "none.csv") == []
    with open(tmp_path / "tests.csv", newline="") as file:
        old = [{k: v for k, v in row.items() if k not in ("family", "smallest")} for row in csv.DictReader(file)]
    with open(tmp_path / "old.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(old[0]))
        table.writeheader()
        table.writerows(old)
    assert comparisons_of(tmp_path / "old.csv") == tests
