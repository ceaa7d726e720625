"""The miniature's editors as folders: written to start from, run on held-out pairs, shipped in float16.

Shipped layout, in the weights' root: vae/ tower/ llama-body/ once, and inspix2pix/ lgie-e2e/ mgie-e2e/ with links to
them. A link into another folder is how the loaders of diffusers and transformers share a file without knowing it.
"""

import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mgie.folder import SAMPLED
from mgie.io.files import whole_folder, write_json
from mgie.io.weights import read_safetensors
from mgie.presets import PRESETS, Preset
from mgie.train.data import TrainingPair

if TYPE_CHECKING:
    from torch import Tensor

BODY, OWN = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
INDEX = "model.safetensors.index.json"
HEADS = ("model.embed_tokens.weight", "lm_head.weight")  # what training changes of a Llama
SHARED = ("vae", "tower")  # folders of the weights' root, linked from each model that has them


def digest(data: dict) -> str:
    return sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def edit(name: str, folder: Path, pairs: list[TrainingPair], seeds: list[int] | None = None,
         preset: Preset = PRESETS["mini"], batch: int = 32) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Output images (n, H, W, 3) uint8, and the expressive instructions, which InsPix2Pix has none of (empty)."""
    import torch

    from mgie.pipeline import MGIEPipeline
    from mgie.train.starts import inspix2pix_from

    seeds = list(range(len(pairs))) if seeds is None else seeds
    sampling = {key: getattr(preset, key) for key in SAMPLED}
    if name == "inspix2pix":
        pipe = inspix2pix_from(folder)
    else:
        pipe = MGIEPipeline.from_pretrained(folder, dtype=torch.float32)
        pipe.progress = False
    outputs, texts = [], []
    for start in range(0, len(pairs), batch):
        some = pairs[start : start + batch]
        images, told = [pair.input_image for pair in some], [pair.instruction for pair in some]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch]]
        if name == "inspix2pix":
            result = pipe(told, image=images, generator=generators, **sampling)
            texts += [""] * len(some)
        else:
            result = pipe(images, told, generator=generators, **sampling)
            texts += result.expressive_instructions
        outputs += [np.asarray(image) for image in result.images]
    return np.stack(outputs), texts


def ship(trained: Path, folder: Path, facts: dict[str, str]) -> None:
    """The pipeline in `trained` into `folder`, a model's folder in the weights' root."""
    with whole_folder(folder, str(os.getpid())) as part:
        fill(trained, part, folder.parent, facts)
        shutil.rmtree(folder, ignore_errors=True)


def fill(trained: Path, folder: Path, weights: Path, facts: dict[str, str]) -> None:
    """The files of a shipped model into `folder`, with links to what it shares with others below `weights`."""
    for path in shown(trained):
        part = path.relative_to(trained)
        if part.parts[0] in SHARED:
            continue
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            write_half(read_safetensors(path), folder / part, facts)
        elif path.suffix not in (".csv", ".png") and path.name != "training.json":
            (folder / part).write_text(in_half(path.read_text()))
    for name in SHARED:
        if (trained / name).is_dir():
            check_same(trained / name, weights / name)
            (folder / name).symlink_to(Path("..", name), target_is_directory=True)
    if (folder / "llama").is_dir():
        split_llama(folder / "llama", weights / "llama-body", facts)


def shown(folder: Path) -> Iterator[Path]:
    """Files, but hidden ones."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def in_half(text: str) -> str:
    """A configuration that says float32 says float16, and not on which machine it was made."""
    for name in ("dtype", "torch_dtype"):
        text = text.replace(f'"{name}": "float32"', f'"{name}": "float16"')
    return "".join(line for line in text.splitlines(True) if '"_name_or_path"' not in line)


def write_half(state: "dict[str, Tensor]", path: Path, facts: dict[str, str]) -> None:
    """Refuses what float16 cannot hold."""
    from safetensors.torch import save_file

    half = {name: value.half().contiguous() if value.is_floating_point() else value for name, value in state.items()}
    lost = [name for name, value in half.items() if value.is_floating_point() and not value.isfinite().all()]
    if lost:
        raise ValueError(f"{path.name}: {len(lost)} weights do not fit into float16 (first: {lost[0]}); train again")
    save_file(half, path, {"format": "pt", **facts})


def check_same(trained: Path, shipped: Path) -> None:
    """A linked part must be the one the model was trained with."""
    for path in trained.glob("*.safetensors"):
        ours, theirs = read_safetensors(path), read_safetensors(shipped / path.name)
        if ours.keys() != theirs.keys() or any(not ours[k].half().equal(theirs[k].half()) for k in ours):
            raise ValueError(f"{shipped} is not what {trained} was trained with; make the editors again")


def split_llama(folder: Path, shared: Path, facts: dict[str, str]) -> None:
    """The frozen body into `shared`, or a link to it if it is there already; embeddings and head stay in folder."""
    state = read_safetensors(folder / "model.safetensors")
    body = {name: value for name, value in state.items() if name not in HEADS}
    shared.mkdir(parents=True, exist_ok=True)
    stored = shared / "model.safetensors"
    if not stored.exists() or any(not value.equal(read_safetensors(stored)[name]) for name, value in body.items()):
        write_half(body, stored, facts)
    write_half({name: state[name] for name in HEADS}, folder / OWN, facts)
    (folder / BODY).symlink_to(Path("..", "..", shared.name, stored.name))
    size = sum(value.numel() * value.element_size() for value in state.values())
    places = {name: OWN if name in HEADS else BODY for name in state}
    index = {"metadata": {"total_size": size}, "weight_map": places}
    write_json(folder / INDEX, index)
    (folder / "model.safetensors").unlink()
