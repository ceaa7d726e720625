"""IPr2Pr (InstructPix2Pix, Brooks et al., CVPR 2023): generated pairs, clip-filtered; the training set of the paper.

Layout of the official archives: seeds.json = [[folder, [seed, ...]], ...], <folder>/prompt.json and <seed>_{0,1}.jpg.
Splits by position in seeds.json as edit_dataset.py of timothybrooks/instruct-pix2pix at 0dffd1e has them. Assumption:
every seed of a folder is an example (the official loader draws one at random). The Hub's parquet files, a row a pair,
are read where no folder with images is: mgie.train.ipr2pr_hub says which ids and splits they get; the images of what is
asked for are laid out under from-hub/.
"""

import json
import os
import re
from collections.abc import Iterator
from hashlib import sha256
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
from bench.datasets.hub_rows import FOLDER, lay_out_now, made_from, stored
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.files import inside, refuse_unwritable, write_whole
from mgie.train.ipr2pr_hub import IMAGES, HubRow, Window, files, is_hub, listed, positions, windows_of

SOURCE = Origin(
    "IPr2Pr",
    "ipr2pr",
    "http://instruct-pix2pix.eecs.berkeley.edu/ (clip-filtered-dataset, 436 GB)",
    "none stated for the data; the code that made it is MIT-style",
    "python -m bench.fetch ipr2pr --data-root {root.parent} (the Hub's parquet files, 131 GB; --limit-gb takes the "
    "first), or all pairs: git clone https://github.com/timothybrooks/instruct-pix2pix && "
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
        if is_hub(self.root):
            return self._read_hub()
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

    def _read_hub(self) -> tuple[list[Example], list[str], list[str]]:
        """The rows of this split; of what --limit leaves out no image is written."""
        rows, collected = [row for row in listed(self.root) if row.split == self.split], Examples(self.settings)
        chosen = [row for row in rows if row.instruction.strip()]
        collected.leave_out("pairs left out, with an empty instruction", len(rows) - len(chosen))
        chosen = chosen[: self.settings.limit]
        for row, (before, after) in zip(chosen, lay_out(chosen, self.root), strict=True):
            collected.add(
                Example(
                    id=row.id,
                    group=row.group,
                    input_image=before,
                    instruction=row.instruction,
                    goal_image=after,
                    goal_caption=row.after or None,
                    input_caption=row.before or None,
                ),
                f"{row.file}, row {row.row}",
            )
        note = f"{len(files(self.root))} parquet files of the Hub"
        return collected.items, [note, *collected.note()], []

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


def lay_out(chosen: list[HubRow], root: Path) -> Iterator[tuple[Path, Path]]:
    """The input and goal image of each row, in a folder that is named after the parquet files' names and sizes."""
    name = sha256(json.dumps(made_from(files(root))).encode()).hexdigest()[:8]
    folder, window = root / FOLDER / name, Window()
    if not folder.is_dir():
        lay_out_now(files(root), folder)
    for place in (place for file in windows_of(chosen) for place in file):
        near = chosen[place.start : place.stop]
        for row in near:
            place_of = folder / row.file.stem[:25]
            known = [sorted(place_of.glob(f"{row.row:05d}_{side}.*")) for side in (0, 1)]
            if not all(known):
                data, where = window.get(near, row), f"IPr2Pr: {row.file.name}, row {row.row}"
                for side, column in enumerate(IMAGES):
                    image = stored(data, column, where)
                    path = place_of / f"{row.row:05d}_{side}{image.ending}"
                    write_whole(image.data, path)
                    known[side] = [path]
            yield known[0][0], known[1][0]


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
