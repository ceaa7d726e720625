"""How often a metric ranks two rows rightly of which everybody knows the better one. Pure functions on scores.

Rows: the goal image, the input copy, a black image, a model's own outputs, its outputs for other examples' instructions
(shuffled), and its outputs handed to other examples (another's). A tie is not right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bench.controls.shares import summarise_share
from bench.records import Score
from bench.registry import metric_entry

GOAL, COPY, BLACK, OWN, SHUFFLED, OTHER = "goal image", "input copy", "black", "own", "shuffled", "another's"
ROWS = (GOAL, COPY, BLACK, OWN, SHUFFLED, OTHER)
ORDERS = (  # best first
    (GOAL, COPY), (COPY, BLACK), (GOAL, COPY, BLACK), (GOAL, OTHER), (GOAL, SHUFFLED), (OWN, OTHER), (OWN, SHUFFLED),
)  # fmt: skip
PIXELS = "outputs differ"  # in place of a metric: the share of outputs that another instruction changes at all
IGNORES = 0.05  # a model of which fewer outputs change ignores its instruction

Row = Mapping[str, Score]  # by example id, of one metric


@dataclass(frozen=True)
class Ranked:
    suite: str
    dataset: str
    model: str  # whose outputs own, shuffled and another's are
    metric: str
    first: str  # the order that is right, best first: "goal image > input copy"
    value: float | None  # share of examples ranked so
    low: float | None
    high: float | None
    n: int
    of: int  # examples
    groups: int
    ties: int  # examples on which two neighbours of the order score the same
    reason: str
    protocol: str


@dataclass(frozen=True)
class RowMean:
    suite: str
    dataset: str
    model: str
    metric: str
    what: str  # the row
    mean: float | None
    low: float | None
    high: float | None
    n: int
    of: int
    reason: str


def name_of(order: Sequence[str]) -> str:
    return " > ".join(order)


def ranked(said: tuple[str, str, str], metric: str, rows: Mapping[str, Row], of: int) -> list[Ranked]:
    """said: suite, dataset, model. rows: those that were run. of: examples."""
    return [one(said, metric, order, rows, of) for order in ORDERS]


def one(said: tuple[str, str, str], metric: str, order: Sequence[str], rows: Mapping[str, Row], of: int) -> Ranked:
    lower, judged, ties = metric_entry(metric).lower, [], 0
    absent = [row for row in order if not rows.get(row)]
    if absent:
        return Ranked(*said, metric, name_of(order), None, None, None, 0, of, 0, 0, f"not run: {absent[0]}", "")
    for example_id, score in rows[order[0]].items():
        scores = [rows[row].get(example_id) for row in order]
        values = [s.value for s in scores if s is not None and s.value is not None]
        if len(values) < len(order):
            reason = next((s.reason for s in scores if s and s.value is None), "not scored in every row")
            judged.append(Score(example_id, score.group, 0, metric, None, reason, score.protocol))
            continue
        signed = [-v if lower else v for v in values]
        ties += any(a == b for a, b in pairwise(signed))
        right = all(a > b for a, b in pairwise(signed))
        judged.append(Score(example_id, score.group, 0, metric, float(right), "", score.protocol))
    summary = summarise_share(judged)
    left_out = [s.reason for s in judged if s.value is None]
    reason = f"{len(left_out)} of {len(judged)} examples without a value: {left_out[0]}" if left_out else ""
    reason, protocol = "; ".join(filter(None, (summary.reason, reason))), judged[0].protocol if judged else ""
    return Ranked(*said, metric, name_of(order), summary.mean, summary.low, summary.high, summary.n, of, summary.groups,
                  ties, reason, protocol)  # fmt: skip


def changed(
    said: tuple[str, str, str], own: Mapping[str, str], shuffled: Mapping[str, str], groups: Mapping[str, str], of: int
) -> Ranked:
    """The share of examples of which another instruction changes the output at all. own, shuffled: pixel hashes by id;
    groups: each example's group.
    """
    both = [i for i in own if i in shuffled]
    scores = [Score(i, groups[i], 0, PIXELS, float(own[i] != shuffled[i]), "", "SHA-256 of the pixels") for i in both]
    s, ties = summarise_share(scores), sum(own[i] == shuffled[i] for i in both)
    return Ranked(*said, PIXELS, name_of((OWN, SHUFFLED)), s.mean, s.low, s.high, s.n, of, s.groups, ties, s.reason,
                  "SHA-256 of the pixels")  # fmt: skip


def ignores(rows: Sequence[Ranked]) -> list[str]:
    """Notices: on which datasets the model's outputs stay the same whatever it is told."""
    return [
        f"{r.model} ignores its instruction on {r.dataset}: {r.ties} of {r.n} outputs are the same for another "
        "example's instruction"
        for r in rows if r.metric == PIXELS and r.value is not None and r.value < IGNORES
    ]  # fmt: skip
