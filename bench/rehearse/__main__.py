"""The whole reproduction in small on this machine, before days are spent: make rehearse.

    python -m bench.rehearse                      true sizes with random weights: 38 GB of disk
    python -m bench.rehearse --small              the same ways at tiny size, in a minute or two
    python -m bench.rehearse --stages write,convert,mgie

Random weights in the authors' layout are converted, loaded and edited with: each model once, then at the largest batch
that fits. All metrics score a row of Table 1, which is killed on the way and continued. On a GPU Table 4 and the
benchmarks follow. Every stage is a process of its own; its seconds and peak memory are written as soon as they are
known, to OUT/rehearsal.jsonl and OUT/rehearsal.md. Given again, the command goes on where it ended.
Exit codes: 0 done, 1 stopped or a stage failed (the others are made), 2 wrong use.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.rehearse.measure import Failed
from bench.rehearse.stages import ON_GPU, STAGES, Asked, Stage
from bench.rehearse.told import lines
from mgie.io.command import command
from mgie.io.devices import device_name, device_of
from mgie.io.files import locked, write_atomic
from mgie.io.memory import free_bytes

FIGURES, PAGE = "rehearsal.jsonl", "rehearsal.md"
TRUE, SMALL = 38 * 10**9, 10**9  # bytes of disk: official files, ours, networks, images
OF_ANY_EDIT = ("write", "convert", "networks", "metrics")  # stages whose figures no setting of an edit changes
NAMES = [stage.name for stage in (*STAGES, *ON_GPU)]


def parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    p = argparse.ArgumentParser("bench.rehearse", description=__doc__, formatter_class=raw)
    p.add_argument("--small", action="store_true", help="the miniature's sizes: a minute or two, 1 GB of disk")
    p.add_argument("--stages", help=f"comma-separated, of {', '.join(NAMES)}; default: all that this device can")
    p.add_argument("--out", type=Path, help="all that is made goes below it (default: runs/rehearsal[-small])")
    p.add_argument("--device", default="auto", help="cuda, cpu; default: cuda where there is one")
    p.add_argument(
        "--dtype", choices=("float16", "bfloat16"), default="float16", help="of MGIE and LGIE (default: float16)"
    )
    p.add_argument("--tokens", type=int, help="how many tokens an expressive instruction has; default: 32, on a CPU 2")
    p.add_argument("--most", type=int, help="the largest batch that is tried; default: 64, on a CPU 8")
    p.add_argument(
        "--patience",
        type=float,
        default=120,
        help="no batch is tried that is expected to take longer than so many seconds (default: 120)",
    )
    p.add_argument(
        "--minutes", type=float, help="no stage goes on after so many minutes; default: 12 on a GPU, else no limit"
    )
    p.add_argument("--again", action="store_true", help="forget what was measured, and measure it anew")
    p.add_argument("--remove", action="store_true", help="remove the weights when all is made")
    return p


class Figures:
    """What is known so far, a line of JSON each."""

    def __init__(self, path: Path, key: dict[str, Any], edit_key: dict[str, Any] | None = None) -> None:
        """key: of what was measured; figures of another machine or other settings are left alone. edit_key: what more
        the figures of edits depend on, and those of a conversion do not."""
        self.path, self.key, self.edit_key = path, key, edit_key or {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # cut by a kill
            write_atomic(path, whole)
        self.known = [one for one in map(json.loads, whole.splitlines()) if one["key"] == self.key_of(one["stage"])]

    def key_of(self, stage: str) -> dict[str, Any]:
        return self.key if stage in OF_ANY_EDIT else self.key | self.edit_key

    def done(self, stage: str) -> bool:
        return any(one["stage"] == stage and one.get("kind") == "done" for one in self.known)

    def add(self, stage: str, **values: Any) -> None:
        one = {"stage": stage, **values, "key": self.key_of(stage)}
        self.known.append(one)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(one) + "\n")

    def begin(self, stage: str) -> None:
        """What a stage that was stopped has left is measured anew."""
        self.known = [one for one in self.known if one["stage"] != stage]

    @property
    def shown(self) -> list[dict[str, Any]]:
        return [one for one in self.known if one.get("kind") != "done"]


def rehearse(args: argparse.Namespace) -> int:
    device = device_of(args.device, "--device")
    on_gpu = device.startswith("cuda")
    out = args.out or Path("runs") / ("rehearsal-small" if args.small else "rehearsal")
    minutes = 12.0 if args.minutes is None and on_gpu else args.minutes
    asked = Asked(
        out, "mini" if args.small else "7b", device, args.dtype, args.tokens or (32 if on_gpu or args.small else 2),
        args.most or (64 if on_gpu else 8), args.patience, time.monotonic() + 60 * minutes if minutes else None,
    )  # fmt: skip
    todo = chosen(args.stages, asked)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / FIGURES):
        if args.again:
            (out / FIGURES).unlink(missing_ok=True)
            for name in ("runs", "results", "official", "weights"):
                shutil.rmtree(out / name, ignore_errors=True)
        refuse_full_disk(asked)
        edit_key = {name: getattr(asked, name) for name in ("dtype", "tokens", "most", "patience")}
        figures = Figures(out / FIGURES, {"preset": asked.preset, "device": device_name(device)}, edit_key)
        failed = [stage.name for stage in todo if not made(stage, asked, figures)]
        tell(asked, figures)
    if args.remove and not failed:
        shutil.rmtree(asked.weights, ignore_errors=True)
    print(f"written: {out / FIGURES}, {out / PAGE}")
    if failed:
        print(f"error: not made: {', '.join(failed)}; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def chosen(given: str | None, asked: Asked) -> list[Stage]:
    able = [*STAGES, *(ON_GPU if asked.on_gpu and not asked.small else ())]
    names = [name.strip() for name in given.split(",")] if given else [stage.name for stage in able]
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"--stages: unknown '{unknown[0]}'; known: {', '.join(NAMES)}")
    return [stage for stage in able if stage.name in names]


def refuse_full_disk(asked: Asked) -> None:
    needed = SMALL if asked.small else TRUE
    if (asked.weights / "mgie-e2e").is_dir():
        needed //= 10  # the large files are there
    free = shutil.disk_usage(asked.out).free
    if free < needed:
        raise ValueError(
            f"{asked.out} has {free / 1e9:.0f} GB free, the rehearsal needs {needed / 1e9:.0f} GB; name another --out, "
            "or rehearse with --small"
        )


def made(stage: Stage, asked: Asked, figures: Figures) -> bool:
    """Whether the stage is made, now or before."""
    if figures.done(stage.name):
        return True
    if asked.ends is not None and time.monotonic() > asked.ends:
        print(f"{stage.name}: no time is left (--minutes)", flush=True)
        return False
    figures.begin(stage.name)
    print(f"{stage.name}: {stage.what} ...", flush=True)
    try:
        stage.make(asked, lambda **values: figures.add(stage.name, **values))
        figures.add(stage.name, kind="done")
    except Failed as error:
        print(f"{stage.name}: {error}", file=sys.stderr, flush=True)
        figures.add(stage.name, why=str(error))
        return False
    finally:
        tell(asked, figures, aloud=False)
    return True


def tell(asked: Asked, figures: Figures, aloud: bool = True) -> None:
    free = {"main memory": free_bytes("cpu")}
    if asked.on_gpu:
        free = {"the GPU": free_bytes(asked.device)}
    machine = f"Device: {device_name(asked.device)}; MGIE and LGIE as {asked.dtype}, {asked.tokens} tokens a text."
    text = "\n".join(lines(asked, figures.shown, free, machine)) + "\n"
    write_atomic(asked.out / PAGE, text)
    if aloud:
        print(text)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return command(lambda: rehearse(args))


if __name__ == "__main__":
    sys.exit(main())
