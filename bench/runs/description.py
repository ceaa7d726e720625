"""What a run is: what changes a pixel, which is its id, and what its scores were computed from, which is not.

When a goal image, a caption or a mask is mended, scores are made anew and edits are kept. Notes, counts, versions and
the device's name are in neither.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from bench.records import Example
from bench.registry import MODELS
from bench.runs.digests import Digest, Digests
from bench.settings import DataSettings, EditSettings
from mgie.io.images import size_of
from mgie.io.sizes import cut_of, one_shape

PIXELS = ("edit", "fingerprint", "manifest")  # of run.json: only these are compared when a run is taken up again


@dataclass(frozen=True)
class Run:
    """One model x one dataset x one set of settings."""

    suite: str
    dataset: str
    model: str  # as it is printed
    setting: str
    form: str
    data: DataSettings
    edit: EditSettings
    fingerprint: dict[str, str]  # what the model says of itself
    examples: list[Example]
    manifest: str  # manifest_hash(examples)
    note: str = ""
    sources: dict[str, str] = field(default_factory=dict)  # sources_of(examples)
    rewriter: str = ""  # as it is printed, where --rewrite names one

    def description(self) -> dict:
        """run.json."""
        return {
            "suite": self.suite, "dataset": self.dataset, "model": self.model, "setting": self.setting,
            "form": self.form, "data": self.data.described(), "edit": asdict(self.edit),
            "fingerprint": self.fingerprint, "manifest": self.manifest,
            "n": len(self.scored), "groups": len({e.group for e in self.scored}),
            "note": self.note,
        } | ({"rewriter": self.rewriter} if self.rewriter else {})  # fmt: skip

    @property
    def scored(self) -> list[Example]:
        return [e for e in self.examples if e.scored]

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """By example id: see shapes_of."""
        return shapes_of(self.examples, self.edit)

    @cached_property
    def ordered(self) -> list[Example]:
        """The examples as they are edited: see by_shape."""
        return by_shape(self.examples, self.shapes)

    @property
    def name(self) -> str:
        """Of its folder: <dataset>--<model>[-<form>][-by-<rewriter>]--<setting>--<hash8>."""
        return name_of(self.description())


def name_of(said: dict) -> str:
    """The name of a run's folder, of what run.json says."""
    key = json.dumps({name: said[name] for name in PIXELS}, sort_keys=True)
    form = "" if said["form"] == "none" else f"-{said['form']}"
    form += by(said.get("rewriter", "none"))
    hash8 = hashlib.sha256(key.encode()).hexdigest()[:8]
    return f"{said['dataset']}--{safe(said['model'])}{form}--{said['setting']}--{hash8}"


def by(rewriter: str) -> str:
    """As part of a file name; empty where there is none."""
    return f"-by-{safe(rewriter)}" if rewriter not in ("", "none") else ""


LONGEST = 100  # bytes of a model's name in a file name; file systems take 255 for the whole


def safe(name: str) -> str:
    """A model's name as part of a file name: "diffusers:org/model" has signs that a path must not hold.

    A long one is cut, and a hash of the whole name keeps it apart from others that begin alike.
    """
    plain = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    if len(plain.encode()) <= LONGEST:
        return plain
    start = plain.encode()[:LONGEST].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def is_ours(name: str) -> bool:
    """Whether a name is that of a model of this project, however it is spelled: mgie, MGIE, mgie-e2e, Input copy."""
    for model, entry in MODELS.items():
        printed = entry.printed.partition(" (")[0]
        ours = (model, entry.printed, printed, *(f"{m}{form}" for m in (model, printed) for form in entry.forms))
        if model != "precomputed" and bare(name) in map(bare, ours):  # that name says that the images were given
            return True
    return name.startswith("diffusers:")


def bare(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def files_of(examples: Iterable[Example], digests: Digests) -> dict[Path, Digest]:
    """The digest of every file that the examples name."""
    images: set[Path] = set()
    masks: set[Path] = set()
    for e in examples:
        images |= {path for path in (e.input_image, e.goal_image) if path}
        masks |= {e.mask.path} if e.mask else set()
    return digests.of(sorted(images)) | digests.of(sorted(masks - images), mask_fault)


def mask_fault(path: Path) -> str:
    from bench.datasets.masks import fault_of

    return fault_of(path)


def manifest_hash(examples: list[Example], files: dict[Path, Digest] | None = None, goals: bool = False) -> str:
    """SHA-256 over what of the examples changes a pixel, in their order, which fixes the batches. A missing file counts
    as missing. goals: whether the model looks at the goal images too (the oracle)."""
    files = files_of(examples, Digests()) if files is None else files
    total = hashlib.sha256()
    for e in examples:
        record = [e.id, e.instruction, e.previous, files[e.input_image].sha256]
        if goals:
            record.append(files[e.goal_image].sha256 if e.goal_image else None)
        total.update(json.dumps(record).encode() + b"\n")
    return total.hexdigest()


def sources_of(examples: list[Example], files: dict[Path, Digest]) -> dict[str, str]:
    """By example id what its scores are computed from, its output image apart."""
    found = {}
    for e in examples:
        goal, mask = (files[path].sha256 if path else None for path in (e.goal_image, e.mask and e.mask.path))
        captions = sorted(e.captions) or e.goal_caption  # of all kinds, whichever is the run's own
        record = [e.group, goal, captions, mask, e.mask and e.mask.ids, e.input_caption]
        found[e.id] = hashlib.sha256(json.dumps(record).encode()).hexdigest()[:16]
    return found


# A folder made by the version before: <dataset>--<model>--<hash8>, whose id held goals, captions and masks as well.


def manifest_before(examples: list[Example], files: dict[Path, Digest]) -> str:
    """The manifest as the version before made it."""
    total = hashlib.sha256()
    for e in examples:
        hashes = [path and files[path].sha256 for path in (e.input_image, e.goal_image, e.mask and e.mask.path)]
        ids = e.mask and e.mask.ids
        record = [e.id, e.group, e.instruction, e.goal_caption, e.turn, e.previous, e.scored, ids, *hashes]
        total.update(json.dumps(record).encode() + b"\n")
    return total.hexdigest()


def shapes_of(examples: list[Example], settings: EditSettings) -> dict[str, tuple[int, int]]:
    """By example id, how its input image comes out. A turn has the shape of its session's first input."""
    shapes: dict[str, tuple[int, int]] = {}
    for e in examples:  # a turn comes behind the one before it
        before = shapes.get(e.previous) if e.previous else None
        shapes[e.id] = before or ((0, 0) if one_shape(settings.size) else shape(e.input_image, settings))
    return shapes


def by_shape(examples: list[Example], shapes: Mapping[str, tuple[int, int]]) -> list[Example]:
    """Those of one shape behind one another, so that slices are whole batches.

    The order follows from the images alone. A turn stands behind all turns of its number less one, so that no slice
    waits for an output of its own.
    """
    depths: dict[str, int] = {}
    for e in examples:
        depths[e.id] = depths[e.previous] + 1 if e.previous in depths else 0
    rank = {of: place for place, of in enumerate(dict.fromkeys(shapes.values()))}
    return sorted(examples, key=lambda e: (depths[e.id], rank[shapes[e.id]]))


def shape(path: Path, settings: EditSettings) -> tuple[int, int]:
    """(width, height) of an input image as it is read, down to the multiples of 8 that editors take; of its header
    alone. (0, 0): it cannot be read.
    """
    size = size_of(path, settings)
    if not size:
        return 0, 0
    width, height = cut_of(size, settings.size, settings.max_side).size
    return width // 8 * 8, height // 8 * 8
