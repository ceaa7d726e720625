"""The texts of a run's rewriter: written once for a list of examples, kept, and shared by every run that wants them.

<out>/texts/<suite>/<dataset>--<rewriter>--<hash8>/expressive.jsonl grows slice by slice, so that a kill loses a slice
at most; a copy lies in the run folder. The slices are those of the edits: a text may depend on its batch, and whoever
shares the texts has the same ones. A text is written in front of the dataset's own image, never of a model's output.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

from bench.records import REWRITING, Edit, Example, Text
from bench.runs.description import Run, safe
from bench.runs.folder import RunFolder, damaged, parsed
from bench.runs.plan import Plan
from bench.runs.rewriting.named import Rewriting
from bench.runs.runner import Encoded, Engine, Slice, TooManyFailures, failure, slices, too_many
from bench.settings import READING

NAME = "expressive.jsonl"
READ = ("batch_size", *READING)  # of a run's settings, what may change a text

FIELDS, WORDS = {f.name for f in fields(Text)}, ("id", "text", "instruction", "rewriter", "hash", "template")


class Texts(NamedTuple):
    """What a run's edits are asked for."""

    found: dict[str, Text]  # by example id
    reasons: dict[str, str]  # why an example has none

    def worded(self, ready: list[Example], seed: int) -> tuple[list[Example], list[dict]]:
        """The examples with their texts as instructions; those without one as failures."""
        told = [replace(e, instruction=self.found[e.id].text, original=e.instruction)
                for e in ready if e.id in self.found]  # fmt: skip
        lacking = [e for e in ready if e.id not in self.found]
        return told, [failure(e, seed, self.reasons.get(e.id, "no text was written for it")) for e in lacking]

    def finished(self, edit: Edit) -> Edit:
        """An edit by one of these texts: the text, its tokens, and its seconds before those of the edit itself."""
        text = self.found[edit.example_id]
        seconds = {} if text.seconds is None else {REWRITING: text.seconds}
        return replace(edit, expressive_instruction=edit.expressive_instruction or text.text,
                       expressive_tokens=text.tokens, seconds=seconds | edit.seconds)  # fmt: skip


def place_of(out: Path, run: Run, rewriting: Rewriting) -> Path:
    """The folder of the texts that runs share."""
    settings = run.description()["edit"]
    key = json.dumps([rewriting.fingerprint, run.manifest, {n: settings[n] for n in READ}], sort_keys=True)
    hash8 = hashlib.sha256(key.encode()).hexdigest()[:8]
    return out / "texts" / run.suite / f"{run.dataset}--{safe(rewriting.name)}--{hash8}"


def lines_in(path: Path) -> Iterator[Text]:
    """The texts of a run's or the shared file. Nothing is mended: another process may be writing here."""
    data = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].splitlines(), 1):
        where, record = f"{path}, line {number}", parsed(line, f"{path}, line {number}")
        if set(record) != FIELDS or not all(isinstance(record[name], str) for name in WORDS):
            raise damaged(where, f"has the fields {', '.join(record)}; expected {', '.join(sorted(FIELDS))}, in words")
        yield Text(**record)


def texts_in(path: Path, rewriting: Rewriting) -> dict[str, Text]:
    """By example id the texts of a file that are this rewriter's."""
    return {text.id: text for text in lines_in(path) if text.hash == rewriting.hash}


def kept(plan: Plan) -> dict[str, Text]:
    """What is there already: in the run folder, or where runs share their texts.

    Raises ValueError for texts that were changed by hand in the run folder: another text is another run.
    """
    rewriting, path = plan.rewriting, plan.folder.path / NAME
    assert rewriting is not None  # else nobody asks for texts
    if rewriting.model is None:
        return {e.id: line_of(e, rewriting, rewriting.given[e.id]) for e in plan.run.examples}
    own, shared = (texts_in(p, rewriting) for p in (path, shared_folder(plan).path / NAME))
    odd = [i for i, text in own.items() if i in shared and shared[i].text != text.text]
    if odd:
        raise ValueError(
            f"{path}: the text of {odd[0]} is not the one that {rewriting.name} wrote. To edit by changed texts, copy "
            f"the file elsewhere and give it: --rewrite FILE; for the written ones remove {path} and run again"
        )
    return own | shared


def lacking(plan: Plan, found: dict[str, Text]) -> list[list[Example]]:
    """The slices that are still to be written. One whose images cannot be read is left out: it would lack for ever."""
    return [
        part for part in slices(plan.run)
        if any(e.id not in found and not plan.files[e.input_image].fault for e in part)
    ]  # fmt: skip


def is_written(plan: Plan) -> bool:
    """Whether all texts that this plan needs are there."""
    return plan.rewriting is None or not lacking(plan, kept(plan))


def shared_folder(plan: Plan) -> RunFolder:
    """Has a lock and lines as a run's folder has them."""
    assert plan.rewriting is not None
    return RunFolder(place_of(plan.folder.path.parent.parent, plan.run, plan.rewriting))


def settle(plan: Plan, engine: Callable[[], Engine], progress: Callable) -> Texts:
    """The texts of all examples; what is missing is written first. engine: the loaded rewriter's, asked for only then.

    progress: a bench.runs.execute.Progress. Raises TooManyFailures, Busy, and what loading raises.
    """
    rewriting, run = plan.rewriting, plan.run
    assert rewriting is not None
    found = kept(plan)
    reasons: dict[str, str] = {}
    if lacking(plan, found):
        shared = shared_folder(plan)
        with shared.locked():
            found = kept(plan)  # somebody may have written them while this waited
            shared.rewrite(NAME, found.values())
            if parts := lacking(plan, found):
                reasons = write(plan, shared, found, parts, engine, progress)
    faults = {e.id: f"{e.input_image.name}: {plan.files[e.input_image].fault}" for e in run.examples
              if plan.files[e.input_image].fault and e.id not in found}  # fmt: skip
    reasons = faults | reasons
    if len(reasons) > plan.max_failures * len(run.examples):
        failures = [failure(e, 0, reasons[e.id]) for e in run.examples if e.id in reasons]
        raise TooManyFailures(too_many(failures, len(run.examples), plan.max_failures))
    if rewriting.model:
        empty = sum(t.text == t.instruction.strip() for t in found.values())
        if empty:
            print(f"notice: {rewriting.name} left {empty} of {len(found)} instructions as they are", file=sys.stderr)
    return Texts({e.id: found[e.id] for e in run.examples if e.id in found}, reasons)


def write(
    plan: Plan, shared: RunFolder, found: dict[str, Text], parts: list[list[Example]], engine: Callable[[], Engine],
    progress: Callable,
) -> dict[str, str]:  # fmt: skip
    """Appends what the rewriter writes to the shared file and to `found`; why examples have no text."""
    rewriting, reasons = plan.rewriting, dict[str, str]()
    assert rewriting is not None
    # no later turn waits for an output: its own image is looked at
    todo = [Slice(0, [replace(e, previous=None) for e in part]) for part in parts]
    with progress(f"{plan.run.dataset} {rewriting.name}", "texts", len(plan.run.examples)) as tick:
        tick(len(plan.run.examples) - sum(map(len, parts)))
        for part, edited in engine()(todo, lambda part: (part.examples, [])):
            by_id = {e.id: e for e in part.examples}
            new = [line_of(by_id[one.example_id], rewriting, one.expressive_instruction or "", one)
                   for one in edited.encoded if one.example_id not in found]  # fmt: skip
            shared.append(NAME, new)
            found |= {text.id: text for text in new}
            reasons |= {f["example_id"]: f["reason"] for f in edited.failures}
            tick(len(part.examples))
            if len(reasons) > plan.max_failures * len(plan.run.examples):
                break
    return reasons


def line_of(example: Example, rewriting: Rewriting, text: str, written: Encoded | None = None) -> Text:
    tokens = written.expressive_tokens if written else None
    seconds = written.seconds[REWRITING] if written else None
    return Text(
        example.id, text, example.instruction, rewriting.name, rewriting.hash, rewriting.template, tokens, seconds
    )


def copy(texts: Texts, folder: RunFolder) -> None:
    """The run's own copy, in the order of its examples; the same bytes are left alone."""
    folder.rewrite(NAME, texts.found.values())
