"""The main path: a list of examples x one model -> edits, in a run folder. Safe to kill at any moment and start again.

Batches are fixed slices of the example list, each of one shape; a broken one is redone whole, so that the pixels never
depend on where a run was interrupted. Seeds come from the example's id. Who edits a slice (this process, or an actor of
bench.runs.engines) hands back bytes; only this file writes them: images first, then their lines.
"""

import gc
import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple, Protocol

from bench.records import Edit, Example, Halving, NoEdit, Output
from bench.registry import Model
from bench.runs.description import Run
from bench.runs.folder import Halvings, RunFolder
from bench.settings import EditSettings
from mgie.io.devices import full_float32
from mgie.io.files import write_whole
from mgie.io.images import ImageError, pixel_hash, png, profile_of


class TooManyFailures(RuntimeError):
    """More examples failed than --max-failures allows; what was done is kept."""


class NotLoaded(ValueError):
    """A model that cannot be loaded; nothing was edited."""


class WorkerDied(RuntimeError):
    """Workers of an engine died again and again at the same slice; what was done is kept."""


def seed_for(run_seed: int, example_id: str) -> int:
    """The seed of one edit: the same for any order, batch size or number of workers."""
    return int.from_bytes(hashlib.sha256(f"{run_seed}/{example_id}".encode()).digest()[:4], "big")


def profiles(run: Run, model: Model) -> dict[str, int]:
    """How many of the images were brought from their colour profile to sRGB, and how many could not be.

    images: input, goal and given output images that are there; each file is counted once.
    """
    given = getattr(model, "path", lambda _: None)
    paths = {p for e in run.examples for p in (e.input_image, e.goal_image, given(e.id)) if p and p.is_file()}
    if run.edit.icc != "convert":
        return {"images": len(paths), "converted": 0, "broken": 0}
    with ThreadPoolExecutor(4) as pool:
        kinds = list(pool.map(profile_of, paths))
    return {"images": len(paths), "converted": kinds.count("converted"), "broken": kinds.count("broken")}


def slices(run: Run) -> Iterator[list[Example]]:
    """The run's batches: consecutive examples of one shape, of which none edits the output of another."""
    current: list[Example] = []
    for example in run.ordered:
        full = len(current) == run.edit.batch_size or any(e.id == example.previous for e in current)
        if full or (current and run.shapes[current[0].id] != run.shapes[example.id]):
            yield current
            current = []
        current.append(example)
    if current:
        yield current


class Slice(NamedTuple):
    """What is edited together, with one seed of the run."""

    seed: int
    examples: list[Example]


class Encoded(NamedTuple):
    """One output, as whoever edited it hands it back: ready to be written."""

    example_id: str
    png: bytes
    image_sha256: str
    expressive_instruction: str | None
    expressive_tokens: int | None
    seconds: dict[str, float]


class Edited(NamedTuple):
    """What became of a slice."""

    encoded: list[Encoded]
    failures: list[dict]
    halving: Halving | None  # None: the model took it whole


class Outcome(NamedTuple):
    slice: Slice
    edited: Edited


# Edits slices, in any order that keeps a turn behind the one before it. Its second argument makes a slice ready: it is
# called when the slice's turn has come, after the outcomes handed out before were written.
Prepare = Callable[[Slice], tuple[list[Example], list[dict]]]
Engine = Callable[[list[Slice], Prepare], Iterator[Outcome]]


class Tick(Protocol):
    """Told that n more are settled, of them so many failed."""

    def __call__(self, n: int, failed: int = 0) -> None: ...


class Worded(Protocol):
    """Texts in place of the instructions (bench.runs.rewriting.texts)."""

    def worded(self, ready: list[Example], seed: int) -> tuple[list[Example], list[dict]]:
        """The examples as a model is asked for them, and those that have no text as failures."""
        ...

    def finished(self, edit: Edit) -> Edit:
        """An edit with what is known of its text."""
        ...


def load(model: Model) -> None:
    """Raises NotLoaded with the reason, once; halving a batch would mend nothing."""
    from mgie.io.devices import all_cores

    try:
        with all_cores():
            model.load()
        return
    except NotLoaded:
        raise
    except (ValueError, OSError) as error:  # a file or a setting: the message says what to do
        reason = str(error)
    except Exception as error:  # a library's, of a file that it does not name
        reason = f"{type(error).__name__}: {error}"
        if folders := model.parts() if hasattr(model, "parts") else {}:
            reason += f" (its weights: {os.path.commonpath(folders)})"
    free()
    raise NotLoaded(f"{model.name} cannot be loaded: {reason}")


def here(model: Model, settings: EditSettings) -> Engine:
    """The local engine: one slice after the other, in this process."""

    def outcomes(todo: list[Slice], prepare: Prepare) -> Iterator[Outcome]:
        for part in todo:
            ready, failed = prepare(part)
            edited = edit_slice(ready, part.seed, settings, model)
            yield Outcome(part, edited._replace(failures=failed + edited.failures))

    return outcomes


def unfinished(run: Run, folder: RunFolder, seeds: range) -> list[Slice]:
    """The slices with an example that has no edit yet."""
    edits = folder.edits()
    # slice by slice, all seeds of one together: a text that is written once serves them all
    return [
        Slice(seed, batch) for batch in slices(run) for seed in seeds
        if not all((seed, e.id) in edits for e in batch)
    ]  # fmt: skip


def edit_all(
    run: Run, model: Model, folder: RunFolder, seeds: range, max_failures: float, tick: Tick,
    engine: Engine | None = None, texts: Worded | None = None,
) -> list[dict]:  # fmt: skip
    """Edit every example not yet in edits.jsonl, for each seed; returns the failures.

    texts: what a rewriter made of the instructions; None: they stand as they are.

    Raises TooManyFailures as soon as more than max_failures (a share of all) cannot be edited.
    """
    edits, todo = folder.edits(), unfinished(run, folder, seeds)
    failures: list[dict] = []
    halvings = Halvings(folder)
    of = len(run.examples) * len(seeds)
    tick(of - sum(len(part.examples) for part in todo))
    order = {e.id: place for place, e in enumerate(run.examples)}

    def prepare(part: Slice) -> tuple[list[Example], list[dict]]:
        ready, failed = on_outputs(part, folder, edits)
        told, lacking = texts.worded(ready, part.seed) if texts else (ready, [])
        return told, failed + lacking

    for part, (encoded, failed, halving) in (engine or here(model, run.edit))(todo, prepare):
        halvings.settle(part.seed, (e.id for e in part.examples), halving)
        new = [write(part.seed, output, folder) for output in encoded]
        new = [texts.finished(edit) for edit in new] if texts else new
        folder.append("edits.jsonl", new)
        edits |= {(part.seed, e.example_id): e for e in new}
        if failed:
            failures = sorted(failures + failed, key=lambda f: (f["seed"], order[f["example_id"]]))
            folder.rewrite("failures.jsonl", failures)
        if len(failures) > max_failures * of:
            raise TooManyFailures(too_many(failures, of, max_failures))
        tick(len(part.examples), len(failed))
    kept = [e for e in edits.values() if e.example_id in order]
    kept.sort(key=lambda e: (e.seed, order[e.example_id]))
    folder.rewrite("edits.jsonl", kept)
    halvings.close(order)
    return failures


def too_many(failures: list[dict], of: int, max_failures: float) -> str:
    """The message of TooManyFailures."""
    first = "\n".join(f"  {f['example_id']}: {f['reason']}" for f in failures[:3])
    return (
        f"{len(failures)} of {of} examples failed, more than --max-failures {max_failures:g} allows:\n{first}\n"
        "what was done is kept; mend the cause and give the same command again, or raise --max-failures"
    )


def on_outputs(part: Slice, folder: RunFolder, edits: dict[tuple[int, str], Edit]) -> tuple[list[Example], list[dict]]:
    """The slice's examples, later turns on the output image of the turn before, and those that lack it as failures."""
    ready, failed = [], []
    for example in part.examples:
        if example.previous is None:
            ready.append(example)
        elif (part.seed, example.previous) in edits:
            ready.append(replace(example, input_image=folder.path / folder.image(part.seed, example.previous)))
        else:
            reason = f"the turn before it was not edited: {example.previous}"
            failed.append(failure(example, part.seed, reason))
    return ready, failed


def edit_slice(ready: list[Example], seed: int, settings: EditSettings, model: Model) -> Edited:
    """The edits of one slice as bytes, its failures and how often it had to be halved; writes nothing."""
    outputs, failed, batches, reason = edit_or_split(ready, seed, settings, model)
    halving = Halving(seed, ready[0].id, ready[-1].id, len(ready), batches, reason) if reason else None
    return Edited([encode(example, output) for example, output in outputs], failed, halving)


class Tried(NamedTuple):
    """What became of a batch."""

    outputs: list[tuple[Example, Output]]
    failures: list[dict]
    batches: list[int]  # how many examples the model was given at once in the end
    reason: str = ""  # the error for which the batch was halved; "": it was not


def edit_or_split(batch: list[Example], seed: int, settings: EditSettings, model: Model) -> Tried:
    """Edit a batch. An unreadable image leaves the batch; on any other error the batch is halved until one is left.

    Halving is what out-of-memory needs, and it finds the one example that a model cannot edit; it follows from the
    batch alone, so a repeated run takes the same steps.
    """
    batch = list(batch)
    failed: list[dict] = []
    while batch:
        outputs, reason, left_out = attempt(batch, seed, settings, model)
        if outputs is not None:
            return Tried(outputs, failed, [len(batch)])
        if not left_out:
            free()  # outside the handler, whose traceback holds all that the failed attempt had made
            return halved(batch, seed, settings, model, reason, failed)
        failed += [failure(e, seed, left_out[e.id]) for e in batch if e.id in left_out]
        batch = [e for e in batch if e.id not in left_out]
    return Tried([], failed, [])


def attempt(
    batch: list[Example], seed: int, settings: EditSettings, model: Model
) -> tuple[list[tuple[Example, Output]] | None, str, dict[str, str]]:
    """The batch's outputs; else None, why, and by id why examples cannot be edited in any batch."""
    start = time.perf_counter()
    try:
        with full_float32():
            outputs = model.edit(batch, settings, [seed_for(seed, e.id) for e in batch])
    except ImageError as error:
        bad = [e for e in batch if str(error).startswith((f"{e.input_image}:", f"{e.goal_image}:"))]
        return None, str(error), {e.id: str(error) for e in bad}
    except NoEdit as error:
        return None, str(error), error.reasons
    except (ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
        return None, f"{type(error).__name__}: {error}", {}
    share = (time.perf_counter() - start) / len(batch)
    timed = [o if o.seconds is not None else o._replace(seconds={"edit": share}) for o in outputs]
    return list(zip(batch, timed, strict=True)), "", {}


def free() -> None:
    """Give back what a failed attempt held: tensors in cycles, and the GPU memory that torch keeps for itself."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch and torch.cuda.is_available():
        torch.cuda.empty_cache()


def halved(
    batch: list[Example], seed: int, settings: EditSettings, model: Model, reason: str, failed: list[dict]
) -> Tried:
    """Both halves of a batch that could not be edited; of one example, its failure. failed: those before it."""
    if len(batch) == 1:
        return Tried([], [*failed, failure(batch[0], seed, reason)], [1])
    middle = len(batch) // 2
    one, other = (edit_or_split(half, seed, settings, model) for half in (batch[:middle], batch[middle:]))
    return Tried(
        one.outputs + other.outputs, failed + one.failures + other.failures, one.batches + other.batches, reason
    )


def encode(example: Example, output: Output) -> Encoded:
    image = output.image.convert("RGB")
    assert output.seconds is not None  # attempt times what the model does not
    seconds = {stage: round(s, 9) for stage, s in output.seconds.items()}  # by which a batch's edits are found again
    text = output.expressive_instruction, output.expressive_tokens
    return Encoded(example.id, png(image), pixel_hash(image), *text, seconds)


def write(seed: int, output: Encoded, folder: RunFolder) -> Edit:
    name = folder.image(seed, output.example_id)
    write_whole(output.png, folder.path / name)
    return Edit(
        output.example_id, seed, name, output.image_sha256, output.expressive_instruction, output.expressive_tokens,
        output.seconds,
    )  # fmt: skip


def failure(example: Example, seed: int, reason: str, stage: str = "edit") -> dict:
    return {"example_id": example.id, "seed": seed, "stage": stage, "reason": reason}
