"""bench/README.md's recipes for a dataset, a metric and a model of one's own, carried out as they stand in a copy."""

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.grid.cells import Cell, Options, plan_cell
from bench.grid.rows import Measured, rows_of
from bench.grid.show import grid, markdown, protocols
from bench.registry import DATASETS, METRICS, DatasetEntry, MetricEntry

ROOT = Path(__file__).parents[2]
README = ROOT / "bench" / "README.md"
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
HEAVY = ("weights", "assets")  # of the miniature: read, never written


class Recipe(NamedTuple):
    files: dict[str, str]  # path -> text
    lines: dict[str, str]  # table of the registry -> the line to add
    commands: list[str]


def recipe(title: str) -> Recipe:
    """The code blocks below "### <title>": a first line of a Python block says where it belongs."""
    text = README.read_text("utf-8").split(f"\n### {title}\n")[1].split("\n### ")[0]
    found = Recipe({}, {}, [])
    for language, body in BLOCK.findall(text):
        first, _, rest = body.partition("\n")
        if language == "bash":
            found.commands.extend(body.splitlines())
        elif added := re.fullmatch(r"# bench/registry\.py, in (\w+)", first):
            found.lines[added[1]] = rest
        else:
            found.files[first.removeprefix("# ")] = rest
    return found


class Copy:
    """A checkout of its own, the heavy files linked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        ignore = shutil.ignore_patterns("__pycache__")
        for house in ("bench", "baselines"):
            shutil.copytree(ROOT / house, root / house, ignore=ignore)
        mini = ROOT / "mgie" / "mini"
        shutil.copytree(
            ROOT / "mgie", root / "mgie",
            ignore=lambda folder, names: {"__pycache__", *(HEAVY if Path(folder) == mini else ())} & set(names),
        )  # fmt: skip
        for name in HEAVY:
            (root / "mgie" / "mini" / name).symlink_to(mini / name)
        (root / "results").mkdir()
        (root / "results" / "paper").mkdir()
        shutil.copy(ROOT / "results" / "paper" / "reported.csv", root / "results" / "paper")

    def run(self, line: str) -> subprocess.CompletedProcess:
        """One line of the README."""
        program, *words = line.split()
        assert program == "python", line
        environment = os.environ | {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}
        return subprocess.run(
            [sys.executable, *words], cwd=self.root, env=environment, capture_output=True, text=True, timeout=300
        )

    def carry_out(self, wanted: Recipe) -> list[str]:
        """Files, the registry's line, commands; what they printed."""
        for name, text in wanted.files.items():
            assert not (self.root / name).exists(), f"{name} is there already"
            (self.root / name).write_text(text, encoding="utf-8")
        registry = self.root / "bench" / "registry.py"
        for table, line in wanted.lines.items():
            assert len(line.splitlines()) == 1, "a recipe adds one line"
            text = registry.read_text("utf-8")
            assert text.count(f"\n{table} = {{\n") == 1
            registry.write_text(text.replace(f"\n{table} = {{\n", f"\n{table} = {{\n{line}"), encoding="utf-8")
        said = []
        for line in wanted.commands:
            done = self.run(line)
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said.append(done.stdout)
        return said

    def rows(self) -> dict[tuple[str, str], dict[str, str]]:
        """Of the last Table 1 in suite paper, by model and metric."""
        with open(self.table(".csv"), encoding="utf-8", newline="") as file:
            return {(r["model"], r["metric"]): r for r in csv.DictReader(file) if r["metric"] != "seconds"}

    def table(self, ending: str) -> Path:
        """The newest one: a selection of datasets, models or metrics has a name of its own."""
        found = (self.root / "results" / "paper").glob(f"table1*{ending}")
        kept = [path for path in found if ending == "-tests.csv" or not path.name.endswith("-tests.csv")]
        return max(kept, key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Copy:
    return Copy(tmp_path_factory.mktemp("recipes"))


@pytest.mark.slow
def test_the_recipes_make_a_dataset_a_metric_and_a_model_that_every_form_of_a_table_knows(copy):
    said = copy.carry_out(recipe("A dataset"))
    rows = copy.rows()
    assert set(rows) == {(model, metric) for model in ("identity", "oracle") for metric in ("l1", "ssim")}
    assert {row["dataset"] for row in rows.values()} == {"toy"} and rows["oracle", "l1"]["n"] == "8"
    assert float(rows["identity", "l1"]["mean"]) == pytest.approx(40 / 255)
    text = copy.table(".md").read_text("utf-8")
    assert "**Toy**, 8 examples" in text and "| Model | L1 ↓ | SSIM ↑ |" in text and "Toy" in said[-1]

    said = copy.carry_out(recipe("A metric"))
    assert float(copy.rows()["identity", "mae255"]["mean"]) == pytest.approx(40 / 255)  # the CSV is unscaled
    text = copy.table(".md").read_text("utf-8")
    assert "MAE ↓" in text and "| Input copy (identity) | 0.157<br>" in text and "| 40.0<br>" in text
    assert ", MAE x255;" in text and "- MAE: mae255: " in text
    assert r"MAE $\downarrow$" in copy.table(".tex").read_text("utf-8") and "MAE ↓" in said[-1]
    assert "MAE ↓" in copy.table(".svg").read_text("utf-8")

    copy.carry_out(recipe("A model"))
    assert float(copy.rows()["brighter", "l1"]["mean"]) == pytest.approx(0, abs=1e-6)
    assert "| Brighter | 0.000<br>" in copy.table(".md").read_text("utf-8")

    # the input images once more, as somebody's own outputs: a second model that edits, and the worse one
    mine = (
        "python -m bench.run --suite paper --data-root data --dataset toy --model mine --images mine --metrics mae255"
    )
    (copy.root / "mine").mkdir()
    for k in range(8):
        shutil.copy(copy.root / "data" / "toy" / f"{k}-input.png", copy.root / "mine" / f"toy__test__{k}.png")
    table = "--suite paper --data-root data --datasets toy --models mine,brighter --metrics mae255 --seeds 1"
    for line in (mine, f"python -m bench.tables 1 {table}"):
        done = copy.run(line)
        assert done.returncode == 0, done.stderr
    text = copy.table(".md").read_text("utf-8")
    assert "| Brighter | **0.0**<br>" in text and "| mine | 40.0<br>" in text  # lower is better
    tests = copy.table("-tests.csv").read_text("utf-8")
    assert "mine" in tests and "Brighter below mine in MAE on Toy" in text


def test_a_suite_that_lacks_a_dataset_says_so_in_the_cell(tmp_path, monkeypatch):
    monkeypatch.setitem(DATASETS, "toy", DatasetEntry("bench.datasets.evr:EVR", "Toy", ("l1",)))
    for suite, split in (("mini", "quick"), ("published", "all")):
        result, job, texts = plan_cell(Cell(suite, "toy", "identity"), Options(split, out=tmp_path))
        assert job is None and texts is None and result.folder is None  # nothing is to be done for it
        assert result.reason.startswith(f"suite {suite} has no dataset 'toy'; known: evr, gier")
        (row,) = rows_of(1, Measured(result.cell, None, result.reason), ("l1",), 1, "runs")
        text = markdown(grid([row]), [], split)
        assert "**Toy**" in text.replace("mini-", "") and "| Model | L1 ↓ |" in text


def test_an_added_metric_stands_behind_the_known_ones_in_the_protocols(monkeypatch):
    monkeypatch.setitem(METRICS, "mae255", MetricEntry("x:Y", "MAE", "lower", 255, 1))
    cell = Cell("paper", "ma5k", "identity")
    rows = rows_of(1, Measured(cell, None, "not here"), ("mae255", "gone", "l1"), 1, "runs")
    rows = [replace(row, protocol=f"{row.metric}: said") for row in rows]
    assert protocols(grid(rows)) == ["L1: l1: said", "MAE: mae255: said", "gone: gone: said"]
