"""How a figure is written: matplotlib's settings, a plot's two files, the parts of its Markdown."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Printed(Protocol):
    """What a cell of a figure's table needs of its row."""

    suite: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    of: int | None
    verdict: str


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


def cell(row: Printed, number: Callable[[float], str], paper: str) -> str:
    """Mean, interval, n and, where the paper prints one, its value. paper: that value as shown, empty without one."""
    if row.mean is None:
        return "not run" if row.of is None else "no value"
    interval = "" if row.low is None else f"<br>[{number(row.low)}, {number(row.high)}]"
    count = f"n {row.n}" if row.n == row.of else f"n {row.n} of {row.of}"
    verdict = f", {row.verdict}" if paper and row.suite == "paper" else ""
    return f"{number(row.mean)}{interval}<br>{count}{paper and f'<br>paper {paper}'}{verdict}"


def listed(title: str, said: Iterable[str]) -> list[str]:
    """Lines of a list below its title, each said once; nothing where nothing is said."""
    found = list(dict.fromkeys(line for line in said if line))
    return ["", title, "", *(f"- {line}" for line in found)] if found else []


def written(paths: Sequence[Path]) -> str:
    return "written: " + ", ".join(map(str, paths))
