"""The records every stage hands to the next: Dataset -> Example -> Model.edit -> Edit -> Metric -> Score.

Frozen, one JSON line each, nothing changed after it is made. No import here is heavier than the standard library.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Mask:
    """Where an example asks for a change. `bench.datasets.masks.load_mask` reads it."""

    path: Path
    ids: tuple[int, ...] | None = None  # None: RGBA image, transparent = edit; else entries of a GIER list of COCO RLEs


@dataclass(frozen=True)
class Example:
    id: str  # "magicbrush/test/00312-2", unique over all datasets
    group: str  # examples of one group are not independent: statistics are clustered by it
    input_image: Path  # may not exist: the runner counts what cannot be read
    instruction: str  # raw; stripped of outer white space where it is used
    goal_image: Path | None = None  # None: the dataset has no ground truth here
    goal_caption: str | None = None  # what CTS compares with
    mask: Mask | None = None
    turn: int = 1
    previous: str | None = None  # multi-turn: the id whose output image is this example's input image
    scored: bool = True  # False: a turn edited only so that the next one has its input
    input_caption: str | None = None  # of the input image; only Figure 3's direction similarity reads it
    captions: tuple[tuple[str, str], ...] = ()  # (kind, goal caption) for each kind the dataset has: global, local
    original: str | None = None  # what the user wrote, where a rewriter (--rewrite) has put its text in `instruction`

    def caption(self, kind: str) -> str | None:
        """Its goal caption of a kind; empty: the run's own."""
        return dict(self.captions).get(kind) if kind else self.goal_caption

    @property
    def file_name(self) -> str:
        """The name of this example's output image in a folder of edits."""
        return file_name(self.id)


# Of a folder that bench.export has made: what it is, the images to be edited, where their outputs go.
EXPORT, INPUTS, OUTPUTS = "export.json", "inputs", "outputs"


def file_name(example_id: str) -> str:
    return example_id.replace("/", "__").replace("#", "__") + ".png"


def with_later_turns(reasons: Mapping[str, str], examples: Iterable[Example]) -> dict[str, str]:
    """By example id, why there is no edit; then there is none of the later turns of its session either."""
    found: dict[str, str] = {}
    for example in examples:  # a turn comes behind the one before it
        later = "the turn before it will not be edited" if example.previous in found else ""
        if why := reasons.get(example.id) or later:
            found[example.id] = why
    return found


class Output(NamedTuple):
    """What a model returns for one example."""

    image: "Image"  # RGB
    expressive_instruction: str | None = None  # LGIE and MGIE only
    expressive_tokens: int | None = None  # tokens generated for it
    # by stage, this example's share of its batch; None: the runner times it; {}: nothing was edited
    seconds: dict[str, float] | None = None


REWRITING = "rewriting"  # the stage before every model: a rewriter's seconds (--rewrite)


class NoEdit(ValueError):
    """What a model raises for examples that it has no output image for, whatever their batch; the others go on."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(reasons.values())))
        self.reasons = reasons  # example id -> why


@dataclass(frozen=True)
class Edit:
    example_id: str
    seed: int  # the run's seed (0, 1, ...); the example's own is bench.runs.runner.seed_for of it
    output_image: str  # relative to the run folder
    image_sha256: str  # of the pixels, see mgie.io.images.pixel_hash
    expressive_instruction: str | None = None
    expressive_tokens: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)  # by stage; the sum is the inference time, REWRITING in it


@dataclass(frozen=True)
class Text:
    """What a rewriter made of an example's instruction: a line of expressive.jsonl."""

    id: str  # of the example
    text: str
    instruction: str
    rewriter: str
    hash: str  # of all that the rewriter is: weights, template, how it is asked, dtype; of a file: of its texts
    template: str  # of the question; empty where the text was given
    tokens: int | None = None
    seconds: float | None = None  # its share of its batch; None: the text was given


@dataclass(frozen=True)
class Score:
    example_id: str
    group: str
    seed: int
    metric: str  # with its variant, where one was asked for: lpips@vgg
    value: float | None  # raw, unscaled; None: not defined for this example
    reason: str  # why None; else empty
    protocol: str  # what exactly was computed: backbone, weights hash, resize rule, dtype


@dataclass(frozen=True)
class Halving:
    """A slice whose edits were made in smaller batches than the run asks for."""

    seed: int
    first: str  # the ids of its first and last example
    last: str
    size: int  # its examples
    batches: list[int]  # how many of them the model was given at once in the end
    reason: str  # what the model said of the whole


def to_line(record: Edit | Score | Halving | Text | dict) -> str:
    """One JSON line, newline included; NaN is refused."""
    data = record if isinstance(record, dict) else vars(record)  # asdict copies every value, which costs more than all
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
