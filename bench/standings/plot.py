"""The standings as a picture: a line a row of MagicBrush's script, a panel a metric; dashed: the input copy."""

from pathlib import Path

from bench.figures.drawing import drawing
from bench.standings.blocks import Entry, Standings, copy_of_input
from bench.standings.published import printed
from bench.standings.show import arrow, kind, label, title

OWN, SEEN, PLAIN, BOUND = "#009E73", "#E69F00", "#0072B2", "#555555"


def plot(s: Standings, path: Path) -> None:
    """Writes path, a PNG. Raises ValueError where no block is of MagicBrush's script."""
    if s.first is None:
        raise ValueError(f"{s.dataset}: no row is of MagicBrush's script, so there is nothing to draw")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    entries = s.first.entries
    copy = copy_of_input(s.first)
    with drawing():
        size = (12, 1.2 + 0.19 * len(entries))
        figure, panels = pyplot.subplots(1, len(s.first.metrics), sharey=True, figsize=size)
        # constrained layout would take longer than all else
        figure.subplots_adjust(left=0.24, right=0.99, top=1 - 0.6 / size[1], bottom=0.3 / size[1], wspace=0.08)
        for axes, metric in zip(panels, s.first.metrics, strict=True):
            for place, entry in enumerate(entries):
                if (cell := entry.cells.get(metric)) is None:
                    continue
                colour = OWN if entry.own else BOUND if entry.bound else SEEN if entry.trained == "yes" else PLAIN
                axes.plot(cell.value, place, marker="D" if entry.own else "o", markersize=4, color=colour,
                          fillstyle="none" if entry.trained == "unknown" and not entry.bound else "full")  # fmt: skip
                if cell.low is not None:
                    axes.plot([cell.low, cell.high], [place, place], color=colour, linewidth=1.5)
            if metric in copy:
                axes.axvline(copy[metric].value, color=BOUND, linestyle="--", linewidth=0.8)
            axes.set_title(f"{printed(metric)} {arrow(metric)}", fontsize=9)
            axes.grid(axis="y", linewidth=0.3)
            axes.tick_params(labelsize=7)
        panels[0].set_yticks(range(len(entries)), [named(e) for e in entries], fontsize=7)
        panels[0].set_ylim(len(entries) - 0.5, -0.5)
        figure.suptitle(f"{title(s)}, by MagicBrush's own script. Orange: trained on its training split; hollow: not "
                        "known; green: own runs; dashed: input copy", fontsize=9, y=1 - 0.15 / size[1])  # fmt: skip
        figure.savefig(path, dpi=100, metadata={"Software": None})
        pyplot.close(figure)


def named(entry: Entry) -> str:
    """A system with whoever prints its numbers."""
    if entry.own:
        return f"{label(entry)[:40]} ({kind(entry)} {entry.source[-8:]})"
    source, issue = entry.source.partition(" ")[0], entry.source.rpartition("/issues/")[2]
    return f"{label(entry)[:32]} ({f'MagicBrush issue {issue}' if source.startswith('github.com') else source})"
