"""Which engine edits: this process, or Ray actors; and with how many of what. Nothing is imported or started here."""

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench.records import Example
from bench.registry import Model
from bench.runs.runner import Edited, Outcome, Prepare, Slice, WorkerDied, edit_slice, load
from bench.settings import EditSettings, ModelSettings
from mgie.io.devices import sees_gpu
from mgie.io.files import write_atomic

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Workers:
    """What --engine, --workers, --gpus-per-worker and --score-workers ask for."""

    engine: str = "local"
    count: int = 1
    gpus_each: float = 0.0
    threads: int = 1  # of each
    out: Path | None = None  # run folders lie below it
    scoring: int | None = None  # processes; None: as many as there are cores, where the work is worth their start

    def flags(self) -> tuple[str, ...]:
        """The same as arguments of bench.run."""
        if self.engine == "local":
            return () if self.scoring is None else ("--score-workers", str(self.scoring))
        return ("--engine", self.engine, "--workers", str(self.count), "--gpus-per-worker", f"{self.gpus_each:g}")


def add_engine_flags(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="who edits: this process (default), or Ray actors, on the cluster RAY_ADDRESS names or on this machine",
    )
    group.add_argument("--workers", type=int, help="--engine ray: how many actors (default 1)")
    group.add_argument(
        "--gpus-per-worker", type=float,
        help="--engine ray: GPUs of each actor, may be a share (default: 1 where torch sees a GPU here, else 0)",
    )  # fmt: skip
    group.add_argument(
        "--score-workers", type=int,
        help="processes that score, each with one thread; no number depends on it (default: the cores that this "
        "process may use, where there is enough to score; fewer where memory would not hold them)",
    )  # fmt: skip


def workers_of(args: argparse.Namespace, device: str) -> Workers:
    """Raises ValueError for flags that mean nothing together."""
    given = {"--workers": args.workers, "--gpus-per-worker": args.gpus_per_worker}
    scoring = args.score_workers
    if scoring is not None and scoring < 1:
        raise ValueError(f"--score-workers {scoring}: it must be at least 1")
    if scoring is not None and args.engine != "local":
        raise ValueError(f"--score-workers {scoring} with --engine {args.engine}: its --workers score as well as edit")
    if args.engine == "local":
        for flag, value in given.items():
            if value is not None:
                raise ValueError(f"{flag} {value:g} needs --engine ray; the local engine is this one process")
        return Workers(scoring=scoring)
    count, gpus = 1 if args.workers is None else args.workers, args.gpus_per_worker
    if count < 1:
        raise ValueError(f"--workers {count}: it must be at least 1")
    if gpus is None:
        gpus = float((device == "auto" and sees_gpu()) or device.startswith("cuda"))
    if not 0 <= gpus < float("inf"):
        raise ValueError(f"--gpus-per-worker {gpus}: it must be a number from 0 up")
    if gpus == 0 and device.startswith("cuda"):
        raise ValueError(f"--device {device} with --gpus-per-worker 0: the workers would see no GPU; give 1")
    if gpus > 0 and device == "cpu":
        raise ValueError(f"--device cpu with --gpus-per-worker {gpus:g}: the GPUs would stand idle; give 0")
    return Workers("ray", count, gpus)


def placed(spec: ModelSettings, workers: Workers) -> ModelSettings:
    """The model's settings as it will run: with Ray, auto is a GPU where the workers have one, else the CPU."""
    if workers.engine == "local":
        return spec
    on_gpu = workers.gpus_each > 0
    device = ("cuda" if on_gpu else "cpu") if spec.device == "auto" else spec.device
    return replace(spec, device=device, elsewhere=on_gpu)


DEATHS = 3  # of workers at one slice, until the run gives up
PATIENCE = 60.0  # seconds without any worker, until a notice says what the cluster has
SESSIONS = ".ray"  # below --out: process id -> its Ray's session folder
STORE = 200 * 2**20  # bytes of shared memory; results pass through it


class Task(NamedTuple):
    """One slice as it travels."""

    examples: list[Example]
    seed: int
    settings: EditSettings
    outputs: dict[str, bytes]  # example id -> its input image, where that is an output image of this run
    of: "Serving"


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


@contextmanager
def pool(model: Model | None, settings: EditSettings, workers: Workers, device: str) -> Iterator["Pool"]:
    """The workers, for as long as the block runs. device: what the model was asked to run on. Raises ValueError."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:
        import ray
    except ImportError:
        raise ValueError("--engine ray needs the package ray: pip install 'mgie-bench[ray]'") from None
    address = os.environ.get("RAY_ADDRESS")
    shown = {"log_to_driver": False, "configure_logging": False}
    session, record = None, workers.out and workers.out / SESSIONS / str(os.getpid())
    if record:
        clear_sessions(record.parent)
    if address:
        # not: whatever cluster was started last on this machine, which ray.init() alone would join
        ray.init(address=address, **shown)
    else:
        session = ray.init(
            address="local", num_cpus=workers.count * workers.threads, include_dashboard=False,
            _node_ip_address="127.0.0.1", object_store_memory=STORE, **shown,
        ).address_info["session_dir"]  # fmt: skip
        if record:  # the next start removes it should this one be killed
            record.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(record, session)
    try:
        has, needs = ray.cluster_resources().get("GPU", 0), workers.count * workers.gpus_each
        if not address and has < needs:
            raise ValueError(
                f"--workers {workers.count} x --gpus-per-worker {workers.gpus_each:g} needs {needs:g} GPUs, Ray "
                f"sees {has:g} here; give fewer workers, or RAY_ADDRESS for a cluster that has them"
            )
        made = Pool(model, settings, workers, device)
        yield made
        made.close()
    finally:
        ray.shutdown()
        if session:  # hundreds of log files in the system's temporary folder
            shutil.rmtree(session, ignore_errors=True)
            if record:
                record.unlink(missing_ok=True)


def clear_sessions(folder: Path) -> None:
    """What Ray left in the system's temporary folder for commands that were killed."""
    for record in folder.glob("[0-9]*") if folder.is_dir() else ():
        left = Path(record.read_text(encoding="utf-8"))
        if not Path(f"/proc/{record.name}").exists() and left.name.startswith("session_"):
            shutil.rmtree(left, ignore_errors=True)
            record.unlink(missing_ok=True)


def next_of(waiting: list[Slice], able: Callable[[Slice], bool], last: str | None, taken: set[str]) -> Slice | None:
    """A worker's next slice: of the batch that it had last, whose texts it knows; else of one that no other works at;
    else the first. A batch goes by its first example's id."""
    found, of_found = None, ""
    for part in waiting:
        batch = part.examples[0].id
        if (batch == last or found is None or (of_found in taken and batch not in taken)) and able(part):
            found, of_found = part, batch
            if batch == last:
                break
    return found


class Pool:
    def __init__(self, model: Model | None, settings: EditSettings, workers: Workers, device: str) -> None:
        import ray

        self.ray, self.workers, self.settings, self.wanted = ray, workers, settings, device
        self.of = Serving()
        self.kind = ray.remote(
            num_cpus=workers.threads, num_gpus=workers.gpus_each, max_restarts=0, max_task_retries=0,
            runtime_env={"env_vars": {"OMP_NUM_THREADS": str(workers.threads)}},  # the local engine's; torch reads it
        )(Worker)  # fmt: skip
        self.model = ray.put(model)
        self.starting: dict = {}  # ref of its first answer -> worker
        self.idle: list = []
        self.at_work: dict = {}  # ref -> (worker, Slice, its failures so far)
        self.had: dict[Any, str] = {}  # worker -> the batch that it edited last
        self.stillborn = 0  # workers that died before they were up
        for _ in range(workers.count):
            self.start_one()

    def serve(self, settings: EditSettings, of: Serving) -> None:
        """The run whose slices come next; the workers keep their model."""
        self.settings, self.of = settings, of

    def start_one(self) -> None:
        worker = self.kind.remote(self.model)
        self.starting[worker.up.remote(self.wanted)] = worker

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        for worker in (*self.starting.values(), *self.idle, *(w for w, _, _ in self.at_work.values())):
            self.ray.kill(worker)

    def device(self) -> str:
        """Of the first worker that is up."""
        while not self.idle:
            self.wait()
        return self.idle_device

    def outcomes(self, todo: list[Slice], prepare: Prepare) -> Iterator[Outcome]:
        """In the order they are finished. A bench.runs.runner.Engine. Raises WorkerDied, and what a model raises."""
        waiting = list(todo)
        deaths: dict[tuple[int, str], int] = {}
        while waiting or self.at_work:
            self.hand_out(waiting, prepare)
            for ref in self.wait():
                worker, part, failed = self.at_work.pop(ref)
                try:
                    edited = self.answer(ref)
                except self.ray.exceptions.RayActorError as error:
                    self.had.pop(worker, None)
                    place = part.seed, part.examples[0].id
                    deaths[place] = deaths.get(place, 0) + 1
                    self.replace_dead(deaths[place], f"slice {part.examples[0].id} .. {part.examples[-1].id}", error)
                    waiting.insert(0, part)
                    continue
                self.idle.append(worker)
                yield Outcome(part, edited._replace(failures=failed + edited.failures))

    def hand_out(self, waiting: list[Slice], prepare: Prepare) -> None:
        for worker in list(self.idle):
            part = next_of(waiting, partial(self.can_begin, waiting), self.had.get(worker), set(self.had.values()))
            if part is None:
                return
            waiting.remove(part)
            ready, failed = prepare(part)
            outputs = {e.id: e.input_image.read_bytes() for e in ready if e.previous}
            self.idle.remove(worker)
            self.had[worker] = part.examples[0].id
            ref = worker.edit.remote(Task(ready, part.seed, self.settings, outputs, self.of))
            self.at_work[ref] = worker, part, failed

    def can_begin(self, waiting: list[Slice], part: Slice) -> bool:
        """A later turn waits until the slice with the turn before it is written."""
        unsettled = {(s.seed, e.id) for s in self.slices_before(part, waiting) for e in s.examples}
        return not any((part.seed, e.previous) in unsettled for e in part.examples if e.previous)

    def slices_before(self, part: Slice, waiting: list[Slice]) -> list[Slice]:
        """Those that may hold the turn before one of part's. Few sets have turns; for the others this is not asked."""
        if not any(e.previous for e in part.examples):
            return []
        return [s for s in waiting if s is not part] + [s for _, s, _ in self.at_work.values()]

    def wait(self) -> list:
        """Waits until something happens; workers that are up become idle. Returns finished slices."""
        refs = [*self.starting, *self.at_work]
        done, _ = self.ray.wait(refs, num_returns=1, timeout=PATIENCE)
        if not done and not self.idle and not self.at_work:
            has = {k: v for k, v in self.ray.cluster_resources().items() if k in ("CPU", "GPU")}
            each = f"{self.workers.threads} CPUs and {self.workers.gpus_each:g} GPUs"
            asked = f"{self.workers.count} workers, each with {each}"
            print(f"notice: no worker has started yet; the cluster has {has}; asked: {asked}", file=sys.stderr)
        for ref in [r for r in done if r in self.starting]:
            worker = self.starting.pop(ref)
            try:
                self.idle_device = self.answer(ref)
                self.idle.append(worker)
            except self.ray.exceptions.RayActorError as error:
                self.stillborn += 1
                self.replace_dead(self.stillborn, "its start", error)
        return [r for r in done if r in self.at_work]

    def answer(self, ref: object) -> Any:
        """What a worker returned; what its model raised is raised here, as the local engine would."""
        try:
            return self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def replace_dead(self, deaths: int, where: str, error: Exception) -> None:
        why = re.sub(r"\x1b\[\d+m", "", str(error)).strip().splitlines()[-1][:300]  # without Ray's colours
        if deaths >= DEATHS:
            raise WorkerDied(
                f"{deaths} workers died at {where} ({why}); what was done is kept. Out of memory? Give fewer "
                "--workers or a smaller --batch-size"
            )
        print(f"warning: a worker died at {where}; another takes its place", file=sys.stderr)
        self.start_one()
