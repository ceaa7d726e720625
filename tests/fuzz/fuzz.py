"""Damaged inputs by the thousand: python tests/fuzz/fuzz.py [--count N] [--seed S] [--only TARGET[:INPUT]]

Takes every format the project reads (targets.py), damages it (mutations.py) and watches what the code does with it
(limits.py). Prints count and seed; exit code 1 when an input did what none may do, with the command that repeats it.
"""

import argparse
import faulthandler
import logging
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHOWN = 20  # failures of a target


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="mutated inputs, over all targets (default 10000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one target, or one input of it: target:number")
    args = parser.parse_args(argv)
    quiet()
    from limits import Watch
    from targets import TARGETS, Drawn

    only, _, number = (args.only or "").partition(":")
    chosen = [t for t in TARGETS if only in ("", t.name)]
    if not chosen:
        parser.error(f"--only {only}: no such target; known: {', '.join(t.name for t in TARGETS)}")
    total, failures, done = sum(t.weight for t in chosen), [], 0
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        watch = Watch(Path(temporary))
        for target in chosen:
            inputs = range(-(-args.count * target.weight // total)) if not number else [int(number)]
            began, found = time.perf_counter(), []
            drawn = Drawn(target, Path(temporary))
            for i in inputs:
                said = one(drawn, f"{args.seed}/{target.name}/{i}", watch)
                found += [f"{target.name}:{i}: {said}"] if said else []
            print(f"{target.name:22}{len(inputs):6} inputs {time.perf_counter() - began:7.1f} s  {len(found)} failures",
                  flush=True)  # fmt: skip
            for line in found[:SHOWN]:
                print(f"  FAILED {line}\n    again: fuzz.py --seed {args.seed} --only {line.split(': ')[0]}")
            failures, done = failures + found, done + len(inputs)
    print(f"fuzz: {done} inputs in {len(chosen)} formats, seed {args.seed}, {time.perf_counter() - start:.0f} s: "
          f"{f'FAILED: {len(failures)} failures' if failures else 'no failure'}")  # fmt: skip
    return 1 if failures else 0


def one(drawn: object, seed: str, watch: object) -> str:
    """One input: damage, use, mend. '' or what went wrong."""
    from mutations import mutate

    dice = random.Random(seed)
    for path in dice.sample(drawn.files, k=min(len(drawn.files), dice.choice((1, 1, 1, 2)))):
        mutate(path, dice)
    try:
        return watch.call(lambda: drawn.target.use(drawn.folder, dice), str(drawn.folder), *drawn.target.named)
    finally:
        drawn.mend()


def quiet() -> None:
    """Libraries' warnings about damaged files are no news here; a hang inside C is shown and ends the process."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
                   "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    faulthandler.enable()
    sys.path[:0] = [str(HERE), str(HERE.parent / "support"), str(HERE.parent.parent)]


if __name__ == "__main__":
    sys.exit(main())
