"""The scores of a run, computed again by the code that every run is scored with, and held against those handed in.

The data are the verifier's own. Only networks that the suite has anyhow, or that the verifier names, are looked with:
no path and no address of a bundle is ever opened.
"""

import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.datasets.shuffled import as_asked
from bench.records import Edit, Example, Score
from bench.registry import METRICS, Dataset, load, metric_settings, open_dataset, plain
from bench.runs.description import Run, files_of, manifest_hash, sources_of
from bench.runs.digests import Digests
from bench.runs.folder import RunFolder
from bench.runs.scorers.collecting import Looking, score_all
from bench.runs.scoring import Metric, Wanted, load_metrics, protocol_of, scored
from bench.settings import DataSettings, EditSettings, MetricSettings
from bench.verify.findings import Findings, shortened

EXACT, BY_NETWORK = 1e-6, 1e-4  # how far a score may be off: of arithmetic alone, and of a network on another device
NAMES = ("lpips", "lpips_heads", "direction")  # settings of metrics that are words, no places
Key = tuple[int, str, str, str]  # seed, example id, metric, protocol


@dataclass(frozen=True)
class Here:
    """What the verifier has."""

    data_root: Path
    image_root: Path | None
    networks: MetricSettings  # as given; None where none was named
    out: Path  # features are kept below it, as those of runs


def run_here(
    said: dict, edits: Mapping[tuple[int, str], Edit], here: Here, found: Findings
) -> tuple[Run, Dataset] | None:
    """The run with the verifier's own examples; None, with the reason, where the data are not here."""
    try:
        data = DataSettings(**said["data"], image_root=here.image_root)
        edit = EditSettings(**said["edit"])
        dataset = open_dataset(said["suite"], said["dataset"], here.data_root, data)
        examples = as_asked(dataset.examples(), data)
    except (ValueError, TypeError, OSError) as error:
        first = str(error).split("\n")[0]
        found.unchecked.append(f"all scores: the data of {said['dataset']} are not usable here ({first})")
        return None
    if "images" in said["fingerprint"]:
        examples = without_unused(examples, {i for _, i in edits})
    files = files_of(examples, Digests(here.out))
    manifests = {manifest_hash(examples, files, goals) for goals in (False, True)}
    if said["manifest"] not in manifests:
        found.wrong.append("run.json: its inputs or instructions are not those of the data here; python -m bench.audit "
                           f"--dataset {said['dataset']} says whether yours are as released")  # fmt: skip
    run = Run(
        said["suite"], said["dataset"], said["model"], said["setting"], said["form"], data, edit, said["fingerprint"],
        examples, said["manifest"], said["note"], sources_of(examples, files),
    )  # fmt: skip
    return run, dataset


def without_unused(examples: list[Example], edited: set[str]) -> list[Example]:
    """Without earlier turns whose outputs were not given, as bench.run --images takes them."""
    absent = {e.id for e in examples if not e.scored and e.id not in edited}
    return [replace(e, previous=None) if e.previous in absent else e for e in examples if e.id not in absent]


def check_counts(run: Run, reader: RunFolder, edits: Mapping, done: dict, said: dict, found: Findings) -> None:
    ids = [e.id for e in run.scored]
    whole = sum(all((seed, i) in edits for seed in range(done["seeds"])) for i in ids)
    groups = len({e.group for e in run.scored})
    for name, claimed, counted in (
        ("run.json, n", said["n"], len(ids)), ("run.json, groups", said["groups"], groups),
        ("done.json, of", done["of"], len(ids)), ("done.json, n", done["n"], whole),
        ("done.json, failures", done["failures"], len(reader.failures())),
    ):  # fmt: skip
        if claimed != counted:
            found.wrong.append(f"{name}: it says {claimed}, there are {counted}")
    known = {e.id for e in run.examples}
    if strange := [(seed, i) for seed, i in edits if i not in known or not 0 <= seed < done["seeds"]]:
        seed, first = min(strange)
        found.wrong.append(f"edits.jsonl: {len(strange)} edits of no example or seed, first: {first}, seed {seed}")


def base_of(entry: dict, run: Run, dataset: Dataset, given: MetricSettings) -> MetricSettings:
    """The settings that a metric is computed with again: the suite's own or those named here, and the run's words."""
    base = replace(metric_settings(run.suite, given), captions=getattr(dataset, "captions", ""))
    settings = entry.get("settings", {})
    words: dict[str, Any] = {
        name: settings[name] for name in NAMES if isinstance(settings.get(name), str) and not getattr(given, name)
    }
    if not given.mask_grow and re.fullmatch(r"[0-9]{1,4}", str(settings.get("mask_grow", ""))):
        words["mask_grow"] = int(settings["mask_grow"])
    usual = MetricSettings()
    for name in ("clip", "dino"):  # those of the paper, in a suite that has others
        if settings.get(name) == getattr(usual, name) and not getattr(given, name):
            words[name] = settings[name]
    if words.get("lpips", base.lpips) != base.lpips and given.lpips_weights is None:
        words["lpips_weights"] = None
    return replace(base, **words)


def is_plain(metric: str) -> bool:
    """Whether a metric's name is one that may be asked for: known, and none of its variants a place."""
    variants = metric.split("@")[1:]
    return plain(metric) in METRICS and not any(v[:1] in "/~.…" or ".." in v or "\\" in v for v in variants)


def recompute(
    run: Run, dataset: Dataset, reader: RunFolder, good: Mapping[tuple[int, str], Edit],
    lost: Iterable[tuple[int, str]], claimed: set[tuple[str, str]], here: Here, found: Findings,
) -> tuple[dict[Key, Score], list[dict]]:  # fmt: skip
    """Every score of the run that can be computed here, and done.json's account of them; what cannot is a line of
    found.unchecked.

    good: the edits whose outputs are there; lost: those whose outputs are not what they were; claimed: metric and
    protocol of the scores that were handed in, whether done.json names them or not.
    """
    done = reader.done()
    assert done is not None  # it was looked for
    seeds = range(done["seeds"])
    entries = done.get("scored") or [{"metric": m, "protocol": p} for m, p in done["metrics"].items()]
    unnamed = sorted(claimed - {(entry["metric"], entry["protocol"]) for entry in entries})
    by_base: dict[str, tuple[MetricSettings, list[dict]]] = {}
    for entry in [*entries, *({"metric": metric, "protocol": protocol} for metric, protocol in unnamed)]:
        if not is_plain(entry["metric"]):
            found.unchecked.append(f"{entry['metric']!r:.60}: no metric of this version")
            continue
        base = base_of(entry, run, dataset, here.networks)
        by_base.setdefault(repr(base), (base, []))[1].append(entry)
    again = copied(run, reader, good, lost, seeds, found)
    scores: dict[Key, Score] = {}
    account: list[dict] = []
    try:
        for base, wanted in by_base.values():
            ready = able(base, wanted, run, here, found)
            if ready:
                account += scored(ready, Wanted(tuple(ready), base), run, None)
                looking = Looking(ready, base, here.out / "features")
                made, _ = score_all(run, again, looking, seeds, lambda count: None)
                scores |= {(s.seed, s.example_id, s.metric, s.protocol): s for s in made}
    finally:
        shutil.rmtree(again.path, ignore_errors=True)
    found.wrong += [f"scores.jsonl: {metric} has scores of a protocol that done.json does not name" for metric, protocol
                    in unnamed if (metric, protocol) in {(e["metric"], e["protocol"]) for e in account}]  # fmt: skip
    return scores, account


def able(base: MetricSettings, wanted: Sequence[dict], run: Run, here: Here, found: Findings) -> dict[str, Metric]:
    """The metrics that can be computed as they were; the others are said, with what would do."""
    names = tuple(dict.fromkeys(entry["metric"] for entry in wanted))
    try:
        metrics = load_metrics(names, base, here.out / "features")
    except (ValueError, OSError) as error:
        found.unchecked.append(f"{', '.join(names)}: {str(error).splitlines()[0]}")
        return {}
    ready = {}
    for entry in wanted:
        name, protocol = entry["metric"], entry["protocol"]
        if name in metrics.not_run:
            found.unchecked.append(f"{name}: {metrics.not_run[name].splitlines()[0]}")
        elif (ours := protocol_of(metrics.ready[name], run.edit)) != protocol:
            found.unchecked.append(f"{name}: it was scored as '{protocol}', here as '{ours}'; name its network "
                                   "(--clip, --dino, --lpips-weights)")  # fmt: skip
        else:
            ready[name] = metrics.ready[name]
    return ready


LOST = "its output is not that of edits.jsonl"


def copied(
    run: Run, reader: RunFolder, good: Mapping[tuple[int, str], Edit], lost: Iterable[tuple[int, str]], seeds: range,
    found: Findings,
) -> RunFolder:  # fmt: skip
    """A run folder of the same outputs without a score; an output that is not what it was has no edit."""
    again = RunFolder(reader.path / ".scratch")
    shutil.rmtree(again.path, ignore_errors=True)
    again.path.mkdir()
    if (reader.path / "images").is_dir():
        os.symlink((reader.path / "images").resolve(), again.path / "images")
    reasons = {
        (f.get("seed"), f.get("example_id")): f.get("reason") for f in reader.failures() if f.get("stage") == "edit"
    }
    reasons |= dict.fromkeys(lost, LOST)
    wanted = [(seed, e.id) for seed in seeds for e in run.scored]
    if silent := [key for key in wanted if key not in good and not isinstance(reasons.get(key), str)]:
        found.wrong.append(f"edits.jsonl: {len(silent)} examples have neither an edit nor a failure, first: "
                           f"{silent[0][1]}, seed {silent[0][0]}")  # fmt: skip
        reasons |= dict.fromkeys(silent, "no output image")
    again.rewrite("edits.jsonl", good.values())
    again.rewrite("failures.jsonl", [
        {"example_id": i, "seed": seed, "stage": "edit", "reason": reason} for (seed, i), reason in reasons.items()
        if (seed, i) not in good and isinstance(reason, str)
    ])  # fmt: skip
    return again


def compare(
    claims: Mapping[Key, Score], scores: Mapping[Key, Score], lost: Iterable[tuple[int, str]],
    changed: Iterable[str], found: Findings,
) -> None:  # fmt: skip
    """Every claim against what was computed here. lost: outputs, changed: examples, of which nothing follows."""
    lost, changed = set(lost), set(changed)
    wrong, worst = [], 0.0
    same: dict[str, int] = {}
    computed = {(metric, protocol) for _, _, metric, protocol in scores}
    for key, score in scores.items():
        seed, example, metric, _ = key
        if (seed, example) in lost or example in changed:
            continue
        claim = claims.get(key)
        where = f"scores.jsonl: {metric} of {example}, seed {seed}"
        if claim is None:
            wrong.append(f"{where}, is missing; here it is {said(score.value)}")
        elif claim.group != score.group:
            wrong.append(f"{where}: its group is {claim.group!r:.60}, here {score.group!r:.60}")
        elif (claim.value is None) != (score.value is None) or off(claim, score) > bound(metric, score):
            wrong.append(f"{where}: handed in {said(claim.value)}, computed here {said(score.value)}")
        else:
            worst = max(worst, off(claim, score))
            same[metric] = same.get(metric, 0) + 1
    strange = [key for key in claims if key not in scores and key[2:] in computed]
    wrong += [f"scores.jsonl: {metric} of {example}, seed {seed}, is of no example or seed of the run"
              for seed, example, metric, _ in strange]  # fmt: skip
    found.wrong += shortened(wrong)
    found.recomputed = sum(same.values())
    if same:
        counts = ", ".join(f"{count} of {metric}" for metric, count in same.items())
        found.checked.append(f"scores computed again and equal: {counts} (largest difference {worst:.2g})")


def off(claim: Score, score: Score) -> float:
    return 0.0 if claim.value is None or score.value is None else abs(claim.value - score.value)


def bound(metric: str, score: Score) -> float:
    networks = getattr(load(METRICS, plain(metric), "metric"), "networks", ("any",))
    return (BY_NETWORK if networks else EXACT) * max(1.0, abs(score.value or 0.0))


def said(value: float | None) -> str:
    return "no value" if value is None else f"{value:.6g}"
