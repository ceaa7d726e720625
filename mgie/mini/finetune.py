"""`python -m mgie.mini.finetune`: the further weights of Tables 2 and 3, trained when a table first asks for them.

    python -m mgie.mini.finetune --model mgie --dataset ma5k   Table 2: the shipped model on mini-MA5k's train split
    python -m mgie.mini.finetune --model mgie --form ft        Table 3: InsPix2Pix on what MGIE writes for mini-IPr2Pr

`make table2` and `make table3` do this for whatever is missing: a minute or two each on one core, one process a core;
killed, the same command continues. They are kept in runs/mini-training/finetune/<hash8>/, the hash being over the start
weights, the recipe and the data, so that other shipped weights have others. bench.run finds them and never trains.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

from bench.asked import command
from bench.settings import ModelSettings
from bench.weights import folder_name, weights_hash
from mgie import folder as pipelines

CACHE = Path(__file__).parents[2] / "runs" / "mini-training" / "finetune"
MADE = ".made.json"  # in a model's folder, written last: it is whole
MODELS, DATASETS = ("inspix2pix", "lgie", "mgie"), ("evr", "gier", "ma5k", "magicbrush")


@dataclass(frozen=True)
class Recipe:
    """A short training by mgie.train's own loop from the shipped weights."""

    steps: int = 240
    batch_size: int = 32
    lr_mllm: float = 3e-4
    lr_diffusion: float = 6e-4
    schedule: str = "cosine"
    warmup: float = 0.05
    ema: float = 0.98
    seed: int = 0
    pairs: int = 1500  # of the train split, evenly over it
    ins_weight: float = 1.0  # of L_ins
    version: int = 1  # raised when the code makes others of the same numbers


RECIPE = Recipe()


def made_for(spec: ModelSettings) -> bool:
    """Whether this is one of the weights that are trained on demand."""
    tuned = spec.setting == "fine-tuned" and spec.form == "e2e" and spec.name in MODELS and spec.dataset in DATASETS
    return tuned or (spec.setting == "zero-shot" and spec.form == "ft" and spec.name in ("lgie", "mgie"))


def starts_of(spec: ModelSettings) -> dict[str, Path]:
    """The shipped folders that it is made from: the model, or for form ft the editor and who writes its texts."""
    if spec.form == "ft":
        return {"start": pipelines.MINI / "inspix2pix", "writer": pipelines.MINI / f"{spec.name}-e2e"}
    return {"start": pipelines.MINI / (spec.name if spec.name == "inspix2pix" else f"{spec.name}-e2e")}


def place(spec: ModelSettings, cache: Path = CACHE, recipe: Recipe = RECIPE) -> Path | None:
    """Where it lies or would lie; None where it is none of these or its start is not there."""
    if not made_for(spec) or not all(folder.is_dir() for folder in starts_of(spec).values()):
        return None
    from mgie.mini.layouts import Parameters

    made_from = {name: weights_hash(folder) for name, folder in starts_of(spec).items()}
    data = f"{spec.dataset if spec.setting == 'fine-tuned' else 'ipr2pr'}@{Parameters().hash8}"
    key = json.dumps([made_from, asdict(recipe), data, spec.name, spec.form], sort_keys=True)
    return cache / sha256(key.encode()).hexdigest()[:8] / folder_name(spec)


def found(spec: ModelSettings) -> Path | None:
    """The folder of a finished training, for bench.weights."""
    folder = place(spec)
    return folder if folder and (folder / MADE).is_file() else None


def how(spec: ModelSettings) -> str:
    """The command that makes it; empty where none does."""
    what = f"--form {spec.form}" if spec.form == "ft" else f"--dataset {spec.dataset}"
    return f"python -m mgie.mini.finetune --model {spec.name} {what}" if made_for(spec) else ""


def make(specs: Sequence[ModelSettings], data_root: Path) -> None:
    """Train what is missing, one process a core; a line each to stderr. What fails says why, and the others go on."""
    todo = {}  # form ft serves every dataset
    for spec in specs:
        folder = place(spec)
        if folder and not (folder / MADE).is_file():
            todo.setdefault(folder, spec)
    if not todo:
        return
    from mgie.mini.layouts import draw

    draw(data_root)  # before the processes would wait for each other
    workers = min(len(os.sched_getaffinity(0)), len(todo))
    print(f"training {len(todo)} small models on demand: {', '.join(folder.name for folder in todo)}; {RECIPE.steps} "
          f"steps each, one to three minutes on a core, {workers} at a time; kept below {shown(CACHE)}; a killed one "
          "continues", file=sys.stderr, flush=True)  # fmt: skip
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = {pool.submit(train, spec, folder, data_root): folder for folder, spec in todo.items()}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                said = future.exception() or future.result()
                print(f"[{done}/{len(todo)}] {futures[future].name}: {said}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def train(spec: ModelSettings, folder: Path, data_root: Path, recipe: Recipe = RECIPE) -> str:
    """One model, in this process; returns what to say of it. The loop's own lines go to .log in its folder."""
    from contextlib import redirect_stderr, redirect_stdout

    from mgie.mini.finetune_loop import tune

    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".log", "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        facts = tune(spec, starts_of(spec), folder, data_root, recipe)
    return (f"{recipe.steps} steps on {facts['pairs']} pairs of mini-{facts['dataset']}, {facts['seconds']:.0f} s, "
            f"L_edit {facts['first']:.4f} -> {facts['last']:.4f}")  # fmt: skip


def shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m mgie.mini.finetune", description=__doc__, formatter_class=raw)
    p.add_argument("--model", required=True, choices=MODELS)
    p.add_argument("--dataset", choices=DATASETS, help="tune the shipped model on this one's train split")
    p.add_argument("--form", choices=("ft",), help="tune InsPix2Pix on what --model writes")
    p.add_argument("--data-root", type=Path, default=Path("data"), help="the miniature lies below it (default data)")
    return p


def make_asked(args: argparse.Namespace) -> int:
    if bool(args.dataset) == bool(args.form):
        raise ValueError("give --dataset (Table 2) or --form ft (Table 3), one of them")
    if args.form and args.model == "inspix2pix":
        raise ValueError("--form ft is for lgie and mgie: it is InsPix2Pix, tuned on what they write")
    setting = "zero-shot" if args.form else "fine-tuned"
    spec = ModelSettings(args.model, "mini", args.dataset or "ipr2pr", setting, args.form or "e2e")
    folder = place(spec)
    if folder is None:
        lacking = [str(f) for f in starts_of(spec).values() if not f.is_dir()]
        raise FileNotFoundError(f"no shipped weights at {' and '.join(lacking)}; make mini AGAIN=1 trains them")
    make([spec], args.data_root)
    print(shown(folder))
    return 0 if (folder / MADE).is_file() else 1


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return command(lambda: make_asked(args))


if __name__ == "__main__":
    sys.exit(main())
