"""Who scores: this process, processes of one thread each, or Ray's workers; whoever it is, the numbers are the same.

A task is the chunks of several runs and seeds over the same examples. Chunks are fixed and scored with one thread, so
that no bit depends on how many score. Only the parent writes: features that a process makes come back with its scores.
"""

import logging
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.runs.actors import RayTask
from bench.runs.engines import DEATHS
from bench.runs.engines import Pool as RayPool
from bench.runs.pool import Pool, Tell
from bench.runs.runner import WorkerDied
from bench.runs.scoring import Chunk, Metric, Opened, ScoredChunk, decode, load_metrics, score_chunks
from bench.settings import MetricSettings
from mgie.io.devices import cores, device_of, threads
from mgie.io.images import say, size_of
from mgie.io.memory import free_bytes

if TYPE_CHECKING:
    import numpy as np

    from bench.metrics.networks.features import FeatureCache
    from bench.metrics.pairs import Picture
    from bench.settings import EditSettings

START = 8.0  # seconds from a process's start to its first score, most of them imports and networks
BASE = 700 * 2**20  # bytes of a process before it holds a network: Python, torch and the libraries beside it
USUAL_PIXEL, VGG_PIXEL = 500, 2500  # bytes a pixel of one pair that its metrics work with at their largest
SPARE = 0.8  # of the memory that is free now


class Task(NamedTuple):
    """As it travels."""

    chunks: list[Chunk]  # all of the same examples
    names: tuple[str, ...]  # of the metrics
    settings: MetricSettings
    cache: Path | None  # of features


class Answer(NamedTuple):
    scored: list[ScoredChunk]  # one a chunk
    features: "dict[str, np.ndarray]"  # that were made and are to be kept
    error: Exception | None = None  # which ends the run, as it would in the parent


# Scores tasks in any order; each with its place in the list.
Engine = Callable[[Sequence[Task]], Iterator[tuple[int, list[ScoredChunk]]]]


def opened_of(task: Task, metrics: dict[str, Metric]) -> list[list[Opened]]:
    """The images of a task; those of the dataset once for all its chunks."""
    seen: dict[tuple[Path, EditSettings], Picture] = {}
    return [decode(chunk, metrics, seen) for chunk in task.chunks]


def here(metrics: dict[str, Metric]) -> Engine:
    """This process; images are decoded one task ahead, in a thread."""

    def scored(tasks: Sequence[Task]) -> Iterator[tuple[int, list[ScoredChunk]]]:
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


def local(metrics: dict[str, Metric], count: int | None = None) -> Engine:
    """count: processes; None: as many as there are cores, where the work is worth their start; it is begun here. On a
    GPU the networks stay here, and the processes feed them."""
    from bench.runs.feeding import fed

    def scored(tasks: Sequence[Task]) -> Iterator[tuple[int, list[ScoredChunk]]]:
        most, done = min(count or cores(), len(tasks)), 0
        if most <= 1:
            yield from here(metrics)(tasks)
            return
        if count is None:
            begun = here(metrics)(tasks)
            for place in range(len(tasks)):
                start = time.perf_counter()
                yield next(begun)
                done, seconds = place + 1, time.perf_counter() - start
                if place and worth_it(seconds, len(tasks) - done, most):  # the first one loads the networks
                    break
            begun.close()
        rest = tasks[done:]
        if rest:
            with Pool(fitting(min(most, len(rest)), rest, metrics)) as pool:
                engine = fed(pool, metrics) if is_on_gpu(rest[0]) else in_pool(pool)
                for place, answer in engine(rest):
                    yield done + place, answer

    return scored


def is_on_gpu(task: Task) -> bool:
    return device_of(task.settings.metric_device).startswith("cuda")


def worth_it(seconds: float, tasks: int, processes: int, now: int = 1) -> bool:
    """Whether so many tasks of so many seconds end sooner with processes of which all but `now` are to be started."""
    return START + seconds * math.ceil(tasks / processes) < seconds * math.ceil(tasks / now) / 1.25


def in_pool(pool: Pool) -> Engine:
    """The processes of a pool."""

    def scored(tasks: Sequence[Task]) -> Iterator[tuple[int, list[ScoredChunk]]]:
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


def beside(pool: Pool, metrics: dict[str, Metric], count: int | None, alone: bool) -> Engine:
    """A pool that stands already, with more processes where the work is worth their start; alone: its processes serve
    one task each, so that others score."""
    from bench.runs.feeding import in_one_process

    def scored(tasks: Sequence[Task]) -> Iterator[tuple[int, list[ScoredChunk]]]:
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


def complain(deaths: int, task: Task, why: str, left: int) -> None:
    """Raises WorkerDied where a task has killed too many."""
    if deaths >= DEATHS:
        raise WorkerDied(
            f"{deaths} processes died while they scored {label(task)} ({why}); what was done is kept. Out of memory? "
            "Give fewer --score-workers or a smaller --metric-batch-size"
        )
    print(f"warning: a process died while it scored {label(task)} ({why}); {left} go on", file=sys.stderr)


def label(task: Task) -> str:
    examples = task.chunks[0].examples
    return f"{examples[0].id} .. {examples[-1].id}"


def settled(task: Task, answer: Answer) -> list[ScoredChunk]:
    """The scores of an answer whose features are kept. Raises what ended the work."""
    from bench.metrics.networks.features import FeatureCache

    if answer.error:
        raise answer.error
    FeatureCache(task.cache).keep(answer.features)
    return answer.scored


def score_task(task: Task, tell: Tell) -> Answer:
    """In a process of a pool, or an actor of Ray."""
    listener = Listener(tell)
    logging.getLogger("mgie").addHandler(listener)
    try:
        metrics, features = loaded(task.names, task.settings, task.cache)
        with threads(1):
            scored = score_chunks(task.chunks, opened_of(task, metrics), metrics)
        return Answer(scored, features.handed_over())
    except (ValueError, OSError) as error:  # a file or a setting: the message says what to do
        return Answer([], {}, error)
    finally:
        logging.getLogger("mgie").removeHandler(listener)


class Listener(logging.Handler):
    """What is warned of in a process is said by the parent, which says it once."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(logging.WARNING)
        self.tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self.tell(record.getMessage())


@lru_cache(maxsize=1)
def loaded(
    names: tuple[str, ...], settings: MetricSettings, cache: Path | None
) -> "tuple[dict[str, Metric], FeatureCache]":
    """Once a process for all tasks alike. Raises FileNotFoundError for a network that is not at hand."""
    from bench.metrics.networks.features import FeatureCache

    features = FeatureCache(cache, writes=False)
    metrics = load_metrics(names, settings, features)
    for why in metrics.not_run.values():
        raise FileNotFoundError(why)
    return metrics.ready, features


def fitting(most: int, tasks: Sequence[Task], metrics: Mapping[str, Metric]) -> int:
    """How many of so many processes memory holds; says so where it is fewer."""
    free, each = free_bytes("cpu"), process_bytes(tasks, metrics)
    if free is None or most * each <= SPARE * free:
        return most
    fit = max(1, int(SPARE * free / each))
    print(
        f"notice: {fit} instead of {most} processes score: each takes about {each / 1e9:.1f} GB, and {free / 1e9:.1f} "
        "GB are free",
        file=sys.stderr,
    )
    return fit


def process_bytes(tasks: Sequence[Task], metrics: Mapping[str, Metric]) -> int:
    """What a process takes at most, about: its networks, twice while they are loaded, and a task's decoded images."""
    networks = sum(path.stat().st_size for path in {path for m in metrics.values() for path in weights_of(m)})
    images = max(task_bytes(task) for task in tasks[:: max(1, len(tasks) // 32)])
    pixel = VGG_PIXEL if any("vgg" in metric.protocol for metric in metrics.values()) else USUAL_PIXEL
    return BASE + 2 * networks + images + pixel * pixels_of(tasks[0].chunks[0])


def task_bytes(task: Task) -> int:
    """Of its images, decoded: outputs, goals and inputs."""
    first, *_ = task.chunks
    return 3 * len(first.examples) * (sum(map(pixels_of, task.chunks)) + 2 * pixels_of(first))


def pixels_of(chunk: Chunk) -> int:
    """Of one of its output images, by the header; 0 where there is none."""
    for edit in chunk.edits.values():
        width, height = size_of(chunk.folder / edit.output_image) or (0, 0)
        return width * height
    return 0


def networks_of(metric: Metric) -> list[Any]:
    """Those that are given pictures through a transform of their own: CLIP, DINO."""
    holders = (metric, getattr(metric, "direction", None))
    found = [getattr(holder, name, None) for holder in holders for name in ("clip", "dino")]
    return [network for network in found if network is not None]


def weights_of(metric: Metric) -> list[Path]:
    """The files of a metric's networks."""
    own = getattr(metric, "weights", None)
    return [network.source.weights for network in networks_of(metric)] + ([own] if own is not None else [])


def on_ray(pool: RayPool, work: Callable[..., object] | None = None) -> Engine:
    """Ray's workers. Output images travel with a task: only the driver has them for certain. work: score_sent."""

    def scored(tasks: Sequence[Task]) -> Iterator[tuple[int, list[ScoredChunk]]]:
        sending = [RayTask(work or score_sent, (task,), partial(sent, task), label(task)) for task in tasks]
        for place, (answer, said) in pool.scores(sending):
            for text in said:
                say(text)
            yield place, settled(tasks[place], answer)

    return scored


def sent(task: Task) -> dict[str, bytes]:
    """What of the run folders a worker needs, by <place of the chunk>/<name in its run folder>; not what is gone."""
    from bench.runs.folder import RunFolder

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
