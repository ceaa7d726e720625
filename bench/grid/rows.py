"""One row a cell of a table: our mean, interval, n; the paper's value; difference and verdict. CSV in long form.

Values are unscaled. A cell that was not run is a row with its reason, never 0, never dropped. Difference and verdict
exist only in suite paper: other suites are other data. Seconds are a median over all datasets (dataset "all").
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

from bench.grid.cells import Cell, Finished, one_line
from bench.grid.paper import Reported, reported
from bench.records import REWRITING, Score
from bench.stats import Summary, holm, paired_test, smallest_difference, summarise, summarise_seconds

RELEASED = "if these are the released weights: they are trained on IPr2Pr and MagicBrush, not Table 1's zero-shot model"
NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class TableRow:
    table: int
    suite: str
    setting: str
    form: str
    dataset: str
    model: str
    metric: str
    mean: float | None
    low: float | None
    high: float | None
    n: int  # examples with a value (seconds: timings, of a batch each)
    of: int | None  # examples that the run has (seconds: timings too); None: not run
    groups: int
    seeds: int
    paper: float | None
    paper_confirmed: str
    difference: float | None
    verdict: str
    reason: str  # why there is no mean, no interval, or fewer than all examples; or what to know of this cell
    protocol: str
    run: str
    method: str = ""  # of the interval
    group_least: float | None = None  # lowest and highest mean of a group, where the groups are too few for an interval
    group_most: float | None = None


class Measured(NamedTuple):
    """One cell of the grid: its run, or why there is none."""

    cell: Cell
    run: Finished | None
    reason: str = ""


def rows_of(table: int, measured: Measured, metrics: Sequence[str], seeds: int, runs: str) -> list[TableRow]:
    """One row a metric. runs: the folder that the run folders are said to be in."""
    return [_row(table, measured, metric, seeds, runs) for metric in metrics]


def _row(table: int, measured: Measured, metric: str, seeds: int, runs: str) -> TableRow:
    cell, run, said = measured
    scores = [s for s in run.scores if s.metric == metric] if run else []
    if run and scores:
        summary, reason = summarise(scores), left_out(scores, run.of)
        of, groups, folder, protocol = run.of, summary.groups, f"{runs}/{run.name}", _protocol(scores)
        seeds = len({s.seed for s in scores})
        reason = "; ".join(filter(None, (summary.reason, reason, run.cut.get(metric), _released(cell))))
    else:
        summary, of, groups, folder, protocol = Summary(None, None, None, 0, 0), None, 0, "", ""
        why = said if run is None else run.not_run.get(metric, "not among the metrics of this run")
        reason = f"not run: {one_line(why)}"
    printed = reported(table, cell.setting, cell.form, cell.dataset, cell.model, metric)
    return TableRow(
        table, cell.suite, cell.setting, cell.form, cell.dataset, cell.model, metric, summary.mean, summary.low,
        summary.high, summary.n, of, groups, seeds, printed.value, printed.confirmed,
        *compare(cell.suite, summary, printed), reason, protocol, folder, summary.method,
        *((summary.values[0], summary.values[-1]) if summary.values else (None, None)),
    )  # fmt: skip


def left_out(scores: Sequence[Score], of: int) -> str:
    """Why some scores are missing, most frequent reason first; empty when none is."""
    expected = of * len({s.seed for s in scores})
    reasons = Counter(one_line(s.reason) for s in scores if s.value is None)
    if len(scores) < expected:
        reasons["never made: give the run's command again"] += expected - len(scores)
    if not reasons:
        return ""
    first, count = reasons.most_common(1)[0]
    more = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
    return f"{reasons.total()} of {expected} scores missing: {count} x {first}{more}"


def _protocol(scores: Sequence[Score]) -> str:
    return " and ".join(dict.fromkeys(s.protocol for s in scores))


def _released(cell: Cell) -> str:
    if (cell.suite, cell.model, cell.form, cell.setting) != ("paper", "mgie", "e2e", "zero-shot"):
        return ""
    return RELEASED + ("; this cell is then not zero-shot" if cell.dataset == "magicbrush" else "")


def compare(suite: str, ours: Summary, printed: Reported) -> tuple[float | None, str]:
    """Difference (ours minus the paper's) and verdict. A printed number agrees if any value it may round agrees."""
    if suite != "paper":
        return None, NOT_COMPARABLE
    if ours.mean is None or printed.value is None:
        return None, "not run" if ours.mean is None else ""
    difference = ours.mean - printed.value
    if ours.low is None or ours.high is None:
        return difference, "no interval"
    inside = ours.low - printed.half_unit <= printed.value <= ours.high + printed.half_unit
    return difference, "agrees" if inside else "outside the interval"


def seconds_rows(table: int, cells: Sequence[Measured], seeds: int) -> list[TableRow]:
    """The inference time of one model (one form), and where a rewriter stands before it, how much of it is its own."""
    rows = [seconds_row(table, cells, seeds)]
    rewritten = any(m.run and m.run.rewriting for m in cells)
    return [*rows, seconds_row(table, cells, seeds, REWRITING)] if rewritten else rows


def seconds_row(table: int, cells: Sequence[Measured], seeds: int, metric: str = "seconds") -> TableRow:
    """Median seconds an edit over all timings of its finished cells. metric: seconds, or of these REWRITING."""
    cell, runs = cells[0].cell, [m.run for m in cells if m.run]
    seconds = [s for run in runs for s in (run.seconds if metric == "seconds" else run.rewriting)]
    summary = summarise_seconds(seconds)
    why = "the output images were given" if runs else cells[0].reason
    reason = summary.reason if seconds else f"not run: {why}"
    devices = " and ".join(dict.fromkeys(run.device for run in runs if run.seconds))
    batches = ", ".join(sorted({str(run.batch_size) for run in runs if run.seconds}))
    protocol = f"median seconds an edit, n counts timed batches, batch size {batches}, {devices}" if seconds else ""
    return TableRow(
        table, cell.suite, cell.setting, cell.form, "all", cell.model, metric, *summary[:4],
        summary.n if seconds else None, 0, seeds, None, "", None, NOT_COMPARABLE, reason,
        protocol, "", summary.method,
    )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A paired test between two models in one metric on one dataset."""

    table: int
    suite: str
    setting: str
    dataset: str
    metric: str
    a: str
    b: str
    family: str  # of the tests that Holm corrects together: MODELS or COPY
    difference: float | None  # mean of a minus mean of b, unscaled, over the examples that both have
    low: float | None  # 95 % interval of the difference: without 0 exactly where p is below 0.05
    high: float | None
    p: float | None
    p_holm: float | None  # over the tests of this table and family
    n: int
    groups: int
    smallest: float | None  # the smallest difference that these groups show with 80 % power
    method: str
    reason: str


MODELS, COPY = "models", "input copy"  # between models; a model against the input copy, which is none


def comparisons(table: int, cells: Sequence[Measured], metrics_of: dict[str, Sequence[str]]) -> list[Comparison]:
    """Every pair of models that the table invites to compare; codec and oracle left out, they are no contenders.

    Table 3: forms of one model, models in one form, and each against identity. Whether models differ from each other
    and whether they differ from doing nothing are two questions: Holm corrects the tests of each by themselves.
    """
    found, rank = [], {"mgie": 0, "lgie": 1, "inspix2pix": 2, "identity": 4}
    for dataset, metrics in metrics_of.items():
        here = [m for m in cells if m.cell.dataset == dataset and m.run and m.cell.model not in ("codec", "oracle")]
        here.sort(key=lambda m: (rank.get(m.cell.model, 3), m.cell.form != "e2e", m.cell.form != "ft"))
        for metric in metrics:
            for a, b in combinations(here, 2):
                if invited(a.cell, b.cell):
                    found.append(_comparison(table, a, b, dataset, metric))
    for family in (MODELS, COPY):
        tested = [(i, c.p) for i, c in enumerate(found) if c.family == family and c.p is not None]
        for (i, _), adjusted in zip(tested, holm([p for _, p in tested]), strict=True):
            found[i] = replace(found[i], p_holm=adjusted)
    return found


def invited(a: Cell, b: Cell) -> bool:
    return a.form == b.form or a.model == b.model or "none" in (a.form, b.form)


def contender(model: str, form: str, table: int) -> str:
    """What a test calls it: in Table 3 with its form."""
    return f"{model} {form}" if table == 3 and form != "none" else model


def _comparison(table: int, a: Measured, b: Measured, dataset: str, metric: str) -> Comparison:
    assert a.run and b.run  # comparisons takes no others
    one, other = ([s for s in run.scores if s.metric == metric] for run in (a.run, b.run))
    test = paired_test(one, other)
    first, second = (contender(m.cell.model, m.cell.form, table) for m in (a, b))
    family = COPY if "identity" in (a.cell.model, b.cell.model) else MODELS
    return Comparison(
        table, a.cell.suite, a.cell.setting, dataset, metric, first, second, family, test.difference, test.low,
        test.high, test.p, None, test.n, test.groups, smallest_difference(one, other).difference, test.method,
        test.reason,
    )  # fmt: skip
