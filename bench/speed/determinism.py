"""What is bit-equal and what is equal within which tolerance: python -m bench.speed.determinism [--ray] [--compiled]

One model on one dataset of suite mini, once as the reference and once a variant: again, killed and continued, other
batch sizes, two threads, half precision, Ray workers. Every output image, text and score is compared with the
reference's. Prints a table and writes results/mini/speed/determinism.csv. Exit code 1 when a variant is further from
the reference than this file says it may be.
"""

import argparse
import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from bench.records import Edit
    from bench.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "mini" / "speed" / "determinism.csv"  # the accepted one: results/speed


class Setting(NamedTuple):
    """grey, score: how far any value of an image (of 255) and a score may be from the reference's; 0: bit-equal."""

    flags: tuple[str, ...]
    threads: int = 1
    grey: int = 0
    score: float = 0.0
    kill: bool = False  # as soon as it has written an image; then the same command again


VARIANTS = {
    "the same command again": Setting(()),
    "killed, then continued": Setting((), kill=True),
    "scores in chunks of 2": Setting(("--metric-batch-size", "2"), score=1e-5),
    "batch size 1": Setting(("--batch-size", "1"), grey=2, score=1e-3),
    "batch size 3": Setting(("--batch-size", "3"), grey=2, score=1e-3),
    "2 threads": Setting((), threads=2, grey=2, score=1e-3),
    "bfloat16": Setting(("--dtype", "bfloat16"), grey=255, score=0.1),
    "float16": Setting(("--dtype", "float16"), grey=255, score=0.05),
    "compiled": Setting(("--compile",), grey=2, score=1e-3),
    "2 Ray workers": Setting(("--engine", "ray", "--workers", "2")),
}


class Difference(NamedTuple):
    """One row of the CSV."""

    variant: str
    model: str
    dataset: str
    n: int  # edits compared
    images_equal: int
    max_grey: int  # the largest difference of any value of any pixel
    mean_grey: float
    texts_equal: int
    scores: int  # compared
    scores_equal: int
    max_score: float  # the largest difference of a score, unscaled
    allowed_grey: int
    allowed_score: float

    @property
    def within(self) -> bool:
        return self.n > 0 and self.max_grey <= self.allowed_grey and self.max_score <= self.allowed_score


def run(argv: list[str], variant: Setting, out: Path) -> Path:
    """The run folder of this variant."""
    command = [sys.executable, "-m", "bench.run", *argv, *variant.flags, "--out", str(out), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": str(variant.threads)}
    if variant.kill:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and not list(out.rglob("*.png")):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench.run ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return next(path.parent for path in out.rglob("done.json"))


def compare(name: str, variant: Setting, reference: Path, other: Path) -> Difference:
    import numpy as np

    from bench.runs.folder import RunFolder

    ours, theirs = RunFolder(reference), RunFolder(other)
    a, b, run = ours.edits(), theirs.edits(), ours.run()
    for what in ("manifest", "fingerprint"):
        kept = [x if what == "manifest" else x | {"dtype": "", "compiled": ""} for x in (run[what], theirs.run()[what])]
        if kept[0] != kept[1]:
            raise SystemExit(f"{name}: weights or data changed while this ran; give the command again")
    if a.keys() != b.keys():
        raise SystemExit(f"{name}: {len(a.keys() ^ b.keys())} edits are in one run only")
    greys = [np.abs(pixels(ours, a[key]) - pixels(theirs, b[key])) for key in a]
    s, t = ours.scores(), theirs.scores()
    both = [(s[key].value, t[key].value) for key in s]
    moved = [abs(one - two) for one, two in both if one is not None and two is not None]
    return Difference(
        name, run["model"], run["dataset"], len(a), sum(a[key].image_sha256 == b[key].image_sha256 for key in a),
        int(max(g.max() for g in greys)), round(float(np.mean([g.mean() for g in greys])), 4),
        sum(a[key].expressive_instruction == b[key].expressive_instruction for key in a), len(moved),
        sum(m == 0 for m in moved), float(f"{max(moved):.2g}"), variant.grey, variant.score,
    )  # fmt: skip


def pixels(folder: "RunFolder", edit: "Edit") -> "np.ndarray":
    """(H, W, 3) int16"""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(folder.path / edit.output_image), dtype=np.int16)


def table(rows: list[Difference]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Difference._fields)
    writer.writerows(rows)
    return text.getvalue()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mgie")
    parser.add_argument("--dataset", default="ma5k")
    parser.add_argument("--limit", type=int, default=8, help="examples (default 8)")
    parser.add_argument("--ray", action="store_true", help="with Ray workers too")
    parser.add_argument("--compiled", action="store_true", help="compiled too (needs a C++ compiler, takes minutes)")
    parser.add_argument("--only", help="comma-separated variants; default: all")
    parser.add_argument("--csv", type=Path, default=OUT)
    args = parser.parse_args(argv)
    known = [n for n, v in VARIANTS.items() if (args.ray or "ray" not in v.flags) and
             (args.compiled or "--compile" not in v.flags)]  # fmt: skip
    names = args.only.split(",") if args.only else known
    if unknown := [name for name in names if name not in VARIANTS]:
        parser.error(f"--only {unknown[0]}: no such variant; known: {', '.join(VARIANTS)}")
    common = ["--model", args.model, "--dataset", args.dataset, "--limit", str(args.limit), "--device", "cpu",
              "--metric-device", "cpu"]  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        reference = run(common, Setting(()), Path(temporary) / "reference")
        for name in names:
            other = run(common, VARIANTS[name], Path(temporary) / name.replace(" ", "-"))
            rows.append(compare(name, VARIANTS[name], reference, other))
            r = rows[-1]
            print(f"{name:24} {r.images_equal} of {r.n} images bit-equal, at most {r.max_grey} of 255 apart; "
                  f"{r.scores_equal} of {r.scores} scores equal, at most {r.max_score:g} apart"
                  f"{'' if r.within else '  MORE THAN ALLOWED'}", flush=True)  # fmt: skip
    args.csv.write_text(table(rows))
    return 0 if all(row.within for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
