"""Expressive instructions are derived as in process_data.ipynb, resumed after a kill, read and written officially."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny
import tiny_language
import torch

from mgie.expressive import __main__ as expressive
from mgie.expressive import derive as derived
from mgie.expressive.__main__ import main
from mgie.expressive.derive import Derived, Lines, derive, read_official, write_official
from mgie.expressive.summariser import PROMPT, Summarizer
from mgie.expressive.writer import Request, open_writer
from mgie.prompts import build_prompt, tidy
from mgie.train.data import examples_of

TEXTS = ["make it night", "a red hat", "the lamps are lit"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("models")
    return {"llava": tiny_language.llava(root / "llava"), "summarizer": tiny_language.t5(root / "t5")}


@pytest.fixture(autouse=True)
def short_paragraphs(monkeypatch):
    monkeypatch.setattr(derived, "MAX_NEW_TOKENS", 16)


@pytest.fixture
def data(tmp_path):
    """IPr2Pr folders, five pairs."""
    for i, text in enumerate([*TEXTS, "dog", "sky"]):
        folder = tmp_path / "ipr2pr" / f"{i:07d}"
        folder.mkdir(parents=True)
        (folder / "prompt.json").write_text(json.dumps({"edit": f" {text} "}))
        for k in (0, 1):
            tiny.picture(10 * i + k).save(folder / f"77{i}_{k}.jpg")
    return tmp_path / "ipr2pr"


@pytest.fixture
def opened(models):
    return (
        open_writer(models["llava"], "cpu", torch.float32),
        Summarizer(models["summarizer"], "cpu", torch.float32),
    )


def command(data, models, out, *more):
    return [
        "--data", str(data), "--dataset", "ipr2pr", "--llava", str(models["llava"]),
        "--summarizer", str(models["summarizer"]), "--out", str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def test_the_question_is_the_official_one_with_two_blanks():
    assert "what will this image be like if 'x'  (in a short paragraph)\n<im_start>" in build_prompt("x", 2, True)
    assert PROMPT == "summarize the following paragraph in 32 words:\n\n%s"


def test_llava_describes_and_the_summariser_sums_up(data, opened, tmp_path):
    writer, summarizer = opened
    examples = examples_of(data, "ipr2pr", "train")
    lines = Lines(tmp_path / "out.jsonl")
    assert derive(examples, lines, writer, summarizer, batch_size=2) == []
    from mgie.io.images import load

    for example in examples:
        text = example.instruction.strip()
        asked = Request(16, no_repeat_ngram_size=0, paragraph=True)
        paragraph = tidy(writer.write([text], [load(example.input_image)], asked)[0].text)
        record = lines.done[example.id]
        assert record.paragraph == paragraph
        assert record.expressive == ((summarizer([paragraph])[0] if paragraph else "") or text)
        assert record.instruction == text


def test_the_summariser_is_called_with_the_official_arguments(opened):
    _, summarizer = opened
    settings = summarizer.settings()
    named = ("num_beams", "min_length", "max_length", "no_repeat_ngram_size", "do_sample")
    assert [getattr(settings, name) for name in named] == [5, 5, 64, 3, False]
    assert summarizer([]) == []
    together, alone = summarizer(TEXTS), [summarizer([text])[0] for text in TEXTS]
    assert together == alone
    assert len(set(together)) > 1


def test_where_llava_says_nothing_the_instruction_is_kept(data, tmp_path):
    from mgie.expressive.writer import Written

    class Silent:
        has_eyes = True

        def write(self, instructions, images, request):
            return [Written("alternative", 3) for _ in instructions]

    lines = Lines(tmp_path / "out.jsonl")
    derive(examples_of(data, "ipr2pr", "train"), lines, Silent(), lambda paragraphs: [], batch_size=2)
    assert all(record.expressive == record.instruction for record in lines.done.values())


def test_the_command_writes_lines_that_training_reads_and_the_official_file(data, models, tmp_path):
    from mgie.train.data import expressive_for, read_expressive

    out, official = tmp_path / "e.jsonl", tmp_path / "ipr2pr_expressive.json"
    assert main(command(data, models, out, "--export", str(official), "--batch-size", "2")) == 0
    examples = examples_of(data, "ipr2pr", "train")
    told = expressive_for([e.id for e in examples], data, "ipr2pr", str(out))
    assert told == read_expressive(official)
    assert list(json.loads(official.read_text())) == [f"{i:07d}_77{i}_0" for i in range(5)]


def test_a_half_written_line_is_dropped_and_only_what_is_missing_is_derived(data, models, tmp_path, monkeypatch):
    out = tmp_path / "e.jsonl"
    main(command(data, models, out))
    whole = out.read_text()
    out.write_text("".join(whole.splitlines(keepends=True)[:3]) + whole.splitlines(keepends=True)[3][:-9])
    asked = []
    batch = derived.derive_batch
    monkeypatch.setattr(derived, "derive_batch", lambda b, *rest: asked.extend(b) or batch(b, *rest))
    assert main(command(data, models, out)) == 0
    assert out.read_text() == whole
    assert len(asked) == 2


@pytest.mark.slow
def test_killed_at_any_moment_and_repeated_it_ends_in_the_same_file(data, models, tmp_path):
    expected, out = tmp_path / "expected.jsonl", tmp_path / "e.jsonl"
    arguments = ("--batch-size", "1")
    main(command(data, models, expected, *arguments))
    code = (
        "import sys; from mgie.expressive import __main__ as m, derive; derive.MAX_NEW_TOKENS = 16; sys.exit(m.main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command(data, models, out, *arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and not (out.exists() and out.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(command(data, models, out, *arguments)) == 0
    assert out.read_bytes() == expected.read_bytes()


def test_an_official_file_is_taken_over_and_needs_no_model(data, models, tmp_path):
    official, out, again = tmp_path / "o.json", tmp_path / "e.jsonl", tmp_path / "again.json"
    entries = {f"{i:07d}_77{i}_0": {"instruction": "a", "expressive": f"an é {i}"} for i in range(5)}
    official.write_text(json.dumps(entries, indent=2))
    arguments = ["--data", str(data), "--dataset", "ipr2pr", "--out", str(out), "--import", str(official)]
    assert main([*arguments, "--export", str(again)]) == 0
    assert again.read_bytes() == official.read_bytes()
    assert Lines(out).done["ipr2pr/train/0000003_773"].expressive == "an é 3"


def test_the_official_format_holds_ipr2pr_alone(tmp_path):
    with pytest.raises(ValueError, match="evr/train/1#0 is not of ipr2pr"):
        write_official([Derived("evr/train/1#0", "a", "b")], tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"1_2_0": {"instruction": "a"}}')
    with pytest.raises(ValueError, match="expected"):
        read_official(tmp_path / "x.json")


def test_an_unreadable_image_is_reported_and_tried_again_next_time(data, models, tmp_path, capsys):
    path, out = data / "0000001" / "771_0.jpg", tmp_path / "e.jsonl"
    image = path.read_bytes()
    path.write_bytes(image[:100])
    assert main(command(data, models, out)) == 1
    assert "failed: ipr2pr/train/0000001_771" in capsys.readouterr().err
    assert len(Lines(out).done) == 4
    path.write_bytes(image)
    assert main(command(data, models, out)) == 0
    assert len(Lines(out).done) == 5


def test_other_models_may_not_continue_a_file(data, models, tmp_path, capsys):
    out = tmp_path / "e.jsonl"
    assert main(command(data, models, out, "--limit", "2")) == 0
    other = models | {"summarizer": tiny_language.t5(tmp_path / "t5", seed=9)}
    assert main(command(data, other, out)) == 2
    assert "was begun with summarizer" in capsys.readouterr().err
    assert len(Lines(out).done) == 2


def test_two_processes_do_not_write_one_file(data, models, tmp_path, capsys):
    with expressive.locked(tmp_path / "e.jsonl"):
        assert main(command(data, models, tmp_path / "e.jsonl")) == 2
    assert "another process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--llava": "/none"}, "--llava /none does not exist"),
        ({"--data": "/none"}, "/none"),
        ({"--batch-size": "0"}, "expected 1 or more"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_code_2(data, models, tmp_path, capsys, change, message):
    arguments = command(data, models, tmp_path / "e.jsonl")
    for flag, value in change.items():
        arguments += [flag, value]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("mgie.expressive: ") and message in error


def test_a_gpu_that_is_too_small_is_told_with_what_to_try(data, models, tmp_path, capsys, monkeypatch):
    def short(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("mgie.expressive.writer.open_writer", short)
    assert main(command(data, models, tmp_path / "e.jsonl")) == 2
    error = capsys.readouterr().err
    assert error.startswith("mgie.expressive: CUDA out of memory\n") and "--batch-size 1" in error


def test_a_model_without_eyes_derives_nothing(data, models, tmp_path, capsys):
    blind = models | {"llava": tiny_language.llama(tmp_path / "llama")}
    assert main(command(data, blind, tmp_path / "e.jsonl")) == 2
    assert "sees no images" in capsys.readouterr().err
