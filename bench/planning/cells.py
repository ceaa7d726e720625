"""The plan of one cell: how much of it is left to do, what it lacks, where it goes, and what it takes."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.grid.cells import Cell, Options, argv_of, is_brought, own_run
from bench.planning.device import Device
from bench.planning.expected import expected
from bench.planning.look import Look, edits_to_make, look, stem
from bench.planning.memory import Memory, largest, memory_of
from bench.planning.missing import COMMAND, NO_GPU, Missing, made_first, missing
from bench.planning.seconds import Measured, measured
from bench.runs.plan import Plan, check_files
from bench.runs.runner import TooManyFailures
from bench.settings import EditSettings
from mgie.io.files import NotYet, looking

# About, in bytes:
PNG = 1.6  # a pixel of a photograph's output image
LINE = 700  # an edit in edits.jsonl
SCORE = 450  # a score in scores.jsonl
UNKNOWN_ID = "<hash8>"  # of a run whose data or weights are not here


@dataclass(frozen=True, kw_only=True)
class CellPlan:
    label: str
    dataset: str
    model: str
    form: str
    setting: str
    examples: int | None  # None: nobody has counted them
    seeds: int
    edits: int | None  # that the run will make
    counted: bool  # False: the data is not here, and these are the numbers of what was released
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]  # what is made at first use, what will have no score
    size: str  # the rule
    batch: int
    folder: str  # where it will be written
    disk: int | None = None  # bytes
    memory: Memory | None = None
    measured: Measured | None = None
    command: tuple[str, ...] = ()  # the arguments of bench.run

    @property
    def seconds(self) -> float | None:
        if not self.edits:
            return None if self.edits is None else 0.0
        return self.edits * self.measured.seconds if self.measured else None

    def to_json(self) -> dict:
        data = asdict(self) | {"seconds": self.seconds, "time_by": self.measured.by if self.measured else None}
        del data["measured"]
        return data | {
            "missing": [m._asdict() for m in self.missing],
            "memory": self.memory and self.memory._asdict() | {"bytes": self.memory.bytes},
            "command": ["python", "-m", "bench.run", *self.command] if self.command else [],
        }


def cell_plan(cell: Cell, options: Options, label: str, device: Device, on_demand: bool = False) -> CellPlan:
    """on_demand: the command that is planned makes the weights that its suite can make. Raises ValueError."""
    if is_brought(cell, options):
        return of_own(cell, options, label)
    return run_plan(argv_of(cell, options), label, device, on_demand)


def run_plan(argv: Sequence[str], label: str, device: Device, on_demand: bool = False) -> CellPlan:
    """argv: of bench.run. Raises ValueError for wrong use."""
    found = look(argv, on_gpu=device.named)
    lacks, later = tuple(missing(found, on_demand)), tuple(notes(found, on_demand))
    with looking():
        return planned(found, argv, label, device, lacks, later)


def planned(
    found: Look, argv: Sequence[str], label: str, device: Device, lacks: tuple[Missing, ...], later: tuple[str, ...]
) -> CellPlan:
    asked, plan = found.asked, found.plan
    examples, out = found.examples, Path(asked.args.out) / asked.suite
    counted = examples is not None
    examples = examples if counted else expected(found)
    memory = memory_of(found, device.kind)
    if memory and found.unsaid and device.kind == "cpu":  # what computes nothing asks for no device
        lacks += (NO_GPU,)
    edits: int | None
    if isinstance(plan, Plan):
        edits, folder = edits_to_make(plan), plan.folder.path
    else:
        edits, folder = None if examples is None else examples * found.seeds, out / f"{stem(found)}--{UNKNOWN_ID}"
    return CellPlan(
        label=label, dataset=asked.spec.dataset, model=asked.called, form=asked.args.form or asked_form(found),
        setting=asked.spec.setting, examples=examples, seeds=found.seeds, edits=edits, counted=counted,
        missing=lacks, notes=later, size=str(asked.edit.size), batch=asked.edit.batch_size, folder=str(folder),
        disk=None if edits is None else disk_of(found, edits), memory=memory,
        measured=measured(found, device), command=tuple(argv),
    )  # fmt: skip


def asked_form(found: Look) -> str:
    name = stem(found).split("--")[1].rpartition("-")[2]
    return name if name in ("fz", "ft", "e2e") else "none"


def disk_of(found: Look, edits: int) -> int:
    """What the images and lines that are still to come take."""
    if not edits:
        return 0
    width, height = largest(found)
    return int(edits * (width * height * PNG + LINE + SCORE * len(found.asked.metrics)))


def notes(found: Look, on_demand: bool) -> list[str]:
    """What happens at first use, and what of the table will be empty."""
    lines = [str(found.data)] if isinstance(found.data, NotYet) else []
    if isinstance(found.model, Exception) and on_demand and (command := made_first(found)):
        lines.append(f"its weights are trained first, on demand: {command}")
    if isinstance(found.plan, Plan):
        lines += [found.plan.notice] if found.plan.notice else []
        with suppress(TooManyFailures):  # that is among what is missing
            lines += check_files(found.plan)
    return lines


def of_own(cell: Cell, options: Options, label: str) -> CellPlan:
    """Somebody's own output images: the run is finished, or only they can make it."""
    result = own_run(cell, options)
    command = COMMAND.search(result.help or result.reason)
    said = result.reason.partition(": python -m")[0]
    lack = () if result.folder else (Missing("images", cell.model, said, command[0] if command else ""),)
    edit = options.edit or EditSettings()
    where = result.folder or options.out / cell.suite / f"{cell.dataset}--{cell.model}--{cell.setting}--{UNKNOWN_ID}"
    return CellPlan(
        label=label, dataset=cell.dataset, model=cell.model, form=cell.form, setting=cell.setting, examples=None,
        seeds=1, edits=0, counted=True, missing=lack, notes=(), size=str(edit.size), batch=edit.batch_size,
        folder=str(where), disk=0,
    )  # fmt: skip
