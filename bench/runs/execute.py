"""A plan carried out: edits, then scores, in its run folder."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.records import Score
from bench.registry import Model, in_order
from bench.runs.adoption import adopt
from bench.runs.engines import Pool, Serving, pool
from bench.runs.plan import Plan, check_failures
from bench.runs.rewriting.texts import NAME, Texts, copy, settle, shared_folder
from bench.runs.runner import Engine, NotLoaded, WorkerDied, edit_all, free, here, load, profiles, unfinished
from bench.runs.scorers.collecting import Looking, score_all
from bench.runs.scorers.local import local
from bench.runs.scorers.on_ray import on_ray
from bench.runs.scorers.tasks import Scored, Task
from bench.runs.scoring import ChangedImages, Metrics, load_metrics, protocol_of, scored

Tick = Callable[[int], None]  # n more are settled
Progress = Callable[[str, str, int], AbstractContextManager[Tick]]  # of a run: its label, edits or scores, how many


class Held:
    """The model that this process holds, or Ray's workers that hold it: loaded once for all runs that want the same."""

    def __init__(self) -> None:
        self.key, self.why = "", ""
        self.model: Model | None = None
        self.pool: Pool | None = None
        self.open = ExitStack()

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self.model is not None and hasattr(self.model, "release"):  # its plan knows it beyond this
            self.model.release()
        self.key, self.why, self.model, self.pool = "", "", None, None
        self.open.close()
        free()

    def take(self, plan: Plan) -> Model:
        """The loaded model of this plan. Raises NotLoaded, and again for every run that wants the same."""
        workers, kind = plan.workers, type(plan.model)
        key = json.dumps([kind.__module__, kind.__qualname__, plan.model.name, plan.run.fingerprint, plan.device,
                          str(workers), plan.rewriting is None])  # fmt: skip
        if key != self.key:
            self.close()
            self.key, self.model = key, plan.model
            try:
                if workers.engine == "ray":
                    workers = replace(workers, out=plan.folder.path.parent.parent)
                    self.pool = self.open.enter_context(pool(plan.model, plan.run.edit, workers, plan.device))
                    self.pool.device()  # one is up: it has loaded
                else:
                    load(plan.model)
            except (NotLoaded, WorkerDied) as error:
                self.why = str(error)
                self.open.close()
                self.model = self.pool = None
        if self.why:
            raise NotLoaded(self.why)
        if self.pool:
            self.pool.serve(plan.run.edit, Serving(plan.staged, plan.folder.scratch.absolute()))
        assert self.model is not None  # else it was said why
        return self.model

    def scorers(self, plan: Plan) -> Pool:
        """Ray's workers: those that edit, or where nothing was left to edit, others that hold no model."""
        if self.pool is None:
            self.close()
            workers = replace(plan.workers, out=plan.folder.path.parent.parent)
            self.pool = self.open.enter_context(pool(None, plan.run.edit, workers, plan.device))
        self.pool.serve(plan.run.edit, Serving(plan.staged, plan.folder.scratch.absolute()))
        return self.pool


def execute(plan: Plan, held: Held, progress: Progress, notices: Sequence[str] = (), scores: bool = True) -> None:
    """Edit, score, finish: the whole run; scores=False: edit alone, for somebody else scores it. Raises what main()
    turns into an exit code."""
    from bench.runs.sessions import logged

    folder, before = plan.folder, plan.folder.earlier()
    # the metrics before the first edit: a missing network must not be found out after hours
    metrics = metrics_of(plan)
    if plan.older:
        adopt(plan.older, folder, plan.run)
    with folder.locked(), sent(plan), logged(folder.path / "log.txt"):
        for text in notices:
            print(f"notice: {text}", file=sys.stderr)
        if scores:
            finish(plan, metrics, before, *edit_and_score(plan, metrics, held, progress))
        else:
            folder.rewrite("failures.jsonl", edit(plan, True, held, progress))
            check_failures(plan)


def metrics_of(plan: Plan) -> Metrics:
    """Raises FileNotFoundError for a network that must be at hand and is not."""
    metrics = load_metrics(plan.metrics, plan.metric_settings, features_of(plan))
    if metrics.not_run and (plan.strict or not metrics.ready):
        raise FileNotFoundError(next(iter(metrics.not_run.values())))
    return metrics


def features_of(plan: Plan) -> Path:
    """Where features are kept, for all runs below --out."""
    return plan.folder.path.parent.parent / "features"


def finish(plan: Plan, metrics: Metrics, before: dict | None, failures: list[dict], scores: list[Score]) -> None:
    """Write what the run ends with, done.json last. before: the one that was there. Raises TooManyFailures."""
    folder, run = plan.folder, plan.run
    folder.rewrite("scores.jsonl", scores)
    folder.rewrite("failures.jsonl", failures)
    check_failures(plan)
    edited = folder.edits()
    account, earlier = scored(metrics.ready, plan.wanted, run, before), before or {"metrics": {}, "not_run": {}}
    now = {name: protocol_of(m, run.edit) for name, m in metrics.ready.items()}
    known = earlier["metrics"] | now
    known = {name: known[name] for name in in_order(tuple(known))}  # in whichever order they were asked for
    account = [entry for name in known for entry in account if entry["metric"] == name]
    not_run = {name: why for name, why in earlier["not_run"].items() if name not in now} | metrics.not_run
    folder.finish({
        "seeds": len(plan.seeds), "metrics": known, "not_run": not_run, "scored": account,
        "metric_settings": plan.wanted.of("l1"),
        "n": sum(all((seed, e.id) in edited for seed in plan.seeds) for e in run.scored), "of": len(run.scored),
        "failures": len(failures), "profiles": profiles(run),
    })  # fmt: skip


def edit_and_score(plan: Plan, metrics: Metrics, held: Held, progress: Progress) -> tuple[list[dict], list[Score]]:
    """The failures and the scores. Images that were changed between edit and score are edited again, once."""
    run, folder = plan.run, plan.folder
    for attempt in (1, 2):
        failures = edit(plan, attempt == 1, held, progress)
        folder.rewrite("failures.jsonl", failures)
        try:
            with progress(f"{run.dataset} {run.model}", "scores", len(run.scored) * len(plan.seeds)) as tick:
                scores, unread = score(plan, metrics, held, sending(plan, tick))
            return failures + unread, scores
        except ChangedImages as error:
            if attempt == 2:
                raise
            print(f"warning: {error}; they are edited again", file=sys.stderr)
            edits = folder.edits()
            folder.rewrite("edits.jsonl", [e for key, e in edits.items() if key not in error.edits])
    raise AssertionError("the second attempt returns or raises")


def score(plan: Plan, metrics: Metrics, held: Held, tick: Tick) -> tuple[list[Score], list[dict]]:
    """By this process, by others beside it, or by Ray's workers."""
    looking = Looking(metrics.ready, plan.metric_settings, features_of(plan))

    def engine(tasks: Sequence[Task]) -> Scored:
        if not tasks:
            return
        if plan.workers.engine == "local":
            yield from local(metrics.ready, plan.workers.scoring)(tasks)
            return
        workers = held.scorers(plan)
        try:
            yield from on_ray(workers)(tasks)
        finally:
            if workers.at_work:  # it ended early: what they are at is nobody's any more
                held.close()

    return score_all(plan.run, plan.folder, looking, plan.seeds, tick, engine)


def edit(plan: Plan, first: bool, held: Held, progress: Progress) -> list[dict]:
    """Edit what has no edit yet; returns the failures. The model is loaded only if there is something to do."""
    from bench.runs.sessions import session, warn_of_differences

    run, folder = plan.run, plan.folder
    todo = unfinished(run, folder, plan.seeds)
    texts = texts_for(plan, held, progress) if plan.rewriting and todo else None
    model, workers = (held.take(plan), held.pool) if todo else (plan.model, None)
    if first:
        ray = {"engine": "ray", "workers": plan.workers.count, "device": workers.device()} if workers else {}
        folder.start(run.description(), session(plan.data_root, plan.device) | ray)
        warn_of_differences(folder.sessions())
        folder.reopen()
        if changed := folder.settle_sources(run.sources):
            print(f"notice: goals, captions or masks of {changed} examples changed; their scores are made anew",
                  file=sys.stderr)  # fmt: skip
    if texts:
        copy(texts, folder)
    with progress(f"{run.dataset} {run.model}", "edits", len(run.examples) * len(plan.seeds)) as tick:
        engine = workers.outcomes if workers else None
        try:
            return edit_all(run, model, folder, plan.seeds, plan.max_failures, sending(plan, tick), engine, texts)
        finally:
            if workers and workers.at_work:  # it ended early: what they are at is nobody's any more
                held.close()


def texts_for(plan: Plan, held: Held, progress: Progress) -> Texts:
    """What the run's rewriter makes of the instructions. It is loaded only where a text is missing, and before the
    editor, so that the two never share a GPU."""
    rewriting = plan.rewriting
    assert rewriting is not None

    def engine() -> Engine:
        assert rewriting.model is not None  # given texts lack nothing
        run = replace(plan.run, model=rewriting.name, fingerprint=rewriting.fingerprint)
        model = held.take(replace(plan, model=rewriting.model, run=run))
        return held.pool.outcomes if held.pool else here(model, plan.run.edit)

    try:
        return settle(plan, engine, progress)
    finally:
        if held.pool and held.pool.at_work:  # it ended early
            held.close()


def write_texts(plan: Plan, held: Held, progress: Progress) -> Path:
    """Only the texts, which runs share; where they are. Raises what main() turns into an exit code."""
    if plan.rewriting is None:
        raise ValueError("--texts-only needs a rewriter: --rewrite NAME")
    if plan.rewriting.model is None:
        raise ValueError(f"--texts-only: the texts of {plan.rewriting.name} are given; there is nothing to write")
    texts_for(plan, held, progress)
    return shared_folder(plan).path / NAME


@contextmanager
def sent(plan: Plan) -> Iterator[None]:
    """What the block leaves in a remote run folder's local copy is sent, however it ends."""
    try:
        yield
    finally:
        if plan.mirror:
            plan.mirror.push()


def sending(plan: Plan, tick: Callable[[int], None]) -> Callable[[int], None]:
    """tick that also keeps a remote run folder up to date."""

    def tick_and_send(n: int) -> None:
        tick(n)
        if plan.mirror:
            plan.mirror.push(now=False)

    return tick_and_send
