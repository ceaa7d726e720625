"""The Hub: from its cache, or out of reach within seconds; nothing waits for a network that is not there."""

import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from threading import Thread

from mgie.io.files import is_looking

KEPT = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")  # of a model: no copies in other formats
TIMEOUT = 2  # seconds until a host counts as out of reach


def from_hub(repo: str, names: tuple[str, ...], what: str, flag: str, fetched: Path) -> Path:
    """The first of `names` in fetched/<repo>/, or in the Hub's cache; else the first that the repo has, fetched."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    for name in names:
        if (fetched / repo / name).is_file():
            return fetched / repo / name
        cached = try_to_load_from_cache(repo, name)
        if isinstance(cached, str):
            return Path(cached)
    if is_looking():
        why = "nothing is fetched for a plan"
    elif constants.HF_HUB_OFFLINE or not reachable(constants.ENDPOINT):
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


def folder_from_hub(name: str) -> Path:
    """The folder of a Hub model in the cache, downloaded where there is a network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"no vision tower: LLaVA's config names {name}, which is neither a folder here nor to be had from the Hub "
            f"({type(error).__name__}); download it and name its folder with --clip"
        ) from error


def config_from_hub(name: str, revision: str | None, flag: str) -> Path:
    """config.json of a Hub model, in a folder of the cache that is named after its commit. Raises FileNotFoundError."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "config.json", revision=revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{flag} {name}: no such folder, and the Hub did not give its config.json ({type(error).__name__}: "
            f"{str(error).splitlines()[0]})\ndownload it where there is a network ({download(name)} --local-dir DIR) "
            f"and give {flag} DIR"
        ) from error


def download(name: str) -> str:
    """The command that fetches what model_from_hub takes of a model, and no more."""
    return " ".join([f"hf download {name}", *(f"--include '{pattern}'" for pattern in KEPT)])


def model_from_hub(name: str, revision: str) -> Path:
    """The folder of a Hub model with its weights and tokenizer, downloaded where they are not in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(KEPT)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        line = f"{download(name)} --revision {revision}"
        raise FileNotFoundError(f"the Hub did not give the weights of {name} ({why}); {line}") from error
