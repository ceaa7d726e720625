"""Checkpoints of a training run: a pipeline folder that loads like any other, and beside it what resuming needs.

    OUT/.checkpoints/step-000500/   the pipeline (EMA weights where EMA is on), and trainer/:
        state.json                  step, format; the last file a reader looks at is there because the folder is
        trained.safetensors         the trained parameters as the optimiser sees them (float32)
        optimizer.safetensors       `<parameter>.exp_avg` ...
        ema.safetensors             only with EMA

A folder appears under its name by one rename, so a name is a whole checkpoint. No pickle is written or read. Full
tensors are gathered through torch.distributed.checkpoint's state dicts, which treat one process, DDP and FSDP alike.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.folder import INDEX
from mgie.io.components import weights_of
from mgie.io.files import replacing
from mgie.io.weights import read_safetensors, stored_dtype

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

FOLDER, TRAINER = ".checkpoints", "trainer"


def checkpoints(out: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every whole checkpoint, oldest first."""
    found = [path for path in (out / FOLDER).glob("step-*") if path.name[5:].isdigit()]
    return sorted((int(path.name[5:]), path) for path in found)


def clear_unfinished(out: Path) -> None:
    for path in (out / FOLDER).glob(".unfinished-*"):
        shutil.rmtree(path)


def write(out: Path, step: int, keep: int, fill: Callable[[Path], None]) -> Path:
    """fill writes the checkpoint's files into the folder that it is given; then it gets its name.

    The newest `keep` checkpoints stay. Raises OSError as the disk gives it (full, read-only); nothing half stays named.
    """
    final, temporary = out / FOLDER / f"step-{step:06d}", out / FOLDER / f".unfinished-{step:06d}"
    from safetensors import SafetensorError

    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / TRAINER).mkdir(parents=True)
    try:
        fill(temporary)
    except SafetensorError as error:  # its own class for a full disk too
        raise OSError(f"{temporary}: checkpoint of step {step} could not be written: {error}") from error
    for path in temporary.rglob("*"):
        if path.is_file():
            flush(path)
    if final.exists():  # the same step, saved again after its csv row was lost
        shutil.rmtree(final)
    os.replace(temporary, final)
    for _, old in checkpoints(out)[:-keep]:
        shutil.rmtree(old)
    return final


def flush(path: Path) -> None:
    """To the disk: a rename that outlives a power cut must not name files that did not."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def publish(checkpoint: Path, out: Path) -> None:
    """The checkpoint's pipeline becomes OUT's: OUT is then a model folder itself. The index comes last."""
    files = [path.relative_to(checkpoint) for path in sorted(checkpoint.rglob("*")) if path.is_file()]
    files = [path for path in files if path.parts[0] != TRAINER]
    index = [path for path in files if path.name == INDEX]
    for path in index:
        (out / path).unlink(missing_ok=True)
    for path in [path for path in files if path not in index] + index:
        place(checkpoint / path, out / path)


def place(source: Path, target: Path) -> None:
    """A hard link where the disk can (a 7b pipeline is not stored twice), else a copy; atomic."""
    if target.exists() and target.samefile(source):
        return  # published before; renaming one link over another of the same file would leave both
    with replacing(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def save_tensors(tensors: dict[str, "Tensor"], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, "Tensor"]:
    """Raises ValueError that names the file when it is damaged."""
    return read_safetensors(path, f"delete {path.parents[1]} and start again: the checkpoint before it is used")


def trained_tensors(model: "nn.Module") -> dict[str, "Tensor"]:
    """Full tensors of the parameters that train, by name, on the main process. A collective call: all make it."""
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    wanted = {clean(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    state = get_model_state_dict(model, options=_options())
    return {name: tensor for name, tensor in state.items() if name in wanted}


def load_trained(model: "nn.Module", tensors: dict[str, "Tensor"]) -> None:
    """Into the parameters that train; each must be there, and none else."""
    from torch.distributed.checkpoint.state_dict import set_model_state_dict

    wanted = {clean(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    if wanted != tensors.keys():
        odd = sorted(wanted ^ tensors.keys())
        raise ValueError(
            f"checkpoint and model differ in {len(odd)} trained parameters (first: {odd[0]}); "
            "was it written with other --model or --form?"
        )
    set_model_state_dict(model, tensors, options=_options(strict=False))


def optimizer_tensors(model: "nn.Module", optimizer: "Optimizer") -> dict[str, "Tensor"]:
    """`<parameter>.<name>` -> full tensor, on the main process; a collective call.

    Rates and the like follow from the step and are not stored.
    """
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    state = get_optimizer_state_dict(model, optimizer, options=_options()).get("state", {})
    return {f"{parameter}.{name}": value for parameter, values in state.items() for name, value in values.items()}


def load_optimizer(model: "nn.Module", optimizer: "Optimizer", tensors: dict[str, "Tensor"]) -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    # not to the CPU: then only the main process would get the groups
    whole = get_optimizer_state_dict(model, optimizer, options=_options(cpu_offload=False))
    whole["state"] = {}
    for full, value in tensors.items():
        parameter, name = full.rsplit(".", 1)
        whole["state"].setdefault(parameter, {})[name] = value
    set_optimizer_state_dict(model, optimizer, whole, options=_options())


def clean(name: str) -> str:
    """A parameter's own name, without what wrapping for many processes or checkpointing puts into it."""
    for part in ("module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."):
        name = name.replace(part, "")
    return name


def _options(cpu_offload: bool = True, strict: bool = True) -> object:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=cpu_offload, ignore_frozen_params=True, strict=strict)


# What does not train is linked from the run's start, in the start's own dtype: a 7b pipeline is 16 GB, of which
# training changes 4. A hard link takes no room and no time; where a disk has none, the file is copied.
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
