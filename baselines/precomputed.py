"""Precomputed: somebody's own output images, scored without their model and without a GPU.

Takes a folder with `<id>.png` in either form (`evr/test/Reddit_1#0.png` or `evr__test__Reddit_1__0.png`), a folder in
MagicBrush's output naming (`<img_id>/<img_id>_1.png`, `_inde_2.png`, `_iter_2.png`), or a CSV or JSONL with the
columns id and path. Of a folder that bench.export has made its outputs/ are taken and its inputs/ are not. JPEG and
WebP are taken too; what their compression costs is then part of the score.
"""

import csv
import hashlib
import io
import json
import os
import re
from dataclasses import replace
from pathlib import Path

from bench.records import EXPORT, INPUTS, OUTPUTS, Example, NoEdit, Output, file_name
from bench.settings import EditSettings, ModelSettings
from mgie.io.files import UNWRITABLE
from mgie.io.images import ImageError, load
from mgie.io.sizes import for_given_output

NO_IMAGE = "no output image was given"
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Precomputed:
    defaults = EditSettings()
    reads, seeded, instructed = (), False, False

    def __init__(
        self, spec: ModelSettings, paths: dict[str, Path] | None = None, expressive: dict[str, str] | None = None
    ) -> None:
        """paths: output image by example id, where a dataset brings them; else they are found under spec.images."""
        self.name = spec.name
        self.expressive = expressive or {}
        if paths is None:
            if spec.images is None:
                raise ValueError(
                    "model 'precomputed' needs --images: a folder of output images, or a CSV or JSONL of id and path"
                )
            paths = read_index(spec.images)
        self.where = spec.images
        self.paths = dict(paths)

    def fingerprint(self) -> dict[str, str]:
        digest = hashlib.sha256()
        for name in sorted(self.paths):
            path = self.paths[name]
            digest.update(f"{name}\0".encode() + (path.read_bytes() if path.is_file() else b"missing"))
        return {"images": digest.hexdigest()}

    def wanted(self, examples: list[Example]) -> list[Example]:
        """Without the earlier turns of a session of which only the last output is given: they have no score.

        The last turn then starts, for the metrics that look at it, from the dataset's own input image.
        """
        absent = {e.id for e in examples if not e.scored and self.path(e.id) is None}
        kept = [e for e in examples if e.id not in absent]
        return [replace(e, previous=None) if e.previous in absent else e for e in kept]

    def check(self, examples: list[Example], allowed: float) -> str:
        """What a user should know before the run: images that are missing or that belong to no example; empty if none.

        Raises ValueError when more than the allowed share of the examples has no image.
        """
        missing = self.missing(examples)
        used = {self.path(e.id) for e in examples}
        extra = [name for name, path in self.paths.items() if path not in used]
        said = []
        if missing:
            said.append(f"{len(missing)} of {len(examples)} examples have no image, first: {', '.join(missing[:3])}")
            if gone := [path for path in map(self.path, missing) if path]:
                said.append(f"{len(gone)} files that are named are not there, first: {gone[0]}")
        if extra:
            said.append(f"{len(extra)} images belong to no example, first: {', '.join(sorted(extra)[:3])}")
        text = f"{self.where or self.name}: " + "; ".join(said) if said else ""
        if len(missing) > allowed * len(examples):
            wanted = examples[0]
            raise ValueError(
                f"{text}\nexpected names like {wanted.file_name} or {wanted.id}.png; or raise --max-failures"
            )
        return text

    def missing(self, examples: list[Example]) -> list[str]:
        """Ids of those of which no image was given, or one that is not there."""
        paths = {e.id: self.path(e.id) for e in examples}
        return [i for i, path in paths.items() if path is None or not path.is_file()]

    def path(self, example_id: str) -> Path | None:
        for key in (example_id, Path(file_name(example_id)).stem, magicbrush_key(example_id)):
            if key in self.paths:
                return self.paths[key]
        return None

    def load(self) -> None:
        """Nothing is."""

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        outputs, reasons = [], {}
        for example in examples:
            path = self.path(example.id)
            if path is None:
                reasons[example.id] = NO_IMAGE
                continue
            how = EditSettings(alpha=settings.alpha, icc=settings.icc, size=for_given_output(settings.size))
            try:
                image = load(path, how)
            except ImageError as error:
                reasons[example.id] = str(error)
                continue
            outputs.append(Output(image, self.expressive.get(example.id), seconds={}))  # no inference time
        if reasons:
            raise NoEdit(reasons)
        return outputs


def magicbrush_key(example_id: str) -> str | None:
    """magicbrush/test/123-2 -> 123/123_inde_2; 123-2@multi -> 123/123_iter_2; a first turn -> 123/123_1."""
    match = re.fullmatch(r"magicbrush/\w+/(.+)-(\d+)(@multi)?", example_id)
    if not match:
        return None
    image, turn, multi = match.groups()
    kind = "" if turn == "1" else "iter_" if multi else "inde_"
    return f"{image}/{image}_{kind}{turn}"


def read_index(source: Path) -> dict[str, Path]:
    """Path by key: the id, or the path below the folder without its ending."""
    if source.is_dir():
        exported = (source / EXPORT).is_file()
        files = [p for p in below(source) if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        files = [p for p in files if not (exported and p.is_relative_to(source / INPUTS))]
        if not files:
            raise FileNotFoundError(f"--images {source}: no {', '.join(SUFFIXES)} file in this folder")
        paths: dict[str, Path] = {}
        for path in files:
            if path.exists() and not path.is_file():
                raise ValueError(f"--images {source}: {path.relative_to(source)} is no plain file (a pipe or a folder)")
            key = path.relative_to(source).with_name(path.name[: -len(path.suffix)]).as_posix()
            key = key.removeprefix(f"{OUTPUTS}/") if exported else key
            if key in paths:
                raise ValueError(f"--images {source}: two images for {key}: {paths[key].name} and {path.name}")
            paths[key] = path
        return paths
    if not source.exists():
        raise FileNotFoundError(f"--images {source}: no such folder or file")
    if source.suffix.lower() not in (".csv", ".jsonl"):
        raise ValueError(f"--images {source}: expected a folder, a .csv or a .jsonl with id and path")
    return read_rows(source)


def below(folder: Path) -> list[Path]:
    """What lies below folder, sorted; links to folders are followed, each folder once."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        here = os.path.realpath(place)
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        found += [Path(place) / name for name in names]
    return sorted(found)


def read_rows(source: Path) -> dict[str, Path]:
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"--images {source}: not a text file in UTF-8 ({error})") from None
    rows = csv_rows(text, source) if source.suffix.lower() == ".csv" else json_rows(text, source)
    paths: dict[str, Path] = {}
    for number, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not isinstance(row.get("path"), str):
            raise ValueError(f"--images {source}, line {number}: expected id and path, got {str(row)[:80]}")
        if UNWRITABLE.search(row["id"] + row["path"]):
            raise ValueError(f"--images {source}, line {number}: no file can be named so: {str(row)[:80]}")
        if row["id"] in paths:
            raise ValueError(f"--images {source}, line {number}: {row['id']} is there twice")
        paths[row["id"]] = source.parent / row["path"]
    if not paths:
        raise ValueError(f"--images {source}: no rows; expected a header id,path and a row an example")
    return paths


def csv_rows(text: str, source: Path) -> list[tuple[int, dict]]:
    """(number, row), the header being row 1."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        once([(name, None) for name in table.fieldnames or ()])
        return list(enumerate(table, 2))
    except (csv.Error, ValueError) as error:
        raise ValueError(f"--images {source}: not a CSV of id and path ({error})") from None


def json_rows(text: str, source: Path) -> list[tuple[int, object]]:
    """(number, row). Lines end at a newline alone: JSON may hold other signs that Unicode counts as line ends."""
    rows, lines = [], text.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        try:
            rows.append((number, json.loads(line, object_pairs_hook=once)))
        except (ValueError, RecursionError) as error:
            why = str(error) if "is there twice" in str(error) else f"not JSON ({error})"
            raise ValueError(f"--images {source}, line {number}: {why}") from None
    return rows


def once(pairs: list[tuple[str, object]]) -> dict:
    """The pairs as a dict; ValueError where a name comes again, of which one would be lost."""
    found = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = value
    return found
