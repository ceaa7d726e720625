"""Latents of drawn edits, encoded once by the shipped codec for all stages that diffuse, as
mgie.train.batches stores them.

float16: half the disk, and far below the codec's own noise. A folder of arrays appears whole.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mgie.io.files import whole_folder
from mgie.mini.stages.vae import to_range
from mgie.mini.training.pairs import WorldPairs
from mgie.mini.training.parts import state_hash
from mgie.mini.training.precision import autocast

LATENTS = ("input_mode", "goal_mean", "goal_std")
CPU = torch.device("cpu")
AT_ONCE = 64  # pictures a pass; fixed, so that the values do not depend on who asks


def encoded(pairs: WorldPairs, count: int, vae: nn.Module, work: Path,
            device: torch.device = CPU) -> dict[str, np.ndarray]:  # fmt: skip
    """LATENTS of the first pairs, each (count, C, h, w). device: where they are encoded if they are not there."""
    folder = work / "latents" / f"{pairs.content_hash()[:8]}-{count}-{state_hash(vae)[:8]}"
    once(folder, lambda temporary: write_latents(pairs, count, vae, temporary, device))
    return load_arrays(folder)


@torch.no_grad()
def write_latents(pairs: WorldPairs, count: int, vae: nn.Module, folder: Path, device: torch.device) -> None:
    vae.to(device)
    columns: dict[str, list[np.ndarray]] = {name: [] for name in LATENTS}
    for start in range(0, count, AT_ONCE):
        rows = pairs.pixels[start : min(start + AT_ONCE, count)]
        with autocast(device.type):
            goal, shown = (vae.encode(to_range(rows[:, side]).to(device)).latent_dist for side in (1, 0))
        for name, value in zip(LATENTS, (shown.mode(), goal.mean, goal.std), strict=True):
            columns[name].append(value.float().half().cpu().numpy())
    vae.cpu()
    for name, parts in columns.items():
        np.save(folder / f"{name}.npy", np.concatenate(parts))


def once(folder: Path, make: Callable[[Path], None]) -> None:
    """make fills a folder, which then gets its name; nothing is done where it has it already."""
    if not folder.is_dir():
        with whole_folder(folder, str(os.getpid())) as part:
            make(part)


def load_arrays(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}
