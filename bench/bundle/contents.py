"""What a bundle is: a zip of finished run folders that somebody else can verify, and a list of every file in it.

    bundle.json                  what it holds, each file's size and SHA-256
    <run>/run.json ...           settings, scores with their protocols, where it ran (sessions.jsonl), done.json
    <run>/images/<seed>/*.png    the outputs; left out of a bundle of digests, whose edits.jsonl has their SHA-256

Nothing of whoever made it is in there: paths are cut to their last part (bench.bundle.private), log.txt stays at home.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.bundle.private import Private
from bench.fetch.unpack import write_zip
from bench.records import to_line
from bench.runs.description import name_of
from bench.runs.folder import RunFolder, text_of, whole_lines
from mgie.io.files import replacing

FORMAT = 1
LIST = "bundle.json"
OBJECTS = ("run.json", "scored_from.json", "done.json")
LINES = ("sessions.jsonl", "edits.jsonl", "scores.jsonl", "failures.jsonl", "halvings.jsonl")
NEEDED = ("run.json", "edits.jsonl", "scores.jsonl", "done.json")  # without which there is no run
CONTENT = ("expressive_instruction",)  # what a model wrote: it is no word of ours, and stays as it is


def write(folders: Sequence[Path], to: Path, outputs: bool) -> dict:
    """The bundle of these run folders; returns its bundle.json. The file is whole or not there.

    Raises ValueError for a folder that holds no finished run, lacks outputs, or comes twice.
    """
    named: dict[str, RunFolder] = {}
    for folder in folders:
        reader = finished(folder)
        private = Private.of(reader)
        name = name_of(private.cleaned(reader.run()))
        if name in named:
            raise ValueError(f"{folder}: {name} is in this bundle already")
        named[name] = reader
    said: dict = {"bundle": FORMAT, "outputs": outputs, "runs": list(named), "files": {}}

    def files() -> Iterator[tuple[str, bytes]]:
        for name, reader in named.items():
            for file, data in files_of(reader, outputs):
                said["files"][f"{name}/{file}"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                yield f"{name}/{file}", data
        yield LIST, (json.dumps(said, indent=1, ensure_ascii=False) + "\n").encode()  # when the others are known

    with replacing(to) as temporary:
        write_zip(temporary, files())
    return said


def finished(folder: Path) -> RunFolder:
    if not (folder / "run.json").is_file():
        raise ValueError(f"{folder}: no run folder, for it has no run.json; bench.run prints the folder it wrote")
    reader = RunFolder(folder)
    if reader.done() is None:
        raise ValueError(f"{folder}: the run is not finished; give its command again")
    return reader


def files_of(reader: RunFolder, outputs: bool) -> Iterator[tuple[str, bytes]]:
    """Every file of a run that goes into a bundle, with nothing private in it."""
    private = Private.of(reader)
    for name in OBJECTS:
        path = reader.path / name
        if path.is_file():
            yield name, text_of(private.cleaned(json.loads(path.read_bytes()))).encode()
    for name in LINES:
        lines = whole_lines(reader.path / name)
        if lines or (reader.path / name).is_file():
            yield name, "".join(to_line(private.cleaned(line, CONTENT)) for line in lines).encode()
    edits = [line for line in whole_lines(reader.path / "edits.jsonl")] if outputs else []
    lost = [line["output_image"] for line in edits if not (reader.path / line["output_image"]).is_file()]
    if lost:
        raise ValueError(f"{reader.path}: {len(lost)} output images are gone, first: {lost[0]}; give the run's command "
                         "again, or --digests-only")  # fmt: skip
    for line in sorted(edits, key=lambda line: line["output_image"]):
        yield line["output_image"], (reader.path / line["output_image"]).read_bytes()


def is_name(name: object) -> bool:
    """Whether it may be the name of a run folder, and of nothing else."""
    return isinstance(name, str) and "--" in name and re.fullmatch(r"\w[\w.-]*", name) is not None


def read_list(data: bytes, where: str) -> dict:
    """bundle.json, checked for its form. Raises ValueError."""
    try:
        said = json.load(io.BytesIO(data))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: {LIST} is not JSON ({error})") from None
    fine = (
        isinstance(said, dict) and isinstance(said.get("runs"), list) and isinstance(said.get("files"), dict)
        and isinstance(said.get("outputs"), bool) and all(is_name(name) for name in said["runs"])
        and all(isinstance(f, dict) and isinstance(f.get("bytes"), int) and isinstance(f.get("sha256"), str)
                for f in said["files"].values())
    )  # fmt: skip
    if not fine or said.get("bundle") != FORMAT or not said["runs"]:
        raise ValueError(
            f"{where}: {LIST} is not that of a bundle (format {FORMAT}); python -m bench.bundle writes one"
        )
    for name in said["files"]:
        run, _, file = name.partition("/")
        if run not in said["runs"] or ".." in file.split("/"):
            raise ValueError(f"{where}: {LIST} names {name!r:.120}, which is no file of its runs; refused")
    return said
