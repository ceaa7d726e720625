"""Run folders of the version before, <dataset>--<model>--<hash8>: taken up under their new name where the run is the
same. Their id held goal images, captions and masks too; those scores stay that were made from what is there today.
"""

import json
import re
from pathlib import Path

from bench.runs.description import PIXELS, Run, manifest_before, safe
from bench.runs.digests import Digest
from bench.runs.folder import RunFolder, text_of
from mgie.io.files import write_atomic

# What the version before did where it had no setting of that name.
BEFORE = {"size": "native", "icc": "ignore"}


def older_folder(suite: Path, run: Run, files: dict[Path, Digest]) -> tuple[Path | None, str]:
    """The folder of this very run, else None; and what to say of those that look like it."""
    name = re.compile(re.escape(f"{run.dataset}--{safe(run.model)}--") + "[0-9a-f]{8}")
    said = []
    for path in sorted(suite.glob(f"{run.dataset}--*")):
        if name.fullmatch(path.name) and (path / "run.json").exists():
            before = RunFolder(path).run()
            if (before["setting"], before["form"], before["model"]) == (run.setting, run.form, run.model):
                wrong = differs(before, run, files)
                if not wrong:
                    return path, ""
                said.append(f"{path.name}, of an earlier version, is not taken up: {', '.join(wrong)} differ")
    return None, "; ".join(said)


def differs(before: dict, run: Run, files: dict[Path, Digest]) -> list[str]:
    """Which keys of an older run.json say that its pixels are others than those of this run."""
    now = json.loads(json.dumps(run.description()))
    if all(before[key] == now[key] for key in PIXELS):  # it was being taken up when it was killed
        return []
    now["manifest"] = manifest_before(run.examples, files)
    now["edit"] = {k: v for k, v in now["edit"].items() if k in before["edit"] or v != BEFORE.get(k, ...)}
    return [key for key in PIXELS if before[key] != now[key]]


def adopt(older: Path, folder: RunFolder, run: Run) -> None:
    """Rename the older folder. Killed at any moment, the same command does so again. Raises Busy."""
    before = RunFolder(older)
    with before.locked():
        write_atomic(older / "run.json", text_of(run.description()))
        before.settle_sources(run.sources, trusted=True)
        older.rename(folder.path)
