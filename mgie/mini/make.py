"""`make mini`: trains the miniature's networks, stage by stage, and ships them as fp16 safetensors with a model card.

    python -m mgie.mini.make [--stage NAME ...] [--out mgie/mini/weights]
    python -m mgie.mini.make --stage lpips --check --steps 20   # retrain the first steps, compare with train.csv

A stage whose weights were made by the same recipe and pictures is skipped; a killed one goes on where it was.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mgie.mini.editors import Editor
    from mgie.mini.pairs import WorldPairs
    from mgie.mini.stages import Recipe, Stage, Training

ROOT = Path(__file__).parents[2]
WEIGHTS = Path(__file__).parent / "weights"
RESULTS = ROOT / "results" / "mini" / "training"
WORK = ROOT / "runs" / "mini-training"
PAIRS = 32000  # drawn edits that the editors learn from
OFTEN = {  # families that base and the editors see more often than the others: they take longest to learn
    **dict.fromkeys(("add", "remove", "replace"), 3),
    **dict.fromkeys(("recolour", "background", "healthy", "make-a-pair", "odd-one-out", "keep-the-animal", "subject",
                     "fix-light", "fix-colours"), 2),
}  # fmt: skip
EDITS = 8000  # drawn for each seed: as many as a stage sees before it begins again
EDITORS = ("base", "inspix2pix", "lgie", "mgie")  # trained by mgie.train
PLAYER, JUDGE = 1, 2  # seeds: what MGIE sees with and what it is judged with share no picture and no weight


class Entry(NamedTuple):
    name: str
    what: str
    make: Callable[[Path], "Stage | Editor"] | None  # from the folder of drawn pictures; None: nothing is trained


def vae(cache: Path) -> "Stage":
    from mgie.mini.codec import Codec
    from mgie.mini.stages import Recipe

    return Codec(Recipe("vae", steps=3200, batch_size=8, lr=5e-4, seed=PLAYER), cache, EDITS)


def clip(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe
    from mgie.mini.tower import Tower

    recipe = Recipe("clip", steps=2000, batch_size=32, lr=1.2e-3, seed=PLAYER, weight_decay=0.05, decay_from=0.4)
    return Tower(recipe, cache, EDITS)


def tower(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe
    from mgie.mini.tower_places import PlacedTower

    recipe = Recipe("tower", steps=500, batch_size=32, lr=1e-3, seed=PLAYER, warmup=30, weight_decay=0.05, ema=0.99,
                    decay_from=0.3, save_every=50, sheets_at=(1.0,))  # fmt: skip
    return PlacedTower(recipe, clip(cache), cache.parent / "clip" / "checkpoint.safetensors")


def metric_clip(cache: Path) -> "Stage":
    from mgie.mini.metric_clip import MetricClip
    from mgie.mini.stages import Recipe

    recipe = Recipe("metric_clip", steps=1100, batch_size=40, lr=1.2e-3, seed=JUDGE, weight_decay=0.05, decay_from=0.4)
    return MetricClip(recipe, cache, EDITS)


def dino(cache: Path) -> "Stage":
    from mgie.mini.metric_dino import MetricDino
    from mgie.mini.stages import Recipe

    recipe = Recipe("dino", steps=1200, batch_size=32, lr=1.2e-3, seed=JUDGE, weight_decay=0.05, decay_from=0.4)
    return MetricDino(recipe, cache, EDITS)


def lpips(cache: Path) -> "Stage":
    from mgie.mini.metric_lpips import MetricLpips
    from mgie.mini.stages import Recipe

    recipe = Recipe("lpips", steps=2200, batch_size=32, lr=1e-3, seed=JUDGE, weight_decay=0.01)
    return MetricLpips(recipe, cache, EDITS)


def text(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe
    from mgie.mini.text import Text

    recipe = Recipe("text", steps=500, batch_size=24, lr=2e-3, seed=PLAYER, warmup=50, ema=0.99, save_every=100)
    return Text(recipe, pairs(cache, "train"), pairs(cache, "test"), cache.parent)


def llava(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe

    recipe = Recipe("llava", steps=1600, batch_size=24, lr=1.5e-3, seed=PLAYER, ema=0.995, save_every=100)
    return eyes(cache, recipe, "text")


def places(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe

    recipe = Recipe("places", steps=900, batch_size=24, lr=1.2e-3, seed=JUDGE, warmup=30, ema=0.995, save_every=100)
    where = ("odd-one-out", "make-a-pair", "subject", "keep-the-animal")
    return eyes(cache, recipe, "llava", ambiguous=0.75, families=where, places=4.0, blind=4)


def slips(cache: Path) -> "Stage":
    from mgie.mini.stages import Recipe

    recipe = Recipe("slips", steps=500, batch_size=24, lr=1.2e-3, seed=PLAYER, warmup=30, ema=0.99, save_every=100)
    return eyes(cache, recipe, "places", blind=10, ambiguous=0.5, places=2.0, slips=True)


def eyes(cache: Path, recipe: "Recipe", start: str, **settings: object) -> "Stage":
    """A stage of the Llama with eyes. settings: of EyesSettings."""
    from mgie.mini import grammar
    from mgie.mini.eyes import Eyes, EyesSettings
    from mgie.mini.parts import Parts
    from mgie.presets import PRESETS

    parts = Parts(cache.parent, WEIGHTS, PRESETS["mini"].vocab)
    test = pairs(cache, "test", 300, tuple(grammar.QUESTIONS))
    return Eyes(recipe, pairs(cache, "train"), test, parts, eyes=EyesSettings(**settings), start=start)


def sd(cache: Path) -> "Stage":
    from mgie.mini.diffusion import Diffusion
    from mgie.mini.parts import Parts
    from mgie.mini.stages import Recipe
    from mgie.presets import PRESETS

    recipe = Recipe("sd", steps=2200, batch_size=32, lr=1e-3, seed=PLAYER, decay_from=1.0, ema=0.995, save_every=100)
    parts = Parts(cache.parent, WEIGHTS, PRESETS["mini"].vocab)
    return Diffusion(recipe, pairs(cache, "train"), PAIRS, pairs(cache, "test"), parts)


def pairs(cache: Path, split: str, count: int | None = None, families: tuple[str, ...] | None = None) -> "WorldPairs":
    """What all other stages learn from: 32,000 drawn edits, no family more often; 500 held-out ones to look at."""
    from mgie.mini.pairs import WorldPairs

    only = {"families": families} if families else {}
    return WorldPairs(cache.parent / "pairs", split, count or {"train": PAIRS, "test": 500}[split], PLAYER, **only)


def edits(cache: Path) -> "WorldPairs":
    """What base and the editors learn from: as many pairs, some families more often."""
    from mgie.mini.world import FAMILIES

    families = tuple(name for name in FAMILIES for _ in range(OFTEN.get(name, 1)))
    return pairs(cache, "train", PAIRS, families)


def editor(name: str) -> "Callable[[Path], Editor]":
    """Stage base, inspix2pix, lgie or mgie."""

    def entry(cache: Path) -> "Editor":
        from mgie.mini.editors import Editor
        from mgie.mini.parts import Parts
        from mgie.presets import PRESETS
        from mgie.trainer import LoopSettings

        first = name == "base"  # its rate stays: the editors' falls
        loop = LoopSettings(
            steps=3500 if first else 1600, batch_size=32, lr_mllm=1e-3, lr_diffusion=8e-4,
            schedule="constant" if first else "hold-then-linear", warmup=150 / 3500 if first else 129 / 1600,
            ema=0.999 if first else 0.995,
            seed=PLAYER, precision="bf16", checkpoint_every=250, log_every=50)  # fmt: skip
        parts = Parts(cache.parent, WEIGHTS, PRESETS["mini"].vocab)
        return Editor(name, loop, edits(cache), pairs(cache, "train"), pairs(cache, "test"), parts)

    return entry


def align(cache: Path) -> "Stage":
    from mgie.mini.align import Align
    from mgie.mini.parts import Parts
    from mgie.mini.stages import Recipe
    from mgie.presets import PRESETS

    recipe = Recipe("align", steps=500, batch_size=32, lr=1e-3, seed=PLAYER, warmup=20, ema=0.99, save_every=100)
    parts = Parts(cache.parent, WEIGHTS, PRESETS["mini"].vocab)
    return Align(recipe, pairs(cache, "train"), PAIRS, pairs(cache, "test"), parts)


STAGES = [
    Entry("data", "the labelled pictures, drawn ahead of the stages that would draw them", None),
    Entry("vae", "the codec: AutoencoderKL of preset mini", vae),
    Entry("clip", "MGIE's vision tower: what is to be seen", clip),
    Entry("tower", "the tower again: where it is", tower),
    Entry("metric_clip", "mini-CLIP, the judge of CVS, CTS and CLIP-S", metric_clip),
    Entry("dino", "mini-DINO, the judge of DINO, and its eye for objects", dino),
    Entry("lpips", "mini-LPIPS, the judge of LPIPS", lpips),
    Entry("text", "the Llama on captions and instructions", text),
    Entry("sd", "UNet and text encoder, before they become editors", sd),
    Entry("llava", "Llama, projector and the frozen tower", llava),
    Entry("places", "the same, where things are", places),
    Entry("slips", "the same, from instructions with lost and unknown words", slips),
    Entry("align", "a first edit head, in the text encoder's language", align),
    Entry("base", "the UNet that the three editors start from", editor("base")),
    Entry("inspix2pix", "InsPix2Pix and its text encoder", editor("inspix2pix")),
    Entry("lgie", "LGIE, end to end", editor("lgie")),
    Entry("mgie", "MGIE, end to end", editor("mgie")),
]


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    chosen = [entry for entry in STAGES if not options.stage or entry.name in options.stage]
    import torch

    torch.set_num_threads(1)
    try:
        if options.check:
            return check(chosen, options)
        for entry in chosen:
            if entry.name == "data":
                draw_pictures(options.work / "data")
            elif entry.name in EDITORS:
                make_editor(entry.make(options.work / "data"), options)
            else:
                make(entry.make(options.work / "data"), options)
    except (ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def draw_pictures(cache: Path) -> None:
    """The chunks of every seed that are not drawn yet; about a minute each."""
    from mgie.mini.metric_clip import STYLES
    from mgie.mini.pictures import CHUNK, Pictures, Source

    for source in (Source("train", PLAYER), Source("train", JUDGE, styles=STYLES)):
        pictures = Pictures(source, cache)
        for number in range(EDITS // CHUNK):
            pictures.chunk(number)
        print(f"data: {EDITS} edits of seed {source.seed}, sha256 {pictures.content_hash()[:12]}", flush=True)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m mgie.mini.make", description=__doc__.split("\n")[0])
    parser.add_argument("--stage", action="append", choices=[entry.name for entry in STAGES],
                        help="only this stage; may be given more than once")  # fmt: skip
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="root of the weights")
    parser.add_argument("--results", type=Path, default=RESULTS, help="train.csv, plot, held-out results, scores")
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints and drawn pictures")
    parser.add_argument("--steps", type=int, help="train only so many steps of the recipe, and ship nothing")
    parser.add_argument("--check", action="store_true", help="compare the first --steps (20) with the stored train.csv")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; both are deterministic by themselves")
    return parser


def make(stage: "Stage", options: argparse.Namespace) -> None:
    from mgie.mini import card
    from mgie.mini.stages import made_by, plot, run

    name = stage.recipe.stage
    results = options.results / name
    facts = made_by(stage)
    if is_made(results / "scores.json", facts) and options.steps is None:
        print(f"{name}: up to date", flush=True)
        return
    training = run(stage, options.work / name, results, options.device, options.steps)
    plot(results / "train.csv", results / "train.png", f"stage {name}")
    if training.step < stage.recipe.steps:
        print(f"{name}: stopped at step {training.step} of {stage.recipe.steps}", flush=True)
        return
    facts |= described(training, options.device)
    stage.ship(training.mean.cpu(), options.out, facts)
    scores = {k: round(v, 5) for k, v in stage.scores(training.mean).items()}
    write_json(results / "scores.json", {**facts, "scores": scores})
    card.write(options.out, options.results)
    print(f"{name}: {json.dumps(scores)}", flush=True)


def make_editor(editor: "Editor", options: argparse.Namespace) -> None:
    """As make(), with mgie.train's loop, which resumes by itself."""
    from mgie.mini import card

    results = options.results / editor.name
    facts = editor.facts()
    if is_made(results / "scores.json", facts):
        print(f"{editor.name}: up to date", flush=True)
        return
    editor.run(results)
    facts |= {**made_on(options.device), "stage": editor.name, "steps": str(editor.loop.steps),
              "seconds": f"{editor.seconds():.0f}", "seed": str(editor.loop.seed)}  # fmt: skip
    scores = {k: round(v, 5) for k, v in editor.scores(editor.ship(options.out, facts)).items()}
    write_json(results / "scores.json", {**facts, "scores": scores})
    card.write(options.out, options.results)
    print(f"{editor.name}: {json.dumps(scores)}", flush=True)


def described(training: "Training", device: str) -> dict[str, str]:
    return {"stage": training.stage.recipe.stage, "steps": str(training.step), "seconds": f"{training.seconds:.0f}",
            "seed": str(training.stage.recipe.seed), **made_on(device)}  # fmt: skip


def made_on(device: str) -> dict[str, str]:
    import torch

    from mgie.mini import world

    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {"device": f"{name}, 1 thread" if device == "cpu" else name, "world": str(world.VERSION),
            "torch": torch.__version__}  # fmt: skip


def processor() -> str:
    """The CPU's name where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def is_made(scores: Path, facts: dict[str, str]) -> bool:
    if not scores.exists():
        return False
    stored = json.loads(scores.read_text())
    return all(stored.get(key) == value for key, value in facts.items())


def check(chosen: list[Entry], options: argparse.Namespace) -> int:
    from mgie.mini.stages import check as retrain

    faults = []
    for entry in chosen:
        if entry.make and entry.name not in EDITORS:
            stage = entry.make(options.work / "data")
            found = retrain(stage, options.results / entry.name / "train.csv", options.steps or 20, options.device)
            print(f"{entry.name}: {len(found)} differences in the first {options.steps or 20} steps", flush=True)
            faults += found
    print("\n".join(faults[:20]), end="\n" if faults else "", file=sys.stderr)
    return 1 if faults else 0


def write_json(path: Path, data: dict) -> None:
    """Atomic."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    raise SystemExit(main())
