"""What make accept does: the commands behind everything accepted, run anew in one temporary folder; what would move.

A name is that of a CSV in results/reference/<suite>/, "table1", "table1-fresh", "figure3", "claims-fresh"; its command
follows from it and from the rows that are accepted. "check" is the gate's own cells, "training" the logs that make mini
has written beside the weights that it ships: no accept trains for hours. Table 4 is of a machine: only when named.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.grid.reference import compared, rows_of
from bench.registry import SUITES
from mgie.io.files import replacing, write_atomic

TABLE = re.compile(r"table([123])(?:-(?!only-)([a-z0-9]+))?(-only-.+)?")
OTHERS = {"figure3": "bench.tradeoff", "figure4": "bench.clip_score", "claims": "bench.mini.claims",
          "ablations": "bench.mini.ablate", "controls": "bench.controls", "agreement": "bench.agreement",
          "rewrite": "bench.tables rewrite"}  # fmt: skip
WITH_SUITE = ("figure", "rewrite", "controls", "agreement")  # commands that take --suite
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
CHECK, TRAINING, TIMES = "check", "training", "table4"


def names_of(folder: Path) -> list[str]:
    """All that is accepted and can be made again: what make accept makes when it is given no names.

    The tables first: the claims look at what Table 2 has trained.
    """
    found = [path.stem for path in sorted(folder.glob("*.csv")) if not path.stem.endswith("-tests")]
    found.sort(key=lambda name: not TABLE.fullmatch(name))
    return [CHECK] * (folder / "check.json").exists() + [n for n in found if TABLE.fullmatch(n) or other(n)]


def with_companions(names: Sequence[str], folder: Path) -> list[str]:
    """Tables of one split share their stored scores, and the gate's cells are among them: one is not renewed alone."""
    shared = {scores_suffix(n) for n in names} - {None}
    together = list(dict.fromkeys([*names, *(n for n in names_of(folder) if scores_suffix(n) in shared)]))
    # the gate has cells of the table of rewriters too; renewed alone, that table leaves the gate's own as they are
    also = [n for n in names_of(folder) if n == "rewrite"] if CHECK in together else []
    return list(dict.fromkeys([*together, *also]))


def scores_suffix(name: str) -> str | None:
    """The end of the folder of its scores; None: it has none."""
    return "" if name == CHECK else name[len("table1") :] if TABLE.fullmatch(name) else None


def other(name: str) -> str:
    """The command of what is no table; claims-figures belongs to claims."""
    first = name.partition("-")[0]
    return "" if name.startswith(("claims-figures", "controls-rows")) else OTHERS.get(first, "")


def command_of(name: str, suite: str, folder: Path) -> list[str]:
    """The arguments of python -m that make it as it is accepted. Raises ValueError for a name that none makes."""
    if name == TIMES:
        return ["bench.timing"]
    table = TABLE.fullmatch(name)
    if table:
        number, split, only = table.groups()
        rows = [r for r in _rows(folder / f"{name}.csv") if r["dataset"] != "all"]
        argv = ["bench.tables", number, "--suite", suite, *(["--split", split] if split else [])]
        argv += (
            ["--seeds", rows[0]["seeds"]] if rows else ["--full"] * (split == SUITES[suite].full != SUITES[suite].split)
        )
        if only and not rows:
            raise ValueError(f"{name}: a selection is accepted only where it is already; make the whole table")
        for flag in ("dataset", "model") if only else ():
            argv += [f"--{flag}s", ",".join(dict.fromkeys(r[flag] for r in rows))]
        return argv
    module, _, split = name.partition("-")
    if not other(name) or (split and split not in (SUITES[suite].splits or (split,))):
        known = ", ".join([CHECK, TRAINING, TIMES, "table1[-<split>]", *OTHERS])
        raise ValueError(f"unknown name '{name}'; known: {known}")
    return [*OTHERS[module].split(), *(["--suite", suite] if module.startswith(WITH_SUITE) else []),
            *(["--split", split] if split else [])]  # fmt: skip


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def run(argv: Sequence[str], temporary: Path, shared: Sequence[str]) -> int:
    """One command, on the CPU: its runs and results go below `temporary`. Its words go to the terminal."""
    told = [*argv, *shared, "--out", str(temporary / "runs"), "--results", str(temporary / "results")]
    print(f"python -m {' '.join(argv)}", flush=True)
    done = subprocess.run([sys.executable, "-m", *told], env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False)
    return done.returncode


def moves(accepted: Path, fresh: Path) -> list[str]:
    """What would move, cell by cell and by how much; both are folders of a suite."""
    lines = []
    for path in sorted(fresh.glob("*.csv")):
        before = accepted / path.name
        if path.stem.endswith("-tests"):
            continue  # they follow from the cells
        if not before.exists():
            lines.append(f"{path.stem}: new")
            continue
        try:
            found = compared(rows_of(before), rows_of(path), {}, 0.0)
        except (ValueError, csv.Error) as error:  # no table of cells: times, a log
            lines.append(f"{path.stem}: replaced ({error})")
            continue
        counts = [f"{len(found.moved)} move"]
        counts += [f"{found.absent} go" * bool(found.absent), f"{found.new} are new" * bool(found.new)]
        lines.append(f"{path.stem}: of {found.agree + len(found.moved)} cells {', '.join(filter(None, counts))}")
        lines += [f"  {m.name}: {m.accepted} -> {m.here}{m.why and f' ({m.why})'}" for m in found.moved]
    return lines


def take(fresh: Path, accepted: Path, origin: dict[str, str], names: Sequence[str]) -> int:
    """Copy what is accepted of a suite's fresh files; how many. A picture is renewed where one is there already."""
    paths = [p for p in sorted(fresh.rglob("*")) if p.is_file() and _kept(p, accepted / p.relative_to(fresh))]
    for path in paths:
        target = accepted / path.relative_to(fresh)
        if path.suffix == ".md":
            write_atomic(target, without_pictures(path.read_text("utf-8"), target.parent))
        else:
            with replacing(target) as temporary:
                shutil.copyfile(path, temporary)
    known = accepted / "origin.json"
    said = json.loads(known.read_text("utf-8")) if known.exists() else {}
    said |= dict.fromkeys(names, origin)
    write_atomic(known, json.dumps(said, indent=1, sort_keys=True) + "\n")
    return len(paths)


def _kept(path: Path, target: Path) -> bool:
    return path.suffix in (".csv", ".md", ".gz", ".json") or (path.suffix == ".png" and target.exists())


def without_pictures(text: str, folder: Path) -> str:
    """A picture that is not accepted is named in place of a broken link."""
    return PICTURE.sub(lambda m: m[0] if (folder / m[2]).exists() else f"({m[1]}: {m[2]}, drawn by the command)", text)


def training_logs(made: Path, fresh: Path) -> None:
    """The stages that make mini trained here, for `take`. Raises ValueError where there is none."""
    stages = sorted(path.parent for path in made.glob("*/scores.json"))
    if not stages:
        raise ValueError(f"{made} holds no <stage>/scores.json: make mini has trained nothing here")
    for stage in stages:
        (fresh / "training" / stage.name).mkdir(parents=True, exist_ok=True)
        for name in ("scores.json", "train.csv"):
            shutil.copyfile(stage / name, fresh / "training" / stage.name / name)
    for path in made.glob("*.csv"):
        shutil.copyfile(path, fresh / "training" / path.name)
