"""The Emu Edit test set (Sheynin et al., CVPR 2024; facebook/emu_edit_test_set): eight tasks on MagicBrush's
photographs, a caption of the input and one of what the output should show, no goal images.

Layout: the Hub's parquet files, data/{test,validation}-*.parquet, laid out once under from-hub/<split>/ (a photograph
once, however many items it has). Some items have a placeholder for both captions (690 of test); their authors publish
no list, and others leave them out by the rule that both captions are equal: --wrong-captions leave-out. A list that
somebody publishes is named instead. The group is the photograph.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bench.datasets.annotations import (
    Annotated,
    Examples,
    Origin,
    check_count,
    field,
    kind_of,
    read_json,
    refuse_image_root,
    sentence,
)
from bench.datasets.hub_rows import FOLDER, Columns, hub_files, items_of
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside, refuse_unwritable

SOURCE = Origin(
    "Emu Edit",
    "emu-edit",
    "https://huggingface.co/datasets/facebook/emu_edit_test_set (data/test-*.parquet, data/validation-*.parquet)",
    "CC-BY-NC-4.0: no commercial use",
    "python -m bench.fetch emu-edit --data-root {root.parent}",
)
OFFICIAL = {"test": 3589, "validation": 2022}
EQUAL_CAPTIONS = {"test": 690}  # counted in the official metadata; of validation nobody states it
COLUMNS = Columns(
    "Emu Edit", "emu-edit", ("instruction", "image", "task", "idx", "hash", "input_caption", "output_caption"),
    ("image",),
)  # fmt: skip
LISTED = re.compile(r"list [0-9a-f]{8}")  # as run.json has a file of --wrong-captions
HASH = re.compile(r"[0-9a-f]{32}_([0-9a-f]{64})")  # MD5 of the instruction, and what stands for the photograph
KEPT = ("idx", "hash", "task", "instruction", "input_caption", "output_caption")


def split_name(split: str) -> str:
    split = {"": "test", "val": "validation", "valid": "validation", "dev": "validation"}.get(split, split)
    if split not in OFFICIAL:
        raise SOURCE.split_unknown(split, ", ".join(OFFICIAL))
    return split


def split_folder(root: Path, split: str) -> Path:
    """Where a split is laid out from its parquet files."""
    if not root.is_dir():
        raise SOURCE.missing(f"no folder {root}", root)
    files = hub_files(root, split)
    if not files:
        raise SOURCE.missing(f"split {split}: no {split}-*.parquet in {root} or {root / 'data'}", root)
    return items_of(files, root / FOLDER / split, COLUMNS, KEPT, "image", f"Emu Edit: {split}").parent


class EmuEdit(Annotated):
    name = "emu-edit"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        refuse_image_root(settings, SOURCE)
        self.root, self.settings, self.split = Path(root), settings, split_name(settings.split)

    def read(self) -> tuple[list[Example], list[str], dict[str, str]]:
        folder = split_folder(self.root, self.split)
        path = folder / "items.json"
        items = read_json(path, list, SOURCE, self.root)
        collected, hashes, equal = Examples(self.settings), {}, 0
        listed = known_wrong(self.settings.wrong_captions)
        for i, item in enumerate(items):
            example, name = self._example(item, folder / "images", f"{path}, item {i}")
            hashes[example.id] = name
            same = (example.input_caption or "").strip() == (example.goal_caption or "").strip()
            equal += same
            if not example.instruction:
                collected.leave_out("empty instructions left out")
            elif same if listed is None else bool(listed & {name, example.id, example.id.rpartition("/")[2]}):
                collected.leave_out("items left out, whose captions are known to be wrong")
            else:
                collected.add(example, f"{path}, item {i}")
        notes = [check_count(SOURCE, f"split {self.split}", len(items), OFFICIAL[self.split])]
        notes.append(self._about_captions(equal, len(items)))
        return collected.items, [note for note in (*notes, *collected.note()) if note], hashes

    @property
    def hashes(self) -> dict[str, str]:
        """The hash of each item by example id, by which its authors join outputs to items."""
        return dict(self.once[2])

    def _about_captions(self, equal: int, of: int) -> str:
        counted = EQUAL_CAPTIONS.get(self.split) if of == OFFICIAL[self.split] else None
        if counted is not None and equal != counted:
            return f"{equal:,} items have one caption for both images, officially {counted:,}"
        if equal and self.settings.wrong_captions == KEEP:
            return f"{equal:,} items with one caption for both images are kept (--wrong-captions leave-out)"
        return ""

    def _example(self, item: dict, images: Path, where: str) -> tuple[Example, str]:
        """The example, and its hash."""
        number, name = field(item, "idx", int, where), field(item, "hash", str, where)
        photograph = HASH.fullmatch(name)
        image = field(item, "image", str, where)
        example = Example(
            id=f"emu-edit/{self.split}/{number}",
            group=photograph[1] if photograph else image.partition(".")[0],
            input_image=inside(images, image, where),
            instruction=sentence(item, "instruction", where),
            goal_caption=caption(item, "output_caption", where),
            input_caption=caption(item, "input_caption", where),
        )
        return example, name


def caption(item: dict, key: str, where: str) -> str | None:
    value = item.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}: '{key}' is a {kind_of(value)}, expected a string")
    refuse_unwritable(value or "", f"{where}: '{key}'")
    return value if value and value.strip() else None


KEEP, LEAVE_OUT = "keep", "leave-out"


def known_wrong(asked: str) -> set[str] | None:
    """What --wrong-captions leaves out: idx and hashes; nothing for keep, None for the rule of equal captions.

    Anything else is a file: JSON in which every "hash", "idx" or "id", every hash that is a name and every plain string
    or number of a list counts, or plain text with one a line. Raises ValueError, FileNotFoundError.
    """
    if asked in (KEEP, LEAVE_OUT):
        return set() if asked == KEEP else None
    path = Path(asked)
    if LISTED.fullmatch(asked):  # of run.json
        raise ValueError(f"its items were left out by the {asked}, by digest: that file is not known here")
    if not path.is_file():
        raise FileNotFoundError(f"--wrong-captions {asked}: expected {KEEP}, {LEAVE_OUT}, or a file; no such file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        found = set(named(json.loads(text))) if path.suffix == ".json" else set(text.split())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--wrong-captions {asked}: neither JSON nor text ({error})") from None
    if not found:
        raise ValueError(f"--wrong-captions {asked}: it names no item, neither by hash nor by idx")
    return found


def named(data: object, key: str = "") -> Iterator[str]:
    """What a published list names. key: under which the value stands, "" for a member of a list."""
    if isinstance(data, dict):
        for name, value in data.items():
            if HASH.fullmatch(name):
                yield name
            yield from named(value, name)
    elif isinstance(data, list):
        for value in data:
            yield from named(value)
    elif key in ("", "hash", "idx", "id") and isinstance(data, str | int) and not isinstance(data, bool):
        yield str(data)
