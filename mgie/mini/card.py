"""The model card of the miniature's weights, weights/README.md: written from what the stages measured, never by hand.

One section a stage that has scores.json. A figure that is not there was not measured.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

HEAD = """# The miniature's weights

Written by `python -m mgie.mini.make`; every figure was measured by that command on photographs that no stage trained
on (40 of 206, split by photograph). These are small networks for a small world: 64 px pictures of a photograph with up
to three drawn objects. They are no reproduction of the paper's models, and as judges they know nothing but this world.

- **Data**: the miniature world, `mgie/mini/world.py`, drawn from a seed. Photographs: public domain, CC0, CC-BY;
  objects: MIT. Authors and licences: `NOTICE`, `mgie/mini/assets/photos.json`, `mgie/mini/assets/objects.json`.
- **Licence** of the weights: as the project (`LICENSE`). The attribution of the CC-BY photographs is in `NOTICE`.
- Files are fp16 safetensors; recipe hash, data hash, seed, steps, seconds and device are in each file's metadata.
- **The judge does not share the player's eyes**: the tower of MGIE was trained with seed 1, the three metric networks
  with seed 2: other weights, other drawn pictures, other sizes.
"""


class Section(NamedTuple):
    title: str
    folder: str  # in the weights' root
    recipe: str
    limits: str


SECTIONS = {
    "vae": Section(
        "Codec (`AutoencoderKL`)", "vae",
        "Linear start (principal components of 4x4 patches, decoder fitted level by level), then absolute and a little "
        "squared error, KL 1e-6; 32 px crops for 70 % of the steps, then whole pictures; running mean of the weights.",
        "l1 and psnr are of the codec copy: input through the posterior's mode and back. Thin lines blur."),
    "clip": Section(
        "MGIE's vision tower (`CLIPVisionModel`)", "tower",
        "Contrastive on the world's captions, and the generator's labels read linearly from layer -2 without the class "
        "token (object on each patch; noun and fault by the mean). Text encoder and read-outs are not shipped.",
        "Nouns of photographs are few, and 150 photographs teach them badly: new photographs are often misnamed."),
    "metric_clip": Section(
        "mini-CLIP (CVS, CTS, CLIP-S)", "mini-clip",
        "open_clip, contrastive on captions only, never on instructions; the generator's labels by patch as a help.",
        "It reads captions as the world words them. Other words are spelled out in bytes and mean little to it."),
    "dino": Section(
        "mini-DINO (DINO) and the eye for objects", "mini-dino",
        "timm ViT, self-distilled (two views, Sinkhorn-Knopp) and supervised by the generator's labels; so not purely "
        "self-supervised as DINO is. `eye/objects.safetensors` is the linear read-out of its patch tokens.",
        "object_accuracy: objects named by the sum over the patches that they cover, as `mgie.mini.eye` does."),
    "lpips": Section(
        "mini-LPIPS (LPIPS)", "mini-lpips",
        "SqueezeNet 1.1's features, trained as a classifier on the generator's labels; no calibrated layers.",
        "Its scale is its own: not comparable with LPIPS alex, vgg or squeeze."),
}  # fmt: skip


def write(weights: Path, results: Path) -> Path:
    """README.md in the weights' root, from <results>/<stage>/scores.json. Atomic."""
    parts = [HEAD]
    for stage, section in SECTIONS.items():
        scores = results / stage / "scores.json"
        if scores.exists():
            parts.append(describe(stage, section, json.loads(scores.read_text()), weights))
    total = sum(f.stat().st_size for f in weights.rglob("*.safetensors"))
    parts.append(f"All weights here together: {total / 2**20:.1f} MiB.\n")
    path = weights / "README.md"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text("\n".join(parts), encoding="utf-8")
    os.replace(temporary, path)
    return path


def describe(stage: str, section: Section, facts: dict, weights: Path) -> str:
    size = sum(f.stat().st_size for f in (weights / section.folder).rglob("*.safetensors"))
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:g} |" for name, value in facts["scores"].items())
    return (
        f"## {section.title}\n\n`{section.folder}/`, {size / 2**20:.2f} MiB, "
        f"stage `{stage}`. {section.recipe}\n\n"
        f"{facts['steps']} steps in {facts['seconds']} s on {facts['device']} (torch {facts['torch']}); seed "
        f"{facts['seed']}, world {facts['world']}, recipe `{facts['recipe'][:12]}`, data `{facts['data'][:12]}`. "
        f"Losses, plot and held-out results: `results/mini/training/{stage}/`.\n\n"
        f"| held-out | |\n|---|---|\n{rows}\n\nLimits: {section.limits}\n"
    )
