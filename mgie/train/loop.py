"""The training loop: micro-batches -> two losses -> AdamW with two rates, on one process or many, resumable.

A step follows from (seed, step) and the checkpoint before it alone: order of the data, noise, timesteps and dropped
conditions are drawn per step for the whole batch, of which each process and micro-batch takes its rows. So a resumed
run repeats the losses bit for bit on the same device, and processes and accumulation change rounding only.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from mgie.io.files import write_json
from mgie.train import checkpoint, losses
from mgie.train.batches import TrainingSet
from mgie.train.checkpoint import clean
from mgie.train.joint import Batch, Sums, is_diffusion
from mgie.train.log import Step, TrainLog, memory_mb, plot
from mgie.train.recipes import factor_at

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class LoopSettings:
    """What the loop does; all but the last four lines change the losses."""

    steps: int
    batch_size: int  # of a step, over all processes
    lr_mllm: float
    lr_diffusion: float
    schedule: str = "cosine"
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 1.0
    ins_weight: float = 1.0  # of L_ins; 0 is the paper's ablation
    ema: float | None = None  # decay; None: no EMA
    precision: str = "float32"  # or bf16: autocast over float32 weights
    seed: int = 0
    micro_batch: int = 32  # examples at a time on one process; fewer need less memory
    checkpoint_every: int = 500
    keep: int = 2  # checkpoints
    workers: int = 0  # processes that decode images
    log_every: int = 10


class Diverged(RuntimeError):
    """A loss or gradient that is not finite. The last checkpoint is from before it."""


class Order:
    """Which pair is at which place: one permutation after the other, each from (seed, epoch).

    windows: by file, of pairs that are read in one go: files are shuffled, and the pairs of a window, while a file's
    windows follow one another, so that it is read once from front to back.
    """

    def __init__(self, pairs: int, seed: int, windows: Sequence[Sequence[range]] = ()) -> None:
        self.pairs, self.seed, self.epoch, self.windows = pairs, seed, -1, windows
        self.shuffled: np.ndarray = np.empty(0, dtype=np.int64)

    def at(self, start: int, stop: int) -> list[int]:
        """The pairs at places start..stop - 1 of the endless sequence."""
        found = []
        while start < stop:
            epoch, place = divmod(start, self.pairs)
            if epoch != self.epoch:
                self.epoch = epoch
                random = np.random.default_rng([self.seed, epoch])
                files = [self.windows[k] for k in random.permutation(len(self.windows))]
                within = [random.permutation(np.arange(w.start, w.stop)) for file in files for w in file]
                self.shuffled = np.concatenate(within) if within else random.permutation(self.pairs)
            part = self.shuffled[place : place + stop - start]
            found += part.tolist()
            start += len(part)
        return found


def micro_batches(
    settings: LoopSettings, pairs: int, start: int, rank: int, processes: int, windows: Sequence[Sequence[range]] = ()
) -> Iterator[list[int]]:
    """This process's micro-batches from step `start` on, as indices of pairs."""
    order, share = Order(pairs, settings.seed, windows), settings.batch_size // processes
    for step in range(start, settings.steps):
        first = step * settings.batch_size + rank * share
        for at in range(0, share, settings.micro_batch):
            yield order.at(first + at, first + min(at + settings.micro_batch, share))


class Loop:
    def __init__(
        self,
        model: nn.Module,
        save: Callable[[nn.Module, Path], None],
        settings: LoopSettings,
        out: Path,
        accelerator: "Accelerator",
    ) -> None:
        """model: JointModel or TextModel, trained parameters chosen. save: writes a model's pipeline into a folder."""
        self.settings, self.out, self.accelerator, self.save = settings, out, accelerator, save
        processes = accelerator.num_processes
        if settings.batch_size % processes:
            raise ValueError(
                f"--batch-size {settings.batch_size} is not a multiple of the {processes} processes; "
                f"nearest: {max(1, round(settings.batch_size / processes)) * processes}"
            )
        self.num_timesteps = model.denoiser.noise_scheduler.config.num_train_timesteps
        self.whole = copy_to_save(model, accelerator)
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [p for name, p in parameters.items() if is_diffusion(name) is diffusion],
                    "lr": 0.0,
                    "rate": settings.lr_diffusion if diffusion else settings.lr_mllm,
                }
                for diffusion in (False, True)
                if any(is_diffusion(name) is diffusion for name in parameters)
            ],
            weight_decay=settings.weight_decay,
        )
        self.model, self.optimizer = accelerator.prepare(model, self.optimizer)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.ema: Any = None  # diffusers' EMAModel, from the first step on where EMA is on
        self.step = 0  # steps done

    def resume(self) -> None:
        """From the newest checkpoint, if there is one."""
        found = checkpoint.checkpoints(self.out)
        if found:
            self.step, folder = found[-1]
            trainer = folder / checkpoint.TRAINER
            if self.settings.ema is not None:
                checkpoint.load_trained(self.model, checkpoint.load_tensors(trainer / "ema.safetensors"))
                self.start_ema()
                self.ema.optimization_step = self.step
            checkpoint.load_trained(self.model, checkpoint.load_tensors(trainer / "trained.safetensors"))
            optimizer = checkpoint.load_tensors(trainer / "optimizer.safetensors")
            checkpoint.load_optimizer(self.model, self.bare_optimizer, optimizer)
        elif self.settings.ema is not None:
            self.start_ema()

    def start_ema(self) -> None:
        from diffusers.training_utils import EMAModel

        self.ema = EMAModel(self.trained, decay=self.settings.ema, foreach=True)

    @property
    def bare_optimizer(self) -> torch.optim.Optimizer:
        return getattr(self.optimizer, "optimizer", self.optimizer)

    def run(self, data: TrainingSet, title: str) -> None:
        """Trains from the step that resume() found to the last one. title: of the plot."""
        settings, accelerator = self.settings, self.accelerator
        log = TrainLog(self.out / "train.csv", self.step) if accelerator.is_main_process else None
        batches = self.batches(data)
        self.latents = data.sizes.latents
        self.model.train()
        while self.step < settings.steps:
            started = time.perf_counter()
            row = self.one_step([next(batches) for _ in range(self.per_step)])
            self.step += 1
            seconds = time.perf_counter() - started
            row = row._replace(samples_per_second=settings.batch_size / seconds)
            if log is not None:
                log.append(row)
                if self.step == settings.steps or self.step == 1 or self.step % settings.log_every == 0:
                    print(line(row, settings.steps, accelerator.device.type), flush=True)
            if self.step == settings.steps or self.step % settings.checkpoint_every == 0:
                self.checkpoint()
                if log is not None:
                    plot(self.out / "train.csv", self.out / "train.png", title)
        if log is not None:
            log.close()

    @property
    def per_step(self) -> int:
        """Micro-batches of one step on one process."""
        return -(-self.settings.batch_size // self.accelerator.num_processes // self.settings.micro_batch)

    def batches(self, data: TrainingSet) -> Iterator[Batch]:
        accelerator, settings = self.accelerator, self.settings
        processes, windows = accelerator.num_processes, getattr(data.pairs, "windows", ())
        sampler = micro_batches(settings, len(data), self.step, accelerator.process_index, processes, windows)
        loader = DataLoader(
            data,
            batch_size=None,
            sampler=sampler,
            num_workers=0 if data.stored else settings.workers,  # nothing is decoded of what is precomputed
            collate_fn=as_it_is,
            pin_memory=accelerator.device.type == "cuda",
            worker_init_fn=leave_stopping,
        )
        return (batch.to(accelerator.device) for batch in loader)

    def one_step(self, micro: list[Batch]) -> Step:
        """One optimiser step over this process's micro-batches."""
        settings, accelerator = self.settings, self.accelerator
        share = settings.batch_size // accelerator.num_processes
        draws = losses.draw(settings.seed, self.step, (settings.batch_size, *self.latents), self.num_timesteps)
        at = accelerator.process_index * share
        tokens = self.scored_tokens(micro)
        sums = []
        for i, batch in enumerate(micro):
            rows = losses.Draws(*(d.to(accelerator.device) for d in draws.rows(at, at + len(batch.input_ids))))
            at += len(batch.input_ids)
            with nullcontext() if i + 1 == len(micro) else accelerator.no_sync(self.model):
                with torch.autocast(accelerator.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    part = self.model(batch, rows)
                # gradients are averaged over the processes, and each has only its own sums: hence times processes
                accelerator.backward(self.joint(part, tokens) * accelerator.num_processes)
            sums.append(torch.stack([s.detach().float() for s in part if s is not None]))
        return self.finish_step(accelerator.reduce(torch.stack(sums).sum(dim=0), "sum").tolist(), tokens)

    def scored_tokens(self, micro: list[Batch]) -> int:
        """Of the whole batch, at least 1; 0 where the model has no L_ins."""
        if micro[0].labels is None:
            return 0
        counts = [(batch.labels[:, 1:] != losses.IGNORED).sum() for batch in micro if batch.labels is not None]
        return max(1, int(self.accelerator.reduce(torch.stack(counts).sum(), "sum")))

    def joint(self, sums: Sums, tokens: int) -> torch.Tensor:
        edit = sums.edit / self.settings.batch_size
        if sums.ins is None:
            return edit
        return self.settings.ins_weight * sums.ins / tokens + losses.EDIT_WEIGHT * edit

    def finish_step(self, sums: list[float], tokens: int) -> Step:
        """Clip, set the rates, step. Raises Diverged before anything is changed."""
        settings, accelerator = self.settings, self.accelerator
        l_edit = sums[-1] / settings.batch_size
        l_ins = sums[0] / tokens if len(sums) == 2 else None
        loss = l_edit if l_ins is None else settings.ins_weight * l_ins + losses.EDIT_WEIGHT * l_edit
        norm = float(accelerator.clip_grad_norm_(self.trained, settings.clip))
        if not np.isfinite([loss, norm]).all():
            raise Diverged(self.diverged(l_ins, l_edit, norm))
        factor = factor_at(self.step, settings.steps, settings.schedule, settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * factor
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.trained)
        lr = (settings.lr_diffusion if l_ins is None else settings.lr_mllm) * factor
        memory = memory_mb(str(accelerator.device))
        return Step(self.step + 1, l_ins, l_edit, loss, lr, settings.lr_diffusion * factor, norm, 0.0, memory)

    def diverged(self, l_ins: float | None, l_edit: float, norm: float) -> str:
        before = checkpoint.checkpoints(self.out)
        kept = f"the checkpoint of step {before[-1][0]} is whole: {before[-1][1]}" if before else "no checkpoint yet"
        return (
            f"step {self.step + 1} of {self.settings.steps}: l_ins {l_ins}, l_edit {l_edit}, gradient norm {norm} "
            f"are not all finite; training stopped and {kept}.\nLower the learning rates (--lr-mllm "
            f"{self.settings.lr_mllm}, --lr-diffusion {self.settings.lr_diffusion}), try --precision float32, and "
            "start into another --out; the same command would diverge again"
        )

    def checkpoint(self) -> None:
        """A collective call. Raises OSError on the main process when the disk is full."""
        trained = checkpoint.trained_tensors(self.model)
        optimizer = checkpoint.optimizer_tensors(self.model, self.bare_optimizer)
        averaged = None
        if self.ema is not None:
            self.ema.store(self.trained)
            self.ema.copy_to(self.trained)
            averaged = checkpoint.trained_tensors(self.model)
            averaged = {name: tensor.clone() for name, tensor in averaged.items()}
            self.ema.restore(self.trained)

        def fill(folder: Path) -> None:
            self.save_pipeline(averaged or trained, folder)
            trainer = folder / checkpoint.TRAINER
            checkpoint.save_tensors(trained, trainer / "trained.safetensors")
            checkpoint.save_tensors(optimizer, trainer / "optimizer.safetensors")
            if averaged is not None:
                checkpoint.save_tensors(averaged, trainer / "ema.safetensors")
            write_json(trainer / "state.json", {"step": self.step, "settings": asdict(self.settings)})

        if self.accelerator.is_main_process:
            checkpoint.write(self.out, self.step, self.settings.keep, fill)
        self.accelerator.wait_for_everyone()
        self.model.train()  # a pipeline puts its parts into eval mode

    def save_pipeline(self, trained: dict[str, torch.Tensor], folder: Path) -> None:
        """The pipeline with these tensors in it, whatever the model trains with meanwhile."""
        parameters = {clean(name): p for name, p in self.whole.named_parameters()}
        live = {name: parameters[name].data for name in trained}
        for name, tensor in trained.items():
            parameters[name].data = tensor  # in main memory: what is written need not go to the GPU first
        try:
            self.save(self.whole, folder)
        finally:
            for name, tensor in live.items():
                parameters[name].data = tensor


def copy_to_save(model: nn.Module, accelerator: "Accelerator") -> nn.Module:
    """The model that is written out: the one that trains, but under FSDP, which cuts it up, a copy on the CPU."""
    import copy

    from accelerate import DistributedType

    if accelerator.distributed_type != DistributedType.FSDP:
        return model
    return copy.deepcopy(model).cpu() if accelerator.is_main_process else model


def as_it_is(batch: Batch) -> Batch:
    """TrainingSet makes whole micro-batches: nothing is left to collate."""
    return batch


def leave_stopping(number: int) -> None:
    """In a process that decodes images: Ctrl-C is its parent's to answer, and SIGTERM ends it without a word; so does
    a parent that hangs up while a batch is handed over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    told = sys.excepthook
    sys.excepthook = lambda kind, *rest: None if issubclass(kind, (ConnectionError, EOFError)) else told(kind, *rest)


def line(row: Step, steps: int, device: str) -> str:
    ins = "" if row.l_ins is None else f"  l_ins {row.l_ins:.4f}"
    return (
        f"step {row.step}/{steps}{ins}  l_edit {row.l_edit:.4f}  loss {row.loss:.4f}  lr {row.lr:.2e}  "
        f"{row.samples_per_second:.1f} samples/s  {row.memory:.0f} MB {'GPU' if device == 'cuda' else 'RAM'}"
    )
