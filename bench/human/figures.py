"""The report of a human evaluation: figure5 and figure6 (CSV, PNG, SVG), agreement.csv, votes.csv, human.md, and what
the metrics see of what people see (metrics.csv, .png).
"""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.agreement.show import TITLE
from bench.agreement.show import markdown as agreement_part
from bench.agreement.show import plot as plot_agreement
from bench.agreement.views import Agreed
from bench.controls.shares import METHODS as SHARES
from bench.figures.drawing import COLOURS, PAPER_INK, drawing, save
from bench.grid.between import dataset_name, few_groups, no_interval
from bench.grid.paper import MARK
from bench.grid.show import markdown_table, paper_block
from bench.human.agree import agreed
from bench.human.count import PROTOCOL, Agreement, ChoiceRow, agreement_of, numbered, rows_of
from bench.human.study import ANNOTATORS, FIGURES, QUESTIONS, TIE
from bench.human.votes import Vote, Votes
from bench.registry import model_entry
from bench.resampling.intervals import METHODS
from mgie.io.files import write_atomic, write_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNITS = {5: "% preferred", 6: "mean points, 1 to 3"}
TITLES = {5: "people's preference of expressive instructions", 6: "people's ranking of edits"}
TIE_COLOUR = "#CCCCCC"
ASSUMPTIONS = (
    "The paper prints no questionnaire: the questions above are ours, with a tie in Figure 5, as in its bars, and "
    "none in Figure 6, as its points are 1 to 3.",
    "Interval: 95 %, over groups of examples: votes on the same photograph or session stay together. Figure 5: "
    f"{SHARES}. Figure 6: {METHODS}. Annotators are taken as given: another three people are another study.",
    "Alpha: Krippendorff's, 0 is chance and 1 is full agreement; nominal for Figure 5; ordinal over item x model for "
    f"Figure 6, where the three ranks of a vote are not independent. Interval: {METHODS}.",
    "Time: from when an item was shown to its vote, pauses included; therefore the median.",
)


def report(votes: Votes, folder: Path) -> list[Path]:
    """Write everything below folder; returns the paths. Raises ValueError where there is no vote yet."""
    cast, items, suite = votes.all(), votes.items(), votes.suite
    if not cast:
        raise ValueError(f"{votes.path}: no votes yet on its {len(items)} items; collect some: "
                         "python -m bench.human serve")  # fmt: skip
    rows, agreement, paths = rows_of(cast, suite), agreement_of(cast), []
    folder.mkdir(parents=True, exist_ok=True)
    for figure in sorted({r.figure for r in rows}):
        here = [r for r in rows if r.figure == figure]
        write_csv(folder / f"figure{figure}.csv", ChoiceRow, here)
        paths += [folder / f"figure{figure}.csv", *plot(here, folder / f"figure{figure}")]
    write_csv(folder / "agreement.csv", Agreement, agreement)
    write_atomic(folder / "votes.csv", export(cast))
    of = {f: sum(i.figure == f for i in items) for f in FIGURES}
    seen, why = agreed(cast, items, suite)
    if seen:
        write_csv(folder / "metrics.csv", Agreed, seen)
        paths += [folder / "metrics.csv", *plot_agreement(seen, folder / "metrics")]
    text = markdown(rows, agreement, cast, suite, of) + "\n" + "\n".join(metrics_part(seen, why))
    write_atomic(folder / "human.md", text.rstrip() + "\n")
    return [*paths, folder / "agreement.csv", folder / "votes.csv", folder / "human.md"]


def metrics_part(seen: Sequence[Agreed], why: str) -> list[str]:
    if not seen:
        return [f"## {TITLE}", "", f"Not known: {why}."]
    return [*agreement_part(seen, "##"), f"![{TITLE}](metrics.png)"]


def export(votes: Sequence[Vote]) -> str:
    """One row a vote and question; annotators by number, models by name."""
    who, text = numbered(votes), io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["annotator", "figure", "dataset", "example_id", "group", "criterion", "answer", "seconds", "day"])
    for v in votes:
        day = datetime.fromtimestamp(v.at, UTC).date().isoformat()
        for criterion, answer in v.answers.items():
            said = answer if isinstance(answer, str) else " > ".join(answer)
            example = v.item.id.partition("/")[2]
            table.writerow([who[v.annotator], v.item.figure, v.item.dataset, example, v.item.group, criterion, said,
                            f"{v.seconds:.2f}", day])  # fmt: skip
    return text.getvalue()


def shown(row: ChoiceRow, value: float | None) -> str:
    if value is None:
        return ""
    return f"{100 * value:.1f}" if row.figure == 5 else f"{value:.2f}"


def cell(row: ChoiceRow) -> str:
    interval = "" if row.low is None else f" [{shown(row, row.low)}, {shown(row, row.high)}]"
    if row.low is None and row.groups > 1:
        interval = f" (groups {shown(row, row.group_least)} to {shown(row, row.group_most)})"
    paper = "" if row.paper is None or row.suite == "mini" else f"<br>paper {shown(row, row.paper)}"
    verdict = f", {row.verdict}" if row.verdict and row.suite == "paper" else ""
    return f"{shown(row, row.mean)}{interval}{paper}{verdict}"


def markdown(
    rows: Sequence[ChoiceRow], agreement: Sequence[Agreement], votes: Sequence[Vote], suite: str, of: dict[int, int]
) -> str:
    lines = [f"# Human evaluation, suite {suite}", ""]
    if suite == "published":
        lines += ["The paper's values are of other data: they stand beside ours and are not comparable.", ""]
    beside = "" if suite == "mini" else ", the paper's beside ours"
    for figure in sorted({r.figure for r in rows}):
        here = [v for v in votes if v.item.figure == figure]
        judged = {v.item.id: sum(o.item.id == v.item.id for o in here) for v in here}
        whole = sum(count >= ANNOTATORS for count in judged.values())
        people = len({v.annotator for v in here})
        lines += [
            f"## Figure {figure}: {TITLES[figure]}", "",
            f"{UNITS[figure]}; {PROTOCOL[figure]}. {len(here)} votes of {people} annotators on {len(judged)} of "
            f"{of[figure]} items; {whole} items have their {ANNOTATORS} votes.", "",
            *figure_table(of_it := [r for r in rows if r.figure == figure], suite), "",
            *(f"- {note}" for note in few(of_it)), "",
            f"![Figure {figure}: the same numbers as bars{beside}](figure{figure}.png)", "",
        ]  # fmt: skip
    lines += ["## Agreement and time", "", *agreement_table(agreement), ""]
    lines += [*dict.fromkeys(f"- {r.measure}: {r.reason}." for r in agreement if r.value is not None and r.reason), ""]
    lines += paper_block(paper_values(rows), "Figure, question") if suite == "mini" else []
    lines += ["## How it was asked and counted", ""]
    lines += [f"- Figure {f}, {name}: {text}" for f in FIGURES for name, text in QUESTIONS[f].items()]
    return "\n".join([*lines, *(f"- {text}" for text in ASSUMPTIONS)]) + "\n"


def few(rows: Sequence[ChoiceRow]) -> list[str]:
    """Where there are few groups, or too few for an interval."""
    groups = [("all" if r.dataset == "all" else dataset_name(r.dataset, r.suite), r.groups) for r in rows]
    instead = "lowest and highest mean of a group in its place"
    return no_interval(groups, instead) if rows[0].figure == 5 else few_groups(groups, instead)


def paper_values(rows: Sequence[ChoiceRow]) -> list[tuple[str, dict[str, str]]]:
    """What the paper reports, by figure and question; by choice as it prints it."""
    found: dict[str, dict[str, str]] = {}
    for r in rows:
        if r.paper is not None:
            name = f"Figure {r.figure}, {r.criterion}{'' if r.dataset == 'all' else f', {r.dataset}'}"
            mark = "" if r.paper_confirmed == "yes" else MARK
            found.setdefault(name, {})[model_entry(r.choice).printed] = shown(r, r.paper) + mark
    return list(found.items())


def figure_table(rows: Sequence[ChoiceRow], suite: str) -> list[str]:
    choices = list(dict.fromkeys(r.choice for r in rows))
    found = {(r.criterion, r.dataset, r.choice): r for r in rows}
    keys = list(dict.fromkeys((r.criterion, r.dataset) for r in rows))
    table = []
    for criterion, dataset in keys:
        first = found[criterion, dataset, choices[0]]
        name = "all" if dataset == "all" else dataset_name(dataset, suite)
        table.append([criterion, name, f"{first.n} ({first.votes} votes)",
                      *(cell(found[criterion, dataset, choice]) for choice in choices)])  # fmt: skip
    return markdown_table(
        ["criterion", "dataset", "n items", *(model_entry(c).printed for c in choices)], table, left=2
    )


def agreement_table(rows: Sequence[Agreement]) -> list[str]:
    table = []
    for r in rows:
        interval = "" if r.low is None else f" [{r.low:.2f}, {r.high:.2f}]"
        value = r.reason if r.value is None else f"{r.value:.2f}{interval}"
        who = "all" if r.who == "all" else f"annotator {r.who}"
        table.append([f"Figure {r.figure}", r.criterion, r.measure, who, value, str(r.n)])
    return markdown_table(["figure", "criterion", "measure", "who", "value", "n"], table, left=4)


def plot(rows: Sequence[ChoiceRow], stem: Path) -> list[Path]:
    """One panel a question: ours with intervals, all datasets together. The paper's value as a diamond, but not beside
    the miniature's.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    whole = [r for r in rows if r.dataset == "all"]
    criteria, figure_number, suite = list(dict.fromkeys(r.criterion for r in whole)), rows[0].figure, rows[0].suite
    with drawing():
        figure = Figure(figsize=(12, 4.2), layout="constrained")
        for axes, criterion in zip(figure.subplots(1, len(criteria), squeeze=False)[0], criteria, strict=True):
            panel(axes, [r for r in whole if r.criterion == criterion])
        marks = [Line2D([], [], color="#222222", marker="_", markersize=7, linewidth=1, label="95 % interval")]
        if suite != "mini":
            marks.append(Line2D([], [], marker="D", markersize=6, linestyle="none", color=PAPER_INK, label="paper"))
        figure.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False)
        warning = "" if suite != "published" else "   the paper's values are of other data: not comparable"
        figure.suptitle(f"Figure {figure_number}: {TITLES[figure_number]} (suite {suite}){warning}", fontsize=11)
        return save(figure, stem)


def panel(axes: "Axes", rows: Sequence[ChoiceRow]) -> None:
    scale, first = (100 if rows[0].figure == 5 else 1), rows[0]
    for place, r in enumerate(rows):
        colour = TIE_COLOUR if r.choice == TIE else COLOURS[r.choice]
        assert r.mean is not None  # a row is made of votes
        axes.bar(place, r.mean * scale, width=0.7, color=colour)
        if r.low is not None and r.high is not None:
            ends = [[(r.mean - r.low) * scale], [(r.high - r.mean) * scale]]
            axes.errorbar(place, r.mean * scale, yerr=ends, color="#222222", capsize=3, linewidth=1)
        if r.paper is not None and r.suite != "mini":
            axes.plot(place + 0.25, r.paper * scale, marker="D", markersize=6, color=PAPER_INK, linestyle="none",
                      zorder=5)  # fmt: skip
    axes.set_xticks(range(len(rows)), [f"{model_entry(r.choice).printed}\n{shown(r, r.mean)}" for r in rows])
    axes.set_title(f"{first.criterion}, n {first.n} items, {first.votes} votes", fontsize=9.5)
    axes.set_ylabel(UNITS[first.figure])
    axes.set_ylim(*((0, 100) if first.figure == 5 else (1, 3)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
