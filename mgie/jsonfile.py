"""Files that others wrote. Whatever is wrong with one, the error is a ValueError that names it and what to do next."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = {dict: "object with names and values", list: "list"}


def read_json(path: Path, kind: type = dict) -> dict | list:
    """The JSON object (or list) in path. Raises FileNotFoundError, ValueError."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; the folder is incomplete, get it again") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested or numbers too long to be meant
        raise ValueError(f"{path} is not JSON: {error}; get it again") from error
    if not isinstance(data, kind):
        raise ValueError(f"{path} holds a {type(data).__name__}; expected a JSON {NAMES[kind]}")
    return data


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """For libraries that raise anything at all on a damaged file: it becomes a ValueError that names the path."""
    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        said = (str(error).strip().splitlines() or [""])[0][:200]
        raise ValueError(
            f"{path} is damaged or not what its name says ({type(error).__name__}: {said}); get or make it again"
        ) from error
