"""The report: what was made, and what was not with its reason, on one page that needs no network, and as Markdown."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from browser import NARROW, chromium, keep_screens
from seen_runs import draw_runs

from bench.clip_score import TextRow
from bench.figures.figure4 import IMAGES, TEXTS, markdown, plot
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
    only = "table1-test-only-magicbrush_near_far_mgie_l1_ssim"
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
        assert re.search(r"magicbrush--third--\w{8} is incomplete: 7 of 7 edits, 7 of 7 scored .*no done.json", said)
    assert "magicbrush--near--" in text.partition("## Settings of the runs")[2]
    assert "torch" in text.partition("## Environment")[2]


def test_the_page_needs_nothing_beside_it_but_what_it_links_to(made):
    text, page = texts(made)
    assert not re.search(r'src="(?!data:)', page) and "<script" not in page
    assert page.count('src="data:image/png;base64,') == text.count("![") == 2
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page
    for name in re.findall(r"\]\(((?!#)[^)]+)\)", text):
        assert (made / "results" / "paper" / name).exists()
    assert "&lt;model&gt;" in page or "&lt;model>" in page  # what a reason holds stays text
    assert r"\input{table1}" in (made / "results" / "paper" / "report.tex").read_text()


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
    assert "holds no results: make table1" in capsys.readouterr().err
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
        page.set_viewport_size(NARROW)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("[...document.images].every((i) => i.naturalWidth > 0 && i.alt.length > 8)")
        if screens is not None and REAL.is_file():
            page.goto(REAL.as_uri())
        keep_screens(page, "report", screens)
