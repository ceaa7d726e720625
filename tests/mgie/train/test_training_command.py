"""`python -m mgie.train` from end to end with the mini preset, on the two real pairs where they are at hand."""

import json
from pathlib import Path

import pytest
import tiny
from training_runs import curve, draw_pairs, numbers

from mgie.pipeline import MGIEPipeline
from mgie.train.__main__ import main

REAL = Path(__file__).parents[4] / "shared" / "data" / "ipr2pr"


@pytest.fixture(scope="module")
def two_pairs(tmp_path_factory):
    """(folder, expressive instructions of its pairs)"""
    folder = tmp_path_factory.mktemp("pairs")
    if not REAL.exists():
        drawn = draw_pairs(folder / "drawn", 2)
        return drawn, drawn / "expressive.jsonl"
    lines = [
        {"id": "ipr2pr/train/0000132_127380018", "expressive": "The scene would be painted in thick, warm strokes."},
        {"id": "ipr2pr/train/0000132_1818564940", "expressive": "Soft brush marks would replace every edge."},
    ]
    (folder / "expressive.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return REAL, folder / "expressive.jsonl"


@pytest.fixture(scope="module")
def trained(two_pairs, tmp_path_factory):
    """(OUT, the arguments of the command)"""
    out = tmp_path_factory.mktemp("runs") / "mgie-e2e"
    arguments = [
        "--model",
        "mgie",
        "--data",
        two_pairs[0],
        "--expressive",
        two_pairs[1],
        "--out",
        out,
        "--steps",
        12,
        "--batch-size",
        8,
        "--lr-diffusion",
        2e-3,
        "--lr-mllm",
        5e-3,
        "--schedule",
        "constant",
        "--device",
        "cpu",
    ]
    arguments = [*map(str, arguments)]
    assert main(arguments) == 0
    return out, arguments


def test_the_mini_preset_learns_the_two_pairs(trained):
    ins, edit = numbers(trained[0], "l_ins"), numbers(trained[0], "l_edit")
    assert ins[-1] < 0.7 * ins[0]
    assert sum(edit[-4:]) < 0.9 * sum(edit[:4])


def test_out_becomes_the_models_folder_with_curve_and_plot(trained):
    out, _ = trained
    pipe = MGIEPipeline.from_pretrained(out, preset="mini")
    pipe.progress = False
    edited = pipe(tiny.picture(0, (64, 64)), "make it night", num_inference_steps=1, max_new_tokens=4)
    assert edited.images[0].size == (64, 64)
    assert (out / "train.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "training.json").read_text())["start"]["what"].startswith("new weights")


def test_the_curve_has_a_row_a_step_with_speed_and_memory(trained):
    rows = curve(trained[0])
    assert [int(row["step"]) for row in rows] == list(range(1, 13))
    header = (trained[0] / "train.csv").read_text().splitlines()[0]
    assert header == "step,l_ins,l_edit,loss,lr,lr_diffusion,grad_norm,samples/s,memory"
    for row in rows:
        assert float(row["loss"]) == pytest.approx(float(row["l_ins"]) + 0.5 * float(row["l_edit"]))


def test_the_same_command_again_is_done_and_another_is_refused(trained, capsys):
    out, arguments = trained
    before = (out / "train.csv").read_bytes()
    assert main(arguments) == 0
    assert (out / "train.csv").read_bytes() == before
    assert main([*arguments, "--seed", "1"]) == 2
    assert "seed: 0, now 1" in capsys.readouterr().err


def test_fine_tuning_starts_from_a_trained_folder(trained, tmp_path):
    data = draw_pairs(tmp_path / "data", 2)
    arguments = [
        "--model",
        "mgie",
        "--from",
        str(trained[0]),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "tuned"),
        "--steps",
        "1",
        "--batch-size",
        "2",
        "--device",
        "cpu",
        "--recipe",
        "released-script",
    ]
    assert main(arguments) == 0
    assert json.loads((tmp_path / "tuned/training.json").read_text())["loop"]["lr_diffusion"] == 5e-4
    MGIEPipeline.from_pretrained(tmp_path / "tuned", preset="mini")


@pytest.mark.parametrize("model", ["inspix2pix", "lgie"])
def test_the_other_models_train_from_new_weights(two_pairs, tmp_path, model):
    arguments = [
        "--model",
        model,
        "--data",
        str(two_pairs[0]),
        "--expressive",
        str(two_pairs[1]),
        "--out",
        str(tmp_path / model),
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--device",
        "cpu",
    ]
    assert main(arguments) == 0
    index = json.loads((tmp_path / model / "model_index.json").read_text())
    expected = {"inspix2pix": "StableDiffusionInstructPix2PixPipeline", "lgie": "MGIEPipeline"}
    assert index["_class_name"] == expected[model] and index.get("eyes") is not True


def test_a_run_in_use_by_another_process_is_refused(two_pairs, tmp_path, capsys):
    import fcntl

    out = tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["--model", "inspix2pix", "--data", str(two_pairs[0]), "--out", str(out), "--device", "cpu"]) == 2
    assert "being trained by another process" in capsys.readouterr().err
