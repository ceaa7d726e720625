"""Stages llava, places and slips: the projector from tower to Llama, and the Llama that answers with or without eyes.

Starts from the stages clip (the tower stays frozen) and text. Rows with a picture ask for the expressive instruction,
ambiguous ones more often than others; some rows come without a picture, so that LGIE can share the Llama (an
assumption: the paper gives LGIE a LLaMA that never saw one). Stage places goes on with the families that ask where
something is, which four layers learn last; stage slips with instructions in which words are lost or unknown. Afterwards
the Llama's body is frozen, as in the paper.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mgie.mini.stages.text import Reader, answer_losses, new_llama, question_rows, write_answers
from mgie.mini.training.pairs import Words, WorldPairs
from mgie.mini.training.parts import Parts
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.world import grammar
from mgie.mllm import MLLM
from mgie.presets import PRESETS, Preset
from mgie.tokenizer import Tokenizer
from mgie.train.batches import MLLMRows
from mgie.train.joint import Batch


@dataclass(frozen=True)
class EyesSettings:
    blind: int = 10  # rows a step without a picture, beside the batch's
    ambiguous: float = 0.6  # share of the batch drawn from the ambiguous families alone
    summary: float = 0.3  # weight of the visual tokens' read-out
    families: tuple[str, ...] = ()  # the ambiguous ones to draw from; empty: all
    places: float = 1.0  # weight of the words that say where
    slips: bool = False  # instructions with words lost and unknown ones put in


LANGUAGE = "slips"  # the last stage that trains the Llama's body
WHERE = (" left", " right", " upper", " lower", " middle")


class Seeing(Reader):
    """The text stage's Llama and read-out, with the projector."""

    def __init__(self, llama: nn.Module, vision_hidden: int) -> None:
        super().__init__(llama)
        self.projector = nn.Linear(vision_hidden, llama.config.hidden_size)


class Eyes:
    """The stage."""

    def __init__(self, recipe: StageRecipe, train: WorldPairs, ambiguous: WorldPairs, parts: Parts,
                 preset: Preset = PRESETS["mini"], eyes: EyesSettings = EyesSettings(),
                 start: str = "text") -> None:  # fmt: skip
        """ambiguous: held-out pairs of the ambiguous families, for scores and sheets. start: the stage before."""
        self.recipe, self.train, self.test, self.preset, self.eyes = recipe, train, ambiguous, preset, eyes
        self.parts, self.tokenizer, self.tower, self.start = parts, parts.tokenizer, parts.load_tower(), start
        self.rows = MLLMRows(self.tokenizer, preset.patches, preset.max_length)
        self.blind_rows = MLLMRows(self.tokenizer, 0, preset.max_length)
        asked = eyes.families or tuple(grammar.QUESTIONS)
        self.unclear = [i for i, words in enumerate(train.words) if words.family in asked]
        self.weight = torch.ones(preset.vocab)
        self.weight[sorted({token for word in WHERE for token in self.tokenizer.encode(word)[1:]})] = eyes.places

    def settings(self) -> dict:
        eyes = asdict(self.eyes)
        if not eyes["slips"]:
            del eyes["slips"]  # the recipe's hash is that of the stages before there were any
        return {"eyes": eyes, "pairs": len(self.train), "tower": self.parts.hash_of("tower"), "start": self.start}

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)
            network = Seeing(new_llama(self.preset), self.preset.vision_hidden)
        missing, unexpected = network.load_state_dict(self.parts.stage_state(self.start), strict=False)
        new = {"projector.weight", "projector.bias"} if self.start == "text" else set()
        if unexpected or set(missing) != new:
            raise ValueError(f"stage {self.start} left other weights than these eyes expect: {missing + unexpected}")
        return network

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        size = self.recipe.batch_size
        unclear = round(self.eyes.ambiguous * size)
        some = torch.randint(0, len(self.unclear), (unclear,), generator=draw).tolist()
        picks = [self.unclear[i] for i in some]
        picks += torch.randint(0, len(self.train), (size - unclear,), generator=draw).tolist()
        blind = torch.randint(0, len(self.train), (self.eyes.blind,), generator=draw).tolist()
        batch = question_rows(self.rows, self.asked(picks, step))
        seen = splice(network, self.tower, batch, self.train.pixels[picks, 0], self.tokenizer)
        answers, summary = answer_losses(network, batch, self.tokenizer, network.llama, seen, self.weight)
        unseen = question_rows(self.blind_rows, self.asked(blind, -step))
        guesses, _ = answer_losses(network, unseen, self.tokenizer, network.llama)
        total = answers + 0.2 * guesses + self.eyes.summary * summary
        return {"loss": total, "answers": answers, "blind": guesses, "summary": summary}

    def asked(self, picks: list[int], step: int) -> list[Words]:
        words = [self.train.words[i] for i in picks]
        if not self.eyes.slips:
            return words
        dice = Random(f"{self.recipe.seed}/{step}")
        return [w._replace(instruction=with_slips(w.instruction, dice)) for w in words]

    def mllm(self, network: nn.Module) -> MLLM:
        tokens = self.tokenizer.image_start, self.tokenizer.image_patch
        return MLLM(network.llama, self.tower.to(network.llama.device), network.projector, *tokens).eval()

    def scores(self, network: nn.Module) -> dict[str, float]:
        """Held-out photographs, ambiguous families: shares of right causes with and without eyes."""
        words, pixels = self.test.words, self.test.pixels[:, 0]
        seen = judged(words, write_answers(self.mllm(network), self.tokenizer, self.preset, words, pixels))
        blind = judged(words, write_answers(MLLM(network.llama).eval(), self.tokenizer, self.preset, words, None))
        return {"rows": len(words), **seen, **{f"blind_{name}": value for name, value in blind.items()}}

    def sheet(self, network: nn.Module, path: Path) -> None:
        from mgie.mini.training.contact_sheet import save_sheet

        words, pixels = self.test.words[:16], self.test.pixels[:16]
        answers = write_answers(self.mllm(network), self.tokenizer, self.preset, words, pixels[:, 0])
        lines = [f"{w.instruction} > {answer}" for w, answer in zip(words, answers, strict=True)]
        save_sheet([[side[0], side[1], *[side[1] * 0 + 255] * 5] for side in pixels], path, ("input", "goal"), lines)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        """Nothing by itself: stages lgie and mgie ship these parts inside their pipelines."""


def splice(network: nn.Module, tower: nn.Module, batch: Batch, pixels: NDArray[np.uint8],
           tokenizer: Tokenizer) -> Tensor:  # fmt: skip
    """(B, L, D): embeddings with the projected patch features in the places of <im_patch>. pixels: (B, H, W, 3)."""
    from mgie.mini.training.labels import in_unit_range, normal

    with torch.no_grad():
        pictures = normal(in_unit_range(pixels)).to(network.llama.device)
        hidden = tower.to(pictures.device)(pictures, output_hidden_states=True).hidden_states[-2][:, 1:]
    batch = batch.to(pictures.device)
    embeddings = network.llama.get_input_embeddings()(batch.input_ids)
    places = batch.input_ids == tokenizer.image_patch
    return embeddings.masked_scatter(places[:, :, None], network.projector(hidden).to(embeddings.dtype))


def judged(words: list[Words], texts: list[str]) -> dict[str, float]:
    """Right causes, macro over the ambiguous families, and by family; exact: share of whole sentences as written."""
    right: dict[str, list[bool]] = {}
    for w, text in zip(words, texts, strict=True):
        if w.cause:
            right.setdefault(w.family, []).append(grammar.names(w.family, w.cause, text))
    shares = {family: sum(rows) / len(rows) for family, rows in sorted(right.items())}
    exact = sum(w.expressive == text for w, text in zip(words, texts, strict=True)) / max(1, len(words))
    return {"right": sum(shares.values()) / max(1, len(shares)), "exact": exact, **shares}


SHARE = 0.6  # of the rows have slips
LOST, PUT_IN, SWAPPED = 0.08, 0.2, 0.08  # of a row's words, each
ONSETS = ("b", "c", "d", "f", "g", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "pr", "tr", "cl")
VOWELS = ("a", "e", "i", "o", "u", "ea", "ai")
ENDS = ("n", "r", "t", "l", "m", "st", "ng", "ck")


def with_slips(text: str, dice: Random) -> str:
    """The same instruction, perhaps with slips; at least one of its words stays."""
    if dice.random() >= SHARE:
        return text
    words = text.split()
    kept = [word for word in words if dice.random() >= LOST] or words[:1]
    for i in range(len(kept) - 1):
        if dice.random() < SWAPPED:
            kept[i], kept[i + 1] = kept[i + 1], kept[i]
    said = []
    for word in kept:
        said += [unknown(dice), word] if dice.random() < PUT_IN else [word]
    return " ".join([*said, unknown(dice)] if dice.random() < PUT_IN else said)


def unknown(dice: Random) -> str:
    """A word of one or two syllables that no phrase holds but by chance."""
    return "".join(dice.choice(ONSETS) + dice.choice(VOWELS) + dice.choice(ENDS) for _ in range(dice.choice((1, 1, 2))))
