"""Stage text: the miniature's vocabulary and its Llama, trained on the words of drawn edits alone.

Half of the rows are captions, half are questions with their answers in the template of mgie.prompts. The states of the
visual tokens also learn to tell which words the answer holds (a linear read-out that is thrown away): Llama-7B
summarises what it wrote without being asked, four small layers do not. Not covered: eyes (stage llava).
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mgie import generate
from mgie.mini.training.pairs import Words, WorldPairs
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded
from mgie.mllm import MLLM, positions
from mgie.preprocess import ClipProcessor
from mgie.presets import PRESETS, Preset
from mgie.prompts import build_prompt, tidy
from mgie.tokenizer import TOKENIZERS, Tokenizer
from mgie.train import losses
from mgie.train.batches import MLLMRows
from mgie.train.from_scratch import mllm_tokenizer
from mgie.train.joint import Batch

TEMPLATE_WEIGHT = 400  # how often the template counts when the vocabulary is learned: it stands in every prompt


@dataclass(frozen=True)
class TextSettings:
    captions: int = 32  # rows a step beside the questions
    summary: float = 0.3  # weight of the visual tokens' read-out


class Reader(nn.Module):
    """A Llama and the read-out of its visual tokens."""

    def __init__(self, llama: nn.Module) -> None:
        super().__init__()
        self.llama = llama
        self.summary = nn.Linear(llama.config.hidden_size, llama.config.vocab_size)


class Text:
    """The stage."""

    def __init__(self, recipe: StageRecipe, train: WorldPairs, test: WorldPairs, work: Path,
                 preset: Preset = PRESETS["mini"], text: TextSettings = TextSettings()) -> None:  # fmt: skip
        """work: a folder for the vocabulary, which is learned once."""
        self.recipe, self.train, self.test, self.preset, self.text = recipe, train, test, preset, text
        self.tokenizer = vocabulary(train, preset, work)
        self.rows = MLLMRows(self.tokenizer, 0, preset.max_length)

    def settings(self) -> dict:
        return {"text": asdict(self.text), "llama": self.preset.llama_config().to_diff_dict(), "pairs": len(self.train)}

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        return seeded(lambda: Reader(new_llama(self.preset)), self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        picks = torch.randint(0, len(self.train), (self.recipe.batch_size + self.text.captions,), generator=draw)
        words = [self.train.words[i] for i in picks.tolist()]
        asked, told = words[: self.recipe.batch_size], words[self.recipe.batch_size :]
        answers, summary = answer_losses(network, question_rows(self.rows, asked), self.tokenizer, network.llama)
        captions = caption_loss(network.llama, [w.goal_caption for w in told], self.tokenizer)
        total = answers + captions + self.text.summary * summary
        return {"loss": total, "answers": answers, "captions": captions, "summary": summary}

    @torch.no_grad()
    def scores(self, network: nn.Module) -> dict[str, float]:
        """On held-out photographs: nats a token."""
        network.eval()
        words = self.test.words[:128]
        answers, summary = answer_losses(network, question_rows(self.rows, words), self.tokenizer, network.llama)
        captions = caption_loss(network.llama, [w.goal_caption for w in words], self.tokenizer)
        return {"rows": len(words), "answers": float(answers), "captions": float(captions), "summary": float(summary)}

    def sheet(self, network: nn.Module, path: Path) -> None:
        from mgie.mini.training.contact_sheet import save_sheet
        from mgie.mllm import MLLM

        words, pixels = self.test.words[:16], self.test.pixels[:16]
        answers = write_answers(MLLM(network.llama.eval()), self.tokenizer, self.preset, words, None)
        lines = [f"{w.instruction} > {answer}" for w, answer in zip(words, answers, strict=True)]
        save_sheet([[side[0], side[1], *[side[1] * 0 + 255] * 5] for side in pixels], path, ("input", "goal"), lines)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        """Nothing: stage llava goes on with these weights, from its checkpoint."""


def new_llama(preset: Preset) -> nn.Module:
    """With plain attention: in bfloat16 on a CPU the fused one's backward pass is slow."""
    from transformers import LlamaForCausalLM

    llama = LlamaForCausalLM(preset.llama_config())
    llama.set_attn_implementation("eager")
    return llama


def vocabulary(train: WorldPairs, preset: Preset, work: Path) -> Tokenizer:
    """The byte-level BPE in `work`, learned from the training texts if it is not there. LGIE has the same one."""
    folder = work / f"tokenizer-{preset.vocab}"
    if not (folder / TOKENIZERS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        texts = [text for w in train.words for text in (w.instruction, w.expressive, w.goal_caption)]
        mllm_tokenizer([*[build_prompt("", 0)] * TEMPLATE_WEIGHT, *texts], preset.vocab, True, folder)
    return Tokenizer.from_tokenizers(folder / TOKENIZERS)


def question_rows(rows: MLLMRows, words: list) -> Batch:
    return Batch(**rows.collate([rows.row(w.instruction, w.expressive) for w in words]))


def answer_losses(network: nn.Module, batch: Batch, tokenizer: Tokenizer, llama: nn.Module,
                  embeddings: Tensor | None = None, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(nats a token of the answers, the visual tokens' read-out). network: has .summary. embeddings: with patches.

    weight: (V,), how much each token of the vocabulary counts.
    """
    batch = batch.to(llama.device)
    if embeddings is None:
        embeddings = llama.get_input_embeddings()(batch.input_ids)
    states = llama.model(
        inputs_embeds=embeddings,
        attention_mask=batch.attention_mask,
        position_ids=positions(batch.attention_mask),
        use_cache=False,
    ).last_hidden_state  # (B, L, D)
    scored, targets = losses.scored_places(batch.labels)
    weight = None if weight is None else weight.to(states.device)
    answers = F.cross_entropy(llama.lm_head(states[:, :-1][scored]).float(), targets, weight)
    count = len(tokenizer.visual)
    starts = losses.visual_token_starts(batch.labels, tokenizer.visual[0], count)
    told = network.summary(losses.visual_token_states(states, starts, count).mean(dim=1)).float()  # (B, V)
    held = torch.zeros_like(told)
    assert batch.labels is not None  # collate makes them
    spoken = batch.labels.clamp(min=0)  # IGNORED becomes <unk>, a special token as well
    held.scatter_(1, spoken, 1.0)
    held[:, list(tokenizer.special.values())] = 0
    heavier = 1 + 9 * held  # an answer holds some 20 of a thousand tokens
    return answers, F.binary_cross_entropy_with_logits(told, held, weight=heavier) * 10


def caption_loss(llama: nn.Module, captions: list[str], tokenizer: Tokenizer) -> Tensor:
    rows = [torch.tensor([*tokenizer.encode(text), tokenizer.eos]) for text in captions]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=tokenizer.pad).to(llama.device)
    labels = ids[:, 1:].masked_fill(ids[:, 1:] == tokenizer.pad, losses.IGNORED)
    states = llama.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    return F.cross_entropy(llama.lm_head(states).float().flatten(0, 1), labels.flatten(), ignore_index=losses.IGNORED)


def write_answers(mllm: MLLM, tokenizer: Tokenizer, preset: Preset, words: list[Words],
                  pixels: NDArray[np.uint8] | None, batch: int = 50) -> list[str]:  # fmt: skip
    """The expressive instructions that the MLLM writes, greedily, as the pipeline does. pixels None: without eyes."""
    from PIL import Image

    patches, texts = 0 if pixels is None else preset.patches, []
    for start in range(0, len(words), batch):
        part = words[start : start + batch]
        prompts = [tokenizer.encode(build_prompt(w.instruction, patches), preset.token_rule) for w in part]
        images = None
        if pixels is not None:
            pictures = [Image.fromarray(row) for row in pixels[start : start + batch]]
            images = ClipProcessor(preset.vision_size)(pictures)
        answers = generate.decode(mllm, tokenizer, prompts, images, torch.device("cpu"), preset.max_new_tokens,
                                  preset.no_repeat_ngram_size)  # fmt: skip
        stops = {tokenizer.visual[0], tokenizer.eos}
        for answer in answers:
            end = next((i for i, token in enumerate(answer.ids) if token in stops), len(answer.ids))
            texts.append(tidy(tokenizer.decode(answer.ids[:end])))
    return texts
