"""Whether a finished run belongs beside the other rows: the same data, read in the same way, scored by the same
protocols, with as many seeds. What changes pixels of its own (weights, guidance, steps) is what a row is about."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench.metrics.sets import expanded
from bench.registry import metric_of, strange_to
from bench.runs.folder import RunFolder
from bench.runs.scoring import Wanted
from bench.settings import READING, DataSettings, EditSettings, MetricSettings

ALIKE = {"valid": "val", "dev": "val"}  # names of one split


@dataclass(frozen=True)
class Asked:
    """What all rows have in common."""

    suite: str
    data: DataSettings = field(default_factory=DataSettings)
    edit: EditSettings | None = None  # None: however the data were read
    seeds: int = 1
    setting: str = ""  # empty: any
    metrics: tuple[str, ...] = ()  # sets too; empty: the protocols are not looked at here
    networks: MetricSettings | None = None


def reasons_against(folder: Path, dataset: str, asked: Asked) -> list[str]:
    """Why the run in folder does not belong, each with the setting that would do; empty where it does."""
    reader = RunFolder(folder)
    run, done = reader.run(), reader.done()
    if done is None:
        return ["it is not finished: give its command again"]
    if run["suite"] != asked.suite:
        return [f"it is of suite {run['suite']}, here is suite {asked.suite}: --suite {run['suite']}"]
    found = []
    if asked.setting and run["setting"] != asked.setting and "images" not in run["fingerprint"]:
        found.append(f"it is {run['setting']}, here is {asked.setting}")
    strange = strange_to(dataset)  # what does not bear on it may differ
    found += [why for name, why in of_data(run["data"], asked.data) if name not in strange]
    found += of_reading(run["edit"], asked.edit) if asked.edit else []
    if done["seeds"] < asked.seeds and seeded(run):
        found.append(f"it has {done['seeds']} seed{'s' * (done['seeds'] > 1)}, here are {asked.seeds}: "
                     f"--seeds {done['seeds']}, or its command again with --seeds {asked.seeds}")  # fmt: skip
    return found + of_networks(done, replace(asked, metrics=expanded(asked.metrics, dataset)))


def seeded(run: Mapping) -> bool:
    """Whether a seed moves its pixels, as far as that is known of a finished run."""
    says = run["fingerprint"]  # nothing: the copies of input and goal
    return bool(says) and "images" not in says and run["model"] != "codec"


def of_data(ran: Mapping, data: DataSettings) -> list[tuple[str, str]]:
    """Each setting that differs, and how."""
    wanted, usual = data.described(), asdict(DataSettings())
    wanted["split"] = wanted["split"] or "test"
    found = []
    for name in dict.fromkeys((*wanted, *ran)):
        before, value = ran.get(name, usual[name]), wanted.get(name, usual[name])
        before = (before or "test") if name == "split" else before
        if ALIKE.get(str(before), before) != ALIKE.get(str(value), value):
            found.append((name, differing(name, before, value)))
    return found


def of_reading(ran: Mapping, edit: EditSettings) -> list[str]:
    usual = EditSettings()
    pairs: dict[str, tuple] = {name: (ran.get(name, getattr(usual, name)), getattr(edit, name)) for name in READING}
    pairs["size"] = (pairs["size"][0] or "native", pairs["size"][1] or "native")  # before there were rules, its own
    return [differing(name, before, value) for name, (before, value) in pairs.items() if before != value]


def differing(name: str, ran: object, here: object) -> str:
    flag = "--" + name.replace("_", "-")
    change = f"without {flag}" if ran is None else f"{flag} {ran}"
    return f"its {flag} is {said(ran)}, here it is {said(here)}: {change} would do"


def said(value: object) -> str:
    return "not set" if value is None else str(value)


def of_networks(done: Mapping, asked: Asked) -> list[str]:
    """What was scored with other networks than here; a metric that was not scored at all is an empty cell."""
    if not asked.metrics or asked.networks is None:
        return []
    scored = [entry for entry in done.get("scored", []) if entry["metric"] in asked.metrics]
    if not scored and not set(done["metrics"]) & set(asked.metrics):
        return [f"it was scored in {', '.join(done['metrics']) or 'nothing'}, here in {', '.join(asked.metrics)}: "
                f"score it again with --metrics {','.join(asked.metrics)}"]  # fmt: skip
    found = []
    for metric in dict.fromkeys(entry["metric"] for entry in scored):
        wanted = Wanted((metric,), metric_of(metric, asked.networks)).of(metric)
        unlike = [differences(entry["settings"], wanted) for entry in scored if entry["metric"] == metric]
        if all(unlike):
            named = "; ".join(f"--{key.replace('_', '-')} {was}, here {now}" for key, was, now in unlike[-1])
            found.append(f"{metric} was scored with {named}")
    return found


def differences(ran: Mapping[str, str], here: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Settings of a metric that differ. Of a file only its name is compared: the protocol holds the weights' hash."""
    found = []
    for key, value in here.items():
        before = ran.get(key, value)
        if key == "captions" and "" in (before, value):  # a dataset's own, which its --caption chooses
            continue
        if Path(before).name != Path(value).name:
            found.append((key, before, value))
    return found


def refuse_unlike(folder: Path, other: Path, seeds: int, protocols: Mapping[str, str] | None = None) -> None:
    """Raises ValueError for a run in folder whose examples are not those of the run in other, or whose scores were made
    under other protocols. protocols: by metric, that of the other rows."""
    why = list(filter(None, [unlike(folder, other, seeds), *other_protocols(folder, protocols or {})]))
    if why:
        raise ValueError(f"{folder.name} does not belong beside the other rows: {'; '.join(why)}")


def unlike(folder: Path, other: Path, seeds: int) -> str:
    """How the examples of two finished runs differ: other ids, goals or captions; empty where they are the same."""
    a, b = RunFolder(folder), RunFolder(other)
    mine, theirs = (ids_of(reader, seeds) for reader in (a, b))
    if mine != theirs:
        first = sorted(mine ^ theirs)[0]
        return f"{len(mine ^ theirs)} examples are not in both, first: {first}"
    ours, known = a.sources(), b.sources()
    changed = [i for i in sorted(mine) if ours.get(i, "") != known.get(i, "") and ours and known]
    if changed:
        return (f"{len(changed)} examples have other goals, captions or masks, first: {changed[0]}; give its command "
                "again to score it anew")  # fmt: skip
    return ""


def ids_of(reader: RunFolder, seeds: int) -> set[str]:
    return {s.example_id for s in reader.every_score().values() if s.seed < seeds}


def other_protocols(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """The metrics that this run has scored under other protocols than the other rows alone, each with both."""
    by_metric: dict[str, set[str]] = {}
    for score in RunFolder(folder).every_score().values():
        by_metric.setdefault(score.metric, set()).add(score.protocol)
    found = []
    for metric, protocol in wanted.items():
        if metric in by_metric and protocol not in by_metric[metric]:
            found.append(f"{metric} was scored as {listed(by_metric[metric])}, the other rows as '{protocol}'")
    return found


def listed(protocols: Iterable[str]) -> str:
    return " and ".join(f"'{protocol}'" for protocol in sorted(protocols))
