"""GIER (Shi et al., ECCV 2020): posts of r/PhotoshopRequest and Zhopped, experts' and amateurs' requests, masks.

Layout and instructions of jshi31/T2ONet data/GIER: splits/<split>_sess_3.json, images/, masks/; instructions =
expert_summary + amateur_summary, in that order. A subset (T2ONet's paper: global and shapeAlign) is a split name:
test_global, test:global+shapeAlign (intersection). Not covered: the feature files, InstructDiffusion's own split.
"""

import re
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
    sentences,
)
from bench.records import Example, Mask
from bench.settings import DataSettings
from mgie.io.files import inside

SOURCE = Origin(
    "GIER",
    "gier",
    "https://sites.google.com/view/gierdataset (images, masks); annotations: "
    "https://github.com/jshi31/T2ONet (data/GIER)",
    "none stated with the annotations; see the site for the images",
    "python -m bench.fetch gier --data-root {root.parent}",
)
SPLITS = ("train", "val", "test")
SUBSETS = ("global", "shapeAlignNonCrop", "shapeAlign", "Ids_L1Thr_0.06")
OFFICIAL = {"train": (4943, 23898), "val": (618, 3004), "test": (618, 2969)}  # records (= pairs), triples


def split_name(split: str) -> tuple[str, tuple[str, ...]]:
    """'test:global+shapeAlign' or 'test_global_shapeAlign' -> ('test', ('global', 'shapeAlign'))."""
    subset = "|".join(re.escape(s) for s in SUBSETS)
    match = re.fullmatch(rf"(train|valid|val|test)((?:[_:+](?:{subset}))*)", split or "test")
    if not match:
        known = f"{', '.join(SPLITS)}; with subsets of {', '.join(SUBSETS)}: test_global, test:global+shapeAlign"
        raise SOURCE.split_unknown(split, known)
    return match[1].replace("valid", "val"), tuple(re.findall(rf"[_:+]({subset})", match[2]))


def annotation_file(root: Path, split: str) -> Path:
    return root / "splits" / f"{split}_sess_3.json"


def mask_file(root: Path, input_image: Path) -> Path:
    return root / "masks" / f"{input_image.stem}_mask.json"


def subset_indices(root: Path, split: str, subset: str, records: int) -> set[int]:
    path = root / "splits" / f"{split}_{subset}_sess_3.json"
    indices = read_json(path, list, SOURCE, root)
    wrong = [i for i in indices if type(i) is not int or not 0 <= i < records]
    if wrong:
        raise ValueError(
            f"{path}: {wrong[0]!r:.40} is not an index into the {records:,} records of {split}_sess_3.json; "
            "both files must be of the same release"
        )
    return set(indices)


def mask_ids(operator: object, where: str) -> tuple[int, ...] | None:
    """The masks the edit is confined to, or None: some operator is global, or local without saying where.

    Flags decide, not ids: seven official operators are marked local: false and still list ids.
    """
    if not isinstance(operator, dict):
        raise ValueError(f"{where}: 'operator' is a {kind_of(operator)}, expected an object")
    ids: dict[int, None] = {}
    confined = bool(operator)
    for name, value in operator.items():
        at = f"{where}, operator {name}"
        local, listed = field(value, "local", bool, at), field(value, "ids", list, at)
        wrong = [i for i in listed if type(i) is not int or i < 0]
        if wrong:
            raise ValueError(f"{at}: the mask id {wrong[0]!r:.40} is not a whole number from 0")
        confined = confined and local and bool(listed)
        ids.update(dict.fromkeys(listed))
    return tuple(ids) if confined else None


class GIER(Annotated):
    name = "gier"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        refuse_image_root(settings, SOURCE)
        self.root, self.settings = Path(root), settings
        self.split, self.subsets = split_name(settings.split)

    def read(self) -> tuple[list[Example], list[str]]:
        path = annotation_file(self.root, self.split)
        records = read_json(path, list, SOURCE, self.root)
        notes = [check_count(SOURCE, path.name, len(records), OFFICIAL[self.split][0])]
        chosen = set(range(len(records)))
        for subset in self.subsets:
            chosen &= subset_indices(self.root, self.split, subset, len(records))
        if self.subsets:
            notes.append(f"subset {' and '.join(self.subsets)}: {len(chosen):,} of {len(records):,} pairs")
        collected = Examples(self.settings)
        for i in sorted(chosen):
            self._add(collected, records[i], f"{path}, record {i}")
        return collected.items, [note for note in (*notes, *collected.note()) if note]

    def _add(self, collected: Examples, record: dict, where: str) -> None:
        input_image = inside(self.root / "images", field(record, "input", str, where), where)
        goal_image = inside(self.root / "images", field(record, "output", str, where), where)
        raw = field(record, "expert_summary", list, where) + field(record, "amateur_summary", list, where)
        found = sentences(raw, where)
        collected.leave_out("empty instructions left out", len(raw) - len(found))
        ids = mask_ids(record.get("operator"), where)
        mask = Mask(mask_file(self.root, input_image), ids) if ids else None
        for k, text in found if self.settings.expand == "instruction" else found[:1]:
            collected.add(
                Example(
                    id=f"gier/{self.split}/{goal_image.stem}#{k}",
                    group=goal_image.stem.split("_")[0],
                    input_image=input_image,
                    instruction=text,
                    goal_image=goal_image,
                    mask=mask,
                ),
                where,
            )
