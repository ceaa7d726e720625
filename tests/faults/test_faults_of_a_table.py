"""A table of several cells, killed with signal 9 at a random moment: the same command again ends in the same bytes."""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from bench.tables import main
from tests.bench.runs.test_stopping import bytes_of

TIMES = int(os.environ.get("KILLS", "5"))  # KILLS=20 make test-faults: a quarter of an hour more
SEED = 1  # of the first kill's moment, the next one's is one more
LIMIT = 300.0  # seconds that a table may take


def table(data: Path, out: Path) -> list[str]:
    fixed = (
        "1 --suite mini --models identity,codec,inspix2pix --datasets ma5k,magicbrush --metrics l1 --limit 6 --seeds 1"
    )
    return [*fixed.split(), "--num-inference-steps", "2", "--batch-size", "2", "--data-root", str(data),
            "--out", str(out / "runs"), "--results", str(out / "results")]  # fmt: skip


def started(argv: list[str], said: Path) -> int:
    """The command in a fork with a process group of its own, workers included; what it says goes into a file."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1), os.fdopen(2, "w", 1)  # not pytest's
        os._exit(main(argv))
    return pid


def ended(pid: int) -> int:
    """Its exit code; of a process that was killed, minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def written(out: Path) -> int:
    """Bytes below a folder at this moment; files may come and go meanwhile."""
    total = 0
    for folder, _, names in os.walk(out):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def kill_at(argv: list[str], out: Path, size: int, group: bool) -> bool:
    """Killed once so many bytes lie below out: the command alone, or with its workers as a power cut would.

    False: it came to its end before.
    """
    pid, until = started(argv, out.with_suffix(".killed")), time.monotonic() + LIMIT
    while written(out) < size:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
        assert time.monotonic() < until, f"the table did not write {size} bytes in {LIMIT:.0f} s"
        time.sleep(0.001)
    (os.killpg if group else os.kill)(pid, signal.SIGKILL)
    return ended(pid) == -signal.SIGKILL


@pytest.mark.slow  # minutes: two tables a kill
def test_a_table_killed_at_random_ends_in_the_same_bytes_every_time(tmp_path):
    from mgie.mini.datasets.draw import draw

    draw(tmp_path / "data")
    whole = tmp_path / "whole"
    assert ended(started(table(tmp_path / "data", whole), tmp_path / "said")) == 0, (tmp_path / "said").read_text()
    expected, size = bytes_of(whole / "runs"), written(whole / "runs")
    assert len([name for name in expected if name.endswith("done.json")]) == 8  # the goal image is run beside the rows
    wrong, kills = [], 0
    for seed in range(SEED, SEED + TIMES):
        out, dice = tmp_path / f"seed{seed}", random.Random(seed)
        at, group = dice.randrange(1, size), seed % 2 == 0
        argv = table(tmp_path / "data", out)
        kills += kill_at(argv, out, at, group)
        code = ended(started(argv, out.with_suffix(".again")))
        same = code == 0 and bytes_of(out / "runs") == expected
        wrong += [] if same else [seed]
        print(f"seed {seed}: killed {'with its workers' if group else 'alone'} at {at} of {size} bytes: "
              f"{'the same bytes' if same else f'OTHER BYTES, exit code {code}'}", flush=True)  # fmt: skip
        if same:
            shutil.rmtree(out)
    print(f"{TIMES - len(wrong)} of {TIMES}")
    assert not wrong, f"seeds {wrong} below {tmp_path}"
    assert kills >= TIMES - 1  # one may have been faster
