"""A pipeline's folder: every model loads exactly or is refused by name; what is read is what counts as the model."""

import json
import shutil

import pytest
import tiny_diffusers
import torch
from safetensors.torch import load_file, save_file

from mgie.io import components
from mgie.io.hashes import weights_hash
from mgie.io.weights import load_library_model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny_diffusers.instruct_pix2pix(tmp_path_factory.mktemp("pipeline") / "whole")


@pytest.fixture
def folder(original, tmp_path):
    return shutil.copytree(original, tmp_path / "pipeline")


def models(folder):
    index = json.loads((folder / "model_index.json").read_text())
    parts = components.load_parts(folder, index, lambda name: torch.float32)
    return {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}


def rewrite(path, change) -> None:
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


TEXT, UNET = "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors"


def test_a_whole_folder_loads_as_the_library_loads_it(folder):
    from diffusers import StableDiffusionInstructPix2PixPipeline

    ours = models(folder)
    theirs = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder).components
    assert set(ours) == {"unet", "vae", "text_encoder"}
    for name, model in ours.items():
        for key, tensor in theirs[name].state_dict().items():
            assert torch.equal(model.state_dict()[key], tensor)


def test_on_another_device_than_the_cpu_the_weights_go_there_as_they_are_read(folder):
    index = json.loads((folder / "model_index.json").read_text())
    placed = components.load_parts(folder, index, lambda name: torch.float32, device="meta")
    networks = [part for part in placed.values() if isinstance(part, torch.nn.Module)]
    assert {tensor.device.type for model in networks for tensor in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (TEXT, lambda s: {f"cond_stage_model.{k}": v for k, v in s.items()},
         r"36 missing \(first: embeddings.*36 unexpected \(first: cond_stage_model"),
        (TEXT, lambda s: dict(list(s.items())[::2]), r"18 missing \(first: "),
        (TEXT, lambda s: s | {"extra.weight": torch.ones(2)}, r"1 unexpected \(first: extra\.weight\)"),
        (TEXT, lambda s: {k: v[:5] if "token_embedding" in k else v for k, v in s.items()},
         "1 mismatched .*token_embedding"),
        (UNET, lambda s: {f"x.{k}": v for k, v in s.items()}, r"first: conv_in.*unexpected \(first: x\.conv_in"),
        (UNET, lambda s: {k: v for k, v in s.items() if k != "conv_in.bias"}, r"1 missing \(first: conv_in\.bias\)"),
        (UNET, lambda s: {k: v[:3] if k == "conv_in.bias" else v for k, v in s.items()}, r"conv_in\.bias"),
    ],
)  # fmt: skip
def test_a_part_whose_tensors_are_not_its_own_is_refused_with_their_names(folder, file, change, said):
    rewrite(folder / file, change)
    with pytest.raises(ValueError, match=said) as error:
        models(folder)
    assert str((folder / file).parent) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_table_of_positions_that_older_files_hold_is_no_fault(folder):
    rewrite(folder / TEXT, lambda s: s | {"text_model.embeddings.position_ids": torch.arange(77)[None]})
    assert "text_encoder" in models(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:-1000], "is cut or damaged: [0-9]+ bytes, expected [0-9]+; get it again"),
        (lambda b: b[:100], "is cut or no safetensors file"),
        (lambda b: b"", r"is cut or no safetensors file \(0 bytes\)"),
        (lambda b: b"<html>404</html>", "is cut or no safetensors file"),
        (lambda b: b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (lambda b: b + b"\0" * 8, "is cut or damaged"),
    ],
)
def test_a_cut_or_foreign_file_is_one_line_with_its_name(folder, change, said):
    path = folder / TEXT
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=said) as error:
        models(folder)
    assert str(error.value).startswith(str(path))
    assert "get it again" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_bin_file_loads_whole_and_is_refused_where_it_is_cut(folder):
    path = folder / "text_encoder" / "pytorch_model.bin"
    torch.save(load_file(folder / TEXT), path)
    (folder / TEXT).unlink()
    assert "text_encoder" in models(folder)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match="pytorch_model.bin is cut or no PyTorch file .*get it again"):
        models(folder)


def test_a_part_without_weights_or_config_is_named(folder):
    (folder / UNET).unlink()
    with pytest.raises(FileNotFoundError, match="unet holds no weights; expected diffusion_pytorch_model.safetensors"):
        models(folder)
    (folder / "unet" / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="unet holds no config.json for UNet2DConditionModel"):
        models(folder)


def test_a_vocabulary_that_is_lost_or_another_model_s_is_refused(folder):
    from transformers import CLIPTokenizer

    (folder / "tokenizer" / "tokenizer.json").unlink()  # transformers then makes one of two tokens
    with pytest.raises(FileNotFoundError, match=r"tokenizer/vocab\.json is missing, and so is tokenizer\.json; get it"):
        models(folder)
    CLIPTokenizer(vocab={}, merges=[]).save_pretrained(folder / "tokenizer")
    with pytest.raises(ValueError, match=r"tokenizer\.json has 2 tokens, and the model that reads them 1000"):
        models(folder)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="tokenizer is missing; get it again"):
        models(folder)


def test_a_missing_shard_is_named(folder):
    (folder / UNET).rename(folder / "unet" / "diffusion_pytorch_model-00001-of-00002.safetensors")
    shards = {"a": "diffusion_pytorch_model-00001-of-00002.safetensors",
              "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}  # fmt: skip
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(FileNotFoundError, match=r"00002-of-00002.safetensors is missing \(1 of 2\)"):
        models(folder)


def test_a_folder_with_only_fp16_variants_loads(folder):
    for path in list(folder.rglob("*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    assert set(models(folder)) == {"unet", "vae", "text_encoder"}


def test_a_single_part_loads_from_a_variant_in_its_own_dtype_and_a_cut_one_is_named(folder):
    from diffusers import UNet2DConditionModel

    path = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(folder / UNET).items()}, path)
    (folder / UNET).unlink()
    assert load_library_model(UNet2DConditionModel, folder / "unet").dtype == torch.float16
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="model.fp16.safetensors is cut or damaged: .*get it again"):
        load_library_model(UNet2DConditionModel, folder / "unet")


def test_plain_weights_come_before_variants_and_safetensors_before_bin(folder):
    for name in ("model.fp16.safetensors", "pytorch_model.bin"):
        (folder / "text_encoder" / name).write_bytes(b"not read")
    assert [path.name for path in components.weights_of(folder / "text_encoder").files] == ["model.safetensors"]


def test_a_class_that_no_library_has_is_refused_and_code_of_the_folder_is_not_run(folder):
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "my_unet.py").write_text("raise SystemExit('ran')")
    with pytest.raises(ValueError, match=r"names my_unet\.Mine, which neither diffusers"):
        components.load_parts(folder, index | {"unet": ["my_unet", "Mine"]}, lambda name: None)


def test_a_clean_download_and_a_full_clone_are_the_same_model(original, folder):
    before = weights_hash(folder)
    (folder / "text_encoder" / "pytorch_model.bin").write_bytes(b"a second format")
    (folder / "text_encoder" / "model.fp16.safetensors").write_bytes(b"a variant")
    (folder / "instruct-pix2pix-00-22000.ckpt").write_bytes(b"a single file")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"never loaded")
    (folder / "README.md").write_text("a card")
    assert weights_hash(folder) == before == weights_hash(original)
    rewrite(folder / UNET, lambda s: s | {"conv_in.bias": s["conv_in.bias"] + 1})
    assert weights_hash(folder) != before


def test_a_file_swapped_under_equal_size_and_time_is_noticed(tmp_path, monkeypatch):
    """As cp -rp does it: the name, the size and the time of change are those of the file that lay there."""
    import os

    from mgie.io import hashes

    monkeypatch.setattr(hashes, "CACHED_FROM", 1)
    folder = tmp_path / "model"
    folder.mkdir()
    for name, content in (("a", b"11111111"), ("b", b"22222222")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (1, 1))
    shutil.copy2(tmp_path / "a", folder / "model.safetensors")
    first = weights_hash(folder)
    shutil.copy2(tmp_path / "b", folder / "model.safetensors")
    assert weights_hash(folder) != first


def test_a_digest_in_one_process_notices_a_swap_too(tmp_path):
    import hashlib
    import os

    from mgie.io.hashes import digest

    for content in (b"11111111", b"22222222"):
        (tmp_path / "new").write_bytes(content)
        os.utime(tmp_path / "new", (1, 1))
        os.replace(tmp_path / "new", tmp_path / "file")
        assert digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()
