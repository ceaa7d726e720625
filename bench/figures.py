"""What the commands of the figures share: flags, where files go, how a plot and a Markdown table are written.

bench.clip_score (Figure 4), bench.tradeoff (Figure 3) and bench.gallery (Figures 7, 8) need runs of the same cells as
the tables; what is finished is read, what is missing is run (bench.cells).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cells import BENCHMARKS, KNOWN_SPLITS, PAPER_MODELS, SPLITS, Options, beside
from bench.engines import add_engine_flags, workers_of
from bench.registry import DATASETS, SUITES
from bench.remote import local_place
from bench.tables import chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Asked:
    """What one command line asks for, the flags of the one figure apart."""

    suite: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    options: Options
    results: Path
    strict: bool

    @property
    def folder(self) -> Path:
        return self.results / self.suite

    @property
    def data_root(self) -> Path:
        return self.options.data_root or Path("data")

    def stem(self, name: str) -> Path:
        """results/<suite>/<name>[-<split>]: all files of a figure begin so."""
        return self.folder / f"{name}{beside(self.suite, self.options.split)}"


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--suite", choices=SUITES, help="default: mini, the built-in miniature")
    p.add_argument("--data-root", type=local_place, help="holds evr/ gier/ ma5k/ magicbrush/ published/; default: data")
    p.add_argument("--weights", type=Path, help="holds <model>[-<form>][-<dataset>]/")
    p.add_argument("--datasets", help=f"comma-separated, of {', '.join(DATASETS)}; default: those of the figure")
    p.add_argument("--split", help="default: mini quick (32 a dataset), published all, paper the test split")
    p.add_argument("--full", action="store_true", help="mini: the whole test split (200 a dataset)")
    add_engine_flags(p)
    p.add_argument("--strict", action="store_true", help="exit 1 when something was not run")
    p.add_argument("--out", type=local_place, default=Path("runs"), help="run folders go below it (default: runs)")
    p.add_argument("--results", type=Path, default=Path("results"), help="files go below it (default: results)")
    return p


def asked_of(
    args: argparse.Namespace, models: Sequence[str] = PAPER_MODELS, datasets: Sequence[str] = (), seeds: int = 1
) -> Asked:
    """datasets: the figure's own, where --datasets names none. Raises ValueError for wrong use."""
    if args.suite is None and (args.data_root or args.weights):
        given = "--data-root" if args.data_root else "--weights"
        raise ValueError(f"{given} needs --suite: the default suite is the miniature; for real data add --suite paper")
    suite = args.suite or "mini"
    split = SPLITS[suite][args.full] if args.split is None else args.split
    if suite in KNOWN_SPLITS and split not in KNOWN_SPLITS[suite]:
        raise ValueError(f"suite {suite} has no split '{split}'; known: {', '.join(KNOWN_SPLITS[suite])}")
    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: expected at least 1")
    usual = (*BENCHMARKS, *(("ipr2pr",) if suite == "published" and split != "sample" else ()))
    return Asked(
        suite, tuple(models), chosen(args.datasets, tuple(datasets) or usual, DATASETS, "dataset"),
        Options(split, seeds, (), args.data_root, args.weights, args.out, workers_of(args, "auto").flags()),
        args.results, args.strict,
    )  # fmt: skip


def command(make: Callable[[], int]) -> int:
    """Run a figure's command; what its user can mend becomes one line and exit code 2."""
    try:
        return make()
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


@contextmanager
def drawing() -> Iterator[None]:
    """matplotlib's settings: text stays text, and no time stamp or random id, so the same rows are the same file."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mgie-bench", "font.size": 9}):
        yield


def save(figure: "Figure", stem: Path) -> list[Path]:
    """stem.png and stem.svg; call within drawing()."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}{ending}") for ending in (".png", ".svg")]
    figure.savefig(paths[0], dpi=100, metadata={"Software": None})
    figure.savefig(paths[1], metadata={"Date": None})
    return paths


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """The lines of a table whose first `left` columns are words, the others numbers."""
    align = ["---"] * left + ["---:"] * (len(header) - left)
    lines = [header, align, *rows]
    return ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]


def written(paths: Sequence[Path]) -> str:
    return "written: " + ", ".join(map(str, paths))
