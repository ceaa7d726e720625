"""The recipe of every stage of the miniature's training: what it learns from, with which settings, from which start.

STAGES is the order in which mgie.mini.make runs them. Not covered: how a stage learns (its own module).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mgie.folder import MINI
from mgie.mini.training.recipe import StageRecipe

if TYPE_CHECKING:
    from mgie.mini.stages.editors import EditorStage
    from mgie.mini.stages.tower import Tower
    from mgie.mini.training.pairs import WorldPairs
    from mgie.mini.training.parts import Parts
    from mgie.mini.training.stage import Stage

PAIRS = 32000  # drawn edits that Llama and editors learn from, each in its own draw
OFTEN = {  # families that UNets see more often than the others: they take longest to learn
    **dict.fromkeys(("add", "replace"), 4), "remove": 3,
    **dict.fromkeys(("recolour", "background", "healthy", "make-a-pair", "odd-one-out", "keep-the-animal", "subject",
                     "fix-light", "fix-colours", "brightness", "contrast", "saturation"), 2),
}  # fmt: skip
EDITS = 8000  # drawn for each seed: as many as a stage sees before it begins again
SIZES = {"cpu": 1, "gpu": 4}  # times the steps; the weights in the repository are of size cpu
EDITORS = ("base", "inspix2pix", "lgie", "mgie")  # trained by mgie.train
PLAYER, JUDGE = 1, 2  # seeds: what MGIE sees with and what it is judged with share no picture and no weight


class Place(NamedTuple):
    """Where stages leave what later ones go on with."""

    work: Path  # their checkpoints, a folder each, and in data/ the drawn pictures
    weights: Path = MINI  # what they ship

    @property
    def data(self) -> Path:
        return self.work / "data"


class Planned(NamedTuple):
    name: str
    what: str
    make: Callable[[Place], Any] | None  # to a Stage or an EditorStage; None: nothing is trained


def vae(at: Place) -> "Stage":
    from mgie.mini.stages.vae import CodecStage

    return CodecStage(StageRecipe("vae", steps=3200, batch_size=8, lr=5e-4, seed=PLAYER), at.data, EDITS)


def clip(at: Place) -> "Tower":
    from mgie.mini.stages.tower import Tower

    recipe = StageRecipe("clip", steps=2000, batch_size=32, lr=1.2e-3, seed=PLAYER, weight_decay=0.05, decay_from=0.4)
    return Tower(recipe, at.data, EDITS)


def tower(at: Place) -> "Stage":
    from mgie.mini.stages.tower import PlacedTower

    recipe = StageRecipe("tower", steps=500, batch_size=32, lr=1e-3, seed=PLAYER, warmup=30, weight_decay=0.05,
                         ema=0.99, decay_from=0.3, save_every=50, sheets_at=(1.0,))  # fmt: skip
    return PlacedTower(recipe, clip(at), at.work / "clip" / "checkpoint.safetensors")


def metric_clip(at: Place) -> "Stage":
    from mgie.mini.stages.judge_clip import MetricClip

    recipe = StageRecipe(
        "metric_clip", steps=1100, batch_size=40, lr=1.2e-3, seed=JUDGE, weight_decay=0.05, decay_from=0.4
    )
    return MetricClip(recipe, at.data, EDITS)


def dino(at: Place) -> "Stage":
    from mgie.mini.stages.judge_dino import MetricDino

    recipe = StageRecipe("dino", steps=1200, batch_size=32, lr=1.2e-3, seed=JUDGE, weight_decay=0.05, decay_from=0.4)
    return MetricDino(recipe, at.data, EDITS)


def lpips(at: Place) -> "Stage":
    from mgie.mini.stages.judge_lpips import MetricLpips

    recipe = StageRecipe("lpips", steps=2200, batch_size=32, lr=1e-3, seed=JUDGE, weight_decay=0.01)
    return MetricLpips(recipe, at.data, EDITS)


def text(at: Place) -> "Stage":
    from mgie.mini.stages.text import Text

    recipe = StageRecipe("text", steps=800, batch_size=24, lr=2e-3, seed=PLAYER, warmup=50, ema=0.99, save_every=100)
    return Text(recipe, pairs(at, "train"), pairs(at, "test"), at.work)


def llava(at: Place) -> "Stage":

    recipe = StageRecipe("llava", steps=2000, batch_size=24, lr=1.5e-3, seed=PLAYER, ema=0.995, save_every=100)
    return eyes(at, recipe, "text")


def places(at: Place) -> "Stage":

    recipe = StageRecipe(
        "places", steps=900, batch_size=24, lr=1.2e-3, seed=JUDGE, warmup=30, ema=0.995, save_every=100
    )
    where = ("odd-one-out", "make-a-pair", "subject", "keep-the-animal")
    return eyes(at, recipe, "llava", ambiguous=0.75, families=where, places=4.0, blind=4)


def slips(at: Place) -> "Stage":

    recipe = StageRecipe("slips", steps=500, batch_size=24, lr=1.2e-3, seed=PLAYER, warmup=30, ema=0.99, save_every=100)
    return eyes(at, recipe, "places", blind=10, ambiguous=0.5, places=2.0, slips=True)


def eyes(at: Place, recipe: "StageRecipe", start: str, **settings: Any) -> "Stage":
    """A stage of the Llama with eyes. settings: of EyesSettings."""
    from mgie.mini.stages.answers import Eyes, EyesSettings
    from mgie.mini.world import grammar

    test = pairs(at, "test", 300, tuple(grammar.QUESTIONS))
    return Eyes(recipe, pairs(at, "train"), test, parts(at), eyes=EyesSettings(**settings), start=start)


def sd(at: Place) -> "Stage":
    from mgie.mini.stages.sd import Diffusion

    recipe = StageRecipe(
        "sd", steps=2200, batch_size=32, lr=1e-3, seed=PLAYER, decay_from=1.0, ema=0.995, save_every=100
    )
    return Diffusion(recipe, edits(at), PAIRS, pairs(at, "test"), parts(at))


def parts(at: Place) -> "Parts":
    from mgie.mini.training.parts import Parts
    from mgie.presets import PRESETS

    return Parts(at.work, at.weights, PRESETS["mini"].vocab)


def pairs(at: Place, split: str, count: int | None = None, families: tuple[str, ...] | None = None) -> "WorldPairs":
    """What the Llama learns from: 32,000 drawn edits, no family more often; and 500 held-out ones to look at."""
    from mgie.mini.training.pairs import WorldPairs

    only: dict[str, Any] = {"families": families} if families else {}
    count = count or {"train": PAIRS, "test": 500}[split]
    return WorldPairs(at.work / "pairs", split, count, PLAYER, **only)


def edits(at: Place) -> "WorldPairs":
    """What UNets, text encoder and edit heads learn from: as many, some families more often."""
    from mgie.mini.world.examples import FAMILIES

    families = tuple(name for name in FAMILIES for _ in range(OFTEN.get(name, 1)))
    return pairs(at, "train", PAIRS, families)


def editor(name: str) -> "Callable[[Place], EditorStage]":
    """Stage base, inspix2pix, lgie or mgie."""

    def entry(at: Place) -> "EditorStage":
        from mgie.mini.stages.editors import EditorStage
        from mgie.train.loop import LoopSettings

        loop = LoopSettings(
            steps=2000, batch_size=32, lr_mllm=1e-3, lr_diffusion=8e-4, schedule="hold-then-linear", warmup=0.06,
            ema=0.995, seed=PLAYER, precision="bf16", checkpoint_every=250, log_every=50)  # fmt: skip
        if name == "base":  # its rate stays: the editors' falls
            loop = replace(loop, steps=5000, schedule="constant", warmup=0.025, ema=0.999)
        return EditorStage(name, loop, edits(at), pairs(at, "test"), parts(at))

    return entry


def align(at: Place) -> "Stage":
    from mgie.mini.stages.align import Align

    recipe = StageRecipe("align", steps=500, batch_size=32, lr=1e-3, seed=PLAYER, warmup=20, ema=0.99, save_every=100)
    return Align(recipe, edits(at), PAIRS, pairs(at, "test"), parts(at))


STAGES = [
    Planned("data", "the labelled pictures, drawn ahead of the stages that would draw them", None),
    Planned("vae", "the codec: AutoencoderKL of preset mini", vae),
    Planned("clip", "MGIE's vision tower: what is to be seen", clip),
    Planned("tower", "the tower again: where it is", tower),
    Planned("metric_clip", "mini-CLIP, the judge of CVS, CTS and CLIP-S", metric_clip),
    Planned("dino", "mini-DINO, the judge of DINO, and its eye for objects", dino),
    Planned("lpips", "mini-LPIPS, the judge of LPIPS", lpips),
    Planned("text", "the Llama on captions and instructions", text),
    Planned("sd", "UNet and text encoder, before they become editors", sd),
    Planned("llava", "Llama, projector and the frozen tower", llava),
    Planned("places", "the same, where things are", places),
    Planned("slips", "the same, from instructions with lost and unknown words", slips),
    Planned("align", "a first edit head, in the text encoder's language", align),
    Planned("base", "the UNet that the three editors start from", editor("base")),
    Planned("inspix2pix", "InsPix2Pix and its text encoder", editor("inspix2pix")),
    Planned("lgie", "LGIE, end to end", editor("lgie")),
    Planned("mgie", "MGIE, end to end", editor("mgie")),
]


def sized(stage: Any, size: str) -> Any:
    """The stage, or the EditorStage, with that size's steps, which are part of its recipe's hash.

    A step costs the same in every size.
    """
    times = SIZES[size]
    if times == 1:
        return stage
    if hasattr(stage, "loop"):
        return replace(stage, loop=replace(stage.loop, steps=times * stage.loop.steps))
    stage.recipe = replace(stage.recipe, steps=times * stage.recipe.steps)
    return stage
