"""The plot of a table: one panel a dataset and metric, one point a model, whiskers = 95 % interval over groups.

A dashed line at the input copy: what doing nothing scores. In suites paper and published the paper's value is a
diamond beside the point, filled = confirmed, hollow = recalled. Scaled as in print; the numbers are those of the
table's CSV and of nothing else. Colours: Okabe and Ito, apart also for the colour-blind.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.figures.drawing import PAPER_INK, colours_of, drawing, save
from bench.grid.between import column_name, dataset_name, model_name
from bench.grid.paper import as_printed
from bench.grid.rows import TableRow
from bench.grid.show import Grid, title
from bench.registry import metric_entry, model_entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

MARKERS = {"fz": "^", "ft": "s", "e2e": "o", "none": "o"}  # by form


def plot_table(g: Grid, stem: Path) -> list[Path]:
    """Write stem.png (1200 px wide) and stem.svg; returns their paths."""
    with drawing():
        figure = draw(g)
        cast("ConstrainedLayoutEngine", figure.get_layout_engine()).set(h_pad=0.08, hspace=0.04)  # draw asks for it
        return save(figure, stem)


def draw(g: Grid) -> "Figure":
    from matplotlib.figure import Figure

    # the goal image is the ceiling of every panel by definition: drawn, it would press all others together
    scored = [r for r in g.rows if r.dataset != "all" and r.model != "oracle"]
    datasets = list(dict.fromkeys(r.dataset for r in scored))
    metrics = {d: list(dict.fromkeys(r.metric for r in scored if r.dataset == d)) for d in datasets}
    models = list(dict.fromkeys((r.model, r.form) for r in scored))
    width = max(map(len, metrics.values()))
    figure = Figure(figsize=(12, 1.1 + 2.3 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), width, squeeze=False)
    for line, dataset in zip(panels, datasets, strict=True):
        for place, axes in enumerate(line):
            if place < len(metrics[dataset]):
                metric = metrics[dataset][place]
                panel(axes, [r for r in scored if (r.dataset, r.metric) == (dataset, metric)], models)
            else:
                axes.set_axis_off()
    _legend(figure, models, colours_of(models), scored)
    warning = "   the paper's values are of other data: not comparable" if g.suite == "published" else ""
    figure.suptitle(f"{title(g)}{warning}", fontsize=11)
    return figure


def plot_line(g: Grid, columns: Sequence[tuple[str, str]], stem: Path) -> list[Path]:
    """The panels of a few datasets and metrics in one line, 1200 x 300 px: models and input copy. Returns the paths."""
    from matplotlib.figure import Figure

    here = [r for r in g.rows if (r.dataset, r.metric) in columns]
    scored = [r for r in here if r.model == "identity" or not model_entry(r.model).bound]
    models = list(dict.fromkeys((r.model, r.form) for r in scored))
    with drawing():
        figure = Figure(figsize=(12, 3), layout="constrained")
        for axes, column in zip(figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
            panel(axes, [r for r in scored if (r.dataset, r.metric) == column], models)
        _legend(figure, models, colours_of(models), scored)
        return save(figure, stem)


def panel(axes: "Axes", rows: Sequence[TableRow], models: Sequence[tuple[str, str]]) -> None:
    """One dataset and metric. A model that was not run keeps its place, empty and said."""
    first, by_model, colours = rows[0], {(r.model, r.form): r for r in rows}, colours_of(models)
    scale = metric_entry(first.metric).scale
    for place, key in enumerate(models):
        row = by_model.get(key)
        if row is None or row.mean is None:
            said = "" if row is None else "not run" if row.of is None else "no value"
            axes.text(place, 0.03, said, rotation=90, ha="center", va="bottom", color="#777777", fontsize=8,
                      transform=axes.get_xaxis_transform())  # fmt: skip
        else:
            ends = None
            if row.low is not None and row.high is not None:
                ends = [[(row.mean - row.low) * scale], [(row.high - row.mean) * scale]]
            axes.errorbar(place, row.mean * scale, yerr=ends, fmt=MARKERS.get(key[1], "o"), markersize=7,
                          color=colours[key[0]], capsize=3, linewidth=1.5)  # fmt: skip
            if row.model == "identity":
                axes.axhline(row.mean * scale, color=colours[key[0]], linewidth=0.8, linestyle="--", zorder=0)
        if row is not None and row.paper is not None and row.suite != "mini":
            face = PAPER_INK if row.paper_confirmed == "yes" else "white"
            axes.plot(place + 0.3, row.paper * scale, marker="D", markersize=5, markerfacecolor=face,
                      markeredgecolor=PAPER_INK, linestyle="none", zorder=5)  # fmt: skip
    axes.set_xticks(range(len(models)), [_value(by_model.get(key)) for key in models], fontsize=7.5,
                    rotation=0 if len(models) < 7 else 90)  # fmt: skip
    _frame(axes, rows, len(models), scale)


def _value(row: TableRow | None) -> str:
    """The mean, below the panel: beside its point it would meet whiskers and paper marks."""
    return "" if row is None or row.mean is None else as_printed(row.mean, row.metric)


def _frame(axes: "Axes", rows: Sequence[TableRow], models: int, scale: int) -> None:
    first = rows[0]
    sizes = sorted({r.n for r in rows if r.mean is not None})
    n = f", n {' to '.join(map(str, sorted({sizes[0], sizes[-1]})))}" if sizes else ""
    axes.set_title(f"{dataset_name(first.dataset, first.suite)}  {column_name(first.metric)}{n}", fontsize=9)
    axes.set_xlim(-0.6, models - 0.4)
    axes.tick_params(axis="x", length=0, pad=2)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)


def _legend(
    figure: "Figure", models: Sequence[tuple[str, str]], colours: dict[str, str], rows: Sequence[TableRow]
) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colours[m], marker=MARKERS.get(form, "o"), markersize=7, linewidth=1.5,
                    label=model_name(m, form, rows[0].table)) for m, form in models]  # fmt: skip
    marks.append(Line2D([], [], color="#222222", marker="_", markersize=7, linewidth=1, label="95 % interval"))
    for confirmed, label in ((True, "paper"), (False, "paper, not confirmed †")):
        if any(r.suite != "mini" and r.paper is not None and (r.paper_confirmed == "yes") == confirmed for r in rows):
            marks.append(Line2D([], [], marker="D", markersize=5, linestyle="none", markeredgecolor=PAPER_INK,
                                markerfacecolor=PAPER_INK if confirmed else "white", label=label))  # fmt: skip
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 5), frameon=False, fontsize=9)
