"""--rewrite: texts are written once, shared, kept in the run, given back; what is wrong is said at once."""

import json
import shutil
import weakref
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import tiny_diffusers
import tiny_language
from drawn import draw_ma5k, draw_magicbrush

from baselines.rewriters import written
from bench.grid.cells import Cell, Options, plan_cell
from bench.records import Example
from bench.run import main, plan
from bench.runs import execute
from bench.runs.execute import Held
from bench.runs.folder import RunFolder
from bench.runs.rewriting.named import rewriting_of
from bench.settings import ModelSettings
from mgie.expressive import writer
from mgie.expressive.writer import Request


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A weights root and, beside it, the data of suite paper and a small LLaVA and Llama of one's own."""
    root = tmp_path_factory.mktemp("rewriting")
    weights = root / "weights"
    tiny_diffusers.instruct_pix2pix(weights / "inspix2pix")
    for name in ("lgie", "mgie"):
        tiny.build(eyes=name == "mgie").save_pretrained(weights / f"{name}-e2e")
    tiny_language.llama(root / "my-llama")
    tiny_language.llava(root / "my-llava")
    draw_ma5k(root / "data" / "ma5k")
    return root


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    monkeypatch.setattr(writer, "USUAL", Request(24))


@pytest.fixture
def decoded(monkeypatch):
    """How many instructions each rewriter was asked for."""
    counts: dict[str, int] = {}
    edit = written.Rewriter.edit

    def counted(self, examples, settings, seeds):
        counts[self.name] = counts.get(self.name, 0) + len(examples)
        return edit(self, examples, settings, seeds)

    monkeypatch.setattr(written.Rewriter, "edit", counted)
    return counts


LIMIT = 4


def argv(root: Path, out: Path, *more: str, model: str = "inspix2pix") -> list[str]:
    return ["--suite", "paper", "--data-root", str(root / "data"), "--weights", str(root / "weights"), "--dataset",
            "ma5k", "--model", model, "--metrics", "l1", "--num-inference-steps", "1", "--limit", str(LIMIT),
            "--size", "native", "--max-side", "32", "--batch-size", "2", "--device", "cpu", "--out", str(out),
            *more]  # fmt: skip


def run(root: Path, out: Path, *more: str, model: str = "inspix2pix") -> Path:
    """The folder of the finished run."""
    asked = argv(root, out, *more, model=model)
    assert main(asked) == 0
    return plan(asked).folder.path


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "expressive.jsonl").read_text("utf-8").splitlines()]


def texts_of(folder: Path) -> dict[str, str]:
    return {e.example_id: e.expressive_instruction for e in RunFolder(folder).edits().values()}


def pixels(folder: Path) -> list[str]:
    return [e.image_sha256 for e in RunFolder(folder).edits().values()]


def test_a_rewriter_s_texts_are_mgie_s_own_and_another_editor_takes_them_without_decoding(root, tmp_path, decoded):
    first = run(root, tmp_path, "--rewrite", "mgie")
    assert decoded == {"mgie": LIMIT}
    own = texts_of(run(root, tmp_path, model="mgie"))
    told = texts_of(first)
    assert told == {i: text or told[i] for i, text in own.items()} and any(own.values())
    second = run(root, tmp_path, "--rewrite", "mgie", model=f"diffusers:{root / 'weights' / 'inspix2pix'}")
    assert decoded == {"mgie": LIMIT} and lines(second) == lines(first)
    assert texts_of(second) == told


def test_the_run_holds_who_wrote_what_by_which_question_and_how_long_it_took(root, tmp_path):
    folder = run(root, tmp_path, "--rewrite", "mgie")
    for line in lines(folder):
        assert line["rewriter"] == "mgie" and len(line["hash"]) == 16 and "{instruction}" in line["template"]
        assert line["tokens"] > 0 and line["seconds"] > 0 and line["text"].strip() and line["id"] in texts_of(folder)
    assert folder.name.startswith("ma5k--inspix2pix-by-mgie--zero-shot--")
    edits = RunFolder(folder).edits().values()
    assert all(set(e.seconds) == {"rewriting", "diffusion"} and e.expressive_tokens > 0 for e in edits)
    described = RunFolder(folder).run()
    assert described["rewriter"] == "mgie" and "{instruction}" in described["fingerprint"]["rewriter template"]


def test_without_a_rewriter_a_run_is_what_it_was(root, tmp_path):
    named, plain = (plan(argv(root, tmp_path, *more)).run for more in (["--rewrite", "none"], []))
    assert named.description() == plain.description() and named.name == plain.name
    assert not any("rewrit" in key for key in (*plain.description(), *plain.fingerprint))
    folder = run(root, tmp_path)
    assert not (folder / "expressive.jsonl").exists() and not (tmp_path / "texts").exists()
    assert all(set(e.seconds) == {"diffusion"} for e in RunFolder(folder).edits().values())


def test_a_rewriter_with_a_cut_file_is_one_line_and_exit_2(root, tmp_path, capsys):
    folder = shutil.copytree(root / "my-llama", tmp_path / "cut")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])
    assert main(argv(root, tmp_path / "out", "--rewrite", str(folder))) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and f"{folder / 'model.safetensors'} is cut" in said[0]


@pytest.mark.parametrize("name", ["lgie", "my-llama", "my-llava"])
def test_any_llava_or_llama_rewrites_and_is_known_by_its_name_and_not_by_its_place(root, tmp_path, name):
    folder = run(root, tmp_path, "--rewrite", name if name == "lgie" else str(root / name))
    assert {line["rewriter"] for line in lines(folder)} == {name}
    assert str(root) not in (folder / "expressive.jsonl").read_text() + (folder / "run.json").read_text()
    assert pixels(folder) != pixels(run(root, tmp_path))


def test_given_back_as_a_file_the_same_texts_give_the_same_pixels_and_changed_ones_another_run(root, tmp_path, decoded):
    folder = run(root, tmp_path, "--rewrite", "mgie")
    file = tmp_path / "mine.jsonl"
    file.write_text((folder / "expressive.jsonl").read_text("utf-8"), "utf-8")
    again = run(root, tmp_path, "--rewrite", str(file))
    assert pixels(again) == pixels(folder) and decoded == {"mgie": LIMIT}
    changed = lines(folder)
    changed[0]["text"] = "paint it all green"
    file.write_text("".join(json.dumps(line) + "\n" for line in changed), "utf-8")
    other = run(root, tmp_path, "--rewrite", str(file))
    assert other != again and texts_of(other)[changed[0]["id"]] == "paint it all green"
    assert sum(a != b for a, b in zip(pixels(again), pixels(other), strict=True)) == 1
    assert all(set(e.seconds) == {"diffusion"} for e in RunFolder(other).edits().values())  # nobody wrote: no time


@pytest.mark.slow
def test_mgie_and_lgie_draw_by_a_text_that_is_given(root, tmp_path):
    for model in ("mgie", "lgie"):
        file = tmp_path / "mine.jsonl"
        ids = texts_of(run(root, tmp_path, model=model))
        file.write_text("".join(json.dumps({"id": i, "text": "a red hat"}) + "\n" for i in ids), "utf-8")
        given = run(root, tmp_path, "--rewrite", str(file), model=model)
        assert set(texts_of(given).values()) == {"a red hat"}
        assert pixels(given) != pixels(run(root, tmp_path, model=model))


def test_form_fz_is_inspix2pix_behind_the_same_rewriter_and_shares_its_texts(root, tmp_path, decoded):
    plain = run(root, tmp_path, "--rewrite", "mgie")
    fz = run(root, tmp_path, "--form", "fz", model="mgie")
    assert decoded == {"mgie": LIMIT}
    assert lines(fz) == lines(plain) and pixels(fz) == pixels(plain) and texts_of(fz) == texts_of(plain)


@pytest.mark.parametrize(("more", "says"), [
    (["--rewrite", "mgei"], "did you mean mgie?"),
    (["--rewrite", "gpt"], "no rewriter of that name; known: none, mgie, lgie"),
    (["--rewrite", "no/such/place/at/all"], "no rewriter of that name"),
    (["--rewrite", "owner/no-such-model-1.5-7b"], "the Hub did not give its config.json"),
    (["--rewrite", "nowhere.jsonl"], "no such file or folder"),
])  # fmt: skip
def test_a_name_that_is_no_rewriter_is_refused_with_those_that_are(root, tmp_path, capsys, more, says):
    assert main(argv(root, tmp_path, *more)) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "paper").exists()


@pytest.mark.parametrize(("change", "says"), [
    (lambda lines: lines[1:], "no text for 1 of 4 examples, first: "),
    (lambda lines: [lines[0] | {"text": " \t"}, *lines[1:]], "1 of 4 texts are blank, first: "),
    (lambda lines: [*lines, lines[0]], "is there twice, first in line 1"),
    (lambda lines: [{"id": "x"}, *lines], 'line 1: expected {"id": ..., "text": ...}'),
    (lambda lines: [lines[0] | {"text": 7}, *lines[1:]], "line 1: expected"),
])  # fmt: skip
def test_a_file_that_lacks_a_text_is_refused_with_the_id_and_the_line(root, tmp_path, capsys, change, says):
    ids = [e.id for e in plan(argv(root, tmp_path)).run.examples]
    file = tmp_path / "mine.jsonl"
    given = change([{"id": i, "text": f"text {i}"} for i in ids])
    file.write_text("".join(json.dumps(line) + "\n" for line in given), "utf-8")
    assert main(argv(root, tmp_path, "--rewrite", str(file))) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("model", ["identity", "oracle"])
def test_a_model_that_takes_no_instruction_has_no_rewriter(root, tmp_path, capsys, model):
    assert main(argv(root, tmp_path, "--rewrite", "mgie", model=model)) == 2
    assert "it takes no instruction" in capsys.readouterr().err


def test_a_form_with_a_rewriter_of_its_own_refuses_a_second(root, tmp_path, capsys):
    assert main(argv(root, tmp_path, "--rewrite", "lgie", "--form", "fz", model="mgie")) == 2
    assert "has its own rewriter" in capsys.readouterr().err


def test_stopped_while_rewriting_the_same_command_goes_on_and_ends_in_the_same_texts(root, tmp_path, monkeypatch):
    whole = lines(run(root, tmp_path / "whole", "--rewrite", "mgie"))
    edit, asked = written.Rewriter.edit, []

    def stopped(self, examples, settings, seeds):
        asked.append(len(examples))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return edit(self, examples, settings, seeds)

    monkeypatch.setattr(written.Rewriter, "edit", stopped)
    out = tmp_path / "stopped"
    assert main(argv(root, out, "--rewrite", "mgie")) == 1
    (shared,) = (out / "texts" / "paper").iterdir()
    assert len(lines(shared)) == 2  # the first slice is kept
    with open(shared / "expressive.jsonl", "a") as file:
        file.write('{"id": "cut by a ki')
    again = lines(run(root, out, "--rewrite", "mgie"))
    assert asked == [2, 2, 2] and [without_times(a) for a in again] == [without_times(b) for b in whole]


def without_times(line: dict) -> dict:
    return line | {"seconds": None}


def test_later_turns_are_rewritten_in_front_of_the_dataset_s_own_images_and_fz_in_front_of_its_outputs(root, tmp_path):
    draw_magicbrush(tmp_path / "data" / "magicbrush")
    asked = argv(root, tmp_path / "runs", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush", "--turns",
                 "multi", "--limit", "5")  # fmt: skip
    assert main([*asked, "--rewrite", "mgie"]) == 0
    made = plan([*asked, "--rewrite", "mgie"])
    assert any(e.previous for e in made.run.examples)
    assert [line["id"] for line in lines(made.folder.path)] == [e.id for e in made.run.examples]
    assert "rewritten by mgie in front of the dataset's own images" in made.folder.run()["note"]
    assert plan([*asked, "--model", "mgie", "--form", "fz"]).rewriting is None


def test_the_writer_s_weights_are_gone_before_the_editor_is_loaded(root, tmp_path, monkeypatch):
    writers, there = weakref.WeakSet(), {}
    opened, load = writer.open_writer, execute.load
    monkeypatch.setattr(writer, "open_writer", lambda *asked: writers.add(made := opened(*asked)) or made)
    monkeypatch.setattr(execute, "load", lambda model: there.update({model.name: len(writers)}) or load(model))
    assert main(argv(root, tmp_path, "--rewrite", "lgie")) == 0
    assert there == {"lgie": 0, "inspix2pix": 0}
    there.clear()
    assert main(argv(root, tmp_path, "--form", "fz", "--limit", "2", model="mgie")) == 0
    assert there == {"mgie": 0}


@pytest.mark.parametrize("held", [False, True], ids=["alone", "behind a run of single turns"])
def test_a_form_that_writes_as_it_edits_loads_its_writer_once_before_the_first_edit(
    root, tmp_path, monkeypatch, capsys, held
):
    draw_magicbrush(tmp_path / "data" / "magicbrush")
    asked = argv(root, tmp_path / "runs", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush", "--form",
                 "fz", "--batch-size", "8", model="mgie")  # fmt: skip
    loads = []

    def short(*_):
        loads.append("writer")
        raise MemoryError("the writer does not fit")

    with Held() as one:
        if held:
            assert main([*asked, "--turns", "single"], one) == 0
        monkeypatch.setattr("baselines.editor.Editor.edit_examples", lambda *_: pytest.fail("nothing was to be edited"))
        monkeypatch.setattr("mgie.expressive.writer.open_writer", short)
        assert main([*asked, "--turns", "multi"], one) == 2
    assert loads == ["writer"]
    assert "error: mgie cannot be loaded: MemoryError: the writer does not fit" in capsys.readouterr().err


def test_in_suite_published_mgie_s_texts_are_the_authors_own_and_a_blank_one_is_the_instruction(tmp_path):
    examples = [Example(name, name, tmp_path / "x.png", f" do {name} ") for name in "ab"]
    dataset = SimpleNamespace(models=("mgie",), expressive_instructions=lambda model: {"a": " theirs ", "b": " "})
    spec = ModelSettings("diffusers:somebody/editor", "published", "ma5k")
    found = rewriting_of("mgie", spec, SimpleNamespace(), dataset, examples)
    assert found.model is None and dict(found.given) == {"a": "theirs", "b": "do b"} and found.name == "mgie"


def test_only_the_texts_can_be_asked_for(root, tmp_path, capsys, decoded):
    assert main(argv(root, tmp_path, "--rewrite", "mgie", "--texts-only")) == 0
    place = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("texts: "))
    assert len(place.read_text().splitlines()) == LIMIT and not (tmp_path / "paper").exists()
    run(root, tmp_path, "--rewrite", "mgie")
    assert decoded == {"mgie": LIMIT}
    assert main(argv(root, tmp_path, "--texts-only")) == 2
    assert "--texts-only needs a rewriter" in capsys.readouterr().err


def test_no_text_is_written_for_a_run_that_lacks_too_many_goals(root, tmp_path, capsys, decoded):
    goals = draw_ma5k(tmp_path / "data" / "ma5k") / "images"
    for goal in goals.glob("*_[A-E].jpg"):
        goal.unlink()
    given = ("--data-root", str(tmp_path / "data"), "--rewrite", str(root / "my-llava"))
    for more in (["--texts-only"], []):
        assert main(argv(root, tmp_path / "runs", *given, *more)) == 1
        assert "4 of 4 examples have no usable goal image" in capsys.readouterr().err
    cell = Cell("paper", "ma5k", "inspix2pix", rewriter=str(root / "my-llava"))
    options = Options("", 1, ("l1",), tmp_path / "data", root / "weights", tmp_path / "runs", ("--device", "cpu"))
    result, job, texts = plan_cell(cell, options)
    assert result.reason.startswith("10 of 10 examples have no usable goal image") and job is texts is None
    assert not decoded


def test_texts_changed_by_hand_in_a_run_folder_are_not_taken_for_the_rewriter_s(root, tmp_path, capsys):
    folder = run(root, tmp_path, "--rewrite", "mgie")
    file = folder / "expressive.jsonl"
    file.write_text(file.read_text("utf-8").replace(lines(folder)[0]["text"], "changed by hand", 1), "utf-8")
    (folder / "done.json").unlink()
    RunFolder(folder).rewrite("edits.jsonl", [])
    assert main(argv(root, tmp_path, "--rewrite", "mgie")) == 2
    assert "give it: --rewrite FILE" in capsys.readouterr().err


def test_an_input_image_that_cannot_be_read_has_no_text_and_is_not_asked_for_again(root, tmp_path, capsys, decoded):
    more = ("--limit", "7", "--max-failures", "1")  # five of one photograph, two of another
    examples = plan(argv(root, tmp_path, *more)).run.examples
    broken = examples[0].input_image
    before = broken.read_bytes()
    try:
        broken.write_bytes(b"no image")
        asked = argv(root, tmp_path, "--rewrite", "mgie", *more)
        assert main(asked) == 0
        count = sum(decoded.values())
        folder = plan(asked).folder.path
        (folder / "done.json").unlink()
        assert main(asked) == 0 and sum(decoded.values()) == count
        lost = {e.id for e in examples if e.input_image == broken}
        assert lost & {line["id"] for line in lines(folder)} == set() and lost & set(texts_of(folder)) == set()
        assert len(lines(folder)) == len(texts_of(folder)) == 7 - len(lost) > 0
    finally:
        broken.write_bytes(before)
