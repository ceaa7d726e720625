"""`python -m mgie.edit`: expressive instruction on stdout, the edit in its file, one line and exit 2 for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from torch import nn

from mgie.edit import main, parser, pipeline
from mgie.edit import run as run_edit
from mgie.io import memory


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    tiny.build().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    tiny.picture(0, (45, 33)).save(path)
    return str(path)


def run(capsys, *arguments) -> tuple[int, str, str]:
    code = main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_prints_the_expressive_instruction_and_saves_the_edit(capsys, tmp_path, weights, photo):
    output = tmp_path / "new" / "out.png"
    arguments = (photo, "make it night", "-o", output, "--weights", weights, "--device", "cpu", "--steps", 2)
    code, out, err = run(capsys, *arguments, "--seed", 5)
    assert code == 0 and len(out.splitlines()) >= 1 and "saved" in err
    with Image.open(output) as image:
        assert image.size == (44, 32) and image.mode == "RGB"
        first = image.tobytes()
    run(capsys, *arguments, "--seed", 5)
    assert Image.open(output).tobytes() == first
    run(capsys, *arguments, "--seed", 6)
    assert Image.open(output).tobytes() != first
    assert [path.name for path in output.parent.iterdir()] == ["out.png"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_cpu_16_bit_is_for_what_decodes_and_the_unet_convolves_in_float32(weights, photo, tmp_path, dtype):
    options = parser().parse_args(
        [photo, "x", "--weights", weights, "--device", "cpu", "--dtype", dtype, "--steps", "1"]
    )
    pipe = pipeline(options)
    kept = {
        name: next(part.parameters()).dtype for name, part in pipe.components.items() if isinstance(part, nn.Module)
    }
    assert kept["unet"] == kept["vae"] == torch.float32 and getattr(torch, dtype) in kept.values()
    assert run_edit(options, Image.open(photo), pipe).images[0].size == (44, 32)


def test_what_a_cpu_keeps_in_float32_counts_before_it_is_loaded(capsys, monkeypatch, weights, photo):
    folder = Path(weights)
    wide = sum(memory.folder_bytes(folder / name, 4) for name in ("unet", "vae"))
    narrow = sum(memory.folder_bytes(folder / name, 2) for name in ("llama", "tower", "projector", "edit_head"))
    monkeypatch.setattr(memory, "free_bytes", lambda device: wide + narrow - 1)
    asked = (photo, "x", "--weights", weights, "--device", "cpu", "--dtype", "bfloat16", "--steps", 1)
    code, _, err = run(capsys, *asked)
    assert code == 2 and "as bfloat16, and main memory has" in err
    monkeypatch.setattr(memory, "free_bytes", lambda device: wide + narrow)
    assert pipeline(parser().parse_args(list(map(str, asked)))).unet.dtype == torch.float32


def test_a_given_expressive_instruction_is_printed_as_it_is(capsys, tmp_path, weights, photo):
    options = ("--weights", weights, "--device", "cpu", "--steps", 1, "--expressive-instruction", "The lamps are lit.")
    code, out, _ = run(capsys, photo, "x", "-o", tmp_path / "o.jpg", *options)
    assert code == 0 and out == "The lamps are lit.\n"


BAD = {
    "no such image": (["missing.png", "x"], "no such file"),
    "not an image": ([__file__, "x"], "not an image"),
    "empty instruction": (["PHOTO", "  "], "instruction is empty"),
    "unknown format": (["PHOTO", "x", "-o", "out.mp9"], "no image format"),
    "no such weights": (["PHOTO", "x", "--weights", "nowhere"], "mgie.convert"),
    "unknown device": (["PHOTO", "x", "--weights", "WEIGHTS", "--device", "abacus"], "unknown device"),
    "guidance": (["PHOTO", "x", "--weights", "WEIGHTS", "--guidance-scale", "0.2", "--device", "cpu"], "at least 1"),
    "steps": (["PHOTO", "x", "--weights", "WEIGHTS", "--steps", "0", "--device", "cpu"], "at least 1"),
    "a name too long": (["PHOTO", "x", "-o", "n" * 248 + ".png"], "a name of 252 bytes"),
    "seed": (["PHOTO", "x", "--seed", "-4"], "--seed is -4"),
    "nothing to offload from": (["PHOTO", "x", "--device", "cpu", "--offload"], "--offload is for a GPU"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, weights, photo, name):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[name]
    code, out, err = run(capsys, *({"PHOTO": photo, "WEIGHTS": weights}.get(a, a) for a in arguments))
    assert code == 2 and out == ""
    assert message in err and len(err.strip().splitlines()) == 1, err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("part", ["transformers.LlamaForCausalLM.from_pretrained", "mgie.mllm.load_exactly"])
def test_a_gpu_that_is_too_small_is_told_as_that_and_not_as_damaged_weights(capsys, monkeypatch, weights, photo, part):
    def short(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB")

    monkeypatch.setattr(part, short)
    code, out, err = run(capsys, photo, "x", "--weights", weights, "--device", "cpu")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert "not enough memory on cpu" in err and "--offload" in err and "Tried to allocate 7 GiB" in err
    assert "do not fit" not in err and "damaged" not in err


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


def test_help_needs_no_torch():
    python("import sys; from mgie.edit import parser; parser().format_help(); assert 'torch' not in sys.modules")


def test_importing_the_package_needs_no_torch():
    python("import sys, mgie; assert 'torch' not in sys.modules; mgie.MGIEPipeline; assert 'torch' in sys.modules")


@pytest.mark.slow
def test_letters_that_the_terminal_lacks_are_spelled_out_and_the_edit_is_kept(tmp_path, weights, photo):
    said = "\u0441\u0434\u0435\u043b\u0430\u0439 \u043a\u0440\u0430\u0441\u043d\u044b\u043c"
    argv = [photo, "x", "-o", tmp_path / "o.png", "--weights", weights, "--device", "cpu", "--steps", 1]
    argv = [sys.executable, "-m", "mgie.edit", *map(str, argv), "--expressive-instruction", said]
    done = subprocess.run(argv, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0 and done.stdout.startswith(b"\\u0441\\u0434") and (tmp_path / "o.png").is_file()
