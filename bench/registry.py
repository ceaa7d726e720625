"""What there is: name -> "module:Class". Nothing is imported before it is asked for.

Add a dataset, a metric or a model: one new file, one line here.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Protocol

from bench.records import Example, Output
from bench.settings import DataSettings, EditSettings, MetricSettings, ModelSettings, fill
from mgie.folder import MINI

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
    "mgie": "baselines.mgie:MGIE",
}
# --model diffusers:<Hub id or folder>: no name of its own, whatever pipeline it is.
ANY_PIPELINE = {"diffusers": "baselines.diffusers_pipeline:DiffusersPipeline"}
# Suites that make some of their weights on demand: a module with found, how and make (see Maker).
MAKERS = {"mini": "bench.mini.finetune"}


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


# Table 1's metrics.
METRICS_OF = {
    "evr": ("l1", "dino", "cvs"),
    "gier": ("l1", "ssim", "cvs"),
    "ma5k": ("l1", "ssim", "lpips"),
    "magicbrush": ("l1", "dino", "cvs", "cts"),
    "ipr2pr": ("l1", "ssim"),
}
DATASET_NAMES = {"evr": "EVR", "gier": "GIER", "ma5k": "MA5k", "magicbrush": "MagicBrush", "ipr2pr": "IPr2Pr"}


def metrics_of(suite: str, dataset: str) -> tuple[str, ...]:
    """What is scored when --metrics is not given; the published suite adds SSIM everywhere: it needs no network."""
    metrics = METRICS_OF.get(dataset, ())
    return (*metrics, "ssim") if suite == "published" and metrics and "ssim" not in metrics else metrics


def metric_settings(suite: str, given: MetricSettings) -> MetricSettings:
    """The networks that the metrics look with: those given, and the suite's own where a field is None.

    Suite mini has small ones of its own, trained on other pictures than its models; every other suite the paper's.
    """
    usual = MetricSettings()
    if suite != "mini":
        return fill(given, usual)
    own = MetricSettings(
        clip=str(MINI / "mini-clip"), dino=str(MINI / "mini-dino"), lpips="squeeze",
        lpips_weights=MINI / "mini-lpips" / "squeeze.safetensors", lpips_heads="none",
    )  # fmt: skip
    if given.lpips or given.lpips_heads or given.lpips_weights:  # another LPIPS was asked for: no part of ours fits it
        own = replace(own, lpips=usual.lpips, lpips_weights=None, lpips_heads=usual.lpips_heads)
    return fill(given, own)


def banner(suite: str, dataset: str) -> str:
    """The first line a run prints: what is being run, and what it is not."""
    name = DATASET_NAMES[dataset]
    if suite == "mini":
        real = "the real one: --suite paper --data-root ..."
        return f"suite mini: the built-in miniature of {name}, not {name} itself; {real}"
    if suite == "published":
        return f"suite published: the MGIE authors' own output images for a few {name} examples, hand-picked by them"
    return f"suite paper: {name} from its official files"


def open_dataset(suite: str, dataset: str, data_root: Path, settings: DataSettings) -> Dataset:
    """Raises ValueError for an unknown name, FileNotFoundError (with source and next step) where the files are not."""
    cls = load(DATASETS, dataset, "dataset")
    if suite not in SUITES:
        raise ValueError(f"unknown suite '{suite}'; known: {', '.join(SUITES)}")
    if suite == "mini":
        return load(SUITES, "mini", "suite")(dataset, data_root, settings)
    if suite == "published":
        return load(SUITES, "published", "suite")(dataset, data_root / "published", settings)
    return cls(data_root / dataset, settings)


def examples_of(dataset: str, root: Path, split: str) -> list[Example]:
    """The entry point mgie.examples: what --data of mgie.train and mgie.expressive holds. root: the dataset's folder.

    Raises ValueError for an unknown name or split, FileNotFoundError where the files are not.
    """
    return load(DATASETS, dataset, "dataset")(root, DataSettings(split=split)).examples()


def open_model(spec: ModelSettings, dataset: Dataset) -> Model:
    """The model behind a name; in suite published the three systems are the authors' output images."""
    if spec.images is not None or (spec.suite == "published" and spec.name in dataset.models):
        given = load(MODELS, "precomputed", "model")
        if spec.images is not None:
            return given(spec)
        return given(spec, dataset.outputs(spec.name), dataset.expressive_instructions(spec.name))
    if spec.name.startswith("diffusers:"):
        return load(ANY_PIPELINE, "diffusers", "model")(spec)
    return load(MODELS, spec.name, "model")(spec)


FORMS = ("fz", "ft", "e2e")
WITH_FORMS = ("lgie", "mgie")  # the others have form "none"
PAPER_MODELS = ("inspix2pix", "lgie", "mgie")
SPLITS = {"mini": ("quick", "test"), "published": ("all", "all"), "paper": ("", "")}  # default, --full
KNOWN_SPLITS = {  # suite paper: each dataset's own
    "mini": ("quick", "test", "train", "val", "fresh"), "published": ("all", "sample"),
}  # fmt: skip
BENCHMARKS = ("evr", "gier", "ma5k", "magicbrush")
MODEL_NAMES = {
    "identity": "Input copy (identity)", "codec": "Codec copy (VAE)", "oracle": "Goal image (oracle)",
    "inspix2pix": "InsPix2Pix", "lgie": "LGIE", "mgie": "MGIE",
}  # fmt: skip
BOUNDS = ("identity", "codec", "oracle")  # floor, the codec's floor and ceiling: never the best model
PRINTED_X100 = frozenset({"ssim", "dino", "cvs", "cts"})
LOWER_IS_BETTER = frozenset({"l1", "lpips", "seconds"})
METRIC_NAMES = {"l1": "L1", "ssim": "SSIM", "lpips": "LPIPS", "dino": "DINO", "cvs": "CVS", "cts": "CTS",
           "clip_s": "CLIP-S", "clip_direction": "CLIP direction",
           "image_similarity": "input image similarity", "seconds": "s/edit"}  # fmt: skip
FORMLESS = ("inspix2pix",)  # --form means nothing to it


def folder_name(spec: ModelSettings) -> str:
    """mgie-e2e, mgie-e2e-ma5k, inspix2pix, ..."""
    form = "" if spec.name in FORMLESS else f"-{spec.form}"
    return f"{spec.name}{form}" + (f"-{spec.dataset}" if spec.setting == "fine-tuned" else "")
