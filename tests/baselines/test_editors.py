"""Each family of editors, with a tiny random pipeline of diffusers' real class: batch, size, seed, text, guidance."""

import inspect

import numpy as np
import pytest
import tiny_editors
import torch
from PIL import Image

from baselines.editor import Editor, find, open_editor
from baselines.editors.family import Asked, Source
from baselines.editors.known import CLASSES, family_of
from bench.settings import EditSettings, ModelSettings, fill
from mgie.io.devices import Placement

WIDE = (96, 64)
SIZES = {  # of the edit of a 100 x 70 px image, where it is not (96, 64); the tiny VAEs' factors are 2, 8 and 16
    "FluxKontextPipeline": (64, 48), "LongCatImageEditPipeline": (96, 80), "Flux2Pipeline": (100, 68),
    "Flux2KleinPipeline": (100, 68), "Flux2KleinKVPipeline": (100, 68), "ZImageOmniPipeline": (100, 68),
    "DreamLitePipeline": (100, 68), "DreamLiteMobilePipeline": (100, 68),
}  # fmt: skip


@pytest.fixture(scope="module")
def opened(folders):
    made: dict[str, Editor] = {}

    def editor(name: str) -> Editor:
        if name not in made:
            made[name] = open_editor(find(str(folders(name))), ModelSettings(name, "mini", "ma5k", device="cpu"))
            made[name].load()
            tiny_editors.shrink(patched, made[name].pipeline)
        return made[name]

    with pytest.MonkeyPatch.context() as patched:
        yield editor


def picture(seed: int, size: tuple[int, int] = (100, 70)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def edit(made: Editor, *asked: tuple[Image.Image, str, int], **given) -> list[Image.Image]:
    settings = fill(EditSettings(num_inference_steps=2, **given), made.defaults)
    images, texts, seeds = zip(*asked, strict=True)
    return [image for image, _ in made.edit(list(images), list(texts), settings, list(seeds), ["x"] * len(asked))]


def test_every_class_of_the_list_is_tried_here():
    assert set(tiny_editors.BUILDS) == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_edit_has_its_size_and_follows_seed_text_and_image_whatever_it_is_batched_with(opened, name):
    made, a, b = opened(name), picture(0), picture(1)
    first, other = edit(made, (a, "make it red", 1), (b, "blue", 2))
    alone = edit(made, (b, "blue", 2))[0]
    assert np.abs(np.asarray(other, int) - np.asarray(alone, int)).max() <= 1
    assert first.size == SIZES.get(name, WIDE)
    assert np.asarray(first).std() > 1
    variants = edit(made, (a, "make it red", 3), (a, "nothing of it", 1), (b, "make it red", 1))
    assert len({image.tobytes() for image in [first, *variants]}) == 4


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_defaults_are_the_pipelines_own(name):
    import diffusers

    family = family_of(Source("x", None, {"_class_name": name}))
    accepted = dict(inspect.signature(getattr(diffusers, name).__call__).parameters)
    if hasattr(getattr(diffusers, name), "invert"):
        inverted = inspect.signature(getattr(diffusers, name).invert).parameters
        accepted["num_inference_steps"] = inverted["num_inversion_steps"]
    names = {"guidance_scale": family.guided_by, "image_guidance_scale": family.image_guided_by}
    for setting, value in family.defaults.items():
        argument = names.get(setting, setting)
        assert value == (accepted[argument].default if argument in accepted else None)


@pytest.mark.parametrize(
    "name", sorted(n for n in CLASSES if family_of(Source("x", None, {"_class_name": n})).kind.guidance is not None)
)
def test_guidance_moves_the_edit(opened, name):
    made, asked = opened(name), (picture(0), "make it red", 1)
    assert edit(made, asked, guidance_scale=1.5)[0].tobytes() != edit(made, asked, guidance_scale=9.0)[0].tobytes()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("FluxKontextPipeline", {"guidance_scale": 2.0}),
        ("Flux2KleinPipeline", {"guidance_scale": 2.0}),
        ("QwenImageEditPipeline", {"true_cfg_scale": 2.0, "negative_prompt": " "}),
        ("QwenImageEditPlusPipeline", {"true_cfg_scale": 2.0, "negative_prompt": " "}),
        ("QwenImage21Pipeline", {"true_cfg_scale": 2.0, "negative_prompt": " "}),
        ("LEditsPPPipelineStableDiffusion", {"edit_guidance_scale": 2.0}),
        ("OmniGenPipeline", {"guidance_scale": 2.0}),
    ],
)
def test_guidance_scale_becomes_the_argument_that_guides(name, arguments):
    family = family_of(Source("x", None, {"_class_name": name}))
    assert family.arguments(EditSettings(guidance_scale=2.0)) == arguments


def test_qwen_has_no_negative_prompt_where_it_is_not_guided():
    family = family_of(Source("x", None, {"_class_name": "QwenImageEditPipeline"}))
    assert family.arguments(EditSettings(guidance_scale=1.0)) == {"true_cfg_scale": 1.0}
    assert family.record()["negative_prompt"] == "' '"


def test_omnigens_image_guidance_has_its_own_name():
    family = family_of(Source("x", None, {"_class_name": "OmniGenPipeline"}))
    assert family.arguments(EditSettings(image_guidance_scale=2.0)) == {"img_guidance_scale": 2.0}


def test_a_distilled_klein_makes_four_steps_and_takes_no_guidance():
    family = family_of(Source("x", None, {"_class_name": "Flux2KleinPipeline", "is_distilled": True}))
    assert (family.defaults["num_inference_steps"], family.defaults["guidance_scale"]) == (4, None)
    with pytest.raises(ValueError, match="Flux2KleinPipeline has no guidance_scale"):
        family.arguments(EditSettings(guidance_scale=4.0))


@pytest.mark.parametrize(
    ("index", "scheduler", "cosxl"),
    [
        ({"scheduler": ["diffusers", "EDMEulerScheduler"]}, {}, True),
        ({"scheduler": ["diffusers", "EulerDiscreteScheduler"]}, {"prediction_type": "epsilon"}, False),
        ({"is_cosxl_edit": True, "scheduler": ["diffusers", "EulerDiscreteScheduler"]}, {}, True),
        ({"is_cosxl_edit": False, "scheduler": ["diffusers", "EDMEulerScheduler"]}, {}, False),
    ],
)
def test_cosxl_is_known_by_its_scheduler_or_by_what_the_index_says(tmp_path, index, scheduler, cosxl):
    import json

    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    source = Source(str(tmp_path), None, {"_class_name": "StableDiffusionXLInstructPix2PixPipeline"} | index)
    assert family_of(source).options() == {"is_cosxl_edit": cosxl, "add_watermarker": False}
    assert family_of(source).record()["is_cosxl_edit"] == str(cosxl)


def test_an_sdxl_that_may_be_cosxl_is_asked_about(tmp_path):
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "v_prediction"}')
    index = {"_class_name": "StableDiffusionXLInstructPix2PixPipeline", "scheduler": ["diffusers", "EulerDiscrete"]}
    with pytest.raises(ValueError, match='write "is_cosxl_edit": true or false into the model_index.json'):
        family_of(Source(str(tmp_path), None, index))


@pytest.mark.parametrize(
    ("config", "answer"),
    [
        ('{"prediction_type": "epsilon"}', False),
        ('{"prediction_type": "v_prediction"}', "and v_prediction may be CosXL"),
        (None, "scheduler_config.json that cannot be read may be CosXL"),
    ],
)
def test_cosxl_of_the_hub_is_asked_about_as_a_folder_is(tmp_path, monkeypatch, config, answer):
    def from_cache(place, name, revision, local_files_only):
        assert (place, name, revision) == ("owner/name", "scheduler/scheduler_config.json", "abc")
        if config is None:
            raise OSError("out of reach")
        (tmp_path / "config.json").write_text(config)
        return str(tmp_path / "config.json")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", from_cache)
    index = {"_class_name": "StableDiffusionXLInstructPix2PixPipeline", "scheduler": ["diffusers", "EulerDiscrete"]}
    source = Source("owner/name", "abc", index)
    if isinstance(answer, str):
        with pytest.raises(ValueError, match=answer):
            family_of(source)
    else:
        assert family_of(source).options()["is_cosxl_edit"] is answer


def test_cosxl_scales_the_images_latents_and_sdxl_does_not(opened, monkeypatch):
    made, asked = opened("StableDiffusionXLInstructPix2PixPipeline"), (picture(0), "make it red", 1)
    assert made.pipeline.is_cosxl_edit is False
    plain = edit(made, asked)[0]
    monkeypatch.setattr(made.pipeline, "is_cosxl_edit", True)
    assert edit(made, asked)[0].tobytes() != plain.tobytes()


def test_sdxl_is_never_watermarked_whatever_is_installed(folders, monkeypatch):
    from diffusers.pipelines.stable_diffusion_xl import pipeline_stable_diffusion_xl_instruct_pix2pix as module

    monkeypatch.setattr(module, "is_invisible_watermark_available", lambda: True)
    folder = folders("StableDiffusionXLInstructPix2PixPipeline")
    made = open_editor(find(str(folder)), ModelSettings("x", "mini", "ma5k", device="cpu"))
    made.load()
    assert made.pipeline.watermark is None
    assert made.fingerprint()["watermark"] == "off"


@pytest.mark.parametrize("name", ["StableDiffusionInstructPix2PixPipeline", "LEditsPPPipelineStableDiffusion"])
def test_stable_diffusion_in_float16_keeps_vae_text_and_latents_in_float32(folders, name):
    family = family_of(find(str(folders(name))))
    half, full = (Editor(family, Placement("cpu", dtype)) for dtype in (torch.float16, torch.float32))
    kinds = {part: getattr(half.pipeline, part).dtype for part in ("unet", "vae", "text_encoder")}
    assert kinds == {"unet": torch.float16, "vae": torch.float32, "text_encoder": torch.float32}
    seen = []
    decode = half.pipeline.vae.decode
    half.pipeline.vae.decode = lambda latents, **more: seen.append(latents.dtype) or decode(latents, **more)
    one, other = (np.asarray(edit(made, (picture(0), "make it red", 1))[0], int) for made in (half, full))
    assert set(seen) == {torch.float32}
    if name == "StableDiffusionInstructPix2PixPipeline":  # LEDITS++ cuts at a quantile, which a last bit moves
        assert np.abs(one - other).max() <= 2
    assert half.fingerprint()["dtype"] == "float16; text encoders, VAE and latents float32"


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("StableDiffusionInstructPix2PixPipeline", "float16"), ("FluxKontextPipeline", "bfloat16"),
     ("QwenImageEditPipeline", "bfloat16")],
)  # fmt: skip
def test_auto_on_a_gpu_is_the_familys_own_dtype(name, dtype):
    from mgie.io.devices import Wanted, dtype_name

    preferred = CLASSES[name].dtype
    assert dtype_name(Wanted(), "cuda", preferred) == dtype
    assert dtype_name(Wanted(), "cpu", preferred) == "float32"
    assert dtype_name(Wanted(dtype="float32"), "cuda", preferred) == "float32"


def test_qwen_images_transparency_is_laid_on_white():
    family = family_of(Source("x", None, {"_class_name": "QwenImage21Pipeline"}))

    def pipeline(**_):
        from types import SimpleNamespace

        drawn = np.zeros((1, 2, 2, 4), np.float32)
        drawn[0, 0, 0] = (0.5, 0.5, 0.5, 1.0)
        return SimpleNamespace(images=drawn)

    pixels = family.run(pipeline, Asked([None], ["x"], [None], {}))
    assert pixels[0, 0, 0].tolist() == [0.5, 0.5, 0.5]
    assert pixels[0, 1, 1].tolist() == [1.0, 1.0, 1.0]


def test_the_size_rule_of_kontext_is_recorded(folders):
    made = open_editor(find(str(folders("FluxKontextPipeline"))), ModelSettings("x", "mini", "ma5k", device="cpu"))
    assert made.fingerprint()["size"].startswith("the input's shape at 1024 x 1024 px of area")


@pytest.mark.parametrize("name", ["GlmImagePipeline", "OmniGenPipeline"])
def test_what_draws_from_the_processes_own_generator_does_so_by_the_edits_seed_and_leaves_it_alone(opened, name):
    made, images = opened(name), []
    for before in (5, 6):
        torch.manual_seed(before)
        expected = torch.rand(1)
        torch.manual_seed(before)
        images.append(edit(made, (picture(0), "make it red", 1))[0].tobytes())
        assert torch.rand(1) == expected
    assert images[0] == images[1]


def test_the_list_of_editors_fits_a_terminal_and_starts_without_torch():
    """About 20 classes of 9 lines: who it is, where from, how large, and how it is run here."""
    import subprocess
    import sys

    code = "import sys; from bench.editors.__main__ import main; main([]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "False"
    assert max(map(len, lines)) <= 100
    assert {line.split()[0] for line in lines if not line.startswith(" ")} == {*CLASSES, "False"}
    assert "  guidance  --guidance-scale 4 (its true_cfg_scale)" in lines


def test_an_unknown_editor_is_called_with_one_image_and_one_text(tmp_path):
    from diffusers import StableDiffusionImg2ImgPipeline

    parts = tiny_editors.ledits().components
    folder = tmp_path / "img2img"
    StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False).save_pretrained(folder)
    spec = ModelSettings("x", "mini", "ma5k", device="cpu", unknown_editor=True)
    made = open_editor(find(str(folder)), spec)
    assert edit(made, (picture(0), "make it red", 1))[0].size == (96, 64)
    assert made.fingerprint()["editor"] == "unknown"
