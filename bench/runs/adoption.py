"""Run folders of the version before, <dataset>--<model>--<hash8>: taken up under their new name where the run is the
same, refused where it may be. Their id held goal images, captions and masks too; those scores stay that were made from
what is there today. `python -m bench.runs.adoption FOLDER ...`: these folders' inputs and instructions are today's.
"""

import json
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from bench.registry import edit_settings
from bench.runs.description import PIXELS, Run, manifest_before, safe
from bench.runs.digests import Digest
from bench.runs.folder import Busy, RunFolder, text_of
from bench.settings import EditSettings
from mgie.io.files import write_atomic

# What the version before did where it had no setting of that name.
BEFORE = {"size": "native", "icc": "ignore"}
TODAYS = "inputs and instructions are today's"  # in place of a manifest: its owner says so, main() writes it


def older_folder(suite: Path, run: Run, files: dict[Path, Digest]) -> tuple[Path | None, str]:
    """The folder of this very run, else None; and what to say of those that look like it.

    Raises ValueError for one that may be this run, with what takes it up: nothing is edited again in silence.
    """
    said, refused = [], []
    for path in sorted(suite.glob(f"{run.dataset}--*")):
        if is_older(path.name, run.dataset, run.model) and (path / "run.json").exists():
            before = RunFolder(path).run()
            if (before["setting"], before["form"], before["model"]) == (run.setting, run.form, run.model):
                wrong = differs(before, run, files)
                if not wrong:
                    return path, ""
                told = f"{path.name}, of an earlier version, is not taken up: {', '.join(wrong)} differ"
                if ways := ways_out(path, before, run, wrong):
                    refused.append(f"{told}; {ways}")
                said.append(told)
    if refused:
        raise ValueError(refused[0])
    return None, "; ".join(said)


def is_older(name: str, dataset: str, model: str) -> bool:
    return bool(re.fullmatch(re.escape(f"{dataset}--{safe(model)}--") + "[0-9a-f]{8}", name))


def differs(before: dict, run: Run, files: dict[Path, Digest]) -> list[str]:
    """Which keys of an older run.json say that its pixels are others than those of this run."""
    now = described(run)
    if all(before[key] == now[key] for key in PIXELS):  # it was being taken up when it was killed
        return []
    now["manifest"] = TODAYS if before["manifest"] == TODAYS else manifest_before(run.examples, files)
    now["edit"] = {k: v for k, v in now["edit"].items() if k in before["edit"] or v != BEFORE.get(k, ...)}
    return [key for key in PIXELS if before[key] != now[key]]


def described(run: Run) -> dict:
    return json.loads(json.dumps(run.description()))


def ways_out(path: Path, before: dict, run: Run, wrong: list[str]) -> str:
    """What takes an older folder up that differs only in what an update moves; empty: it is another run's.

    Its manifest does not tell inputs and instructions from goals, captions and masks.
    """
    now, usual = described(run), edit_settings(run.suite, EditSettings())
    other = {k for k, v in now["edit"].items() if before["edit"].get(k, BEFORE.get(k, ...)) != v}
    moved = {k for k in other & BEFORE.keys() - before["edit"].keys() if getattr(usual, k) == now["edit"][k]}
    data = {k: v for k, v in before["data"].items() if now["data"].get(k) != v}
    if "fingerprint" in wrong or other != moved or ("manifest" in wrong and data):
        return ""
    ways = []
    if moved:
        flags = " ".join(f"--{k} {v}" for k, v in BEFORE.items() if k in moved)
        ways.append(f"it was edited as by {flags}: add that to the command to take it up")
    if "manifest" in wrong:
        ways.append("if only goals, captions or masks were changed since, take it up with: python -m "
                    f"bench.runs.adoption {path}, and the same command again")  # fmt: skip
    return "; ".join([*ways, "to edit everything anew, move it away or give another --out"])


def adopt(older: Path, folder: RunFolder, run: Run) -> None:
    """Rename the older folder. Killed at any moment, the same command does so again. Raises Busy."""
    before = RunFolder(older)
    with before.locked():
        before.settle_sources(run.sources, trusted=before.run()["manifest"] != TODAYS)
        write_atomic(older / "run.json", text_of(run.description()))
        older.rename(folder.path)


def trust(path: Path) -> None:
    """The next run that its other settings agree with takes it up. Raises ValueError for no older folder, Busy."""
    folder = RunFolder(path)
    said = folder.run()
    if not is_older(path.resolve().name, said["dataset"], said["model"]):
        raise ValueError(f"{path} is no run folder of the version before; nothing is to be taken up")
    with folder.locked():
        write_atomic(path / "run.json", text_of(said | {"manifest": TODAYS}))


def main(argv: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m bench.runs.adoption",
        description="Say of run folders of the version before that their input images and instructions are today's. "
        "The next run of the same settings takes them up: it edits nothing again and makes all scores anew.",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="such as runs/paper/ma5k--mgie--0123abcd"
    )
    try:
        for path in parser.parse_args(argv).folders:
            trust(path)
            print(f"{path}: the same command takes it up")
    except (ValueError, Busy) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
