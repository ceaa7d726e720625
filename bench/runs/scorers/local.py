"""As many processes as the machine has cores for, the work is worth, and memory holds."""

import time
from collections.abc import Sequence

from bench.runs.pool import Pool, Tell
from bench.runs.runner import WorkerDied
from bench.runs.scorers.feeding import fed
from bench.runs.scorers.memory import fitting
from bench.runs.scorers.processes import here, in_pool, worth_it
from bench.runs.scorers.tasks import Answer, Engine, Scored, Task, is_on_gpu, loaded, settled
from bench.runs.scoring import Metric
from mgie.io.devices import cores


def local(metrics: dict[str, Metric], count: int | None = None) -> Engine:
    """count: processes; None: as many as there are cores, where the work is worth their start; it is begun here. On a
    GPU the networks stay here, and the processes feed them."""

    def scored(tasks: Sequence[Task]) -> Scored:
        most, done = min(count or cores(), len(tasks)), 0
        if most <= 1:
            yield from here(metrics)(tasks)
            return
        if count is None:
            begun = here(metrics)(tasks)
            for place in range(len(tasks)):
                start = time.perf_counter()
                answer = next(begun)
                done, seconds = place + 1, time.perf_counter() - start
                yield answer
                if place and worth_it(seconds, len(tasks) - done, most):  # the first one loads the networks
                    break
            begun.close()
        rest = tasks[done:]
        if rest:
            with Pool(fitting(min(most, len(rest)), rest, metrics)) as pool:
                engine = fed(pool, metrics) if is_on_gpu(rest[0]) else in_pool(pool)
                for place, chunks in engine(rest):
                    yield done + place, chunks

    return scored


def beside(pool: Pool, count: int | None, alone: bool, metrics: dict[str, Metric]) -> Engine:
    """A pool that stands already, with more processes where the work is worth their start; alone: its processes serve
    one task each, so that others score."""

    def scored(tasks: Sequence[Task]) -> Scored:
        if not tasks:
            return
        if is_on_gpu(tasks[0]):
            yield from in_one_process(tasks, count)
            return
        most = min(count or cores(), len(tasks))
        fit = fitting(most, tasks, metrics)
        if alone or fit < len(pool.workers):
            with Pool(fit) as own:
                yield from in_pool(own)(tasks)
            return
        pool.most = min(max(1, len(pool.workers)), fit)
        start = time.perf_counter()
        for done, answer in enumerate(in_pool(pool)(tasks), 1):
            yield answer
            seconds = (time.perf_counter() - start) * pool.most / done
            if pool.most < fit and worth_it(seconds, len(tasks) - done, fit, pool.most):
                pool.most = fit

    return scored


def in_one_process(tasks: Sequence[Task], count: int | None) -> Scored:
    """By a process of its own, whose GPU memory ends with it, and that is fed by `count` others."""
    with Pool(1) as pool:
        for news in pool.each(score_many, [(list(tasks), count)]):
            if news.kind == "said":
                place, answer = news.value
                yield place, settled(tasks[place], answer)
            elif news.kind == "died":
                raise WorkerDied(f"the process that scored died (exit code {news.value}); what was done is kept")
            elif news.kind == "failed":
                raise RuntimeError(str(news.value))
            elif news.value is not None:
                raise news.value


def score_many(given: tuple[list[Task], int | None], tell: Tell) -> Exception | None:
    """In that process. What it returns ends the run."""
    tasks, count = given
    try:
        metrics, features = loaded(tasks[0].names, tasks[0].settings, tasks[0].cache)
        for place, scored in local(metrics, count)(tasks):
            tell((place, Answer(scored, features.handed_over())))
    except (ValueError, OSError, WorkerDied) as error:
        return error
    return None
