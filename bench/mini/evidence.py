"""What the miniature's claims are judged by: finished runs of its test split, cut into scores of equal metric.

Every number comes from a run folder that bench.run wrote, as in the tables; what is missing is run first. The group is
the photograph, also where the examples of several datasets are pooled: they share the test photographs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from bench.datasets.masks import load_mask
from bench.datasets.mini import Mini
from bench.grid.cells import Cell, Options, Result, make_weights, run_cells
from bench.records import Edit, Example, Score
from bench.registry import BENCHMARKS
from bench.runs.folder import RunFolder
from mgie.io.images import load, resize

EDITORS = ("inspix2pix", "lgie", "mgie")
WRITERS = ("lgie", "mgie")
PLACES = (" on the ", " in the ", " at the ")
NEW_OBJECT = {"add": "added", "make-a-pair": "added", "replace": "replaced", "healthy": "replaced"}


@dataclass
class Runs:
    """Finished runs by (dataset, model, form); a missing one has its reason."""

    options: Options
    datasets: tuple[str, ...] = BENCHMARKS
    folders: dict[tuple[str, str, str], RunFolder] = field(default_factory=dict)
    reasons: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _edits: dict[tuple, dict[str, Edit]] = field(default_factory=dict)
    _scores: dict[tuple, list[Score]] = field(default_factory=dict)

    def run(self) -> "Runs":
        """Table 1's cells and Table 3's, trained where needed; Table 2's on MA5k where make table2 has trained it."""
        cells = [Cell("mini", d, m) for m in ("identity", "codec", "inspix2pix") for d in self.datasets]
        cells += [Cell("mini", d, m, form=f) for m in WRITERS for f in ("e2e", "ft", "fz") for d in self.datasets]
        if "ma5k" in self.datasets:
            cells += [Cell("mini", "ma5k", m, "fine-tuned", "none" if m == "inspix2pix" else "e2e") for m in EDITORS]
        make_weights([c for c in cells if c.setting == "zero-shot"], self.options)
        self.take(run_cells(cells, self.options))
        return self

    def take(self, results: Iterable[Result]) -> None:
        for result in results:
            cell = result.cell
            key = cell.dataset, cell.model, cell.form if cell.setting == "zero-shot" else "tuned"
            if result.folder is None:
                self.reasons[key] = result.reason
            else:
                self.folders[key] = RunFolder(result.folder)

    @cached_property
    def worlds(self) -> dict[str, Mini]:
        root = Path(self.options.data_root or "data")
        return {d: Mini(d, root, self.options.data) for d in self.datasets}

    @cached_property
    def examples(self) -> dict[str, list[Example]]:
        return {d: [e for e in world.examples() if e.scored] for d, world in self.worlds.items()}

    def key(self, dataset: str, model: str, form: str = "") -> tuple[str, str, str]:
        return dataset, model, form or ("e2e" if model in WRITERS else "none")

    def why(self, model: str, form: str = "") -> str:
        """Why a model's runs are not all there; empty where they are."""
        keys = [self.key(d, model, form) for d in self.datasets]
        return next((self.reasons.get(k, "not run") for k in keys if k not in self.folders), "")

    def edits(self, dataset: str, model: str, form: str = "") -> dict[str, Edit]:
        """By example id, of seed 0; empty where there is no such run."""
        key = self.key(dataset, model, form)
        if key not in self._edits and key in self.folders:
            self._edits[key] = {e.example_id: e for e in self.folders[key].edits().values() if e.seed == 0}
        return self._edits.get(key, {})

    def all_scores(self, dataset: str, model: str, form: str) -> list[Score]:
        """Of the seeds asked for."""
        key = self.key(dataset, model, form)
        if key not in self._scores and key in self.folders:
            rows = self.folders[key].scores().values()
            self._scores[key] = [s for s in rows if s.seed < self.options.seeds]
        return self._scores.get(key, [])

    def image(self, dataset: str, model: str, example: Example, form: str = "") -> Image.Image | None:
        """The output image of seed 0."""
        edit = self.edits(dataset, model, form).get(example.id)
        return load(self.folders[self.key(dataset, model, form)].path / edit.output_image) if edit else None

    def scores(self, metric: str, model: str, form: str = "", datasets: Iterable[str] = (),
               wanted: Callable[[str, str], bool] = lambda dataset, example_id: True) -> list[Score]:  # fmt: skip
        """Pooled over datasets (all); only examples that are wanted, and only the seeds asked for."""
        return [s for d in datasets or self.datasets for s in self.all_scores(d, model, form)
                if s.metric == metric and wanted(d, s.example_id)]  # fmt: skip

    def ambiguous(self, dataset: str, example_id: str) -> bool:
        return self.worlds[dataset].facts(example_id).ambiguous


def in_and_out(runs: Runs, dataset: str, model: str) -> tuple[list[Score], list[Score]]:
    """L1 to the goal inside the mask and outside it; an example whose mask is everything has no outside."""
    inside: list[Score] = []
    outside: list[Score] = []
    edits = runs.edits(dataset, model)
    folder = runs.folders.get(runs.key(dataset, model))
    for e in runs.examples[dataset]:
        if folder is None or e.id not in edits or e.mask is None:
            continue
        assert e.goal_image is not None  # whatever has a mask in the miniature has a goal image
        goal = load(e.goal_image)
        output = resize(load(folder.path / edits[e.id].output_image), goal.size)
        error = np.abs(np.asarray(output, float) - np.asarray(goal, float)).mean(axis=-1) / 255  # (H, W)
        mask = load_mask(e.mask, goal.size)
        for name, where, rows in (("l1 inside", mask, inside), ("l1 outside", ~mask, outside)):
            value, reason = (float(error[where].mean()), "") if where.any() else (None, "no such pixel")
            rows.append(Score(e.id, e.group, 0, name, value, reason, "the dataset's mask"))
    return inside, outside


def copied(runs: Runs, dataset: str) -> tuple[list[Score], list[Score]]:
    """L1 and PSNR of the codec copy to the input image itself."""
    errors, ratios, folder = [], [], runs.folders.get(runs.key(dataset, "codec"))
    edits = runs.edits(dataset, "codec")
    for e in runs.examples[dataset]:
        if folder is None or e.id not in edits:
            continue
        image, copy = load(e.input_image), load(folder.path / edits[e.id].output_image)
        gap = np.asarray(resize(copy, image.size), float) / 255 - np.asarray(image, float) / 255
        errors.append(Score(e.id, e.group, 0, "l1", float(np.abs(gap).mean()), "", "to the input image"))
        noise = max(1e-10, float((gap**2).mean()))
        ratios.append(Score(e.id, e.group, 0, "psnr", -10 * float(np.log10(noise)), "", "to the input image"))
    return errors, ratios


def new_object(caption: str) -> str:
    """ "a candle on the left" -> "candle"."""
    for place in PLACES:
        caption = caption.partition(place)[0]
    return caption.removeprefix("some ").removeprefix("an ").removeprefix("a ").strip()


def recognised(runs: Runs, dataset: str, pictures: Callable[[Example], Image.Image | None],
               kind: str) -> list[Score]:  # fmt: skip
    """1 where the judge's eye names the new object at its place, else 0. kind: added or replaced."""
    from bench.mini.object_eye import shipped

    eye, found = shipped(), []
    for e in runs.examples[dataset]:
        facts = runs.worlds[dataset].facts(e.id)
        name, image = new_object(facts.local_caption), pictures(e)
        if NEW_OBJECT.get(facts.family) != kind or name not in eye.names or image is None or e.mask is None:
            continue
        named = eye.at(image, load_mask(e.mask, image.size)).name
        found.append(Score(e.id, e.group, 0, "recognised", float(named == name), "", "mini-DINO's eye, 109 objects"))
    return found


@dataclass(frozen=True)
class Answers:
    """One family's expressive instructions of one model, by the grammar."""

    family: str
    right: int
    n: int
    chance: float  # of a right answer without eyes

    @property
    def share(self) -> float:
        return self.right / self.n


def answers(runs: Runs, model: str) -> list[Answers]:
    """By ambiguous family, over all datasets."""
    from mgie.mini.world import grammar

    right: dict[str, list[bool]] = {}
    for dataset in runs.datasets:
        edits = runs.edits(dataset, model)
        for e in runs.examples[dataset]:
            facts = runs.worlds[dataset].facts(e.id)
            if facts.family in grammar.QUESTIONS and e.id in edits:
                text = edits[e.id].expressive_instruction or ""
                right.setdefault(facts.family, []).append(grammar.names(facts.family, facts.cause, text))
    return [Answers(f, sum(rows), len(rows), 1 / grammar.chance(f)) for f, rows in sorted(right.items())]


def chance_interval(families: Sequence[Answers], draws: int = 20_000) -> tuple[float, float, float]:
    """Macro share of one who guesses a cause: expected, and the 95 % interval of so many examples a family."""
    rng = np.random.default_rng(0)
    shares = np.mean([rng.binomial(f.n, f.chance, draws) / f.n for f in families], axis=0)
    ends: np.ndarray = np.quantile(shares, (0.025, 0.975))
    return float(np.mean([f.chance for f in families])), float(ends[0]), float(ends[1])
