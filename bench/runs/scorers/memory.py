"""How many processes memory holds."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.runs.scorers.tasks import Task, networks_of
from bench.runs.scoring import Chunk, Metric
from mgie.io.images import size_of
from mgie.io.memory import free_bytes

BASE = 700 * 2**20  # bytes of a process before it holds a network: Python, torch and the libraries beside it
USUAL_PIXEL, VGG_PIXEL = 500, 2500  # bytes a pixel of one pair that its metrics work with at their largest
SPARE = 0.8  # of the memory that is free now


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


def weights_of(metric: Metric) -> list[Path]:
    """The files of a metric's networks."""
    own = getattr(metric, "weights", None)
    return [network.source.weights for network in networks_of(metric)] + ([own] if own is not None else [])
