"""What there is: name -> entry, which says all that is known of it by name alone; its class is imported when asked for.
Add a dataset, a metric or a model: one new file, one line here (bench/README.md)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, NamedTuple, Protocol, cast

from bench.records import Example, Output
from bench.settings import DataSettings, EditSettings, MetricSettings, ModelSettings, at_size, fill
from mgie.folder import MINI


class DatasetEntry(NamedTuple):
    """Where its files come from stands with its class, which names it when a file is missing."""

    made_by: str  # "module:Class"
    printed: str  # its name in tables
    metrics: tuple[str, ...]  # scored when --metrics is not given: Table 1's
    in_paper: bool = False  # a column of the paper's tables; the others are shown with --datasets
    takes: tuple[str, ...] = ()  # of DataSettings, what only some datasets take: tables give it to no other


class MetricEntry(NamedTuple):
    made_by: str
    printed: str
    better: Literal["lower", "higher"]
    scale: int = 1  # a printed value is scale times the stored one
    digits: int = 3  # behind the point, when printed

    @property
    def lower(self) -> bool:
        return self.better == "lower"

    @property
    def arrow(self) -> str:
        return "\N{DOWNWARDS ARROW}" if self.lower else "\N{UPWARDS ARROW}"


class ModelEntry(NamedTuple):
    made_by: str
    printed: str
    forms: tuple[str, ...] = ("none",)  # the last one is meant where --form is not given
    bound: bool = False  # floor or ceiling: never the best model of a table
    in_paper: bool = False  # a row of the paper's tables
    get: str = ""  # how the released weights of its last form come to {folder}; empty: none are released


class SuiteEntry(NamedTuple):
    made_by: str | None  # wraps the classes in DATASETS; None: these, on the official files
    split: str  # by default, and with --full
    full: str
    splits: tuple[str, ...] = ()  # empty: each dataset's own
    datasets: tuple[str, ...] = ()  # empty: all
    size: str = "native"  # how large images are, where --size names nothing (mgie.io.sizes)
    maker: str | None = None  # a module that makes some of the suite's weights on demand (see Maker)
    outputs: tuple[str, ...] = ()  # splits that bring outputs of whole test sets: any of their systems is a model

    def hand_picked(self, split: str) -> bool:
        return bool(self.outputs) and split not in self.outputs  # the few of the MGIE authors' page


# The same names in every suite; suites mini and published wrap them (bench/datasets/mini.py, published.py, outputs.py).
DATASETS = {
    "evr": DatasetEntry("bench.datasets.evr:EVR", "EVR", ("l1", "dino", "cvs"), True, ("expand", "image_root")),
    "gier": DatasetEntry("bench.datasets.gier:GIER", "GIER", ("l1", "ssim", "cvs"), True, ("expand",)),
    "ma5k": DatasetEntry("bench.datasets.ma5k:MA5k", "MA5k", ("l1", "ssim", "lpips"), in_paper=True),
    "magicbrush": DatasetEntry("bench.datasets.magicbrush:MagicBrush", "MagicBrush", ("l1", "dino", "cvs", "cts"), True,
                               ("turns", "caption")),
    "ipr2pr": DatasetEntry("bench.datasets.ipr2pr:IPr2Pr", "IPr2Pr", ("l1", "ssim")),
    "emu-edit": DatasetEntry(
        "bench.datasets.emu_edit:EmuEdit", "Emu Edit",
        ("clip_direction@emu", "image_similarity", "cts", "l1@input", "dino@input"),  # the set emu
        takes=("wrong_captions",),
    ),
}  # fmt: skip
METRICS = {
    "l1": MetricEntry("bench.metrics.l1:L1", "L1", "lower"),
    "l2": MetricEntry("bench.metrics.l2:L2", "L2", "lower", digits=4),
    "ssim": MetricEntry("bench.metrics.ssim:SSIM", "SSIM", "higher", 100, 2),
    "lpips": MetricEntry("bench.metrics.lpips:LPIPS", "LPIPS", "lower"),
    "dino": MetricEntry("bench.metrics.dino:DINO", "DINO", "higher", 100, 2),
    "cvs": MetricEntry("bench.metrics.cvs:CVS", "CVS", "higher", 100, 2),
    "cts": MetricEntry("bench.metrics.cts:CTS", "CTS", "higher", 100, 2),
    "clip_s": MetricEntry("bench.metrics.clip_s:CLIPS", "CLIP-S", "higher"),
    "clip_direction": MetricEntry("bench.metrics.clip_direction:CLIPDirection", "CLIP direction", "higher"),
    "image_similarity": MetricEntry(
        "bench.metrics.image_similarity:ImageSimilarity", "input image similarity", "higher"
    ),
}
# Columns of tables that are no metric of --metrics; the time of rewriting (--rewrite) is part of the seconds.
TIMES = {"seconds": MetricEntry("", "s/edit", "lower"), "rewriting": MetricEntry("", "of it rewriting", "lower")}
FORMS = ("fz", "ft", "e2e")
MODELS = {
    "identity": ModelEntry("baselines.identity:Identity", "Input copy (identity)", bound=True),
    "oracle": ModelEntry("baselines.oracle:Oracle", "Goal image (oracle)", bound=True),
    "codec": ModelEntry("baselines.codec:Codec", "Codec copy (VAE)", bound=True),
    "black": ModelEntry("baselines.identity:Black", "Black image", bound=True),
    "precomputed": ModelEntry("baselines.precomputed:Precomputed", "precomputed"),
    "inspix2pix": ModelEntry("baselines.inspix2pix:InsPix2Pix", "InsPix2Pix", in_paper=True,
                             get="download: python -m bench.fetch inspix2pix --weights {folder.parent}"),
    "lgie": ModelEntry("baselines.lgie:LGIE", "LGIE", FORMS, in_paper=True),
    "mgie": ModelEntry(
        "baselines.mgie:MGIE", "MGIE", FORMS, in_paper=True,
        get="download and convert the released checkpoint: python -m bench.fetch mgie --weights {folder.parent}; files "
        "that you have: python -m mgie.convert --llava DIR --mllm mllm.pt --unet unet.pt --instruct-pix2pix DIR "
        "--out {folder}",
    ),
}  # fmt: skip
# --model diffusers:<Hub id or folder>: no name of its own, whatever pipeline it is.
ANY_PIPELINE = {"diffusers": ModelEntry("baselines.diffusers_pipeline:DiffusersPipeline", "diffusers")}
EDITORS = "baselines.editors.known:FAMILIES"  # the pipelines that diffusers:... takes, with what is known of each
# What --plan of bench.run is given to. It stands above that command, which therefore knows it by name alone.
PLANNER = "bench.planning.command"
SUITES = {
    "mini": SuiteEntry(
        "bench.datasets.mini:Mini", "quick", "test", ("quick", "test", "train", "val", "fresh"),
        ("evr", "gier", "ma5k", "magicbrush", "ipr2pr"), maker="bench.mini.finetune",
    ),
    "published": SuiteEntry(
        "bench.datasets.outputs:published", "all", "all", ("all", "sample", "test", "test-by-folder", "validation"),
        ("evr", "gier", "ma5k", "magicbrush", "ipr2pr", "emu-edit"), outputs=("test", "test-by-folder", "validation"),
    ),
    "paper": SuiteEntry(None, "", "", size="authors"),
}  # fmt: skip

BENCHMARKS = tuple(name for name, entry in DATASETS.items() if entry.in_paper)
PAPER_MODELS = tuple(name for name, entry in MODELS.items() if entry.in_paper)
WITH_FORMS = tuple(name for name, entry in MODELS.items() if entry.forms != ("none",))


def strange_to(dataset: str) -> set[str]:
    """Of DataSettings, what other datasets take and this one does not."""
    own = DATASETS[dataset].takes if dataset in DATASETS else ()
    return {name for entry in DATASETS.values() for name in entry.takes} - set(own)


def metric_entry(name: str) -> MetricEntry:
    """How a column is printed; a variant has its words behind the name: LPIPS vgg, CTS local; of a path, its end."""
    entry = TIMES.get(name) or METRICS.get(plain(name)) or MetricEntry("", plain(name), "higher")
    said = [Path(v).name if v.startswith(("/", ".", "~")) else v.removesuffix("/openai") for v in name.split("@")[1:]]
    return entry._replace(printed=" ".join([entry.printed, *said]))


def plain(metric: str) -> str:
    return metric.partition("@")[0]  # lpips of lpips@vgg: the metric of which it is a variant


def metric_of(name: str, settings: MetricSettings) -> MetricSettings:
    """What a metric of this name looks with (lpips@vgg, cts@local@ViT-L-14). ValueError: unknown metric or variant."""
    base, *variants = name.split("@")
    if base not in METRICS:
        raise ValueError(f"unknown metric '{name}'; known: {', '.join(METRICS)}; a variant follows behind @: lpips@vgg")
    for variant in variants:
        resolve = getattr(load(METRICS, base, "metric"), "variant", None)
        if resolve is None:
            raise ValueError(f"--metrics {name}: {base} has no variants; give {base}")
        settings = resolve(settings, variant)
    return settings


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics in the registry's order, the variants of one in the order given, each once."""
    rank = list(METRICS)
    return sorted(dict.fromkeys(names), key=lambda name: rank.index(plain(name)))


def model_entry(name: str) -> ModelEntry:
    """A name that is not registered is of somebody's own output images, or of any pipeline: it is printed as it is."""
    return MODELS.get(name) or ModelEntry("", name)


def short_name(model: str) -> str:
    """The printed name up to its bracket, where there is little room."""
    return model_entry(model).printed.partition(" (")[0]


def form_of(model: str) -> str:
    """The form that is meant where none is named: e2e, or none for a model without forms."""
    return model_entry(model).forms[-1]


def split_of(suite: str, full: bool, given: str | None = None) -> str:
    """The split that is meant. Raises ValueError for one that the suite does not have."""
    entry = SUITES[suite]
    split = given if given is not None else entry.full if full else entry.split
    if entry.splits and split not in entry.splits:
        raise ValueError(f"suite {suite} has no split '{split}'; known: {', '.join(entry.splits)}")
    return split


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

    def __init__(self, root: Path, settings: DataSettings) -> None: ...

    def examples(self) -> list[Example]:
        """In official order, ids unique. Images are not opened; a missing one is found when it is used."""
        ...


class WithOutputs(Dataset, Protocol):
    """A dataset of suite published, which brings the authors' output images too."""

    models: tuple[str, ...]  # whose outputs are there

    def outputs(self, model: str) -> dict[str, Path]: ...

    def expressive_instructions(self, model: str) -> dict[str, str]: ...


class Model(Protocol):
    name: str
    defaults: EditSettings  # fills the settings that were not given

    # And where it has them: parts(), by component's folder the bytes of a value once loaded, for plans;
    # missing(examples), ids that it cannot edit. Where it is not so: reads = ("input_image",), what of an example it
    # looks at beside its texts; seeded = True, whether a seed changes a pixel; instructed = True, whether it looks at
    # the instruction, which --rewrite changes.

    def fingerprint(self) -> dict[str, str]:
        """What in the model changes a pixel: weights hash, dtype, scheduler, form. Cheap: nothing is loaded for it."""
        ...

    def load(self) -> None:
        """Everything that is needed for edit, on its device. Called once before the first slice, and again for nothing:
        what it raises ends the run."""
        ...

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        """One output an example, in order. seeds: one a example, for a CPU torch.Generator each."""
        ...


def check_known(registry: Mapping[str, object], name: str, what: str) -> None:
    """Nothing is imported. Raises ValueError that lists the known names."""
    if name not in registry:
        raise ValueError(f"unknown {what} '{name}'; known: {', '.join(registry)}")


def load(registry: Mapping[str, DatasetEntry | MetricEntry | ModelEntry], name: str, what: str) -> type[Any]:
    """The class behind a name. Raises ValueError that lists the known names."""
    check_known(registry, name, what)
    return resolve_name(registry[name].made_by)


def maker_of(suite: str, weights: Path | None) -> Maker | None:
    """None where the suite makes no weights, or where others were named (--weights)."""
    maker = SUITES[suite].maker if suite in SUITES and weights is None else None
    return import_module(maker) if maker else None


def metrics_of(suite: str, dataset: str) -> tuple[str, ...]:
    """What is scored when --metrics is not given; the published suite adds SSIM beside L1: it needs no network."""
    metrics = DATASETS[dataset].metrics if dataset in DATASETS else ()
    return (*metrics, "ssim") if suite == "published" and "l1" in metrics and "ssim" not in metrics else metrics


def metric_settings(suite: str, given: MetricSettings, weights: Path | None = None) -> MetricSettings:
    """The networks that the metrics look with: those given, and the suite's own where a field is None.

    Suite mini has small ones of its own, trained on other pictures; every other suite the paper's. weights: the root.
    """
    usual, given = MetricSettings(), replace(given, fetched=(weights or Path("weights")).absolute() / "networks")
    if suite != "mini":
        return fill(given, usual)
    own = MetricSettings(clip=str(MINI / "mini-clip"), dino=str(MINI / "mini-dino"), lpips="squeeze",
                         lpips_weights=MINI / "mini-lpips" / "squeeze.safetensors", lpips_heads="none")  # fmt: skip
    if given.lpips or given.lpips_heads or given.lpips_weights:  # another LPIPS was asked for: no part of ours fits it
        own = replace(own, lpips=usual.lpips, lpips_weights=None, lpips_heads=usual.lpips_heads)
    return fill(given, own)


def edit_settings(suite: str, given: EditSettings) -> EditSettings:
    """The settings with the suite's size rule, where none is named. Raises ValueError for one that there is not."""
    return at_size(given, SUITES[suite].size)


def banner(suite: str, dataset: str, split: str = "") -> str:
    """The first line a run prints: what is being run, and what it is not."""
    name = DATASETS[dataset].printed
    if suite == "mini":
        real = "the real one: --suite paper --data-root ... (make: SUITE=paper DATA=...)"
        return f"suite mini: the built-in miniature of {name}, not {name} itself; {real}"
    if suite == "published":
        if SUITES[suite].hand_picked(split):
            return (
                f"suite published: the MGIE authors' own output images for a few {name} examples, hand-picked by them"
            )
        return f"suite published: output images for the whole {split} split of {name} that their authors made public"
    return f"suite paper: {name} from its official files"


def open_dataset(suite: str, dataset: str, data_root: Path, settings: DataSettings) -> Dataset:
    """Raises ValueError for an unknown name, FileNotFoundError (with source and next step) where the files are not."""
    cls = load(DATASETS, dataset, "dataset")
    check_known(SUITES, suite, "suite")
    entry = SUITES[suite]
    if entry.datasets and dataset not in entry.datasets:
        raise ValueError(f"suite {suite} has no dataset '{dataset}'; known: {', '.join(entry.datasets)}. Its own files "
                         f"are read with --suite paper --data-root DIR, below DIR/{dataset}/")  # fmt: skip
    if entry.made_by is None:
        return cls(data_root / dataset, settings)
    root = data_root / "published" if suite == "published" else data_root
    return resolve_name(entry.made_by)(dataset, root, settings)


def examples_of(dataset: str, root: Path, split: str) -> list[Example]:
    """The entry point mgie.examples: what --data of mgie.train and mgie.expressive holds. root: the dataset's folder.

    Raises ValueError for an unknown name or split, FileNotFoundError where the files are not.
    """
    return load(DATASETS, dataset, "dataset")(root, DataSettings(split=split)).examples()


def open_model(spec: ModelSettings, dataset: Dataset) -> Model:
    """The model behind a name; in suite published the systems are their authors' output images."""
    if spec.images is not None:
        return load(MODELS, "precomputed", "model")(spec)
    if spec.suite == "published":
        brings = cast(WithOutputs, dataset)  # as open_dataset makes it in this suite
        if spec.name in brings.models:
            given = load(MODELS, "precomputed", "model")
            return given(spec, brings.outputs(spec.name), brings.expressive_instructions(spec.name))
    if spec.name.startswith("diffusers:"):
        return load(ANY_PIPELINE, "diffusers", "model")(spec)
    return load(MODELS, spec.name, "model")(spec)


def folder_name(spec: ModelSettings) -> str:
    """mgie-e2e, mgie-e2e-ma5k, inspix2pix, ..."""
    form = "" if model_entry(spec.name).forms == ("none",) else f"-{spec.form}"
    return f"{spec.name}{form}" + (f"-{spec.dataset}" if spec.setting == "fine-tuned" else "")
