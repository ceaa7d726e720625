"""Votes -> the numbers of Figures 5 and 6, and how far the annotators agree. Pure functions, no file touched.

Mean and 95 % interval as in every table (bench.stats), of shares as in the controls: over votes, whole groups of
examples stay together.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.controls.shares import summarise_share
from bench.grid.paper import Reported, reported_cells
from bench.grid.rows import compare
from bench.human.alpha import Level, alpha, alpha_interval
from bench.human.study import MODELS, QUESTIONS, TIE
from bench.human.votes import Vote
from bench.records import Score
from bench.stats import summarise, summarise_seconds

LEVELS: dict[int, Level] = {5: "nominal", 6: "ordinal"}  # of measurement, for Krippendorff's alpha
METRICS = {5: "percent preferred", 6: "mean rank score 1-3"}  # as reported.csv names them
PROTOCOL = {
    5: "share of votes for a text, of two (or a tie), blind and in random order",
    6: "3 points for the best of three edits, 2, 1 for the worst; blind and in random order, no ties",
}


@dataclass(frozen=True)
class ChoiceRow:
    figure: int
    suite: str
    criterion: str
    dataset: str  # "all": every item of every dataset
    choice: str  # a model, or tie (Figure 5)
    mean: float | None  # Figure 5: share 0 to 1; Figure 6: points 1 to 3
    low: float | None
    high: float | None
    n: int  # items
    votes: int
    annotators: int
    groups: int
    paper: float | None
    paper_confirmed: str
    difference: float | None
    verdict: str
    reason: str
    protocol: str
    group_least: float | None = None  # lowest and highest mean of a group, where the groups are too few for an interval
    group_most: float | None = None


@dataclass(frozen=True)
class Agreement:
    figure: int
    criterion: str
    who: str  # "all", or an annotator's number
    measure: str
    value: float | None
    low: float | None
    high: float | None
    n: int  # what it is a number of: items, pairs of votes, or votes
    reason: str


def numbered(votes: Sequence[Vote]) -> dict[str, int]:
    """Annotators by the order of their first vote, from 1: the ids that people typed stay in the file of votes."""
    return {who: i for i, who in enumerate(dict.fromkeys(v.annotator for v in votes), 1)}


def points(vote: Vote, criterion: str) -> dict[str, float]:
    """What each choice gets of one vote; empty where the question was not asked."""
    answer = vote.answers.get(criterion)
    if answer is None:
        return {}
    if vote.item.figure == 5:
        return {choice: float(choice == answer) for choice in (*MODELS[5], TIE)}
    return {model: float(3 - place) for place, model in enumerate(answer)}


def rows_of(votes: Sequence[Vote], suite: str) -> list[ChoiceRow]:
    who, rows = numbered(votes), []
    for figure, criteria in QUESTIONS.items():
        here = [v for v in votes if v.item.figure == figure]
        datasets = sorted({v.item.dataset for v in here})
        for criterion in criteria:
            for dataset in ("all", *datasets):
                of = [v for v in here if dataset in ("all", v.item.dataset) and criterion in v.answers]
                rows += (
                    [
                        row_of(of, who, suite, figure, criterion, dataset, choice)
                        for choice in (*MODELS[figure], *((TIE,) if figure == 5 else ()))
                    ]
                    if of
                    else []
                )
    return rows


def row_of(
    votes: Sequence[Vote], who: dict[str, int], suite: str, figure: int, criterion: str, dataset: str, choice: str
) -> ChoiceRow:
    scores = [Score(v.item.id, f"{v.item.dataset}/{v.item.group}", who[v.annotator], criterion,
                    points(v, criterion)[choice], "", PROTOCOL[figure]) for v in votes]  # fmt: skip
    s = summarise_share(scores) if figure == 5 else summarise(scores)
    cell = reported_cells().get((f"figure{figure}", criterion, dataset, choice, METRICS[figure]), Reported())
    if figure == 5 and cell.value is not None:  # printed as percent
        cell = cell._replace(value=cell.value / 100, half_unit=cell.half_unit / 100)
    difference, verdict = (None, "") if cell.value is None else compare(suite, s, cell)
    return ChoiceRow(figure, suite, criterion, dataset, choice, s.mean, s.low, s.high, s.n, len(votes),
               len({v.annotator for v in votes}), s.groups, cell.value, cell.confirmed, difference, verdict, s.reason,
               PROTOCOL[figure], *(s.values[:1] + s.values[-1:]))  # fmt: skip


def agreement_of(votes: Sequence[Vote]) -> list[Agreement]:
    """Krippendorff's alpha of each question, how often each annotator agrees with the others, and the time an item."""
    rows = []
    for figure, criteria in QUESTIONS.items():
        here = [v for v in votes if v.item.figure == figure]
        for criterion in criteria:
            asked = [v for v in here if criterion in v.answers]
            if asked:
                rows += [alpha_of(asked, figure, criterion), *pairwise(asked, figure, criterion, numbered(votes))]
        rows += times(here, figure, numbered(votes)) if here else []
    return rows


def reliability(votes: Sequence[Vote], figure: int, criterion: str) -> tuple[np.ndarray, list[str]]:
    """(annotators, units) with NaN where nobody judged, each unit's group. A unit: an item (5), item x model (6)."""
    who = numbered(votes)
    places: dict[str, int] = {}
    values, groups = [], []
    code = {m: float(i) for i, m in enumerate((*MODELS[5], TIE))}
    for v in votes:
        given = points(v, criterion) if figure == 6 else {"": code[str(v.answers[criterion])]}
        for model, value in given.items():
            unit = f"{v.item.id} {model}"
            if unit not in places:
                places[unit] = len(places)
                groups.append(f"{v.item.dataset}/{v.item.group}")
            values.append((who[v.annotator] - 1, places[unit], value))
    table = np.full((len(who), len(places)), np.nan)
    for row, column, value in values:
        table[row, column] = value
    return table, groups


def alpha_of(votes: Sequence[Vote], figure: int, criterion: str) -> Agreement:
    table, groups = reliability(votes, figure, criterion)
    measure = f"Krippendorff's alpha, {LEVELS[figure]}"
    shared = int(((~np.isnan(table)).sum(axis=0) >= 2).sum()) // (1 if figure == 5 else len(MODELS[6]))
    value = alpha(table, LEVELS[figure])
    if value is None:
        why = "no item with two votes" if not shared else "all answers are the same: nothing to disagree about"
        return Agreement(figure, criterion, "all", measure, None, None, None, shared, why)
    found = alpha_interval(table, groups, LEVELS[figure])
    return Agreement(figure, criterion, "all", measure, value, found.low, found.high, shared, found.reason)


def pairwise(votes: Sequence[Vote], figure: int, criterion: str, who: dict[str, int]) -> Iterator[Agreement]:
    """Each annotator against each other one on the items that both judged."""
    by_item = defaultdict(list)
    for v in votes:
        by_item[v.item.id].append(v)
    same = defaultdict(list)
    for judged in by_item.values():
        for a, b in combinations(judged, 2):
            value = concordance(a, b, criterion)
            same[a.annotator].append(value)
            same[b.annotator].append(value)
    measure = "same answer as another annotator" if figure == 5 else "pairs of edits in the same order as another's"
    for name, number in who.items():
        values = same.get(name, [])
        if any(v.annotator == name for v in votes):
            mean, why = (float(np.mean(values)), "") if values else (None, "nobody else judged the same items")
            yield Agreement(figure, criterion, str(number), measure, mean, None, None, len(values), why)


def concordance(a: Vote, b: Vote, criterion: str) -> float:
    """1 or 0 (Figure 5); the share of the three pairs of edits that both put in the same order (Figure 6)."""
    if a.item.figure == 5:
        return float(a.answers[criterion] == b.answers[criterion])
    first, second = points(a, criterion), points(b, criterion)
    return float(np.mean([(first[x] > first[y]) == (second[x] > second[y]) for x, y in combinations(sorted(first), 2)]))


def times(votes: Sequence[Vote], figure: int, who: dict[str, int]) -> Iterator[Agreement]:
    everybody = [("all", votes)]
    everybody += [(str(i), [v for v in votes if v.annotator == name]) for name, i in who.items()]
    for name, own in everybody:
        if own:
            s = summarise_seconds([v.seconds for v in own])
            yield Agreement(figure, "", name, "median seconds an item", s.mean, s.low, s.high, s.n, s.reason)
