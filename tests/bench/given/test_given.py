"""Finished runs as rows: which one a name means, what does not belong, and where the row is then seen."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from drawn import picture
from seen_runs import draw_runs, folder_of

from bench import run as run_command
from bench.given.fits import Asked, reasons_against, refuse_unlike
from bench.given.named import With, add_with, found
from bench.grid.cells import Cell, Options, own_run
from bench.grid.options import parser, selected, suite_of
from bench.registry import metric_settings
from bench.run import main as run
from bench.run import plan
from bench.runs.folder import RunFolder
from bench.runs.summary import beside_others
from bench.settings import SUITES_OWN, DataSettings, EditSettings
from bench.tables import table_parser

ROOT = Path(__file__).parents[3]


def changed(folder: Path, file: str = "run.json", **change) -> Path:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return folder


ASKED = Asked("paper", DataSettings(), EditSettings(size="authors"))


def runs_with(*given: With, runs: Path, datasets=("magicbrush",), asked=ASKED):
    return found(given, datasets, runs, asked)


def test_a_run_is_found_by_folder_by_its_folders_name_and_by_its_own_name(world):
    folder = folder_of(world / "runs")
    for what in (str(folder), folder.name, "near"):
        ((given,), notices) = runs_with(With(what), runs=world / "runs")
        assert (given.folder.resolve(), given.name, given.dataset) == (folder.resolve(), "near", "magicbrush")
        assert notices == []


def test_of_one_name_the_newest_counts_and_the_others_are_named(world, tmp_path):
    folders = draw_runs(tmp_path, ("near",), write=False)
    first = folders["near"]
    for place, path in enumerate(sorted((tmp_path / "near").iterdir())):
        picture(5000 + place, (40, 40)).save(path)  # improved
    argv = ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"), "--dataset",
            "magicbrush", "--model", "near", "--metrics", "l1,ssim", "--images"]  # fmt: skip
    assert run([*argv, str(tmp_path / "near")]) == 0
    (second,) = set((tmp_path / "runs" / "paper").glob("magicbrush--near--*")) - {first}
    ((given,), (notice,)) = runs_with(With("near"), runs=tmp_path / "runs")
    assert (
        given.folder == second and f"2 finished runs of near on magicbrush: the newest counts, {second.name}" in notice
    )
    assert notice.endswith(f"not {first.name}")
    # named in --models it is the same run
    options = Options(out=tmp_path / "runs", edit=EditSettings(size="authors"))
    assert own_run(Cell("paper", "magicbrush", "near"), options).folder == second
    # the run that was asked for last is the newest, also where nothing had to be done
    os.utime(first / "done.json", (1, 1))
    os.utime(second / "done.json", (2, 2))
    shutil.rmtree(tmp_path / "near")
    for place, line in enumerate((first / "edits.jsonl").read_text().splitlines()):
        name = json.loads(line)["output_image"].rsplit("/", 1)[1]
        (tmp_path / "near").mkdir(exist_ok=True)
        picture(1000 + place, (40, 40)).save(tmp_path / "near" / name)
    assert run([*argv, str(tmp_path / "near")]) == 0
    ((given,), _) = runs_with(With("near"), runs=tmp_path / "runs")
    assert given.folder == first


REFUSED = {
    "suite": (lambda f: changed(f, suite="published"), "it is of suite published, here is suite paper"),
    "dataset": (lambda f: changed(f, dataset="gier"), "its dataset is gier, here is magicbrush: --datasets gier"),
    "split": (
        lambda f: changed(f, data=json.loads((f / "run.json").read_text())["data"] | {"split": "dev"}),
        "its --split is dev, here it is test: --split dev would do",
    ),
    "turns": (
        lambda f: changed(f, data=json.loads((f / "run.json").read_text())["data"] | {"turns": "multi"}),
        "its --turns is multi, here it is single",
    ),
    "limit": (
        lambda f: changed(f, data=json.loads((f / "run.json").read_text())["data"] | {"limit": 3}),
        "its --limit is 3, here it is not set",
    ),
    "size": (
        lambda f: changed(f, edit=json.loads((f / "run.json").read_text())["edit"] | {"size": "native"}),
        "its --size is native, here it is authors: --size native would do",
    ),
    "setting": (lambda f: changed(f, setting="fine-tuned", fingerprint={"weights": "x"}), "it is fine-tuned, here"),
    "seeds": (lambda f: changed(f, fingerprint={"weights": "x"}), "it has 1 seed, here are 5"),
    "unfinished": (lambda f: ((f / "done.json").unlink(), f)[1], "it is not finished"),
    "metrics": (
        lambda f: changed(f, "done.json", metrics={"dino": "p"}, scored=[]), "it was scored in dino, here in l1, ssim"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_a_run_that_does_not_belong_is_refused_with_what_would_do(kind, mine):
    change, said = REFUSED[kind]
    seeds = 5 if kind == "seeds" else 1
    from bench.settings import MetricSettings

    asked = Asked(
        "paper", DataSettings(), EditSettings(size="authors"), seeds, "zero-shot", ("l1", "ssim"), MetricSettings()
    )
    folder = folder_of(mine)
    assert reasons_against(folder, "magicbrush", asked) == []
    change(folder)
    with pytest.raises(ValueError, match="does not belong beside the other rows") as error:
        runs_with(With(str(folder)), runs=mine, asked=asked)
    assert said in str(error.value)


def test_a_setting_that_its_dataset_does_not_take_refuses_no_run(mine):
    asked = Asked("paper", DataSettings(turns="multi", expand="pair"), EditSettings(size="authors"))
    (refused,) = reasons_against(folder_of(mine), "magicbrush", asked)
    assert refused.startswith("its --turns is single")
    assert reasons_against(folder_of(mine), "ma5k", asked) == []


def test_given_images_have_one_seed_and_any_setting(mine):
    asked = Asked("paper", DataSettings(), EditSettings(size="authors"), seeds=5, setting="fine-tuned")
    assert reasons_against(folder_of(mine), "magicbrush", asked) == []


def test_other_networks_and_other_protocols_are_refused(mine, world):
    from bench.settings import MetricSettings

    folder = folder_of(mine)
    done = json.loads((folder / "done.json").read_text())
    for entry in done["scored"]:
        entry["settings"]["clip"] = "/there/other-clip"
    changed(folder, "done.json", scored=done["scored"])
    asked = Asked("paper", DataSettings(), metrics=("l1",), networks=MetricSettings(clip="/here/mini-clip"))
    (why,) = reasons_against(folder, "magicbrush", asked)
    assert "l1 was scored with --clip /there/other-clip, here /here/mini-clip" in why
    other = folder_of(world / "runs", "far")
    refuse_unlike(folder, other, 1, {"l1": RunFolder(other).done()["metrics"]["l1"]})
    with pytest.raises(ValueError, match="l1 was scored as .*, the other rows as 'l1: another'"):
        refuse_unlike(folder, other, 1, {"l1": "l1: another"})


def test_runs_on_other_examples_or_goals_are_refused_by_the_first_that_differs(mine, world):
    folder, other = folder_of(mine), folder_of(world / "runs", "far")
    sources = json.loads((folder / "scored_from.json").read_text())
    first = sorted(sources)[0]
    (folder / "scored_from.json").write_text(json.dumps(sources | {first: "0" * 16}))
    with pytest.raises(ValueError, match=f"1 examples have other goals, captions or masks, first: {first}"):
        refuse_unlike(folder, other, 1)
    reader = RunFolder(folder)
    reader.rewrite("scores.jsonl", [s for s in reader.every_score().values() if s.example_id != first])
    with pytest.raises(ValueError, match=f"1 examples are not in both, first: {first}"):
        refuse_unlike(folder, other, 1)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nobody", "no finished run of that name"),
        ("a/b", "no such file or folder"),
        ("x.zip", "no such file or folder"),
    ],
)
def test_what_is_not_there_is_said(what, said, world):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        runs_with(With(what), runs=world / "runs")


def test_a_folder_of_images_of_that_name_does_not_hide_the_run(world, monkeypatch):
    monkeypatch.chdir(world)  # holds near/, the images
    ((given,), _) = runs_with(With("near"), runs=world / "runs")
    assert given.folder == folder_of(world / "runs")
    with pytest.raises(ValueError, match="no run folder, for it has no run.json"):
        runs_with(With("data"), runs=world / "runs")


def test_two_checkpoints_of_one_model_stand_in_one_table_by_names_of_their_own(mine):
    for name in ("near", "far"):
        changed(folder_of(mine, name), model="mgie", form="e2e")
    one, other = folder_of(mine), folder_of(mine, "far")
    with pytest.raises(ValueError, match="there are two runs of mgie on magicbrush"):
        runs_with(With(str(one)), With(str(other)), runs=mine)
    runs, _ = runs_with(With(str(one), "step-1000"), With(str(other), "step-2000"), runs=mine)
    assert [given.name for given in runs] == ["step-1000", "step-2000"]
    with pytest.raises(ValueError, match="expected a name of its own"):
        runs_with(With(str(one), "MGIE"), runs=mine)
    args = parser("x", "")
    add_with(args)
    base = ["--suite", "paper", "--datasets", "magicbrush", "--out", str(mine), "--metric-batch-size", "4"]
    with pytest.raises(ValueError, match="mgie is a row here already"):
        selected(args.parse_args([*base, "--with", str(one)]), metrics=("l1",))
    asked = selected(args.parse_args([*base, "--with", str(one), "--as", "new"]), metrics=("l1",))
    assert [given.name for given in asked.given] == ["new"] and asked.stem("table1").name.endswith("-with-new")


def test_as_stands_behind_the_with_that_it_names(capsys):
    p = argparse.ArgumentParser()
    add_with(p)
    args = p.parse_args(["--with", "a", "--as", "one", "--with", "b", "--with", "c", "--as", "three"])
    assert args.given == [With("a", "one"), With("b"), With("c", "three")]
    with pytest.raises(SystemExit):
        p.parse_args(["--as", "one", "--with", "a"])
    with pytest.raises(SystemExit):
        p.parse_args(["--with", "a", "--as", "one", "--as", "two"])


@pytest.mark.parametrize("name", ["mgie", "MGIE", "mgie-e2e", "InsPix2Pix", "identity", "Input copy", "diffusers:a/b"])
def test_names_of_our_own_models_are_refused_for_somebodys_images(name, world, capsys):
    argv = ["--suite", "paper", "--data-root", str(world / "data"), "--dataset", "magicbrush"]
    assert run([*argv, "--images", str(world / "near"), "--model", name]) == 2
    assert f"{name} is a model of this project; somebody's images need a name of their own" in capsys.readouterr().err
    assert run([*argv, "--images", str(world / "near"), "--model", "mine", f"--as={name}"]) == 2


def test_a_run_has_the_split_of_the_tables(monkeypatch):
    seen = []

    def opened(suite, dataset, root, data):
        seen.append(data.split)
        raise ValueError("seen")

    monkeypatch.setattr(run_command, "open_dataset", opened)
    for suite in ("mini", "published", "paper"):
        args = parser("x", "").parse_args(["--suite", suite])
        with pytest.raises(ValueError, match="seen"):
            plan(["--suite", suite, "--dataset", "magicbrush", "--model", "identity", "--device", "cpu"])
        assert seen.pop() == selected(args).options.split


def mine_of(world: Path, tmp_path: Path, images: Path) -> list[str]:
    where = ["--suite", "paper", "--data-root", str(world / "data"), "--out", str(tmp_path / "runs")]
    return [*where, "--dataset", "magicbrush", "--model", "mine", "--images", str(images)]


def test_the_run_prints_the_command_of_its_row(world, tmp_path, capsys):
    argv = [*mine_of(world, tmp_path, world / "near"), "--metrics", "l1", "--size", "native"]
    assert run(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("beside the others: python -m bench.tables 1 --suite paper --data-root ")
    assert "--with mine --metrics l1 --size native" in lines[-2]
    assert lines[-1].startswith("or: make table1 SUITE=paper DATA=") and "WITH=mine METRICS=l1 ARGS=" in lines[-1]
    (words,) = [line.split("bench.tables ")[1].split() for line in lines if "bench.tables" in line]
    from bench.tables import table_of

    assert [given.name for given in table_of(words).given] == ["mine"]
    assert run([*argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mine"


@pytest.mark.parametrize(
    ("given", "has"),
    [
        (["--suite", "mini", "--data-root", "my data", "--images", "x"], {"suite": "mini", "seeds": None}),
        (["--suite", "paper", "--data-root", "data", "--weights", "w", "--images", "x"], {"weights": Path("w")}),
        (
            ["--suite", "paper", "--data-root", "da$ta", "--device", "cpu"],
            {"device": "cpu", "seeds": 1, "weights": None},
        ),
        (["--out", "\N{DOG} runs", "--seeds", "3"], {"out": Path("\N{DOG} runs"), "seeds": 3}),
    ],
)
@pytest.mark.parametrize("name", ["mine", "my editor", "its, v2"])
def test_the_command_of_a_row_is_taken_as_it_is_printed_by_python_and_by_make(given, has, name):
    args = run_command.parser().parse_args(["--model", "mgie", "--as", name, "--dataset", "ma5k", *given])
    by_python, by_make = beside_others(args, seeded="--images" not in given).splitlines()
    env = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(
        by_make.replace("or: make", "make -n"), shell=True, cwd=ROOT, env=env, capture_output=True, text=True
    )
    lines = [
        line.partition("bench.tables ")[2] for line in (by_python, *done.stdout.splitlines()) if "bench.tables" in line
    ]
    one, other = (table_parser().parse_args(shlex.split(line)) for line in lines)
    assert one == other and one.given == [With(name)]
    assert suite_of(one) in ("mini", "paper") and {key: getattr(one, key) for key in has} == has


def test_half_a_folder_is_said_once(world, tmp_path, capsys):
    half = Path(shutil.copytree(world / "near", tmp_path / "half"))
    for path in sorted(half.iterdir())[:3]:
        path.unlink()
    argv = [*mine_of(world, tmp_path, half), "--metrics", "l1,ssim"]
    assert run(argv) == 2
    assert capsys.readouterr().err.count("3 of 7 examples have no image, first: magicbrush/test/") == 1
    assert run([*argv, "--max-failures", "1"]) == 0
    said = capsys.readouterr()
    assert said.err.count("have no image") == 1 and len(said.out.splitlines() + said.err.splitlines()) < 34


def test_a_set_of_metrics_is_compared_metric_by_metric(world):
    folder, networks = folder_of(world / "runs"), metric_settings("paper", SUITES_OWN)
    for named, belongs in (("magicbrush", True), ("dino", False)):  # of these it has l1; of those nothing
        asked = Asked("paper", DataSettings(), metrics=(named,), networks=networks)
        why = reasons_against(folder, "magicbrush", asked)
        assert (why == []) is belongs
    assert "it was scored in l1" in why[0] and "here in dino" in why[0]
