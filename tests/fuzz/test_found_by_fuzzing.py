"""What fuzzing found once, each in its smallest form: a file, who reads it, and that the error names the file."""

import gzip
import json
import tracemalloc
from pathlib import Path

import official_files
import pytest
import tiny
import torch
from drawn import draw_evr, draw_gier, draw_ma5k, draw_magicbrush, draw_magicbrush_hub
from PIL import Image
from safetensors.torch import load_file, save_file

from baselines.precomputed import read_index
from bench.audit import main as audit
from bench.datasets.masks import load_mask
from bench.datasets.published import Published
from bench.grid.gate import stale_tables
from bench.grid.stored import read_scores
from bench.records import Mask
from bench.registry import DATASETS, load
from bench.runs.folder import RunFolder, whole_lines
from bench.settings import DataSettings
from mgie import folder
from mgie.convert.official import check_names, open_official
from mgie.convert.shards import checkpoint_files
from mgie.folder import read_preset
from mgie.io.files import Bounded
from mgie.io.images import ImageError
from mgie.io.images import load as load_image
from mgie.io.weights import open_tensors, read_state
from mgie.pipeline import MGIEPipeline
from mgie.tokenizer import Tokenizer
from mgie.train.checkpoint import load_tensors
from mgie.train.data import RepackPairs, read_expressive, read_pairs
from mgie.train.log import read as read_log


def examples(name: str, **settings: str):
    return lambda root: load(DATASETS, name, "dataset")(root, DataSettings(**settings)).examples()


def published(root: Path):
    return Published("ma5k", root, DataSettings()).examples()


def edit_line(seconds: str) -> str:
    fields = '"example_id": "a", "seed": 0, "output_image": "i.png", "image_sha256": "0"'
    rest = '"expressive_instruction": null, "expressive_tokens": null, "seconds": {"edit": '
    return "{" + fields + ", " + rest + seconds + "}}\n"


def score_line(value: str) -> str:
    fields = '"example_id": "a", "group": "g", "seed": 0, "metric": "l1", "reason": "", "protocol": "p"'
    return "{" + fields + ', "value": ' + value + "}\n"


DEEP, DIGITS = "[" * 20_000, "[" + "1" * 5000 + "]"
FOUND = {
    "a number of 5,000 digits": ("dataset/adobe/test.json", DIGITS, examples("evr")),
    "NUL in a name": ("a.csv", "id,path\na\0b,c.png\n", lambda root: read_index(root / "a.csv")),
    "an index nested too deep": ("a.jsonl", DEEP, lambda root: read_index(root / "a.jsonl")),
    "a repack not in UTF-8": ("ipr2pr_expressive.json", b"\xff{}", RepackPairs.read),
    "an instruction that is a number": (
        "1/prompt.json", '{"edit": 3}', lambda root: read_pairs(root, "ipr2pr", None, True)),
    "an expressive instruction that is a list": (
        "e.jsonl", '{"id": "a", "expressive": []}\n', lambda root: read_expressive(root / "e.jsonl")),
    "a run.json without n": ("run.json", "{}", lambda root: RunFolder(root).run()),
    "a cut line, not in UTF-8": ("edits.jsonl", b"\xff\n{", lambda root: whole_lines(root / "edits.jsonl")),
    "a cell of 200,000 signs": ("s.csv.gz", gzip.compress(b"x" * 200_000), lambda root: read_scores(root / "s.csv.gz")),
    "seconds that are a word": ("edits.jsonl", edit_line('"x"'), lambda root: RunFolder(root).edits()),
    "seconds without end": ("edits.jsonl", edit_line("1e999"), lambda root: RunFolder(root).edits()),
    "seconds below 0": ("edits.jsonl", edit_line("-1"), lambda root: RunFolder(root).edits()),
    "a score of 400 digits": ("scores.jsonl", score_line("1" * 400), lambda root: RunFolder(root).scores()),
    "a mask of infinite size": ("m.json", '[{"size": [1e999, 1], "counts": [1]}]', lambda root: load_mask(
        Mask(root / "m.json", (0,)), (4, 4))),
    "a train.csv whose step is a word": ("train.csv", "step,a\nx,1\n", lambda root: read_log(root / "train.csv")),
    "a folder where a checkpoint belongs": ("t/x", "", lambda root: load_tensors(root / "t")),
    "an index of shards that is a list": ("model.safetensors.index.json", "[]", checkpoint_files),
    "a preset nested too deep": ("preset.json", DEEP, lambda root: read_preset(root, None)),
    "a published example not in UTF-8": ("examples.jsonl", b"\x8b{}\n", published),
    "a tokenizer that is a page": ("tokenizer.json", "<html>", Tokenizer.from_pretrained),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
def test_it_is_refused_by_an_error_that_names_the_file(tmp_path, what):
    name, content, read = FOUND[what]
    path = tmp_path / "at" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as refused:
        read(tmp_path / "at")
    assert str(tmp_path / "at") in str(refused.value) and not isinstance(refused.value, UnicodeError)


@pytest.mark.parametrize("read", [load_image, lambda path: load_mask(Mask(path), (4, 4))])
def test_a_length_field_is_not_believed_further_than_the_file_goes(tmp_path, read):
    path = tmp_path / "deep.png"
    Image.new("I;16", (40, 30), 40000).save(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") - 4
    data[at : at + 4] = (2**31 - 1).to_bytes(4, "big")
    path.write_bytes(data)
    tracemalloc.start()
    try:
        read(path)
    except ImageError as error:
        assert str(path) in str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_parts_of_a_pipeline_that_do_not_fit_each_other_are_refused_by_its_folder(tmp_path, monkeypatch):
    tiny.build().save_pretrained(tmp_path / "mgie")
    given = folder.load

    def fewer(*arguments):
        parts = given(*arguments)
        return parts | {"visual_embeddings": parts["visual_embeddings"][:7]}

    monkeypatch.setattr(folder, "load", fewer)
    with pytest.raises(ValueError, match=r"mgie.*7 visual embeddings, but the tokenizer has 8"):
        MGIEPipeline.from_pretrained(tmp_path / "mgie")


def test_a_projector_with_other_names_is_refused_by_its_folder(tmp_path):
    tiny.build().save_pretrained(tmp_path / "mgie")
    path = tmp_path / "mgie" / "projector" / "model.safetensors"
    save_file({"bias": load_file(path)["bias"], "": load_file(path)["weight"]}, path)
    with pytest.raises(ValueError, match=r"mgie.projector.*1 weights missing"):
        MGIEPipeline.from_pretrained(tmp_path / "mgie")


def test_weights_that_are_a_folder_are_refused_by_name(tmp_path):
    tiny.build().save_pretrained(tmp_path / "mgie")
    path = next((tmp_path / "mgie" / "unet").glob("*.safetensors"))
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="mgie/unet"):
        MGIEPipeline.from_pretrained(tmp_path / "mgie")


@pytest.mark.parametrize("sizes", [{"num_attention_heads": 320}, {"rms_norm_eps": 320}])
def test_sizes_that_no_model_has_are_refused_before_the_conversion(tmp_path, sizes):
    official_files.write(official_files.pipeline(), tmp_path, ".bin")
    path = tmp_path / "llava" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | sizes))
    files = open_official(tmp_path / "llava", None, None, *(tmp_path / n for n in ("mllm.pt", "unet.pt",
                                                                                   "instruct-pix2pix")))  # fmt: skip
    with pytest.raises(ValueError, match="the config files give sizes that no model has"):
        check_names(files)


@pytest.mark.parametrize("where", ["llava", "llava/tower"])
def test_layers_without_end_are_refused_before_they_are_built(tmp_path, where):
    official_files.write(official_files.pipeline(), tmp_path, ".bin")
    path = tmp_path / where / "config.json"
    config = json.loads(path.read_text())
    config.get("vision_config", config)["num_hidden_layers"] = 2**31
    path.write_text(json.dumps(config))
    parts = (tmp_path / name for name in ("mllm.pt", "unet.pt", "instruct-pix2pix"))
    files = open_official(tmp_path / "llava", None, None, *parts)
    with pytest.raises(ValueError, match="layers as 2147483648; the released model has"):
        check_names(files)


def test_half_a_surrogate_pair_in_an_instruction_is_refused(tmp_path):
    path = draw_evr(tmp_path) / "dataset" / "adobe" / "test.json"
    path.write_text(path.read_text().replace("crop", "\\ud800"))
    with pytest.raises(ValueError, match=r"test\.json.*U\+D800"):
        examples("evr")(tmp_path)


def test_a_damaged_stamp_of_the_hubs_files_means_that_they_are_laid_out_again(tmp_path):
    draw_magicbrush_hub(tmp_path)
    before = [e.id for e in examples("magicbrush", split="dev")(tmp_path)]
    (stamp,) = tmp_path.rglob("source.json")
    stamp.write_bytes(b"\xff[")
    assert [e.id for e in examples("magicbrush", split="dev")(tmp_path)] == before
    assert json.loads(stamp.read_text())


def test_the_audit_counts_what_is_there_whatever_the_other_fields_hold(tmp_path, capsys):
    for name, file, change in (
        ("ma5k", "annotations/test_sess_1.json", lambda data: data[0].update(request_idx=0.5)),
        ("magicbrush", "test/edit_sessions.json", lambda data: data.update({"100": 7})),
        ("magicbrush", "test/global_descriptions.json", lambda data: data.update({"100": []})),
    ):
        (draw_ma5k if name == "ma5k" else draw_magicbrush)(tmp_path / name)
        path = tmp_path / name / file
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))
        assert audit(["--dataset", name, "--data-root", str(tmp_path)]) == 0
    capsys.readouterr()


def test_the_audit_refuses_an_operator_that_is_a_word(tmp_path, capsys):
    path = draw_gier(tmp_path / "gier") / "splits" / "test_sess_3.json"
    records = json.loads(path.read_text())
    records[0]["operator"] = {"crop": "word"}
    path.write_text(json.dumps(records))
    assert audit(["--dataset", "gier", "--data-root", str(tmp_path)]) == 2
    assert "test_sess_3.json, record 0, operator crop" in capsys.readouterr().err


def test_a_table_without_a_column_is_a_problem_of_the_gate_not_a_traceback(tmp_path: Path):
    (tmp_path / "table1.csv").write_text("table,model\n1,identity\n")
    (problem,) = stale_tables(tmp_path)
    assert "table1.csv" in problem and "no column dataset" in problem


def test_a_file_gives_no_more_than_it_holds_and_makes_no_room_for_more(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"0123456789")
    tracemalloc.start()
    with Bounded(tmp_path / "a.pt") as file:
        assert (file.read(3), file.read(2**33), file.read()) == (b"012", b"3456789", b"")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("old", [False, True])
def test_a_plain_checkpoint_of_either_format_of_torch_is_read(tmp_path, old):
    state = {"a": torch.arange(6.0).reshape(2, 3)}
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=not old)
    for read in (open_tensors, read_state):
        assert torch.equal(read(tmp_path / "a.pt")["a"], state["a"])
