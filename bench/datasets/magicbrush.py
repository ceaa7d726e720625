"""MagicBrush (Zhang et al., NeurIPS 2023): COCO images edited in sessions of one to three turns, masks, captions.

Layout of the authors' zips (test, dev): edit_turns.json, edit_sessions.json, {global,local}_descriptions.json and
images/<img_id>/. dev and train are also read from the Hub's parquet or arrow files (magicbrush_hub.py). --turns single
is the paper's all_turn (each turn on the true input), multi its final_turn (a session on the model's own outputs).
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

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
from bench.datasets.hub_rows import FOLDER, hub_files
from bench.datasets.magicbrush_hub import lay_out
from bench.records import Example, Mask
from bench.settings import DataSettings
from mgie.io.files import inside, refuse_unwritable

SOURCE = Origin(
    "MagicBrush",
    "magicbrush",
    "https://osu-nlp-group.github.io/MagicBrush/; train and dev: https://huggingface.co/datasets/osunlp/MagicBrush; "
    "test: the zip linked from https://github.com/OSU-NLP-Group/MagicBrush (its README has the password)",
    "CC-BY-4.0; do not redistribute the unzipped test files and keep them out of training",
    "python -m bench.fetch magicbrush --data-root {root.parent} (test.zip is to be had by hand; it says how)",
)
OFFICIAL = {"train": (8807, 4512), "dev": (528, 266), "test": (1053, 535)}  # turns, sessions


class Turn(NamedTuple):
    img_id: str
    number: int
    input_image: Path
    goal_image: Path
    goal_name: str
    input_name: str
    mask: Path | None
    instruction: str  # '' where it is blank, NaN or null
    where: str


def split_name(split: str) -> str:
    """test, dev (which others call val) or train; or any other folder of the zip's layout."""
    split = {"": "test", "val": "dev", "valid": "dev"}.get(split, split)
    if not re.fullmatch(r"\w[\w.-]*", split):
        raise SOURCE.split_unknown(split, "test, dev, train, or the name of a folder in the layout of the authors' zip")
    return split


def split_folder(root: Path, split: str) -> Path:
    """The folder in the zip's layout: the zip's own, or one laid out from the Hub's files."""
    if not root.is_dir():
        raise SOURCE.missing(f"no folder {root}", root)
    for name in (split, "val") if split == "dev" else (split,):  # the authors call the zip of dev val.zip
        if (root / name / "edit_turns.json").is_file() or (root / name / "edit_sessions.json").is_file():
            return root / name
    files = hub_files(root, split) if split != "test" else []
    if files:
        return lay_out(files, root / FOLDER / split)
    looked = "" if split == "test" else f", and no {split}-*.parquet or .arrow in {root} or {root / 'data'}"
    have = sorted(path.parent.name for path in root.glob("*/edit_turns.json"))
    raise SOURCE.missing(
        f"split {split}: no edit_turns.json in {root / split}{looked}; splits there: {', '.join(have) or 'none'}", root
    )


def read_turn(record: dict, images: Path, where: str) -> Turn:
    names = {key: field(record, key, str, where) for key in ("input", "output")}
    mask = field(record, "mask", str, where) if record.get("mask") is not None else None
    match = re.fullmatch(r"([^-/\\]+)-output(\d+)\.\w+", names["output"])
    if not match:
        raise ValueError(f"{where}: the output is named {names['output']!r}, expected <img_id>-output<turn>.png")

    def path(name: str) -> Path:
        return inside(images, f"{name.split('-')[0]}/{name}", where)

    return Turn(
        img_id=match[1],
        number=int(match[2]),
        input_image=path(names["input"]),
        goal_image=path(names["output"]),
        goal_name=names["output"],
        input_name=names["input"],
        mask=path(mask) if mask else None,
        instruction=sentence(record, "instruction", where),
        where=where,
    )


KINDS = ("global", "local")  # of goal captions


class MagicBrush(Annotated):
    name = "magicbrush"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        refuse_image_root(settings, SOURCE)
        self.root, self.settings, self.split = Path(root), settings, split_name(settings.split)

    def read(self) -> tuple[list[Example], list[str]]:
        folder = split_folder(self.root, self.split)
        captions = self._captions(folder)
        self._others = self._of_other_kinds(folder) if captions is not None else {}
        notes = [] if captions is not None else ["no goal captions: the Hub's files have none"]
        multi = self.settings.turns == "multi"
        collected = Examples(self.settings)
        notes.append((self._sessions if multi else self._turns)(folder, captions or {}, collected))
        without = sum(example.goal_caption is None for example in collected.items)
        if captions is not None and without:
            notes.append(f"{without:,} examples without a {self.settings.caption} goal caption")
        return collected.items, [note for note in (*notes, *collected.note()) if note]

    @property
    def captions(self) -> str:
        """Which kind of goal caption the examples have."""
        return self.settings.caption

    def _of_other_kinds(self, folder: Path) -> dict[str, dict]:
        """The captions that were not asked for, where their file is there: cts@local beside cts@global."""
        paths = {kind: folder / f"{kind}_descriptions.json" for kind in KINDS if kind != self.settings.caption}
        return {kind: self._read_captions(path) for kind, path in paths.items() if path.exists()}

    def require_captions(self, kinds: Iterable[str]) -> None:
        """Raises FileNotFoundError for captions that a metric reads (cts@local) and of which there is no file."""
        folder = split_folder(self.root, self.split)
        for kind in kinds:
            self._caption_file(folder, kind)

    def _caption_file(self, folder: Path, kind: str) -> Path | None:
        """None where the files come from the Hub, which has no captions."""
        path = folder / f"{kind}_descriptions.json"
        if folder.parent.name == FOLDER and not path.exists():
            return None
        if not path.exists():
            other = {"global": "local", "local": "global"}[kind]
            raise SOURCE.missing(
                f"no goal captions {path} (the evaluation's README calls it {kind}_captions.json); "
                f"--caption {other} and cts@{other} read {other}_descriptions.json",
                self.root,
            )
        return path

    def _captions(self, folder: Path) -> dict | None:
        """{img_id: {file name: caption}}; None where there are none."""
        path = self._caption_file(folder, self.settings.caption)
        return self._read_captions(path) if path else None

    def _read_captions(self, path: Path) -> dict:
        captions = read_json(path, dict, SOURCE, self.root)
        for img_id, named in captions.items():
            if not isinstance(named, dict):
                raise ValueError(f"{path}: the captions of {img_id} are a {kind_of(named)}, expected an object")
            for name, text in named.items():
                if not isinstance(text, str):
                    raise ValueError(f"{path}: the caption of {name} is a {kind_of(text)}, expected a string")
                refuse_unwritable(text, f"{path}: the caption of {name!r:.60}")
        return captions

    def _turns(self, folder: Path, captions: dict, collected: Examples) -> str:
        path = folder / "edit_turns.json"
        records = read_json(path, list, SOURCE, self.root)
        for i, record in enumerate(records):
            turn = read_turn(record, folder / "images", f"{path}, record {i}")
            if turn.instruction:
                collected.add(self._example(turn, captions), turn.where)
            else:
                collected.leave_out("empty instructions left out")
        return check_count(SOURCE, path.name, len(records), OFFICIAL.get(self.split, (None, None))[0])

    def _sessions(self, folder: Path, captions: dict, collected: Examples) -> str:
        """All first turns, then all second turns, ...: batches never wait for an output of their own batch."""
        path = folder / "edit_sessions.json"
        records = read_json(path, dict, SOURCE, self.root)
        sessions = []
        for img_id, session in records.items():
            if not isinstance(session, list):
                raise ValueError(f"{path}, session {img_id}: a {kind_of(session)}, expected a list of turns")
            where = f"{path}, session {img_id}"
            turns = [read_turn(r, folder / "images", f"{where}, turn {i + 1}") for i, r in enumerate(session)]
            others = {turn.img_id for turn in turns} - {img_id}
            if others:
                raise ValueError(f"{where}: holds turns of {', '.join(sorted(others))}")
            if turns and all(turn.instruction for turn in turns):
                sessions.append(turns)
            else:
                collected.leave_out("sessions left out, with an empty instruction or no turn")
        sessions = sessions[: self.settings.limit]  # --limit counts sessions: a turn needs the ones before it
        collected.limit = None
        for place in range(max(map(len, sessions), default=0)):
            for turns in sessions:
                if place < len(turns):
                    before = f"{self._id(turns[place - 1])}@multi" if place else None
                    last = place == len(turns) - 1
                    collected.add(self._example(turns[place], captions, "@multi", before, last), turns[place].where)
        return check_count(SOURCE, path.name, len(records), OFFICIAL.get(self.split, (None, None))[1])

    def _id(self, turn: Turn) -> str:
        return f"magicbrush/{self.split}/{turn.img_id}-{turn.number}"

    def _example(
        self, turn: Turn, captions: dict, suffix: str = "", previous: str | None = None, scored: bool = True
    ) -> Example:
        named = captions.get(turn.img_id, {})
        kinds = {self.settings.caption: captions} | self._others
        texts = {kind: of.get(turn.img_id, {}).get(turn.goal_name) for kind, of in kinds.items()}
        return Example(
            id=self._id(turn) + suffix,
            group=turn.img_id,
            input_image=turn.input_image,
            instruction=turn.instruction,
            goal_image=turn.goal_image,
            goal_caption=named.get(turn.goal_name),
            mask=Mask(turn.mask) if turn.mask is not None else None,
            turn=turn.number,
            previous=previous,
            scored=scored,
            input_caption=named.get(turn.input_name),
            captions=tuple((kind, texts[kind]) for kind in KINDS if texts.get(kind) is not None),
        )
