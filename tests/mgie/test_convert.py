"""The official checkpoint becomes our folder with identical outputs, or is refused with the reason."""

import json
import os
import pickle
import shutil

import official_files
import pytest
import tiny
import torch
from official_files import PRESET, add, write

from mgie.convert import components as official_parts
from mgie.convert.__main__ import convert, main
from mgie.convert.manifest import expected, recorded
from mgie.convert.shards import Shards
from mgie.io.hashes import file_digest
from mgie.pipeline import MGIEPipeline
from mgie.presets import PRESETS


@pytest.fixture(scope="module")
def pipe():
    torch.set_num_threads(1)
    return official_files.pipeline()


@pytest.fixture
def files(pipe, tmp_path):
    return write(pipe, tmp_path / "official")


def same_pipeline(ours: MGIEPipeline, theirs: MGIEPipeline) -> None:
    for name, part in theirs.components.items():
        state = part.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in ours.components[name].state_dict().items()), name
    assert torch.equal(ours.visual_embeddings, theirs.visual_embeddings)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_converted_checkpoint_edits_exactly_as_the_one_it_came_from(pipe, tmp_path, suffix):
    convert(**write(pipe, tmp_path / "official", suffix), out=tmp_path / "out")
    ours = MGIEPipeline.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert ours.preset == PRESET
    same_pipeline(ours, pipe)
    pipe.save_pretrained(tmp_path / "theirs")  # both are read from a disk: kernels see memory laid out alike
    edits = []
    for loaded in (ours, MGIEPipeline.from_pretrained(tmp_path / "theirs", dtype=torch.float32)):
        loaded.progress = False
        settings = {"num_inference_steps": 2, "max_new_tokens": 12, "generator": tiny.generators(7)}
        edits.append(loaded(tiny.picture(3), "make it night", **settings))
    assert edits[0].images[0].tobytes() == edits[1].images[0].tobytes()
    assert edits[0].expressive_instructions == edits[1].expressive_instructions


def test_the_delta_is_merged_as_apply_delta_does(pipe, tmp_path):
    files = write(pipe, tmp_path / "official", delta=True)
    convert(**files, out=tmp_path / "out")
    delta, base = Shards(files["llava"]), Shards(files["llama_base"])
    ours = Shards(tmp_path / "out" / "llama")
    for name in ours.shapes:
        if name.startswith("model.layers.") or name == "model.norm.weight":
            assert torch.equal(ours.get(name), add(delta.get(name), base.get(name))), name
    MGIEPipeline.from_pretrained(tmp_path / "out")


def test_the_base_is_named_by_its_sha256_because_it_cannot_be_verified(pipe, tmp_path, capsys):
    files = write(pipe, tmp_path / "official", delta=True)
    arguments = [f"--{k.replace('_', '-')}={v}" for k, v in files.items()]
    assert main([*arguments, f"--out={tmp_path / 'out'}"]) == 0
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    digest = file_digest(files["llama_base"] / "pytorch_model-00001-of-00002.bin")
    assert record["llama_base"]["pytorch_model-00001-of-00002.bin"] == digest
    shown = capsys.readouterr().out
    assert digest in shown
    assert "cannot be verified" in shown


def test_at_real_size_the_expected_names_and_shapes_are_the_recorded_ones():
    for part, shapes in expected(PRESETS["7b"]).items():
        assert shapes == recorded(part), part


def test_the_recorded_manifest_is_the_golden_one(golden):
    theirs = golden.json("manifest")
    parts = [part for part in theirs if part != "_meta"]
    assert {"mllm.pt", "unet.pt", "llava_7b_v1", "clip_vit_large_patch14_vision"} <= set(parts)
    for part in parts:
        assert recorded(part) == {name: tuple(shape) for name, shape in theirs[part].items()}, part


def test_a_tokenizer_with_more_pieces_than_the_model_has_embeddings_is_refused(files, tmp_path, monkeypatch):
    import sentencepiece

    class Large:
        def __init__(self, model_file):
            self.model_file = model_file

        def get_piece_size(self):
            return official_files.BASE + 1

    monkeypatch.setattr(sentencepiece, "SentencePieceProcessor", Large)
    (files["llava"] / "tokenizer.model").write_bytes(b"")
    refused(files, tmp_path, "301 pieces, but of 311 embeddings only 300")


def test_every_tensor_is_used_or_named_as_left_out(files, tmp_path):
    record = convert(**files, out=tmp_path / "out")
    assert record["left_out"] == {
        "mllm": [], "unet": [], "clip": ["vision_model.embeddings.position_ids"],
        "llava": [
            "model.layers.0.self_attn.rotary_emb.inv_freq", "model.embed_tokens.weight", "lm_head.weight",
        ],
    }  # fmt: skip


def test_emb_is_preferred_to_the_last_rows_and_a_difference_is_said(pipe, tmp_path):
    files = write(pipe, tmp_path / "official", emb=True)
    assert convert(**files, out=tmp_path / "one")["visual_embeddings"] == "emb"
    state = torch.load(files["mllm"], weights_only=True)
    state["emb"] += 1
    torch.save(state, files["mllm"])
    assert "differs" in convert(**files, out=tmp_path / "two")["visual_embeddings"]
    ours = MGIEPipeline.from_pretrained(tmp_path / "two").visual_embeddings
    assert torch.equal(ours, state["emb"][0])


def test_the_llm_is_written_in_shards_that_transformers_reads(files, tmp_path, monkeypatch):
    monkeypatch.setattr(official_parts, "SHARD_BYTES", 20_000)
    convert(**files, out=tmp_path / "out")
    shards = sorted((tmp_path / "out" / "llama").glob("*.safetensors"))
    assert len(shards) > 2
    assert all(path.stat().st_size < 30_000 for path in shards)
    MGIEPipeline.from_pretrained(tmp_path / "out")


def test_a_vision_tower_inside_llavas_own_files_is_found(pipe, files, tmp_path):
    tower = pipe.mllm.tower.state_dict()
    names = {n: f"model.vision_tower.vision_model.{n.removeprefix('vision_model.')}" for n in tower}
    path = files["llava"] / "pytorch_model-00001-of-00002.bin"
    torch.save(torch.load(path, weights_only=True) | {names[n]: t.clone() for n, t in tower.items()}, path)
    (files["llava"] / "tower" / "model.safetensors").unlink()
    convert(**files, out=tmp_path / "out")
    same_pipeline(MGIEPipeline.from_pretrained(tmp_path / "out", dtype=torch.float32), pipe)


def test_the_attention_of_an_older_vae_gets_todays_names(pipe, files, tmp_path):
    from safetensors.torch import load_file

    place = files["instruct_pix2pix"] / "vae"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(place / "diffusion_pytorch_model.safetensors")
    for new, name in old.items():
        state = {k.replace(f".{new}.", f".{name}."): t for k, t in state.items()}
    assert any(".proj_attn." in name for name in state)
    (place / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(state, place / "diffusion_pytorch_model.bin")
    convert(**files, out=tmp_path / "out")
    same_pipeline(MGIEPipeline.from_pretrained(tmp_path / "out", dtype=torch.float32), pipe)


class Code:
    def __reduce__(self):
        return eval, ("open('ran', 'w')",)


class Blocked:
    """Of a module that torch's reader names in another way than Code's."""

    def __reduce__(self):
        return os.system, ("touch ran",)


def refused(files, tmp_path, match, **changes):
    with pytest.raises((ValueError, FileNotFoundError), match=match):
        convert(**files | changes, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.partial").exists()


def test_an_unmerged_delta_is_refused_by_its_statistics(pipe, tmp_path):
    files = write(pipe, tmp_path / "official", delta=True)
    refused(files, tmp_path, "delta that was not merged.*mean", llama_base=None)


def test_a_merged_llava_with_a_base_is_refused(pipe, tmp_path):
    delta = write(pipe, tmp_path / "delta", delta=True)
    merged = write(pipe, tmp_path / "merged")
    refused(merged, tmp_path, "merged already", llama_base=delta["llama_base"])
    refused(delta, tmp_path, "delta itself", llama_base=delta["llava"])


def test_a_missing_shard_is_named(files, tmp_path):
    (files["llava"] / "pytorch_model-00002-of-00002.bin").unlink()
    refused(files, tmp_path, "pytorch_model-00002-of-00002.bin")
    (files["llava"] / "pytorch_model.bin.index.json").unlink()
    refused(files, tmp_path, "pytorch_model-00002-of-00002.bin")


def test_a_shard_without_a_tensor_of_the_index_is_refused(files, tmp_path):
    path = files["llava"] / "pytorch_model-00002-of-00002.bin"
    state = torch.load(path, weights_only=True)
    lost = next(iter(state))
    torch.save({name: tensor for name, tensor in state.items() if name != lost}, path)
    refused(files, tmp_path, lost)


def test_a_pickle_that_holds_code_is_refused_and_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in (Code(), Blocked()):
        torch.save({"lm_head.weight": code}, files["mllm"])
        refused(files, tmp_path, "would run code")
    files["unet"].write_bytes(pickle.dumps(Code()))
    refused(files, tmp_path, "would run code|damaged")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_no_checkpoint_is_shown_by_its_beginning(files, tmp_path, content):
    files["unet"].write_bytes(content)
    refused(files, tmp_path, "unet.pt is damaged or no checkpoint: it begins with '" + content.decode()[:15])


@pytest.mark.parametrize("role", ["mllm", "unet"])
def test_a_file_that_was_cut_short_is_refused(files, tmp_path, role):
    data = files[role].read_bytes()
    files[role].write_bytes(data[: len(data) // 2])
    refused(files, tmp_path, "cut short or damaged")


def edited(path, change):
    state = torch.load(path, weights_only=True)
    torch.save(change(state), path)


def test_wrong_shapes_and_names_are_refused_by_name(files, tmp_path):
    edited(files["unet"], lambda s: s | {"conv_in.weight": s["conv_in.weight"][:, :4].clone()})
    refused(files, tmp_path, r"conv_in.weight is \(8, 4, 3, 3\), expected \(8, 8, 3, 3\)")
    edited(files["mllm"], lambda s: s | {"extra": torch.ones(2)})
    refused(files, tmp_path, "mllm.pt: 0 tensors missing.*'extra'")
    edited(files["mllm"], lambda s: {n: t for n, t in s.items() if n not in ("extra", "edit_head.query")})
    refused(files, tmp_path, "edit_head.query")


def test_a_vocabulary_that_does_not_fit_is_refused(files, tmp_path):
    edited(files["mllm"], lambda s: s | {n: s[n][:-1].clone() for n in ("lm_head.weight", "model.embed_tokens.weight")})
    refused(files, tmp_path, "embed_tokens|lm_head")


def test_weights_that_are_not_numbers_are_refused_by_name(files, tmp_path):
    state = torch.load(files["unet"], weights_only=True)
    state["conv_out.bias"][1] = float("nan")
    torch.save(state, files["unet"])
    refused(files, tmp_path, "conv_out.bias are NaN")


def test_a_value_that_float16_cannot_hold_is_refused(files, tmp_path):
    edited(files["mllm"], lambda s: s | {"edit_head.llm2hid.bias": s["edit_head.llm2hid.bias"].float() + 1e6})
    refused(files, tmp_path, "too large for float16")


def test_too_small_a_disk_is_said_before_anything_is_written(files, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=1000))
    refused(files, tmp_path, "GB are needed")


def test_a_conversion_that_was_killed_is_simply_repeated(files, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(official_parts, "write_tokenizer", die)
        with pytest.raises(KeyboardInterrupt):
            convert(**files, out=tmp_path / "out")
    (tmp_path / ".out.partial" / "llama").mkdir(parents=True)  # as kill -9 leaves it
    (tmp_path / ".out.partial" / "llama" / "part-1").write_bytes(b"half")
    assert not (tmp_path / "out").exists()
    convert(**files, out=tmp_path / "out")
    assert not list((tmp_path / "out").rglob("part-*"))
    MGIEPipeline.from_pretrained(tmp_path / "out")


def test_an_existing_output_folder_is_never_overwritten(files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(ValueError, match="is there already"):
        convert(**files, out=tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


def test_wrong_use_ends_in_one_clear_message_and_exit_code_2(files, tmp_path, capsys):
    arguments = [f"--{k.replace('_', '-')}={v}" for k, v in files.items() if v]
    files["mllm"].unlink()
    assert main([*arguments, f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mgie.convert: ") and "mllm.pt is missing" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "file",
    ["llava/config.json", "instruct-pix2pix/unet/config.json", "instruct-pix2pix/scheduler/scheduler_config.json"],
)
def test_a_config_that_lacks_an_entry_is_refused_by_name(files, tmp_path, file):
    path = files["llava"].parent / file
    path.write_text(json.dumps({"mm_vision_tower": "tower"}))
    refused(files, tmp_path, f"{path.name} has no entry")
    path.write_text("[]")
    refused(files, tmp_path, "holds a list")
