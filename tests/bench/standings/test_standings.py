"""The standings: every published row by protocol, the input copy above nearly all, contradictions side by side."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import standings_checks as checks
from standings_checks import draw_run, found

from bench.metrics.sets import expanded
from bench.run import parser as bench_run_parser
from bench.standings.__main__ import main
from bench.standings.blocks import Cell, contradict, copy_of_input, differing
from bench.standings.placement import SCORED
from bench.standings.published import COPY, families, read
from bench.standings.section import section
from bench.standings.show import markdown, terminal

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "check",
    [checks.check_systems, checks.check_order, checks.check_captions, checks.check_blocks, checks.check_all_there],
)
def test_what_must_hold(check):
    check()


def test_the_table_of_a_fresh_clone_needs_no_torch_and_under_three_seconds(tmp_path):
    code = (
        "import sys, time\n"
        "from bench.standings.section import collected\n"
        "from bench.standings.show import terminal\n"
        "print(terminal(collected()))\n"
        "assert time.process_time() < 3, time.process_time()\n"
        "assert not {'torch', 'matplotlib', 'pandas'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "Standings: MagicBrush, single turn\nOf 43 published rows none is better in L1 than a"
    )
    assert "The miniature's are never placed: suite" in done.stdout


@pytest.mark.parametrize("dataset", families(read()))
@pytest.mark.parametrize("turns", ["single", "multi"])
def test_a_terminal_of_80_columns_is_wide_enough(dataset, turns, tmp_path):
    out = draw_run(tmp_path, data={"turns": turns}).parents[1] if dataset == "magicbrush" else tmp_path
    assert max(map(len, terminal(found(dataset=dataset, turns=turns, out=out)).splitlines())) <= 80


def test_own_runs_stand_among_the_rows_with_their_intervals_and_the_miniatures_do_not(tmp_path):
    placed, mini = draw_run(tmp_path), draw_run(tmp_path, suite="mini")
    text = terminal(found(out=tmp_path))
    lines = text.splitlines()
    (place,) = (i for i, line in enumerate(lines) if line.startswith("> mine"))
    *numbers, source = lines[place].split()[2:]
    assert numbers == ["?", "0.0700", "0.0200", "0.9100", "0.8800", "0.2700"]
    assert f"{source} the run folder {placed.name}" in text
    assert lines[place + 1].split()[0].startswith("±0.000") and len(lines[place + 1].split()) == 5
    assert lines[place - 1].startswith("  UIP2P, CC3M") and lines[place + 2].startswith("  InstructPix2Pix")
    assert "Own runs in this table: 1." in text and f"Not placed: {mini.name}: suite mini" in text
    assert placed.name not in text.partition("Not placed")[2].partition("Sources:")[0]


def test_of_two_attempts_the_newest_is_a_row_and_a_rewriter_is_named(tmp_path):
    older, newer = draw_run(tmp_path), draw_run(tmp_path)
    os.utime(older / "done.json", (1, 1))
    other = draw_run(tmp_path, edit={"guidance_scale": 3.0})
    written = draw_run(tmp_path, "inspix2pix", rewriter="mgie")
    s = found(out=tmp_path)
    assert {e.source for e in s.first.entries if e.own} == {newer.name, other.name, written.name}
    assert {e.system for e in s.first.entries if e.own} == {"mine", "InsPix2Pix by mgie"}
    assert f"Not placed: {older.name}: {newer.name} is a newer run" in " ".join(terminal(s).split())
    theirs = draw_run(tmp_path / "elsewhere")
    s = found(out=tmp_path, given=[theirs])  # which takes nobody's place
    sources = [e.source for e in s.first.entries if e.own]
    assert sorted(sources) == sorted([newer.name, other.name, written.name, theirs.name])
    named = found(out=tmp_path, given=[older])  # whoever names it wants it
    assert {e.source for e in named.first.entries if e.own} == {older.name, newer.name, other.name, written.name}


def test_the_bounds_and_the_training_data_are_marked(tmp_path):
    draw_run(tmp_path, "identity")
    draw_run(tmp_path, "mgie", form="e2e")
    s = found(out=tmp_path)
    own = {e.system: e for e in s.first.entries if e.own}
    assert own["Input copy"].bound and own["Input copy"].marks == ""
    assert own["MGIE e2e"].marks == "T" and "released weights" in own["MGIE e2e"].notes[1]
    trained = {e.checkpoint: e.marks for e in s.first.entries if "Table 2" in e.source and "2306" in e.source}
    assert trained["MagicBrush-epoch-000168"] == "T"
    assert {e.marks for e in s.first.entries if e.system == "Text2LIVE"} == {"d"}


def test_the_copy_that_no_source_prints_is_an_own_run_and_the_command_that_is_named_makes_it(tmp_path):
    """Multi-turn: suite paper's own size would keep it out, and so would other metrics than the script's."""
    said = " ".join(terminal(found(turns="multi")).split())
    (words,) = re.findall(r"python -m bench\.run (.*?) makes that row", said)
    args = bench_run_parser().parse_args(words.split())
    assert (args.suite, args.model, args.turns, args.size) == ("paper", "identity", "multi", "native")
    assert set(expanded(args.metrics.split(","), args.dataset)) == set(SCORED.split(","))
    folder = draw_run(tmp_path, "identity", data={"turns": args.turns}, edit={"size": args.size})
    s = found(turns="multi", out=tmp_path)
    assert [e.source for e in s.first.entries if e.system == COPY] == [folder.name]
    assert copy_of_input(s.first)["l1"].n == 535 and "better in L1 than a copy of the input (0.0" in terminal(s)
    assert "makes that row" not in terminal(s)
    draw_run(tmp_path, "identity")
    assert copy_of_input(found(out=tmp_path).first)["l1"].text == "0.036"  # as published, where it is


def test_numbers_of_one_system_that_rounding_explains_do_not_contradict():
    """0.11225 may be printed as 0.1122 and as 0.1123."""

    def text(value):
        return Cell(float(value), value)

    assert not contradict(text("0.112"), text("0.1122")) and not contradict(text("0.1124"), text("0.112"))
    assert not contradict(text("0.1122"), text("0.1123"))
    assert contradict(text("0.112"), text("0.1126")) and contradict(text("0.1122"), text("0.1124"))


def test_contradicting_sources_stand_side_by_side():
    s = found()
    by = {(d.system, d.trained, d.metric): [c.text for c, _ in d.values] for d in s.differing}
    assert by["InstructPix2Pix", "no", "l1"] == ["0.112", "0.1122", "0.114", "0.114", "0.1141", "0.1141", "0.115"]
    assert by["HIVE", "no", "l2"] == ["0.0341", "0.0380"] and by["OmniGen", "unknown", "l1"] == ["0.092", "0.116"]
    assert not any(system == "UIP2P" for system, _, _ in by)  # three checkpoints of one source
    assert differing([e for e in s.first.entries if e.bound]) == []


def test_the_command_writes_csv_markdown_and_a_plot_and_never_into_the_reference(tmp_path, capsys):
    draw_run(tmp_path / "runs")
    argv = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    assert main(argv) == 0
    said, folder = capsys.readouterr().out, tmp_path / "results" / "paper"
    names = [f"standings-magicbrush-single{ending}" for ending in (".csv", ".md", ".png")]
    assert sorted(p.name for p in folder.iterdir()) == names and all(f"{folder / n}" in said for n in names)
    with open(folder / names[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    own = {r["metric"]: r for r in rows if r["own"] == "yes"}
    assert float(own["l1"]["low"]) < float(own["l1"]["value"]) < float(own["l1"]["high"]) and own["l1"]["n"] == "1053"
    assert own["l1"]["protocol_of_scores"].startswith("l1: output resized to goal")
    text = (folder / names[1]).read_text(encoding="utf-8")
    assert "**mine** (own run)" in text and "*Input copy*" in text and "Apart from the others: " in text
    with pytest.raises(SystemExit):
        main(["--results", str(ROOT / "results" / "reference")])


def test_two_writings_are_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        assert main(["--out", str(tmp_path), "--results", str(tmp_path / folder), "--turns", "multi"]) == 0
    a, b = (sorted((tmp_path / f / "paper").iterdir()) for f in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_a_run_that_lies_elsewhere_is_named_and_wrong_use_is_said(tmp_path, capsys):
    folder = draw_run(tmp_path / "elsewhere")
    assert [e.system for e in found(given=[folder]).first.entries if e.own] == ["mine"]
    assert [e.system for e in found(given=[folder], out=tmp_path / "elsewhere").first.entries if e.own] == ["mine"]
    for argv, said in (
        (["--with", str(tmp_path)], "no run folder, for it has no run.json"),
        (["--dataset", "magic"], "--dataset magic: no published row; there are rows of magicbrush, emu-edit"),
        (["--dataset", "emu-edit", "--with", str(folder)], "own runs are placed for --dataset magicbrush alone"),
    ):
        assert main([*argv, "--out", str(tmp_path / "none"), "--results", str(tmp_path)]) == 2
        assert said in capsys.readouterr().err


def test_a_report_gets_a_section_of_its_own(tmp_path):
    draw_run(tmp_path / "runs")
    lines = section(tmp_path / "runs", tmp_path / "report")
    assert lines[0] == "### Standings: MagicBrush, single turn" and any("**mine** (own run)" in line for line in lines)
    for line in lines:
        if line.startswith("!["):
            assert (tmp_path / "report" / line.rpartition("(")[2].rstrip(")")).is_file()
    assert not any(line.startswith(("# ", "## ")) for line in lines)
    assert section(tmp_path / "nowhere")[2].startswith("- Of 43 published rows none is better")


def test_other_datasets_have_blocks_and_no_own_runs():
    text = markdown(found(dataset="emu-edit"))
    assert text.startswith("# Standings: emu-edit\n") and "the input, so that a copy of the input is perfect" in text
    assert "Own runs are placed for --dataset magicbrush alone" in text
