"""Small training runs for the tests: drawn IPr2Pr folders, tiny models, and one call that trains one.

Also a script, for runs in processes of their own: python tests/training_runs.py OUT START DATA '{"steps": 8, ...}'.
"""

import json
import sys
from pathlib import Path

import tiny
import torch
from accelerate import Accelerator

from mgie.train import starts
from mgie.train.batches import TrainingSet, load_stored, precompute
from mgie.train.data import read_pairs
from mgie.train.log import SPEED, read
from mgie.train.loop import LoopSettings
from mgie.train.run import checkpoint_gradients, train_from

EXPRESSIVE = ["the sky would turn dark and the lamps would be lit", "a red hat would sit on the white dog", "it is dim"]


def draw_pairs(root: Path, pairs: int = 6) -> Path:
    """A plain IPr2Pr folder with expressive instructions; pairs of different sizes."""
    lines = []
    for i in range(pairs):
        folder = root / f"{i // 2:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "prompt.json").write_text(json.dumps({"edit": f"make it night {i // 2}"}))
        for k in (0, 1):
            tiny.picture(10 * i + k, (40, 32 + 4 * (i % 2))).save(folder / f"{100 + i}_{k}.jpg", quality=95)
        text = {"id": f"ipr2pr/train/{i // 2:07d}_{100 + i}", "instruction": "make it night"}
        lines.append(json.dumps(text | {"expressive": EXPRESSIVE[i % 3]}))
    (root / "expressive.jsonl").write_text("\n".join(lines) + "\n")
    return root


def tiny_start(folder: Path, eyes: bool = True) -> Path:
    if not folder.exists():
        tiny.build(eyes=eyes).save_pretrained(folder)
    return folder


def settings(**changes: object) -> LoopSettings:
    base = {
        "steps": 6,
        "batch_size": 4,
        "lr_mllm": 5e-3,
        "lr_diffusion": 2e-3,
        "micro_batch": 4,
        "log_every": 100,
        "checkpoint_every": 100,
    }
    return LoopSettings(**(base | changes))


def train(
    out: Path,
    start: Path,
    data: Path,
    kind: tuple[str, str] = ("mgie", "e2e"),
    stored: bool = False,
    min_snr_gamma: float | None = None,
    keep_half: bool = False,
    recompute: bool = False,
    **changes: object,
) -> Path:
    """Trains into out, from its checkpoint if there is one; returns out."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    trainee = starts.load(start, kind, None, min_snr_gamma=min_snr_gamma, keep_half=keep_half)
    if recompute:
        checkpoint_gradients(trainee.model)
    pairs = read_pairs(data, "ipr2pr", None, needs_expressive=kind[0] != "inspix2pix")
    parts = (pairs, trainee.rows, trainee.sizes, trainee.image_processor)
    dataset = TrainingSet(*parts)
    if stored:
        if not (out / ".precomputed").exists():
            precompute(dataset, trainee.model, out / ".precomputed", torch.device("cpu"))
        dataset = TrainingSet(*parts, load_stored(out / ".precomputed"))
    train_from(trainee, dataset, settings(**changes), out, Accelerator(cpu=True), "test")
    return out


def curve(out: Path) -> list[dict[str, str]]:
    """train.csv without what no seed fixes."""
    return [{name: value for name, value in row.items() if name not in SPEED} for row in read(out / "train.csv")]


def numbers(out: Path, name: str) -> list[float]:
    return [float(row[name]) for row in curve(out)]


if __name__ == "__main__":
    out_, start_, data_, changes_ = sys.argv[1:]
    train(Path(out_), Path(start_), Path(data_), **json.loads(changes_))
