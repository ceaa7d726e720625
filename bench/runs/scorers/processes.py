"""Who scores on a CPU: this process, or processes of one thread each."""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from bench.runs.engines import DEATHS
from bench.runs.pool import Pool, Tell
from bench.runs.runner import WorkerDied
from bench.runs.scorers.tasks import Engine, Scored, Task, label, opened_of, score_task, settled
from bench.runs.scoring import Metric, score_chunks
from mgie.io.devices import threads
from mgie.io.images import say

START = 8.0  # seconds from a process's start to its first score, most of them imports and networks


def here(metrics: dict[str, Metric]) -> Engine:
    """This process; images are decoded one task ahead, in a thread."""

    def scored(tasks: Sequence[Task]) -> Scored:
        with ThreadPoolExecutor(1) as pool:
            ahead: Future | None = None
            for place, task in enumerate(tasks):
                opened = ahead.result() if ahead else opened_of(task, metrics)
                rest = tasks[place + 1 : place + 2]
                ahead = pool.submit(opened_of, rest[0], metrics) if rest else None
                with threads(1):
                    answer = score_chunks(task.chunks, opened, metrics)
                del opened  # before the next are waited for
                yield place, answer

    return scored


def worth_it(seconds: float, tasks: int, processes: int, now: int = 1) -> bool:
    """Whether so many tasks of so many seconds end sooner with processes of which all but `now` are to be started."""
    return START + seconds * math.ceil(tasks / processes) < seconds * math.ceil(tasks / now) / 1.25


def in_pool(pool: Pool) -> Engine:
    """The processes of a pool."""

    def scored(tasks: Sequence[Task]) -> Scored:
        for place, answer in answers(pool, score_task, tasks):
            yield place, settled(tasks[place], answer)

    return scored


def answers(pool: Pool, work: Callable[[Task, Tell], Any], tasks: Sequence[Task]) -> Iterator[tuple[int, Any]]:
    """What work returns of each task. A process that dies (killed for memory?) is not replaced, and its task is done by
    another. Raises WorkerDied where a task has killed too many."""
    waiting, deaths = list(range(len(tasks))), Counter[int]()
    while waiting:
        again: list[int] = []
        for news in pool.each(work, [tasks[place] for place in waiting]):
            place = waiting[news.place]
            if news.kind == "said":
                say(news.value)
            elif news.kind == "failed":  # a fault of ours
                raise RuntimeError(f"{label(tasks[place])}: {news.value}")
            elif news.kind == "died":
                deaths[place] += 1
                pool.most = max(1, pool.most - 1)
                complain(deaths[place], tasks[place], f"exit code {news.value}", pool.most)
                again.append(place)
            else:
                yield place, news.value
        waiting = again


def complain(deaths: int, task: Task, why: str, left: int) -> None:
    """Raises WorkerDied where a task has killed too many."""
    if deaths >= DEATHS:
        raise WorkerDied(
            f"{deaths} processes died while they scored {label(task)} ({why}); what was done is kept. Out of memory? "
            "Give fewer --score-workers or a smaller --metric-batch-size"
        )
    print(f"warning: a process died while it scored {label(task)} ({why}); {left} go on", file=sys.stderr)
