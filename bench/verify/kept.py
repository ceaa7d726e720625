"""What is kept of a run that was verified: the scores that were computed here, and no other word of its numbers.

A claim that nobody could check, of a score or of seconds, is thereby in no row, picture or page, whoever reads the run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.records import Edit, Score
from bench.runs.description import Run
from bench.runs.folder import SOURCES, RunFolder, text_of
from mgie.io.files import write_atomic

NOT_VERIFIED = "not verified here"


def keep(
    reader: RunFolder, run: Run, edits: Mapping[tuple[int, str], Edit], scores: Mapping[tuple, Score],
    account: Sequence[dict],
) -> None:  # fmt: skip
    """account: done.json's, of the metrics that were computed here."""
    done = reader.done()
    assert done is not None  # it was looked for
    protocols = {entry["metric"]: entry["protocol"] for entry in account}
    for entry in account:  # of several protocols the one that was asked for last
        if done["metrics"].get(entry["metric"]) == entry["protocol"]:
            protocols[entry["metric"]] = entry["protocol"]
    others = dict.fromkeys(name for name in (*done["metrics"], *done["not_run"]) if name not in protocols)
    reader.rewrite("scores.jsonl", scores.values())
    reader.rewrite("edits.jsonl", [replace(edit, seconds={}) for edit in edits.values()])
    write_atomic(reader.path / SOURCES, text_of(run.sources))
    reader.finish({
        "seeds": done["seeds"], "metrics": protocols, "not_run": dict.fromkeys(others, NOT_VERIFIED),
        "scored": list(account), "metric_settings": {}, "n": done["n"], "of": done["of"], "failures": done["failures"],
    })  # fmt: skip
