"""Pairs -> micro-batches: rows of tokens with labels, pixels for the tower and the VAE, or both precomputed.

Convention: the training route of apple/ml-mgie mgie_train.py at 835af37: centre crop to a square, one resize for the
tower, a second and smaller one for the VAE, slow tokenizer rule, padding on the right. No augmentation.
Shapes: B batch, L padded length, P patches, C latent channels, h w latent size.
"""

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from mgie.io.files import whole_folder
from mgie.io.images import ImageError
from mgie.preprocess import ClipProcessor, crop_square, training_pixels
from mgie.prompts import build_answer, build_prompt, training_row
from mgie.tokenizer import Tokenizer
from mgie.train.data import Pairs, TrainingPair
from mgie.train.joint import Batch, JointModel, TextModel
from mgie.train.losses import IGNORED

MAX_UNREADABLE = 0.01  # of the pairs; with more, training stops
KEPT_ROWS = 100_000  # tokenised rows held in memory
CHUNK = 16  # images a precomputing pass; fixed, so that the values do not depend on the training's batches


class Sizes(NamedTuple):
    """Pixels of the training route, and what becomes of them."""

    square: int  # the centre crop is resized to it first (512)
    diffusion: int  # then to this for the VAE (256)
    latents: tuple[int, int, int]  # (C, h, w)


class MLLMRows:
    """Rows of the MLLM: question, expressive instruction, visual tokens."""

    def __init__(self, tokenizer: Tokenizer, patches: int, max_length: int) -> None:
        """patches: 0 for an LLM without eyes."""
        self.tokenizer, self.patches, self.max_length = tokenizer, patches, max_length
        self.said = False

    def row(self, instruction: str, expressive: str) -> tuple[np.ndarray, np.ndarray]:
        text = build_prompt(instruction, self.patches) + build_answer(expressive, len(self.tokenizer.visual))
        encode, pad = partial(self.tokenizer.encode, rule="slow"), self.tokenizer.pad
        row = training_row(text, encode, pad, max_length=self.max_length)
        if len(row.ids) == self.max_length and not self.said:
            self.said = True  # quirk: the official code cuts in silence
            print(
                f"a text is longer than {self.max_length} tokens: it is cut and trains no visual tokens (said once): "
                f"{instruction[:60]!r}",
                file=sys.stderr,
            )
        return np.asarray(row.ids, np.int32), np.asarray(row.labels, np.int32)

    def collate(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
        ids, labels = (
            pad_sequence([torch.from_numpy(row[i]).long() for row in rows], batch_first=True, padding_value=value)
            for i, value in ((0, self.tokenizer.pad), (1, IGNORED))
        )
        # quirk: the mask is "not the pad id", and the pad id is <unk>: an <unk> in a text is masked as well
        return {"input_ids": ids, "labels": labels, "attention_mask": (ids != self.tokenizer.pad).long()}


class TextRows:
    """Rows of CLIP's text encoder: the expressive instruction, or the instruction where a model trains without."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def row(self, instruction: str, expressive: str) -> tuple[np.ndarray, np.ndarray]:
        return clip_ids(self.tokenizer, expressive)[0].numpy(), np.empty(0)

    def collate(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
        return {"input_ids": torch.from_numpy(np.stack([ids for ids, _ in rows]))}


def clip_ids(tokenizer: Any, text: str) -> Tensor:
    """(1, q): as the diffusers pipeline asks its tokenizer, padded and cut to its length."""
    return tokenizer(
        text, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids


class TrainingSet(Dataset):
    """Indices of pairs -> Batch. Python objects only, so that worker processes can have it."""

    def __init__(
        self,
        pairs: Pairs,
        rows: MLLMRows | TextRows,
        sizes: Sizes,
        image_processor: ClipProcessor | None = None,
        stored: dict[str, np.ndarray] | None = None,
    ) -> None:
        """image_processor: the tower's, or None without eyes. stored: precomputed arrays, see precompute()."""
        self.pairs, self.rows, self.sizes, self.image_processor = pairs, rows, sizes, image_processor
        self.stored = stored or {}
        self.kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.unreadable: set[int] = set()
        self.texts = pairs.texts() if stored else []

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, indices: list[int]) -> Batch:
        if self.stored:
            return self._from_stored(indices)
        pairs = [self.readable(i) for i in indices]
        rows = self.rows.collate([self.rows.row(pair.instruction, pair.expressive) for pair in pairs])
        return Batch(**rows, **self.pixels(pairs))

    def _from_stored(self, indices: list[int]) -> Batch:
        def rows(name: str) -> Tensor:
            return torch.from_numpy(self.stored[name][indices])

        fields: dict[str, Any] = {"latents": (rows("input_mode"), rows("goal_mean"), rows("goal_std"))}
        if "features" in self.stored:
            fields["features"] = rows("features")
        if "text_states" in self.stored:
            places = self.stored["text_index"][indices]
            fields["text_states"] = torch.from_numpy(self.stored["text_states"][places])
        return Batch(**self.rows.collate([self._row(i) for i in indices]), **fields)

    def _row(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if index not in self.kept:
            if len(self.kept) >= KEPT_ROWS:
                self.kept.clear()
            self.kept[index] = self.rows.row(*self.texts[index])
        return self.kept[index]

    def pixels(self, pairs: list[TrainingPair]) -> dict[str, Tensor]:
        inputs = [crop_square(pair.input_image, self.sizes.square) for pair in pairs]
        goals = [crop_square(pair.goal_image, self.sizes.square) for pair in pairs]
        found = {"input_pixels": self.for_vae(inputs), "goal_pixels": self.for_vae(goals)}
        if self.image_processor is not None:
            found["pixel_values"] = self.image_processor(inputs)
        return found

    def for_vae(self, squares: list[Image.Image]) -> Tensor:
        return torch.stack([training_pixels(image, self.sizes.diffusion, self.sizes.square) for image in squares])

    def readable(self, index: int) -> TrainingPair:
        """The pair, or in the place of one whose images cannot be read the next that can; the reason goes to stderr."""
        for step in range(len(self.pairs)):
            place = (index + step) % len(self.pairs)
            try:
                return self.pairs[place]
            except ImageError as error:
                if place not in self.unreadable:
                    print(f"pair {place} left out: {error}", file=sys.stderr)
                self.unreadable.add(place)
                if len(self.unreadable) > MAX_UNREADABLE * len(self.pairs):
                    raise ValueError(
                        f"{len(self.unreadable)} of {len(self.pairs)} training pairs cannot be read, the limit is "
                        f"{MAX_UNREADABLE:.0%}; the last: {error}"
                    ) from error
        raise ValueError("no training pair can be read")


def stored_bytes(data: TrainingSet, model: JointModel | TextModel) -> int:
    """What precompute() would write, about."""
    values = 3 * int(np.prod(data.sizes.latents))
    if isinstance(model, JointModel) and isinstance(data.rows, MLLMRows) and model.mllm.tower is not None:
        values += data.rows.patches * model.mllm.llama.config.hidden_size
    return 4 * values * len(data)


def precompute(data: TrainingSet, model: JointModel | TextModel, folder: Path, device: torch.device) -> None:
    """Everything frozen, once: latents, projected patch features, text states, as float32 .npy files in folder.

    The folder appears whole. model: on `device`, in the precision that it trains in for these frozen parts.
    """
    with whole_folder(folder) as part:
        write_frozen(data, model, part, device)
        shutil.rmtree(folder, ignore_errors=True)


def write_frozen(data: TrainingSet, model: JointModel | TextModel, folder: Path, device: torch.device) -> None:
    arrays: dict[str, np.memmap] = {}
    for start in range(0, len(data), CHUNK):
        pairs = [data.readable(i) for i in range(start, min(start + CHUNK, len(data)))]
        for name, values in frozen_parts(data.pixels(pairs), model, device).items():
            if name not in arrays:
                shape = (len(data), *values.shape[1:])
                arrays[name] = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float32, shape)
            arrays[name][start : start + len(values)] = values.cpu().numpy()
        if start // CHUNK % 50 == 0:
            print(f"precomputing: {start + len(pairs)} of {len(data)} pairs", file=sys.stderr)
    for array in arrays.values():
        array.flush()
    if isinstance(model, TextModel):
        store_texts(data, model, folder, device)


@torch.no_grad()
def frozen_parts(pixels: dict[str, Tensor], model: JointModel | TextModel, device: torch.device) -> dict[str, Tensor]:
    mode, mean, std = model.denoiser.encode(pixels["input_pixels"].to(device), pixels["goal_pixels"].to(device))
    parts = {"input_mode": mode, "goal_mean": mean, "goal_std": std}
    if "pixel_values" in pixels:
        parts["features"] = model.mllm.patch_features(pixels["pixel_values"].to(device)).float()
    return parts


def store_texts(data: TrainingSet, model: TextModel, folder: Path, device: torch.device) -> None:
    """Each different text once: text_states.npy (U, q, d), and text_index.npy, which of them a pair has."""
    texts = [expressive for _, expressive in data.pairs.texts()]
    place = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    states = [model.encode_text(clip_ids(data.rows.tokenizer, text).to(device)).cpu().numpy() for text in place]
    np.save(folder / "text_states.npy", np.concatenate(states))
    np.save(folder / "text_index.npy", np.asarray([place[text] for text in texts]))


def load_stored(folder: Path) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
