"""A forger who renews every digest gains nothing: what cannot be computed again is WRONG, or in no row."""

import json
from pathlib import Path

import pytest
from handed_in import check, ending, listed_anew, members, packed

from bench.bundle.__main__ import main as bundle
from bench.given.named import verified
from bench.grid.cells import Finished, read_run
from bench.verify import recomputed

Files = dict[str, bytes]


def forged(files: Files, end: str, change) -> Files:
    """The files with each JSON object of one of them changed."""
    name = ending(files, end)
    if end.endswith(".json"):
        return files | {name: json.dumps(change(json.loads(files[name]))).encode()}
    lines = [line for old in files[name].splitlines() for line in change(json.loads(old))]
    return files | {name: "".join(json.dumps(line) + "\n" for line in lines).encode()}


def unnamed(files: Files) -> Files:
    """SSIM is 0.99, and done.json does not say that it was scored."""
    files = forged(
        files, "done.json", lambda done: done | {"scored": [e for e in done["scored"] if e["metric"] == "l1"]}
    )
    return forged(files, "scores.jsonl", lambda s: [s | {"value": 0.99} if s["metric"] == "ssim" else s])


def example_without_edit(files: Files) -> Files:
    return forged(files, "scores.jsonl", lambda s: [s, s | {"example_id": "magicbrush/test/9-9"}])


def seed_more(files: Files) -> Files:
    return forged(files, "scores.jsonl", lambda s: [s, s | {"seed": 1}])


def edit_of_another_seed(files: Files) -> Files:
    again = lambda e: e | {"seed": 7, "output_image": e["output_image"].replace("/0/", "/7/")}  # noqa: E731
    files = files | {name.replace("/0/", "/7/"): data for name, data in files.items() if name.endswith(".png")}
    return forged(files, "edits.jsonl", lambda e: [e, again(e)])


def score_of_a_failure(files: Files) -> Files:
    """One edit is said to have failed, and keeps its scores."""
    first = json.loads(files[ending(files, "edits.jsonl")].splitlines()[0])
    files = {name: data for name, data in files.items() if not name.endswith(first["output_image"])}
    files = forged(files, "edits.jsonl", lambda e: [e] if e["example_id"] != first["example_id"] else [])
    failure = {"example_id": first["example_id"], "seed": 0, "stage": "edit", "reason": "broken"}
    files[ending(files, "failures.jsonl")] = json.dumps(failure).encode() + b"\n"
    return forged(files, "done.json", lambda done: done | {"n": 6, "failures": 1})


def line_twice(files: Files) -> Files:
    return forged(files, "scores.jsonl", lambda s: [s | {"value": 0.0}, s])


def groups_renamed(files: Files) -> Files:
    return forged(files, "scores.jsonl", lambda s: [s | {"group": s["example_id"]}])


def fewer_groups(files: Files) -> Files:
    return forged(files, "run.json", lambda run: run | {"groups": 7})


def list_elsewhere(files: Files) -> Files:
    return forged(files, "run.json", lambda run: run | {"data": run["data"] | {"wrong_captions": "/etc/passwd"}})


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (unnamed, "ssim has scores of a protocol that done.json does not name"),
        (example_without_edit, "l1 of magicbrush/test/9-9, seed 0, is of no example or seed of the run"),
        (seed_more, "seed 1, is of no example or seed of the run"),
        (edit_of_another_seed, "7 edits of no example or seed"),
        (score_of_a_failure, "computed here no value"),
        (line_twice, "is there twice"),
        (groups_renamed, "its group is"),
        (list_elsewhere, "data has 'wrong_captions' '/etc/passwd', which is no setting"),
        (fewer_groups, "run.json, groups: it says 7, there are 4"),
    ],
)
def test_a_forged_number_is_named(plant, said, world, tmp_path, capsys):
    archive = packed(listed_anew(plant(members(world / "near.zip"))), tmp_path / "x.zip")
    assert check(archive, world, tmp_path / "runs") == 1
    text = capsys.readouterr().out
    assert said in text and "NOT verified" in text


def row(archive: Path, world: Path, out: Path) -> Finished:
    """What a table reads of a bundle that verifies."""
    assert check(archive, world, out) == 0
    (folder,) = verified(archive, out)
    return read_run(folder, 1)


def test_what_nobody_can_check_is_in_no_row(world, tmp_path):
    """Scores of protocols that are not known here, an unknown metric, and seconds."""
    honest = row(world / "near.zip", world, tmp_path / "honest")
    files = members(world / "near.zip")
    for end in ("scores.jsonl", "done.json"):
        files[ending(files, end)] = files[ending(files, end)].replace(b"ssim: ", b"ssim: of another kind, ")
    files = forged(files, "done.json", lambda done: done | {"metrics": done["metrics"] | {"l1": "l1: mine"}})
    files = forged(files, "scores.jsonl", lambda s: [s, s | {"protocol": "l1: mine", "metric": "l1", "value": 0.0}]
                   if s["metric"] == "l1" else [s, s | {"metric": "beauty", "value": 1.0}])  # fmt: skip
    files = forged(files, "edits.jsonl", lambda e: [e | {"seconds": {"editing": 0.001}}])
    found = row(packed(listed_anew(files), tmp_path / "x.zip"), world, tmp_path / "runs")
    assert found.scores == [s for s in honest.scores if s.metric == "l1"] and len(found.scores) == 7
    assert found.not_run == {"ssim": "not verified here"} and found.seconds == [] and found.cut == {}


def test_the_seconds_of_a_model_are_in_no_row(tmp_path, world):
    from bench.run import main as bench_run

    argv = ["--suite", "paper", "--data-root", str(world / "data"), "--out", str(tmp_path / "made"), "--metrics", "l1"]
    assert bench_run([*argv, "--dataset", "magicbrush", "--model", "identity"]) == 0
    (folder,) = (tmp_path / "made" / "paper").iterdir()
    assert read_run(folder, 1).seconds
    assert bundle([str(folder), "-o", str(tmp_path / "one.zip")]) == 0
    assert row(tmp_path / "one.zip", world, tmp_path / "runs").seconds == []


NESTED = 100_000
INNER = ("data", "edit", "fingerprint", "metrics", "not_run")
ODD = [None, 5, "", [], {}, True, 10**30, "NESTED"]


def altered(data: bytes, lines: bool) -> list[tuple[str, bytes]]:
    """A JSON file, or the first of its lines, with each key and some below it replaced by something odd."""
    first, *rest = data.splitlines(keepends=True) if lines else [data]
    whole = json.loads(first)
    ids = [key for key in whole if key.startswith("magicbrush/")]  # of scored_from.json: one is like the others
    inner = [(key, below) for key, value in whole.items() if isinstance(value, dict) for below in value if key in INNER]
    found = []
    for key, below in [*((key, None) for key in whole if key not in ids[1:]), *inner]:
        for odd in ODD:
            changed = whole | {key: odd if below is None else whole[key] | {below: odd}}
            text = json.dumps(changed).replace('"NESTED"', "[" * NESTED + "]" * NESTED).encode()
            found.append((f"{key} {below or ''} {odd}", text + b"\n" + b"".join(rest)))
    return found


@pytest.fixture(scope="module")
def failing(world, tmp_path_factory):
    """A bundle of a run with one failure and a rewriter's name, and what its scores are when they are computed."""
    files = score_of_a_failure(members(world / "near.zip"))
    files = forged(files, "run.json", lambda run: run | {"rewriter": ""})
    lost = json.loads(files[ending(files, "failures.jsonl")])["example_id"]
    none = {"value": None, "reason": "not edited: broken"}
    return forged(files, "scores.jsonl", lambda s: [s | none if s["example_id"] == lost else s])


@pytest.mark.parametrize("end", ["run.json", "done.json", "scored_from.json", "sessions.jsonl", "edits.jsonl",
                                 "scores.jsonl", "failures.jsonl"])  # fmt: skip
def test_an_odd_value_is_a_line_or_a_row_that_can_be_read(end, failing, world, tmp_path, capsys, monkeypatch):
    """Never a traceback. The scores are computed once: none of these changes an output."""
    known = []

    def score_all(*args):
        known[:] = known or [real(*args)]
        return known[0]

    real = recomputed.score_all
    monkeypatch.setattr(recomputed, "score_all", score_all)
    assert row(packed(listed_anew(failing), tmp_path / "x.zip"), world, tmp_path / "runs").of == 7
    name, ends = ending(failing, end), []
    for what, data in altered(failing[name], end.endswith(".jsonl")):
        archive = packed(listed_anew(failing | {name: data}), tmp_path / "x.zip")
        capsys.readouterr()
        ends.append(check(archive, world, tmp_path / "runs"))
        said = capsys.readouterr().out
        assert ends[-1] == 0 or (ends[-1] == 1 and "WRONG: " in said), (what, said)
        assert "one holds a value" not in said, (what, said)  # it is known which
        for folder in verified(archive, tmp_path / "runs") if ends[-1] == 0 else ():
            assert read_run(folder, 1).of == 7, what
    assert 1 in ends
