"""Suites: the same dataset names on the miniature, on the authors' published outputs, or on the official files."""

from dataclasses import replace
from pathlib import Path

from bench.records import Example
from bench.registry import ANY_PIPELINE, DATASETS, MODELS, SUITES, Dataset, Model, load
from bench.settings import DataSettings, MetricSettings, ModelSettings, fill
from mgie.folder import MINI

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
