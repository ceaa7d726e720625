"""What a Ray actor does: it edits slices with its model, and scores. Nothing of Ray is imported here."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.records import Example
from bench.registry import Model
from bench.runs.runner import Edited, edit_slice, load
from bench.settings import EditSettings


class Task(NamedTuple):
    """One slice as it travels."""

    examples: list[Example]
    seed: int
    settings: EditSettings
    outputs: dict[str, bytes]  # example id -> its input image, where that is an output image of this run
    of: "Serving"


class RayTask(NamedTuple):
    """Some scoring, as it is handed to a worker."""

    work: Callable[..., Any]  # of a module; called with args, the files and a folder for what it needs for a moment
    args: tuple
    files: Callable[[], dict[str, bytes]]  # that travel with it
    label: str


class Serving(NamedTuple):
    """The run that workers are at."""

    staged: tuple[str, str, Path] | None = None  # bench.runs.remote.stage's arguments, where the data root is remote
    scratch: Path | None = None  # below it a worker keeps what one slice needs; None: the system's temporary folder


class Worker:
    """What an actor is made of. Without a model it scores alone."""

    def __init__(self, model: Model | None) -> None:
        self.model = model
        self.staged: tuple[str, str, Path] | None = None

    def up(self, device: str) -> str:
        """Load the model; the name of what it computes on, the sign that it is up. Raises NotLoaded."""
        from mgie.io.devices import device_name

        if self.model is not None:
            load(self.model)
        return device_name(device)

    def at_hand(self, of: Serving) -> None:
        """The data that a run needs, where they are remote."""
        if of.staged and of.staged != self.staged:
            from bench.runs.remote import stage

            stage(*of.staged)
            self.staged = of.staged

    def score(self, work: Callable[..., Any], args: tuple, files: dict[str, bytes], of: Serving) -> Any:
        self.at_hand(of)
        return work(*args, files, of.scratch)

    def edit(self, task: Task) -> Edited:
        assert self.model is not None  # those without one only score
        self.at_hand(task.of)
        if not task.outputs:
            return edit_slice(task.examples, task.seed, task.settings, self.model)
        if task.of.scratch:
            task.of.scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=task.of.scratch) as folder:
            examples = [with_input(example, task.outputs.get(example.id), Path(folder)) for example in task.examples]
            return edit_slice(examples, task.seed, task.settings, self.model)


def with_input(example: Example, data: bytes | None, folder: Path) -> Example:
    """The example on its input image, which is an output image of this run and came along; None: it has its own."""
    if data is None:
        return example
    path = folder / example.file_name
    path.write_bytes(data)
    return replace(example, input_image=path)
