"""Good weights of every format, and the code of ours that reads them: pipelines, official files, checkpoints."""

import random
from pathlib import Path


def draw_pipeline(folder: Path) -> None:
    import tiny

    tiny.build().save_pretrained(folder / "mgie")


def read_pipeline(folder: Path, dice: random.Random) -> None:
    from mgie.pipeline import MGIEPipeline

    MGIEPipeline.from_pretrained(folder / "mgie")


def draw_official(suffix: str, folder: Path) -> None:
    import official_files

    official_files.write(official_files.pipeline(), folder, suffix)


def read_official(folder: Path, dice: random.Random) -> None:
    from mgie.convert.official import check_names, open_official

    parts = [folder / name for name in ("mllm.pt", "unet.pt", "instruct-pix2pix")]
    files = open_official(folder / "llava", None, None, *parts)
    check_names(files)


def draw_network(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    state = {"conv.weight": torch.ones(4, 3, 3, 3), "conv.bias": torch.zeros(4)}
    save_file(state, folder / "a.safetensors")
    torch.save(state, folder / "a.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)


def read_network(folder: Path, dice: random.Random) -> None:
    from mgie.io.weights import open_tensors, read_safetensors, read_state
    from mgie.train.checkpoint import load_tensors

    name = dice.choice(("a.safetensors", "a.pt", "old.pt"))
    read = dice.choice((read_state, open_tensors) if name != "a.safetensors" else (read_safetensors, load_tensors))
    read(folder / name)


def draw_training(folder: Path) -> None:
    import torch

    from mgie.train.checkpoint import save_tensors
    from mgie.train.log import COLUMNS

    for name in ("trained", "optimizer", "ema"):
        save_tensors({"a.weight": torch.ones(3), "b.weight": torch.zeros(2)}, trainer_of(folder, name))
    row = ["1", "6.5", "0.7", "7.2", "0.0001", "0.0001", "1.5", "3.00", "900"]
    (folder / "train.csv").write_text(",".join(COLUMNS) + "\r\n" + (",".join(row) + "\r\n") * 3)


def trainer_of(folder: Path, name: str) -> Path:
    place = folder / ".checkpoints" / "step-000003" / "trainer"
    place.mkdir(parents=True, exist_ok=True)
    return place / f"{name}.safetensors"


def read_trained(folder: Path, dice: random.Random) -> None:
    """What continuing a run reads back before its first step."""
    from mgie.train.checkpoint import checkpoints, load_tensors
    from mgie.train.log import TrainLog

    TrainLog(folder / "train.csv", 3).close()
    for _, found in checkpoints(folder):
        for path in sorted((found / "trainer").iterdir()):
            load_tensors(path)
