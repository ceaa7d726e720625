"""What one command line asks for, and what is known of it before anything is loaded or edited."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from bench.records import Example, with_later_turns
from bench.registry import Model, metric_of
from bench.runs.description import Run
from bench.runs.digests import Digest
from bench.runs.engines import Workers
from bench.runs.folder import RunFolder
from bench.runs.remote import Mirror
from bench.runs.rewriting.named import Rewriting
from bench.runs.runner import TooManyFailures, too_many
from bench.runs.scoring import Wanted
from bench.settings import MetricSettings


@dataclass(frozen=True)
class Plan:
    """What one command line asks for; nothing is loaded or written yet."""

    run: Run
    model: Model
    folder: RunFolder
    seeds: range
    metrics: tuple[str, ...]
    strict: bool  # a missing network is wrong use; else its metric is reported as not run
    metric_settings: MetricSettings
    max_failures: float
    data_root: Path | str
    device: str
    as_json: bool
    notice: str = ""
    workers: Workers = field(default_factory=Workers)
    staged: tuple[str, str, Path] | None = None  # what bench.runs.remote.stage was given, where the data root is remote
    mirror: Mirror | None = None  # where the run folder is remote
    files: dict[Path, Digest] = field(default_factory=dict)  # of every file that the examples name
    older: Path | None = None  # the folder of this very run as the version before named it
    sets: tuple[str, ...] = ()  # of --metrics, those that name a published protocol
    argv: tuple[str, ...] = ()  # the command line
    rewriting: Rewriting | None = None  # who makes expressive instructions of the instructions first; None: nobody
    texts_only: bool = False  # write these, edit nothing

    @property
    def wanted(self) -> Wanted:
        return Wanted(self.metrics, self.metric_settings)


def is_done(plan: Plan) -> bool:
    """Whether the run folder already holds all that is asked for. A missing score makes it unfinished."""
    folder = plan.folder
    done = folder.done()
    if done is None or not folder.is_of(plan.run.description()) or folder.sources() != plan.run.sources:
        return False
    shown = plan.wanted.protocols(done)
    ids, scores = [e.id for e in plan.run.scored], folder.every_score()
    return (
        all((seed, i, *named) in scores for seed in plan.seeds for i in ids for named in shown.items())
        and done["seeds"] >= len(plan.seeds)
        and set(plan.metrics) <= set(shown) | (set() if plan.strict else set(done["not_run"]))
    )


def shown_in(plan: Plan) -> dict[str, str]:
    """By metric that was asked for, the protocol of its scores in a run that is done."""
    done = plan.folder.done()
    assert done is not None  # is_done was asked
    return plan.wanted.protocols(done)


def check_failures(plan: Plan) -> None:
    """An image that could not be read for scoring counts as well as an edit that failed. Raises TooManyFailures."""
    of, failures = len(plan.run.examples) * len(plan.seeds), plan.folder.failures()
    failures = [f for f in failures if f.get("seed") in plan.seeds]
    if len(failures) > plan.max_failures * of:
        raise TooManyFailures(too_many(failures, of, plan.max_failures))


class Lack(NamedTuple):
    """Something that examples are without."""

    what: str  # input image, goal image, [global or local] goal caption, mask
    reasons: dict[str, str]  # example id -> what is wrong
    then: str  # what will be missing for it


def check_files(plan: Plan) -> list[str]:
    """What will be missing from the table, a sentence each. Raises TooManyFailures where that is more than allowed."""
    found = [lack for lack in lacks(plan) if lack.reasons]
    examples = plan.run.examples
    # a blank caption is how the data were published, no file to mend: it is said, and its scores have no value
    # and so are examples that have no mask
    bad = {
        i for lack in found if not lack.what.endswith("goal caption") for i, why in lack.reasons.items()
        if (lack.what, why) != ("mask", ABSENT)
    }  # fmt: skip
    said = [sentence(lack, len(examples)) for lack in found]
    if len(bad) > plan.max_failures * len(examples):
        raise TooManyFailures(
            f"{'; '.join(said)}\nthat is more than --max-failures {plan.max_failures:g} allows: nothing was loaded or "
            "edited; mend them and give the same command again, or raise --max-failures"
        )
    none = [f"no example has a {what}: {', '.join(names)} will have no value" for what, names in without(plan)]
    return said + none


def sentence(lack: Lack, of: int) -> str:
    first, why = min(lack.reasons.items(), key=lambda one: one[1] == ABSENT)  # rather one that can be mended
    return f"{len(lack.reasons)} of {of} examples have no usable {lack.what}: {lack.then}; first: {first} ({why})"


class Need(NamedTuple):
    """What of an example a model or a metric looks at."""

    field: str  # input_image, goal_image, goal_caption, mask, ...
    kind: str = ""  # of goal captions; empty: the run's own

    @property
    def said(self) -> str:
        return f"{self.kind} {self.field}".strip().replace("_", " ")

    def fault(self, example: Example, files: dict[Path, Digest]) -> str:
        """Why an example's cannot be used; empty where it can."""
        read = replace(example, goal_caption=example.caption(self.kind)) if self.kind else example
        return FIELDS[self.field](read, files)


def needs_of(plan: Plan) -> dict[Need, list[str]]:
    """What of an example the metrics look at -> their names. What is not in FIELDS is left to the metrics."""
    from bench.metrics.regions import needs_of as needs_of_one

    needs: dict[Need, list[str]] = {}
    for name in plan.metrics:
        for what in needs_of_one(name):
            kind = metric_of(name, plan.metric_settings).captions if what == "goal_caption" else ""
            if what in FIELDS:
                needs.setdefault(Need(what, kind), []).append(name)
    return needs


def lacks(plan: Plan) -> Iterator[Lack]:
    """Missing and unreadable files, and captions that some examples lack; nothing is opened."""
    reads = [Need(what) for what in reads_of(plan.model) if what in FIELDS]
    needs: dict[Need, list[str]] = {need: [] for need in reads} | needs_of(plan)
    for need, names in sorted(needs.items(), key=lambda item: list(FIELDS).index(item[0].field)):
        asked = plan.run.examples if need in reads else plan.run.scored
        whys = {e.id: need.fault(e, plan.files) for e in asked}
        whys |= with_later_turns(whys, asked) if need in reads else {}
        if need not in reads and all(why == ABSENT for why in whys.values()):  # the dataset has none, see without
            continue
        then = "they will have no edit and no score" if need in reads else f"they will have no {', '.join(names)}"
        yield Lack(need.said, {i: why for i, why in whys.items() if why}, then)


def without(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    """What no example of the dataset has, and the metrics that look at it."""
    for need, names in needs_of(plan).items():
        if all(need.fault(e, plan.files) == ABSENT for e in plan.run.scored):
            yield need.said, names


ABSENT = "the dataset has none for it"


def fault_of(path: Path | None, files: dict[Path, Digest]) -> str:
    return files[path].fault if path else ABSENT


def reads_of(model: Model) -> tuple[str, ...]:
    """What of an example the model looks at, beside its texts."""
    return getattr(model, "reads", ("input_image",))


# What a model or a metric may look at -> why an example's cannot be used; empty where it can.
FIELDS: dict[str, Callable[[Example, dict[Path, Digest]], str]] = {
    "input_image": lambda e, files: "" if e.previous else fault_of(e.input_image, files),
    "goal_image": lambda e, files: fault_of(e.goal_image, files),
    "goal_caption": lambda e, files: ABSENT if e.goal_caption is None else "" if e.goal_caption.strip() else "blank",
    "mask": lambda e, files: fault_of(e.mask.path if e.mask else None, files),
}


def of_sets(plan: Plan, protocols: Mapping[str, str]) -> dict[str, list[str]]:
    """By set of --metrics: what the run may be compared with, or what would make it comparable."""
    from bench.metrics.sets import Scored, said

    run = plan.run
    scored = Scored(run.suite, run.dataset, run.data.split, run.data.turns, run.data.limit, len(run.scored),
                    run.edit.size, run.edit.max_side, protocols, run.data.wrong_captions)  # fmt: skip
    return {name: said(name, scored, "bench.run", plan.argv) for name in plan.sets}
