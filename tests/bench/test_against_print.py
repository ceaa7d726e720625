"""MagicBrush's own outputs beside what their paper prints: on drawn files, and on the real ones where they are."""

import csv
from pathlib import Path

import pytest
from drawn import draw_magicbrush
from drawn_hub import draw_magicbrush_outputs
from tiny_networks import tiny_clip, tiny_dino

from bench.against_print import __main__ as against_print
from bench.against_print.__main__ import Line, printed

REAL = Path("data")


def test_the_printed_numbers_are_those_of_the_paper():
    single = {p.metric: p.value for p in printed() if p.turns == "single"}
    assert single == {"l1": "0.0625", "l2": "0.0203", "cvs": "0.9332", "dino": "0.8987", "cts": "0.2781"}
    multi = {p.metric: p.value for p in printed() if p.turns == "multi"}
    assert multi == {"l1": "0.0964", "l2": "0.0353", "cvs": "0.8924", "dino": "0.8273", "cts": "0.2754"}


@pytest.mark.parametrize(
    ("by_turn", "by_folder", "says"),
    [
        (0.06252, 0.0701, "as printed, by turn"),
        (0.0610, 0.06249, "as printed, by folder"),
        (0.0625, 0.0625, "as printed, by turn and by folder"),
        (0.0660, 0.0605, "off by 0.0020 by folder"),
    ],
)
def test_a_line_says_which_order_gives_the_printed_number(by_turn, by_folder, says):
    assert Line("x", "single", "l1", "0.0625", by_turn, by_folder, 1053, 100).nearer() == says


@pytest.fixture
def root(tmp_path):
    draw_magicbrush(tmp_path / "data" / "magicbrush")
    draw_magicbrush_outputs(tmp_path / "data" / "magicbrush-outputs", tmp_path / "data" / "magicbrush", off=51)
    return tmp_path / "data"


def lines(tmp_path) -> dict[tuple[str, str], dict]:
    with open(tmp_path / "r" / "published" / "against-print.csv", newline="") as file:
        return {(row["turns"], row["metric"]): row for row in csv.DictReader(file)}


def argv(root, tmp_path):
    return ["--data-root", str(root), "--out", str(tmp_path / "runs"), "--results", str(tmp_path / "r"),
            "--clip", str(tiny_clip(tmp_path / "clip")), "--dino", str(tiny_dino(tmp_path / "dino"))]  # fmt: skip


@pytest.mark.slow
def test_both_orders_of_both_kinds_of_turns_stand_beside_print(root, tmp_path, capsys, monkeypatch):
    """Listed by turn both orders agree; listed the other way round pairs are others, and so are the numbers."""
    real = against_print.MagicBrushOutputs.__init__.__defaults__[0]
    backwards = lambda place: sorted(real(place), key=lambda name: ("output" in name, name), reverse=True)  # noqa: E731
    monkeypatch.setattr(against_print.MagicBrushOutputs.__init__, "__defaults__", (backwards,))
    monkeypatch.setattr(against_print, "run_all", here)
    assert against_print.main(argv(root, tmp_path)) == 0
    found, said = lines(tmp_path), capsys.readouterr().out
    assert len(found) == 10 and all(row["by_turn"] and row["by_folder"] for row in found.values())
    l1 = found["single", "l1"]
    assert float(l1["by_turn"]) == pytest.approx(0.2, abs=1e-6) and float(l1["by_folder"]) != pytest.approx(
        0.2, abs=1e-3
    )
    assert float(found["multi", "l2"]["by_turn"]) > float(found["single", "l2"]["by_turn"])
    assert (l1["n"], found["multi", "l1"]["n"]) == ("19", "10")
    assert 0 < int(l1["moved"]) <= 15  # only sessions of two and three turns have an order
    assert "0.0625" in said and "by folder" in said and "off by" in said
    text = (tmp_path / "r" / "published" / "against-print.md").read_text()
    assert "| epoch-168 | single | L1" in text and "2025-02-19" in text


def here(wanted, labels):
    """In this process, where the disk's order is the test's."""
    from bench import run
    from bench.grid.cells import Result, argv_of

    found = []
    for cell, options in wanted:
        assert run.main(argv_of(cell, options)) == 0
        asked = run.plan(argv_of(cell, options))
        found.append(Result(cell, asked.folder.path))
    return found


@pytest.mark.slow
def test_a_network_that_is_not_at_hand_costs_its_own_lines_alone(root, tmp_path, capsys):
    given = argv(root, tmp_path)
    given[given.index("--dino") + 1] = str(tmp_path / "none")
    assert against_print.main(given) == 1
    found = lines(tmp_path)
    assert found["single", "l1"]["by_turn"] and not found["single", "dino"]["by_turn"]
    assert "none" in found["single", "dino"]["reason"]
    assert "not run: " in capsys.readouterr().out


def test_outputs_that_are_not_there_are_wrong_use(root, tmp_path, capsys):
    assert against_print.main([*argv(root, tmp_path), "--outputs", "epoch-52"]) == 2
    assert "epoch-168" in capsys.readouterr().err
    assert against_print.main(["--data-root", str(tmp_path / "nothing")]) == 2
    assert "bench.fetch magicbrush-outputs" in capsys.readouterr().err


@pytest.mark.weights
@pytest.mark.skipif(not (REAL / "magicbrush-outputs").is_dir(), reason="MagicBrush's outputs are not at hand")
def test_the_real_outputs_give_what_the_paper_prints(tmp_path):
    """In one of the two orders, within what half a unit of the third digit is; the disk of that time is not known."""
    assert against_print.main(["--data-root", str(REAL), "--results", str(tmp_path / "r")]) == 0
    for (turns, metric), row in lines(tmp_path).items():
        off = min(abs(float(row[order]) - float(row["printed"])) for order in ("by_turn", "by_folder"))
        assert off <= 0.0005, (turns, metric, row)
