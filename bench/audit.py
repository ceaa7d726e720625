"""What a dataset's files hold: `python -m bench.audit --dataset evr|gier|ma5k|magicbrush --data-root ROOT [--json]`.

Whether the annotations are the released files, counts, repeated pairs, leaks between splits and between datasets, type
and size mismatches, beside what was measured on the official files (bench/datasets/official.csv). Of images only the
header is read.
--published instead of --dataset: the examples of the project page beside the official files, which size rule their
pixels agree with (bench/datasets/page.py). Exit codes: 0, also when numbers differ; 2 where a file is missing or
broken, of --published where that is so of every dataset.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench.datasets import evr, gier, ma5k, magicbrush
from bench.datasets.annotations import read_json
from bench.datasets.counting import Fact, read_splits
from bench.datasets.facts import FACTS, magicbrush_folders
from mgie.io.files import inside
from mgie.io.hashes import file_digest

SHA256 = "SHA-256 of the annotations"
UNITS = {
    "evr": ("records", "unique pairs"), "gier": ("records", "input images"), "ma5k": ("records", "input images"),
    "magicbrush": ("turns", "sessions"),
}  # fmt: skip
MOST = 4  # differences in one line


class Header(NamedTuple):
    """What an image's header says. size is as a viewer shows it: turned where EXIF says so."""

    size: tuple[int, int]
    mode: str
    turned: bool


def read_header(path: Path) -> Header | None:
    """None where the file is no image that PIL knows."""
    from PIL import Image, UnidentifiedImageError

    from mgie.io.images import shown_size

    try:
        with Image.open(path) as file:
            orientation = file.getexif().get(0x0112, 1)
            return Header(shown_size(file), file.mode, orientation not in (0, 1))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        return None


class Named(NamedTuple):
    """The files one record names."""

    input_image: Path
    goal_image: Path
    mask: Path | None = None


def named_files(dataset: str, root: Path, image_root: Path | None) -> dict[str, list[Named]]:
    """By split. Read from the annotations, not through the dataset's class: that refuses what an audit should count."""
    if dataset == "magicbrush":
        named = {}
        for split, folder in magicbrush_folders(root).items():
            path = folder / "edit_turns.json"
            turns = read_json(path, list, magicbrush.SOURCE, root)
            read = [magicbrush.read_turn(t, folder / "images", f"{path}, record {i}") for i, t in enumerate(turns)]
            named[split] = [Named(turn.input_image, turn.goal_image, turn.mask) for turn in read]
        return named
    module, images = {"evr": evr, "gier": gier, "ma5k": ma5k}[dataset], image_root or root / "images"
    keys = ("img0", "img1") if dataset == "evr" else ("input", "output")
    named = {}
    for split, records in read_splits(module, root, dict.fromkeys(keys, str)).items():
        named[split] = []
        for i, record in enumerate(records):
            where = f"{module.annotation_file(root, split)}, record {i}"
            before, after = (inside(images, record[key], where) for key in keys)
            masked = dataset == "gier" and gier.mask_ids(record.get("operator"), where)
            named[split].append(Named(before, after, gier.mask_file(root, before) if masked else None))
    return named


def image_facts(split: str, files: list[Named]) -> list[Fact]:
    """Missing and broken files, and pairs of unequal size among those that are there."""
    pairs = {(file.input_image, file.goal_image) for file in files}
    named = {path for pair in pairs for path in pair}
    there = {path for path in named if path.is_file()}
    headers = {path: read_header(path) for path in there}
    known = {path: header for path, header in headers.items() if header}
    both = [(known[a], known[b]) for a, b in pairs if a in known and b in known]
    masks = {file.mask for file in files if file.mask}
    facts = [
        Fact("images named", split, len(named)),
        Fact("images missing", split, len(named) - len(there)),
        Fact("masks missing", split, sum(not path.is_file() for path in masks)),
    ]
    if not there:
        return facts
    modes = Counter(header.mode for header in known.values())
    return [
        *facts,
        Fact("images whose header cannot be read", split, len(there) - len(known)),
        Fact("pairs compared", split, len(both)),
        Fact("pairs of unequal size", split, sum(a.size != b.size for a, b in both)),
        Fact("images with an EXIF rotation", split, sum(header.turned for header in known.values())),
        Fact("pairs where EXIF turns one image alone", split, sum(a.turned != b.turned for a, b in both)),
        Fact("modes of the images", split, dict(sorted(modes.items(), key=lambda item: (-item[1], item[0])))),
    ]


def released_facts(dataset: str, root: Path) -> list[Fact]:
    """The SHA-256 of each split's annotations."""
    if dataset == "magicbrush":  # a zip whose digest nobody states
        return []
    module = {"evr": evr, "gier": gier, "ma5k": ma5k}[dataset]
    files = {split: module.annotation_file(root, split) for split in module.SPLITS}
    return [Fact(SHA256, split, file_digest(path)) for split, path in files.items() if path.is_file()]


def official(dataset: str) -> dict[tuple[str, str], object]:
    """(what, where) -> value on the official files."""
    with (Path(__file__).parent / "datasets" / "official.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == dataset]
    return {(row["what"], row["where"]): json.loads(row["value"]) for row in rows}


def audit(dataset: str, data_root: Path, image_root: Path | None = None) -> list[dict]:
    """One row a fact: what, where, value, official (null where nothing is known) and verdict (ok, differs or empty)."""
    root = data_root / dataset
    facts = FACTS[dataset](root, data_root) + released_facts(dataset, root)
    for split, files in named_files(dataset, root, image_root).items():
        facts += image_facts(split, files)
    known, rows = official(dataset), []
    for fact in facts:
        expected = known.get((fact.what, fact.where))
        verdict = "" if expected is None else "ok" if fact.value == expected else "differs"
        rows.append(fact._asdict() | {"official": expected, "verdict": verdict})
    return rows


def shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number:,}" for key, number in value.items()) or "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def as_text(dataset: str, data_root: Path, rows: list[dict]) -> str:
    lines = [f"{dataset} in {data_root / dataset}: what the files hold, and whether that is the official number"]
    for where in dict.fromkeys(row["where"] for row in rows):
        lines.append(f"\n{where}")
        for row in (row for row in rows if row["where"] == where):
            verdict = row["verdict"] if row["verdict"] != "differs" else f"differs, officially {shown(row['official'])}"
            if row["what"] == SHA256 and row["verdict"]:
                verdict = "as released" if row["verdict"] == "ok" else "not the released file"
            lines.append(f"  {row['what']:<56} {shown(row['value'])}" + (f"  [{verdict}]" if verdict else ""))
    verdicts = Counter(row["verdict"] for row in rows)
    lines.append(
        f"\n{verdicts['ok']} numbers as in the official files, {verdicts['differs']} differ, "
        f"{verdicts['']} without a known official value"
    )
    return "\n".join(lines)


def main_published(data_root: Path, as_json: bool) -> int:
    """0, whatever agrees; 2 where no dataset could be looked up. One whose files are missing or broken is a note."""
    from bench.datasets import page

    found, notes = [], {}
    try:
        there = page.datasets_there(data_root)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    for dataset in there:
        try:
            found += page.look_up(data_root, dataset)
        except (FileNotFoundError, ValueError) as error:
            notes[dataset] = str(error)
            print(f"{dataset} is left out: {error}", file=sys.stderr)
    if len(notes) == len(there):
        return 2
    if as_json:
        said = {"examples": [one._asdict() for one in found], "left out": notes, "verdict": page.verdict_of(found)}
        print(json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(page.as_text(found))
    return 0


def as_lines(dataset: str, rows: list[dict]) -> list[str]:
    """A line a split: how many units, and whether all is as released; else what differs."""
    unit, inner = UNITS[dataset]
    lines = []
    for split in dict.fromkeys(row["where"] for row in rows if row["what"] == unit and row["where"] != "all"):
        here = {row["what"]: row for row in rows if row["where"] == split}
        said = f"{here[unit]['value']:,} {unit} in {here[inner]['value']:,} {inner}"
        wrong = differing(here)
        if wrong and here.get(SHA256, {}).get("verdict") == "ok":
            wrong.insert(0, "annotations as released")
        lines.append(f"{dataset} {split}: {said}, {'; '.join(wrong) or as_far_as_known(here)}")
    return lines


def differing(here: dict[str, dict]) -> list[str]:
    """What is missing, then whether the file is another, then counts."""
    named = {"images missing": f" of {here['images named']['value']:,}" if "images named" in here else ""}
    named |= {"masks missing": "", "images whose header cannot be read": ""}
    found = [
        f"{what}: {here[what]['value']:,}{of}" for what, of in named.items() if what in here and here[what]["value"]
    ]
    if here.get(SHA256, {}).get("verdict") == "differs":
        found.append(f"not the released file (SHA-256 {here[SHA256]['value']})")
    counts = [row for row in here.values() if row["verdict"] == "differs" and row["what"] not in (SHA256, *named)]
    found += [f"{row['what']}: {shown(row['value'])}, officially {shown(row['official'])}" for row in counts]
    return found[:MOST] + [f"and {len(found) - MOST} more (python -m bench.audit)"] * (len(found) > MOST)


def as_far_as_known(here: dict[str, dict]) -> str:
    return "as released" if any(row["verdict"] == "ok" for row in here.values()) else "no official counts are known"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--dataset", choices=FACTS)
    what.add_argument(
        "--published", action="store_true",
        help="the project page's examples beside the official files: which size rule their pixels agree with",
    )  # fmt: skip
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="the parent of evr/, gier/, ...")
    parser.add_argument("--image-root", type=Path, help="EVR: folder of the images; default: <data-root>/evr/images")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of text")
    parser.add_argument("--line", action="store_true", help="one line a split: as released, or what differs")
    args = parser.parse_args(argv)
    if args.image_root and args.dataset != "evr":
        parser.error(f"--image-root {args.image_root}: only EVR takes it, not {args.dataset}")
    if args.published:
        return main_published(args.data_root, args.json)
    try:
        rows = audit(args.dataset, args.data_root, args.image_root)
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if args.line:
        print("\n".join(as_lines(args.dataset, rows)))
    elif args.json:
        print(json.dumps({"dataset": args.dataset, "facts": rows}, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        print(as_text(args.dataset, args.data_root, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
