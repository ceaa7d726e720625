"""Which engine edits: this process, or Ray actors; and with how many of what. Nothing is imported or started here."""

import argparse
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.settings import ModelSettings

if TYPE_CHECKING:
    from bench.ray_runner import Pool
    from bench.registry import Model
    from bench.settings import EditSettings

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Workers:
    """What --engine, --workers and --gpus-per-worker ask for."""

    engine: str = "local"
    count: int = 1
    gpus_each: float = 0.0

    def flags(self) -> tuple[str, ...]:
        """The same as arguments of bench.run."""
        if self.engine == "local":
            return ()
        return ("--engine", self.engine, "--workers", str(self.count), "--gpus-per-worker", f"{self.gpus_each:g}")


def add_engine_flags(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--engine", choices=ENGINES, default="local",
        help="who edits: this process (default), or Ray actors, on the cluster RAY_ADDRESS names or on this machine",
    )
    group.add_argument("--workers", type=int, help="--engine ray: how many actors (default 1)")
    group.add_argument(
        "--gpus-per-worker", type=float,
        help="--engine ray: GPUs of each actor, may be a share (default: 1 where torch sees a GPU here, else 0)",
    )  # fmt: skip


def workers_of(args: argparse.Namespace, device: str) -> Workers:
    """Raises ValueError for flags that mean nothing together."""
    given = {"--workers": args.workers, "--gpus-per-worker": args.gpus_per_worker}
    if args.engine == "local":
        for flag, value in given.items():
            if value is not None:
                raise ValueError(f"{flag} {value:g} needs --engine ray; the local engine is this one process")
        return Workers()
    count, gpus = 1 if args.workers is None else args.workers, args.gpus_per_worker
    if count < 1:
        raise ValueError(f"--workers {count}: it must be at least 1")
    if gpus is None:
        gpus = float((device == "auto" and sees_gpu()) or device.startswith("cuda"))
    if not 0 <= gpus < float("inf"):
        raise ValueError(f"--gpus-per-worker {gpus}: it must be a number from 0 up")
    if gpus == 0 and device.startswith("cuda"):
        raise ValueError(f"--device {device} with --gpus-per-worker 0: the workers would see no GPU; give 1")
    if gpus > 0 and device == "cpu":
        raise ValueError(f"--device cpu with --gpus-per-worker {gpus:g}: the GPUs would stand idle; give 0")
    return Workers("ray", count, gpus)


def sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def placed(spec: ModelSettings, workers: Workers) -> ModelSettings:
    """The model's settings as it will run: with Ray, auto is a GPU where the workers have one, else the CPU."""
    if workers.engine == "local":
        return spec
    on_gpu = workers.gpus_each > 0
    device = ("cuda" if on_gpu else "cpu") if spec.device == "auto" else spec.device
    return replace(spec, device=device, elsewhere=on_gpu)


def pool_of(
    workers: Workers, model: "Model", settings: "EditSettings", device: str, staged: tuple[str, str, Path] | None
) -> AbstractContextManager["Pool | None"]:
    """The Ray workers, up for as long as the block runs; of the local engine nothing."""
    if workers.engine == "local":
        return nullcontext()
    from bench.ray_runner import Asked, pool

    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    return pool(model, settings, Asked(workers.count, workers.gpus_each, threads, staged), device)
