"""The miniature's shipped networks load through the harness's own loaders and are worth something when held out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.records import Example
from bench.registry import metric_settings
from bench.settings import MetricSettings
from mgie.folder import MINI
from mgie.mini.stages import vae as codec
from mgie.mini.training import captions, pictures
from mgie.mini.training.labels import both_sides, name_at, retrieval
from mgie.mini.training.pictures import Pictures, PictureSet
from mgie.mini.training.recipe import StageRecipe
from mgie.presets import PRESETS

torch.set_num_threads(1)
LIMIT = 15 * 2**20
TEXTS = ["a duck on the left in front of a castle", "a photo of a bridge"]


def shipped(*parts: str) -> Path:
    path = MINI.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path.name} is not trained in this version")
    return path


@pytest.fixture(scope="module")
def drawn():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "CHUNK", 60)
        return Pictures(PictureSet("test", 77)).rows(0, 60)


def images(drawn) -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in drawn.pixels[:, 1]]


def metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


def test_every_file_says_what_made_it_and_is_small():
    files = sorted(file for file in MINI.rglob("*.safetensors") if not file.is_symlink())
    if not files:
        pytest.skip("no trained weights in this version")
    for file in files:
        assert file.stat().st_size < LIMIT, file
    assert sum(file.stat().st_size for file in files) < 34 * 2**20
    own = ("vae", "tower", "mini-clip", "mini-dino", "mini-lpips", "eye")
    for file in (f for f in files if f.relative_to(MINI).parts[0] in own):
        facts = metadata(file)
        assert {"recipe", "data", "steps", "seconds", "device", "seed", "world"} <= facts.keys(), file
        assert len(facts["recipe"]) == len(facts["data"]) == 64


def test_judge_and_player_have_other_seeds():
    assert metadata(shipped("tower", "model.safetensors"))["seed"] != metadata(
        shipped("mini-clip", "open_clip_model.safetensors"))["seed"]  # fmt: skip


def test_the_linear_start_alone_copies_pictures(monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 10)
    monkeypatch.setattr(codec, "FITTED_ON", 12)
    stage = codec.CodecStage(StageRecipe("vae", steps=10, batch_size=2, lr=1e-4, seed=5), None, 40)
    images = codec.pixels(stage.test, 0, 5)
    _, outputs = codec.copy_through(stage.network(), images)
    assert (outputs - images).abs().mean() / 2 < 0.06


def test_the_shipped_codec_copies_held_out_pictures(drawn):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(shipped("vae"), torch_dtype=torch.float32)
    images = torch.from_numpy(drawn.pixels[:, 0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents, outputs = codec.copy_through(vae, images)
    error = (outputs.clamp(-1, 1) - images).flatten(1) / 2
    assert error.abs().mean() < 0.025
    assert (-10 * error.square().mean(dim=1).log10()).mean() > 28
    assert latents.shape[1] == PRESETS["mini"].latent_channels
    assert 0.8 < latents.std() * PRESETS["mini"].latent_scale < 1.25  # what is diffused has unit scale


def test_the_shipped_tower_has_the_presets_sizes(drawn):
    from transformers import CLIPVisionModel

    from mgie.io.weights import load_library_model

    tower = load_library_model(CLIPVisionModel, shipped("tower"), dtype=torch.float32)
    preset = PRESETS["mini"]
    assert tower.config.hidden_size == preset.vision_hidden and tower.config.image_size == preset.vision_size
    with torch.no_grad():
        seen = tower(torch.zeros(1, 3, preset.vision_size, preset.vision_size), output_hidden_states=True)
    assert seen.hidden_states[-2].shape == (1, preset.patches + 1, preset.vision_hidden)


def judge_clip():
    from bench.metrics.networks.clip import clip_of

    return clip_of(MetricSettings(clip=str(shipped("mini-clip")), metric_device="cpu"))


def test_mini_clip_finds_captions_through_the_harness_loader(drawn):
    clip = judge_clip()
    texts = [row[1] for row in drawn.captions]
    rows = torch.from_numpy(clip.encode_tensors([clip.transform(image) for image in images(drawn)]))
    found = retrieval(rows, torch.from_numpy(clip.texts(texts).features), texts)
    assert found["r1_image_to_text"] > 0.2 and found["r1_text_to_image"] > 0.2  # chance is about 0.02


def test_mini_clip_pools_the_end_of_the_text():
    clip = judge_clip()
    config = json.loads((MINI / "mini-clip" / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    ids, lengths = clip.tokens(TEXTS)
    assert config["pool_type"] == "eos" and clip.end_token == config["eos_id"] == captions.END
    ends = (ids == captions.END).int().argmax(dim=1)
    assert ends.tolist() == [length - 1 for length in lengths]
    with torch.no_grad():
        whole = clip.network.encode_text(ids)
        padded = ids.clone()
        for row, end in zip(padded, ends, strict=True):
            row[end + 1 :] = 7  # what follows the end is not seen
        assert torch.allclose(whole, clip.network.encode_text(padded), atol=1e-6)
        changed = ids.clone()
        changed[:, 1] = 7  # what comes before it is
        assert not torch.allclose(whole, clip.network.encode_text(changed), atol=1e-3)


def test_mini_clip_scores_32_pairs_in_seconds(drawn):
    import time

    clip = judge_clip()
    clip.texts(TEXTS)
    started = time.process_time()
    clip.encode_tensors([clip.transform(image) for image in images(drawn)[:32] * 2])
    assert time.process_time() - started < 5


def test_mini_dino_and_its_eye_name_objects(drawn):
    from bench.mini.object_eye import Eye

    shipped("eye", "objects.safetensors")
    eye, batch = Eye(), both_sides(drawn)
    right, total = 0, 0
    for image, labels in zip(batch.images, batch.objects, strict=True):
        logits = eye.logits(Image.fromarray((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)))
        for name in labels[labels > 0].unique():
            right += name_at(logits, labels == name) == int(name)
            total += 1
    assert total > 50 and right / total > 0.5  # chance is about 0.01


def test_the_eye_looks_where_the_mask_is():
    from bench.mini.object_eye import Eye, patch_shares

    shipped("eye", "objects.safetensors")
    mask = np.zeros((64, 64), bool)
    mask[0:32, 32:64] = True
    assert patch_shares(mask).reshape(8, 8)[:4, 4:].eq(1).all() and patch_shares(mask).sum() == 16
    with pytest.raises(ValueError, match="marks no pixel"):
        Eye().at(Image.new("RGB", (64, 64)), np.zeros((64, 64), bool))


def test_mini_dino_loads_by_folder(drawn):
    from bench.metrics.networks.vit import dino_of

    dino = dino_of(MetricSettings(dino=str(shipped("mini-dino")), metric_device="cpu"))
    rows = torch.stack([dino.transform(image) for image in images(drawn)[:4]])
    with torch.no_grad():
        assert torch.isfinite(dino.network.forward_features(rows)[:, 0]).all()
    assert dino.source.size == 64 and "mini-dino" in dino.protocol


def test_mini_lpips_grows_with_noise_and_blur(drawn):
    from bench.metrics.networks.perceptual import perceptual
    from mgie.mini.stages.judge_lpips import blurred, grows, noisy

    network = perceptual("squeeze", shipped("mini-lpips", "squeeze.safetensors"), "none", "cpu")
    clean = torch.from_numpy(drawn.pixels[:30, 1]).permute(0, 3, 1, 2).float() / 255
    assert network.distance(2 * clean - 1, 2 * clean - 1).abs().max() < 1e-6
    for copies in (noisy(clean), blurred(clean)):
        far = torch.stack([network.distance(2 * copy - 1, 2 * clean - 1) for copy in copies])
        assert grows(far) > 0.9


def test_the_tokenizer_keeps_the_end_of_a_text_that_is_cut():
    tokenizer = captions.train_tokenizer(TEXTS, 300)
    ids = captions.encode(tokenizer, [TEXTS[0], "x" * 200], 12)
    assert (ids == captions.END).sum(dim=1).tolist() == [1, 1] or (ids[1] == captions.END).sum() == 1
    assert ids[1, -1] == captions.END and ids[:, 0].eq(captions.START).all()
    assert tokenizer.decode(captions.encode(tokenizer, ["A Duck! ✓"], 40)[0].tolist()).strip() == "a duck! ✓"


def given(**fields) -> MetricSettings:
    """As the command makes it: None where no flag was given."""
    return MetricSettings(**{"clip": None, "dino": None, "lpips": None, "lpips_heads": None, **fields})


def test_suite_mini_has_networks_of_its_own_and_flags_win():
    mini = metric_settings("mini", given())
    assert Path(mini.clip) == MINI / "mini-clip" and Path(mini.dino) == MINI / "mini-dino"
    assert (mini.lpips, mini.lpips_heads) == ("squeeze", "none")
    assert metric_settings("paper", given()) == metric_settings("published", given()) == MetricSettings()
    other = metric_settings("mini", given(clip="ViT-L-14-quickgelu/openai", lpips="vgg"))
    assert other.clip == "ViT-L-14-quickgelu/openai" and Path(other.dino) == MINI / "mini-dino"
    assert (other.lpips, other.lpips_weights, other.lpips_heads) == ("vgg", None, "linear")


@pytest.mark.parametrize("name, best", [("cvs", 1), ("dino", 1), ("lpips", 0)])
def test_every_judge_tells_the_goal_from_the_input(drawn, name, best):
    from bench.metrics.networks.features import FeatureCache
    from bench.metrics.pairs import Pair, Picture
    from bench.registry import METRICS, load

    for folder in ("mini-clip", "mini-dino", "mini-lpips"):
        shipped(folder)
    metric = load(METRICS, name, "metric")(metric_settings("mini", given(metric_device="cpu")), FeatureCache(None))
    assert "mini" in metric.protocol or "own network" in metric.protocol
    pairs = {0: [], 1: []}
    for i in range(8):
        before, goal = (Picture.of(Image.fromarray(side)) for side in drawn.pixels[i])
        example = Example(f"mini/test/{i}", str(i), Path("in memory"), "")
        pairs[0].append(Pair(example, before, goal))
        pairs[1].append(Pair(example, goal, goal))
    wrong, right = (np.array([value.value for value in metric(pairs[k])]) for k in (0, 1))
    assert np.allclose(right, best, atol=1e-5)
    assert (np.abs(wrong - best) > 1e-4).all()
