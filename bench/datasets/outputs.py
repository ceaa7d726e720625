"""Suite published beyond the project page: outputs of whole test sets that their authors made public.

MagicBrush: `magicbrush-outputs/<name>/<img_id>/<img_id>_1.png`, `_inde_k.png`, `_iter_k.png` (evaluation/README.md of
OSU-NLP-Group/MagicBrush), one folder a system, scored against `magicbrush/test/`. Split test pairs output and goal of
the same turn. Split test-by-folder pairs them as the repository's script did before 2025-02-19 (PR 28): turns in the
order in which the disk lists the files, the last listed one as the last turn; numbers printed before then carry it.
Emu Edit: facebook/emu_edit_test_set_generations, whose files name the splits the other way round; joined by hash.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from bench.datasets.annotations import Origin, field, read_json
from bench.datasets.emu_edit import EmuEdit
from bench.datasets.hub_rows import FOLDER, Columns, items_of
from bench.datasets.magicbrush import MagicBrush
from bench.datasets.published import Published
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside

BY_FOLDER = "test-by-folder"
SPLITS = {"magicbrush": ("test", BY_FOLDER), "emu-edit": ("test", "validation")}
MAGICBRUSH = Origin(
    "MagicBrush's own outputs",
    "magicbrush-outputs",
    "the SharePoint folder that the README of https://github.com/OSU-NLP-Group/MagicBrush links",
    "CC-BY-4.0; do not redistribute the unzipped files",
    "python -m bench.fetch magicbrush-outputs --data-root {root.parent} (by hand; it says how)",
)
EMU_EDIT = Origin(
    "Emu Edit's own outputs",
    "emu-edit-outputs",
    "https://huggingface.co/datasets/facebook/emu_edit_test_set_generations",
    "CC-BY-NC-4.0: no commercial use",
    "python -m bench.fetch emu-edit-outputs --data-root {root.parent}",
)
COLUMNS = Columns(
    "Emu Edit's outputs", "emu-edit-outputs", ("hash", "idx", "model", "image", "edited_image"),
    ("image", "edited_image"),
)  # fmt: skip


def published(dataset: str, root: Path, settings: DataSettings) -> "Published | Outputs":
    """A dataset of suite published. root: <data root>/published. Raises ValueError for a split that it lacks."""
    if settings.split in ("", "all", "sample"):
        return Published(dataset, root, settings)
    if settings.split not in SPLITS.get(dataset, ()):
        known = "; ".join(f"{', '.join(splits)} of {name}" for name, splits in SPLITS.items())
        raise ValueError(
            f"suite published has no split '{settings.split}' of {dataset}; known: all (the 30 examples of the MGIE "
            f"page), sample (the first 3), and of whole test sets {known}"
        )
    made = MagicBrushOutputs if dataset == "magicbrush" else EmuEditOutputs
    return made(root.parent, settings)


class Outputs:
    """Examples of a test set, and the outputs of several systems for them."""

    name: str
    split: str
    captions = ""

    def examples(self) -> list[Example]:
        raise NotImplementedError

    @property
    def note(self) -> str:
        raise NotImplementedError

    @property
    def models(self) -> tuple[str, ...]:
        raise NotImplementedError

    def outputs(self, model: str) -> dict[str, Path]:
        raise NotImplementedError

    def expressive_instructions(self, model: str) -> dict[str, str]:
        return {}


class MagicBrushOutputs(Outputs):
    name = "magicbrush"

    def __init__(self, root: Path, settings: DataSettings, listed: Callable[[Path], list[str]] = os.listdir) -> None:
        """root: the data root. listed: the names in a folder, in the disk's own order."""
        self.folder, self.split, self.settings, self.listed = (
            root / "magicbrush-outputs",
            settings.split,
            settings,
            listed,
        )
        limit = settings.limit if self.split == "test" else None
        self._data = MagicBrush(root / "magicbrush", replace(settings, split="test", limit=limit))

    @property
    def captions(self) -> str:  # type: ignore[override]  # which kind the examples have
        return self._data.captions

    def require_captions(self, kinds: Iterable[str]) -> None:
        self._data.require_captions(kinds)

    @property
    def note(self) -> str:
        how = ("output and goal are paired in the order of the folder, as the script did before 2025-02-19"
               if self.split == BY_FOLDER else "output and goal are paired by turn")  # fmt: skip
        return "; ".join(filter(None, (f"outputs that their authors made public; {how}", self._data.note)))

    @cached_property
    def models(self) -> tuple[str, ...]:  # type: ignore[override]
        """Each folder is a system, named as its zip was."""
        if not self.folder.is_dir():
            raise MAGICBRUSH.missing(f"no folder {self.folder}", self.folder)
        found = sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not found:
            raise MAGICBRUSH.missing(f"no folder of outputs in {self.folder}", self.folder)
        return tuple(found)

    def examples(self) -> list[Example]:
        if self.split != BY_FOLDER:
            return self._data.examples()
        found = []
        for goals in self._sessions.values():
            numbered = list(enumerate(goals, 1))
            for k, goal in numbered[-1:] if self.settings.turns == "multi" else numbered:
                found.append(replace(goal, id=self._id(goal, k), previous=None, scored=True))
        return found[: self.settings.limit]

    def outputs(self, model: str) -> dict[str, Path]:
        """Path by example id; what is not there is left out, and counted by who asks."""
        root = self.folder / model
        if self.split != BY_FOLDER:
            return dict(self._by_turn(root))
        found: dict[str, Path] = {}
        for img_id, goals in self._sessions.items():
            names = self._names(root / img_id)
            if self.settings.turns == "multi":
                last = names[-1:] if len(names) == 1 else [n for n in names if "iter_" in n][-1:]
                found |= {self._id(goals[-1], len(goals)): root / img_id / name for name in last}
            else:
                # as the script: what is listed first stands for turn 1, and turns without an image are left out
                paired = [n for n in names if "_1" in n] + [n for n in names if "inde_" in n]
                found |= {
                    self._id(g, k): root / img_id / n for k, (g, n) in enumerate(zip(goals, paired, strict=False), 1)
                }
        return found

    def _by_turn(self, root: Path) -> Iterator[tuple[str, Path]]:
        for example in self._data.examples():
            kind = "iter" if self.settings.turns == "multi" else "inde"
            turn = "1" if example.turn == 1 else f"{kind}_{example.turn}"
            for end in (".png", ".jpg"):
                path = root / example.group / f"{example.group}_{turn}{end}"
                if path.is_file():
                    yield example.id, path
                    break

    @cached_property
    def _sessions(self) -> dict[str, list[Example]]:
        """The goals of each session in the order in which the disk lists them."""
        goals: dict[str, dict[str, Example]] = {}
        for example in self._data.examples():
            assert example.goal_image is not None  # MagicBrush has one for each turn
            goals.setdefault(example.group, {})[example.goal_image.name] = example
        found = {}
        for img_id, named in goals.items():
            folder = next(iter(named.values())).goal_image.parent  # type: ignore[union-attr]
            found[img_id] = [named[name] for name in self._names(folder) if "output" in name and name in named]
        return {img_id: named for img_id, named in found.items() if named}

    def _names(self, folder: Path) -> list[str]:
        """As image_eval.py looks for images: by what the names contain."""
        names = self.listed(folder) if folder.is_dir() else []
        return [name for name in names if (".png" in name or ".jpg" in name) and "mask" not in name]

    def _id(self, goal: Example, k: int) -> str:
        multi = "@multi" if self.settings.turns == "multi" else ""
        return f"magicbrush/test/{goal.group}-{k}{multi}@folder"


class EmuEditOutputs(Outputs):
    name = "emu-edit"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        """root: the data root."""
        self.folder, self.split = root / "emu-edit-outputs", settings.split
        self._data = EmuEdit(root / "emu-edit", settings)

    @property
    def note(self) -> str:
        return "; ".join(filter(None, ("outputs that their authors made public, joined by hash", self._data.note)))

    def examples(self) -> list[Example]:
        return self._data.examples()

    @cached_property
    def models(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(sorted(self._made))

    def outputs(self, model: str) -> dict[str, Path]:
        """Path by example id. A hash that several items have (one sentence for one photograph) is told apart by idx."""
        made, hashes, found = self._made[model], self._data.hashes, {}
        for example in self._data.examples():
            of = made.get(hashes[example.id], {})
            path = of.get(int(example.id.rpartition("/")[2])) or (next(iter(of.values())) if len(of) == 1 else None)
            if path is not None:
                found[example.id] = path
        return found

    @cached_property
    def _made(self) -> dict[str, dict[str, dict[int, Path]]]:
        """model -> hash -> idx -> output image, laid out once from the parquet files."""
        if not self.folder.is_dir():
            raise EMU_EDIT.missing(f"no folder {self.folder}", self.folder)
        files = sorted(path for pattern in ("*.parquet", "data/*.parquet") for path in self.folder.glob(pattern))
        if not files:
            raise EMU_EDIT.missing(f"no .parquet file in {self.folder} or {self.folder / 'data'}", self.folder)
        folder = self.folder / FOLDER
        path = items_of(files, folder, COLUMNS, ("hash", "idx", "model"), "edited_image", "Emu Edit's outputs")
        found = dict[str, dict[str, dict[int, Path]]]()
        for i, item in enumerate(read_json(path, list, EMU_EDIT, self.folder)):
            where = f"{path}, item {i}"
            model, named, number = field(item, "model", str, where), field(item, "hash", str, where), item.get("idx")
            of = found.setdefault(model, {}).setdefault(named, {})
            output = inside(folder / "images", field(item, "image", str, where), where)
            if of.setdefault(field(item, "idx", int, where), output) != output:
                raise ValueError(f"{where}: a second output of {model} for idx {number}, hash {named}")
        return found
