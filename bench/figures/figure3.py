"""The rows of Figure 3 and their outputs: CSV, Markdown and a plot, in suites paper and published with
the paper's digitised curves beside ours.

A row is one model at one image_guidance_scale on one axis. Both axes are printed x100 as in the paper; the CSV is
unscaled, but for the paper's own columns, which are brought to the same scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures.drawing import colours_of, drawing, save
from bench.grid.paper import reported_cells
from bench.grid.show import cell, listed, markdown_table, paper_block
from bench.registry import model_entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {"clip_direction": "text-image direction similarity", "image_similarity": "input image similarity"}
READ_OFF = {"clip_direction": 0.0015, "image_similarity": 0.003}  # how far a digitised point may be off: reported.csv
MARKERS = {"inspix2pix": "s", "lgie": "^", "mgie": "o"}
LABELS = {"lgie": (-16, -13)}  # points; below its marker: its curve runs beside MGIE's


@dataclass(frozen=True)
class SweepRow:
    figure: int
    suite: str
    setting: str
    form: str
    dataset: str
    model: str
    guidance_scale: float | None
    image_guidance_scale: float | None  # None: a run that was given, whose images no scale of ours made
    axis: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    of: int | None  # None: not run
    groups: int
    seeds: int
    paper: float | None
    paper_confirmed: str
    difference: float | None
    verdict: str
    reason: str
    protocol: str
    run: str


class Point:
    """The paper's digitised value of one axis, unscaled; empty where it has none."""

    def __init__(self, dataset: str, model: str, scale: float | None, axis: str) -> None:
        key = ("figure3", f"image_guidance_scale {labelled(scale)}", dataset, model, f"{AXES[axis]} x100")
        cell = reported_cells().get(key)
        self.value: float | None = None
        self.confirmed = ""
        self.half_unit = READ_OFF[axis]  # within it a point agrees
        if cell is not None and scale is not None and abs(scale - round(scale, 1)) < 1e-9 and cell.value is not None:
            self.value, self.confirmed = cell.value / 100, cell.confirmed


def labelled(scale: float | None) -> str:
    return "as given" if scale is None else f"{scale:.1f}"


def scales_in(rows: Sequence[SweepRow]) -> list[float | None]:
    """In order; last, where there is one, what has no scale."""
    return sorted({r.image_guidance_scale for r in rows}, key=lambda scale: (scale is None, scale or 0.0))


def shown(row: SweepRow) -> str:
    return cell(row, x100, "" if row.paper is None or row.suite == "mini" else x100(row.paper))


def x100(value: float) -> str:
    return f"{100 * value:.2f}"


def markdown(rows: Sequence[SweepRow], head: Sequence[str]) -> str:
    lines = [f"# Figure 3: trade-off by image_guidance_scale (suite {rows[0].suite})", "", head[0], ""]
    lines += [f"- {line}" for line in head[1:]] + [""]
    models = list(dict.fromkeys(r.model for r in rows))
    header = ["image_guidance_scale", *(f"{model_entry(m).printed}<br>{AXES[a]}" for m in models for a in AXES)]
    found = {(r.image_guidance_scale, r.model, r.axis): r for r in rows}
    table = [
        [labelled(scale), *(shown(found[scale, m, a]) if (scale, m, a) in found else "" for m in models for a in AXES)]
        for scale in scales_in(rows)
    ]
    lines += markdown_table(header, table)
    if rows[0].suite == "mini":
        lines += ["", *paper_block(_printed(rows, models), f"{header[0]}: direction / similarity")]
    lines += listed("Remarks", (r.reason for r in rows)) + listed("Protocols", (r.protocol for r in rows))
    return "\n".join(lines) + "\n"


def _printed(rows: Sequence[SweepRow], models: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """By scale, "direction / similarity" of each model in the paper, x100."""
    found = {(r.image_guidance_scale, r.model, r.axis): x100(r.paper) for r in rows if r.paper is not None}
    table = []
    for scale in sorted({scale for scale, _, _ in found if scale is not None}):
        values = {model_entry(m).printed: " / ".join(found.get((scale, m, a), "") for a in AXES) for m in models
                  if any((scale, m, a) in found for a in AXES)}  # fmt: skip
        table.append((f"{scale:.1f}", values))
    return table


def plot(rows: Sequence[SweepRow], stem: Path) -> list[Path]:
    """Left ours, right the paper's; the same axes only where the data are the same. Suite mini has ours alone."""
    from matplotlib.figure import Figure

    same = rows[0].suite == "paper"
    with drawing():
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        beside = rows[0].suite != "mini"
        ours, *others = figure.subplots(1, 1 + beside, sharex=same, sharey=same, squeeze=False)[0]
        models = list(dict.fromkeys(r.model for r in rows))
        colours = colours_of([(model, "") for model in models])
        for model in models:
            colour = colours[model]
            _ours(ours, [r for r in rows if r.model == model], model, colour)
            for axes in others:
                _paper(axes, [r for r in rows if r.model == model], model, colour)
        size = sorted({(r.n, r.seeds) for r in rows if r.mean is not None})
        n = f", n {size[0][0]} x {size[0][1]} seed{'s' * (size[0][1] > 1)}" if size else ""
        ours.set_title(f"ours: suite {rows[0].suite}{n}, whiskers at both ends: 95 % interval", fontsize=9.5)
        for axes in others:
            axes.set_title("the paper, MagicBrush: digitised from its figure", fontsize=9.5)
        for axes in (ours, *others):
            axes.set_xlabel(f"{AXES['clip_direction']} (x100)")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#EEEEEE", linewidth=0.8)
            axes.set_axisbelow(True)
        ours.set_ylabel(f"{AXES['image_similarity']} (x100)")
        _legend(ours, *others)
        warning = "" if rows[0].suite != "published" else "   the paper's points are of other data: not comparable"
        figure.suptitle(f"Figure 3: trade-off by image_guidance_scale{warning}", fontsize=11)
        return save(figure, stem)


def _legend(ours: "Axes", *others: "Axes") -> None:
    if not ours.get_legend_handles_labels()[0]:
        ours.text(0.5, 0.5, "not run", ha="center", va="center", color="#777777", transform=ours.transAxes)
    for axes in (ours, *others):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9, loc="lower left")


def _points(rows: Sequence[SweepRow], value: str) -> list[tuple[float | None, SweepRow, SweepRow]]:
    """(image_guidance_scale, its row of either axis), where both have that value, in order of the scale."""
    found = {(r.image_guidance_scale, r.axis): r for r in rows if getattr(r, value) is not None}
    scales = scales_in([row for row in rows if getattr(row, value) is not None])
    one, other = AXES
    return [(s, found[s, one], found[s, other]) for s in scales if (s, one) in found and (s, other) in found]


def _known(value: float | None) -> float:
    """Of a row that is drawn because it has this value."""
    assert value is not None
    return value


def _ours(axes: "Axes", rows: Sequence[SweepRow], model: str, colour: str) -> None:
    points = _points(rows, "mean")
    x, y = [100 * _known(p[1].mean) for p in points], [100 * _known(p[2].mean) for p in points]
    if not points:
        return
    for of_axis, at in (([p[1] for p in points], x), ([p[2] for p in points], y)):
        # at both ends alone: crosses on all points would cover the curves
        ends = sorted({0, len(points) - 1})
        pairs = [(i, of_axis[i]) for i in ends if of_axis[i].low is not None]
        below = [max(0, 100 * (_known(r.mean) - _known(r.low))) for _, r in pairs]
        above = [max(0, 100 * (_known(r.high) - _known(r.mean))) for _, r in pairs]
        centre, across = ([x[i] for i, _ in pairs], [y[i] for i, _ in pairs]), at is x
        axes.errorbar(*centre, xerr=[below, above] if across else None, yerr=None if across else [below, above],
                      fmt="none", ecolor=colour, alpha=0.35, linewidth=1)  # fmt: skip
    axes.plot(x, y, marker=MARKERS.get(model, "D"), color=colour, markersize=6, label=model_entry(model).printed)
    _ends(axes, [p[0] for p in points], x, y, colour, LABELS.get(model, (6, 5)))


def _paper(axes: "Axes", rows: Sequence[SweepRow], model: str, colour: str) -> None:
    points = _points(rows, "paper")
    if points:
        x, y = [100 * _known(p[1].paper) for p in points], [100 * _known(p[2].paper) for p in points]
        axes.plot(x, y, marker=MARKERS.get(model, "D"), color=colour, markersize=6, markerfacecolor="white",
                  linestyle="--", label=model_entry(model).printed)  # fmt: skip
        _ends(axes, [p[0] for p in points], x, y, colour, LABELS.get(model, (6, 5)))


def _ends(
    axes: "Axes",
    scales: Sequence[float | None],
    x: Sequence[float],
    y: Sequence[float],
    colour: str,
    shift: tuple[int, int],
) -> None:
    """The first and the last scale, written at their points."""
    for i in sorted({0, len(scales) - 1}):
        axes.annotate(labelled(scales[i]), (x[i], y[i]), textcoords="offset points", xytext=shift, fontsize=8,
                      color=colour)  # fmt: skip
