"""Weights load exactly: every key is loaded, none is left over, every value is a number.

Libraries fill a missing weight with noise and go on (and official code prints and goes on); a benchmark must not.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, dtype, nn


def load_exactly(module: "nn.Module", state: "dict[str, Tensor]") -> None:
    """Raises ValueError with the first names that are missing, left over or of another shape."""
    name, own = type(module).__name__, module.state_dict()
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


def read_safetensors(path: Path) -> "dict[str, Tensor]":
    """Raises FileNotFoundError, or ValueError for a damaged file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; the folder is incomplete, make it again")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); copy or make it again") from error


def load_library_model(cls: type, folder: Path, dtype: "dtype | None" = None) -> "nn.Module":
    """A transformers or diffusers model from its folder of safetensors, whole or not at all, in eval mode.

    dtype: None keeps the weights' own.
    """

    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{cls.__name__}: no config.json in {folder}; the folder is incomplete, make it again")
    name = "dtype" if cls.__module__.startswith("transformers") else "torch_dtype"
    options = {name: dtype or stored_dtype(folder), "use_safetensors": True, "output_loading_info": True}
    try:
        model, info = cls.from_pretrained(folder, **options)
    except MemoryError:
        raise
    except Exception as error:  # a damaged config.json makes the libraries raise anything
        raise ValueError(f"{folder}: weights and config.json do not fit: {str(error).strip()[:300]}") from error
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
    faults = {kind: sorted(map(str, info[kind]))[:3] for kind in kinds if info.get(kind)}
    if faults:
        raise ValueError(f"{folder}: weights and config.json do not fit: {faults}; is this the right checkpoint?")
    return model.eval()


def stored_dtype(folder: Path) -> "dtype | None":
    """The dtype of a folder's weights, by the first of them; None where there are none (the loader says so)."""
    from safetensors import SafetensorError, safe_open

    try:
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118  safe_open is no mapping
                    return file.get_tensor(name).dtype
    except (SafetensorError, OSError):  # the loader says so, with the path
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
