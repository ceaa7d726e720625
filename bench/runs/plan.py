"""What one command line asks for, and what is known of it before anything is loaded or edited."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.records import Example
from bench.registry import Model
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

    what: str  # input image, goal image, goal caption, mask
    reasons: dict[str, str]  # example id -> what is wrong
    then: str  # what will be missing for it


def check_files(plan: Plan) -> list[str]:
    """What will be missing from the table, a sentence each. Raises TooManyFailures where that is more than allowed."""
    found = [lack for lack in lacks(plan) if lack.reasons]
    examples = plan.run.examples
    # a blank caption is how the data were published, no file to mend: it is said, and its scores have no value
    # and so are examples that have no mask
    bad = {
        i for lack in found if lack.what != "goal caption" for i, why in lack.reasons.items()
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
    first, why = next(iter(lack.reasons.items()))
    return f"{len(lack.reasons)} of {of} examples have no usable {lack.what}: {lack.then}; first: {first} ({why})"


def needs_of(plan: Plan) -> dict[str, list[str]]:
    """What of an example the metrics look at -> their names."""
    from bench.metrics.regions import needs_of as needs_of_one

    needs: dict[str, list[str]] = {}
    for name in plan.metrics:
        for need in needs_of_one(name):
            needs.setdefault(need, []).append(name)
    return needs


def lacks(plan: Plan) -> Iterator[Lack]:
    """Missing and unreadable files, and captions that some examples lack; nothing is opened."""
    reads, needs = reads_of(plan.model), needs_of(plan)
    for what, one in FIELDS.items():
        if what not in reads and what not in needs:
            continue
        names = needs.get(what, [])
        asked = plan.run.examples if what in reads else plan.run.scored
        whys = {e.id: one(e, plan.files) for e in asked}
        if what not in reads and all(why == ABSENT for why in whys.values()):  # the dataset has none, see without
            continue
        then = "they will have no edit and no score" if what in reads else f"they will have no {', '.join(names)}"
        yield Lack(what.replace("_", " "), {i: why for i, why in whys.items() if why}, then)


def without(plan: Plan) -> Iterator[tuple[str, list[str]]]:
    """What no example of the dataset has, and the metrics that look at it."""
    for what, names in needs_of(plan).items():
        if what in FIELDS and all(FIELDS[what](e, plan.files) == ABSENT for e in plan.run.scored):
            yield what.replace("_", " "), names


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
