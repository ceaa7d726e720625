"""Ray's workers, which score as well as edit. What of a run folder they need travels with a task."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.runs.engines import Pool
from bench.runs.folder import RunFolder
from bench.runs.scorers.tasks import Answer, Engine, Scored, Task, label, score_task, settled
from mgie.io.images import say


class RayTask(NamedTuple):
    """Some scoring, as it is handed to a worker."""

    work: Callable[..., Any]  # of a module; called with args, the files and a folder for what it needs for a moment
    args: tuple
    files: Callable[[], dict[str, bytes]]  # that travel with it
    label: str


def on_ray(pool: Pool, work: Callable[..., object] | None = None) -> Engine:
    """Ray's workers. Output images travel with a task: only the driver has them for certain. work: score_sent."""

    def scored(tasks: Sequence[Task]) -> Scored:
        sending = [RayTask(work or score_sent, (task,), partial(sent, task), label(task)) for task in tasks]
        for place, (answer, said) in scores(pool, sending):
            for text in said:
                say(text)
            yield place, settled(tasks[place], answer)

    return scored


def sent(task: Task) -> dict[str, bytes]:
    """What of the run folders a worker needs, by <place of the chunk>/<name in its run folder>; not what is gone."""
    found = {}
    for number, chunk in enumerate(task.chunks):
        folder = RunFolder(chunk.folder)
        names = {edit.output_image for edit in chunk.edits.values()}
        names |= {folder.image(chunk.seed, e.previous) for e in chunk.examples if e.previous}
        for name in names:
            if (chunk.folder / name).is_file():
                found[f"{number}/{name}"] = (chunk.folder / name).read_bytes()
    return found


def score_sent(task: Task, files: dict[str, bytes], scratch: Path | None) -> tuple[Answer, list[str]]:
    """In a worker: score_task, and what was said, on the images that came along."""
    said: list[str] = []
    if scratch:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for name, data in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        chunks = [chunk._replace(folder=Path(folder) / str(n)) for n, chunk in enumerate(task.chunks)]
        return score_task(task._replace(chunks=chunks), lambda text: said.append(str(text))), said


def scores(pool: Pool, tasks: Sequence[RayTask]) -> Iterator[tuple[int, Any]]:
    """What the workers answer, as it comes, each with its task's place. Raises WorkerDied."""
    waiting, deaths = list(range(len(tasks))), Counter[int]()
    while waiting or pool.at_work:
        while waiting and pool.idle:
            place, worker = waiting.pop(0), pool.idle.pop()
            task = tasks[place]
            ref = worker.score.remote(task.work, task.args, task.files(), pool.of)
            pool.at_work[ref] = worker, place, []
        for ref in pool.wait():
            worker, place, _ = pool.at_work.pop(ref)
            try:
                answer = pool.answer(ref)
            except pool.ray.exceptions.RayActorError as error:
                deaths[place] += 1
                pool.replace_dead(deaths[place], f"the scores of {tasks[place].label}", error)
                waiting.insert(0, place)
                continue
            pool.idle.append(worker)
            yield place, answer
