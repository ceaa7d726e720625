"""What the gallery shows: run folders -> examples with every model's edit, texts and scores; and their images' copies.

A run that is not finished is shown as far as it goes, and named with how much is missing. One seed is shown, seed 0.
"""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bench.datasets.shuffled import as_asked
from bench.given.fits import refuse_unlike
from bench.given.named import Given
from bench.grid.between import dataset_name
from bench.grid.cells import cells_of, run_cells
from bench.grid.options import Selection
from bench.records import Edit, Example, Score
from bench.registry import METRICS, in_order, model_entry, open_dataset, plain
from bench.runs.folder import RunFolder
from bench.settings import DataSettings
from mgie.io.files import looking, replacing
from mgie.io.images import AS_IT_IS, ImageError, Reading, load
from mgie.io.sizes import for_goal, sized

SEED = 0
BY = " by "  # between a column's model and its rewriter
AS_IS = {".png": ("PNG",), ".jpg": ("JPEG",), ".jpeg": ("JPEG",), ".webp": ("WEBP",)}  # what every browser shows
SMALL = 128  # px; images up to this are kept lossless


@dataclass(frozen=True)
class View:
    """One run folder, seed 0 of it."""

    folder: Path
    run: dict  # run.json
    edits: Mapping[str, Edit]
    scores: Mapping[str, list[Score]]
    missing: str  # empty: finished
    failures: Mapping[str, str]  # example id -> why there is no edit

    def reading(self, goal: bool = False) -> Reading:
        """What the run did to the dataset's images, so that beside its outputs stands what was edited."""
        edit = self.run["edit"]
        rule = for_goal(edit.get("size")) if goal else edit.get("size")
        read = {name: edit[name] for name in Reading._fields if name in edit} | {"size": rule}
        usual = read["size"] in (None, "native") and not read.get("max_side")
        return AS_IT_IS if usual else Reading(**read)

    @property
    def column(self) -> str:
        """What tells its edits from the others': the model, its form where that is not e2e, its rewriter."""
        form, rewriter = self.run["form"], self.run.get("rewriter")
        said = "" if form in ("none", "e2e") else f" {form}"
        return f"{self.run['model']}{said}" + (f"{BY}{rewriter}" if rewriter else "")


class Shown(NamedTuple):
    """An image of the gallery: its file below the gallery's folder and size, or why it cannot be shown."""

    file: str = ""
    width: int = 0
    height: int = 0
    reason: str = ""


@dataclass
class Entry:
    example: Example
    dataset: str
    views: dict[str, View] = field(default_factory=dict)  # by column
    family: str = ""  # what kind of edit is asked for; known of the miniature's alone


def view_of(folder: Path) -> View:
    """A run that is at work is shown as far as it is: its files are only looked at. Raises ValueError for a folder
    that holds no run."""
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder} is no run folder: it has no run.json; expected for example "
                         "runs/mini/ma5k--mgie--0123abcd, which bench.run makes")  # fmt: skip
    reader = RunFolder(folder)
    with looking():
        return read(reader, "" if reader.done() else "no done.json")


def view_of_given(given: Given) -> View:
    """A run of --with, under the name that it has here."""
    view = view_of(given.folder)
    return replace(view, run=view.run | {"model": given.name})


def read(reader: RunFolder, lacks: str) -> View:
    """lacks: what a run that is not finished has not."""
    run, folder = reader.run(), reader.path
    edits = {e.example_id: e for e in reader.edits().values() if e.seed == SEED}
    scores: dict[str, list[Score]] = {}
    for s in reader.scores().values():
        if s.seed == SEED:
            scores.setdefault(s.example_id, []).append(s)
    failures = {f["example_id"]: f["reason"] for f in reader.failures() if f.get("seed") == SEED}
    missing = f"{folder} is incomplete: {min(len(edits), run['n'])} of {run['n']} edits, {len(scores)} of {run['n']} " \
        f"scored (seed 0), {lacks}; to finish it: {command_of(run, folder)}" if lacks else ""  # fmt: skip
    return View(folder, run, edits, scores, missing, failures)


def command_of(run: dict, folder: Path) -> str:
    """The bench.run that finishes a run; settings that are not the default are named."""
    given = {"--suite": run["suite"], "--dataset": run["dataset"], "--model": run["model"]}
    given |= {"--rewrite": run["rewriter"]} if run.get("rewriter") else {}
    given |= {"--setting": run["setting"]} if run["setting"] != "zero-shot" else {}
    given |= {"--form": run["form"]} if run["form"] not in ("none", "e2e") else {}
    usual = DataSettings()
    given |= {f"--{k.replace('_', '-')}": str(v) for k, v in run["data"].items() if v != getattr(usual, k, None)}
    given |= {"--out": str(folder.parent.parent)} if folder.parent.parent.name != "runs" else {}
    given |= {"--images": "DIR"} if "images" in run["fingerprint"] and run["suite"] != "published" else {}
    return "python -m bench.run " + " ".join(f"{flag} {shlex.quote(value)}" for flag, value in given.items())


def entries_of(views: Sequence[View], data_root: Path, limit: int | None) -> list[Entry]:
    """Examples in official order, dataset by dataset; runs of one dataset on different examples are refused."""
    entries: list[Entry] = []
    for dataset in dict.fromkeys(v.run["dataset"] for v in views):
        here = [v for v in views if v.run["dataset"] == dataset]
        manifests = {v.run["manifest"] for v in here}
        if len(manifests) > 1:
            raise ValueError(f"{dataset}: {len(manifests)} runs are of different examples or settings of the data: "
                             f"{', '.join(v.folder.name for v in here)}; show them one by one")  # fmt: skip
        columns = [v.column for v in here]
        if twice := [c for c in columns if columns.count(c) > 1]:
            raise ValueError(f"{dataset}: two runs of {twice[0]}: {', '.join(v.folder.name for v in here)}; "
                             "leave one out")  # fmt: skip
        settings = replace(DataSettings(), **{k: v for k, v in here[0].run["data"].items() if k != "image_root"})
        opened = open_dataset(here[0].run["suite"], dataset, data_root, settings)
        examples = [e for e in as_asked(opened.examples(), settings) if e.scored][:limit]
        facts = getattr(opened, "facts", None)  # the miniature world knows what it drew
        entries += [Entry(e, dataset, {v.column: v for v in here}, facts(e.id).family if facts else "")
                    for e in examples]  # fmt: skip
    return entries


def metrics_in(entries: Sequence[Entry]) -> list[str]:
    found = {s.metric for entry in entries for v in entry.views.values() for s in v.scores.get(entry.example.id, ())}
    return in_order(name for name in found if plain(name) in METRICS)


class Pictures:
    """The copies of images below the gallery: named by content, made once, the same image once."""

    def __init__(self, folder: Path, max_side: int) -> None:
        self.folder, self.max_side = folder, max_side
        self.used: set[str] = set()
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def show(self, path: Path | None, why: str = "", reading: Reading = AS_IT_IS) -> Shown:
        """path None: why says what is missing; reading: what is done to it first. An unreadable image is its reason."""
        if path is None:
            return Shown(reason=why)
        try:
            return self._copy(Path(path), reading)
        except (ImageError, OSError) as error:
            return Shown(reason=f"unreadable: {getattr(error, 'strerror', None) or str(error).rsplit('/', 1)[-1]}")

    def _copy(self, path: Path, reading: Reading) -> Shown:
        from PIL import Image

        data = path.read_bytes()
        stem = hashlib.sha256(data + f"{self.max_side}{reading if reading != AS_IT_IS else ''}".encode()).hexdigest()[
            :16
        ]
        ending = self._ending(path) if reading == AS_IT_IS else ""
        file = self.folder / "images" / f"{stem}{ending or '.jpg'}"
        if not file.exists():
            with replacing(file) as temporary:
                if ending:
                    temporary.write_bytes(data)
                else:  # 4:4:4, so that the difference view shows the edit and not the chroma grid
                    image = sized(load(path, reading), None, self.max_side)
                    image.save(temporary, format="JPEG", quality=92, subsampling=0)
        self.used.add(file.name)
        with Image.open(file) as image:
            return Shown(f"images/{file.name}", *image.size)

    def _ending(self, path: Path) -> str:
        """The ending under which its bytes are taken as they are; empty where it is encoded anew."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                side, kind, mode, frames = max(image.size), image.format, image.mode, getattr(image, "n_frames", 1)
        except UnidentifiedImageError as error:
            raise ImageError(f"{path}: not an image that PIL knows") from error
        ending = path.suffix.lower()
        plain = kind in AS_IS.get(ending, ()) and mode in ("RGB", "L") and frames == 1 and side <= self.max_side
        return ending if plain and (kind != "PNG" or side <= SMALL) else ""

    def remove_unused(self) -> None:
        for path in (self.folder / "images").iterdir():
            if path.name not in self.used:
                path.unlink()


def output_of(view: View, example: Example, pictures: Pictures) -> Shown:
    edit = view.edits.get(example.id)
    why = view.failures.get(example.id) or ("not edited yet: the run is incomplete" if view.missing else "not edited")
    return pictures.show(view.folder / edit.output_image if edit else None, why)


@dataclass(frozen=True)
class Gallery:
    suite: str
    datasets: tuple[str, ...]
    entries: list[Entry]
    notices: list[str]  # what is missing and why


def from_cells(asked: Selection, limit: int | None) -> Gallery:
    """The runs of Table 1's cells, of which what is missing is run; and those of --with.

    Raises ValueError for one of these on other examples than the models'.
    """
    results = run_cells(cells_of(1, asked.suite, asked.models, asked.datasets), asked.options)
    notices = [f"{model_entry(r.cell.model).printed} on {dataset_name(r.cell.dataset, asked.suite)}: "
               f"not run: {r.reason}" for r in results if r.reason]  # fmt: skip
    views = [view_of(r.folder) for r in results if r.folder is not None]
    for given in asked.given:
        beside = next((v.folder for v in views if v.run["dataset"] == given.dataset), None)
        if beside:
            refuse_unlike(given.folder, beside, 1)
    views += [view_of_given(given) for given in asked.given]
    views.sort(key=lambda v: asked.datasets.index(v.run["dataset"]))
    entries = entries_of(views, asked.data_root, limit)
    return Gallery(asked.suite, asked.datasets, entries, notices + [v.missing for v in views if v.missing])


def from_runs(folders: Sequence[Path], data_root: Path | None, limit: int | None) -> Gallery:
    """These folders, finished or not; nothing is run. The data root is the last session's where none is given."""
    views = [view_of(folder) for folder in folders]
    suites = sorted({v.run["suite"] for v in views})
    if len(suites) > 1:
        raise ValueError(f"--runs: they are of suites {' and '.join(suites)}; a gallery shows one suite")
    with looking():
        root = data_root or Path((RunFolder(folders[0]).sessions() or [{}])[-1].get("data_root", "data"))
    datasets = tuple(dict.fromkeys(v.run["dataset"] for v in views))
    return Gallery(suites[0], datasets, entries_of(views, root, limit), [v.missing for v in views if v.missing])
