"""A table for a terminal: one block a dataset, so that it reads at 100 columns; plain when piped."""

from collections.abc import Sequence
from pathlib import Path

from bench.comparisons import Comparison
from bench.layout import CellText, Grid, better, column_name, dataset_name, head, model_name, remarks, title


def show(g: Grid, notes: Sequence[str], split: str, tests: Sequence[Comparison], files: Sequence[Path]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 120)  # in a file or a pipe there is no edge to keep to
    for line in (title(g), *head(g, notes, split)):
        console.print(line, markup=False)
    for dataset in dict.fromkeys(dataset for dataset, _ in g.columns):
        metrics = [metric for d, metric in g.columns if d == dataset]
        name = dataset_name(dataset, g.suite)
        table = Table(title=name, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False)
        table.add_column("model", no_wrap=True)
        for metric in metrics:
            table.add_column(column_name(metric), justify="right")
        for model, form in g.models:
            cells = [g.cells.get((model, form, dataset, metric)) for metric in metrics]
            texts = [Text(_text(cell), style="bold" if cell and cell.best else "") for cell in cells]
            table.add_row(model_name(model, form, g.table), *texts)
        console.print()
        console.print(table)
    for line in remarks(g):
        console.print(f"- {line}", markup=False)
    tested = [t for t in tests if t.p is not None]
    if tested:
        held = sum(bool(better(t)) for t in tested)
        console.print(f"\n{held} of {len(tested)} differences between models hold after Holm (p < .05).", markup=False)
    if files:
        console.print("written: " + ", ".join(map(str, files)), markup=False, soft_wrap=True)


def _text(cell: CellText | None) -> str:
    if cell is None:
        return ""
    paper = f"paper {cell.paper}" if cell.paper else ""
    first = " ".join(filter(None, (cell.value or "not run", cell.interval.replace(" ", "\N{NO-BREAK SPACE}"))))
    return "\n".join(filter(None, (first, cell.count, paper, cell.verdict)))
