"""Stages base, inspix2pix, lgie and mgie: the editors, trained by mgie.train's own loop.

base goes on from stage sd, its text encoder frozen, every second pair being told by its expressive instruction. The
three editors start from its UNet and train for as many further steps (a deviation: the paper starts LGIE and MGIE from
Stable Diffusion, and its InsPix2Pix is a model of others); InsPix2Pix then learns from instructions alone. LGIE and
MGIE have the same Llama and the same first edit head (stage align), MGIE has eyes. What is shipped is the running mean
in float16; parts that several models share lie once in the weights' root, linked from each model.
"""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import nn

from mgie.folder import save_inspix2pix
from mgie.mini.stages.answers import LANGUAGE, Seeing, judged, with_slips
from mgie.mini.stages.latents import AT_ONCE, encoded, load_arrays, once
from mgie.mini.stages.sd import DiffusionSettings, Painter, quick, text_encoder, vocabulary
from mgie.mini.stages.text import new_llama
from mgie.mini.training import ship
from mgie.mini.training.pairs import WorldPairs
from mgie.mini.training.parts import Parts
from mgie.mini.training.precision import precision
from mgie.mini.training.stage import EVERY_STEP, LOG_EVERY
from mgie.mini.world import examples as world
from mgie.presets import PRESETS, SAMPLING, Preset
from mgie.train import starts
from mgie.train.batches import TrainingSet, store_texts
from mgie.train.data import TrainingPair
from mgie.train.joint import JointModel
from mgie.train.loop import LoopSettings

FORMS = {"inspix2pix": "inspix2pix", "lgie": "lgie-e2e", "mgie": "mgie-e2e"}  # stage -> folder of its weights


@dataclass(frozen=True)
class Told:
    """Pairs for an editor that is told the instruction itself, or in every second pair the expressive one."""

    pairs: WorldPairs
    mixed: bool

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> TrainingPair:
        pair = self.pairs[index]
        return pair if self.mixed and index % 2 else pair._replace(expressive=pair.instruction)

    def texts(self) -> list[tuple[str, str]]:
        return [(instruction, expressive if self.mixed and i % 2 else instruction)
                for i, (instruction, expressive) in enumerate(self.pairs.texts())]  # fmt: skip


@dataclass(frozen=True)
class Slipped:
    """Pairs for an editor with a Llama: their instructions have slips, the same ones whenever a pair is read."""

    pairs: WorldPairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> TrainingPair:
        pair = self.pairs[index]
        return pair._replace(instruction=with_slips(pair.instruction, Random(index)))

    def texts(self) -> list[tuple[str, str]]:
        return [(with_slips(instruction, Random(i)), expressive)
                for i, (instruction, expressive) in enumerate(self.pairs.texts())]  # fmt: skip


@dataclass(frozen=True)
class EditorStage:
    """One of the three, as a stage of the miniature."""

    name: str
    loop: LoopSettings
    train: WorldPairs  # stage sd's too, whose words are the text encoder's vocabulary
    test: WorldPairs
    parts: Parts
    preset: Preset = PRESETS["mini"]
    sheets_at: tuple[float, ...] = (0.25, 1.0)  # shares of the steps at which held-out results are drawn

    @property
    def model(self) -> str:
        return "inspix2pix" if self.name == "base" else self.name

    @property
    def kind(self) -> tuple[str, str]:
        return self.model, "e2e"

    @property
    def folder(self) -> Path:
        return self.parts.work / self.name

    def facts(self) -> dict[str, str]:
        """What made the weights."""
        preset = {name: value for name, value in self.preset.to_json().items() if name not in SAMPLING}
        recipe: dict[str, Any] = {"loop": asdict(self.loop), "preset": preset}
        if self.model != "inspix2pix":
            recipe["language"] = LANGUAGE
        return {"recipe": ship.digest(recipe), "data": self.train.content_hash(), "vae": self.parts.hash_of("vae")}

    def run(self, results: Path, device: str = "cpu") -> None:
        """Trains to the end, or on from the newest checkpoint; the pipeline is then in self.folder."""
        from accelerate import Accelerator

        from mgie.train.run import repeatable, train_from

        if device != "cpu":
            repeatable()

        start = starts.write_once(self.folder / ".start", self.write_start)
        trainee = starts.load(start, self.kind, "mini")
        speed_up(trainee.model)
        pairs = Told(self.train, self.name == "base") if self.model == "inspix2pix" else Slipped(self.train)
        data = TrainingSet(
            pairs,
            trainee.rows,
            trainee.sizes,
            trainee.image_processor,
            self.stored(trainee, pairs, torch.device(device)),
        )
        trainee = trainee._replace(save=watched(trainee.save, self.sheets_due(results)))
        loop = replace(self.loop, precision=precision(device))  # of the recipe's bf16 what this processor can do
        train_from(trainee, data, loop, self.folder, Accelerator(cpu=device == "cpu"), f"mini {self.name}")
        results.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.folder / "train.png", results / "train.png")
        log = (self.folder / "train.csv").read_text().splitlines(keepends=True)
        kept = [row for i, row in enumerate(log) if i <= EVERY_STEP or i % LOG_EVERY == 0]
        (results / "train.csv").write_text("".join(kept))

    def seconds(self) -> float:
        """Of training, from its log."""
        from mgie.train.log import read

        return sum(self.loop.batch_size / float(row["samples/s"]) for row in read(self.folder / "train.csv"))

    def ship(self, weights: Path, facts: dict[str, str]) -> Path:
        """Where it then lies; base is only a start and stays where it was trained."""
        if self.name == "base":
            return self.folder
        ship.ship(self.folder, weights / FORMS[self.model], facts)
        return weights / FORMS[self.model]

    def scores(self, shipped: Path, many: int = 100) -> dict[str, float]:
        from mgie.mini.stages import editors as measure

        return measure.editor(self.model, shipped, self.test, many)

    def write_start(self, folder: Path) -> None:
        painter = self.parts.restored(Painter(self.preset.unet(), self.text_encoder), "sd")
        if self.name != "base":
            painter.unet = self.parts.trained_unet("base")
        if self.model == "inspix2pix":
            vae = self.parts.load_vae()
            save_inspix2pix(painter.unet, vae, painter.text_encoder, self.words, self.preset, folder)
            return
        from mgie.mllm import MLLM
        from mgie.pipeline import MGIEPipeline
        from mgie.preprocess import ClipProcessor

        seeing = self.parts.restored(Seeing(new_llama(self.preset), self.preset.vision_hidden), LANGUAGE)
        tokenizer = self.parts.tokenizer
        mllm, processor = MLLM(seeing.llama), None
        if self.name == "mgie":
            ids = tokenizer.image_start, tokenizer.image_patch
            mllm = MLLM(seeing.llama, self.parts.load_tower(), seeing.projector, *ids)
            processor = ClipProcessor(self.preset.vision_size)
        head = self.parts.restored(self.preset.edit_head(), "align")
        embeddings = seeing.llama.get_input_embeddings().weight[tokenizer.visual]
        MGIEPipeline(mllm, tokenizer, processor, head, embeddings, painter.unet, self.parts.load_vae(),
                     self.preset.sampler(), self.preset).save_pretrained(folder)  # fmt: skip

    @cached_property
    def words(self) -> Any:
        return vocabulary(self.train, self.preset)

    @property
    def text_encoder(self) -> nn.Module:
        return text_encoder(self.words, self.preset, DiffusionSettings())

    def stored(self, trainee: starts.Trainee, pairs: Told | Slipped, device: torch.device) -> dict[str, np.ndarray]:
        """What mgie.train.batches.precompute would store; the latents are the same for all three."""
        arrays = encoded(self.train, len(self.train), trainee.model.denoiser.vae, self.parts.work, device)
        own = self.folder / ".stored"
        if isinstance(trainee.model, JointModel):
            if trainee.model.mllm.tower is None:
                return arrays
            once(own, lambda folder: write_features(self.train, trainee, folder, device))
        else:
            data = TrainingSet(pairs, trainee.rows, trainee.sizes)
            once(own, lambda folder: store_texts(data, trainee.model.to(device), folder, device))
        return arrays | load_arrays(own)

    def sheets_due(self, results: Path) -> Callable[[Path], None]:
        steps, every = self.loop.steps, self.loop.checkpoint_every
        due = {min(steps, max(1, round(share * steps / every)) * every) for share in self.sheets_at}

        def draw(saved: Path) -> None:
            step = int(saved.name.rpartition("-")[2])
            if step in due:
                self.sheet(saved, results / f"held-out-{round(100 * step / steps):03d}.png")

        return draw

    def sheet(self, weights: Path, path: Path) -> None:
        """Held-out edits of the pipeline in `weights`."""
        from mgie.mini.training.contact_sheet import save_sheet

        some = list(range(24))
        outputs, texts = ship.edit(self.model, weights, [self.test[i] for i in some])
        rows = [[self.test.pixels[i, 0], outputs[i], self.test.pixels[i, 1]] for i in some]
        lines = [f"{self.test.words[i].instruction} {'> ' + texts[i] if texts[i] else ''}"[:66] for i in some]
        save_sheet(rows, path, ("input", "output", "goal"), lines, columns=3)


def speed_up(model: nn.Module) -> None:
    """As in the stages before: plain attention, which trains faster in bfloat16 on a CPU."""
    quick(model.denoiser.unet)
    if isinstance(model, JointModel):
        model.mllm.llama.set_attn_implementation("eager")


def watched(save: Callable[[nn.Module, Path], None], see: Callable[[Path], None]) -> Callable[[nn.Module, Path], None]:
    def both(model: nn.Module, folder: Path) -> None:
        save(model, folder)
        see(folder)

    return both


@torch.no_grad()
def write_features(pairs: WorldPairs, trainee: starts.Trainee, folder: Path, device: torch.device) -> None:
    """Projected patch features of the input images."""
    from PIL import Image

    assert trainee.image_processor is not None  # MGIE's, which has eyes
    mllm, parts = trainee.model.mllm.to(device), []
    for start in range(0, len(pairs), AT_ONCE):
        pictures = [Image.fromarray(row) for row in pairs.pixels[start : start + AT_ONCE, 0]]
        parts.append(mllm.patch_features(trainee.image_processor(pictures).to(device)).half().cpu().numpy())
    np.save(folder / "features.npy", np.concatenate(parts))


VISIBLE = 12


def editor(name: str, folder: Path, test: WorldPairs, many: int) -> dict[str, float]:
    """Of the first held-out pairs, at the preset's sampling. name: inspix2pix, lgie or mgie."""
    words = test.words[:many]
    outputs, texts = ship.edit(name, folder, [test[i] for i in range(many)])
    figures = errors(outputs, test, many)
    if name != "inspix2pix":
        figures |= {f"said_{key}": value for key, value in judged(words, texts).items()}
    return {"rows": many, **figures}


def errors(outputs: np.ndarray, test: WorldPairs, many: int) -> dict[str, float]:
    """L1 in [0, 1] of output images and, as identity_, of the input images."""
    inputs, goals = (test.pixels[:many, side].astype(np.int32) for side in (0, 1))
    whole = np.array([world.FAMILIES[w.family].is_global for w in test.words[:many]])
    changed = np.abs(goals - inputs).max(axis=-1) > VISIBLE  # (n, H, W)
    found: dict[str, float] = {}
    for row, images in (("", outputs.astype(np.int32)), ("identity_", inputs)):
        error = np.abs(images - goals).mean(axis=-1) / 255  # (n, H, W)
        found |= {f"{row}l1_global": error[whole].mean(), f"{row}l1_local": error[~whole].mean(),
                  f"{row}inside_local": error[~whole][changed[~whole]].mean(),
                  f"{row}outside_local": error[~whole][~changed[~whole]].mean()}  # fmt: skip
    found["ratio_global"] = found["l1_global"] / found["identity_l1_global"]
    found["ratio_inside_local"] = found["inside_local"] / found["identity_inside_local"]
    return {key: float(value) for key, value in found.items()}
