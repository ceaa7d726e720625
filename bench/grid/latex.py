"""The grid of bench.grid.show as LaTeX: booktabs, best in bold, the interval as subscript, the paper's
value below ours.

Needs \\usepackage{booktabs} and, for the width, graphicx. Compiles with pdflatex; no other package.
"""

from collections.abc import Sequence
from itertools import groupby

from bench.grid.between import BEST, column_name, dataset_name, model_name
from bench.grid.paper import MARK
from bench.grid.show import CellText, Grid, said, scaled, title
from bench.registry import SUITES

SIGNS = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
         "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
         MARK: r"\textdagger{}", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "×": r"$\times$", "±": r"$\pm$"}  # fmt: skip


def escaped(text: str) -> str:
    return "".join(SIGNS.get(sign, sign) for sign in text)


def latex(g: Grid, notes: Sequence[str], split: str) -> str:
    lines = [f"% {line}" for line in said(g, notes, split)]
    spans = [(dataset, len(list(columns))) for dataset, columns in groupby(g.columns, key=lambda column: column[0])]
    lines += [r"\begin{table}", r"\centering", r"\resizebox{\textwidth}{!}{%"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(g.columns)}}}", r"\toprule", _datasets(g, spans), _rules(spans)]
    lines += [_metrics(g), r"\midrule"]
    for model, form in g.models:
        cells = [g.cells.get((model, form, d, m)) for d, m in g.columns]
        lines.append(_row(escaped(model_name(model, form, g.table)), [_ours(c) for c in cells]))
        if any(c and c.paper for c in cells):
            lines.append(_row(r"\quad in the paper", [escaped(c.paper) if c else "" for c in cells]))
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{_caption(g, split)}}}"]
    lines += [rf"\label{{tab:{g.suite}-table{g.table}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _caption(g: Grid, split: str) -> str:
    text = f"{title(g)}. Mean with 95 % interval over groups; bold: {BEST}; SSIM, DINO, CVS and CTS x100"
    text += f"{scaled(m for _, m in g.columns)}; {MARK}: value of the paper that is not confirmed; ---: not run."
    if g.suite == "published":
        text += " The paper's values are of other data: not comparable."
    if SUITES[g.suite].hand_picked(split):
        text += f" Hand-picked by the authors, n = {' and '.join(sorted({str(r.of) for r in g.rows if r.of}))}."
    return escaped(text)


def _datasets(g: Grid, spans: Sequence[tuple[str, int]]) -> str:
    heads = [rf"\multicolumn{{{n}}}{{c}}{{{escaped(dataset_name(d, g.suite))}}}" for d, n in spans]
    return _row("", heads)


def _rules(spans: Sequence[tuple[str, int]]) -> str:
    rules, first = [], 2
    for _, n in spans:
        rules.append(rf"\cmidrule(lr){{{first}-{first + n - 1}}}")
        first += n
    return " ".join(rules)


def _metrics(g: Grid) -> str:
    return _row("Model", [escaped(column_name(metric)) for _, metric in g.columns])


def _row(name: str, cells: Sequence[str]) -> str:
    return " & ".join([name, *cells]) + r" \\"


def _ours(cell: CellText | None) -> str:
    if cell is None:
        return ""
    if not cell.value:
        return "---"
    value = rf"\textbf{{{cell.value}}}" if cell.best else cell.value
    fewer = rf"\,({escaped(cell.count.removeprefix('n '))})" if cell.count else ""
    return value + (rf"$_{{{cell.interval}}}$" if cell.half else "") + fewer
