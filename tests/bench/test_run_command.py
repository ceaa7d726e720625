"""`python -m bench.run` as its users meet it: output, exit codes, messages."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import profiles
import pytest
from drawn import draw_magicbrush
from PIL import Image

from bench.records import file_name
from bench.run import main
from mgie.folder import MINI
from mgie.io.sizes import sized
from tests.bench.runs.test_resume import command, draw_ma5k, folder_of


@pytest.fixture
def data(tmp_path):
    return draw_ma5k(tmp_path / "data", photos=2)


def run_json(capsys, argv: list[str]) -> dict:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def own_outputs(data, folder, name) -> None:
    """A folder of output images: each example's goal image, under name(id)."""
    for photo in ("0001", "0002"):
        for letter in "ABCDE":
            path = folder / name(f"ma5k/test/{photo}_{letter}")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.open(data / "ma5k" / "images" / f"{photo}_{letter}.jpg").save(path)


def test_json_holds_what_is_promised_unscaled(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path))
    assert (result["suite"], result["dataset"], result["model"]) == ("paper", "ma5k", "identity")
    assert (result["n"], result["of"], result["groups"]) == (10, 10, 2)
    assert set(result["metrics"]) == {"l1", "ssim"}
    for m in result["metrics"].values():
        assert m["low"] is None and "no interval: 2 groups" in m["reason"] and m["n"] == 10 and m["protocol"]
    assert 0 < result["metrics"]["l1"]["mean"] < 1
    assert result["seconds"]["n"] == 4  # timings: slices of 3, 3, 3 and 1 edits; one seed serves
    assert result["seconds"]["median"] > 0 and result["seconds"]["device"]
    assert result["run"] == str(folder_of(tmp_path))


def test_l1_of_identity_is_the_mean_difference_of_input_and_goal(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path, "--metrics", "l1"))
    images = data / "ma5k" / "images"

    def pixels(name: str) -> np.ndarray:
        return np.asarray(Image.open(images / name)).astype(float) / 255

    pairs = [(f"{p}_O.jpg", f"{p}_{c}.jpg") for p in ("0001", "0002") for c in "ABCDE"]
    expected = np.mean([np.abs(pixels(a) - pixels(b)).mean() for a, b in pairs])
    assert result["metrics"]["l1"]["mean"] == pytest.approx(expected, abs=1e-7)


def test_the_oracle_is_perfect(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path, "--model", "oracle"))
    assert result["metrics"]["l1"]["mean"] == 0 and result["metrics"]["ssim"]["mean"] == pytest.approx(1)


def test_the_first_line_says_what_is_run_and_the_last_where_it_lies(data, tmp_path, capsys):
    argv = [a for a in command(data, tmp_path) if a != "--json"]
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "suite paper: MA5k from its official files"
    assert lines[-1] == f"run: {folder_of(tmp_path)}"


def test_help_needs_no_heavy_import():
    heavy = "{'torch', 'pandas', 'scipy'} & set(sys.modules)"
    code = f"import sys, bench.run; bench.run.parser().format_help(); print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    "change, says",
    [
        (["--model", "magic"], "unknown model 'magic'; known: identity, oracle"),
        (["--dataset", "cifar"], "unknown dataset 'cifar'; known: evr, gier, ma5k"),
        (["--metrics", "l1,psnr"], "unknown metric 'psnr'; known: l1, l2, ssim"),
        (["--form", "fz"], "--form fz is for lgie and mgie"),
        (["--limit", "0"], "--limit 0"),
        (["--images", "nowhere"], "nowhere: no such folder"),
        (["--model", "precomputed"], "needs --images"),
    ],
)
def test_wrong_use_ends_with_2_and_one_line_that_helps(data, tmp_path, capsys, change, says):
    assert main(command(data, tmp_path / "out", *change)) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said
    assert not (tmp_path / "out").exists()  # nothing half-written


@pytest.mark.parametrize("flag", ["--data-root", "--weights"])
def test_a_root_without_a_suite_is_wrong_use(tmp_path, capsys, flag):
    assert main(["--model", "identity", "--dataset", "ma5k", flag, str(tmp_path)]) == 2
    assert f"{flag} needs --suite" in capsys.readouterr().err


def test_no_data_root_names_the_path_and_the_next_step(tmp_path, capsys):
    assert main(command(tmp_path / "nothing", tmp_path / "out")) == 2
    assert str(tmp_path / "nothing" / "ma5k") in capsys.readouterr().err
    assert main(command(tmp_path / "nothing", tmp_path / "out", "--model", "magic")) == 2
    assert "unknown model 'magic'" in capsys.readouterr().err  # before data is looked for, drawn or fetched


def test_half_a_dataset_is_refused_with_the_first_missing_files_named(data, tmp_path, capsys):
    for path in (data / "ma5k" / "images").glob("0002_O*"):
        path.unlink()
    assert main(command(data, tmp_path)) == 1
    said = capsys.readouterr().err
    assert "5 of 10 examples have no usable input image" in said and "0002_O.jpg: no such file" in said
    assert "--max-failures" in said and not (tmp_path / "paper").exists()
    result = run_json(capsys, command(data, tmp_path, "--max-failures", "0.6"))
    assert (result["n"], result["of"], result["metrics"]["l1"]["n"]) == (5, 10, 5)
    assert "0002_O.jpg" in result["metrics"]["l1"]["reason"]
    lines = (folder_of(tmp_path) / "failures.jsonl").read_text().splitlines()
    assert len(lines) == 5 and json.loads(lines[0])["stage"] == "edit"


def test_an_unreadable_goal_image_is_a_missing_score_with_its_reason(data, tmp_path, capsys):
    (data / "ma5k" / "images" / "0001_B.jpg").write_bytes(b"")
    assert main(command(data, tmp_path)) == 1  # 1 of 10 is more than the 1 % allowed
    said = capsys.readouterr()
    assert said.out == "" and "1 of 10 examples have no usable goal image" in said.err and "0001_B.jpg" in said.err
    assert not (tmp_path / "paper").exists()  # nothing was edited
    result = run_json(capsys, command(data, tmp_path, "--max-failures", "0.1"))
    assert result["failures"] == 1 and result["metrics"]["l1"]["n"] == 9
    assert "0001_B.jpg" in result["metrics"]["l1"]["reason"]
    rows = [json.loads(line) for line in (folder_of(tmp_path) / "scores.jsonl").read_text().splitlines()]
    assert len(rows) == 20 and sum(row["value"] is None for row in rows) == 2


@pytest.mark.parametrize("name", [file_name, lambda i: f"{i}.png"])
def test_a_folder_of_own_outputs_is_scored_without_a_model(data, tmp_path, capsys, name):
    own_outputs(data, tmp_path / "mine", name)
    argv = command(data, tmp_path / "out", "--model", "mine", "--images", str(tmp_path / "mine"), "--seeds", "1")
    found = run_json(capsys, argv)["metrics"]
    assert found["l1"]["mean"] == 0 and set(found) == {"l1", "ssim"}  # what was asked for


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_index_file_of_own_outputs_is_taken_too(data, tmp_path, capsys, kind):
    index = tmp_path / f"index.{kind}"
    rows = [
        {"id": f"ma5k/test/{p}_{c}", "path": f"data/ma5k/images/{p}_{c}.jpg"} for p in ("0001", "0002") for c in "ABCDE"
    ]
    with open(index, "w", newline="") as file:
        if kind == "csv":
            writer = csv.DictWriter(file, ["id", "path"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    argv = command(data, tmp_path / "out", "--model", "mine", "--images", str(index), "--seeds", "1")
    assert run_json(capsys, argv)["metrics"]["l1"]["mean"] == 0


def test_missing_and_extra_images_are_named(data, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    Image.new("RGB", (9, 9)).save(mine / "ma5k__test__0001_A.png")
    Image.new("RGB", (9, 9)).save(mine / "holiday.png")
    argv = command(data, tmp_path / "out", "--model", "mine", "--images", str(mine), "--seeds", "1")
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "9 of 10 examples have no image, first: ma5k/test/0001_B" in said
    assert "1 images belong to no example, first: holiday" in said
    assert "ma5k__test__0001_B.png" in said or "ma5k__test__0001_A.png" in said
    assert not (tmp_path / "out").exists()
    result = run_json(capsys, [*argv, "--max-failures", "0.95"])
    assert (result["n"], result["of"]) == (1, 10)  # and an output of another size than its goal is brought to it


def test_the_tail_of_a_default_run_says_which_metric_was_not_run(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    argv = command(data, tmp_path)
    where = argv.index("--metrics")
    result = run_json(capsys, argv[:where] + argv[where + 2 :])
    assert set(result["metrics"]) == {"l1", "ssim"} and set(result["not_run"]) == {"lpips"}
    assert main(command(data, tmp_path, "--metrics", "lpips")) == 2
    own_outputs(data, tmp_path / "mine", file_name)
    more = ["--model", "mine", "--images", str(tmp_path / "mine"), "--seeds", "1"]
    result = run_json(capsys, [*argv[:where], *argv[where + 2 :], *more])
    assert set(result["metrics"]) == {"l1", "ssim", "l1@input"}  # whether it edits at all, for its row in a table


def test_input_and_goal_are_brought_to_one_size_and_it_is_recorded(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path, "--size", "square:16", "--metrics", "l1"))
    images = data / "ma5k" / "images"

    def pixels(name: str) -> np.ndarray:
        return np.asarray(sized(Image.open(images / name), "square:16")).astype(float) / 255

    pairs = [(f"{p}_O.jpg", f"{p}_{c}.jpg") for p in ("0001", "0002") for c in "ABCDE"]
    expected = np.mean([np.abs(pixels(a) - pixels(b)).mean() for a, b in pairs])
    assert result["metrics"]["l1"]["mean"] == pytest.approx(expected, abs=1e-7)
    assert "size square:16" in result["metrics"]["l1"]["protocol"]
    run = json.loads((Path(result["run"]) / "run.json").read_text())
    assert run["edit"]["size"] == "square:16"
    assert Image.open(next(Path(result["run"]).glob("images/0/*.png"))).size == (16, 16)


def test_suite_paper_has_the_authors_size_and_says_that_it_is_assumed(data, tmp_path, capsys):
    argv = command(data, tmp_path, "--metrics", "l1", "--limit", "1")
    where = argv.index("--size")
    result = run_json(capsys, argv[:where] + argv[where + 2 :])
    assert "size authors (assumed" in result["metrics"]["l1"]["protocol"]
    assert Image.open(next(Path(result["run"]).glob("images/0/*.png"))).size == (512, 512)


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--size", "big"], "--size big"), (["--size", "square:64", "--max-side", "32"], "--size native")],
)
def test_a_size_that_there_is_not_is_wrong_use(more, says, data, tmp_path, capsys):
    assert main(command(data, tmp_path, *more)) == 2 and says in capsys.readouterr().err


def test_the_input_of_magicbrushs_rule_is_scored_at_the_goals_own_size(tmp_path, capsys):
    root = draw_magicbrush(tmp_path / "data" / "magicbrush", count=2).parent
    argv = ["--suite", "paper", "--dataset", "magicbrush", "--data-root", str(root), "--size", "magicbrush", "--json"]
    argv += ["--metrics", "l1", "--out", str(tmp_path / "out"), "--model"]
    copied = run_json(capsys, [*argv, "identity"])
    assert Image.open(next(Path(copied["run"]).glob("images/0/*.png"))).size == (512, 512)  # of 40 x 40
    goal = run_json(capsys, [*argv, "oracle"])
    assert Image.open(next(Path(goal["run"]).glob("images/0/*.png"))).size == (40, 40)
    assert goal["metrics"]["l1"]["mean"] == 0 and "goal at its own size" in goal["metrics"]["l1"]["protocol"]


def test_what_is_done_to_the_images_first_is_part_of_the_protocol(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path, "--max-side", "16", "--exif", "ignore"))
    for m in result["metrics"].values():
        assert m["protocol"].endswith("; images at most 16 px; EXIF orientation ignored")


def test_the_summary_counts_the_images_converted_from_their_profile(data, tmp_path, capsys):
    images = data / "ma5k" / "images"
    for name, profile in (("0001_A", profiles.WIDE["Adobe RGB"][0]), ("0002_O", b"none")):
        Image.open(images / f"{name}.jpg").save(images / f"{name}.jpg", icc_profile=profile)
    result = run_json(capsys, command(data, tmp_path))
    assert result["profiles"] == {"images": 12, "converted": 1, "broken": 1}
    argv = [a for a in command(data, tmp_path) if a != "--json"]
    assert main(argv) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of 12 images converted from their colour profile to sRGB" in said
    assert "1 of 12 images have a colour profile that cannot be followed" in said
    ignored = run_json(capsys, command(data, tmp_path, "--icc", "ignore"))
    assert ignored["profiles"] == {"images": 12, "converted": 0, "broken": 0} and ignored["run"] != result["run"]
    for m in ignored["metrics"].values():
        assert m["protocol"].endswith("; colour profiles ignored")


@pytest.mark.parametrize("name", ["m" * 260, "\u6a21" * 90])
def test_a_models_name_of_any_length_names_its_folder(data, tmp_path, capsys, name):
    own_outputs(data, tmp_path / "own", file_name)
    argv = command(data, tmp_path, "--images", str(tmp_path / "own"), "--seeds", "1")
    names = [name, name + "x"]
    found = set()
    for one in names:
        argv[argv.index("--model") + 1] = one
        found.add(run_json(capsys, argv)["run"])
    assert len(found) == 2 and all(len(run.rpartition("/")[2].encode()) < 160 for run in found)


def test_a_run_finished_under_a_laxer_limit_still_fails_a_stricter_one(data, tmp_path, capsys):
    (data / "ma5k" / "images" / "0002_B.jpg").write_bytes(b"")
    run_json(capsys, command(data, tmp_path, "--max-failures", "0.5"))
    assert main(command(data, tmp_path)) == 1
    assert "more than --max-failures 0.01 allows" in capsys.readouterr().err
    run_json(capsys, command(data, tmp_path, "--max-failures", "0.5"))


def test_the_last_outputs_of_sessions_are_enough_for_multi_turn(tmp_path, capsys):
    root = draw_magicbrush(tmp_path / "data" / "magicbrush").parent
    sessions = json.loads((root / "magicbrush" / "test" / "edit_sessions.json").read_text())
    mine = tmp_path / "mine"
    mine.mkdir()
    for img_id, turns in sessions.items():
        goal = Image.open(root / "magicbrush" / "test" / "images" / img_id / turns[-1]["output"])
        goal.convert("RGB").save(mine / file_name(f"magicbrush/test/{img_id}-{len(turns)}@multi"))
    argv = ["--suite", "paper", "--dataset", "magicbrush", "--turns", "multi", "--data-root", str(root), "--json"]
    argv += ["--model", "mine", "--images", str(mine), "--metrics", "l1", "--out", str(tmp_path / "out")]
    result = run_json(capsys, argv)
    assert (result["n"], result["of"], result["metrics"]["l1"]["mean"]) == (len(sessions), len(sessions), 0)


@pytest.mark.parametrize("flags", [["--quantize", "int8"], ["--unknown-editor"]])
def test_what_is_for_diffusers_is_refused_for_other_models(data, tmp_path, capsys, flags):
    assert main(command(data, tmp_path, *flags)) == 2
    assert "are for diffusers:... models; identity is none" in capsys.readouterr().err


def test_a_model_can_be_called_by_another_name_and_is_a_run_of_its_own(data, tmp_path, capsys):
    result = run_json(capsys, command(data, tmp_path, "--as", "copied twice"))
    assert result["model"] == "copied twice" and Path(result["run"]).name.startswith("ma5k--copied_twice--zero-shot--")
    for name in ("mgie", ".."):
        assert main(command(data, tmp_path, f"--as={name}")) == 2
        assert "expected a name of its own" in capsys.readouterr().err


def test_a_caption_that_some_examples_lack_is_counted_before_the_run_and_one_that_all_lack_is_said(tmp_path, capsys):
    root = draw_magicbrush(tmp_path / "data" / "magicbrush").parent
    path = root / "magicbrush" / "test" / "global_descriptions.json"
    captions = json.loads(path.read_text())
    argv = ["--suite", "paper", "--dataset", "magicbrush", "--model", "identity", "--data-root", str(root), "--json",
            "--metrics", "l1,cts", "--clip", str(MINI / "mini-clip"), "--out", str(tmp_path / "out")]  # fmt: skip
    first = next(iter(captions))
    for name in captions[first]:
        captions[first][name] = " "
    path.write_text(json.dumps(captions))
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "examples have no usable global goal caption: they will have no cts; first: magicbrush/test/" in said.err
    assert "(blank)" in said.err and 0 < json.loads(said.out)["metrics"]["cts"]["n"] < json.loads(said.out)["of"]
    data = draw_ma5k(tmp_path / "more", photos=1)
    ma5k = ["--metrics", "l1,cts", "--clip", str(MINI / "mini-clip")]
    assert main(command(data, tmp_path / "out", *ma5k)) == 0
    assert "no example has a goal caption: cts will have no value" in capsys.readouterr().err


def test_half_a_folder_of_own_images_is_counted_by_kind_and_said_once(data, tmp_path, capsys):
    own_outputs(data, tmp_path / "mine", file_name)
    images = sorted((tmp_path / "mine").iterdir())
    for path in images[:4]:
        path.unlink()
    argv = command(data, tmp_path / "out", "--model", "mine", "--images", str(tmp_path / "mine"), "--seeds", "1")
    assert main([a for a in argv if a != "--json"] + ["--max-failures", "0.5"]) == 0
    said = capsys.readouterr()
    why = "4 of 10 scores missing: not edited: no output image was given (first: ma5k/test/0001_A)"
    assert " ".join(said.out.split()).count(why) == 1 and "warning" not in said.err
    assert not (folder_of(tmp_path / "out") / "halvings.jsonl").exists()
