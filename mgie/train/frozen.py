"""What does not train, in the folders that a run writes: linked from its start, and stored in the start's own dtype.

A 7b pipeline is 16 GB, of which training changes 4. A hard link takes no room and no time; where the disk has none (two
file systems), the file is copied.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.components import weights_of
from mgie.io.weights import read_safetensors, stored_dtype
from mgie.train.checkpoint import place

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

INDEXED = ".index.json"


def link(source: Path, target: Path) -> None:
    """Every file below source, below target. source: a component's folder in the run's start."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            place(path, target / path.relative_to(source))


def link_loadable(source: Path, target: Path) -> bool:
    """A component of diffusers: its configuration, and the weights that it is loaded from. False, and nothing linked,
    where these are no plain safetensors, which alone every loader takes."""
    weights = weights_of(source)
    if weights.variant is not None or any(path.suffix == ".bin" for path in weights.files):
        return False
    for path in (source / "config.json", *weights.files):
        place(path, target / path.name)
    return True


def keeps_dtype(source: Path, dtype: "torch.dtype | None") -> bool:
    """Whether an LLM whose start is `source` can be written file by file: in dtype, or (None) in the start's own."""
    return dtype is None or stored_dtype(source) == dtype


def write_llm(llm: "nn.Module", source: Path, target: Path) -> None:
    """llama/ of a pipeline: files of the start without a trained tensor are linked, the others are written anew.

    All in the start's dtype. source: llama/ of the start. Raises ValueError where a trained value does not fit into it.
    """
    trained = {name: weight for name, weight in llm.named_parameters() if weight.requires_grad}
    files = weights_of(source).files
    shards = [path for path in files if not path.name.endswith(INDEXED)]
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.json")):
        place(path, target / path.name)
    for path in shards:
        changed = trained.keys() & names_in(path)
        if changed:
            write_shard(path, {name: trained[name] for name in changed}, target / path.name)
        else:
            place(path, target / path.name)


def names_in(path: Path) -> set[str]:
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return set(header) - {"__metadata__"}


def write_shard(source: Path, trained: "dict[str, Tensor]", target: Path) -> None:
    from safetensors.torch import save_file

    state = read_safetensors(source)
    for name, weight in trained.items():
        value = weight.detach().to("cpu", state[name].dtype).contiguous()
        if not value.isfinite().all():
            raise ValueError(f"{target}: {name} has values too large for {value.dtype}; train with --precision float32")
        state[name] = value
    save_file(state, target, metadata={"format": "pt"})
