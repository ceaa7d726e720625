"""Does a row of a table edit at all: how many of its outputs change nothing, and how many change far too much.

No-op rate: the share of outputs that are no farther from the input image than the codec copy of it is. Over-edit rate:
the share that is more than FACTOR times as far from it as the goal image is. Distance: l1@input, mean absolute
difference to the input image at the input's size. Both need the codec copy's and the goal image's own run of the same
data; a table runs these beside its rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.controls.shares import METHODS, summarise_share
from bench.grid.between import dataset_name, model_name, no_interval
from bench.grid.rows import Measured
from bench.grid.show import markdown_table
from bench.metrics.sets import DISTANCE
from bench.records import Score

FACTOR = 2.0
NO_OP, OVER_EDIT = "no-op", "over-edit"
YARDSTICKS = {NO_OP: "codec", OVER_EDIT: "oracle"}
WORDS = (
    "No-op: the share of outputs no farther from the input image than the codec copy is. Over-edit: the share more "
    f"than {FACTOR:g} times as far from it as the goal image is. Distance: L1 to the input image. 95 % interval: "
    f"{METHODS}."
)


@dataclass(frozen=True)
class RateRow:
    table: int
    suite: str
    setting: str
    form: str
    dataset: str
    model: str
    rate: str  # no-op, over-edit
    value: float | None  # share of outputs, 0 to 1
    low: float | None
    high: float | None
    n: int  # examples
    of: int | None  # examples that the run has; None: not run
    groups: int
    factor: float | None  # over-edit: how many times the goal's distance
    reason: str
    protocol: str


def rates(table: int, rows: Sequence[Measured], beside: Sequence[Measured]) -> list[RateRow]:
    """Two a row and dataset. beside: the runs of the copies, whether or not they are rows of the table."""
    found = []
    for row in rows:
        for rate, model in YARDSTICKS.items():
            same = [m for m in beside if (m.cell.dataset, m.cell.model) == (row.cell.dataset, model)]
            found.append(rate_of(table, row, rate, same[0] if same else None))
    return found


def rate_of(table: int, row: Measured, rate: str, yardstick: Measured | None) -> RateRow:
    cell, factor = row.cell, FACTOR if rate == OVER_EDIT else None
    said = (table, cell.suite, cell.setting, cell.form, cell.dataset, cell.model, rate)
    reason = why_not(row, rate, yardstick)
    if reason:
        return RateRow(*said, None, None, None, 0, row.run.of if row.run else None, 0, factor, reason, "")
    assert row.run and yardstick and yardstick.run  # else there is a reason
    judged = shares(row.run.scores, distances(yardstick.run.scores), rate)
    summary, protocol = summarise_share(judged), next(s.protocol for s in row.run.scores if s.metric == DISTANCE)
    missing = [s for s in judged if s.value is None]
    left_out = f"{len(missing)} of {len(judged)} outputs not judged: {missing[0].reason}" if missing else ""
    return RateRow(
        *said, summary.mean, summary.low, summary.high, summary.n, row.run.of, summary.groups, factor,
        "; ".join(filter(None, (summary.reason, left_out))), protocol,
    )  # fmt: skip


def why_not(row: Measured, rate: str, yardstick: Measured | None) -> str:
    if row.run is None:
        return f"not run: {row.reason}"
    if not any(s.metric == DISTANCE for s in row.run.scores):
        return f"{row.cell.model} has no distance to the input: give its command again with --metrics {DISTANCE}"
    what = {NO_OP: "the codec copy", OVER_EDIT: "the goal image"}[rate]
    if yardstick is None:
        return f"{what} is no row of this table: add {YARDSTICKS[rate]} to --models"
    if yardstick.run is None:
        return f"{what} was not run: {yardstick.reason}"
    return "" if distances(yardstick.run.scores) else f"{what} has no distance to the input"


def distances(scores: Sequence[Score]) -> dict[str, Score]:
    """By example; of the copies, which no seed changes, the first seed's."""
    found: dict[str, Score] = {}
    for s in scores:
        if s.metric == DISTANCE:
            found.setdefault(s.example_id, s)
    return found


def shares(scores: Sequence[Score], yardstick: Mapping[str, Score], rate: str) -> list[Score]:
    """1 where an output is a no-op, or an over-edit, else 0; none where a distance is not known."""
    found = []
    for s in scores:
        if s.metric != DISTANCE:
            continue
        other = yardstick.get(s.example_id)
        value, reason = None, s.reason or (other.reason if other else f"no {YARDSTICKS[rate]} run of it")
        if s.value is not None and other and other.value is not None:
            value = float(s.value <= other.value if rate == NO_OP else s.value > FACTOR * other.value)
            reason = ""
        found.append(Score(s.example_id, s.group, s.seed, rate, value, reason, s.protocol))
    return found


def percent(row: RateRow) -> str:
    if row.value is None:
        return "not known"
    interval = f" [{100 * row.low:.0f}, {100 * row.high:.0f}]" if row.low is not None and row.high is not None else ""
    return f"{100 * row.value:.1f} %{interval}"


def block(rows: Sequence[RateRow]) -> list[str]:
    """Markdown: a line a row of the table, two columns a dataset; then why a rate is not known."""
    if not rows:
        return []
    datasets = list(dict.fromkeys(r.dataset for r in rows))
    cells = {(r.model, r.form, r.dataset, r.rate): r for r in rows}
    heads = [f"{dataset_name(d, rows[0].suite)}<br>{rate}" for d in datasets for rate in YARDSTICKS]
    table = []
    for model, form in dict.fromkeys((r.model, r.form) for r in rows):
        here = [cells.get((model, form, d, rate)) for d in datasets for rate in YARDSTICKS]
        table.append([model_name(model, form, rows[0].table), *(percent(r) if r else "" for r in here)])
    return ["**Does it edit at all**", "", WORDS, "", *markdown_table(["Model", *heads], table), "", *reasons(rows), ""]


def reasons(rows: Sequence[RateRow]) -> list[str]:
    """Why rates are not known, have no interval, or are of fewer outputs than there are: each once, with where."""
    where: dict[str, dict[str, None]] = {}
    for r in rows:
        if r.reason and not r.reason.startswith("no interval"):
            where.setdefault(r.reason, {})[f"{r.rate} on {dataset_name(r.dataset, r.suite)}"] = None
    lines = [f"{', '.join(names)}: {reason}" for reason, names in where.items()]
    lines += no_interval((dataset_name(r.dataset, r.suite), r.groups) for r in rows if r.value is not None)
    return [f"- {line}" for line in lines]


def footer(rows: Sequence[RateRow]) -> list[str]:
    """For a terminal: a line a dataset and rate."""
    lines = []
    for dataset in dict.fromkeys(r.dataset for r in rows):
        for rate in YARDSTICKS:
            here = [r for r in rows if (r.dataset, r.rate) == (dataset, rate) and r.value is not None]
            said = ", ".join(f"{model_name(r.model, r.form, r.table).partition(' (')[0]} {percent(r)}" for r in here)
            if here:
                lines.append(f"{rate.capitalize()}, {dataset_name(dataset, here[0].suite)}: {said}")
    return [*([WORDS] if lines else []), *lines, *reasons(rows)]
