"""The cells of a table: which runs it needs, running those that are not finished, reading finished ones back.

A cell is one bench.run (model x dataset x setting x form). Finished ones are found without starting a process; the
others go to worker processes (bench.grid.jobs), a model's cells one after the other in one of them; in suite paper one
model after the other, since they share a GPU.
A cell that cannot run is a reason, never an exception: the other cells still make the table.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, cast

from bench.given.fits import Asked
from bench.given.named import newest, runs_of
from bench.grid.jobs import Job, run_jobs
from bench.records import REWRITING, Score
from bench.registry import MODELS, SUITES, WITH_FORMS, form_of, maker_of, model_entry, strange_to
from bench.runs.description import safe
from bench.runs.folder import RunFolder
from bench.runs.plan import Plan, check_files, is_done, shown_in
from bench.runs.rewriting.texts import is_written, shared_folder
from bench.runs.runner import TooManyFailures
from bench.runs.scoring import cut_said
from bench.settings import Choice, DataSettings, EditSettings, Form, HowSettings, ModelSettings, Setting
from bench.stats import timings
from mgie.io.devices import NoGPU, said_of
from mgie.io.sizes import described


@dataclass(frozen=True)
class Cell:
    suite: str
    dataset: str
    model: str
    setting: str = "zero-shot"
    form: str = "none"
    rewriter: str = ""  # --rewrite of this cell; empty: what its options say

    @property
    def label(self) -> str:
        form = "" if self.form == "none" else f" {self.form}"
        by = f" by {self.rewriter}" if self.rewriter not in ("", "none") else ""
        return f"{self.dataset} {self.model}{form}{by} {self.setting}"


OTHER_SETTINGS = "Settings other than the default"
OF_DIFFUSERS = ("--quantize", "--unknown-editor")
OF_EDITORS = ("--rewrite",)  # means nothing to the input copy and its like
OF_MGIE = ("--compile",)  # of it and LGIE, end to end


@dataclass(frozen=True)
class Options:
    """What all cells of a table share."""

    split: str = ""  # empty: the dataset's own default
    seeds: int = 1
    metrics: tuple[str, ...] = ()  # empty: the table's own
    data_root: Path | str | None = None
    weights: Path | None = None
    out: Path = Path("runs")
    extra: tuple[str, ...] = ()  # further arguments of bench.run
    chosen: tuple[Choice, ...] = ()  # settings that are not the default; they stand in the head and the file name
    data: DataSettings = field(default_factory=DataSettings)  # of them, the data's

    edit: EditSettings = field(default_factory=EditSettings)
    how: HowSettings = field(default_factory=HowSettings)
    usual_seeds: int = 1  # how many the command takes by default

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", replace(self.data, split=self.split))  # one split, whoever asks which

    @property
    def others(self) -> tuple[Choice, ...]:
        """All that is not the default; how many seeds, every run is told anyway."""
        seeds = Choice("--seeds", str(self.seeds), f"seeds{self.seeds}")
        return (*self.chosen, seeds) if self.seeds != self.usual_seeds else self.chosen

    @property
    def in_name(self) -> str:
        """-square48-bf16-local: the end of every file name; empty where all is as by default."""
        return "".join(f"-{choice.in_name}" for choice in self.others if choice.in_name)

    @property
    def placed(self) -> str:
        """The line that says where the models run and in which numbers."""
        on_ray = "ray" in self.extra
        return said_of(self.how.device, self.how.dtype, on_ray)

    @property
    def said(self) -> list[str]:
        """The line of a head that names them."""
        chosen = ", ".join(one_line(c.said) for c in self.others)
        lines = [f"{OTHER_SETTINGS}: {chosen}."] if chosen else []
        if self.edit.size not in (None, "native") or self.edit.max_side:
            lines.append(f"Size of all images: {described(self.edit.size)}.")
        return lines


class Result(NamedTuple):
    cell: Cell
    folder: Path | None  # of the finished run
    reason: str = ""  # why there is none, in a line
    help: str = ""  # the same in full, with what to do
    protocols: Mapping[str, str] = {}  # by metric, what was asked for: a run may hold others too

    @property
    def finished(self) -> Path:
        """The folder, of a result without a reason."""
        assert self.folder is not None
        return self.folder


def setting_of(table: int) -> str:
    return "fine-tuned" if table == 2 else "zero-shot"


def cells_of(table: int, suite: str, models: Sequence[str], datasets: Sequence[str]) -> list[Cell]:
    """Tables 1 and 2: end to end, zero-shot and fine-tuned. Table 3: each form of lgie and mgie, zero-shot."""
    cells: list[Cell] = []
    for model in models:
        forms = model_entry(model).forms if table == 3 else (form_of(model),)
        cells += [Cell(suite, dataset, model, setting_of(table), form) for form in forms for dataset in datasets]
    return cells


def beside(suite: str, split: str) -> str:
    """The end of a file name: a split that is not the suite's default stands beside it and never replaces it."""
    return "" if split in ("", SUITES[suite].split) else f"-{safe(split)}"


def argv_of(cell: Cell, options: Options) -> list[str]:
    """The arguments of bench.run for this cell."""
    argv = ["--suite", cell.suite, "--dataset", cell.dataset, "--model", cell.model, "--setting", cell.setting]
    given = {
        "--form": "" if cell.form == "none" else cell.form,
        "--split": options.split, "--metrics": ",".join(options.metrics), "--data-root": options.data_root,
        "--weights": options.weights,
    }  # fmt: skip
    for flag, value in given.items():
        argv += [flag, str(value)] if value not in ("", None) else []
    # what only some datasets or models take is not passed to the others of a table
    strange = tuple("--" + name.replace("_", "-") for name in strange_to(cell.dataset))
    strange += OF_EDITORS if model_entry(cell.model).bound else ()
    strange += () if cell.model.startswith("diffusers:") else OF_DIFFUSERS
    strange += () if cell.model in WITH_FORMS and cell.form in ("none", "e2e") else OF_MGIE
    chosen = [part for c in options.chosen if c.flag not in strange for part in c.argv()]
    argv += ["--rewrite", cell.rewriter] if cell.rewriter else []
    argv += ["--report-missing"] if options.metrics else []  # the other metrics have their numbers
    return [*argv, "--seeds", str(options.seeds), "--out", str(options.out), *options.extra, *chosen]


def run_cells(cells: Sequence[Cell], options: Options) -> list[Result]:
    """One result a cell, in order; whatever is not finished is run. Progress goes to stderr."""
    return run_all([(cell, options) for cell in cells])


def run_all(wanted: Sequence[tuple[Cell, Options]], labels: Sequence[str] = ()) -> list[Result]:
    """run_cells for cells with options of their own; labels: what each is called, where its cell does not say all."""
    labels = labels or [cell.label for cell, _ in wanted]
    results: list[Result] = []
    jobs: dict[int, Job] = {}
    texts: dict[str, tuple[Job, list[int]]] = {}
    told: dict[str, None] = {}
    for at, ((cell, options), label) in enumerate(zip(wanted, labels, strict=True)):
        result, job, first = plan_cell(cell, options, label)
        results.append(result)
        told |= dict.fromkeys(f"notice: {cell.dataset}: {text}" for text in (job.notices if job else ()))
        if job:
            jobs[at] = job
        if first:
            texts.setdefault(first.label, (first, []))[1].append(at)
    for line in told:  # once: a dataset's files lack the same for all its models
        print(line, file=sys.stderr, flush=True)
    if jobs:  # else the command says so itself, in full
        for reason in dict.fromkeys(r.reason for r in results if r.reason):
            print(f"not run: {reason}", file=sys.stderr, flush=True)
    for at, reason in write_texts(list(texts.values())).items():
        del jobs[at]
        results[at] = Result(wanted[at][0], None, one_line(reason), reason)
    if jobs:
        print(f"{len(wanted) - len(jobs)} of {len(wanted)} cells are settled, {len(jobs)} to run", file=sys.stderr)
    places = list(jobs)
    for done, (k, (folder, reason, protocols)) in enumerate(run_jobs(list(jobs.values())), 1):
        at = places[k]
        results[at] = Result(wanted[at][0], folder, one_line(reason), reason, protocols or {})
        said = f"not run: {results[at].reason}" if reason else "done"
        print(f"[{done}/{len(jobs)}] {labels[at]}: {said}", file=sys.stderr, flush=True)
    return results


def write_texts(waiting: Sequence[tuple[Job, list[int]]]) -> dict[int, str]:
    """Before the cells: what their rewriters have not written yet, once for all that share it, so that nothing is
    decoded beside an editor. By its place each cell that will get no text, and why."""
    found: dict[int, str] = {}
    if waiting:
        print(f"texts of {len(waiting)} rewriters and datasets are to be written first", file=sys.stderr)
    for k, (_, reason, _) in run_jobs([job for job, _ in waiting]):
        job, places = waiting[k]
        print(f"{job.label}: {f'not run: {one_line(reason)}' if reason else 'done'}", file=sys.stderr, flush=True)
        found |= dict.fromkeys(places, reason) if reason else {}
    return found


def refuse_nothing(results: Sequence[Result]) -> None:
    """Raises ValueError where nothing ran, with the help of all that is missing: no file is written then."""
    if results and all(r.reason for r in results):
        raise nothing_ran(r.help or r.reason for r in results)


def nothing_ran(helps: Iterable[str]) -> ValueError:
    return ValueError("nothing could be run, so nothing was written.\n" + "\n\n".join(dict.fromkeys(helps)))


def make_weights(cells: Sequence[Cell], options: Options) -> None:
    """Before the cells: what their suite makes on demand. Only a table does so; bench.run takes what it finds."""
    maker = maker_of(cells[0].suite, options.weights) if cells else None
    if maker:
        maker.make([spec_of(c) for c in cells], Path(options.data_root or "data"))


def spec_of(cell: Cell) -> ModelSettings:
    """The model of a cell; its words are the registry's, as bench.run checks them."""
    setting, form = cast(Setting, cell.setting), cast(Form, "e2e" if cell.form == "none" else cell.form)
    return ModelSettings(cell.model, cell.suite, cell.dataset, setting, form)


class Planned(NamedTuple):
    result: Result  # where the cell's run is
    job: Job | None = None  # what is to be done for it; None: it is finished, or known to be impossible
    texts: Job | None = None  # what its rewriter has still to write


def plan_cell(cell: Cell, options: Options, label: str = "") -> Planned:
    from bench.run import plan

    if is_brought(cell, options):
        return Planned(own_run(cell, options))
    argv = argv_of(cell, options)
    try:
        asked = plan(argv)
        if is_done(asked):
            return Planned(Result(cell, asked.folder.path, protocols=shown_in(asked)))
        notices = (*([asked.notice] if asked.notice else []), *check_files(asked))
        written = is_written(asked)
    except NoGPU:  # of all cells alike, and nothing that a table could say of one
        raise
    except (TooManyFailures, ValueError, OSError, ImportError) as error:  # what bench.run would end with at once
        return Planned(Result(cell, None, one_line(str(error)), str(error)))
    # one at a time where models may fill the GPU, or where a run has workers of its own
    alone = cell.suite == "paper" or asked.workers.engine != "local"
    model, seeds = f"{cell.model} {cell.form} {options.weights}", len(asked.seeds)
    steps = {"edits": len(asked.run.examples) * seeds, "scores": len(asked.run.scored) * seeds}
    job = Job(tuple(argv), label or cell.label, model, alone, steps, asked.device, asked, notices)
    return Planned(Result(cell, asked.folder.path), job, None if written else texts_job(asked, job))


def texts_job(asked: Plan, job: Job) -> Job:
    """Only the texts of a plan. Its label is the same for all plans that share them."""
    assert asked.rewriting is not None  # else none is missing
    label, steps = f"texts {shared_folder(asked).path.name}", {"texts": len(asked.run.examples)}
    return replace(job, argv=(*job.argv, "--texts-only"), label=label, model=f"rewriter {asked.rewriting.hash}",
                   steps=steps, plan=None)  # fmt: skip


def is_own(model: str) -> bool:
    """A name that no command but the user's own can run: the outputs came from --images."""
    return model not in MODELS and not model.startswith("diffusers:")


def is_brought(cell: Cell, options: Options) -> bool:
    """Whether only its user can make a cell's run; a split with outputs of whole test sets has its systems' own."""
    return is_own(cell.model) and options.split not in SUITES[cell.suite].outputs


def own_run(cell: Cell, options: Options) -> Result:
    """The finished run of somebody's own output images (bench.run --images), or under a name of --as: the newest."""
    runs = runs_of(cell.model, cell.dataset, options.out, cell.suite)
    edit = options.edit if options.edit.size else None
    folder, said = newest(
        cell.model, cell.dataset, runs, Asked(cell.suite, options.data, edit, options.seeds, cell.setting)
    )
    if folder:
        if said:
            print(f"notice: {said}", file=sys.stderr)
        return Result(cell, folder)
    if runs:
        return Result(cell, None, f"no run of {cell.model} belongs beside the other rows: {said}")
    where = f"--suite {cell.suite} --dataset {cell.dataset}{options.split and f' --split {options.split}'}"
    again = f"python -m bench.run {where} --model {cell.model} --images DIR"
    return Result(cell, None, f"{cell.model} is no model of this project; for your own output images: {again}")


def one_line(text: str) -> str:
    """Its first line, as a reason in a table, which is published: this machine's folders are nobody's business."""
    first = " ".join(text.split("\n")[0].split())
    return first.replace(f"{Path(__file__).parents[2]}/", "").replace(str(Path.home()), "~")


class Finished(NamedTuple):
    """What a finished run says; only the seeds that were asked for."""

    name: str  # of its folder
    note: str  # what a reader must know about this data or model
    of: int  # examples that the run has
    groups: int
    scores: list[Score]
    not_run: dict[str, str]  # metric -> why its network is not at hand
    seconds: list[float]  # of an edit, one a timing; empty where the output images were given
    batch_size: int
    device: str
    cut: Mapping[str, str] = {}  # metric -> how many of its texts were cut, where any was
    rewriting: Sequence[float] = ()  # of these seconds, those of a rewriter; a timing is of a batch of texts


def read_run(folder: Path, seeds: int, protocols: Mapping[str, str] | None = None) -> Finished:
    """protocols: by metric, which of its scores are meant; else those it was last asked for."""
    run = RunFolder(folder)
    description, done = run.run(), run.done()
    if done is None:
        raise ValueError(f"{folder}: no done.json; the run is not finished: give its command again")
    scores = [s for s in run.scores(protocols).values() if s.seed < seeds]
    meant = done["metrics"] | dict(protocols or {})
    cut = {e["metric"]: cut_said(e) for e in done.get("scored", [])
           if e.get("cut") and meant.get(e["metric"]) == e["protocol"]}  # fmt: skip
    given = "images" in description["fingerprint"]  # bench.run --images, or the authors' published outputs
    edits = [e for e in run.edits().values() if e.seed < seeds]
    size = description["edit"]["batch_size"]
    return Finished(
        folder.name, description["note"], description["n"], description["groups"], scores, done["not_run"],
        [] if given else timings(edits, size), size,
        " and ".join(dict.fromkeys(session["device"] for session in run.sessions() if "device" in session)), cut,
        timings([e for e in edits if e.seed == 0], size, REWRITING),  # a text serves all seeds
    )  # fmt: skip
