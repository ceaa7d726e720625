"""IPr2Pr (InstructPix2Pix, Brooks et al., CVPR 2023): generated pairs, clip-filtered; the training set of the paper.

Layout of the official archives: seeds.json = [[folder, [seed, ...]], ...], <folder>/prompt.json and <seed>_{0,1}.jpg.
Splits by position in seeds.json as edit_dataset.py of timothybrooks/instruct-pix2pix at 0dffd1e has them. Assumption:
every seed of a folder is an example (the official loader draws one at random). Not covered: the Hub's parquet copy.
"""

import os
import re
from pathlib import Path

from bench.datasets.annotations import (
    Annotated,
    Examples,
    Origin,
    check_count,
    kind_of,
    read_json,
    refuse_image_root,
    sentence,
)
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside, refuse_unwritable
from mgie.train.data import positions

SOURCE = Origin(
    "IPr2Pr",
    "ipr2pr",
    "http://instruct-pix2pix.eecs.berkeley.edu/ (clip-filtered-dataset, 436 GB)",
    "none stated for the data; the code that made it is MIT-style",
    "git clone https://github.com/timothybrooks/instruct-pix2pix && "
    "bash instruct-pix2pix/scripts/download_data.sh clip-filtered-dataset && mv data/clip-filtered-dataset {root}",
)
SPLITS = ("train", "val", "test")
OFFICIAL = 313010  # folders in seeds.json; 10,434 of them are in no archive (instruct-pix2pix issue 80)


def split_name(split: str) -> str:
    split = {"": "test", "valid": "val"}.get(split, split)
    if split not in SPLITS:
        raise SOURCE.split_unknown(split, ", ".join(SPLITS))
    return split


class IPr2Pr(Annotated):
    name = "ipr2pr"

    def __init__(self, root: Path, settings: DataSettings) -> None:
        refuse_image_root(settings, SOURCE)
        self.root, self.settings, self.split = Path(root), settings, split_name(settings.split)

    @property
    def missing_folders(self) -> list[str]:
        """Folders that seeds.json names for this split and that are not there."""
        return list(self.once[2])

    def read(self) -> tuple[list[Example], list[str], list[str]]:
        path = self.root / "seeds.json"
        listed = read_json(path, list, SOURCE, self.root)
        count_note = check_count(SOURCE, path.name, len(listed), OFFICIAL)
        present = set(os.listdir(self.root))  # one look: asking for each of 300,000 folders takes minutes on a disk
        collected, missing = Examples(self.settings), []
        for i in positions(self.split, len(listed)):
            if collected.full:
                break
            where = f"{path}, entry {i}"
            folder, seeds = entry(listed[i], where)
            place = inside(self.root, folder, where)
            if folder in present and (place / "prompt.json").is_file():
                self._add(collected, place, seeds, where)
            else:
                missing.append(folder)
        collected.leave_out("folders in seeds.json without files (no prompt.json), skipped", len(missing))
        return collected.items, [note for note in (count_note, *collected.note()) if note], missing

    def _add(self, collected: Examples, folder: Path, seeds: list[str], where: str) -> None:
        path = folder / "prompt.json"
        prompt = read_json(path, dict, SOURCE, self.root)
        instruction = sentence(prompt, "edit", str(path))
        if not instruction:
            collected.leave_out("pairs left out, with an empty instruction", len(seeds))
            return
        before = prompt.get("input", prompt.get("caption"))  # the generator's own scripts write caption
        for seed in seeds:
            collected.add(
                Example(
                    id=f"ipr2pr/{self.split}/{folder.name}_{seed}",
                    group=folder.name,
                    input_image=inside(folder, f"{seed}_0.jpg", where),
                    instruction=instruction,
                    goal_image=inside(folder, f"{seed}_1.jpg", where),
                    goal_caption=caption(prompt.get("output"), "output", path),
                    input_caption=caption(before, "input", path),
                ),
                where,
            )


def entry(value: object, where: str) -> tuple[str, list[str]]:
    """One entry of seeds.json: folder and seeds, which are strings."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], list)):
        raise ValueError(f'{where}: {value!r:.60} is not [folder, [seed, ...]] like ["0000132", ["127380018"]]')
    for seed in value[1]:
        if type(seed) not in (str, int) or not re.fullmatch(r"[\w-]+", str(seed)):
            raise ValueError(f"{where}: the seed {seed!r:.40} is refused, expected a string of digits")
    return value[0], [str(seed) for seed in value[1]]


def caption(value: object, key: str, path: Path) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{path}: '{key}' is a {kind_of(value)}, expected a string")
    refuse_unwritable(value or "", f"{path}: '{key}'")
    return value or None
