"""Where a metric network's weights come from: a local file, the Hub's cache, the Hub; and their SHA-256.

Absent and out of reach is one FileNotFoundError within seconds (the Hub's own client tries for half a minute).
Weights are read as safetensors or with weights_only=True; no pickle is run.
"""

import hashlib
import pickle
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMEOUT = 2  # seconds until a host counts as out of reach


def from_hub(repo: str, names: tuple[str, ...], what: str, flag: str) -> Path:
    """The first of `names` in the Hub's cache; else the first that the repo has, fetched."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    for name in names:
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    if constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
        why = "the Hub is switched off (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
    else:
        why = f"the Hub's {repo} has none of {', '.join(names)}"
        for name in names:
            try:
                return Path(hf_hub_download(repo, name))
            except (EntryNotFoundError, HfHubHTTPError, OSError) as error:
                if not isinstance(error, EntryNotFoundError):
                    why = f"the Hub answered: {str(error).splitlines()[0]}"
                    break
    raise missing(what, f"it is not in the Hub's cache and {why}", f"hf download {repo} {names[0]}", flag)


def missing(what: str, why: str, get: str, flag: str) -> FileNotFoundError:
    return FileNotFoundError(f"{what}: {why}; get it with `{get}`, or name a local file with {flag}")


@lru_cache
def reachable(url: str) -> bool:
    """Whether the host answers at all; any answer will do. Asked once a process."""
    answers: list[bool] = []
    thread = Thread(target=lambda: answers.append(answers_now(url)), daemon=True)
    thread.start()
    thread.join(2 * TIMEOUT)  # a resolver that hangs is not covered by urlopen's timeout
    return answers == [True]


def answers_now(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=TIMEOUT):
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):  # no name, no route, refused, timed out, no such scheme
        return False


def digest(*files: Path) -> str:
    """SHA-256 of a file; of the names and SHA-256 of several."""
    if len(files) > 1:
        lines = [f"{file.name} {digest(file)}\n" for file in files]
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    stat = files[0].stat()
    return digest_of(files[0], stat.st_size, stat.st_mtime_ns)


@lru_cache
def digest_of(file: Path, size: int, modified: int) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_state(file: Path) -> dict[str, "Tensor"]:
    """A state dict of tensors, whatever single key it is wrapped in."""
    if file.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file}: not a safetensors file: {error}") from error
    import torch

    from mgie.official import DAMAGED, Whole

    try:
        with Whole(file) as opened:
            state = torch.load(opened, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *DAMAGED) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{file}: no plain file of tensors ({said}); TorchScript archives and pickles are "
            "not run: save its state dict as safetensors"
        ) from error
    if not isinstance(state, dict):
        raise ValueError(f"{file} holds a {type(state).__name__}; expected a state dict, name -> tensor")
    for wrapper in ("state_dict", "model"):
        if isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    return state


def load_file_exactly(
    network: "nn.Module", state: dict[str, "Tensor"], file: Path, unused: tuple[str, ...] = ()
) -> None:
    """Every key is loaded, but those that begin with `unused` (a classifier we have no use for)."""
    state = {key: value for key, value in state.items() if not any(key.startswith(start) for start in unused)}
    own = network.state_dict()
    absent, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if absent or extra:
        raise ValueError(
            f"{file}: {len(absent)} keys missing (first: {absent[:3]}), {len(extra)} unexpected (first: {extra[:3]}); "
            f"is this a checkpoint of {type(network).__name__}?"
        )
    wrong = [k for k in own if own[k].shape != state[k].shape]
    if wrong:
        first = wrong[0]
        raise ValueError(
            f"{file}: {len(wrong)} tensors of another size, first {first}: {tuple(state[first].shape)}, "
            f"expected {tuple(own[first].shape)}"
        )
    network.load_state_dict(state)
