"""EVR (Image Editing Request, Tan et al., ACL 2019): posts of r/PhotoshopRequest and Zhopped, one or three requests.

Layout of airsplay/VisualRelationships: dataset/adobe/{train,valid,test}.json. Images come apart from it (Google Drive,
archive.org) and the JSON holds bare names: they are looked for in images/ (assumed flat) or in --image-root.
Repeated pairs and pairs shared by splits are the official files' own: kept here, counted by bench.audit.
"""

from pathlib import Path

from bench.datasets.annotations import Annotated, Examples, Origin, check_count, field, read_json, sentences
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside

SOURCE = Origin(
    "EVR",
    "evr",
    "https://github.com/airsplay/VisualRelationships (dataset/adobe); images: "
    "https://archive.org/details/image-editing-dataset",
    "none stated; the images are user posts",
    "python -m bench.fetch evr --data-root {root.parent}",
)
SPLITS = ("train", "valid", "test")
OFFICIAL = {  # records, unique pairs, (input, goal, instruction) triples
    "train": (3061, 2507, 3061),
    "valid": (383, 357, 1149),
    "test": (495, 446, 1485),
}


def split_name(split: str) -> str:
    """The official name: valid, which others call val."""
    split = {"": "test", "val": "valid"}.get(split, split)
    if split not in SPLITS:
        raise SOURCE.split_unknown(split, "train, valid (or val), test")
    return split


def post(name: str) -> str:
    """The post an image belongs to: <Site>.com_<post>_<comment>.<ext>. Another name is a post of its own."""
    parts = name.rsplit(".", 1)[0].split("_")
    return parts[1] if len(parts) > 2 and parts[1] else parts[0]


def annotation_file(root: Path, split: str) -> Path:
    return root / "dataset" / "adobe" / f"{split}.json"


class EVR(Annotated):
    name = "evr"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        self.root, self.settings = Path(root), settings
        self.split = split_name(settings.split)
        self.images = Path(settings.image_root) if settings.image_root else self.root / "images"

    def read(self) -> tuple[list[Example], list[str]]:
        path = annotation_file(self.root, self.split)
        records = read_json(path, list, SOURCE, self.root)
        count_note = check_count(SOURCE, path.name, len(records), OFFICIAL[self.split][0])
        collected, pairs = Examples(self.settings), set()
        for i, record in enumerate(records):
            where = f"{path}, record {i}"
            img0, img1 = field(record, "img0", str, where), field(record, "img1", str, where)
            uid = field(record, "uid", str, where)
            raw = field(record, "sents", list, where)
            found = sentences(raw, where)
            collected.leave_out("empty instructions left out", len(raw) - len(found))
            if self.settings.expand == "pair" and found:
                if (img0, img1) in pairs:  # the pair's first instruction is taken already
                    continue
                pairs.add((img0, img1))
            for k, text in found if self.settings.expand == "instruction" else found[:1]:
                collected.add(
                    Example(
                        id=f"evr/{self.split}/{uid}#{k}",
                        group=post(img0),
                        input_image=inside(self.images, img0, where),
                        instruction=text,
                        goal_image=inside(self.images, img1, where),
                    ),
                    where,
                )
        return collected.items, [note for note in (count_note, *collected.note()) if note]
