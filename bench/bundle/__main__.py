"""Hand in: finished runs as one file that others can verify, without a trace of whose machine made them.

    python -m bench.bundle runs/paper/magicbrush--mine--zero-shot--0123abcd -o mine.zip
    python -m bench.bundle RUN RUN ... --digests-only -o mine.zip       without the outputs: their SHA-256 alone

A RUN is a run folder, or the name of one below --out. The bundle holds outputs, scores, settings, protocols and where
it ran; the datasets' own images are not in it. Whoever gets it: python -m bench.verify mine.zip. Exit codes: 0 done,
1 stopped, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.bundle.contents import write
from mgie.io.command import command


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.bundle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("runs", nargs="+", metavar="RUN", help="finished run folders")
    p.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.zip", help="what to write")
    p.add_argument("--digests-only", action="store_true", help="leave the output images out; their SHA-256 stays")
    p.add_argument("--out", type=Path, default=Path("runs"), help="holds the run folders (default: runs)")
    return p


def folder_of(text: str, out: Path) -> Path:
    """Raises ValueError for a name that several suites have; a folder that is none is refused later."""
    below = sorted(out.glob(f"*/{text}/run.json")) if "/" not in text else []
    if (Path(text) / "run.json").is_file() or not below:
        return Path(text)
    if len(below) > 1:
        raise ValueError(f"{text}: there are {len(below)} of that name: {', '.join(str(p.parent) for p in below)}")
    return below[0].parent


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    def make() -> int:
        if args.output.suffix != ".zip":
            raise ValueError(f"-o {args.output}: expected a name that ends in .zip")
        said = write([folder_of(run, args.out) for run in args.runs], args.output, not args.digests_only)
        images = sum(name.endswith(".png") for name in said["files"])
        what = f"{images} outputs" if said["outputs"] else "digests of the outputs alone"
        size = args.output.stat().st_size / 1e6
        print(f"{args.output}: {len(said['runs'])} run{'s' * (len(said['runs']) > 1)}, {what}, {size:,.1f} MB")
        print(f"whoever gets it: python -m bench.verify {args.output.name}")
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
