"""One run looked at before it starts: which of data, model and plan are there, and why the others are not.

It goes the way of bench.run (asked_of, data_of, open_model, plan_of) and goes on where that would end, so that all that
is missing is named at once. Nothing is loaded, fetched, drawn or written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from bench.records import with_later_turns
from bench.registry import MODELS, Dataset, Model, form_of, load, open_model
from bench.run import Asked, Data, asked_of, data_of, plan_of
from bench.runs.description import safe
from bench.runs.folder import RunFolder
from bench.runs.plan import Plan, is_done, lacks, reads_of
from bench.runs.remote import is_remote
from bench.runs.rewriting.named import opened
from bench.runs.runner import unfinished
from mgie.io.files import looking


@dataclass(frozen=True)
class Look:
    """What was found; an error stands for what was not."""

    asked: Asked
    data: Data | Exception
    model: Model | Exception
    plan: Plan | Exception | None = None  # None: data or model is missing
    rewriter: Exception | None = None  # why --rewrite cannot write, where there is no plan to say so
    unsaid: bool = False  # the run takes a GPU of this machine, and the CPU only where somebody asks for it

    @property
    def examples(self) -> int | None:
        """How many are edited with each seed; None: the data is not there."""
        if isinstance(self.plan, Plan):
            return len(self.plan.run.examples)
        return len(self.data.examples) if isinstance(self.data, Data) else None

    @property
    def seeds(self) -> int:
        """A model on which no seed has a bearing is run with one."""
        if isinstance(self.plan, Plan):
            return len(self.plan.seeds)
        name = "precomputed" if self.asked.spec.images else self.asked.spec.name
        kind = (
            self.model
            if not isinstance(self.model, Exception)
            else load(MODELS, name, "model")
            if name in MODELS
            else 0
        )
        return self.asked.args.seeds if getattr(kind, "seeded", True) else 1


ENDS = (ValueError, OSError, ImportError)  # for which bench.run would end with 2


def look(argv: Sequence[str], on_gpu: bool = False) -> Look:
    """argv: of bench.run. on_gpu, or --for in argv: as on a machine with a GPU, whatever this one has.

    Raises ValueError for wrong use.
    """
    with looking():
        asked = asked_of(argv)
        for flag, place in (("--data-root", asked.args.data_root), ("--out", asked.args.out)):
            if is_remote(place):
                raise ValueError(f"--plan looks at local folders, and {flag} is {place}; give the folder of its copy")
        unsaid = asked.spec.unsaid and not asked.spec.elsewhere
        there: dict[str, Any] = {"device": "cuda", "elsewhere": True} if on_gpu or asked.args.plan_for else {}
        asked = replace(asked, spec=replace(asked.spec, unsaid=False, **there))
        data: Data | Exception
        model: Model | Exception
        plan: Plan | Exception | None = None
        try:
            data = data_of(asked)
        except ENDS as error:
            data = error
        try:
            if asked.suite == "published" and isinstance(data, Exception):
                model = data  # the outputs are part of the data
            else:
                dataset = data.dataset if isinstance(data, Data) else None  # only published models ask for it
                model = open_model(asked.spec, cast(Dataset, dataset))
        except ENDS as error:
            model = error
        if isinstance(data, Data) and not isinstance(model, Exception):
            try:
                plan = plan_of(asked, data, model)
            except ENDS as error:
                plan = error
        return Look(asked, data, model, plan, absent_rewriter(asked) if plan is None else None, unsaid)


def absent_rewriter(asked: Asked) -> Exception | None:
    """Why the rewriter cannot write; of given texts nothing is known before there are examples."""
    name = asked.args.rewrite
    if name == "none" or asked.suite == "published" or Path(name).is_file():
        return None
    try:
        opened(name, asked.spec)
    except ENDS as error:
        return error
    return None


def edits_to_make(plan: Plan) -> int:
    """How many edits the run's command would make now: those of every slice that is not whole, as the runner takes
    them, without those that cannot be made (an input that cannot be read, an output image that was not given).
    """
    with looking():
        if is_done(plan):
            return 0
        folder = RunFolder(plan.older) if plan.older else plan.folder
        lost = not_editable(plan)
        todo = unfinished(plan.run, folder, plan.seeds)
        return sum(e.id not in lost for part in todo for e in part.examples)


def not_editable(plan: Plan) -> set[str]:
    """The examples that get no edit, and the later turns of their sessions."""
    reads = reads_of(plan.model)
    lost: set[str] = set()
    for lack in lacks(plan):
        if lack.what.replace(" ", "_") in reads:
            lost |= lack.reasons.keys()
    if hasattr(plan.model, "missing"):
        lost |= set(plan.model.missing(plan.run.examples))
    return set(with_later_turns(dict.fromkeys(lost, "not editable"), plan.run.examples))


def stem(look: Look) -> str:
    """The run folder's name up to its hash."""
    asked = look.asked
    form = asked.args.form or form_of(asked.spec.name)
    said = "" if form == "none" else f"-{form}"
    return f"{asked.spec.dataset}--{safe(asked.called)}{said}--{asked.spec.setting}"
