"""The 30 examples of the MGIE project page with the authors' own outputs, after `python -m bench.fetch published`.

Source: mllm-ie/mllm-ie.github.io at f36a0b6f48f3e49b7aabab53dd9abdff82a9c67e, _qual/ and index.html. published.csv
holds the SHA-256 and size of every image, and of each example's texts (instruction, LGIE's and MGIE's expressive
instruction, one a line); what is used is checked against it. The files themselves are not part of this project: no
licence is stated.
"""

import csv
import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bench.datasets.annotations import kind_of
from bench.records import Example
from bench.settings import DataSettings

MANIFEST = Path(__file__).parent / "published.csv"
MODELS = ("inspix2pix", "lgie", "mgie")
IN_SAMPLE = ("evr", "gier", "ma5k", "magicbrush")
SAMPLE = 3  # the sample is the first three examples of each


class Listed(NamedTuple):
    """A line of published.csv. path: below published/, or examples.jsonl#<id> for an example's texts."""

    path: str
    sha256: str
    bytes: int
    source_path: str


def manifest() -> dict[str, Listed]:
    with MANIFEST.open(newline="", encoding="utf-8") as file:
        return {
            row["path"]: Listed(row["path"], row["sha256"], int(row["bytes"]), row["source_path"])
            for row in csv.DictReader(file)
        }


def texts_of(record: dict) -> bytes:
    """What an examples.jsonl#<id> line of published.csv is the hash of."""
    expressive = record["expressive_instruction"]
    return "\n".join((record["instruction"], expressive["lgie"], expressive["mgie"])).encode()


def is_record(record: object) -> bool:
    """Whether a line of examples.jsonl has the fields that are read here, as strings."""
    if not isinstance(record, dict) or not isinstance(record.get("id"), str):
        return False
    texts, images = record.get("expressive_instruction"), record.get("images")
    return (
        isinstance(record.get("instruction"), str)
        and isinstance(texts, dict)
        and isinstance(images, dict)
        and all(isinstance(texts.get(model), str) for model in ("lgie", "mgie"))
        and all(isinstance(images.get(kind), str) for kind in ("input", "goal", *MODELS))
    )


class Published:
    models = MODELS  # whose outputs are there

    def __init__(self, dataset: str, root: Path, settings: DataSettings) -> None:
        self.name, self.root, self.settings = dataset, Path(root), settings
        known = ("ipr2pr", *IN_SAMPLE)
        if dataset not in known:
            raise ValueError(f"suite published has no dataset '{dataset}'; known: {', '.join(known)}")
        self.split = settings.split or "all"
        if self.split not in ("all", "sample"):
            raise ValueError(f"suite published has no split '{self.split}'; known: all (6 a dataset), sample (first 3)")
        if self.split == "sample" and dataset not in IN_SAMPLE:
            raise ValueError(
                f"suite published: the sample holds {', '.join(IN_SAMPLE)}, not {dataset}; use --split all"
            )
        fetch_split = " --split sample" if self.split == "sample" else ""
        self.fetch = f"python -m bench.fetch published --data-root {self.root.parent}{fetch_split}"

    @property
    def note(self) -> str:
        return f"n = {len(self._records)}, hand-picked by the authors: not a benchmark result"

    def examples(self) -> list[Example]:
        return [
            Example(
                id=record["id"],
                group=record["id"],
                input_image=self._image(record, "input"),
                instruction=record["instruction"],
                goal_image=self._image(record, "goal"),
            )
            for record in self._records
        ]

    def outputs(self, model: str) -> dict[str, Path]:
        """The authors' output images of inspix2pix, lgie or mgie, by example id."""
        self._known(model)
        return {record["id"]: self._image(record, model) for record in self._records}

    def expressive_instructions(self, model: str) -> dict[str, str]:
        """By example id; none for inspix2pix, which reads the instruction itself."""
        self._known(model)
        if model == "inspix2pix":
            return {}
        return {record["id"]: record["expressive_instruction"][model] for record in self._records}

    def _known(self, model: str) -> None:
        if model not in MODELS:
            raise ValueError(f"the project page shows no outputs of '{model}'; it shows {', '.join(MODELS)}")

    @cached_property
    def _manifest(self) -> dict[str, Listed]:
        return manifest()

    @cached_property
    def _records(self) -> list[dict]:
        """This dataset's lines of examples.jsonl, in order, their texts checked."""
        path, found = self.root / "examples.jsonl", {}
        if not path.is_file():
            raise FileNotFoundError(
                f"suite published: no file {path}.\nSource: https://mllm-ie.github.io (no licence is stated: for your "
                f"own use, not to be redistributed)\nNext: {self.fetch}"
            )
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                record = json.loads(line) if line.strip() else None
            except (ValueError, RecursionError) as error:  # bytes that are no UTF-8 are a ValueError too
                raise ValueError(f"{path}, line {number}: not valid JSON ({error}). Next: {self.fetch}") from error
            if record is None:
                continue
            if not is_record(record):
                raise ValueError(
                    f"{path}, line {number}: not an example of the project page but a {kind_of(record)} without its "
                    f"fields. Next: {self.fetch}"
                )
            if record["id"] in found:
                raise ValueError(f"{path}, line {number}: the id {record['id']} occurs twice. Next: {self.fetch}")
            found[record["id"]] = record
        wanted = [f"{self.name}/published/{i}" for i in range(SAMPLE if self.split == "sample" else 6)]
        missing = [name for name in wanted if name not in found]
        if missing:
            raise ValueError(f"{path}: no example {', '.join(missing)}. Next: {self.fetch}")
        for name in wanted:
            self._check(f"{path}, {name}", texts_of(found[name]), self._manifest[f"examples.jsonl#{name}"])
        return [found[name] for name in wanted][: self.settings.limit]

    def _image(self, record: dict, kind: str) -> Path:
        """The file, its SHA-256 checked."""
        name = record["images"][kind]
        if name not in self._manifest:
            raise ValueError(f"{record['id']}: {name!r} is not a file of the published set. Next: {self.fetch}")
        path = self.root / name
        if not path.is_file():
            raise FileNotFoundError(f"suite published: no file {path}. Next: {self.fetch}")
        self._check(str(path), path.read_bytes(), self._manifest[name])
        return path

    def _check(self, what: str, data: bytes, listed: Listed) -> None:
        digest = hashlib.sha256(data).hexdigest()
        if digest != listed.sha256:
            raise ValueError(
                f"{what} is not what the authors published: its SHA-256 is {digest}, expected {listed.sha256}. "
                f"Next: {self.fetch}"
            )
