"""Every setting of a run, as frozen dataclasses; the flags of the commands are made from their fields.

What changes a pixel is part of the run's hash: all of DataSettings (through the list of examples) and EditSettings,
and what the model says of itself. None means: the model's own default (a preset carries its sampling defaults).
"""

import math
from argparse import ArgumentParser, Namespace, _ActionsContainer
from dataclasses import Field, asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, get_args

from mgie.io.sizes import KINDS, for_goal, parse

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")  # any of the kinds below


def flag(
    default: object, help: str, choices: tuple[str, ...] | None = None, in_name: str | None = "{name}-{value}"
) -> Any:  # as dataclasses.field: the field says its type
    """in_name: what stands in a table's file name where the value is not the default; None: it moves no value."""
    return field(default=default, metadata={"help": help, "choices": choices, "in_name": in_name})


@dataclass(frozen=True)
class DataSettings:
    split: str = flag("", "which split; default: the one the dataset scores (test, or all for the published suite)")
    expand: str = flag(
        "instruction",
        "what one example is: each instruction, the first one of each pair, or the first one of each record (EVR)",
        ("instruction", "pair", "record"),
        in_name="{value}s",
    )
    turns: str = flag(
        "single",
        "MagicBrush: single edits each turn from its true input, multi edits the model's own output of the turn before",
        ("single", "multi"),
        in_name="{value}",
    )
    caption: str = flag("global", "MagicBrush: which goal caption CTS reads", ("global", "local"), in_name="{value}")
    instructions: str = flag(
        "own",
        "which instruction an example is edited by: its own, or another example's, a control (see bench.controls)",
        ("own", "shuffled"),
        in_name="{value}",
    )
    image_root: Path | None = flag(None, "EVR: the folder of its images; default: evr/images", in_name=None)
    wrong_captions: str = flag(
        "keep",
        "Emu Edit, items with wrong captions: keep all; leave-out those with one caption for both images; or leave out "
        "those that a file lists by hash or idx (JSON, or one a line)",
        in_name="captions-{value}",
    )
    limit: int | None = flag(None, "only the first so many examples; default: all", in_name="limit{value}")

    def described(self) -> dict[str, Any]:
        """As run.json has it. Folders are private: image_root is left out (the manifest holds the images' hashes), and
        of a list the digest stands in place of its path. What came later is said where it is not as usual, so that the
        names of older runs hold."""
        usual = {"image_root": self.image_root, "instructions": "own", "wrong_captions": "keep"}
        said = {name: value for name, value in asdict(self).items() if (name, value) not in usual.items()}
        if self.wrong_captions not in ("keep", "leave-out"):
            said["wrong_captions"] = f"list {sha256(Path(self.wrong_captions).read_bytes()).hexdigest()[:8]}"
        return said


@dataclass(frozen=True)
class EditSettings:
    guidance_scale: float | None = flag(None, "weight of the instruction (alpha_X)", in_name="guidance{value}")
    image_guidance_scale: float | None = flag(
        None, "weight of the input image (alpha_V)", in_name="imageguidance{value}"
    )
    num_inference_steps: int | None = flag(None, "denoising steps", in_name="steps{value}")
    batch_size: int = flag(8, "how many examples are edited together; it is part of the run", in_name="batch{value}")
    max_side: int | None = flag(
        None,
        "with --size native: images with a longer side are shrunk to so many px; default: no limit",
        in_name="max{value}",
    )
    size: str | None = flag(
        None,
        f"of input, goal and mask, for every model: {KINDS}; default: authors in suite paper (assumed), else native",
        in_name="{value}",
    )
    exif: str = flag("apply", "EXIF orientation of input and goal images", ("apply", "ignore"))
    alpha: str = flag("white", "transparent pixels: laid on white, or the alpha channel dropped", ("white", "drop"))
    icc: str = flag(
        "convert", "colour profile of the images: converted to sRGB, or the pixels as they are", ("convert", "ignore")
    )

    def for_goal(self) -> "EditSettings":
        """How the goal image is read."""
        return replace(self, size=for_goal(self.size))


# Of EditSettings, how images are read, and what moves no image that is given.
READING = ("size", "max_side", "exif", "alpha", "icc")
NOT_READING = tuple(f.name for f in fields(EditSettings) if f.name not in READING)


@dataclass(frozen=True)
class HowSettings:
    """Where and in which numbers a model runs, and when its run gives up."""

    device: str = flag("auto", "cuda, cuda:1, cpu or auto, which is cuda where there is one", in_name=None)
    dtype: str = flag(
        "auto",
        "auto: float32 on a CPU; on a GPU float16 (VAE and latents float32), or bfloat16 where an editor needs it",
        ("auto", "float32", "bfloat16", "float16"),
        in_name="{value}",
    )
    compile: bool = flag(False, "mgie and lgie, form e2e: what runs most by torch.compile", in_name="compiled")
    quantize: str = flag(
        "none",
        "a diffusers editor: load its large parts in 8 bits (int8) or 4 bits (nf4)",
        ("none", "int8", "nf4"),
        in_name="{value}",
    )
    offload: bool = flag(
        False,
        "for a GPU smaller than the weights: they wait in main memory and come part by part; the pixels are the same",
        in_name=None,
    )
    unknown_editor: bool = flag(False, "diffusers: a class that python -m bench.editors does not list", in_name=None)
    rewrite: str = flag(
        "none",
        "who makes an expressive instruction of each instruction before the model sees it: none, mgie, lgie, a folder "
        "or Hub id of a LLaVA or Llama, or a file (JSONL of id and text); default: none",
        in_name="rewrite-{value}",
    )
    max_failures: float = flag(0.01, "share of examples that may fail (default 0.01)", in_name=None)


Setting = Literal["zero-shot", "fine-tuned"]
Form = Literal["fz", "ft", "e2e"]


@dataclass(frozen=True)
class ModelSettings:
    """Which model, with which weights. Heavy loading waits for the first edit."""

    name: str
    suite: str
    dataset: str
    setting: Setting = "zero-shot"
    form: Form = "e2e"
    weights: Path | None = None  # the root that holds <model>[-<form>][-<dataset>]/
    images: Path | None = None  # precomputed: a folder or an index file of output images
    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"  # auto: see mgie.io.devices.dtype_name
    compile: bool = False  # torch.compile; moves pixels within the stated tolerance, so it is part of the run
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one
    unsaid: bool = False  # --device was left out where the CPU must be asked for
    quantize: Literal["none", "int8", "nf4"] = "none"  # diffusers: loaded in 8 or 4 bits
    offload: bool = False  # weights wait in main memory (mgie.io.memory); moves no pixel, so it is no part of the run
    unknown_editor: bool = False  # diffusers: run a class that is not among the editors tried here


@dataclass(frozen=True)
class MetricSettings:
    """Which networks the metrics look with. All but the last three change a value, and stand in its protocol."""

    clip: str = flag(
        "ViT-B-32-quickgelu/openai",
        "CLIP of cvs, cts, clip_s: open_clip's MODEL/PRETRAINED, MODEL/FILE, or a folder with open_clip_config.json; "
        "default: ViT-B-32-quickgelu/openai, in suite mini its own",
    )
    dino: str = flag(
        "timm/vit_small_patch16_224.dino",
        "DINO: a timm model on the Hub, a weights file of ViT-S/16, or a folder with timm's config.json; default: "
        "timm/vit_small_patch16_224.dino, in suite mini its own",
    )
    lpips: str = flag(
        "alex", "network of LPIPS; default: alex, in suite mini its own squeeze", ("alex", "vgg", "squeeze")
    )
    lpips_weights: Path | None = flag(
        None, "LPIPS: weights file of its network; default: torchvision's, fetched once, in suite mini its own"
    )
    lpips_heads: str = flag(
        "linear",
        "LPIPS: the package's calibrated layers, or none (for your own network); default: linear, in suite mini none",
        ("linear", "none"),
    )
    direction: str = flag(
        "own",
        "clip_direction: by CLIP's own image transform, or as instruct-pix2pix's code has it, with its range bug",
        ("own", "ip2p_legacy"),
    )
    mask_grow: int = flag(0, "by how many px a mask is grown, for l1@outside and its like", in_name="maskgrow{value}")
    region: str = ""  # no flag: inside or outside the mask, as a metric's variant says (l1@outside)
    against: str = "goal"  # no flag: the picture that an output is compared with; input: l1@input
    captions: str = ""  # no flag: which captions a dataset that has several kinds gives (see DataSettings.caption)
    fetched: Path = field(default=Path("weights", "networks"), compare=False)  # no flag: where bench.fetch left them
    metric_device: str = flag("auto", "where the metrics' networks run: auto, cpu, cuda, ...", in_name=None)
    metric_batch_size: int = flag(16, "examples scored together; moves a value by less than 1e-5", in_name=None)


# No network named: each suite then has its own (bench.registry.metric_settings).
_NOT_NAMED: Any = None  # only until metric_settings has filled it in: no metric meets it
SUITES_OWN = MetricSettings(clip=_NOT_NAMED, dino=_NOT_NAMED, lpips=_NOT_NAMED, lpips_heads=_NOT_NAMED)


def add_metric_flags(parser: _ActionsContainer, leave: tuple[str, ...] = ()) -> None:
    """The flags of MetricSettings, of which a network that is not named is the suite's own."""
    add_flags(parser, MetricSettings, leave)
    parser.set_defaults(**{f.name: getattr(SUITES_OWN, f.name) for f in flags_in(MetricSettings)})


def add_flags(parser: _ActionsContainer, settings: "type[DataclassInstance]", leave: tuple[str, ...] = ()) -> None:
    """One flag a field: --num-inference-steps for num_inference_steps. leave: fields that the command asks itself."""
    for f in flags_in(settings):
        if f.name in leave:
            continue
        name = "--" + f.name.replace("_", "-")
        types = [t for t in get_args(f.type) or (f.type,) if t is not type(None)]
        if types[0] is bool:
            parser.add_argument(name, action="store_true", help=f.metadata["help"])
            continue
        parser.add_argument(
            name,
            type=types[0],
            default=f.default,
            help=with_default(f),
            choices=f.metadata["choices"],
        )


def with_default(f: Field) -> str:
    """The flag's help, with its default where the words do not name it."""
    text = f.metadata["help"]
    return text if "default" in text or f.default in (None, "") else f"{text} (default: {f.default})"


def add_plan_flags(parser: ArgumentParser) -> None:
    """Of the commands that edit: tell what it would take, and do nothing."""
    group = parser.add_argument_group("the plan; nothing is loaded, edited or written")
    group.add_argument(
        "--plan", action="store_true",
        help="which edits are left, what is missing and how to get it, disk, memory, time; exit code 0: all can run",
    )  # fmt: skip
    group.add_argument(
        "--for",
        dest="plan_for",
        metavar="GPU",
        help="with --plan: the memory on this GPU, by NAME-Ngb as a100-40gb; default: the one here",
    )
    if not any("--json" in action.option_strings for action in parser._actions):
        group.add_argument("--json", action="store_true", help="with --plan: one JSON object on stdout")


def planned(args: Namespace) -> bool:
    """Whether a plan is asked for. Raises ValueError for a flag of the plan without it."""
    if args.plan_for and not args.plan:
        raise ValueError(f"--for {args.plan_for} goes with --plan: it says what a run would take on that GPU")
    return args.plan


def from_flags(settings: type[Settings], namespace: object) -> Settings:
    return settings(**{f.name: getattr(namespace, f.name) for f in flags_in(settings)})


def flags_in(settings: "DataclassInstance | type[DataclassInstance]") -> list[Field]:
    """The fields that are asked for by a flag."""
    return [f for f in fields(settings) if "help" in f.metadata]


def at_size(settings: EditSettings, default: str) -> EditSettings:
    """The settings with their size rule. Raises ValueError for none that there is, or one beside --max-side."""
    rule = settings.size or ("native" if settings.max_side else default)
    parse(rule)
    if settings.max_side and rule != "native":
        raise ValueError(
            f"--max-side {settings.max_side} goes with --size native, and here --size is {rule}; to bring all "
            "images to one longer side: --size long:N"
        )
    return replace(settings, size=rule)


def fill(settings: Settings, defaults: Settings) -> Settings:
    """The settings with each None replaced by the model's own default."""
    missing = {f.name: getattr(defaults, f.name) for f in fields(settings) if getattr(settings, f.name) is None}
    return replace(settings, **missing)


AT_LEAST_ONE = ("seeds", "limit", "batch_size", "max_side", "num_inference_steps", "metric_batch_size")


def check_numbers(args: Namespace) -> None:
    """Raises ValueError for a number outside its range, before anything is loaded or written."""
    for name in AT_LEAST_ONE:
        value = getattr(args, name, None)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value}: it must be at least 1")
    if not 0 <= args.max_failures <= 1:
        raise ValueError(f"--max-failures {args.max_failures}: it is a share of the examples, from 0 to 1")
    for name in ("guidance_scale", "image_guidance_scale"):
        value = getattr(args, name)
        if value is not None and not math.isfinite(value):
            raise ValueError(f"--{name.replace('_', '-')} {value}: it must be a finite number")


class Choice(NamedTuple):
    """One setting that was given and is not the default."""

    flag: str
    value: str  # empty: the flag takes none
    in_name: str  # as part of a file name; empty: it moves no value

    def argv(self) -> list[str]:
        return [self.flag, self.value] if self.value else [self.flag]

    @property
    def said(self) -> str:
        return f"{self.flag} {short(self.value)}".rstrip()  # in what is published: folders are private


SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}  # in file names


def choices_of(defaults: "DataclassInstance", given: object, leave: tuple[str, ...] = ()) -> list[Choice]:
    """What of the fields of `defaults` (settings of any kind) `given` has otherwise, in their order.

    None is no choice: the suite's or the model's own value stands.
    """
    found = []
    for f in flags_in(defaults):
        value = getattr(given, f.name)
        if f.name in leave or value is None or str(value) == str(getattr(defaults, f.name)):
            continue
        name, said = f.name.replace("_", "-"), "" if value is True else str(value)
        pattern = f.metadata["in_name"] or ""
        found.append(Choice(f"--{name}", said, named(pattern.format(name=name, value=SHORT.get(said, short(said))))))
    return found


def short(value: str) -> str:
    """A value as part of a file name: of a path its last part and a hash of the whole, for folders are private."""
    if not value.startswith(("/", ".", "~")):
        return value
    return f"{Path(value).name}-{sha256(value.encode()).hexdigest()[:8]}"


def named(text: str) -> str:
    """As part of a file name: no sign that a path must not hold, and never long; what is shortened keeps a hash."""
    plain = "".join(c if c.isalnum() or c in "-_." else "" if c == ":" else "_" for c in text)
    return plain if len(plain) <= 40 else f"{plain[:31]}-{sha256(text.encode()).hexdigest()[:8]}"
