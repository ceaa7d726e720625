"""Sets: --metrics magicbrush, emu, paper. A name for the metrics of a published protocol as it fixes them.

What a set fixes is what a row must have to stand beside published ones: pairs, backbones, captions, size, averaging. A
run that is otherwise is scored all the same; it says what differs and which command would make it comparable.
Sources: magicbrush: evaluation/image_eval.py of MagicBrush at fcfc892. emu: the Emu Edit paper fixes the pairs alone,
the backbones are UltraEdit's and MIGE's. paper: MGIE names neither backbone nor size; see the set's assumptions.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.registry import DATASETS, SUITES, plain

CLIP = (
    r"open_clip ViT-B-32-quickgelu/(openai sha256:[0-9a-f]{8}|\S+ sha256:40d36571) fp32, "  # or OpenAI's own file
    r"own transform \(bicubic 224, centre crop\)"
)
DINO = (
    r"timm timm/vit_small_patch16_224\.dino sha256:[0-9a-f]{8} fp32, Resize 256 bicubic \(PIL\), "
    r"CenterCrop 224, ImageNet norm, class token"
)
USE_CLIP, USE_DINO = "--clip ViT-B-32-quickgelu/openai", "--dino timm/vit_small_patch16_224.dino"
USE_LPIPS = "--lpips alex without --lpips-weights and --lpips-heads"
NEWER = "a newer version of this project"
DISTANCE = "l1@input"  # how far an output is from its input: whether it edits at all


def resized(to: str) -> str:
    return re.escape(f"output resized to {to} (PIL bicubic uint8), [0, 1], ")


# By metric: what the first part of its protocol must be, and the setting that makes it so.
FORMS = {
    "l1": (rf"l1: {resized('goal')}mean over RGB in float64", NEWER),
    "l2": (rf"l2: {resized('goal')}mean of squares over RGB in float64", NEWER),
    "ssim": (r"ssim: output resized to goal .*, Gaussian 11x11 sigma 1\.5, .*", NEWER),
    "lpips": (r"lpips: alex torchvision .*, calibrated layers v0\.1, output resized to goal .*", USE_LPIPS),
    "cvs": (rf"cvs: {CLIP}, cosine output/goal", USE_CLIP),
    "dino": (rf"dino: {DINO}, cosine output/goal", USE_DINO),
    "cts": (rf"cts: {CLIP}, cosine output/(local |global )?goal caption, end token kept", USE_CLIP),
    "cts@local": (rf"cts: {CLIP}, cosine output/local goal caption, end token kept", USE_CLIP),
    "cts@global": (rf"cts: {CLIP}, cosine output/global goal caption, end token kept", USE_CLIP),
    "l1@input": (rf"l1: {resized('input')}mean over RGB in float64", NEWER),
    "dino@input": (rf"dino: {DINO}, cosine output/input", USE_DINO),
    "image_similarity": (rf"image_similarity: {CLIP}, cosine input/output", USE_CLIP),
    "clip_direction@emu": (
        rf"clip_direction: {CLIP}, cosine of output - input and goal - input caption, end token kept, no value .*",
        USE_CLIP,
    ),
}


class MetricSet(NamedTuple):
    metrics: tuple[str, ...]  # empty: those of Table 1 for the dataset
    beside: str  # what its rows may be compared with
    datasets: tuple[str, ...]
    sizes: tuple[str, ...]  # rules that are the protocol's; the first is the one to ask for
    examples: Mapping[str, int]  # how many the protocol scores, by --turns; empty: not fixed
    fixed: tuple[str, ...]  # what else it fixes, in words
    assumed: tuple[str, ...] = ()  # what its source does not say


SETS = {
    "magicbrush": MetricSet(
        ("l1", "l2", "cvs", "dino", "cts@local"), "the published rows of MagicBrush's script (make standings)",
        ("magicbrush",), ("native", "magicbrush"), {"single": 1053, "multi": 535},
        ("output against goal image, brought to its size (PIL bicubic)", "CLIP ViT-B/32, DINO ViT-S/16, local captions",
         "--turns single counts every turn once, first turns too (all_turn); --turns multi the last turn of a session, "
         "on the model's own outputs (final_turn)", "mean over pairs, each picture once, whatever its size"),
    ),
    "emu": MetricSet(
        ("clip_direction@emu", "image_similarity", "cts", "l1@input", "dino@input"),
        "rows of the Emu Edit test set whose authors name CLIP ViT-B/32 and DINO ViT-S/16 (python -m bench.standings "
        "--dataset emu-edit prints what is published; it places no run)",
        ("emu-edit",), ("native",), {},
        ("CLIP_dir, CLIP_im (image_similarity), CLIP_out (cts): CLIP ViT-B/32, features normalised, output caption",
         "L1 and DINO against the input image, output brought to its size (PIL bicubic)",
         "mean over items; CLIP_dir has no value where the output is the input or both captions are one"),
        ("the paper fixes the pairs, not the backbones: these are UltraEdit's and MIGE's; ICEdit, the SK study and "
         "OmniGen use others",
         "no author lists the items with wrong captions that are left out; 690 of 3,589 test items have one caption "
         "twice"),
    ),
    "paper": MetricSet(
        (), "Tables 1 to 3 of the MGIE paper", tuple(name for name, entry in DATASETS.items() if entry.in_paper),
        ("authors",), {},
        ("the metrics of the paper's tables for the dataset", "mean over examples"),
        ("the paper names no image size: 512 x 512 centre squares, as every image that its authors show is one",
         "it names no backbone: CLIP ViT-B/32, DINO ViT-S/16 as in MagicBrush's script; LPIPS alex v0.1; Wang's SSIM",
         "it names no captions: global ones, whose CTS comes closest to its 29.34",
         "it does not say how MagicBrush's turns count: each turn on its true input"),
    ),
}  # fmt: skip


def expanded(names: Iterable[str], dataset: str) -> tuple[str, ...]:
    """The names with every set replaced by its metrics, each once. Raises ValueError for a set that the dataset has no
    part in.
    """
    found: list[str] = []
    for name in names:
        found += metrics_in(name, dataset) if name in SETS else [name]
    return tuple(dict.fromkeys(found))


def metrics_in(name: str, dataset: str) -> list[str]:
    if SETS[name].metrics:
        return list(SETS[name].metrics)
    if dataset not in SETS[name].datasets:
        raise ValueError(
            f"--metrics {name}: the paper does not score {dataset}; it scores {', '.join(SETS[name].datasets)}"
        )
    return ["cts@global" if metric == "cts" else metric for metric in DATASETS[dataset].metrics]


class Scored(NamedTuple):
    """What a run's scores were made of, as far as a set asks."""

    suite: str
    dataset: str
    split: str
    turns: str
    limit: int | None
    n: int  # examples
    size: str | None
    max_side: int | None
    protocols: Mapping[str, str]  # by metric; one that was not run has none
    wrong_captions: str = "keep"  # of Emu Edit


class Difference(NamedTuple):
    what: str
    flags: Mapping[str, str | None] = {}  # that would take it away; None: that flag left out


def differences(name: str, of: Scored) -> list[Difference]:
    """What of a run is not as the set fixes it; empty: its row may stand beside the published ones."""
    fixed = SETS[name]
    if of.suite == "mini":
        return [Difference("suite mini is drawn pictures of 64 px and looks with small networks of its own",
                           {"--suite": "paper", "--data-root": "DIR", "--size": fixed.sizes[0]})]  # fmt: skip
    found = []
    whole = of.suite == "paper" or not SUITES[of.suite].hand_picked(of.split)  # test sets as released
    if not whole:
        found.append(Difference(f"suite {of.suite} has a few hand-picked examples",
                                {"--suite": "paper", "--data-root": "DIR", "--split": None}))  # fmt: skip
    if of.dataset not in fixed.datasets:
        found.append(Difference(f"it is a protocol for {', '.join(fixed.datasets)}, this is {of.dataset}",
                                {"--dataset": fixed.datasets[0]} if len(fixed.datasets) == 1 else {}))  # fmt: skip
    if whole and of.split not in ("", "test"):
        found.append(Difference(f"split {of.split}, not test", {"--split": None}))
    if of.limit:
        found.append(Difference(f"the first {of.limit} examples alone", {"--limit": None}))
    expected = fixed.examples.get(of.turns)
    if whole and expected and of.n != expected and not of.limit and of.dataset in fixed.datasets:
        found.append(Difference(f"{of.n:,} examples, the protocol scores {expected:,}: other files than the official"))
    if (of.size or "native") not in fixed.sizes:
        found.append(Difference(f"images are scored at --size {of.size}, the protocol's is {' or '.join(fixed.sizes)}",
                                {"--size": fixed.sizes[0], "--max-side": None}))  # fmt: skip
    if of.max_side:
        found.append(Difference(f"images are shrunk to --max-side {of.max_side}",
                                {"--size": fixed.sizes[0], "--max-side": None}))  # fmt: skip
    if name == "emu" and of.dataset in fixed.datasets and of.wrong_captions == "keep":
        found.append(Difference("items with one placeholder for both captions are kept (690 of 3,589 in the test "
                                "split), which these rows leave out", {"--wrong-captions": "leave-out"}))  # fmt: skip
    return found + networks(expanded([name], of.dataset) if of.dataset in fixed.datasets else (), of)


def networks(metrics: Iterable[str], of: Scored) -> list[Difference]:
    """Metrics that were not run, or that looked with other networks than the set's."""
    found: dict[str, Difference] = {}
    for metric in metrics:
        form, setting = FORMS.get(metric) or FORMS[plain(metric)]
        protocol = of.protocols.get(metric)
        if protocol is None:
            found[metric] = Difference(f"{metric} was not run")
        elif not re.fullmatch(form, protocol.partition("; ")[0]):
            flag, _, value = setting.partition(" ")
            flags: dict[str, str | None] = {flag: value} if setting in (USE_CLIP, USE_DINO) else {}
            flags |= {"--lpips": "alex", "--lpips-weights": None, "--lpips-heads": None} if setting == USE_LPIPS else {}
            found.setdefault(setting, Difference(f"{metric} is {protocol.partition('; ')[0]!r}", flags))
    return list(found.values())


def said(name: str, of: Scored, module: str, argv: Sequence[str]) -> list[str]:
    """In words: what the row may be compared with, or what differs and which command would make it comparable.

    module, argv: the command that was given.
    """
    found, fixed = differences(name, of), SETS[name]
    where = f"set {name}, {of.dataset}"
    lines = [f"{where}: may stand beside {fixed.beside}."]
    if found:
        lines = [f"{where}: not comparable with {fixed.beside}: {'; '.join(d.what for d in found)}."]
        flags = {flag: value for d in found for flag, value in d.flags.items()}
        if flags:
            lines.append(f"Comparable would be: python -m {module} {shlex.join(with_flags(argv, flags))}")
    return lines + [f"set {name} assumes: {'; '.join(fixed.assumed)}."] * bool(fixed.assumed)


def with_flags(argv: Sequence[str], flags: Mapping[str, str | None]) -> list[str]:
    """The arguments with these flags' values; None: without the flag."""
    kept, skip = [], False
    for part in argv:
        if skip:
            skip = False
        elif part in flags:
            skip = True
        elif part.partition("=")[0] not in flags:
            kept.append(part)
    return kept + [text for flag, value in flags.items() if value is not None for text in (flag, value)]


def described() -> str:
    """For --help: what each set holds."""
    return "; ".join(
        f"{name} = {', '.join(fixed.metrics) or 'those of Table 1'} (size {fixed.sizes[0]})"
        for name, fixed in SETS.items()
    )
