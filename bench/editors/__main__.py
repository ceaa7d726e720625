"""The instruction editors of diffusers that --model diffusers:<Hub id or folder> takes, and how each is run.

    python -m bench.editors
    python -m bench.editors --json

Another class that takes an image and a text runs with --unknown-editor; nobody has tried it here.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from textwrap import wrap
from typing import Protocol

from bench.registry import EDITORS
from mgie.io.command import command

WIDTH = 100
FLAGS = {"guidance": "--guidance-scale", "image_guidance": "--image-guidance-scale"}


class Kind(Protocol):
    """One class of pipelines, as whoever runs it knows it; None: it is not guided so."""

    name: str
    hub: str
    gigabytes: float
    steps: int
    guidance: float | None
    image_guidance: float | None
    note: str


class Family(Protocol):
    """Pipelines that are run alike."""

    kinds: Sequence[Kind]
    size: str
    tried: str
    dtype: str
    mixed: bool
    batched: bool
    guided_by: str
    image_guided_by: str


def families() -> Sequence[Family]:
    module, name = EDITORS.split(":")
    return getattr(import_module(module), name)


def row(family: Family, kind: Kind) -> dict[str, str]:
    """What is known of one class, in words; the keys are what --json prints."""
    return {
        "class": kind.name + (f" ({kind.note})" if kind.note else ""),
        "hub": kind.hub,
        "memory": f"about {kind.gigabytes:g} GB of weights in 16 bit",
        "dtype": f"{family.dtype} on a GPU" + (", VAE and latents float32" if family.mixed else ""),
        "guidance": guidance(family, kind),
        "steps": str(kind.steps),
        "size": family.size,
        "batch": "images of one size together" if family.batched else "one image a call",
        "tried": "tiny random weights of this class" + (f"; {family.tried}" if family.tried else ""),
    }


def guidance(family: Family, kind: Kind) -> str:
    """By which flags it is guided and how much by default, with the pipeline's own name where it has another."""
    names = {"guidance": family.guided_by, "image_guidance": family.image_guided_by}
    said = []
    for field, flag in FLAGS.items():
        value = getattr(kind, field)
        if value is not None:
            own = flag.removeprefix("--").replace("-", "_")
            said.append(f"{flag} {value:g}" + (f" (its {names[field]})" if names[field] != own else ""))
    return ", ".join(said) or "none"


def lines(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    for one in rows:
        yield one["class"]
        for key in ("hub", "memory", "dtype", "guidance", "steps", "size", "batch", "tried"):
            yield from wrap(one[key], WIDTH, initial_indent=f"  {key:<10}", subsequent_indent=" " * 12)


def run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        "bench.editors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="a list of objects, one a class")
    args = parser.parse_args(argv)
    rows = [row(family, kind) for family in families() for kind in family.kinds]
    print(json.dumps(rows, indent=1) if args.json else "\n".join(lines(rows)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return command(lambda: run(argv))


if __name__ == "__main__":
    raise SystemExit(main())
