"""What each metric sees, as a table, as a plot, in a sentence."""

from collections.abc import Sequence
from pathlib import Path

from bench.agreement.views import METRICS, PEOPLE, RIGHT, Agreed
from bench.figures.drawing import drawing, save
from bench.grid.show import markdown_table
from bench.registry import METRICS as REGISTERED
from bench.registry import metric_entry, plain
from mgie.io.files import write_atomic, write_csv

TITLE = "What each metric sees: rank agreement, Kendall's tau-b"
WORDS = (
    "Pairs of edits of the same example: 1 says that both rank every pair alike, 0 that one tells nothing of the "
    "other, -1 that they rank the other way round. 95 % interval: 2,000 resamples of whole groups."
)
OF_RIGHT = (
    "Right answer: what the miniature's generator knows. The goal image is right, a copy of the input is not; on "
    "instructions that need eyes an edit is right if the expressive instruction behind it names the drawn cause."
)
OF_METRICS = "Between metrics only models' edits are compared: copies and goal image would make all agree."


def name(of: str) -> str:
    return metric_entry(of).printed if plain(of) in REGISTERED else of


def text(row: Agreed | None) -> str:
    if row is None or row.value is None:
        return ""
    return f"{row.value:+.2f}" + ("" if row.low is None else f"<br>[{row.low:+.2f}, {row.high:+.2f}]")


def answer(rows: Sequence[Agreed]) -> list[str]:
    """A line a column that is no metric: which metric agrees best with it, which least."""
    lines = []
    for column in columns_of(rows):
        here = [(r.value, r.first) for r in rows if r.second == column and r.value is not None and r.first != column]
        metrics = [(value, first) for value, first in here if plain(first) in REGISTERED]
        if len(metrics) > 1:
            best, worst = max(metrics), min(metrics)
            lines.append(f"With {column} {name(best[1])} agrees most ({best[0]:+.2f}), {name(worst[1])} least "
                         f"({worst[0]:+.2f}).")  # fmt: skip
    return lines


def columns_of(rows: Sequence[Agreed]) -> list[str]:
    """People's questions and the right answer."""
    return list(dict.fromkeys(r.second for r in rows if r.what in (PEOPLE, RIGHT)))


def metrics_of(rows: Sequence[Agreed]) -> list[str]:
    return list(dict.fromkeys(m for r in rows for m in (r.first, r.second) if plain(m) in REGISTERED))


def markdown(rows: Sequence[Agreed], heading: str = "#") -> list[str]:
    metrics, columns = metrics_of(rows), columns_of(rows)
    cells = {(r.first, r.second): r for r in rows} | {(r.second, r.first): r for r in rows}
    table = [[name(m), *(text(cells.get((m, other))) for other in (*columns, *metrics))] for m in metrics]
    table += [[c, *(text(cells.get((c, other))) for other in (*columns, *metrics))] for c in columns if c != RIGHT]
    said = [WORDS, *([OF_RIGHT] if RIGHT in columns else []), OF_METRICS]
    counts = [f"{what}: {max(r.n for r in rows if r.what == what)} examples, "
              f"{max(r.pairs for r in rows if r.what == what)} pairs of edits" for what in (PEOPLE, RIGHT, METRICS)
              if any(r.what == what for r in rows)]  # fmt: skip
    absent = dict.fromkeys(f"{name(r.first)} and {name(r.second)}: {r.reason}" for r in rows if r.value is None)
    return [f"{heading} {TITLE}", "", *(f"- {line}" for line in answer(rows)), "",
            *markdown_table(["", *map(name, (*columns, *metrics))], table), "",
            *(f"- {line}" for line in (*said, f"At most, {'; '.join(counts)}.", *absent)), ""]  # fmt: skip


def plot(rows: Sequence[Agreed], stem: Path) -> list[Path]:
    """A matrix: metrics down; people, right answer and metrics across."""
    from matplotlib.figure import Figure

    metrics, columns = metrics_of(rows), columns_of(rows)
    across = [*columns, *metrics]
    cells = {(r.first, r.second): r for r in rows} | {(r.second, r.first): r for r in rows}
    values = [[found.value if (found := cells.get((m, other))) else None for other in across] for m in metrics]
    with drawing():
        figure = Figure(figsize=(max(7, 2.6 + 0.8 * len(across)), 1.9 + 0.4 * len(metrics)), layout="constrained")
        axes = figure.subplots()
        numbers = [[float("nan") if v is None else v for v in line] for line in values]
        image = axes.imshow(numbers, vmin=-1, vmax=1, cmap="RdBu", aspect="auto")
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                if value is not None:
                    axes.text(x, y, f"{value:+.2f}", ha="center", va="center", fontsize=8,
                              color="white" if abs(value) > 0.6 else "black")  # fmt: skip
        axes.set_xticks(range(len(across)), [name(a) for a in across], rotation=30, ha="right")
        axes.set_yticks(range(len(metrics)), [name(m) for m in metrics])
        if columns:
            axes.axvline(len(columns) - 0.5, color="#222222", linewidth=1.5)
        figure.colorbar(image, ax=axes, label="Kendall's tau-b")
        axes.set_title(f"{TITLE} (suite {rows[0].suite})", fontsize=10)
        return save(figure, stem)


def write(rows: Sequence[Agreed], stem: Path) -> list[Path]:
    """CSV, Markdown and plot."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_suffix(".csv"), stem.with_suffix(".md")]
    write_csv(paths[0], Agreed, rows)
    write_atomic(paths[1], "\n".join(markdown(rows)).rstrip() + "\n")
    return [*paths, *plot(rows, stem)]
