"""Suite mini: the datasets of the built-in miniature, drawn at first use and read by their big sisters' own loaders.

Splits: test (200 scored examples, default), quick (32 of them, each on another photograph), train, val, and fresh: 200
of another draw on the same 40 test photographs, which nobody had seen when weights and settings were chosen (drawn
anew whenever these have changed since). The group is always the photograph. With --turns multi a chosen session brings
its earlier turns along, unscored.
"""

import json
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records import Example
from bench.registry import DATASETS, SUITES, load
from bench.settings import DataSettings

if TYPE_CHECKING:
    from mgie.mini.datasets.facts import Facts
    from mgie.mini.datasets.writer import Parameters

SPLITS = SUITES["mini"].splits
# of its other splits as few as there can be
FRESH: dict[str, Any] = {"draw": "fresh 3", "train": 5, "val": 5, "ipr2pr": 20}
QUICK = 32


def unit_of(example_id: str) -> str:
    """What facts.jsonl calls the example: its id without dataset, split, sentence and turn setting."""
    return example_id.rpartition("/")[2].partition("#")[0].removesuffix("@multi")


class Mini:
    def __init__(
        self, dataset_name: str, root: Path, settings: DataSettings, parameters: "Parameters | None" = None
    ) -> None:
        """root: the data root; the datasets are drawn into root/mini-<hash8>/. parameters: for other sizes."""
        if settings.split not in ("", *SPLITS):
            raise ValueError(
                f"mini {dataset_name}: unknown split '{settings.split}'; known: {', '.join(SPLITS)}. "
                "Choose one with --split."
            )
        if settings.limit is not None and settings.limit < 1:
            raise ValueError(f"--limit is {settings.limit}; it must be at least 1")
        self.name, self.root, self.settings = dataset_name, Path(root), settings
        self.split, self._parameters = settings.split or "test", parameters
        self._loader = load(DATASETS, dataset_name, "dataset")
        if settings.image_root is not None:
            raise ValueError(f"--image-root {settings.image_root}: the miniature's images lie beside its annotations")

    @cached_property
    def folder(self) -> Path:
        """Where the official layout of this dataset lies; drawn if need be."""
        from mgie.mini.datasets.draw import draw
        from mgie.mini.datasets.writer import Parameters

        parameters = self._parameters or Parameters()
        if self.split == "fresh":
            parameters = replace(parameters, **FRESH)
        return draw(self.root, parameters) / self.name

    @cached_property
    def _official(self):
        split = "test" if self.split in ("quick", "fresh") else self.split
        return self._loader(self.folder, replace(self.settings, split=split, limit=None))

    @property
    def captions(self) -> str:
        return getattr(self._official, "captions", "")

    @property
    def note(self) -> str:
        notes = [f"the miniature {self.folder.parent.name}", self._official.note]
        if self.split == "quick":
            notes.append("quick: one example a photograph")
        return "; ".join(note for note in notes if note)

    @cached_property
    def _units(self) -> dict[str, "Facts"]:
        from mgie.mini.datasets.facts import Facts

        lines = (self.folder / "facts.jsonl").read_text(encoding="utf-8").splitlines()
        facts = (Facts(**json.loads(line)) for line in lines)
        return {f.unit: replace(f, operators=tuple(f.operators), answer=tuple(f.answer)) for f in facts}

    def facts(self, example_id: str) -> "Facts":
        """Family, cause, answer and expressive instruction behind an example."""
        return self._units[unit_of(example_id)]

    def examples(self) -> list[Example]:
        official = self._official.examples()
        examples = [replace(e, group=self.facts(e.id).photograph) for e in official]
        if self.split == "quick":
            examples = with_earlier_turns(examples, on_distinct_photographs(examples, QUICK))
        if self.settings.limit is not None:
            scored = [e.id for e in examples if e.scored][: self.settings.limit]
            examples = with_earlier_turns(examples, set(scored))
        return examples


def on_distinct_photographs(examples: list[Example], many: int) -> set[str]:
    """Ids of that many scored examples, no two on one photograph; which ones follows from the ids alone."""
    chosen: dict[str, str] = {}
    for example in sorted(examples, key=lambda e: sha256(e.id.encode()).digest()):
        if example.scored and len(chosen) < many:
            chosen.setdefault(example.group, example.id)
    return set(chosen.values())


def with_earlier_turns(examples: list[Example], ids: set[str]) -> list[Example]:
    """These, and the turns whose output images they need, in the order they came in."""
    by_id, needed = {e.id: e for e in examples}, set()
    for start in ids:
        example_id: str | None = start
        while example_id is not None and example_id not in needed:
            needed.add(example_id)
            example_id = by_id[example_id].previous
    return [e for e in examples if e.id in needed]
