"""Any instruction-editing pipeline of diffusers runs as a model: recognised, guided by its own arguments, seeded."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tiny_diffusers
import torch
from PIL import Image

from baselines.diffusers_pipeline import DiffusersPipeline
from baselines.editor import find
from baselines.editors.family import Source
from baselines.editors.known import CLASSES, family_of
from bench.records import Example
from bench.settings import EditSettings, ModelSettings, fill

KINDS = ("instruct_pix2pix", "instruct_pix2pix_xl", "flux_kontext")
SIZES = ((64, 40), (64, 40), (33, 70))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: getattr(tiny_diffusers, kind)(root / kind) for kind in KINDS}


@pytest.fixture
def examples(tmp_path):
    rng, made = np.random.default_rng(0), []
    for i, (width, height) in enumerate(SIZES):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(path)
        made.append(Example(f"toy/test/{i}", f"g{i}", path, " make it red " if i else "blue"))
    return made


def model(folder) -> DiffusersPipeline:
    made = DiffusersPipeline(ModelSettings(f"diffusers:{folder}", "mini", "ma5k", device="cpu"))
    if made.editor.source.class_name == "FluxKontextPipeline":
        made.editor.pipeline.default_sample_size = 8  # the real one edits at a megapixel
    return made


def settings(made, **given) -> EditSettings:
    return fill(EditSettings(num_inference_steps=2, **given), made.defaults)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_gives_the_same_images_as_one_at_a_time(folders, examples, kind):
    made = model(folders[kind])
    together = made.edit(examples, settings(made), [5, 6, 7])
    alone = [made.edit([e], settings(made), [s])[0] for e, s in zip(examples, [5, 6, 7], strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(np.asarray(one.image, int) - np.asarray(other.image, int)).max() <= 1
        assert one.seconds["diffusion"] > 0
    assert np.asarray(together[0].image).std() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_depends_on_seed_image_and_instruction(folders, examples, kind):
    from dataclasses import replace

    made = model(folders[kind])
    first = examples[0]
    variants = [(first, 1), (first, 2), (replace(first, instruction="x y z"), 1), (examples[1], 1)]
    images = {made.edit([e], settings(made), [seed])[0].image.tobytes() for e, seed in variants}
    assert len(images) == len(variants)
    assert made.edit([first], settings(made), [1])[0].image.tobytes() in images


def test_instruct_pix2pix_edits_at_the_input_size_rounded_down(folders, examples):
    made = model(folders["instruct_pix2pix"])
    sizes = [output.image.size for output in made.edit(examples, settings(made), [1, 2, 3])]
    assert sizes == [(64, 40), (64, 40), (32, 64)]
    assert "rounded down" in made.fingerprint()["size"]


def test_kontext_keeps_the_shape_at_its_own_area(folders, examples):
    made = model(folders["flux_kontext"])  # 8 latents of 8 px: an area of 64 x 64
    width, height = made.edit(examples[:1], settings(made), [1])[0].image.size
    assert width > height
    assert width * height == pytest.approx(64 * 64, rel=0.3)


def test_defaults_are_the_pipelines_own(folders):
    defaults = {kind: model(folders[kind]).defaults for kind in KINDS}
    values = {k: (d.guidance_scale, d.image_guidance_scale, d.num_inference_steps) for k, d in defaults.items()}
    assert values == {
        "instruct_pix2pix": (7.5, 1.5, 100), "instruct_pix2pix_xl": (5.0, 1.5, 100), "flux_kontext": (3.5, None, 28),
    }  # fmt: skip


def test_a_folders_own_sampling_defaults_win(folders, tmp_path):
    import shutil

    shutil.copytree(folders["instruct_pix2pix"], tmp_path / "p")
    (tmp_path / "p" / "sampling.json").write_text(json.dumps({"guidance_scale": 1.3, "num_inference_steps": 20}))
    defaults = model(tmp_path / "p").defaults
    assert (defaults.guidance_scale, defaults.image_guidance_scale, defaults.num_inference_steps) == (1.3, 1.5, 20)


def test_a_folder_that_says_all_its_defaults_is_known_without_diffusers(tmp_path):
    """A cached table is planned from it: importing diffusers took half of that time."""
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionInstructPix2PixPipeline"}')
    sampling = {"guidance_scale": 1.3, "image_guidance_scale": 1.2, "num_inference_steps": 8}
    (tmp_path / "sampling.json").write_text(json.dumps(sampling))
    code = (
        "import sys; from baselines.editor import Editor, find; from baselines.editors.known import family_of; "
        "d = Editor(family_of(find(sys.argv[1]))).defaults; "
        "print(d.guidance_scale, d.image_guidance_scale, d.num_inference_steps, 'diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1.3", "1.2", "8", "False"]


def test_a_setting_that_a_pipeline_does_not_have_is_refused():
    family = family_of(Source("x", None, {"_class_name": "FluxKontextPipeline"}))
    with pytest.raises(ValueError, match="FluxKontextPipeline has no image_guidance_scale"):
        family.arguments(EditSettings(image_guidance_scale=1.5))


@pytest.mark.parametrize("scales", [{"guidance_scale": 0.9}, {"image_guidance_scale": 0.0}])
def test_guidance_below_one_is_refused_where_it_would_be_ignored(folders, examples, scales):
    made = model(folders["instruct_pix2pix"])
    with pytest.raises(ValueError, match="expected 1 or more"):
        made.edit(examples, settings(made, **scales), [1, 2, 3])


def test_a_class_outside_the_list_is_refused_with_the_list_and_the_escape():
    source = Source("x", None, {"_class_name": "StableDiffusionImg2ImgPipeline"})
    with pytest.raises(ValueError, match="not among the instruction editors tried here") as error:
        family_of(source)
    assert all(known in str(error.value) for known in CLASSES)
    assert "--unknown-editor" in str(error.value)


def test_a_text_to_image_checkpoint_is_refused_with_what_could_edit_by_it():
    with pytest.raises(ValueError, match="set _class_name to LEditsPPPipelineStableDiffusion in a copy"):
        family_of(Source("x", None, {"_class_name": "StableDiffusionPipeline"}))


def test_an_unknown_editor_runs_by_the_signature_of_its_call_and_says_so():
    family = family_of(Source("x", None, {"_class_name": "StableDiffusionImg2ImgPipeline"}), unknown_editor=True)
    assert family.record()["editor"] == "unknown"
    assert family.defaults == {"guidance_scale": 7.5, "image_guidance_scale": None, "num_inference_steps": 50}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("NoSuchPipeline", "has no pipeline NoSuchPipeline"),
        ("UNet2DConditionModel", "has no pipeline"),
        ("StableDiffusionPipeline", "takes no image"),
        ("StableDiffusionInpaintPipeline", "takes a mask_image"),
        ("CogVideoXImageToVideoPipeline", "it makes videos"),
        ("BriaFiboEditPipeline", "JSON that another model writes"),
    ],
)
def test_what_cannot_edit_by_instruction_is_refused_even_as_an_unknown_editor(name, why):
    with pytest.raises(ValueError, match=why):
        family_of(Source("x", None, {"_class_name": name}), unknown_editor=True)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model_index.json"):
        find(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        find(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ValueError, match="_class_name is missing"):
        find(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="neither a folder nor a Hub id"):
        find(str(tmp_path / "none"))


def test_a_hub_id_that_cannot_be_had_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*_, **__):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(FileNotFoundError, match="hf download owner/name --local-dir"):
        find("owner/name@v2")


def test_a_hub_id_is_pinned_to_its_commit(monkeypatch, folders):
    import huggingface_hub

    index = folders["instruct_pix2pix"] / "model_index.json"
    asked = {}
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *a, **k: asked.update(k) or str(index))
    source = find("owner/name@v2")
    assert asked["revision"] == "v2"
    assert (source.place, source.revision) == ("owner/name", index.parent.name)


def test_nan_is_an_error_that_names_the_example_and_never_a_black_image(folders, examples):
    made = model(folders["instruct_pix2pix"])
    with torch.no_grad():
        made.editor.pipeline.vae.decoder.conv_out.bias[0] = float("nan")
    with pytest.raises(ValueError, match="toy/test/0: 33% of the output image is not a number"):
        made.edit(examples, settings(made), [1, 2, 3])


def test_too_small_an_image_and_an_empty_instruction_are_refused_by_name(folders, examples, tmp_path):
    from dataclasses import replace

    made = model(folders["instruct_pix2pix"])
    Image.new("RGB", (7, 40)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="toy/test/0: image is 7x40 px; 8x8 px is the smallest"):
        made.edit([replace(examples[0], input_image=tmp_path / "small.png")], settings(made), [1])
    with pytest.raises(ValueError, match="toy/test/0: the instruction is empty"):
        made.edit([replace(examples[0], instruction="  ")], settings(made), [1])


def test_the_fingerprint_follows_weights_and_dtype_without_loading(folders):
    made = model(folders["instruct_pix2pix"])
    print_ = made.fingerprint()
    assert "pipeline" not in made.editor.__dict__
    assert print_["scheduler"] == "EulerAncestralDiscreteScheduler"
    half = DiffusersPipeline(ModelSettings(made.name, "mini", "ma5k", device="cpu", dtype="bfloat16"))
    assert half.fingerprint() == print_ | {"dtype": "bfloat16; text encoders, VAE and latents float32"}
    assert all(isinstance(value, str) for value in print_.values())


def test_the_safety_checker_is_off_and_said_to_be(folders):
    made = model(folders["instruct_pix2pix"])
    assert made.editor.pipeline.safety_checker is None
    assert made.fingerprint()["safety_checker"] == "off"


def test_a_name_without_a_target_is_refused():
    with pytest.raises(ValueError, match="expected diffusers:<Hub id or folder>"):
        DiffusersPipeline(ModelSettings("diffusers:", "mini", "ma5k"))
