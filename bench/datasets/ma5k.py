"""MA5k (MA5k-Req, Shi et al., CVPR 2021): MIT-Adobe FiveK photographs, five experts' retouchings, one request each.

Layout of jshi31/T2ONet data/FiveK: annotations/{train,val,test}_sess_1.json, images/NNNN_O.jpg and NNNN_A.jpg .. _E.jpg
(its README shows 0001O.jpg; every record has the underscore). Rendering FiveK's raw files is not covered: the images
are the authors' JPEGs.
"""

from pathlib import Path

from bench.datasets.annotations import (
    Annotated,
    Examples,
    Origin,
    check_count,
    field,
    read_json,
    refuse_image_root,
    sentence,
)
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside

SOURCE = Origin(
    "MA5k",
    "ma5k",
    "https://github.com/jshi31/T2ONet (data/FiveK); images: Google Drive file 1nv6cTObVK8JIokQYffOxj61TDgC7L9rT, "
    "linked from its README",
    "MIT-Adobe FiveK: research only (LicenseAdobe.txt, LicenseAdobeMIT.txt at https://data.csail.mit.edu/graphics/fivek/)",
    "python -m bench.fetch ma5k --data-root {root.parent}",
)
SPLITS = ("train", "val", "test")
OFFICIAL = {"train": (17325, 3465), "val": (2475, 495), "test": (4950, 990)}  # records (= pairs = triples), inputs


def split_name(split: str) -> str:
    split = {"": "test", "valid": "val"}.get(split, split)
    if split not in SPLITS:
        raise SOURCE.split_unknown(split, ", ".join(SPLITS))
    return split


def annotation_file(root: Path, split: str) -> Path:
    return root / "annotations" / f"{split}_sess_1.json"


class MA5k(Annotated):
    name = "ma5k"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        refuse_image_root(settings, SOURCE)
        self.root, self.settings, self.split = Path(root), settings, split_name(settings.split)

    def read(self) -> tuple[list[Example], list[str]]:
        path = annotation_file(self.root, self.split)
        records = read_json(path, list, SOURCE, self.root)
        count_note = check_count(SOURCE, path.name, len(records), OFFICIAL[self.split][0])
        collected, images = Examples(self.settings), self.root / "images"
        for i, record in enumerate(records):
            where = f"{path}, record {i}"
            input_name, goal_name = field(record, "input", str, where), field(record, "output", str, where)
            instruction = sentence(record, "request", where)  # one a record: all of --expand mean the same
            if not instruction:
                collected.leave_out("empty instructions left out")
                continue
            goal_image = inside(images, goal_name, where)
            collected.add(
                Example(
                    id=f"ma5k/{self.split}/{goal_image.stem}",
                    group=input_name.split("_")[0].split(".")[0],
                    input_image=inside(images, input_name, where),
                    instruction=instruction,
                    goal_image=goal_image,
                ),
                where,
            )
        return collected.items, [note for note in (count_note, *collected.note()) if note]
