"""What --rewrite names: nobody, MGIE or LGIE, a LLaVA or Llama, or a file of texts; opened by name, nothing is loaded.

In suite published mgie and lgie are the authors' own texts, as their edits are the authors' own outputs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from pkgutil import resolve_name

from bench.records import Example
from bench.registry import Dataset, Model
from bench.settings import ModelSettings
from mgie.io.files import HALVES

NAMES = ("none", "mgie", "lgie")
FILES = (".jsonl", ".json", ".txt", ".csv")  # names that are meant for files
WRITER = "baselines.rewriters.written:open_rewriter"
KNOWN = f"{', '.join(NAMES)}, the folder or Hub id (owner/name) of a LLaVA or Llama, or a file (JSONL of id and text)"


@dataclass(frozen=True)
class Rewriting:
    """A rewriter, as a run knows it."""

    fingerprint: dict[str, str]  # all that changes a text
    model: Model | None = None  # writes the texts; None: they are given
    given: Mapping[str, str] = field(default_factory=dict)  # by example id
    template: str = ""

    @property
    def name(self) -> str:
        return self.fingerprint["rewriter"]

    @property
    def hash(self) -> str:
        return hashlib.sha256(json.dumps(self.fingerprint, sort_keys=True).encode()).hexdigest()[:16]

    def in_run(self) -> dict[str, str]:
        """The same as part of a run's fingerprint."""
        return {name if name == "rewriter" else f"rewriter {name}": v for name, v in self.fingerprint.items()}

    def note(self, examples: Sequence[Example]) -> str:
        """What a reader of the numbers must know of it."""
        looks = " in front of the dataset's own images" if any(e.previous for e in examples) else ""
        return f"instructions rewritten by {self.name}{looks}"


def written_by(model: Model) -> Rewriting:
    """What a rewriter writes, which is a model whose outputs are texts."""
    return Rewriting(model.fingerprint(), model, template=getattr(model, "template", ""))


def rewriting_of(
    name: str, spec: ModelSettings, model: Model, dataset: Dataset, examples: list[Example]
) -> Rewriting | None:
    """What stands before this model; None: nobody. Raises ValueError, FileNotFoundError before anything is loaded."""
    own = getattr(model, "rewriter", None)
    if name == "none":
        if own is None:
            return None
        # a later turn of a session is written in front of the model's own output: such a form writes as it edits
        own.while_editing = any(e.previous for e in examples)
        return None if own.while_editing else written_by(own)
    if own:
        raise ValueError(f"--rewrite {name}: form {spec.form} of {spec.name} has its own rewriter; take --model "
                         "inspix2pix, or the form e2e")  # fmt: skip
    if not getattr(model, "instructed", True):
        given = "its output images are given" if spec.images or spec.suite == "published" else "it takes no instruction"
        raise ValueError(f"--rewrite {name} is for models that edit by instruction; {spec.name} is none: {given}")
    if spec.suite == "published" and name in NAMES and name in getattr(dataset, "models", ()):
        texts = getattr(dataset, "expressive_instructions", None)
        theirs = texts(name) if texts else {}
        return as_given(name, {e.id: theirs.get(e.id, "").strip() or e.instruction.strip() for e in examples})
    path = Path(name)
    if path.is_file():
        return as_given(path.name, texts_in(path, examples))
    return opened(name, spec)


def opened(name: str, spec: ModelSettings) -> Rewriting:
    """A rewriter that writes its texts itself. Raises ValueError, FileNotFoundError."""
    refuse_unknown(name)
    return written_by(resolve_name(WRITER)(name, replace(spec, images=None)))


def refuse_unknown(name: str) -> None:
    """Raises ValueError, or FileNotFoundError for a file, where no rewriter can be meant."""
    path = Path(name)
    if name in NAMES or path.is_dir():
        return
    if path.suffix in FILES or name.startswith(("/", ".", "~")):  # a Hub id has dots too: llava-1.5-7b-hf
        raise FileNotFoundError(f"--rewrite {name}: no such file or folder; expected {KNOWN}")
    owner, _, rest = name.partition("/")
    if not owner or not rest or "/" in rest:
        close = get_close_matches(name, NAMES, 1, 0.5)
        meant = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"--rewrite {name}: no rewriter of that name; known: {KNOWN}{meant}")


def as_given(name: str, texts: dict[str, str]) -> Rewriting:
    digest = hashlib.sha256(json.dumps(sorted(texts.items())).encode()).hexdigest()
    return Rewriting({"rewriter": name, "texts": digest}, given=texts)


def texts_in(path: Path, examples: list[Example]) -> dict[str, str]:
    """By id the texts of these examples; lines of others are left alone, and so is all but id and text.

    Raises ValueError for a line that is none, for an example without a text, and for a blank one.
    """
    found: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"--rewrite {path}, line {number}"
        try:
            record = json.loads(line)
            name, text = record["id"], record["text"]
            if not (isinstance(name, str) and isinstance(text, str)):
                raise TypeError("id and text must be texts")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f'{where}: expected {{"id": ..., "text": ...}}: {error!r}') from None
        if HALVES.search(text):
            raise ValueError(f"{where}: {name} has a text that is no valid Unicode ({text[:40]!r})")
        if name in found:
            raise ValueError(f"{where}: {name} is there twice, first in line {found[name][1]}; leave one")
        found[name] = text.strip(), number
    lacking = [e.id for e in examples if e.id not in found]
    if lacking:
        raise ValueError(f"--rewrite {path}: no text for {len(lacking)} of {len(examples)} examples, first: "
                         f"{lacking[0]}; every example needs a line of id and text")  # fmt: skip
    blank = [(e.id, found[e.id][1]) for e in examples if not found[e.id][0]]
    if blank:
        first, number = blank[0]
        raise ValueError(f"--rewrite {path}: {len(blank)} of {len(examples)} texts are blank, first: {first}, line "
                         f"{number}; give a text, or the instruction itself")  # fmt: skip
    return {e.id: found[e.id][0] for e in examples}
