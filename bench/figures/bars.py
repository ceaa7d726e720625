"""The plot of a table: one panel a dataset and metric, one bar a model, whiskers = 95 % interval over groups.

The paper's value is a diamond on the bar, filled = confirmed, hollow = recalled. Bars are scaled as in print; the
numbers are those of the table's CSV and of nothing else. Colours: Okabe and Ito, apart also for the colour-blind.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.drawing import PAPER_INK, colours_of
from bench.grid.paper import as_printed
from bench.grid.rows import TableRow
from bench.grid.show import column_name, dataset_name, model_name, title
from bench.grid.show import grid as grid_of
from bench.registry import metric_entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HATCHES = {"fz": "//", "ft": "..", "e2e": "", "none": ""}


def plot_table(rows: Sequence[TableRow], stem: Path) -> list[Path]:
    """Write stem.png (1200 px wide) and stem.svg; returns their paths."""
    import matplotlib

    # text stays text, and no time stamp or random id: the same rows are the same file
    settings = {"svg.fonttype": "none", "svg.hashsalt": "mgie-bench", "font.size": 9}
    with matplotlib.rc_context(settings):
        figure = draw(rows)
        figure.get_layout_engine().set(h_pad=0.08, hspace=0.04)
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = [stem.with_name(f"{stem.name}{ending}") for ending in (".png", ".svg")]
        figure.savefig(paths[0], dpi=100, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    return paths


def draw(rows: Sequence[TableRow]) -> "Figure":
    from matplotlib.figure import Figure

    scored = [r for r in rows if r.dataset != "all"]
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
    colours = colours_of(models)
    _legend(figure, models, colours, scored)
    figure.suptitle(f"{title(grid_of(scored))}{_warning(scored)}", fontsize=11)
    return figure


def _warning(rows: Sequence[TableRow]) -> str:
    if rows[0].suite == "paper":
        return ""
    return "   the paper's values are of other data: not comparable"


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
            axes.bar(place, row.mean * scale, width=0.8, color=colours[key[0]], hatch=HATCHES.get(key[1], ""),
                     edgecolor="white", linewidth=0)  # fmt: skip
            if row.low is not None:
                ends = [[(row.mean - row.low) * scale], [(row.high - row.mean) * scale]]
                axes.errorbar(place, row.mean * scale, yerr=ends, color="#222222", capsize=2.5, linewidth=1)
        if row is not None and row.paper is not None:
            face = PAPER_INK if row.paper_confirmed == "yes" else "white"
            axes.plot(place + 0.3, row.paper * scale, marker="D", markersize=5, markerfacecolor=face,
                      markeredgecolor=PAPER_INK, linestyle="none", zorder=5)  # fmt: skip
    axes.set_xticks(range(len(models)), [_value(by_model.get(key)) for key in models], fontsize=7.5)
    _frame(axes, rows, len(models), scale)


def _value(row: TableRow | None) -> str:
    """The mean, below its bar: above it, it would meet whiskers and paper marks."""
    return "" if row is None or row.mean is None else as_printed(row.mean, row.metric)


def _frame(axes: "Axes", rows: Sequence[TableRow], models: int, scale: int) -> None:
    first = rows[0]
    sizes = sorted({r.n for r in rows if r.mean is not None})
    n = f", n {' to '.join(map(str, sorted({sizes[0], sizes[-1]})))}" if sizes else ""
    axes.set_title(f"{dataset_name(first.dataset, first.suite)}  {column_name(first.metric)}{n}", fontsize=9)
    axes.set_xlim(-0.6, models - 0.4)
    axes.tick_params(axis="x", length=0, pad=2)
    tops = [v * scale for r in rows for v in (r.mean, r.high, r.paper) if v is not None]
    axes.set_ylim(min([0.0] + [v * scale for r in rows for v in (r.mean, r.low) if v is not None]),
                  1.08 * max(tops) if tops and max(tops) > 0 else 1)  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)


def _legend(
    figure: "Figure", models: Sequence[tuple[str, str]], colours: dict[str, str], rows: Sequence[TableRow]
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks = [Patch(facecolor=colours[m], hatch=HATCHES.get(form, ""), edgecolor="white", linewidth=0,
                   label=model_name(m, form, rows[0].table)) for m, form in models]  # fmt: skip
    marks.append(Line2D([], [], color="#222222", marker="_", markersize=7, linewidth=1, label="95 % interval"))
    for confirmed, label in ((True, "paper"), (False, "paper, not confirmed †")):
        if any(r.paper is not None and (r.paper_confirmed == "yes") == confirmed for r in rows):
            marks.append(Line2D([], [], marker="D", markersize=5, linestyle="none", markeredgecolor=PAPER_INK,
                                markerfacecolor=PAPER_INK if confirmed else "white", label=label))  # fmt: skip
    figure.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 5), frameon=False, fontsize=9)
