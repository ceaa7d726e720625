"""`make mini`: trains the miniature's networks, stage by stage, and ships them as fp16 safetensors with a model card.

    python -m mgie.mini.make [--stage NAME ...] [--again] [--out mgie/mini/weights]
    python -m mgie.mini.make --stage lpips --check --steps 20   # retrain the first steps, compare with train.csv

A stage whose weights were made by the same recipe and pictures is skipped; a killed one goes on where it was.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.folder import MINI
from mgie.io.command import command
from mgie.io.files import read_json, write_json
from mgie.mini.plan import EDITORS, EDITS, JUDGE, PLAYER, SIZES, STAGES, Place, Planned, sized

if TYPE_CHECKING:
    from mgie.mini.stages.editors import EditorStage
    from mgie.mini.training.stage import Stage, Training

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "mini" / "training"  # made here
ACCEPTED = ROOT / "results" / "reference" / "mini" / "training"  # of the weights that are shipped; only read here
WORK = ROOT / "runs" / "mini-training"


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    chosen = [entry for entry in STAGES if not options.stage or entry.name in options.stage]
    return command(lambda: make_all(chosen, options))


def make_all(chosen: list[Planned], options: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(1)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: PyTorch finds no GPU here; --device cpu trains on one thread")
    place = Place(options.work, options.out)
    if options.check:
        return check(chosen, place, options)
    for entry in chosen:
        if entry.make is None:
            draw_pictures(place.data)
        elif entry.name in EDITORS:
            make_editor(sized(entry.make(place), options.size), options)
        else:
            make(sized(entry.make(place), options.size), options)
    return 0


def draw_pictures(cache: Path) -> None:
    """The chunks of every seed that are not drawn yet; about a minute each."""
    from mgie.mini.stages.judge_clip import STYLES
    from mgie.mini.training.pictures import CHUNK, Pictures, PictureSet

    for source in (PictureSet("train", PLAYER), PictureSet("train", JUDGE, styles=STYLES)):
        pictures = Pictures(source, cache)
        for number in range(EDITS // CHUNK):
            pictures.chunk(number)
        print(f"data: {EDITS} edits of seed {source.seed}, sha256 {pictures.content_hash()[:12]}", flush=True)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m mgie.mini.make", description=__doc__.split("\n")[0])
    parser.add_argument("--stage", action="append", choices=[entry.name for entry in STAGES],
                        help="only this stage; may be given more than once")  # fmt: skip
    parser.add_argument(
        "--again",
        action="store_true",
        help="also what is up to date: on from its checkpoint in --work, without one from nothing",
    )
    parser.add_argument("--out", type=Path, default=MINI, help="root of the weights")
    parser.add_argument("--results", type=Path, help="train.csv, plot, held-out results, scores; default: "
                        "results/mini/training, beside what is accepted in results/reference")  # fmt: skip
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints and drawn pictures")
    parser.add_argument("--steps", type=int, help="train only so many steps of the recipe, and ship nothing")
    parser.add_argument("--check", action="store_true", help="compare the first --steps (20) with the stored train.csv")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"),
                        help="both are deterministic by themselves (default: cpu)")  # fmt: skip
    parser.add_argument("--size", default="cpu", choices=tuple(SIZES),
                        help="times the steps: " + ", ".join(f"{k} {v}" for k, v in SIZES.items()))  # fmt: skip
    return parser


def make(stage: "Stage", options: argparse.Namespace) -> None:
    from mgie.mini.training import card
    from mgie.mini.training.stage import made_by, plot, run

    name = stage.recipe.stage
    results = (options.results or RESULTS) / name
    facts = made_by(stage)
    if is_made(options, name, facts) and not options.again and options.steps is None:
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
    card.write(options.out, lambda stage: kept(options, stage))
    print(f"{name}: {json.dumps(scores)}", flush=True)


def make_editor(editor: "EditorStage", options: argparse.Namespace) -> None:
    """As make(), with mgie.train's loop, which resumes by itself."""
    from mgie.mini.training import card

    results = (options.results or RESULTS) / editor.name
    facts = editor.facts()
    if is_made(options, editor.name, facts) and not options.again:
        print(f"{editor.name}: up to date", flush=True)
        return
    editor.run(results, options.device)
    facts |= {**made_on(options.device), "stage": editor.name, "steps": str(editor.loop.steps),
              "seconds": f"{editor.seconds():.0f}", "seed": str(editor.loop.seed)}  # fmt: skip
    scores = {k: round(v, 5) for k, v in editor.scores(editor.ship(options.out, facts)).items()}
    write_json(results / "scores.json", {**facts, "scores": scores})
    card.write(options.out, lambda stage: kept(options, stage))
    print(f"{editor.name}: {json.dumps(scores)}", flush=True)


def described(training: "Training", device: str) -> dict[str, str]:
    return {"stage": training.stage.recipe.stage, "steps": str(training.step), "seconds": f"{training.seconds:.0f}",
            "seed": str(training.stage.recipe.seed), **made_on(device)}  # fmt: skip


def made_on(device: str) -> dict[str, str]:
    import torch

    from mgie.mini.training.precision import trained_on
    from mgie.mini.world import examples as world

    return {**trained_on(device), "world": str(world.VERSION), "torch": torch.__version__}


def kept(options: argparse.Namespace, stage: str) -> Path:
    """Where a stage's log and scores are: made here, else those accepted; --results looks nowhere else."""
    made = (options.results or RESULTS) / stage
    return made if options.results or (made / "scores.json").exists() else ACCEPTED / stage


def is_made(options: argparse.Namespace, stage: str, facts: dict[str, str]) -> bool:
    """Whether weights of these facts were shipped, by a training here or by the one that is accepted."""
    for root in (options.results,) if options.results else (RESULTS, ACCEPTED):
        scores = root / stage / "scores.json"
        stored = read_json(scores) if scores.exists() else {}
        if stored and all(stored.get(key) == value for key, value in facts.items()):
            return True
    return False


def check(chosen: list[Planned], place: Place, options: argparse.Namespace) -> int:
    from mgie.mini.training.stage import check as retrain

    faults = []
    for entry in chosen:
        if entry.make and entry.name not in EDITORS:
            stage = entry.make(place)
            found = retrain(
                stage, (options.results or ACCEPTED) / entry.name / "train.csv", options.steps or 20, options.device
            )
            print(f"{entry.name}: {len(found)} differences in the first {options.steps or 20} steps", flush=True)
            faults += found
    print("\n".join(faults[:20]), end="\n" if faults else "", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
