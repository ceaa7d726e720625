"""Weights in: every key is loaded, none is left over, every value is a number; no pickle runs code.

Libraries fill a missing weight with noise and go on (and official code prints and goes on); a benchmark must not.
"""

import pickle
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgie.io.components import load_component, weights_of
from mgie.io.files import Bounded

if TYPE_CHECKING:
    from torch import Tensor, dtype, nn


def load_exactly(
    module: "nn.Module", state: "dict[str, Tensor]", where: Path | None = None, unused: tuple[str, ...] = ()
) -> None:
    """Every key is loaded, but those that begin with `unused` (a classifier we have no use for). where: for messages.

    Raises ValueError with the first names that are missing, left over or of another shape.
    """
    kind, own = type(module).__name__, module.state_dict()
    name = kind if where is None else f"{where}: {kind}"
    state = {key: value for key, value in state.items() if not any(key.startswith(start) for start in unused)}
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"{name}: {len(missing)} weights missing (first: {missing[:3]}), {len(unexpected)} unexpected "
            f"(first: {unexpected[:3]}); is this the right checkpoint?"
        )
    wrong = [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        raise ValueError(
            f"{name}: {len(wrong)} weights of another size (first: {wrong[0]} is {tuple(state[wrong[0]].shape)}, "
            f"not {tuple(own[wrong[0]].shape)}); a checkpoint of another preset?"
        )
    module.load_state_dict(state)


def read_safetensors(path: Path, advice: str = "copy or make it again") -> "dict[str, Tensor]":
    """Raises FileNotFoundError, or ValueError for a damaged file, which ends with the advice."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; the folder is incomplete, make it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); {advice}") from error


def load_library_model(cls: Any, folder: Path, dtype: "dtype | None" = None, device: str | None = None) -> "nn.Module":
    """load_component, but that dtype None keeps the weights' own in every library, and that a device may be named."""
    folder = Path(folder)
    return load_component(cls, folder, dtype or stored_dtype(folder), device=device)


def stored_dtype(folder: Path) -> "dtype | None":
    """The dtype of a folder's weights, by the first of them; None where these are no safetensors, or none to be read
    (the loader says so)."""
    from safetensors import SafetensorError, safe_open

    try:
        for path in weights_of(folder).files:
            if path.suffix == ".safetensors":
                with safe_open(path, "pt") as file:
                    for name in file.keys():  # noqa: SIM118  safe_open is no mapping
                        return file.get_tensor(name).dtype
    except (SafetensorError, OSError, ValueError):  # the loader says so, with the path
        return None
    return None


def refuse_nan(module: "nn.Module", where: str) -> None:
    """Raises ValueError that names the first weight that is not finite."""
    for name, weight in module.named_parameters():
        if not weight.isfinite().all():
            bad = int((~weight.isfinite()).sum())
            raise ValueError(
                f"{where}: {bad} of {weight.numel()} values of {name} are NaN or infinite; "
                "the checkpoint is damaged or was written by a diverged training"
            )


def read_state(file: Path) -> dict[str, "Tensor"]:
    """A state dict of tensors, whatever single key it is wrapped in. Raises as open_tensors() does."""
    state = read_safetensors(file) if file.suffix == ".safetensors" else open_pickle(file)
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    return state


# what torch's own unpickler raises on a damaged file, from fuzzing it
DAMAGED = (
    RuntimeError, EOFError, OSError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    ArithmeticError, struct.error,
)  # fmt: skip


def open_tensors(path: Path) -> "dict[str, Tensor]":
    """name -> tensor on the CPU, mapped from the file. ValueError: damaged, no tensors, or a pickle that holds code."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; expected a checkpoint file")
    tensors = read_safetensors(path, "get it again") if path.suffix == ".safetensors" else open_pickle(path)
    odd = [name for name, value in tensors.items() if not hasattr(value, "dtype")]
    if odd or not tensors:
        found = f"'{odd[0]}' is a {type(tensors[odd[0]]).__name__}" if odd else "it is empty"
        raise ValueError(f"{path} is no table of tensors: {found}; expected name -> tensor")
    return tensors


def open_pickle(path: Path) -> "dict[str, Tensor]":
    """A state dict out of torch's file, mapped; pickles and TorchScript archives are refused, their code is not run."""
    import torch

    refuse_foreign(path)
    try:
        try:
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            with Bounded(path) as file:  # older torch's format cannot be mapped
                data = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *DAMAGED) as error:
        unpickled = isinstance(error, pickle.UnpicklingError)
        if not re.search(r"WeightsUnpickler error|GLOBAL|[Uu]nsupported" if unpickled else "TorchScript", str(error)):
            raise ValueError(f"{path} is cut short or damaged ({first_line(error)}); get it again") from error
        raise ValueError(
            f"{path} holds more than tensors, and loading it would run code from the file, which is not run: refused. "
            f"Expected a plain state dict, best as safetensors ({first_line(error)})"
        ) from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}; expected a state dict, name -> tensor")
    return data


def refuse_foreign(path: Path) -> None:
    """ValueError for a file that is no checkpoint at all: a web page, a git-lfs pointer, an empty file."""
    with open(path, "rb") as file:
        begin = file.read(40)
    if not begin.startswith((b"PK", b"\x80")):  # torch's zip, or the pickle of older torch
        shown = begin.decode("ascii", "replace").split("\n")[0]
        raise ValueError(
            f"{path} is damaged or no checkpoint: it begins with {shown!r} "
            "(an unfinished download, a web page, a git-lfs pointer?); get it again"
        )


def first_line(error: Exception) -> str:
    """The part of torch's page-long message that says what is wrong."""
    text = str(error)
    match = re.search(r"(GLOBAL [^\n]*? (?:was not an allowed global|is blocked)|Unsupported [^\n.]*)", text)
    return match[0] if match else (text.splitlines() or [type(error).__name__])[0][:160]
