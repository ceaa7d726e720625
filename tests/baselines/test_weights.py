"""Where weights are looked for, what is said when they are missing, and what their hash depends on."""

import os

import pytest
import tiny

from baselines import places as weights
from baselines.places import weights_folder
from bench.registry import folder_name
from bench.settings import ModelSettings
from mgie import folder as pipelines
from mgie.io import hashes
from mgie.io.devices import Wanted, dtype_name, placement
from mgie.io.hashes import weights_hash


def spec(name="mgie", suite="paper", dataset="ma5k", **more) -> ModelSettings:
    return ModelSettings(name, suite, dataset, **more)


@pytest.mark.parametrize(
    ("asked", "folder"),
    [
        (spec("inspix2pix", form="ft"), "inspix2pix"),
        (spec("inspix2pix", setting="fine-tuned"), "inspix2pix-ma5k"),
        (spec("mgie"), "mgie-e2e"),
        (spec("mgie", setting="fine-tuned"), "mgie-e2e-ma5k"),
        (spec("lgie", form="fz"), "lgie-fz"),
    ],
)
def test_the_folder_is_named_after_model_form_and_dataset(asked, folder):
    assert folder_name(asked) == folder


def test_a_folder_is_found_below_the_weights_root(tmp_path):
    (tmp_path / "mgie-e2e").mkdir()
    (tmp_path / "mgie-e2e" / "model_index.json").write_text("{}")
    assert weights_folder(spec(weights=tmp_path)) == tmp_path / "mgie-e2e"


@pytest.mark.parametrize("empty", [False, True])
def test_a_missing_or_empty_folder_is_named_first_and_then_how_to_get_it(tmp_path, empty):
    if empty:
        (tmp_path / "mgie-e2e").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        weights_folder(spec(weights=tmp_path))
    first, *rest = str(error.value).splitlines()
    assert str(tmp_path / "mgie-e2e") in first
    assert "python -m mgie.convert" in "\n".join(rest)
    assert "--weights" in rest[-1]


def test_a_fine_tuned_folder_is_made_from_the_zero_shot_one(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        weights_folder(spec(weights=tmp_path, setting="fine-tuned"))
    assert f"--from {tmp_path / 'mgie-e2e'} " in str(error.value)
    assert f"--out {tmp_path / 'mgie-e2e-ma5k'}" in str(error.value)


def test_the_mini_suite_looks_into_the_package_unless_told_otherwise(tmp_path):
    assert weights.weights_root(spec(suite="mini")) == pipelines.MINI
    assert weights.weights_root(spec(suite="mini", weights=tmp_path)) == tmp_path


def test_missing_mini_weights_are_said_to_be_missing_in_this_version(tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines, "MINI", tmp_path / "weights")
    with pytest.raises(FileNotFoundError, match="^no trained mini weights in this version"):
        weights_folder(spec(suite="mini"))


def fill(folder):
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "a.safetensors").write_bytes(b"a" * 1000)
    (folder / "model_index.json").write_text("{}")
    return folder


def test_the_hash_depends_on_names_and_bytes_and_on_nothing_else(tmp_path):
    one, two = fill(tmp_path / "one"), fill(tmp_path / "two")
    os.utime(two / "model_index.json", (1, 1))
    (two / ".cache").mkdir()
    (two / ".cache" / "lock").write_text("x")
    (two / "train.csv").write_text("step,loss")
    assert weights_hash(one) == weights_hash(two)
    (two / "unet" / "a.safetensors").rename(two / "unet" / "b.safetensors")
    renamed = weights_hash(two)
    (two / "unet" / "b.safetensors").write_bytes(b"a" * 999 + b"b")
    assert len({weights_hash(one), renamed, weights_hash(two)}) == 3


def test_large_files_are_read_once_and_again_when_they_change(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "CACHED_FROM", 500)
    read = []
    digest = hashes.file_digest
    monkeypatch.setattr(hashes, "file_digest", lambda path: read.append(path.name) or digest(path))
    folder = fill(tmp_path / "w")
    first = weights_hash(folder)
    read.clear()
    assert weights_hash(folder) == first
    assert read == ["model_index.json"]
    (folder / "unet" / "a.safetensors").write_bytes(b"b" * 1000)
    assert weights_hash(folder) != first


def test_a_folder_whose_neighbourhood_cannot_be_written_is_hashed_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "CACHED_FROM", 500)
    folder = fill(tmp_path / "w")
    expected = weights_hash(folder)
    (tmp_path / ".w.sha256.json").unlink()

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(hashes.os, "replace", refuse)
    assert weights_hash(folder) == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w"]


def test_a_broken_digest_cache_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(hashes, "CACHED_FROM", 500)
    folder = fill(tmp_path / "w")
    expected = weights_hash(folder)
    (tmp_path / ".w.sha256.json").write_text('{"unet/a.safeten')
    assert weights_hash(folder) == expected


def test_an_empty_folder_has_no_hash(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights"):
        weights_hash(tmp_path)


def test_dtype_is_float32_on_a_cpu_and_bfloat16_on_a_gpu_unless_named():
    assert dtype_name(spec(), "cpu") == "float32"
    assert dtype_name(spec(), "cuda:1") == "float16"
    assert dtype_name(spec(), "cuda", "bfloat16") == "bfloat16" and dtype_name(spec(), "cpu", "bfloat16") == "float32"
    assert dtype_name(spec(dtype="float16"), "cuda") == "float16"


def test_a_model_of_no_run_is_placed_as_one_of_a_run():
    for asked in ({"device": "cpu"}, {"device": "cpu", "dtype": "float16"}, {"device": "cuda:1", "elsewhere": True}):
        assert placement(Wanted(**asked)) == placement(spec(**asked))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no GPU"):
        placement(spec(device="cuda"))


def test_two_conversions_of_the_same_weights_are_one_model_whatever_lies_beside_them(tmp_path):
    tiny.build().save_pretrained(tmp_path / "one")
    before = weights_hash(tmp_path / "one")
    (tmp_path / "one" / "conversion.json").write_text('{"llava": "of .bin files"}')  # names the files it came from
    (tmp_path / "one" / "mllm.pt").write_bytes(b"official")
    (tmp_path / "one" / "llama" / "pytorch_model.bin").write_bytes(b"a second format")
    assert weights_hash(tmp_path / "one") == before
    for changed in ("preset.json", "edit_head/visual_embeddings.safetensors", "llama/model.safetensors"):
        path = tmp_path / "one" / changed
        kept = path.read_bytes()
        path.write_bytes(kept + b" ")
        assert weights_hash(tmp_path / "one") != before, changed
        path.write_bytes(kept)


def test_the_download_lines_name_the_files_that_are_fetched_and_no_others():
    from bench.fetch.sources import read
    from mgie.convert.official import TO_CONVERT, TO_EDIT, to_download

    fetched = {row.name for row in read()["inspix2pix"].files}
    assert fetched - set(TO_EDIT) == {"feature_extractor/preprocessor_config.json"}  # of the checker that is off
    assert set(TO_CONVERT) < set(TO_EDIT) <= fetched
    line = to_download("DIR")
    assert line.startswith("hf download timbrooks/instruct-pix2pix scheduler/") and line.endswith("--local-dir DIR")
    assert "unet/diffusion" not in line and line.count("/") == 2 + len(TO_CONVERT) - 1
