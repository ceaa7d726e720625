"""What any dataset's annotations hold, counted: the facts that every dataset shares, and how counts are spelled."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import NamedTuple, Protocol

from bench.datasets.annotations import Origin, field, read_json

Record = dict


class Fact(NamedTuple):
    what: str
    where: str
    value: object  # int, float, str, list or dict


def stem(name: str) -> str:
    return name.rsplit(".", 1)[0]


def suffix(name: str) -> str:
    return name.rsplit(".", 1)[1] if "." in name else ""


class Loader(Protocol):
    """What counting needs of a dataset's module."""

    @property
    def SPLITS(self) -> tuple[str, ...]: ...
    @property
    def SOURCE(self) -> Origin: ...
    def annotation_file(self, root: Path, split: str, /) -> Path: ...


def read_splits(module: Loader, root: Path, fields: Mapping[str, type]) -> dict[str, list[Record]]:
    """The records of every split whose file is there, each with these fields. At least one split must be."""
    found: dict[str, list[Record]] = {}
    for split in module.SPLITS:
        path = module.annotation_file(root, split)
        if not path.is_file() and (found or split != module.SPLITS[-1]):
            continue
        found[split] = read_json(path, list, module.SOURCE, root)
        for i, record in enumerate(found[split]):
            for name, kind in fields.items():
                field(record, name, kind, f"{path}, record {i}")
    return found


def with_all(splits: dict[str, list[Record]]) -> dict[str, list[Record]]:
    return {**splits, "all": [record for records in splits.values() for record in records]}


def spread(values: Iterable[int]) -> str:
    """'3', or '1 to 10'."""
    values = sorted(set(values))
    return " to ".join(str(v) for v in dict.fromkeys((values[0], values[-1]))) if values else "none"


def counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def texts_facts(where: str, raw: list[object]) -> list[Fact]:
    texts = [text for text in raw if isinstance(text, str)]
    words = [len(text.split()) for text in texts]
    return [
        Fact("instructions that are NaN", where, sum(isinstance(t, float) and math.isnan(t) for t in raw)),
        Fact("instructions that are blank", where, sum(not text.strip() for text in texts)),
        Fact("instructions with outer blanks", where, sum(text != text.strip() for text in texts)),
        Fact("instructions that are not ASCII", where, sum(not text.isascii() for text in texts)),
        Fact("mean words of an instruction", where, round(sum(words) / max(1, len(words)), 2)),
        Fact("most words of an instruction", where, max(words, default=0)),
    ]


def type_facts(where: str, pairs: Iterable[tuple[str, str]]) -> list[Fact]:
    types = [(suffix(input_name), suffix(goal_name)) for input_name, goal_name in pairs]
    return [
        Fact("types of input and goal image", where, counted(f"{a} to {b}" for a, b in types)),
        Fact("records whose types differ", where, sum(a != b for a, b in types)),
    ]


def leak_facts(splits: dict[str, list[Record]], pair: Callable, post: Callable) -> list[Fact]:
    """What two splits share: input images, whole pairs, posts."""
    facts = []
    for first, second in combinations(splits, 2):
        where = f"{first} and {second}"
        pairs = [{pair(record) for record in splits[split]} for split in (first, second)]
        inputs = [{p[0] for p in some} for some in pairs]
        posts = [{post(name) for name in some} for some in inputs]
        facts += [
            Fact("shared input images", where, len(inputs[0] & inputs[1])),
            Fact("identical pairs", where, len(pairs[0] & pairs[1])),
            Fact("shared posts", where, len(posts[0] & posts[1])),
        ]
    return facts
