"""Editor x rewriter: a row a metric, and the paired test of each rewriter against none, by dataset.

The same examples and seeds on both sides; whole groups are flipped. Where the dataset knows which instructions are
ambiguous these stand apart as well. Two families, each with its own Holm: all examples, and the parts by ambiguity.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.grid.cells import Cell, Finished, one_line
from bench.grid.rows import Measured, left_out, seconds_rows
from bench.records import Score
from bench.runs.folder import RunFolder
from bench.runs.rewriting.texts import NAME, lines_in
from bench.stats import holm, paired_test, smallest_difference, summarise

NONE = "none"
ALL, AMBIGUOUS, UNAMBIGUOUS = "all", "ambiguous", "unambiguous"
WHOLE, PARTS = "all examples", "by ambiguity"  # families


@dataclass(frozen=True)
class RewriteRow:
    suite: str
    setting: str
    form: str
    dataset: str  # "all": seconds
    subset: str  # of the examples
    model: str
    rewriter: str
    metric: str
    mean: float | None  # of seconds the median
    low: float | None
    high: float | None
    n: int
    of: int | None  # None: not run
    groups: int
    seeds: int
    reason: str
    protocol: str
    run: str
    method: str = ""


@dataclass(frozen=True)
class RewriteTest:
    """One rewriter against none, before one editor, in one metric on one dataset."""

    suite: str
    setting: str
    dataset: str
    subset: str
    metric: str
    model: str
    rewriter: str
    family: str
    difference: float | None  # with the rewriter minus without, unscaled
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None  # over the tests of this table and family
    n: int
    groups: int
    smallest: float | None  # the smallest difference that these groups show with 80 % power
    method: str
    reason: str


class Rewritten(NamedTuple):
    """One cell: an editor behind a rewriter."""

    measured: Measured
    rewriter: str  # as it is printed
    folder: Path | None

    @property
    def cell(self) -> Cell:
        return self.measured.cell

    @property
    def run(self) -> Finished | None:
        return self.measured.run


Known = Callable[[str], bool]  # whether the instruction of an example is ambiguous


def subsets_of(dataset: str, knows: Mapping[str, Known]) -> tuple[str, ...]:
    return (ALL, AMBIGUOUS, UNAMBIGUOUS) if dataset in knows else (ALL,)


def part_of(scores: Sequence[Score], metric: str, subset: str, known: Known | None) -> list[Score]:
    here = [s for s in scores if s.metric == metric]
    if subset == ALL or known is None:
        return here
    return [s for s in here if known(s.example_id) == (subset == AMBIGUOUS)]


def rows_of(
    cells: Sequence[Rewritten], metrics: Mapping[str, Sequence[str]], knows: Mapping[str, Known], seeds: int, runs: str
) -> list[RewriteRow]:
    """metrics, knows: by dataset. runs: the folder that the run folders are said to be in. Times at the end."""
    rows: list[RewriteRow] = []
    for one in cells:
        dataset = one.cell.dataset
        for subset in subsets_of(dataset, knows):
            rows += [row_of(one, subset, m, knows.get(dataset), seeds, runs) for m in metrics[dataset]]
    for model, rewriter in dict.fromkeys((one.cell.model, one.rewriter) for one in cells):
        here = [one.measured for one in cells if (one.cell.model, one.rewriter) == (model, rewriter)]
        for r in seconds_rows(1, here, seeds):
            rows.append(RewriteRow(
                r.suite, r.setting, r.form, "all", ALL, model, rewriter, r.metric, r.mean, r.low, r.high, r.n, r.of,
                r.groups, r.seeds, r.reason, r.protocol, "", r.method,
            ))  # fmt: skip
    return rows


def row_of(one: Rewritten, subset: str, metric: str, known: Known | None, seeds: int, runs: str) -> RewriteRow:
    cell, run = one.cell, one.run
    head = cell.suite, cell.setting, cell.form, cell.dataset, subset, cell.model, one.rewriter, metric
    scores = part_of(run.scores, metric, subset, known) if run else []
    if run is None or not scores:
        why = one.measured.reason if run is None else run.not_run.get(metric, "no example of this kind")
        return RewriteRow(*head, None, None, None, 0, None, 0, seeds, f"not run: {one_line(why)}", "", "")
    found, of = summarise(scores), len({s.example_id for s in scores}) if subset != ALL else run.of
    protocol = " and ".join(dict.fromkeys(s.protocol for s in scores))
    reason = "; ".join(filter(None, (found.reason, left_out(scores, of), run.cut.get(metric))))
    return RewriteRow(
        *head, found.mean, found.low, found.high, found.n, of, found.groups, len({s.seed for s in scores}), reason,
        protocol, f"{runs}/{run.name}", found.method,
    )  # fmt: skip


def tests_of(
    cells: Sequence[Rewritten], metrics: Mapping[str, Sequence[str]], knows: Mapping[str, Known]
) -> list[RewriteTest]:
    """Each rewriter against none before the same editor; nothing where one of both was not run."""
    found: list[RewriteTest] = []
    plain = {(one.cell.dataset, one.cell.model): one for one in cells if one.rewriter == NONE}
    for one in cells:
        dataset, base = one.cell.dataset, plain.get((one.cell.dataset, one.cell.model))
        if one.rewriter == NONE or base is None or one.run is None or base.run is None:
            continue
        for subset in subsets_of(dataset, knows):
            for metric in metrics[dataset]:
                a, b = (part_of(run.scores, metric, subset, knows.get(dataset)) for run in (one.run, base.run))
                found.append(tested(one, subset, metric, a, b))
    for family in (WHOLE, PARTS):
        places = [(i, t.p) for i, t in enumerate(found) if t.family == family and t.p is not None]
        for (i, _), adjusted in zip(places, holm([p for _, p in places]), strict=True):
            found[i] = replace(found[i], p_holm=adjusted)
    return found


def tested(one: Rewritten, subset: str, metric: str, a: Sequence[Score], b: Sequence[Score]) -> RewriteTest:
    cell, t = one.cell, paired_test(a, b)
    family = WHOLE if subset == ALL else PARTS
    return RewriteTest(
        cell.suite, cell.setting, cell.dataset, subset, metric, cell.model, one.rewriter, family, t.difference, t.low,
        t.high, t.p, None, t.n, t.groups, smallest_difference(a, b).difference, t.method, t.reason,
    )  # fmt: skip


def deaf(one: Rewritten, base: Rewritten) -> tuple[int, int]:
    """How many outputs are the same pixels as without the rewriter, of those whose text is another."""
    if one.folder is None or base.folder is None:
        return 0, 0
    mine, theirs = (RunFolder(folder).edits() for folder in (one.folder, base.folder))
    changed = {t.id for t in lines_in(one.folder / NAME) if t.text.strip() != t.instruction.strip()}
    keys = [key for key in mine.keys() & theirs.keys() if key[1] in changed]
    return sum(mine[key].image_sha256 == theirs[key].image_sha256 for key in keys), len(keys)
