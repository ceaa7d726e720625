"""The controls as Markdown and as a plot: what each metric rewards."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from bench.controls.judge import ORDERS, OWN, PIXELS, ROWS, SHUFFLED, Ranked, RowMean, ignores, name_of
from bench.controls.shares import METHODS
from bench.figures.drawing import drawing, save
from bench.grid.between import dataset_name, no_interval
from bench.grid.paper import as_printed
from bench.grid.show import markdown_table
from bench.registry import METRICS, metric_entry, plain, short_name

SURE = 0.95  # of the examples


def title(rows: Sequence[Ranked]) -> str:
    return f"Controls: what each metric rewards (suite {rows[0].suite}, outputs of {short_name(rows[0].model)})"


def share(row: Ranked | None) -> str:
    if row is None or row.value is None:
        return ""
    ends = [] if row.low is None or row.high is None else [f"{100 * end:.0f}" for end in (row.low, row.high)]
    return f"{100 * row.value:.0f} %" + f"<br>[{', '.join(ends)}]" * bool(ends)


def metrics_of(rows: Sequence[Ranked]) -> list[str]:
    """Those with a value anywhere, in the registry's order."""
    rank = list(METRICS)
    found = dict.fromkeys(r.metric for r in rows if r.value is not None and r.metric != PIXELS)
    return sorted(found, key=lambda m: rank.index(plain(m)) if plain(m) in rank else len(rank))


def in_words(rows: Sequence[Ranked]) -> list[str]:
    """Two sentences: how to read it, and what it shows here."""
    whole, told = name_of(ORDERS[2]), name_of((OWN, SHUFFLED))
    chain, tells = mean_shares(rows, whole), mean_shares(rows, told)
    sure = [metric_entry(m).printed for m, value in chain.items() if value >= SURE]
    held = f"{', '.join(sure)} put{'s' * (len(sure) == 1)}" if sure else "no metric puts"
    least, best = min(chain, key=chain.__getitem__, default=""), max(tells, key=tells.__getitem__, default="")
    fewest = f" ({metric_entry(least).printed}: {100 * chain[least]:.0f} %)" if least else ""
    seen = f"; that an output is of another example's instruction is seen best by {metric_entry(best).printed}, in " \
        f"{100 * tells[best]:.0f} %, where a coin would say 50 %" if best else ""  # fmt: skip
    return [
        "Each number is the share of examples on which a metric ranks rows rightly of which everybody knows the better "
        "one; a tie is not right, and a low number says that the metric rewards something else than the edit.",
        f"Here, as a mean over datasets, {held} goal image over input copy over black in at least {100 * SURE:.0f} % "
        f"of the examples{fewest}{seen}.",
    ]


def mean_shares(rows: Sequence[Ranked], order: str) -> dict[str, float]:
    """By metric, the mean over datasets of the share of examples ranked in this order."""
    found = {m: [r.value for r in rows if (r.metric, r.first) == (m, order) and r.value is not None]
             for m in metrics_of(rows)}  # fmt: skip
    return {metric: fmean(values) for metric, values in found.items() if values}


def markdown(rows: Sequence[Ranked], means: Sequence[RowMean], notes: Sequence[str]) -> str:
    lines = [f"# {title(rows)}", "", " ".join(in_words(rows)), "", *(f"- **{line}.**" for line in ignores(rows)), ""]
    metrics = metrics_of(rows)
    for dataset in dict.fromkeys(r.dataset for r in rows):
        here = {(r.metric, r.first): r for r in rows if r.dataset == dataset}
        count = max(r.n for r in here.values())
        table = [[metric_entry(m).printed, *(share(here.get((m, name_of(o)))) for o in ORDERS)] for m in metrics]
        differ = here.get((PIXELS, name_of((OWN, SHUFFLED))))
        lines += [f"**{dataset_name(dataset, rows[0].suite)}**, {count} examples", ""]
        lines += [*markdown_table(["Metric", *map(name_of, ORDERS)], table), ""]
        if differ and differ.value is not None:
            lines += [f"Another example's instruction changes {share(differ).partition('<br>')[0]} of the outputs.", ""]
        lines += [*mean_table([m for m in means if m.dataset == dataset], metrics), ""]
    reasons = dict.fromkeys([*(r.reason for r in rows), *(m.reason for m in means)])
    absent = [reason for reason in reasons if reason and not reason.startswith("no interval")]
    few = no_interval((dataset_name(r.dataset, r.suite), r.groups) for r in rows if r.value is not None)
    lines += ["Notes", "", *(f"- {line}" for line in (*notes, f"95 % interval: {METHODS}.", *few, *absent))]
    protocols = dict.fromkeys(f"{metric_entry(r.metric).printed}: {r.protocol}" for r in rows if r.protocol)
    return "\n".join([*lines, "", "Protocols", "", *(f"- {line}" for line in protocols)]) + "\n"


def mean_table(means: Sequence[RowMean], metrics: Sequence[str]) -> list[str]:
    cells = {(m.metric, m.what): m for m in means}
    table = []
    for metric in metrics:
        here = [cells.get((metric, row)) for row in ROWS]
        shown = ["" if m is None or m.mean is None else as_printed(m.mean, metric) for m in here]
        table.append([f"{metric_entry(metric).printed} {metric_entry(metric).arrow}", *shown])
    return markdown_table(["Mean", *ROWS], table)


def short(order: Sequence[str]) -> str:
    """Below a column of the plot."""
    return name_of(order).replace(" image", "").replace("input ", "").replace(" > ", " >\n")


def terminal(rows: Sequence[Ranked]) -> list[str]:
    """One line a metric: its shares, the mean over datasets."""
    heads = ["goal>copy", "copy>black", "all three", "goal>other", "goal>shuf.", "own>other", "own>shuf."]
    lines = [title(rows), f"  {'':<17}" + "".join(f"{head:>11}" for head in heads)]
    for metric in metrics_of(rows):
        shown = []
        for order in ORDERS:
            found = [r.value for r in rows if (r.metric, r.first) == (metric, name_of(order)) and r.value is not None]
            shown.append(f"{100 * fmean(found):.0f} %" if found else "-")
        lines.append(f"  {metric_entry(metric).printed[:17]:<17}" + "".join(f"{text:>11}" for text in shown))
    return [*lines, "Shares of examples ranked rightly, the mean over datasets."]


def plot(rows: Sequence[Ranked], stem: Path) -> list[Path]:
    """A panel a dataset: metrics down, orders across, the share as colour and number."""
    from matplotlib.figure import Figure

    metrics, datasets = metrics_of(rows), list(dict.fromkeys(r.dataset for r in rows))
    found = {(r.dataset, r.metric, r.first): r.value for r in rows}
    with drawing():
        figure = Figure(figsize=(12, 1.8 + 0.34 * len(metrics) * ((len(datasets) + 1) // 2)), layout="constrained")
        panels = figure.subplots((len(datasets) + 1) // 2, min(2, len(datasets)), squeeze=False).ravel()
        for axes, dataset in zip(panels[: len(datasets)], datasets, strict=True):
            values = [[found.get((dataset, m, name_of(o))) for o in ORDERS] for m in metrics]
            numbers = [[float("nan") if v is None else v for v in line] for line in values]
            axes.imshow(numbers, vmin=0, vmax=1, cmap="RdYlGn", aspect="auto")
            for y, line in enumerate(values):
                for x, value in enumerate(line):
                    text = "-" if value is None else f"{100 * value:.0f}"
                    axes.text(x, y, text, ha="center", va="center", fontsize=8)
            axes.set_xticks(range(len(ORDERS)), [short(o) for o in ORDERS], fontsize=7)
            axes.set_yticks(range(len(metrics)), [metric_entry(m).printed for m in metrics])
            axes.set_title(dataset_name(dataset, rows[0].suite), fontsize=9.5)
        for axes in panels[len(datasets) :]:
            axes.set_axis_off()
        figure.suptitle(f"{title(rows)}: % of examples ranked rightly", fontsize=11)
        return save(figure, stem)
