"""`python -m mgie.mini.ablate` (`make ablations`): MGIE-mini without L_ins, and with 1, 2 or 4 visual tokens, not 8.

Every variant is trained in the same way from the same start: MGIE's shipped MLLM, InsPix2Pix's shipped UNet, a new
edit head; as many steps on the same pairs of mini-IPr2Pr in the same order. Assumed: a short training shows the sign of
an effect, not where long ones would end. Resumable; what is trained is kept in runs/mini-training/ablations/<hash8>/.
Writes ablations.csv, .md and .png below results/mini/. Exit codes as bench.tables.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from bench.grid.cells import Cell, Options, beside, run_cells
from bench.grid.reference import against, made_here
from bench.mini.ablate_report import FULL, VARIANTS, Variant
from bench.mini.finetune import MADE, Tuning, shown
from bench.registry import BENCHMARKS, SUITES
from bench.runs.pool import Pool, Tell
from bench.settings import ModelSettings
from mgie import folder as pipelines
from mgie.io import hashes as weights

if TYPE_CHECKING:
    from bench.mini.ablate_report import VariantRow

DATASETS = ("ma5k", "magicbrush")
CACHE = Path(__file__).parents[2] / "runs" / "mini-training" / "ablations"
RECIPE = Tuning(steps=200, batch_size=32, lr_mllm=5e-4, lr_diffusion=6e-4, schedule="hold-then-linear", pairs=2400)
SPEC = ModelSettings("mgie", "mini", "ipr2pr", "fine-tuned")  # which pairs: mini-IPr2Pr's train split
HEAD_SEED = 0
STORED = ".stored"


def root(recipe: Tuning = RECIPE, cache: Path = CACHE) -> Path:
    """Keyed by the start's weights, the recipe and the data. FileNotFoundError: the shipped weights are not there."""
    from mgie.mini.datasets.writer import Parameters

    parts = [pipelines.MINI / name for name in ("mgie-e2e", "inspix2pix")]
    for part in parts:
        if not part.is_dir():
            raise FileNotFoundError(f"no shipped weights at {part}; make mini trains them")
    key = [[weights.weights_hash(p) for p in parts], asdict(recipe), Parameters().hash8, HEAD_SEED]
    return cache / sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:8]


def write_start(tokens: int, folder: Path) -> None:
    """MGIE's MLLM with its first `tokens` visual tokens, InsPix2Pix's UNet, a new edit head."""
    import torch
    from diffusers import UNet2DConditionModel

    from mgie.io.weights import load_library_model
    from mgie.pipeline import MGIEPipeline

    pipe = MGIEPipeline.from_pretrained(pipelines.MINI / "mgie-e2e", dtype=torch.float32)
    unet = load_library_model(UNet2DConditionModel, pipelines.MINI / "inspix2pix" / "unet", torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(HEAD_SEED)
        head = pipe.preset.edit_head()
    tokenizer = pipe.tokenizer.with_visual(tokens)
    embeddings = pipe.mllm.llama.get_input_embeddings().weight[tokenizer.visual]
    MGIEPipeline(pipe.mllm, tokenizer, pipe.image_processor, head, embeddings, unet, pipe.vae, pipe.scheduler,
                 pipe.preset).save_pretrained(folder)  # fmt: skip


def train(variant: Variant, place: Path, data_root: Path, recipe: Tuning) -> str:
    """One variant in this process, into place/<variant>/mgie-e2e; returns what to say of it."""
    from contextlib import redirect_stderr, redirect_stdout

    from bench.mini.finetune import tune
    from mgie.train import starts

    folder = place / variant.folder / "mgie-e2e"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".log", "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        start = starts.write_once(folder.parent / "start", lambda target: write_start(variant.tokens, target))
        recipe = replace(recipe, ins_weight=variant.ins_weight)
        facts = tune(SPEC, {"start": start}, folder, data_root, recipe, place / STORED)
    return f"{recipe.steps} steps, {facts['seconds']:.0f} s, L_edit {facts['first']:.4f} -> {facts['last']:.4f}"


def store(place: Path, data_root: Path, recipe: Tuning) -> None:
    """What is frozen in every variant, once for all of them: latents and patch features."""
    from contextlib import redirect_stderr

    from bench.mini.finetune import pairs_of, training_set
    from mgie.train import starts

    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".log", "a", encoding="utf-8") as log, redirect_stderr(log):
        start = starts.write_once(place / FULL.folder / "start", lambda target: write_start(FULL.tokens, target))
        trainee = starts.load(start, (SPEC.name, SPEC.form), None)
        training_set(pairs_of(SPEC, {}, place, data_root, recipe)[0], trainee, place / STORED)


def store_task(task: tuple, tell: Tell) -> None:
    store(*task)


def train_task(task: tuple, tell: Tell) -> str:
    return train(*task)


def train_all(place: Path, data_root: Path, variants: Sequence[Variant], recipe: Tuning = RECIPE) -> None:
    """Those that are not made yet, one process a core; a line each to stderr. What fails says why."""
    todo = [v for v in variants if not (place / v.folder / "mgie-e2e" / MADE).is_file()]
    if not todo:
        return
    from mgie.mini.datasets.draw import draw

    draw(data_root)
    workers = min(len(os.sched_getaffinity(0)), len(todo))
    print(
        f"training {len(todo)} variants of MGIE-mini: {', '.join(v.name for v in todo)}; {recipe.steps} steps each, "
        f"three to nine minutes on a core, {workers} at a time; kept in {shown(place)}",
        file=sys.stderr,
        flush=True,
    )
    with Pool(workers, fresh=True) as pool:
        (stored,) = pool.each(store_task, [(place, data_root, recipe)])
        if stored.kind != "done":
            raise ValueError(f"what is frozen in all variants was not stored: {stored.value}; see {place / '.log'}")
        for done, news in enumerate(pool.each(train_task, [(v, place, data_root, recipe) for v in todo]), 1):
            said = "its process died (killed for memory?)" if news.kind == "died" else news.value
            print(f"[{done}/{len(todo)}] {todo[news.place].name}: {said}", file=sys.stderr, flush=True)
    if all((place / v.folder / "mgie-e2e" / MADE).is_file() for v in VARIANTS):
        shutil.rmtree(place / STORED, ignore_errors=True)


def measure(place: Path, options: Options, datasets: Sequence[str], variants: Sequence[Variant]) -> "list[VariantRow]":
    """A row a variant, dataset and metric; each against the full variant."""
    from bench.mini.ablate_report import rows_of
    from bench.mini.evidence import Runs
    from bench.mini.verdicts import judged

    runs: dict[str, Runs] = {}
    for variant in variants:
        found = Runs(replace(options, weights=place / variant.folder), tuple(datasets))
        cells = [Cell("mini", d, "mgie", form="e2e") for d in datasets]
        found.take(run_cells(cells, found.options))
        runs[variant.name] = found
    same = Runs(options, tuple(datasets))
    same.take(run_cells([Cell("mini", d, "identity") for d in datasets], options))
    return rows_of(runs, same, variants, judged)


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("python -m mgie.mini.ablate", description=__doc__, formatter_class=raw)
    p.add_argument("--split", default="test", choices=SUITES["mini"].splits, help="default: test, 200 a dataset")
    p.add_argument("--datasets", default=",".join(DATASETS), help=f"of {', '.join(BENCHMARKS)}; default: %(default)s")
    p.add_argument("--data-root", type=Path, default=Path("data"), help="the miniature lies below it (default data)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="files go below it (default: results)")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    from bench.grid.options import chosen, only_these
    from mgie.io.command import command, written

    args = parser().parse_args(argv)

    def make() -> int:
        datasets, place = chosen(args.datasets, (), dict.fromkeys(BENCHMARKS), "dataset"), root()
        print("suite mini: ablations of MGIE-mini, short trainings from one start, and not of the paper's model",
              flush=True)  # fmt: skip
        train_all(place, args.data_root, VARIANTS)
        from bench.mini import ablate_report

        options = Options(args.split, 1, ("l1", "cvs"), args.data_root, None, args.out)
        rows = measure(place, options, datasets, VARIANTS)
        print("\n".join(ablate_report.summary(rows)))
        ending = "" if args.split == "test" else beside("mini", args.split) or "-quick"
        ending += only_these([] if set(datasets) == set(DATASETS) else datasets)
        stem = args.results / "mini" / f"ablations{ending}"
        print(written(ablate_report.write(rows, stem, RECIPE, args.split)))
        print("\n".join(against(stem.with_suffix(".csv"), "mini")))
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
