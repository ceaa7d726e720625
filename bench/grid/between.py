"""What the tests of a table say: who is marked as best, what holds in words, what could have been shown.

Best: who beats every other model after Holm, or the whole group that no other model is shown to beat. So nothing is
marked alone that no test bears out, nor beside another that beats it (Table 3 does not test every model against the
best mean). The input copy, the codec copy and the goal image are no models and are never marked.
"""

from collections.abc import Iterable, Sequence

from bench.grid.paper import as_printed
from bench.grid.rows import COPY, MODELS, Comparison, TableRow, contender
from bench.registry import DATASETS, TIMES, metric_entry, model_entry, short_name
from bench.resampling.intervals import BCA_GROUPS, LEAST_GROUPS

LEVEL = 0.05
LISTED = 6  # findings that the last line of a table spells out
BEST = (
    "beats every other model after Holm (p < 0.05), or belongs to the whole group of models that no other is shown to "
    "beat"
)

Key = tuple[str, str, str, str]  # model, form, dataset, metric


def model_name(model: str, form: str, table: int) -> str:
    name = model_entry(model).printed
    return f"{name} {form.upper()}" if table == 3 and form != "none" else name


def column_name(metric: str) -> str:
    return f"{metric_entry(metric).printed} {metric_entry(metric).arrow}"


def dataset_name(dataset: str, suite: str) -> str:
    if dataset not in DATASETS:
        return "all datasets"
    return f"{'mini-' if suite == 'mini' else ''}{DATASETS[dataset].printed}"


def no_interval(
    groups: Iterable[tuple[str, int]], instead: str = f"under {LEAST_GROUPS} it would cover the truth too rarely"
) -> list[str]:
    """A note where groups are too few for an interval. groups: of what, and how many."""
    few = dict.fromkeys(f"{name} {count}" for name, count in groups if count < LEAST_GROUPS)
    return [f"Too few groups for an interval ({', '.join(few)}): {instead}."] if few else []


def few_groups(groups: Sequence[tuple[str, int]], instead: str) -> list[str]:
    """The same with a note where a mean's interval comes from few groups. instead: what stands in its place."""
    few = dict.fromkeys(f"{name} {count}" for name, count in groups if LEAST_GROUPS <= count < BCA_GROUPS)
    said = f"Few groups ({', '.join(few)}): bootstrap-t in place of BCa, which would cover the truth too rarely; its " \
           "ends may pass a metric's range."  # fmt: skip
    return [*([said] if few else []), *no_interval(groups, instead)]


def test_name(name: str) -> str:
    model, _, form = name.partition(" ")
    return f"{short_name(model)} {form.upper()}".strip()


def better(test: Comparison) -> str:
    """Whose mean is better, where the difference holds after Holm; else empty."""
    if test.p_holm is None or test.p_holm >= LEVEL:
        return ""
    assert test.difference is not None  # what has a p has one
    return test.a if (test.difference < 0) == metric_entry(test.metric).lower else test.b


def best(rows: Sequence[TableRow], tests: Sequence[Comparison]) -> set[Key]:
    """The cells that are marked; none in a column with fewer than two models."""
    marked: set[Key] = set()
    for dataset, metric in dict.fromkeys((r.dataset, r.metric) for r in rows if r.metric not in TIMES):
        here = [r for r in rows if (r.dataset, r.metric) == (dataset, metric)]
        here = [r for r in here if r.mean is not None and not model_entry(r.model).bound]
        if len(here) < 2:
            continue
        means = [r.mean if metric_entry(metric).lower else -r.mean for r in here if r.mean is not None]
        first = here[means.index(min(means))]
        tested = [t for t in tests if (t.dataset, t.metric, t.family) == (dataset, metric, MODELS) and better(t)]
        beaten = {t.b if better(t) == t.a else t.a for t in tested}
        marked |= {(r.model, r.form, dataset, metric) for r in here
                   if r is first or contender(r.model, r.form, r.table) not in beaten}  # fmt: skip
    return marked


def in_words(tests: Sequence[Comparison]) -> list[str]:
    """One line a family of tests: how many hold, and which."""
    lines = []
    for family, opening in ((MODELS, "Between models"), (COPY, "Against the input copy")):
        mine = [t for t in tests if t.family == family and t.p is not None]
        if not mine:
            continue
        found = [t for t in mine if better(t)]
        count = f"{opening}, {len(mine)} test{'s' * (len(mine) > 1)}: "
        if not found:
            lines.append(f"{count}none holds after Holm (p < 0.05).")
        elif family == COPY:
            above = sum(better(t) not in ("identity", "identity none") for t in found)
            lines.append(f"{count}{_hold(len(found))}: the model is better in {above} and worse in "
                         f"{len(found) - above}.")  # fmt: skip
        else:
            said = "; ".join(_finding(t) for t in found[:LISTED])
            more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
            lines.append(f"{count}{_hold(len(found))}: {said}{more}.")
    return lines


def _hold(count: int) -> str:
    return f"{count} hold{'s' * (count == 1)}"


def _finding(test: Comparison) -> str:
    """The better model first: "MGIE below LGIE in LPIPS on mini-MA5k"."""
    winner = better(test)
    loser = test.b if winner == test.a else test.a
    way = "below" if metric_entry(test.metric).lower else "above"
    metric = metric_entry(test.metric).printed
    return f"{test_name(winner)} {way} {test_name(loser)} in {metric} on {dataset_name(test.dataset, test.suite)}"


def smallest(tests: Sequence[Comparison]) -> list[tuple[str, list[str]]]:
    """By dataset, "LPIPS 0.031": the smallest difference that the table shows between any two of its models."""
    found: dict[str, list[str]] = {}
    for dataset, metric in dict.fromkeys((t.dataset, t.metric) for t in tests if t.family == MODELS):
        here = [t for t in tests if (t.dataset, t.metric, t.family) == (dataset, metric, MODELS)]
        sizes = [t.smallest for t in here if t.smallest is not None]
        said = as_printed(max(sizes), metric) if sizes else f"none (under 6 groups: {min(t.groups for t in here)})"
        found.setdefault(dataset_name(dataset, here[0].suite), []).append(
            f"{metric_entry(metric).printed} {said}"
        )  # fmt: skip
    return list(found.items())


SMALLEST = (
    "The smallest difference between two models that so many groups show with 80 % power at p < 0.05, before Holm (the "
    "pair that scatters most)"
)
