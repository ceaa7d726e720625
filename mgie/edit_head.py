"""Edit head: the states of the visual tokens -> the conditioning of the UNet, in place of CLIP's text states.

Convention: EditMapper of apple/ml-mgie at 835af37: pre-norm torch Transformer, ReLU, no dropout, no masks; the
state-dict names are the official ones.  B batch, n visual tokens, D hidden size of the LLM, Q queries, F out.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from mgie.io.files import naming, read_json, write_json
from mgie.io.weights import load_exactly, read_safetensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class EditHead(nn.Module):
    def __init__(
        self,
        hidden: int,
        dim: int = 512,
        ff: int = 2048,
        queries: int = 77,
        out: int = 768,
        heads: int = 4,
        layers: int = 4,
    ) -> None:
        """hidden: D. dim: width of the transformer. layers: in the encoder, and again in the decoder."""
        super().__init__()
        self.config = {
            "hidden": hidden,
            "dim": dim,
            "ff": ff,
            "queries": queries,
            "out": out,
            "heads": heads,
            "layers": layers,
        }
        self.llm2hid = nn.Linear(hidden, dim)
        self.query = nn.Parameter(torch.randn(1, queries, dim))
        self.mapper = _transformer(dim, ff, heads, layers)
        self.hid2feat = nn.Linear(dim, out)

    def forward(self, states: Tensor, embeddings: Tensor) -> Tensor:
        """states: (B, n, D). embeddings: of the visual tokens, (n, D) or (1, n, D). Returns (B, Q, F)."""
        hidden = self.llm2hid(states + embeddings)  # (B, n, dim)
        return self.hid2feat(self.mapper(hidden, self.query.expand(len(states), -1, -1)))

    def null(self, embeddings: Tensor) -> Tensor:
        """The negative condition, (1, Q, F).

        quirk: neither zeros nor an empty text, but the head's answer to zero states, with the embeddings still added
        (apple/ml-mgie demo.ipynb at 835af37).
        """
        embeddings = embeddings if embeddings.dim() == 3 else embeddings[None]
        return self(torch.zeros_like(embeddings), embeddings)

    def save_pretrained(self, folder: Path) -> None:
        from safetensors.torch import save_model

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, self.config)
        save_model(self, str(folder / WEIGHTS))

    @classmethod
    def from_pretrained(cls, folder: Path, dtype: torch.dtype | None = None) -> "EditHead":
        """Raises FileNotFoundError without the folder's files, ValueError when the weights do not fit the sizes."""
        folder = Path(folder)
        if not (folder / CONFIG).exists():
            raise FileNotFoundError(f"no {CONFIG} in {folder}; the folder is incomplete, make it again")
        with naming(folder):
            head, state = cls(**read_json(folder / CONFIG)), read_safetensors(folder / WEIGHTS)
            dtypes = {weight.dtype for weight in state.values()}
            load_exactly(head.to(dtype or (dtypes.pop() if len(dtypes) == 1 else None)), state)
        return head.eval()


def _transformer(dim: int, ff: int, heads: int, layers: int) -> nn.Transformer:
    options = {"dim_feedforward": ff, "dropout": 0.0, "batch_first": True, "norm_first": True}
    # nn.Transformer's own encoder would warn of nested tensors, which pre-norm layers cannot use
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(dim, heads, **options), layers, nn.LayerNorm(dim), enable_nested_tensor=False
    )
    return nn.Transformer(dim, heads, num_decoder_layers=layers, custom_encoder=encoder, **options)
