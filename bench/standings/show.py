"""The standings for readers: on a terminal of 80 columns, as Markdown, as CSV in long form. Values as their source
prints them, never scaled; at most four digits are shown, the CSV has all.
"""

import csv
import io
import textwrap
from collections.abc import Sequence

from bench.grid.show import markdown_table
from bench.standings.blocks import MARKS, Block, Cell, Differing, Entry, Standings, copy_of_input
from bench.standings.published import lower, printed

WIDTH = 80
NAME, MARKED, SOURCE = 29, 3, 5  # letters of a system, its marks, its source's number on the terminal
LEFT = 2 + NAME + 1 + MARKED
TRAINED = {"yes": "trained on MagicBrush", "no": "not trained on it", "unknown": "training data not known"}
# Checkpoints of which the mark T and the source say as much.
PLAIN = ("-", "official", "as ", "not stated", "MagicBrush checkpoint", "MagicBrush: ", "HIVE-MagicBrush", "re-run by")
FIELDS = ("dataset", "turns", "protocol", "place", "system", "checkpoint", "trained_on_magicbrush", "metric", "value",
          "low", "high", "n", "own", "source", "marks", "protocol_of_scores", "note")  # fmt: skip


def title(s: Standings) -> str:
    turns = f", {s.turns} turn" if s.has_turns else ""
    return f"Standings: {'MagicBrush' if s.dataset == 'magicbrush' else s.dataset}{turns}"


def answer(s: Standings) -> list[str]:
    """What a reader must know first."""
    if s.first is None:
        return ["No number of one block can be compared with one of another."]
    rows = [e for e in s.first.entries if not e.bound and not e.own and s.by in e.cells]
    copy = copy_of_input(s.first).get(s.by)
    placed = sum(e.own for e in s.first.entries)
    lines = []
    if copy:
        better = [e for e in rows if (e.cells[s.by].value < copy.value) == lower(s.by) and e.cells[s.by] != copy]
        beaten = "none is" if not better else f"{len(better)} {'is' if len(better) == 1 else 'are'}"
        lines.append(
            f"Of {len(rows)} published rows {beaten} better in {printed(s.by)} than a copy of the input ({copy.text})."
        )
    else:
        lines.append("No source prints what a copy of the input scores here; python -m bench.run --suite paper "
                     "--data-root DIR --model identity --dataset magicbrush --size native --metrics magicbrush "
                     f"--turns {s.turns} makes that row.")  # fmt: skip
    lines.append(f"Own runs in this table: {placed or 'none'}." + " Each with its 95 % interval." * bool(placed))
    return lines


def unplaced(s: Standings) -> list[str]:
    """Own runs, or cells of them, that are not in the table: why, and what would place them."""
    if s.dataset != "magicbrush":
        return ["Own runs are placed for --dataset magicbrush alone: its script is the one that this project follows."]
    lines = []
    for said, why, runs in s.left_out:
        names = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
        lines.append(f"{said}: {names}: {why}.")
    if not s.left_out and not any(e.own for e in (s.first.entries if s.first else ())):
        from bench.standings.placement import MINIATURE

        lines.append(f"No finished run of MagicBrush is here. The miniature's are never placed: {MINIATURE}.")
    return lines


def label(entry: Entry) -> str:
    """On a terminal and in the plot; the Markdown has the checkpoint in full."""
    plain = entry.checkpoint.startswith(PLAIN)
    return entry.system if plain else f"{entry.system}, {entry.checkpoint.removeprefix('MagicBrush-')}"


def kind(entry: Entry) -> str:
    """Of a run that is placed, whose it is."""
    return "bundle" if "b" in entry.marks else "own run"


def shown(cell: Cell | None) -> str:
    """At most four digits behind the point, and seven signs."""
    if cell is None:
        return ""
    text = f"{cell.value:.4f}" if len(cell.text.partition(".")[2]) > 4 else cell.text
    return text if len(text) <= 7 else f"{cell.value:.1f}"


def terminal(s: Standings) -> str:
    lines = [title(s), *wrapped(answer(s))]
    for block in s.blocks:
        lines += ["", *terminal_block(s, block)]
        if block is s.first:
            lines += ["", *terminal_differing(s)]
    return "\n".join([*lines, "", *wrapped(unplaced(s)), *wrapped(legend(s)), *sources(s)])


def wrapped(lines: Sequence[str], indent: str = "  ") -> list[str]:
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
    ]


def heading(block: Block, s: Standings) -> str:
    where = "" if s.first and block.dataset == s.first.dataset else f"{block.dataset}: "
    count = len(block.entries)
    return f"{where}{block.title} ({count} row{'s' * (count != 1)})"


def terminal_block(s: Standings, block: Block) -> list[str]:
    lines = wrapped([heading(block, s), *([f"  Apart, because {block.reason}."] if block.reason else [])])
    for metrics in pages(block.metrics):
        widths = [max(7, len(printed(m))) for m in metrics]
        head = "".join(f" {printed(m):>{width}}" for m, width in zip(metrics, widths, strict=True))
        lines.append(f"{'':{LEFT}}{head}")
        for entry in block.entries:
            if any(m in entry.cells for m in metrics):
                lines += terminal_entry(s, entry, metrics, widths)
    return lines


def pages(metrics: Sequence[str]) -> list[list[str]]:
    """Columns that fit beside the name, the marks and the source."""
    found: list[list[str]] = [[]]
    for metric in metrics:
        taken = sum(1 + max(7, len(printed(m))) for m in (*found[-1], metric))
        if found[-1] and taken > WIDTH - LEFT - SOURCE:
            found.append([])
        found[-1].append(metric)
    return found


def terminal_entry(s: Standings, entry: Entry, metrics: Sequence[str], widths: Sequence[int]) -> list[str]:
    sign = ">" if entry.own else "=" if entry.bound else " "
    name = label(entry)
    name = name if len(name) <= NAME else f"{name[: NAME - 3]}..."
    numbers = "".join(f" {shown(entry.cells.get(m)):>{w}}" for m, w in zip(metrics, widths, strict=True))
    source = f"[{s.sources.index(entry.source) + 1}]"
    lines = [f"{sign} {name:<{NAME}} {entry.marks:<{MARKED}}{numbers}{source:>{SOURCE}}".rstrip()]
    if entry.own:
        halves = (half(entry.cells.get(m)) for m in metrics)
        lines.append(f"{'':{LEFT}}{''.join(f' {h:>{w}}' for h, w in zip(halves, widths, strict=True))}".rstrip())
    return lines


def half(cell: Cell | None) -> str:
    """Half the width of an own run's interval."""
    return "" if cell is None or cell.low is None or cell.high is None else f"±{(cell.high - cell.low) / 2:.4f}"


def terminal_differing(s: Standings) -> list[str]:
    if not s.differing:
        return []
    lines = wrapped(["One system, numbers that rounding does not explain, side by side"])
    system = None
    for d in s.differing:
        if (d.system, d.trained) != system:
            system = (d.system, d.trained)
            lines.append(f"  {d.system}, {TRAINED[d.trained]}")
        values = ", ".join(f"{shown(cell)} [{s.sources.index(e.source) + 1}]" for cell, e in d.values)
        lines += textwrap.wrap(
            f"    {printed(d.metric):<7} {values}; spread {spread(d)}", WIDTH, subsequent_indent=" " * 12
        )
    return lines


def spread(d: Differing) -> str:
    return f"{d.values[-1][0].value - d.values[0][0].value:.4f}"


def legend(s: Standings) -> list[str]:
    entries = [e for b in s.blocks for e in b.entries]
    used = [f"{mark} {said}" for mark, (said, _) in MARKS.items() if any(mark in e.marks for e in entries)]
    signs = "= a copy of the input or the goal image, no editor" + "; > own run, ± half its 95 % interval" * any(
        e.own for e in entries
    )
    return [
        f"{signs}. Best first by {printed(s.by)}, or by the first column.",
        *([f"Marks: {'; '.join(used)}."] if used else []),
    ]


def sources(s: Standings) -> list[str]:
    own = {e.source for b in s.blocks for e in b.entries if e.own}
    said = [f"  [{n}] {'the run folder ' * (name in own)}{name}" for n, name in enumerate(s.sources, 1)]
    return ["Sources:", *(part for line in said for part in textwrap.wrap(line, WIDTH, subsequent_indent=" " * 7))]


def markdown(s: Standings) -> str:
    lines = [f"# {title(s)}", "", *(f"- {line}" for line in (*answer(s), *unplaced(s), *legend(s))), ""]
    for block in s.blocks:
        lines += [f"## {heading(block, s)}", ""]
        if block.reason:
            lines += [f"Apart from the others: {block.reason}.", ""]
        lines += [*markdown_block(block), ""]
        if block is s.first:
            lines += markdown_differing(s)
    return "\n".join(lines).rstrip() + "\n"


def markdown_block(block: Block) -> list[str]:
    header = ["System", "Checkpoint", "Marks", "Source", "Note", *(f"{printed(m)} {arrow(m)}" for m in block.metrics)]
    rows = []
    for e in block.entries:
        name = f"**{e.system}** ({kind(e)})" if e.own else f"*{e.system}*" if e.bound else e.system
        numbers = (markdown_cell(e.cells.get(m)) for m in block.metrics)
        rows.append([name, e.checkpoint, e.marks, e.source, "; ".join(e.notes), *numbers])
    return markdown_table(header, rows, 5)


def arrow(metric: str) -> str:
    return "\N{DOWNWARDS ARROW}" if lower(metric) else "\N{UPWARDS ARROW}"


def markdown_cell(cell: Cell | None) -> str:
    interval = "" if cell is None or cell.low is None else f"<br>[{cell.low:.4f}, {cell.high:.4f}]"
    return shown(cell) + interval


def markdown_differing(s: Standings) -> list[str]:
    if not s.differing:
        return []
    rows = [
        [f"{d.system}, {TRAINED[d.trained]}", printed(d.metric), "<br>".join(
            f"{shown(c)}: {e.source}{'' if e.checkpoint == '-' else f' ({e.checkpoint})'}" for c, e in d.values
        ), spread(d)]
        for d in s.differing
    ]  # fmt: skip
    head = "## One system, numbers that rounding does not explain, side by side"
    return [head, "", *markdown_table(["System", "Metric", "Value: source", "Spread"], rows, 3), ""]


def csv_text(s: Standings) -> str:
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FIELDS)
    for block in s.blocks:
        for place, e in enumerate(block.entries, 1):
            for metric, cell in e.cells.items():
                value = repr(cell.value) if e.own else cell.text
                low, high = ("" if end is None else repr(end) for end in (cell.low, cell.high))
                table.writerow((
                    block.dataset, block.turns, block.protocol, place, e.system, e.checkpoint, e.trained, metric,
                    value, low, high, cell.n or "", "yes" if e.own else "no", e.source, e.marks, cell.protocol,
                    "; ".join(e.notes),
                ))  # fmt: skip
    return text.getvalue()
