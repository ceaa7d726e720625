"""Stage align: a first edit head, which learns to say in the text encoder's language what the visual tokens hold.

The Llama is frozen; the target is what stage sd's text encoder makes of the expressive instruction. Convention: GILL
(Koh et al. 2023), whose mapper MGIE's edit head is, learns to match text states before anything else. Half of the rows
come without a picture: LGIE and MGIE start from the same head. Their joint training then changes it with L_edit.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from mgie.mini.stages.answers import LANGUAGE, Seeing, splice
from mgie.mini.stages.sd import DiffusionSettings, text_encoder, vocabulary
from mgie.mini.stages.text import new_llama, question_rows
from mgie.mini.training.pairs import WorldPairs
from mgie.mini.training.parts import Parts
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import seeded
from mgie.mllm import positions
from mgie.presets import PRESETS, Preset
from mgie.train import losses
from mgie.train.batches import MLLMRows, clip_ids
from mgie.train.joint import Batch


@dataclass(frozen=True)
class AlignSettings:
    blind: float = 0.5  # share of rows without a picture
    words: int = 8  # queries that learn states of the text's words, spread over it; the others learn its end


class Align:
    """The stage."""

    def __init__(self, recipe: StageRecipe, train: WorldPairs, used: int, test: WorldPairs, parts: Parts,
                 preset: Preset = PRESETS["mini"], align: AlignSettings = AlignSettings()) -> None:  # fmt: skip
        """used: of the training pairs, as in stage sd."""
        self.recipe, self.train, self.used, self.test = recipe, train, used, test
        self.preset, self.align, self.parts = preset, align, parts
        self.tokenizer, self.tower = parts.tokenizer, parts.load_tower()
        self.words = vocabulary(train, preset)
        self.rows = [MLLMRows(self.tokenizer, patches, preset.max_length) for patches in (0, preset.patches)]

    @cached_property
    def seeing(self) -> nn.Module:
        return self.parts.restored(Seeing(new_llama(self.preset), self.preset.vision_hidden), LANGUAGE)

    @cached_property
    def encoder(self) -> nn.Module:
        encoder = text_encoder(self.words, self.preset, DiffusionSettings())
        return self.parts.restored(encoder, "sd", "text_encoder.")

    def settings(self) -> dict:
        return {"align": asdict(self.align), "head": self.preset.edit_head().config, "pairs": self.used,
                "language": LANGUAGE}  # fmt: skip

    def data_hash(self) -> str:
        return self.train.content_hash()

    def network(self) -> nn.Module:
        return seeded(self.preset.edit_head, self.recipe.seed)

    def loss(self, network: nn.Module, teacher: nn.Module, step: int, draw: torch.Generator) -> dict[str, Tensor]:
        self.join(network)
        size = self.recipe.batch_size
        picks = torch.randint(0, self.used, (size,), generator=draw).tolist()
        unseen = round(self.align.blind * size)
        embeddings = self.visual_embeddings()
        parts = {}
        for name, some, blind in (("blind", picks[:unseen], True), ("seeing", picks[unseen:], False)):
            states, target = self.states(self.train, some, blind), self.target(self.train, some)
            parts[name] = (network(states, embeddings).float() - target).square().mean()
        nothing = (network.null(embeddings).float() - self.encode([""])).square().mean()
        return {"loss": parts["blind"] + parts["seeing"] + 0.5 * nothing, **parts, "null": nothing}

    def join(self, network: nn.Module) -> None:
        """The frozen parts go to the head's device."""
        for part in (self.seeing, self.encoder):
            part.to(next(network.parameters()).device)

    @torch.no_grad()
    def states(self, pairs: WorldPairs, some: list[int], blind: bool) -> Tensor:
        """(B, 8, D), of the visual tokens behind the expressive instruction as it is."""
        llama = self.seeing.llama
        batch = question_rows(self.rows[0 if blind else 1], [pairs.words[i] for i in some]).to(llama.device)
        embeddings = self.embed(batch, None if blind else pairs.pixels[some, 0])
        states = llama.model(
            inputs_embeds=embeddings,
            attention_mask=batch.attention_mask,
            position_ids=positions(batch.attention_mask),
            use_cache=False,
        ).last_hidden_state
        count = len(self.tokenizer.visual)
        starts = losses.visual_token_starts(batch.labels, self.tokenizer.visual[0], count)
        return losses.visual_token_states(states, starts, count).float()

    def embed(self, batch: Batch, pixels: object) -> Tensor:
        if pixels is None:
            return self.seeing.llama.get_input_embeddings()(batch.input_ids)
        return splice(self.seeing, self.tower, batch, pixels, self.tokenizer)

    def visual_embeddings(self) -> Tensor:
        return self.seeing.llama.get_input_embeddings().weight[self.tokenizer.visual].detach()

    def target(self, pairs: WorldPairs, some: list[int]) -> Tensor:
        return self.encode([pairs.words[i].expressive for i in some])

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """(B, Q, F): states of the text encoder, some spread over the words, the others from the text's end on."""
        ids = torch.cat([clip_ids(self.words, text) for text in texts]).to(self.encoder.device)
        states = self.encoder(ids)[0].float()  # (B, 40, F)
        ends = (ids == self.words.eos_token_id).int().argmax(dim=1)  # (B,)
        spread = torch.linspace(0, 1, self.align.words, device=ids.device)
        rest = self.preset.queries - self.align.words
        behind = (ends[:, None] + torch.arange(1, rest + 1, device=ids.device)).clamp(max=ids.shape[1] - 1)
        places = torch.cat([(spread * ends[:, None]).round().long(), behind], dim=1)
        return states.gather(1, places[:, :, None].expand(-1, -1, states.shape[2]))

    @torch.no_grad()
    def scores(self, network: nn.Module) -> dict[str, float]:
        """Held-out: share of the text states' variance that the head explains."""
        self.join(network)
        some = list(range(100))
        target = self.target(self.test, some)
        spread = (target - target.mean(dim=0)).square().mean()
        network.eval()
        found = {}
        for name, blind in (("blind", True), ("seeing", False)):
            answer = network(self.states(self.test, some, blind), self.visual_embeddings())
            found[name] = float(1 - (answer - target).square().mean() / spread)
        return {"rows": 100.0, **{f"explained_{name}": value for name, value in found.items()}}

    def sheet(self, network: nn.Module, path: Path) -> None:
        """Held-out edits by stage sd's UNet under the head's conditioning, the answer being given."""
        from mgie.mini.stages.sd import Diffusion, Painter, quick
        from mgie.mini.training.contact_sheet import save_sheet

        self.join(network)
        stage = Diffusion(self.recipe, self.train, self.used, self.test, self.parts, self.preset)
        painter = self.parts.restored(
            Painter(quick(self.preset.unet()), text_encoder(self.words, self.preset, DiffusionSettings())), "sd"
        )
        some = list(range(12))
        with torch.no_grad():
            text = network.eval()(self.states(self.test, some, False), self.visual_embeddings())
            outputs = stage.edit(painter, len(some), text, network.null(self.visual_embeddings()))
        rows = [[self.test.pixels[i, 0], outputs[i], self.test.pixels[i, 1]] for i in some]
        texts = [w.instruction[:62] for w in self.test.words[: len(some)]]
        save_sheet(rows, path, ("input", "output", "goal"), texts, columns=3)

    def ship(self, network: nn.Module, folder: Path, made_by: dict[str, str]) -> None:
        """Nothing by itself: lgie and mgie start from it."""
