"""How a figure is written: matplotlib's settings, a plot's two files, the parts of its Markdown."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


COLOURS = {
    "identity": "#999999", "codec": "#BBA98C", "inspix2pix": "#E69F00", "lgie": "#56B4E9", "mgie": "#009E73",
    "oracle": "#DDDDDD",
}  # fmt: skip
OTHERS = ("#CC79A7", "#F0E442", "#D55E00", "#0072B2")
PAPER_INK = "#B2182B"


def colours_of(models: Sequence[tuple[str, str]]) -> dict[str, str]:
    others = [m for m in dict.fromkeys(model for model, _ in models) if m not in COLOURS]
    return COLOURS | {m: OTHERS[i % len(OTHERS)] for i, m in enumerate(others)}
