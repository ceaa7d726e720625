"""The codec copy: through the VAE's posterior mode and back, the same whatever is asked of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn import picture, save
from tiny_diffusers import instruct_pix2pix

from baselines.codec import Codec
from bench.grid.show import model_name
from bench.records import Example
from bench.registry import MODELS
from bench.settings import EditSettings, ModelSettings
from bench.tables import table_of

SETTINGS = EditSettings()


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSettings:
    root = tmp_path_factory.mktemp("weights")
    instruct_pix2pix(root / "inspix2pix")
    return ModelSettings("codec", "paper", "ma5k", weights=root, device="cpu")


def example(folder: Path, size: tuple[int, int] = (48, 40), seed: int = 0) -> Example:
    path = folder / f"{seed}.png"
    save(path, picture(seed, size))
    return Example(f"ma5k/test/{seed}", "g", path, "make it red")


def test_the_codec_copy_is_what_diffusers_own_image_processor_gives(spec, tmp_path):
    from diffusers import AutoencoderKL
    from diffusers.image_processor import VaeImageProcessor

    one = example(tmp_path)
    vae, processor = AutoencoderKL.from_pretrained(spec.weights / "inspix2pix", subfolder="vae"), VaeImageProcessor()
    with torch.no_grad():
        mode = vae.encode(processor.preprocess(picture(0))).latent_dist.mode()
        expected = processor.postprocess(vae.decode(mode).sample, output_type="pil")[0]
    output = Codec(spec).edit([one], SETTINGS, [0])[0]
    assert np.abs(np.asarray(output.image, int) - np.asarray(expected, int)).max() <= 1
    assert output.seconds["codec"] > 0


def test_seed_instruction_and_company_change_nothing(spec, tmp_path):
    codec, one, other = Codec(spec), example(tmp_path), example(tmp_path, (64, 32), 1)
    alone = codec.edit([one], SETTINGS, [0])[0].image
    again = codec.edit([other, replace(one, instruction="add a duck")], SETTINGS, [7, 8])[1].image
    assert alone.tobytes() == again.tobytes()


def test_a_size_that_the_vae_cannot_take_is_rounded_down_and_one_that_is_too_small_refused(spec, tmp_path):
    codec = Codec(spec)
    assert codec.edit([example(tmp_path, (53, 47))], SETTINGS, [0])[0].image.size == (48, 40)
    with pytest.raises(ValueError, match="8x8 px is the smallest"):
        codec.edit([example(tmp_path, (6, 40))], SETTINGS, [0])


def test_only_the_vae_enters_the_runs_hash(spec, tmp_path):
    instruct_pix2pix(tmp_path / "inspix2pix", seed=1)  # other UNet, other VAE
    other = Codec(replace(spec, weights=tmp_path)).fingerprint()
    here = Codec(spec).fingerprint()
    assert here["weights"] != other["weights"]
    (spec.weights / "inspix2pix" / "unet" / "note.json").write_text("{}")
    assert Codec(spec).fingerprint() == here


def test_missing_weights_are_named_and_fine_tuning_is_not_asked_for(spec, tmp_path):
    with pytest.raises(FileNotFoundError, match="inspix2pix"):
        Codec(replace(spec, suite="mini", weights=tmp_path))
    assert Codec(replace(spec, setting="fine-tuned")).fingerprint() == Codec(spec).fingerprint()


@pytest.mark.parametrize("table", ["1", "2", "3"])
def test_every_table_of_the_miniature_has_the_row_and_never_calls_it_best(table):
    assert table_of([table]).models[:2] == ("identity", "codec") and MODELS["codec"].bound
    assert "codec" not in table_of([table, "--suite", "paper"]).models
    assert "codec" in table_of([table, "--suite", "paper", "--models", "codec"]).models
    assert model_name("codec", "none", int(table)) == "Codec copy (VAE)"
