"""A run's own files, held against each other: its name, its counts, its outputs by their pixels."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import get_args

from bench.bundle.contents import LINES, OBJECTS
from bench.bundle.private import MARKUP
from bench.records import Edit, Score
from bench.registry import DATASETS, FORMS, SUITES
from bench.runs.description import name_of
from bench.runs.folder import RunFolder, records
from bench.settings import DataSettings, EditSettings
from bench.verify.findings import Findings
from mgie.io.images import ImageError, load, pixel_hash


def check_name(reader: RunFolder, found: Findings) -> dict:
    """run.json; its settings must be those that the run's name was made of. Raises ValueError for a damaged one."""
    run = reader.run()
    if reader.path.name != name_of(run):
        found.wrong.append("run.json: its settings are not those that the name of the run was made of")
    return run


WORDS = {"suite": tuple(SUITES), "dataset": tuple(DATASETS), "setting": ("zero-shot", "fine-tuned"),
         "form": ("none", *FORMS)}  # fmt: skip
MOST_SEEDS = 1000
SESSION = {"started": str, "commit": str, "python": str, "device": str, "versions": dict}
FAILURE = {"example_id": str, "seed": int, "stage": str, "reason": str}


def unlike_a_run(reader: RunFolder, said: dict, done: dict) -> list[str]:
    """What in a run's files is of another kind than any run's: such a run is not looked at further."""
    wrong = [f"run.json: there is no {key} {said[key]!r:.60}" for key, known in WORDS.items() if said[key] not in known]
    for kind, name in ((DataSettings, "data"), (EditSettings, "edit")):
        types = {f.name: get_args(f.type) or (f.type,) for f in fields(kind)}
        words = {f.name: f.metadata["choices"] for f in fields(kind)}
        for key, value in said[name].items():
            number = float in types.get(key, ()) and isinstance(value, int)  # 7 is written for 7.0
            strange = key not in types or key == "image_root" or not (number or isinstance(value, types[key]))
            if key == "wrong_captions":  # else a place, which would be opened
                strange = strange or not re.fullmatch("keep|leave-out|list [0-9a-f]{8}", value)
            if strange or (words[key] and value not in words[key]):
                wrong.append(f"run.json: {name} has {str(key)!r:.40} {str(value)!r:.40}, which is no setting")
    if not 1 <= done["seeds"] <= MOST_SEEDS:
        wrong.append(f"done.json: {done['seeds']} seeds")
    wrong += [f"done.json: {key} holds {str(value)!r:.40}, expected words" for key in ("metrics", "not_run")
              for value in done[key].values() if not isinstance(value, str)]  # fmt: skip
    scored = done.get("scored", [])
    if not isinstance(scored, list) or not all(isinstance(e, dict) and is_entry(e) for e in scored):
        wrong.append("done.json: scored is no list of metrics, settings and protocols")
    for line in reader.sessions():
        wrong += [f"sessions.jsonl: {key} is {str(line[key])!r:.40}" for key, kind in SESSION.items()
                  if key in line and not isinstance(line[key], kind)]  # fmt: skip
    for line in reader.failures():
        wrong += [f"failures.jsonl: {key} is {str(line.get(key))!r:.40}" for key, kind in FAILURE.items()
                  if not isinstance(line.get(key), kind)]  # fmt: skip
    for name in (*OBJECTS, *LINES):
        path = reader.path / name
        if path.is_file() and name != "edits.jsonl" and MARKUP.search(path.read_text(encoding="utf-8")):
            wrong.append(f"{name}: it holds markup, which a page would take for its own; no bundle does")
    return wrong


def is_entry(entry: dict) -> bool:
    texts = isinstance(entry.get("metric"), str) and isinstance(entry.get("protocol"), str)
    return texts and isinstance(entry.get("settings", {}), dict)


def edits_of(reader: RunFolder, found: Findings) -> dict[tuple[int, str], Edit]:
    """The edits; none whose output would lie elsewhere than a run puts it. Raises ValueError for a damaged file."""
    edits: dict[tuple[int, str], Edit] = {}
    for edit in records(reader.path / "edits.jsonl", Edit):
        place = reader.image(edit.seed, edit.example_id)
        if edit.output_image != place or ".." in place.split("/") or place.count("/") != 2:
            found.wrong.append(f"edits.jsonl: the output of {edit.example_id} is said to lie at "
                               f"{edit.output_image!r:.80}, expected {place!r:.80}")  # fmt: skip
        elif (edit.seed, edit.example_id) in edits:
            found.wrong.append(f"edits.jsonl: {edit.example_id}, seed {edit.seed}, is there twice")
        else:
            edits[edit.seed, edit.example_id] = edit
    return edits


def bring(reader: RunFolder, edits: Iterable[Edit], outputs: Path) -> None:
    """The outputs of a bundle of digests, from the run folders, or the one, in which they were got elsewhere."""
    for edit in edits:
        for place in (outputs / reader.path.name, outputs):
            source, to = place / edit.output_image, reader.path / edit.output_image
            if source.is_file() and not to.exists():
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, to)


def check_outputs(reader: RunFolder, edits: dict[tuple[int, str], Edit], found: Findings) -> set[tuple[int, str]]:
    """(seed, example id) of the outputs whose pixels are those of edits.jsonl."""
    good, absent = set(), []
    for key, edit in edits.items():
        path = reader.path / edit.output_image
        if not path.is_file():
            absent.append(edit.output_image)
            continue
        try:
            same = pixel_hash(load(path)) == edit.image_sha256
        except ImageError as error:
            found.wrong.append(f"{edit.output_image}: {str(error).removeprefix(f'{path}: ')}")
            continue
        if same:
            good.add(key)
        else:
            found.wrong.append(f"{edit.output_image}: its pixels are not those of edits.jsonl")
    if good:
        found.checked.append(f"{len(good)} outputs by their pixels")
    if absent:
        found.wrong.append(f"{len(absent)} outputs of edits.jsonl are missing, first: {absent[0]}")
    return good


def claims_of(reader: RunFolder, found: Findings) -> dict[tuple[int, str, str, str], Score]:
    """The scores that are handed in, by (seed, example id, metric, protocol). Raises ValueError for a damaged file."""
    claims: dict[tuple[int, str, str, str], Score] = {}
    for score in records(reader.path / "scores.jsonl", Score):
        key = score.seed, score.example_id, score.metric, score.protocol
        if key in claims:
            found.wrong.append(f"scores.jsonl: {score.metric} of {score.example_id}, seed {score.seed}, is there twice")
        claims[key] = score
    return claims
