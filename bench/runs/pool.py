"""Worker processes that end when they are told to: the cells of a table, trainings on demand.

A terminal sends Ctrl-C to every process; a worker ignores it, and the parent alone decides. Leaving the block ends all
workers at once, whatever they are doing: what they write is proof against a kill. A worker whose parent is gone ends
by itself, so that no lock outlives the command.

Not concurrent.futures: its pool waits at the end for whatever was submitted, and with max_tasks_per_child it hangs
when it is left early (Python 3.11).
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Literal, NamedTuple, TypeVar, cast

GRACE = 2.0  # seconds from SIGTERM to SIGKILL

Tell = Callable[[object], None]  # a task's way to say something before it is done
Task = TypeVar("Task")
Work = Callable[[Task, Tell], object]  # a function of a module: a worker imports it


class News(NamedTuple):
    """Something about a task. After "said" more follows; the others are its last."""

    place: int  # of the task in the list that was given
    kind: Literal["said", "done", "failed", "died"]
    value: Any  # what was said or returned; of a failure what the task raised, as text; of a death the exit code


class Worker(NamedTuple):
    process: BaseProcess
    connection: Connection


class Pool:
    """At most so many processes; with `fresh` each serves one task, so that nothing of a model stays behind it."""

    def __init__(self, workers: int, fresh: bool = False) -> None:
        if workers < 1:
            raise ValueError(f"a pool of {workers} workers; it must be at least 1")
        self.most, self.fresh, self.context = workers, fresh, get_context("spawn")
        self.workers: list[Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        unborn = [worker for worker in self.workers if worker.process.pid is None]  # Ctrl-C came while it was started
        for worker in unborn:
            worker.connection.close()
            self.workers.remove(worker)
        for worker in self.workers:
            if error is None:
                worker.connection.close()  # an idle worker ends by itself, and tidies up behind it
            else:
                worker.process.terminate()
        for end in ("terminate", "kill"):  # SIGTERM first; a library may turn it into something else
            until = time.monotonic() + GRACE
            for worker in self.workers:
                worker.process.join(max(0.0, until - time.monotonic()))
            for worker in self.workers:
                if worker.process.is_alive():
                    getattr(worker.process, end)()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()
        self.workers = []

    def each(self, work: Work[Task], tasks: Sequence[Task]) -> Iterator[News]:
        """What the workers say of the tasks, as it comes; tasks are begun in order."""
        waiting = list(enumerate(tasks))
        busy: dict[Connection, tuple[Worker, int]] = {}
        while waiting or busy:
            idle = [w for w in self.workers if w.connection not in busy]
            while waiting and (idle or len(self.workers) < self.most):
                place, task = waiting.pop(0)
                worker = idle.pop() if idle else self.start_one()
                try:
                    worker.connection.send((work, task))
                except OSError:  # it died while it was idle: another takes its place
                    self.drop(worker)
                    waiting.insert(0, (place, task))
                    continue
                busy[worker.connection] = worker, place
            for ready in cast(list[Connection], connection.wait(busy)):  # of those that were given
                worker, place = busy[ready]
                try:
                    kind, value = ready.recv()
                except (EOFError, OSError):
                    kind, value = "died", self.drop(worker)
                if kind != "said":
                    del busy[ready]
                    if self.fresh and kind != "died":
                        self.drop(worker)
                yield News(place, kind, value)

    def start_one(self) -> Worker:
        ours, theirs = self.context.Pipe()
        worker = Worker(self.context.Process(target=serve, args=(theirs,)), ours)
        self.workers.append(worker)
        worker.process.start()
        theirs.close()  # else its end would never be noticed
        return worker

    def drop(self, worker: Worker) -> int | None:
        """End a worker that has nothing to do any more; its exit code."""
        worker.connection.close()
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        self.workers.remove(worker)
        return worker.process.exitcode


def serve(theirs: Connection) -> None:
    """A worker's life: one task after the other, until the parent closes its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    leave_no_lock()
    while True:
        try:
            work, task = theirs.recv()
        except EOFError:
            return
        try:
            answer = "done", work(task, lambda value: theirs.send(("said", value)))
        except Exception as error:  # whatever it is, the parent says it of this task, and the others go on
            answer = "failed", f"{type(error).__name__}: {error}"
        theirs.send(answer)


def leave_no_lock() -> None:
    """tqdm's bars, which transformers draws while it reads and writes weights, take a lock of this process alone: their
    own is a semaphore of the system, and a worker that is ended leaves it behind, with a warning after "stopped".
    """
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())


def end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # a worker was started by one
    parent.join()
    os._exit(1)
