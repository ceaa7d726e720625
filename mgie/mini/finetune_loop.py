"""One of mgie.mini.finetune's trainings: pairs of a mini dataset, what is frozen stored once, then mgie.train's loop.

Pairs are read from the official layout by the datasets' own loaders; the target texts of LGIE and MGIE are the world's
expressive instructions of these units. Form ft: the text is what the model itself writes, blind (LGIE) or not (MGIE).
"""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.datasets.mini import Mini
from bench.records import Example
from bench.settings import DataSettings, ModelSettings
from mgie.mini.finetune import MADE, Recipe
from mgie.training_data import FilePairs

if TYPE_CHECKING:
    from mgie.batches import TrainingSet
    from mgie.starts import Trainee

EVERY = 50  # steps between checkpoints
AT_ONCE = 64  # instructions answered in one pass


def tune(spec: ModelSettings, start: dict[str, Path], folder: Path, data_root: Path, recipe: Recipe,
         stored: Path | None = None) -> dict:  # fmt: skip
    """folder becomes the model's; returns what it was made of. ValueError: another process is training it.

    stored: where what is frozen is kept for several trainings; None: in folder, until this one is done.
    """
    import torch
    from accelerate import Accelerator

    from mgie import starts
    from mgie.mini.editors import speed_up
    from mgie.train_log import read
    from mgie.training_run import locked, train_from

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
        temporary = folder / f"{MADE}.part"
        temporary.write_text(json.dumps(facts, indent=1) + "\n")
        temporary.rename(folder / MADE)
    return facts


def settings_of(recipe: Recipe) -> object:
    from mgie.mini.arithmetic import precision
    from mgie.trainer import LoopSettings

    return LoopSettings(
        steps=recipe.steps, batch_size=recipe.batch_size, lr_mllm=recipe.lr_mllm, lr_diffusion=recipe.lr_diffusion,
        schedule=recipe.schedule, warmup=recipe.warmup, ema=recipe.ema, seed=recipe.seed,
        ins_weight=recipe.ins_weight, precision=precision(),
        micro_batch=recipe.batch_size, checkpoint_every=EVERY, log_every=EVERY)  # fmt: skip


def pairs_of(spec: ModelSettings, start: dict[str, Path], folder: Path, data_root: Path,
             recipe: Recipe) -> tuple[FilePairs, str]:  # fmt: skip
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

    from bench.images import load
    from mgie.prompts import tidy
    from mgie.writer import open_writer

    texts: dict[str, str] = json.loads(kept.read_text()) if kept.is_file() else {}
    missing = [e for e in examples if e.id not in texts]
    writer = open_writer(folder, "cpu", torch.float32) if missing else None
    for at in range(0, len(missing), AT_ONCE):
        some = missing[at : at + AT_ONCE]
        told, images = [e.instruction.strip() for e in some], [load(e.input_image) for e in some]
        answers = writer.write(told, images if writer.has_eyes else None, writer.usual)
        texts |= {e.id: tidy(a.text) or text for e, a, text in zip(some, answers, told, strict=True)}
        temporary = kept.with_name(f"{kept.name}.part")
        temporary.write_text(json.dumps(texts))
        temporary.rename(kept)
    return {e.id: texts[e.id] for e in examples}


def training_set(pairs: FilePairs, trainee: "Trainee", folder: Path) -> "TrainingSet":
    """With all that is frozen stored; pairs on the same two images (GIER's several requests) are encoded once."""
    import torch

    from mgie.batches import TrainingSet, load_stored, precompute, store_texts
    from mgie.joint import TextModel

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
