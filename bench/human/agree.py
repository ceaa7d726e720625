"""Which metrics rank edits as people do: the votes of Figure 6 beside the scores of the very runs that were judged."""

from collections.abc import Sequence
from pathlib import Path

from bench.agreement.views import Agreed, Views, agreements, views_of
from bench.human.count import points
from bench.human.study import QUESTIONS, Item
from bench.human.votes import Vote
from bench.runs.folder import RunFolder


def runs_of(items: Sequence[Item]) -> list[Path]:
    """The run folders whose edits were shown, as far as they are still here: <run>/images/<seed>/<example>.png."""
    shown = (Path(path).parents for i in items if i.figure == 6 for path in i.shown.values())
    found = dict.fromkeys(parents[2] for parents in shown if len(parents) > 2)
    return [folder for folder in found if (folder / "run.json").is_file() and (folder / "scores.jsonl").is_file()]


def people_of(votes: Sequence[Vote]) -> dict[str, dict[tuple[str, str], float]]:
    """By question of Figure 6, by example and model: the mean of its points, 3 for the best of three edits."""
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for vote in votes:
        if vote.item.figure != 6:
            continue
        for question in QUESTIONS[6]:
            for model, given in points(vote, question).items():
                key = vote.item.id.partition("/")[2], model
                found.setdefault(f"people: {question}", {}).setdefault(key, []).append(given)
    return {question: {key: sum(p) / len(p) for key, p in of.items()} for question, of in found.items()}


def agreed(votes: Sequence[Vote], items: Sequence[Item], suite: str) -> tuple[list[Agreed], str]:
    """The rows, or none and why."""
    people, folders = people_of(votes), runs_of(items)
    if not people:
        return [], "nobody has ranked edits (Figure 6) yet"
    if not folders:
        return [], "the run folders whose edits were judged are not here, or hold no scores"
    views = views_of(folders, data_root_of(folders))
    if not views.metrics:
        return [], "the runs that were judged hold no scores: give their commands again"
    return agreements(suite, Views(views.metrics, people, views.right, views.groups)), ""


def data_root_of(folders: Sequence[Path]) -> Path | None:
    """Where the runs had their data, as their sessions say."""
    said = [s["data_root"] for folder in folders for s in RunFolder(folder).sessions() if s.get("data_root")]
    return Path(said[-1]) if said else None
