"""What there is: name -> "module:Class". Nothing is imported before it is asked for.

Add a dataset, a metric or a model: one new file, one line here.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from bench.records import Example, Output
from bench.settings import DataSettings, EditSettings, ModelSettings

# The datasets have the same names in every suite; suite mini and suite published wrap them (bench/datasets/mini.py,
# bench/datasets/published.py).
DATASETS = {
    "evr": "bench.datasets.evr:EVR",
    "gier": "bench.datasets.gier:GIER",
    "ma5k": "bench.datasets.ma5k:MA5k",
    "magicbrush": "bench.datasets.magicbrush:MagicBrush",
    "ipr2pr": "bench.datasets.ipr2pr:IPr2Pr",
}
SUITES = {
    "mini": "bench.datasets.mini:Mini",
    "published": "bench.datasets.published:Published",
    "paper": None,  # the classes in DATASETS, on the official files
}
METRICS = {
    "l1": "bench.metrics.l1:L1",
    "ssim": "bench.metrics.ssim:SSIM",
    "lpips": "bench.metrics.lpips:LPIPS",
    "dino": "bench.metrics.dino:DINO",
    "cvs": "bench.metrics.cvs:CVS",
    "cts": "bench.metrics.cts:CTS",
    "clip_s": "bench.metrics.clip_s:CLIPS",
    "clip_direction": "bench.metrics.clip_direction:CLIPDirection",
    "image_similarity": "bench.metrics.image_similarity:ImageSimilarity",
}
MODELS = {
    "identity": "baselines.identity:Identity",
    "oracle": "baselines.oracle:Oracle",
    "codec": "baselines.codec:Codec",
    "precomputed": "baselines.precomputed:Precomputed",
    "inspix2pix": "baselines.inspix2pix:InsPix2Pix",
    "lgie": "baselines.lgie:LGIE",
    "mgie": "mgie.model:MGIE",
}
# --model diffusers:<Hub id or folder>: no name of its own, whatever pipeline it is.
ANY_PIPELINE = {"diffusers": "baselines.diffusers_pipeline:DiffusersPipeline"}
# Suites that make some of their weights on demand: a module with found, how and make (see Maker).
MAKERS = {"mini": "mgie.mini.finetune"}


class Maker(Protocol):
    def found(self, spec: ModelSettings) -> Path | None:
        """Where these weights lie, made earlier; None: they are none of this maker's, or not made yet."""
        ...

    def how(self, spec: ModelSettings) -> str:
        """The command that makes them; empty where none does."""
        ...

    def make(self, specs: Sequence[ModelSettings], data_root: Path) -> None:
        """Makes what is missing of them, and says so on stderr. What cannot be made is left missing."""
        ...


class Dataset(Protocol):
    name: str
    note: str  # what a reader of a table must know about this data; may be empty

    def __init__(self, root, settings: DataSettings) -> None: ...

    def examples(self) -> list[Example]:
        """In official order, ids unique. Images are not opened; a missing one is found when it is used."""
        ...


class Model(Protocol):
    name: str
    defaults: EditSettings  # fills the settings that were not given

    def fingerprint(self) -> dict[str, str]:
        """What in the model changes a pixel: weights hash, dtype, scheduler, form. Cheap: nothing is loaded for it."""
        ...

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """One output an example, in order. seeds: one a example, for a CPU torch.Generator each."""
        ...


def load(registry: dict[str, str], name: str, what: str) -> type:
    """The class behind a name. Raises ValueError that lists the known names."""
    if name not in registry:
        raise ValueError(f"unknown {what} '{name}'; known: {', '.join(registry)}")
    module, cls = registry[name].split(":")
    return getattr(import_module(module), cls)


def maker_of(suite: str, weights: Path | None) -> Maker | None:
    """None where the suite makes no weights, or where others were named (--weights)."""
    return import_module(MAKERS[suite]) if suite in MAKERS and weights is None else None
