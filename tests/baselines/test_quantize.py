"""Quantised editors: what is quantised, by which library, recorded in the fingerprint, and what it needs."""

import pytest
import torch

from baselines.editor import Editor, find
from baselines.editors.known import family_of
from mgie.io.devices import Placement


@pytest.mark.parametrize(
    ("quantize", "device", "said"),
    [
        ("int8", "cpu", "--quantize int8 needs torchao, which is not installed: pip install torchao"),
        ("int8", "cuda", "--quantize int8 needs bitsandbytes or torchao, which is not installed"),
        ("nf4", "cuda", "--quantize nf4 needs bitsandbytes, which is not installed: pip install bitsandbytes"),
        ("nf4", "cpu", "--quantize nf4 on cpu: bitsandbytes needs a GPU"),
    ],
)
def test_quantisation_without_its_package_or_its_gpu_is_one_line(folders, monkeypatch, quantize, device, said):
    import baselines.quantize

    monkeypatch.setattr(baselines.quantize, "find_spec", lambda name: None)
    family = family_of(find(str(folders("FluxKontextPipeline"))))
    with pytest.raises(ValueError, match=said) as error:
        Editor(family, Placement(device, torch.bfloat16), quantize)
    assert "\n" not in str(error.value)


def test_quantisation_is_part_of_the_fingerprint(folders, monkeypatch):
    import baselines.quantize

    monkeypatch.setattr(baselines.quantize, "find_spec", lambda name: True)
    monkeypatch.setattr(baselines.quantize, "version", lambda name: "1.2")
    family = family_of(find(str(folders("FluxKontextPipeline"))))
    prints = [Editor(family, Placement("cpu", torch.bfloat16), way).fingerprint() for way in ("none", "int8")]
    assert prints[1] == prints[0] | {"quantize": "int8, torchao 1.2"}


def test_quantised_are_the_denoiser_and_the_text_encoders_each_by_its_own_library(monkeypatch):
    import diffusers
    import transformers

    from baselines import quantize

    monkeypatch.setattr(quantize, "find_spec", lambda name: True)
    monkeypatch.setattr(transformers.BitsAndBytesConfig, "post_init", lambda self: None)  # asks for the package
    monkeypatch.setattr(diffusers.BitsAndBytesConfig, "post_init", lambda self: None)
    of = {
        (name, library): quantize.configuration("nf4", name, library, torch.bfloat16, "cuda")
        for name, library in (("transformer", "diffusers"), ("text_encoder", "transformers"), ("vae", "diffusers"))
    }
    assert of["vae", "diffusers"] is None
    assert isinstance(of["transformer", "diffusers"], diffusers.BitsAndBytesConfig)
    assert isinstance(of["text_encoder", "transformers"], transformers.BitsAndBytesConfig)
    assert of["transformer", "diffusers"].bnb_4bit_quant_type == "nf4"
