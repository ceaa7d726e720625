"""One stage of the miniature's training: a network, a loss, held-out scores; resumable, on one CPU thread or a GPU.

A step follows from (recipe, step) and the checkpoint before it: batches are consecutive rows of drawn pictures, noise
and crops come from a generator seeded by the step. So a killed stage goes on with the same losses, bit for bit on the
same device. Not covered: many processes, and the editors' own training (mgie.train).
"""

import copy
import csv
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mgie.io.files import read_json, replacing
from mgie.io.weights import read_safetensors
from mgie.mini.training.precision import autocast, trained_on
from mgie.mini.training.recipe import StageRecipe
from mgie.train.log import draw_losses, rewrite, running_mean, whole_rows

EVERY_STEP = 60  # so many first losses are logged one by one, for checks
LOG_EVERY = 20
# Relative; the same machine gives the same bits. On another, whose products round otherwise, the losses of lpips drift
# apart with the steps: against the stored log (bfloat16, AMD with AVX-512) no value of the first 40 steps moved by over
# .9 % in float32 and 1.4 % in bfloat16 on Intel with AMX; of the first 200 the sum by 1.8 and 3.0 %, its smallest part
# by a factor of two. So there all values of the first steps are compared, then the sum.
ALL_ALIKE = 40  # steps
TOLERANCE, LATER = 0.02, 0.05
SPEED = "samples/s"  # the one column that no seed fixes


class Stage(Protocol):
    recipe: StageRecipe

    def settings(self) -> dict:
        """Sizes and weights of losses: with the recipe, all that decides the result but the pictures."""
        ...

    def network(self) -> nn.Module:
        """New weights, from the recipe's seed."""
        ...

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        """The losses of one batch, the first being their sum. teacher: the running mean of the network."""
        ...

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Measured on held-out photographs."""
        ...

    def sheet(self, network: nn.Module, path: Path) -> None:
        """A picture of held-out results."""
        ...

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        """Weights and configuration into the weights' root; made_by goes into each file's metadata."""
        ...

    def data_hash(self) -> str: ...


def recipe_hash(stage: Stage) -> str:
    data = {"recipe": asdict(stage.recipe), "settings": stage.settings()}
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def made_by(stage: Stage) -> dict[str, str]:
    """Hashes of what decides the weights: stored with checkpoints, weights and scores."""
    return {"recipe": recipe_hash(stage), "data": stage.data_hash()}


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """make() with libraries' initialisation drawn from seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


class Training:
    """A stage under way: network, its running mean, optimizer, the step."""

    def __init__(self, stage: Stage, device: str = "cpu") -> None:
        self.stage, self.device, self.step, self.seconds = stage, device, 0, 0.0
        self.network = stage.network().to(device)
        self.mean = copy.deepcopy(self.network).requires_grad_(False)
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        recipe = stage.recipe
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=recipe.lr, betas=(0.9, 0.99), weight_decay=recipe.weight_decay)  # fmt: skip

    def one_step(self) -> dict[str, float]:
        recipe, started = self.stage.recipe, clock(self.device)
        rate = recipe.rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        draw = torch.Generator().manual_seed(recipe.seed * 1_000_003 + self.step)
        self.network.train()
        with autocast(self.device):
            losses = self.stage.loss(self.network, self.mean, self.step, draw)
        total = next(iter(losses.values()))
        if not torch.isfinite(total):
            raise FloatingPointError(f"stage {recipe.stage}: the loss of step {self.step + 1} is {total.item()}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, recipe.clip)
        self.optimizer.step()
        self.step += 1
        self.follow()
        self.seconds += clock(self.device) - started
        row = {name: float(value.detach()) for name, value in losses.items()}
        return {"step": self.step, **row, "grad_norm": float(norm), "lr": rate}

    @torch.no_grad()
    def follow(self) -> None:
        """The running mean takes a step; a short memory at first, so that new weights are forgotten."""
        keep = min(self.stage.recipe.ema, (1 + self.step) / (10 + self.step))
        own = dict(self.network.state_dict())
        for name, value in self.mean.state_dict().items():
            if value.is_floating_point():
                value.lerp_(own[name], 1 - keep)
            else:
                value.copy_(own[name])

    def save(self, path: Path) -> None:
        """Atomic: under a temporary name first."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        for i, p in enumerate(self.parameters):
            tensors |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state.get(p, {}).items()}
        meta = {"step": str(self.step), "seconds": repr(self.seconds), **made_by(self.stage)}
        with replacing(path) as temporary:
            save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary, meta)

    def load(self, path: Path) -> None:
        """ValueError: the checkpoint belongs to another recipe or to other pictures."""
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            meta = file.metadata()
        for what, own in made_by(self.stage).items():
            if meta[what] != own:
                raise ValueError(f"{path}: a checkpoint of stage {self.stage.recipe.stage} with other {what} "
                                 f"({meta[what][:8]}, now {own[:8]}); delete it to train anew")  # fmt: skip
        state = read_safetensors(path)
        for prefix, module in (("network.", self.network), ("mean.", self.mean)):
            module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        for i, p in enumerate(self.parameters):
            start = f"optimizer.{i}."
            self.optimizer.state[p] = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
        self.step, self.seconds = int(meta["step"]), float(meta["seconds"])


def clock(device: str) -> float:
    """Seconds of this process on a CPU, whose cores may be shared; seconds by the wall elsewhere."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def run(stage: Stage, work: Path, results: Path, device: str = "cpu", stop: int | None = None) -> Training:
    """Trains to the recipe's end (or to step `stop`), from the checkpoint in `work` if there is one.

    train.csv and sheets of held-out results go into `results`.
    """
    recipe, checkpoint = stage.recipe, work / "checkpoint.safetensors"
    last = min(recipe.steps, stop or recipe.steps)
    work.mkdir(parents=True, exist_ok=True)
    training = Training(stage, device)
    if checkpoint.exists():
        training.load(checkpoint)
    log = Log(results / "train.csv", training.step)
    due = {max(1, round(share * recipe.steps)): share for share in recipe.sheets_at}
    while training.step < last:
        started = time.perf_counter()
        row = training.one_step()
        row[SPEED] = recipe.batch_size / (time.perf_counter() - started)
        step = training.step
        if step <= EVERY_STEP or step % LOG_EVERY == 0 or step == last:
            log.append(row)
        if step % recipe.save_every == 0 or step == last:
            training.save(checkpoint)
            print(f"{recipe.stage} {step}/{recipe.steps} loss {row['loss']:.4f} {row[SPEED]:.0f} samples/s "
                  f"{training.seconds:.0f} s", flush=True)  # fmt: skip
        if step in due:
            stage.sheet(on_cpu(training.mean), results / f"held-out-{round(100 * due[step]):03d}.png")
    return training


def on_cpu(network: nn.Module) -> nn.Module:
    """The network itself where it is there, else a copy: what is drawn and scored is held on the CPU."""
    return network if next(network.parameters()).device.type == "cpu" else copy.deepcopy(network).cpu()


class Log:
    """train.csv; rows after the resumed step, which a killed run wrote beyond its checkpoint, are dropped first."""

    def __init__(self, path: Path, resumed_step: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, kept = path, [row for row in whole_rows(path) if int(row["step"]) <= resumed_step]
        self.empty = not kept
        if kept:
            rewrite(path, list(kept[0]), kept)
        else:
            path.unlink(missing_ok=True)

    def append(self, row: dict[str, float]) -> None:
        """Losses are written so that reading gives back the same bits."""
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            if self.empty:
                csv.writer(file).writerow(row)
            self.empty = False
            csv.writer(file).writerow([f"{v:.1f}" if k == SPEED else repr(v) for k, v in row.items()])


def check(stage: Stage, stored: Path, steps: int, device: str = "cpu") -> list[str]:
    """The first steps again, compared with the stored train.csv. Returns what differs, a line each; empty: nothing."""
    rows = {int(row["step"]): row for row in whole_rows(stored)}
    if max(rows, default=0) < steps:
        raise ValueError(f"{stored} ends at step {max(rows, default=0)}; {steps} steps cannot be compared with it")
    training, faults, alike = Training(stage, device), [], is_of_here(stored, device)
    while training.step < steps:
        fresh = training.one_step()
        if training.step not in rows:
            continue
        whole = alike or training.step <= ALL_ALIKE
        for name in fresh if whole else ("loss", "lr"):
            value, kept = fresh[name], float(rows[training.step][name])
            if abs(value - kept) > (TOLERANCE if whole else LATER) * max(1e-3, abs(kept)):
                faults.append(f"step {training.step}: {name} is {value:.6g}, stored {kept:.6g}")
    return faults


def is_of_here(log: Path, device: str) -> bool:
    """Whether a stored log was written by this processor, in this precision; so it is where no scores.json tells."""
    scores = log.with_name("scores.json")
    if not scores.exists():
        return True
    made = read_json(scores)
    return all(made.get(key) == value for key, value in trained_on(device).items())


def plot(log: Path, picture: Path, title: str) -> None:
    """The losses over the steps, each value and their running mean."""
    rows = whole_rows(log)
    names = [name for name in rows[0] if name not in ("step", "lr", "grad_norm", SPEED)]
    curves = {name: [float(row[name]) for row in rows] for name in names}
    means = {name: running_mean(values, 10) for name, values in curves.items()}
    tops = {name: max(mean[len(mean) // 20 :]) * 1.1 for name, mean in means.items()}  # not those of the first steps
    draw_losses(picture, title, [int(row["step"]) for row in rows], curves, means, (3.2, 2.8), 80, tops)
