"""Views of finished runs: each metric's, and, of the miniature, the right answers that its generator knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.agreement.tau import Tau, tau
from bench.datasets.mini import Mini
from bench.registry import in_order, metric_entry, model_entry
from bench.runs.folder import RunFolder
from bench.settings import DataSettings

RIGHT = "right answer"
METRICS, PEOPLE = "metrics", "people"  # what is compared, beside RIGHT


@dataclass
class Views:
    """What gives edits a number, by name; a metric's are signed so that higher is better."""

    metrics: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)
    people: dict[str, dict[tuple[str, str], float]] = field(default_factory=dict)  # by question
    right: dict[tuple[str, str], float] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)  # by example id

    def models(self) -> list[str]:
        """Whose edits there are, without copies and goal image: they would make all metrics agree."""
        found = dict.fromkeys(who for view in self.metrics.values() for _, who in view)
        return [who for who in found if not model_entry(who.partition(" ")[0]).bound]


@dataclass(frozen=True)
class Agreed:
    suite: str
    what: str  # metrics, people, right answer
    first: str
    second: str
    value: float | None  # Kendall's tau-b
    low: float | None
    high: float | None
    n: int  # examples
    pairs: int  # of edits
    groups: int
    reason: str


def views_of(
    runs: Sequence[Path] | Mapping[Path, Mapping[str, str]], data_root: Path | None = None
) -> Views:  # fmt: skip
    """runs: folders of finished runs; where one is mapped to metrics and protocols, these scores alone. Seeds are
    averaged. data_root: of the miniature, where its facts are drawn."""
    found, meant = Views(), runs if isinstance(runs, Mapping) else dict[Path, Mapping[str, str]]()
    for path in runs:
        folder = RunFolder(path)
        run = folder.run()
        who = run["model"] + ("" if run["form"] in ("none", "e2e") else f" {run['form']}")
        numbers: dict[tuple[str, str], list[float]] = {}
        for s in folder.scores(meant.get(path)).values():
            if (asked := meant.get(path)) and s.metric not in asked:
                continue
            found.groups[s.example_id] = s.group if run["suite"] == "mini" else f"{run['dataset']}/{s.group}"
            if s.value is not None:
                signed = -s.value if metric_entry(s.metric).lower else s.value
                numbers.setdefault((s.metric, s.example_id), []).append(signed)
        for (metric, example_id), values in numbers.items():
            found.metrics.setdefault(metric, {})[example_id, who] = sum(values) / len(values)
        if run["suite"] == "mini":
            found.right |= right_answers(folder, run, who, data_root or Path("data"))
    return found


def right_answers(folder: RunFolder, run: Mapping, who: str, data_root: Path) -> dict[tuple[str, str], float]:
    """1 for an edit that is the right one, 0 for one that is not, as far as the generator knows.

    The goal image is right, a copy of the input is not; where an instruction cannot be carried out without looking, an
    edit is right if the expressive instruction behind it names the cause that the picture was drawn with.
    """
    from mgie.mini.world import grammar

    ids = {s.example_id for s in folder.every_score().values()}
    if run["model"] in ("oracle", "identity", "codec", "black"):
        return {(i, who): float(run["model"] == "oracle") for i in ids}
    settings = {k: v for k, v in run["data"].items() if k in ("split", "turns", "caption", "expand")}
    world, found = Mini(run["dataset"], data_root, DataSettings(**settings)), {}
    for edit in folder.edits().values():
        if edit.seed or edit.example_id not in ids or not edit.expressive_instruction:
            continue
        facts = world.facts(edit.example_id)
        if facts.family in grammar.QUESTIONS:
            found[edit.example_id, who] = float(grammar.names(facts.family, facts.cause, edit.expressive_instruction))
    return found


def agreements(suite: str, views: Views) -> list[Agreed]:
    """Between metrics (models' edits alone), of each metric with people and with the right answers (all edits)."""
    names, models = in_order(views.metrics), views.models()
    found = []
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            t = tau(views.metrics[one], views.metrics[other], views.groups, models)
            found.append(row(suite, METRICS, one, other, t))
    for metric in names:
        for question, points in views.people.items():
            found.append(row(suite, PEOPLE, metric, question, tau(views.metrics[metric], points, views.groups)))
        if views.right:
            found.append(row(suite, RIGHT, metric, RIGHT, tau(views.metrics[metric], views.right, views.groups)))
    for question, points in views.people.items() if views.right else ():
        found.append(row(suite, RIGHT, question, RIGHT, tau(points, views.right, views.groups)))
    return found


def row(suite: str, what: str, first: str, second: str, t: Tau) -> Agreed:
    return Agreed(suite, what, first, second, *t)
