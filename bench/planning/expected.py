"""How many examples a run will have whose data is not here yet: as released, as listed, or as the miniature draws them.

A number from here is marked as such: what is counted is only what lies on the disk.
"""

import csv
from functools import lru_cache
from pathlib import Path

from bench.datasets.mini import QUICK
from bench.planning.look import Look
from bench.registry import BENCHMARKS
from mgie.mini.datasets.writer import Parameters

OFFICIAL = Path(__file__).parents[1] / "datasets" / "official.csv"
PUBLISHED = {"all": 6, "sample": 3}  # of each dataset on the project page
NAMES = {"val": ("valid", "dev"), "valid": ("val", "dev"), "dev": ("val",)}  # other names of a split


def expected(look: Look) -> int | None:
    """None: with these settings nobody has counted them."""
    data, dataset, suite = look.asked.data, look.asked.spec.dataset, look.asked.suite
    if data.expand != "instruction" or data.turns != "single":
        return None
    if suite == "published":
        count = PUBLISHED.get(data.split or "all")
    elif suite == "mini":
        drawn = {"": Parameters().test, "test": Parameters().test, "fresh": Parameters().test, "quick": QUICK}
        count = drawn.get(data.split) if dataset in BENCHMARKS else None
    else:
        splits = (data.split or "test", *NAMES.get(data.split, ()))
        count = next((triples()[dataset, split] for split in splits if (dataset, split) in triples()), None)
    return count if count is None or data.limit is None else min(count, data.limit)


@lru_cache(maxsize=1)
def triples() -> dict[tuple[str, str], int]:
    """Input, goal and instruction of the official files, by dataset and split."""
    with open(OFFICIAL, encoding="utf-8", newline="") as file:
        return {(r["dataset"], r["where"]): int(r["value"]) for r in csv.DictReader(file) if r["what"] == "triples"}
