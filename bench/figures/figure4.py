"""The rows of Figure 4 and their outputs: CSV, Markdown, LaTeX and a plot, in suites paper and published with the
paper's bars beside ours.

A row is one text (human instruction, LGIE's or MGIE's expressive instruction) against one image (input or goal) on one
dataset, or over all. CLIP-S is 100 x cosine, printed as it is. Only the bars "all" have a value in the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.drawing import OTHERS, drawing, save
from bench.grid.between import dataset_name
from bench.grid.latex import escaped
from bench.grid.paper import Reported, reported_cells
from bench.grid.show import cell, listed, markdown_table, paper_block

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES = ("input image", "goal image")
TEXTS = ("instruction", "lgie", "mgie")
SPELLED = {"instruction": "human instruction", "lgie": "LGIE's expressive instruction",
           "mgie": "MGIE's expressive instruction"}  # fmt: skip
COLOURS = {"instruction": "#999999", "lgie": "#56B4E9", "mgie": "#009E73"}


def spelled(text: str) -> str:
    """In words; a text of no model of ours is that of a run that was given (--with)."""
    return SPELLED.get(text) or f"{text}'s expressive instruction"


def texts_in(rows: "Sequence[TextRow]") -> list[str]:
    """The bars of a group, in their order."""
    return list(dict.fromkeys((*TEXTS, *(r.text for r in rows))))


@dataclass(frozen=True)
class TextRow:
    figure: int
    suite: str
    setting: str
    dataset: str  # "all": every example of every dataset, each once
    image: str
    text: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    of: int | None  # None: not run
    groups: int
    truncated: int  # texts that CLIP cut, of n
    paper: float | None
    paper_confirmed: str
    difference: float | None
    verdict: str
    reason: str
    protocol: str
    run: str


@dataclass(frozen=True)
class TextTest:
    """A paired test between two texts of the same examples against the same image."""

    figure: int
    suite: str
    setting: str
    dataset: str
    image: str
    a: str
    b: str
    difference: float | None
    p: float | None
    p_holm: float | None
    n: int
    groups: int
    method: str
    reason: str


def reported(dataset: str, image: str, text: str) -> Reported:
    return reported_cells().get(("figure4", image, dataset, text, "clip-s"), Reported())


def number(value: float) -> str:
    return f"{value:.2f}"


def shown(row: TextRow) -> str:
    return cell(row, number, "" if row.paper is None or row.suite == "mini" else f"{row.paper:.1f}{_mark(row)}")


def _mark(row: TextRow) -> str:
    return "" if row.paper_confirmed == "yes" else "†"


def markdown(rows: Sequence[TextRow], tests: Sequence[TextTest], head: Sequence[str]) -> str:
    suite = rows[0].suite
    lines = [f"# Figure 4: CLIP-Score of input and goal images (suite {suite})", "", head[0], ""]
    lines += [f"- {line}" for line in head[1:]] + [""]
    columns = [(image, text) for image in IMAGES for text in texts_in(rows)]
    found = {(r.dataset, r.image, r.text): r for r in rows}
    table = [
        [name_of(dataset, suite), *(shown(found[dataset, *column]) for column in columns)]
        for dataset in dict.fromkeys(r.dataset for r in rows)
    ]
    header = ["Dataset", *(f"{image}<br>{spelled(text)}" for image, text in columns)]
    lines += markdown_table(header, table)
    if suite == "mini":
        printed = [(image, {SPELLED[t]: p.printed + p.mark for t in TEXTS if (p := reported("all", image, t)).printed})
                   for image in IMAGES]  # fmt: skip
        lines += ["", *paper_block([row for row in printed if row[1]], "All datasets")]
    lines += listed("Remarks", (r.reason for r in rows)) + listed("Protocols", (r.protocol for r in rows))
    return "\n".join(lines + _tests(tests, suite)) + "\n"


def name_of(dataset: str, suite: str) -> str:
    return "all" if dataset == "all" else dataset_name(dataset, suite)


def _tests(tests: Sequence[TextTest], suite: str) -> list[str]:
    made = [t for t in tests if t.p is not None]
    if not made:
        return []
    lines = ["", "## Between texts", "", "Paired permutation test that flips whole groups, two-sided; Holm over the "
             f"{len(made)} comparisons of this figure. Difference: first minus second.", ""]  # fmt: skip
    table = [
        [name_of(t.dataset, suite), t.image, f"{spelled(t.a)} - {spelled(t.b)}", f"{t.difference:+.2f}", f"{t.p:.4f}",
         f"{t.p_holm:.4f}", str(t.n), str(t.groups)]
        for t in made
    ]  # fmt: skip
    return lines + markdown_table(["Dataset", "Image", "Texts", "Difference", "p", "p (Holm)", "n", "Groups"], table, 3)


def latex(rows: Sequence[TextRow], head: Sequence[str]) -> str:
    """booktabs; the best text of an image in bold, the interval as subscript, the paper's value below."""
    suite, found = rows[0].suite, {(r.dataset, r.image, r.text): r for r in rows}
    lines = [f"% {line}" for line in head] + [r"\begin{table}", r"\centering", r"\resizebox{\textwidth}{!}{%"]
    texts = texts_in(rows)
    n = len(texts)
    lines += [rf"\begin{{tabular}}{{l{'r' * 2 * n}}}", r"\toprule"]
    lines += [" & ".join(["", *(rf"\multicolumn{{{n}}}{{c}}{{{image}}}" for image in IMAGES)]) + r" \\"]
    lines += [rf"\cmidrule(lr){{2-{n + 1}}} \cmidrule(lr){{{n + 2}-{2 * n + 1}}}"]
    heads = ["Instruction", "LGIE", "MGIE", *map(escaped, texts[len(TEXTS) :])]
    lines += [" & ".join(["Dataset", *(heads * 2)]) + r" \\", r"\midrule"]
    for dataset in dict.fromkeys(r.dataset for r in rows):
        cells = [_latex_cell(found, dataset, image, text, texts) for image in IMAGES for text in texts]
        lines.append(" & ".join([escaped(name_of(dataset, suite)), *cells]) + r" \\")
    if suite != "mini":
        paper = [reported("all", image, text) for image in IMAGES for text in texts]
        lines.append(" & ".join([r"\quad in the paper", *(escaped(p.printed + p.mark) for p in paper)]) + r" \\")
    caption = f"Figure 4: CLIP-S (100 x cosine) of images and texts (suite {suite}). Mean with 95 % interval; "
    caption += "the nearest text in bold; ---: not run."
    caption += "" if suite != "published" else " The paper's values are of other data: not comparable."
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{escaped(caption)}}}"]
    return "\n".join([*lines, rf"\label{{tab:{suite}-figure4}}", r"\end{table}"]) + "\n"


def _latex_cell(
    found: dict[tuple[str, str, str], TextRow], dataset: str, image: str, text: str, texts: Sequence[str]
) -> str:
    row = found[dataset, image, text]
    if row.mean is None:
        return "---"
    best = number(max(mean for t in texts if (mean := found[dataset, image, t].mean) is not None))
    value = rf"\textbf{{{number(row.mean)}}}" if number(row.mean) == best else number(row.mean)
    return value + ("" if row.low is None or row.high is None else rf"$_{{[{number(row.low)}, {number(row.high)}]}}$")


def plot(rows: Sequence[TextRow], stem: Path, warning: str) -> list[Path]:
    """One panel an image; a group of bars a dataset, one a text, and the paper's."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(12, 4.8), layout="constrained")
        panels = figure.subplots(1, 2, sharey=True)
        for axes, image in zip(panels, IMAGES, strict=True):
            _panel(axes, [r for r in rows if r.image == image], image)
        panels[0].set_ylabel("CLIP-S (100 x cosine)")
        _legend(figure, rows)
        figure.suptitle(f"Figure 4: CLIP-Score of image and text (suite {rows[0].suite}){warning}", fontsize=11)
        return save(figure, stem)


def _panel(axes: "Axes", rows: Sequence[TextRow], image: str) -> None:
    datasets, texts = list(dict.fromkeys(r.dataset for r in rows)), texts_in(rows)
    step, colours = 0.81 / len(texts), colours_in(rows)  # 0.27 of three
    for place, dataset in enumerate(datasets):
        for shift, text in enumerate(texts):
            row = next(r for r in rows if (r.dataset, r.text) == (dataset, text))
            x = place + step * (shift - (len(texts) - 1) / 2)
            if row.mean is None:
                axes.text(x, 0.03, "not run", rotation=90, ha="center", va="bottom", color="#777777", fontsize=8,
                          transform=axes.get_xaxis_transform())  # fmt: skip
                continue
            axes.bar(x, row.mean, width=0.75 / len(texts), color=colours[text])
            if row.low is not None and row.high is not None:
                ends = [[max(0, row.mean - row.low)], [max(0, row.high - row.mean)]]
                axes.errorbar(x, row.mean, yerr=ends, color="#222222", capsize=2, linewidth=1)
    shown_too = rows[0].suite != "mini"  # other data's numbers beside ours would be compared
    paper = [reported("all", image, text) if shown_too else Reported() for text in TEXTS]
    for shift, (text, value) in enumerate(zip(TEXTS, paper, strict=True)):
        if value.value is not None:
            x = len(datasets) + 0.27 * (shift - 1)
            axes.bar(x, value.value, width=0.25, facecolor="none", edgecolor=COLOURS[text], hatch="///", linewidth=1)
            axes.text(x, value.value, value.printed + value.mark, ha="center", va="bottom", fontsize=7.5)
    names = [name_of(d, rows[0].suite).replace("mini-", "mini-\n") for d in datasets]
    axes.set_xticks(range(len(datasets) + shown_too), [*names, *(["paper,\nall"] if shown_too else [])])
    if shown_too:
        axes.axvline(len(datasets) - 0.5, color="#BBBBBB", linewidth=0.8)
    sizes = sorted({r.n for r in rows if r.mean is not None and r.dataset != "all"})
    n = f"   n {' to '.join(map(str, sorted({sizes[0], sizes[-1]})))} a dataset" if sizes else ""
    axes.set_title(f"{image}{n}", fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)


def colours_in(rows: Sequence[TextRow]) -> dict[str, str]:
    others = [text for text in texts_in(rows) if text not in COLOURS]
    return COLOURS | {text: OTHERS[place % len(OTHERS)] for place, text in enumerate(others)}


def _legend(figure: "Figure", rows: Sequence[TextRow]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    marks: list[Artist] = [Patch(facecolor=c, label=spelled(text)) for text, c in colours_in(rows).items()]
    if rows[0].suite != "mini":
        marks.append(Patch(facecolor="none", edgecolor="#555555", hatch="///", label="the paper's printed bars"))
    marks.append(Line2D([], [], color="#222222", marker="_", markersize=7, linewidth=1, label="95 % interval"))
    figure.legend(handles=marks, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
