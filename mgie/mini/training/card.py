"""The model card of the miniature's weights, weights/README.md: written from what the stages measured, never by hand.

One section a stage that has scores.json. A figure that is not there was not measured.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mgie.io.files import read_json, write_atomic

HEAD = """# The miniature's weights

Written by `python -m mgie.mini.make`; every figure was measured by that command on photographs that no stage trained
on (40 of 206, split by photograph). These are small networks for a small world: 64 px pictures of a photograph with up
to three drawn objects. They are no reproduction of the paper's models, and as judges they know nothing but this world.

- **Data**: the miniature world, `mgie/mini/world/examples.py`, drawn from a seed. Photographs: public domain, CC0,
  CC-BY; objects: MIT. Authors and licences: `NOTICE`, `mgie/mini/assets/photos.json`, `mgie/mini/assets/objects.json`.
- **Licence** of the weights: as the project (`LICENSE`). The attribution of the CC-BY photographs is in `NOTICE`.
- Files are fp16 safetensors; recipe hash, data hash, seed, steps, seconds and device are in each file's metadata.
- **The judge does not share the player's eyes**: the tower of MGIE was trained with seed 1, the three metric networks
  with seed 2: other weights, other drawn pictures, other sizes.
"""


class Section(NamedTuple):
    title: str
    folder: str  # in the weights' root; empty: its weights are a start, not shipped
    recipe: str
    limits: str


EDITOR = ("Trained by `mgie.train`'s loop from stage base's UNet (one start, as many steps for all three), rate held, "
          "then linear to 0, running mean of the weights.")  # fmt: skip
FIGURES = ("L1 on held-out pairs in the training world's words and strengths, at the preset's sampling; inside and "
           "outside what the goal image changes; ratio: to identity's. said: right causes of expressive instructions. "
           "Twelve objects can be brought in, and come out soft; what is removed leaves a smear.")  # fmt: skip
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
    "tower": Section(
        "The tower, with places", "tower",
        "Stage clip gone on with, row and column of each patch as one more linear read-out of layer -2. This is the "
        "tower that is shipped.",
        "row and column accuracy are over the patches that show an object."),
    "metric_clip": Section(
        "mini-CLIP (CVS, CTS, CLIP-S)", "mini-clip",
        "open_clip, contrastive on captions only, never on instructions; the generator's labels by patch as a help.",
        "It reads captions as the world words them. Other words are spelled out in bytes and mean little to it."),
    "dino": Section(
        "mini-DINO (DINO) and the eye for objects", "mini-dino",
        "timm ViT, self-distilled (two views, Sinkhorn-Knopp) and supervised by the generator's labels; so not purely "
        "self-supervised as DINO is. `eye/objects.safetensors` is the linear read-out of its patch tokens.",
        "object_accuracy: objects named by the sum over the patches that they cover, as `bench.mini.object_eye` does."),
    "lpips": Section(
        "mini-LPIPS (LPIPS)", "mini-lpips",
        "SqueezeNet 1.1's features, trained as a classifier on the generator's labels; no calibrated layers.",
        "Its scale is its own: not comparable with LPIPS alex, vgg or squeeze."),
    "text": Section(
        "Llama on words alone", "",
        "A byte-level BPE of 1,024 tokens and a Llama of four layers, on goal captions and on questions with their "
        "expressive instructions, without pictures. A start: nothing of it is shipped as it is.",
        "Nats a token on held-out rows; what only the picture tells cannot be known here."),
    "llava": Section(
        "Llama with eyes", "",
        "Projector and Llama on expressive instructions with the frozen tower, ambiguous families more often; some "
        "rows without a picture. Afterwards the body is frozen and shared by LGIE and MGIE.",
        "right: share of ambiguous held-out pictures whose cause is named, macro over families; blind: without eyes."),
    "places": Section(
        "Llama with eyes for places", "",
        "Goes on from stage llava with the families that ask where something is; words of place count four times.",
        "right: as above, over all ambiguous families."),
    "slips": Section(
        "Llama that reads over unknown words", "llama-body",
        "Goes on from stage places with instructions in which words are lost, swapped or put in (random syllables): a "
        "Llama of this size takes a word it never saw for anything at all.",
        "right: as above, on instructions without slips."),
    "sd": Section(
        "Stable Diffusion of the miniature", "",
        "UNet and text encoder together: an eighth text to image on goal captions, the rest edits, told by instruction "
        "or expressive instruction; v-prediction, zero terminal SNR. The UNet starts as one that hands its input image "
        "on; the text encoder must also tell its words. A start: nothing of it is shipped as it is.",
        "l1 at the preset's sampling against identity's, over all families."),
    "align": Section(
        "First edit head", "",
        "Learns to match the text encoder's states of the expressive instruction from the frozen Llama's visual "
        "tokens, as GILL's mapper does. LGIE and MGIE start from it; nothing of it is shipped as it is.",
        "explained: share of the text states' variance."),
    "base": Section(
        "The editors' first UNet", "",
        "Stage sd's UNet trained on by `mgie.train`'s loop, text encoder frozen, every second pair told by its "
        "expressive instruction; families that take longest two to four times as often; rate constant.", FIGURES),
    "inspix2pix": Section("InsPix2Pix-mini", "inspix2pix", f"{EDITOR} It reads the instruction itself.", FIGURES),
    "lgie": Section(
        "LGIE-mini", "lgie-e2e", f"{EDITOR} Embeddings, head and edit head learn with it; no eyes.", FIGURES),
    "mgie": Section(
        "MGIE-mini", "mgie-e2e",
        f"{EDITOR} Embeddings, head and edit head learn with it; it sees the input image.", FIGURES),
}  # fmt: skip


def write(weights: Path, results: Callable[[str], Path]) -> Path:
    """README.md in the weights' root, from the scores.json of each stage's folder. Atomic."""
    parts = [HEAD]
    for stage, section in SECTIONS.items():
        scores = results(stage) / "scores.json"
        if scores.exists():
            parts.append(describe(stage, section, read_json(scores), weights))
    total = sum(f.stat().st_size for f in weights.rglob("*.safetensors") if not f.is_symlink())
    parts.append(f"All weights here together: {total / 2**20:.1f} MiB.\n")
    path = weights / "README.md"
    write_atomic(path, "\n".join(parts))
    return path


def describe(stage: str, section: Section, facts: dict, weights: Path) -> str:
    files = (weights / section.folder).rglob("*.safetensors") if section.folder else ()
    size = sum(f.stat().st_size for f in files if not f.is_symlink())
    place = f"`{section.folder}/`, {size / 2**20:.2f} MiB, " if section.folder else ""
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:g} |" for name, value in facts["scores"].items())
    return (
        f"## {section.title}\n\n{place}stage `{stage}`. {section.recipe}\n\n"
        f"{facts['steps']} steps in {facts['seconds']} s on {facts['device']} (torch {facts['torch']}); seed "
        f"{facts['seed']}, world {facts['world']}, recipe `{facts['recipe'][:12]}`, data `{facts['data'][:12]}`. "
        f"Its losses: `results/reference/mini/training/{stage}/`.\n\n"
        f"| held-out | |\n|---|---|\n{rows}\n\nLimits: {section.limits}\n"
    )
