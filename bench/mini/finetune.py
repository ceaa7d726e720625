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
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.datasets.mini import Mini
from bench.records import Example
from bench.registry import BENCHMARKS, PAPER_MODELS, folder_name
from bench.runs.pool import Pool, Tell
from bench.settings import DataSettings, ModelSettings
from mgie import folder as pipelines
from mgie.io.command import command
from mgie.io.files import write_atomic, write_json
from mgie.io.hashes import weights_hash
from mgie.train.data import FilePairs

if TYPE_CHECKING:
    from mgie.train.batches import TrainingSet
    from mgie.train.loop import LoopSettings
    from mgie.train.starts import Trainee

CACHE = Path(__file__).parents[2] / "runs" / "mini-training" / "finetune"
MADE = ".made.json"  # in a model's folder, written last: it is whole


@dataclass(frozen=True)
class Tuning:
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


RECIPE = Tuning()


def made_for(spec: ModelSettings) -> bool:
    """Whether this is one of the weights that are trained on demand."""
    ours = spec.name in PAPER_MODELS and spec.dataset in BENCHMARKS
    tuned = ours and spec.setting == "fine-tuned" and spec.form == "e2e"
    return tuned or (spec.setting == "zero-shot" and spec.form == "ft" and spec.name in ("lgie", "mgie"))


def starts_of(spec: ModelSettings) -> dict[str, Path]:
    """The shipped folders that it is made from: the model, or for form ft the editor and who writes its texts."""
    if spec.form == "ft":
        return {"start": pipelines.MINI / "inspix2pix", "writer": pipelines.MINI / f"{spec.name}-e2e"}
    return {"start": pipelines.MINI / (spec.name if spec.name == "inspix2pix" else f"{spec.name}-e2e")}


def place(spec: ModelSettings, cache: Path = CACHE, recipe: Tuning = RECIPE) -> Path | None:
    """Where it lies or would lie; None where it is none of these or its start is not there."""
    if not made_for(spec) or not all(folder.is_dir() for folder in starts_of(spec).values()):
        return None
    from mgie.mini.datasets.writer import Parameters

    made_from = {name: weights_hash(folder) for name, folder in starts_of(spec).items()}
    data = f"{spec.dataset if spec.setting == 'fine-tuned' else 'ipr2pr'}@{Parameters().hash8}"
    key = json.dumps([made_from, asdict(recipe), data, spec.name, spec.form], sort_keys=True)
    return cache / sha256(key.encode()).hexdigest()[:8] / folder_name(spec)


def found(spec: ModelSettings) -> Path | None:
    """The folder of a finished training, for baselines.places."""
    folder = place(spec)
    return folder if folder and (folder / MADE).is_file() else None


def how(spec: ModelSettings) -> str:
    """The command that makes it; empty where none does."""
    what = f"--form {spec.form}" if spec.form == "ft" else f"--dataset {spec.dataset}"
    return f"python -m mgie.mini.finetune --model {spec.name} {what}" if made_for(spec) else ""


def make(specs: Sequence[ModelSettings], data_root: Path) -> None:
    """Train what is missing, one process a core; a line each to stderr. What fails says why, and the others go on."""
    todo: dict[Path, ModelSettings] = {}  # form ft serves every dataset
    for spec in specs:
        folder = place(spec)
        if folder and not (folder / MADE).is_file():
            todo.setdefault(folder, spec)
    if not todo:
        return
    from mgie.mini.datasets.draw import draw

    draw(data_root)  # before the processes would wait for each other
    workers = min(len(os.sched_getaffinity(0)), len(todo))
    print(f"training {len(todo)} small models on demand: {', '.join(folder.name for folder in todo)}; {RECIPE.steps} "
          f"steps each, one to nine minutes on a core, {workers} at a time; kept below {shown(CACHE)}; a killed one "
          "continues", file=sys.stderr, flush=True)  # fmt: skip
    tasks = [(spec, folder, data_root) for folder, spec in todo.items()]
    with Pool(workers, fresh=True) as pool:
        for done, news in enumerate(pool.each(train_task, tasks), 1):
            said = "its process died (killed for memory?)" if news.kind == "died" else news.value
            print(f"[{done}/{len(todo)}] {tasks[news.place][1].name}: {said}", file=sys.stderr, flush=True)


def train_task(task: tuple, tell: Tell) -> str:
    return train(*task)


def train(spec: ModelSettings, folder: Path, data_root: Path, recipe: Tuning = RECIPE) -> str:
    """One model, in this process; returns what to say of it. The loop's own lines go to .log in its folder."""
    from contextlib import redirect_stderr, redirect_stdout

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
    p.add_argument("--model", required=True, choices=PAPER_MODELS)
    p.add_argument("--dataset", choices=BENCHMARKS, help="tune the shipped model on this one's train split")
    p.add_argument("--form", choices=("ft",), help="tune InsPix2Pix on what --model writes")
    p.add_argument("--data-root", type=Path, default=Path("data"), help="the miniature lies below it (default data)")
    return p


def make_asked(args: argparse.Namespace) -> int:
    if bool(args.dataset) == bool(args.form):
        raise ValueError("give --dataset (Table 2) or --form ft (Table 3), one of them")
    if args.form and args.model == "inspix2pix":
        raise ValueError("--form ft is for lgie and mgie: it is InsPix2Pix, tuned on what they write")
    setting: Literal["zero-shot", "fine-tuned"] = "zero-shot" if args.form else "fine-tuned"
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

EVERY = 50  # steps between checkpoints
AT_ONCE = 64  # instructions answered in one pass


def tune(spec: ModelSettings, start: dict[str, Path], folder: Path, data_root: Path, recipe: Tuning,
         stored: Path | None = None) -> dict:  # fmt: skip
    """folder becomes the model's; returns what it was made of. ValueError: another process is training it.

    stored: where what is frozen is kept for several trainings; None: in folder, until this one is done.
    """
    import torch
    from accelerate import Accelerator

    from mgie.mini.stages.editors import speed_up
    from mgie.train import starts
    from mgie.train.log import read
    from mgie.train.run import locked, train_from

    torch.set_num_threads(1)
    accelerator, began = Accelerator(cpu=True), time.perf_counter()
    with locked(folder, accelerator):
        if (folder / MADE).is_file():  # another process was faster
            return json.loads((folder / MADE).read_text())
        kind = (spec.name, spec.form)
        trainee = starts.load(start["start"], kind, None)
        pairs, dataset = pairs_of(spec, start, folder, data_root, recipe)
        data = training_set(pairs, trainee, stored or folder / ".stored")
        speed_up(trainee.model)
        train_from(trainee, data, settings_of(recipe), folder, accelerator, f"mini {folder.name}")
        losses = [float(row["l_edit"]) for row in read(folder / "train.csv")]
        few = max(1, len(losses) // 10)
        facts = {"dataset": dataset, "pairs": len(pairs), "seconds": round(time.perf_counter() - began, 1),
                 "first": float(np.mean(losses[:few])), "last": float(np.mean(losses[-few:])),
                 "recipe": asdict(recipe)}  # fmt: skip
        for left in (".stored", ".checkpoints"):
            shutil.rmtree(folder / left, ignore_errors=True)
        write_json(folder / MADE, facts)
    return facts


def settings_of(recipe: Tuning) -> "LoopSettings":
    from mgie.mini.training.precision import precision
    from mgie.train.loop import LoopSettings

    return LoopSettings(
        steps=recipe.steps, batch_size=recipe.batch_size, lr_mllm=recipe.lr_mllm, lr_diffusion=recipe.lr_diffusion,
        schedule=recipe.schedule, warmup=recipe.warmup, ema=recipe.ema, seed=recipe.seed,
        ins_weight=recipe.ins_weight, precision=precision(),
        micro_batch=recipe.batch_size, checkpoint_every=EVERY, log_every=EVERY)  # fmt: skip


def pairs_of(spec: ModelSettings, start: dict[str, Path], folder: Path, data_root: Path,
             recipe: Tuning) -> tuple[FilePairs, str]:  # fmt: skip
    """The pairs, and the dataset they are of."""
    name = spec.dataset if spec.setting == "fine-tuned" else "ipr2pr"
    dataset = Mini(name, data_root, DataSettings(split="train"))
    examples = evenly([e for e in dataset.examples() if e.goal_image], recipe.pairs)
    if spec.form == "ft":
        return FilePairs(examples, written(examples, start["writer"], folder / ".written.json")), name
    if spec.name == "inspix2pix":
        return FilePairs(examples), name
    return FilePairs(examples, {e.id: dataset.facts(e.id).expressive_instruction for e in examples}), name


def evenly(examples: Sequence[Example], many: int) -> list[Example]:
    """At most so many, in order, spread over the whole list."""
    if len(examples) <= many:
        return list(examples)
    return [examples[i * len(examples) // many] for i in range(many)]


def written(examples: Sequence[Example], folder: Path, kept: Path) -> dict[str, str]:
    """What the model in `folder` writes for each example, as bench.run's forms fz and ft take it; kept in a file."""
    import torch

    from mgie.expressive.writer import open_writer
    from mgie.io.images import load
    from mgie.prompts import tidy

    texts: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
    missing = [e for e in examples if e.id not in texts]
    if not missing:
        return {e.id: texts[e.id] for e in examples}
    writer = open_writer(folder, "cpu", torch.float32)
    for at in range(0, len(missing), AT_ONCE):
        some = missing[at : at + AT_ONCE]
        told, images = [e.instruction.strip() for e in some], [load(e.input_image) for e in some]
        answers = writer.write(told, images if writer.has_eyes else None, writer.usual)
        texts |= {e.id: tidy(a.text) or text for e, a, text in zip(some, answers, told, strict=True)}
        write_atomic(kept, json.dumps(texts))
    return {e.id: texts[e.id] for e in examples}


def training_set(pairs: FilePairs, trainee: "Trainee", folder: Path) -> "TrainingSet":
    """With all that is frozen stored; pairs on the same two images (GIER's several requests) are encoded once."""
    import torch

    from mgie.train.batches import TrainingSet, load_stored, precompute, store_texts
    from mgie.train.joint import TextModel

    place: dict[tuple, int] = {}
    for example in pairs.examples:
        place.setdefault((example.input_image, example.goal_image), len(place))
    firsts = {place[e.input_image, e.goal_image]: e for e in reversed(pairs.examples)}
    once = FilePairs([firsts[i] for i in range(len(place))], pairs.expressive)
    parts, cpu = (trainee.rows, trainee.sizes, trainee.image_processor), torch.device("cpu")
    if not folder.is_dir():
        precompute(TrainingSet(once, *parts), trainee.model, folder, cpu)
    index = [place[e.input_image, e.goal_image] for e in pairs.examples]
    images = {name: rows[index] for name, rows in load_stored(folder).items() if not name.startswith("text_")}
    if isinstance(trainee.model, TextModel):
        store_texts(TrainingSet(pairs, *parts), trainee.model, folder, cpu)
        images |= {name: rows for name, rows in load_stored(folder).items() if name.startswith("text_")}
    return TrainingSet(pairs, *parts, images)
