"""The stages of the rehearsal, each with the figures that it leaves. What a stage made before is used again."""

import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.registry import METRICS
from bench.rehearse.measure import Ended, Failed, Line, python, run
from mgie.folder import INDEX, MINI
from mgie.io.files import read_json, whole_folder, write_json

EYES = ("tower", "projector", "image_processor")
Figure = dict[str, Any]  # one line of rehearsal.jsonl
Record = Callable[..., None]  # takes a figure's values; written at once


@dataclass(frozen=True)
class Asked:
    """What is rehearsed, and where."""

    out: Path
    preset: str  # 7b, or mini for --small
    device: str
    dtype: str  # of MGIE and LGIE, as the weights are stored
    tokens: int  # of an expressive instruction
    most: int  # images a batch
    patience: float  # seconds
    ends: float | None = None  # by time.monotonic: no stage goes on for longer

    @property
    def small(self) -> bool:
        return self.preset == "mini"

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def left(self) -> float | None:
        """Seconds."""
        return None if self.ends is None else max(1.0, self.ends - time.monotonic())

    @property
    def weights(self) -> Path:
        return self.out / "weights"

    @property
    def log(self) -> Path:
        return self.out / "log.txt"


class Stage(NamedTuple):
    name: str
    what: str
    make: Callable[[Asked, Record], None]


def command(asked: Asked, arguments: list[str], line: Line | None = None) -> Ended:
    """`python -m ARGUMENTS`. Raises Failed."""
    return python(arguments, asked.log, line, seconds=asked.left)


def write(asked: Asked, record: Record) -> None:
    if (asked.weights / "mgie-e2e" / INDEX).is_file():  # they were converted, and removed behind it
        return
    ended = command(asked, ["bench.rehearse.official", "--preset", asked.preset, "--out", str(asked.out)])
    record(**shown(ended), disk=disk(asked.out / "official") + disk(asked.weights))


def convert(asked: Asked, record: Record) -> None:
    """The official files are removed behind it: at true size they are 16 GB that nothing reads again."""
    official, out = asked.out / "official", asked.weights / "mgie-e2e"
    if not (out / INDEX).is_file():
        files = {"--llava": "llava", "--mllm": "mllm.pt", "--unet": "unet.pt"}
        given = [part for flag, name in files.items() for part in (flag, str(official / name))]
        given += ["--instruct-pix2pix", str(asked.weights / "inspix2pix"), "--out", str(out)]
        ended = command(asked, ["mgie.convert", *given])
        record(**shown(ended), disk=disk(out))
    link_lgie(out, asked.weights / "lgie-e2e")
    shutil.rmtree(official, ignore_errors=True)


def link_lgie(mgie: Path, lgie: Path) -> None:
    """LGIE is MGIE without eyes; none is released, so of the same weights."""
    if lgie.is_dir():
        return
    with whole_folder(lgie) as folder:
        for path in sorted(mgie.rglob("*")):
            name = path.relative_to(mgie)
            if name.parts[0] not in EYES and path.is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(path, folder / name)
        index = read_json(mgie / INDEX) | {"eyes": False}
        (folder / INDEX).unlink()
        write_json(folder / INDEX, index)


def networks(asked: Asked, record: Record) -> None:
    if not asked.small:  # the miniature has its own
        ended = command(asked, ["bench.rehearse.networks", "--out", str(asked.out / "networks")])
        record(**shown(ended), disk=disk(asked.out / "networks"))


def edits(model: str) -> Callable[[Asked, Record], None]:
    def make(asked: Asked, record: Record) -> None:
        dtype = "float32" if model == "inspix2pix" and not asked.on_gpu else asked.dtype
        given = ["--model", model, "--weights", str(asked.weights), "--preset", asked.preset, "--device", asked.device]
        given += ["--dtype", dtype, "--tokens", str(asked.tokens), "--patience", str(asked.patience)]
        given += ["--most", str(asked.most)]
        command(asked, ["bench.rehearse.edits", *given], lambda line: record(**json.loads(line)))

    return make


def table(asked: Asked, record: Record) -> None:
    """One row over the four datasets with all metrics. It is killed after the first edit and continued."""
    from mgie.mini.datasets.draw import draw
    from mgie.mini.datasets.writer import Parameters

    data = draw(asked.out / "data", Parameters(train=5, val=5, test=4, ipr2pr=20, draw="rehearsal"))
    model = "mgie" if asked.on_gpu or asked.small else "inspix2pix"
    given = ["bench.tables", "1", "--suite", "paper", "--data-root", str(data), "--weights", str(asked.weights)]
    given += ["--models", model, "--metrics", ",".join(METRICS), "--limit", "1", "--seeds", "1", "--batch-size", "1"]
    given += ["--device", asked.device, "--out", str(asked.out / "runs"), "--results", str(asked.out / "results")]
    given += ["--dtype", asked.dtype] if asked.on_gpu else ["--num-inference-steps", "1"]
    side = 64 if asked.small else 512 if asked.on_gpu else 256
    given += ["--size", f"square:{side}"]
    given += networks_of(asked)
    runs = asked.out / "runs"
    if not edited(runs):  # else a rehearsal that was stopped here goes on
        first = run([sys.executable, "-m", *given], asked.log, until=lambda: bool(edited(runs)), seconds=asked.left)
        if first.code != 0 and not first.killed:
            raise Failed(f"bench.tables ended with {first.code}; all that it said: {asked.log}")
        record(**shown(first), kind="killed", model=model, edits=len(edited(runs)), killed=first.killed)
    before = {path: path.stat().st_mtime_ns for path in edited(runs)}
    ended = command(asked, given)
    kept = sum(path.stat().st_mtime_ns == at for path, at in before.items())
    images = edited(runs)
    size = sum(path.stat().st_size for path in images) // max(1, len(images))
    record(
        **shown(ended), kind="table", model=model, side=side, kept=kept, before=len(before), edits=len(images),
        image=size, row=row_of(asked.out / "results"),
    )  # fmt: skip


def edited(runs: Path) -> list[Path]:
    """The output images on record."""
    found = []
    for path in runs.rglob("edits.jsonl"):
        lines = path.read_bytes().rpartition(b"\n")[0].splitlines()
        found += [path.parent / json.loads(line)["output_image"] for line in lines]
    return [path for path in found if path.is_file()]


def row_of(results: Path) -> dict[str, str]:
    """dataset and metric -> value, of the table that was made."""
    found: dict[str, str] = {}
    for path in sorted(results.rglob("table1*.csv")):
        if not path.stem.endswith("-tests"):
            with open(path, newline="", encoding="utf-8") as file:
                rows = [r for r in csv.DictReader(file) if r["metric"] != "seconds"]
            found |= {f"{r['dataset']} {r['metric']}": r["mean"] or r["reason"] for r in rows}
    return found


def networks_of(asked: Asked) -> list[str]:
    if asked.small:
        trunk = MINI / "mini-lpips" / "squeeze.safetensors"
        own = ["--clip", str(MINI / "mini-clip"), "--dino", str(MINI / "mini-dino")]
        return [*own, "--lpips", "squeeze", "--lpips-weights", str(trunk), "--lpips-heads", "none"]
    folder = asked.out / "networks"
    own = ["--clip", str(folder / "clip"), "--dino", str(folder / "dino.safetensors")]
    return [*own, "--lpips-weights", str(folder / "alex.safetensors")]


def timing(asked: Asked, record: Record) -> None:
    """Table 4; kept below the project's own runs/ and results/, where make table4 finds it."""
    ended = command(asked, ["bench.timing", "--device", asked.device])
    record(**shown(ended))


def inference(asked: Asked, record: Record) -> None:
    given = ["--preset", "7b", "--random-weights", "--device", asked.device, "--dtype", asked.dtype]
    ended = command(asked, ["bench.speed.inference", *given, "--tolerance", "255", "--runs", "3"])
    record(**shown(ended))


def metric_engine(asked: Asked, record: Record) -> None:
    """What scoring a pair of images takes: nothing kept from another model."""
    from bench.speed.metric_engine import csv_of

    if asked.small:  # its networks are no measure
        return
    pairs, runs = ("24", "3") if asked.on_gpu else ("4", "1")
    ended = command(asked, ["bench.speed.metric_engine", "--device", asked.device, "--pairs", pairs, "--runs", runs])
    with open(csv_of(asked.device), newline="", encoding="utf-8") as file:
        row = next(csv.DictReader(file))
    record(**shown(ended), kind="score", pair=float(row["cold_s"]))


def shown(ended: Ended) -> Figure:
    return {"seconds": ended.seconds, "peak": ended.peak}


def disk(folder: Path) -> int:
    """Bytes; what is linked twice counts once."""
    stats = {path.stat().st_ino: path.stat() for path in folder.rglob("*") if path.is_file()}
    return sum(stat.st_size for stat in stats.values())


STAGES = (
    Stage("write", "random weights in the authors' layout", write),
    Stage("convert", "mgie.convert", convert),
    Stage("networks", "the metrics' networks, random", networks),
    Stage("metrics", "our scoring against MagicBrush's way", metric_engine),
    Stage("mgie", "MGIE: loaded, edits", edits("mgie")),
    Stage("inspix2pix", "InsPix2Pix: loaded, edits", edits("inspix2pix")),
    Stage("table", "a row of Table 1, killed and continued", table),
    Stage("lgie", "LGIE: loaded, edits", edits("lgie")),
)
ON_GPU = (
    Stage("table4", "Table 4: python -m bench.timing", timing),
    Stage("inference", "our pipeline against the demo's way", inference),
)
