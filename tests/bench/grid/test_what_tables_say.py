"""What a table claims: two families of tests, who is marked as best, the last lines in words, the terminal's form."""

from dataclasses import replace

import pytest
from table_cells import METRICS_OF, asked, finished, measured, scores_of

from bench.grid.between import best, better, column_name, in_words, smallest
from bench.grid.cells import Cell, cells_of
from bench.grid.paper import MARK
from bench.grid.rows import COPY, MODELS, Measured, comparisons, rows_of
from bench.grid.show import grid, markdown
from bench.grid.terminal import show
from bench.stats import holm
from bench.tables import table_rows


def test_models_are_compared_in_pairs_with_a_holm_for_models_and_one_for_the_input_copy():
    found = comparisons(1, measured(), METRICS_OF)
    assert len(found) == 13 * 6
    families = {family: [t for t in found if t.family == family] for family in (MODELS, COPY)}
    assert {name: len(tests) for name, tests in families.items()} == {MODELS: 39, COPY: 39}
    assert all(("identity" in (t.a, t.b)) == (t.family == COPY) for t in found)
    for tests in families.values():
        assert [t.p_holm for t in tests] == holm([t.p for t in tests])
    one = next(t for t in found if (t.dataset, t.metric, t.a, t.b) == ("evr", "l1", "mgie", "lgie"))
    assert one.difference == pytest.approx(0.05) and one.p == 2 / 256 and one.p_holm == pytest.approx(39 * 2 / 256)


def test_the_last_lines_say_in_words_what_holds():
    cells = [m for m in measured("mini", n=32) if m.cell.dataset == "ma5k"]
    found = comparisons(1, cells, {"ma5k": ("lpips",)})
    assert in_words(found) == [
        "Between models, 3 tests: 3 hold: LGIE below MGIE in LPIPS on mini-MA5k; InsPix2Pix below MGIE in LPIPS on "
        "mini-MA5k; InsPix2Pix below LGIE in LPIPS on mini-MA5k.",
        "Against the input copy, 3 tests: 3 hold: the model is better in 0 and worse in 3.",
    ]
    few = comparisons(1, [m for m in measured("mini", n=4) if m.cell.dataset == "ma5k"], {"ma5k": ("lpips",)})
    assert in_words(few)[0] == "Between models, 3 tests: none holds after Holm (p < 0.05)."


def test_the_smallest_difference_that_the_groups_could_show_stands_under_the_table_and_in_the_csv(tmp_path):
    cells = [m for m in measured("mini", n=32) if m.cell.dataset == "ma5k"]
    found = comparisons(1, cells, {"ma5k": ("l1", "ssim")})
    assert all(t.smallest is not None and t.smallest >= 0 for t in found)
    ((name, said),) = smallest(found)
    assert name == "mini-MA5k" and [text.split()[0] for text in said] == ["L1", "SSIM"]
    few = comparisons(1, [m for m in measured("mini", n=4) if m.cell.dataset == "ma5k"], {"ma5k": ("l1",)})
    assert smallest(few) == [("mini-MA5k", ["L1 none (under 6 groups: 4)"])]


def test_table_3_compares_forms_of_a_model_and_models_in_a_form():
    cells = [
        Measured(c, finished("ma5k", {"l1": 0.1}))
        for c in cells_of(3, "mini", ("identity", "lgie", "mgie", "oracle"), ("ma5k",))
    ]
    pairs = {(t.a, t.b) for t in comparisons(3, cells, {"ma5k": ("l1",)})}
    assert ("mgie e2e", "mgie fz") in pairs and ("mgie ft", "lgie ft") in pairs and ("lgie fz", "identity") in pairs
    assert ("mgie e2e", "lgie fz") not in pairs and not any("oracle" in pair for pair in pairs)


def test_the_better_model_follows_the_direction_of_the_metric():
    many = [
        Measured(Cell("mini", "ma5k", model, form="e2e"), finished("ma5k", {"l1": v, "ssim": v}, n=40))
        for model, v in (("mgie", 0.2), ("lgie", 0.3))
    ]
    l1, ssim = comparisons(1, many, {"ma5k": ("l1", "ssim")})
    assert better(l1) == "mgie" and better(ssim) == "lgie"


def bold(centres: dict[str, float], n: int = 32) -> set[str]:
    """Which models of one column are marked, in L1, where lower is better."""
    cells = [m for m in measured("mini", centres=centres, n=n) if m.cell.dataset == "ma5k"]
    g = grid([r for m in cells for r in rows_of(1, m, ["l1"], 1, "runs")], comparisons(1, cells, {"ma5k": ("l1",)}))
    return {model for (model, *_), cell in g.cells.items() if cell.best}


def test_bold_alone_is_who_beats_every_other_model_after_holm():
    assert bold({"inspix2pix": 0.2}) == {"inspix2pix"}


def test_the_whole_group_that_no_test_tells_from_the_best_is_bold_and_nothing_is_bold_alone_without_a_test():
    assert bold({"inspix2pix": 0.60, "lgie": 0.60, "mgie": 0.9}) == {"inspix2pix", "lgie"}
    assert bold({"inspix2pix": 0.2}, n=4) == {"inspix2pix", "lgie", "mgie"}  # 4 groups can show nothing


def test_who_is_beaten_is_not_bold_though_table_3_does_not_test_it_against_the_best_mean():
    means = {"mgie e2e": 0.1, "lgie ft": 0.2, "mgie ft": 0.2, "lgie e2e": 0.2, "lgie fz": 0.4, "mgie fz": 0.4}
    cells = [
        Measured(c, finished("ma5k", {"l1": means[f"{c.model} {c.form}"]}, n=32))
        for c in cells_of(3, "mini", ("lgie", "mgie"), ("ma5k",))
    ]
    rows = [r for m in cells for r in rows_of(3, m, ["l1"], 1, "runs")]
    assert best(rows, comparisons(3, cells, {"ma5k": ("l1",)})) == {
        ("mgie", "e2e", "ma5k", "l1"), ("lgie", "ft", "ma5k", "l1"),
    }  # fmt: skip


def test_the_input_copy_is_never_bold_and_markdown_shows_what_is():
    assert "identity" not in bold({"identity": 0.1})
    rows = [r for m in measured(centres={"inspix2pix": 0.2}, n=32) for r in rows_of(1, m, ["l1"], 1, "runs")]
    text = markdown(grid(rows, comparisons(1, measured(centres={"inspix2pix": 0.2}, n=32), METRICS_OF)), [], "")
    assert "**0.2" in text and "**0.5" not in text and "Bold: beats every other model" in text


def test_the_terminal_has_one_line_a_model_and_dataset_at_80_columns_and_marks_the_best_for_a_log(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    cells = measured("mini", centres={"inspix2pix": 0.2}, n=40)
    g = grid([r for m in cells for r in rows_of(1, m, METRICS_OF[m.cell.dataset], 1, "runs")],
             comparisons(1, cells, METRICS_OF))  # fmt: skip
    show(g, [], "quick", [], verbose=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and len(lines) < 60
    assert "mini-EVR, 40 examples in 40 groups, 1 seed" in lines
    here = lines[lines.index("mini-EVR, 40 examples in 40 groups, 1 seed") + 1 :][:6]
    assert (
        sum("*" in line for line in here) == 2 and "0.201 ±0.002*" in here[2] and "*" in here[2]
    )  # L1 one, the others mgie
    assert not any("paper" in line for line in lines)
    show(g, ["a note"], "quick", [], verbose=True)
    verbose = capsys.readouterr().out
    assert "[0." in verbose and "Note: a note" in verbose and "What the paper reports on the real data" in verbose


@pytest.mark.parametrize("verbose", [False, True])
def test_metrics_that_do_not_fit_80_columns_follow_below_behind_the_same_names(verbose, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    metrics = ("clip_direction@emu", "image_similarity", "cts", "l1@input", "dino@input", "l1@outside", "ssim@outside")
    cells = [Measured(Cell("mini", "magicbrush", m), finished("magicbrush", dict.fromkeys(metrics, 0.5), n=40))
             for m in ("identity", "inspix2pix", "lgie", "mgie")]  # fmt: skip
    g = grid([r for m in cells for r in rows_of(1, m, metrics, 1, "runs")])
    show(g, [], "quick", [], verbose)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert max(map(len, lines)) <= 80
    heads = [line for line in lines if not line[2:12].strip()]
    assert len(heads) > 1 and sorted(" ".join(heads).split()) == sorted(" ".join(map(column_name, metrics)).split())
    assert sum(line.startswith("  InsPix2Pix") for line in lines) == len(heads)


def test_too_few_groups_have_the_range_of_their_means_in_place_of_an_interval():
    cells = [m for m in measured("mini", n=6) if m.cell.dataset == "ma5k"]
    rows = [r for m in cells for r in rows_of(1, m, ["l1"], 1, "runs")]
    text = markdown(grid(rows, comparisons(1, cells, {"ma5k": ("l1",)})), [], "")
    row = rows[0]
    assert row.low is None and row.group_least < row.mean < row.group_most and "no interval: 6 groups" in row.reason
    assert f"groups {row.group_least:.3f} to {row.group_most:.3f}" in text and "Too few groups for an interval" in text


def test_from_8_to_29_groups_a_note_names_the_method():
    cells = [m for m in measured("mini", n=16) if m.cell.dataset == "ma5k"]
    rows = [r for m in cells for r in rows_of(1, m, ["l1"], 1, "runs")]
    assert rows[0].method.startswith("bootstrap-t")
    assert "Few groups (mini-MA5k 16): bootstrap-t in place of BCa" in markdown(grid(rows), [], "")


def test_the_papers_values_stand_apart_in_suite_mini_and_in_the_cells_elsewhere(tmp_path):
    mini, published = (
        markdown(grid(table_rows(asked(tmp_path), measured(suite))), [], "") for suite in ("mini", "published")
    )
    assert "paper 0.163" not in mini and "What the paper reports on the real data" in mini
    assert f"| EVR L1 ↓ | 0.189{MARK} | 0.159{MARK} | 0.163{MARK} |" in mini
    assert f"paper 0.163{MARK}" in published and "What the paper reports" not in published


def test_a_metrics_networks_are_said_to_be_as_released_or_not():
    known, other = (
        [replace(s, protocol=f"open_clip ViT-B-32 sha256:{digits} fp32") for s in scores_of("ma5k", "cvs", 0.8)]
        for digits in ("40d36571", "01234567")
    )
    cells = [m for m in measured(n=8) if m.cell.dataset == "ma5k"][:2]
    given = [
        Measured(m.cell, finished("ma5k", {"cvs": 0.8}, scores=s)) for m, s in zip(cells, (known, other), strict=True)
    ]
    rows = [r for m in given for r in rows_of(1, m, ["cvs"], 1, "runs")]
    text = markdown(grid(rows), [], "")
    assert "sha256:40d36571 fp32; 40d36571: as released (OpenAI's CLIP, ViT-B-32.pt)" in text
    assert "sha256:01234567 fp32; 01234567: no released digest of it is known" in text
