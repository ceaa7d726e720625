"""The pipeline: a batch equals single calls, seeds decide the pixels, a folder keeps the edits, bad input is named."""

import json
import logging
import shutil

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mgie import MGIEPipeline

INSTRUCTIONS = ["make it night", "brighten it a lot, please", "x", "turn the cat on the left into a dog", "add snow"]


@pytest.fixture(scope="module")
def pipe():
    torch.set_num_threads(1)
    return tiny.build()


def difference(one: Image.Image, other: Image.Image) -> int:
    assert one.size == other.size
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


def batch_of(count: int) -> tuple[list, list]:
    sizes = [(32, 32), (41, 30), (32, 32), (64, 20), (33, 35), (32, 32), (41, 30), (20, 64)]
    return [tiny.picture(i, sizes[i % 8]) for i in range(count)], [INSTRUCTIONS[i % 5] for i in range(count)]


def test_a_batch_of_eight_equals_eight_single_calls(pipe):
    images, instructions = batch_of(8)
    together = pipe(images, instructions, generator=tiny.generators(*range(8)))
    for i in range(8):
        alone = pipe(images[i], instructions[i], generator=tiny.generators(i))
        assert alone.expressive_instructions[0] == together.expressive_instructions[i]
        assert alone.tokens[0] == together.tokens[i]
        assert difference(alone.images[0], together.images[i]) <= 1


def test_states_and_latents_of_a_batch_equal_single_ones_within_1e_3(pipe):
    from mgie.diffusion import denoise
    from mgie.generate import decode

    texts = [f"{'so ' * i} USER: <im_start>{'<im_patch>' * 4}<im_end>" for i in range(8)]
    prompts = [pipe.tokenizer.encode(text, "slow") for text in texts]
    pixels = pipe.image_processor([tiny.picture(i) for i in range(8)])
    run = lambda rows: decode(  # noqa: E731
        pipe.mllm, pipe.tokenizer, [prompts[i] for i in rows], pixels[rows], pipe.device, 24
    )
    together = run(list(range(8)))
    states = torch.stack([answer.states for answer in together])
    for i in range(8):
        (alone,) = run([i])
        assert alone.sequence == together[i].sequence
        assert (alone.states - states[i]).abs().max() < 1e-3
    embeds, null = pipe._condition(together)
    condition = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    arguments = (null, 2.0, 1.2, 4)
    latents = denoise(pipe.unet, pipe.scheduler, condition, embeds, *arguments, tiny.generators(*range(8)))
    for i in range(8):
        own = (condition[i : i + 1], embeds[i : i + 1], *arguments, tiny.generators(i))
        assert (denoise(pipe.unet, pipe.scheduler, *own)[0] - latents[i]).abs().max() < 1e-3


def test_the_seed_decides_the_pixels_and_the_global_seed_does_not(pipe):
    edit = lambda seed: pipe(tiny.picture(), "add snow", generator=tiny.generators(seed)).images[0]  # noqa: E731
    first = edit(3)
    torch.rand(7)  # moves the global stream, which must not matter
    assert difference(first, edit(3)) == 0
    assert difference(first, edit(4)) > 0
    before = torch.random.get_rng_state()
    edit(5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_saved_folder_gives_the_same_edits(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = MGIEPipeline.from_pretrained(tmp_path)
    again.progress = False
    ours, theirs = (p(tiny.picture(), INSTRUCTIONS, generator=tiny.generators(*range(5))) for p in (pipe, again))
    assert [image.tobytes() for image in ours.images] == [image.tobytes() for image in theirs.images]
    assert ours.expressive_instructions == theirs.expressive_instructions
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.pt"))
    assert again.preset == pipe.preset


def test_half_precision_weights_are_loaded_as_the_dtype_that_is_asked_for(pipe, tmp_path):
    tiny.build().to(dtype=torch.float16).save_pretrained(tmp_path)
    kept, asked = MGIEPipeline.from_pretrained(tmp_path), MGIEPipeline.from_pretrained(tmp_path, dtype=torch.float16)
    assert kept.unet.dtype == asked.unet.dtype == torch.float16
    assert asked.vae.dtype == torch.float32  # beside 16 bit it stays exact
    again = MGIEPipeline.from_pretrained(tmp_path, dtype=torch.float32)
    assert {p.dtype for part in again.components.values() for p in part.parameters()} == {torch.float32}
    again.progress = False
    assert (
        difference(
            again(tiny.picture(), "x", generator=tiny.generators(0)).images[0],
            pipe(tiny.picture(), "x", generator=tiny.generators(0)).images[0],
        )
        < 64
    )


def test_offloaded_weights_give_the_same_edit_and_stay_where_they_are(monkeypatch):
    monkeypatch.setattr("mgie.io.memory.free_bytes", lambda device: 1)  # the LLM does not fit
    pipe = tiny.build()
    edit = lambda: pipe(tiny.picture(), "add snow", generator=tiny.generators(0))  # noqa: E731
    before = edit()
    pipe.enable_model_cpu_offload("cpu")
    assert pipe.mllm.llama.lm_head.weight.device.type == "meta"  # it comes to the device for its own forward only
    after = edit()
    assert after.expressive_instructions == before.expressive_instructions
    assert difference(before.images[0], after.images[0]) == 0
    with pytest.raises(ValueError, match="offloaded"):
        pipe.to("cpu")


def test_bfloat16_edits_end_to_end():
    pipe = tiny.build().to(torch.bfloat16)
    assert pipe.unet.dtype == pipe.visual_embeddings.dtype == torch.bfloat16
    assert pipe.vae.dtype == torch.float32
    output = pipe([tiny.picture(), tiny.picture(1)], "add snow", generator=tiny.generators(0, 1))
    assert len(output.images) == 2


def test_lgie_is_the_same_pipeline_without_eyes(tmp_path):
    lgie = tiny.build(eyes=False)
    images = [tiny.picture(1), tiny.picture(2)]
    output = lgie(images, "add snow", generator=tiny.generators(0, 0))
    assert output.expressive_instructions[0] == output.expressive_instructions[1]  # it does not see the image
    lgie.save_pretrained(tmp_path)
    again = MGIEPipeline.from_pretrained(tmp_path)
    again.progress = False
    assert again.mllm.tower is None and again.image_processor is None
    assert difference(again(images[0], "add snow", generator=tiny.generators(0)).images[0], output.images[0]) == 0


def test_a_given_expressive_instruction_replaces_the_written_one(pipe):
    one = pipe(tiny.picture(), "add snow", generator=tiny.generators(0), expressive_instruction="The roof is white.")
    other = pipe(tiny.picture(), "add snow", generator=tiny.generators(0), expressive_instruction="The cat is a dog.")
    assert one.expressive_instructions == ["The roof is white."] and one.tokens == [0]
    assert one.visual_tokens_written == [True]
    assert difference(one.images[0], other.images[0]) > 0


def test_the_output_has_the_inputs_size_down_to_the_vaes_factor_and_times_by_stage(pipe):
    output = pipe(tiny.picture(0, (67, 35)), "x", generator=tiny.generators(0))
    assert output.images[0].size == (64, 32) and output.images[0].mode == "RGB"
    stages = {"mllm", "edit_head", "vae_encode", "diffusion", "vae_decode"}
    assert set(output.seconds) == stages and min(output.seconds.values()) > 0


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F"])
def test_other_image_modes_are_edited(pipe, mode):
    made = {"F": lambda: Image.new("F", (32, 32), 90.0), "I;16": lambda: Image.new("I;16", (32, 32), 40000)}
    picture = made.get(mode, lambda: tiny.picture().convert(mode))()
    assert pipe(picture, "x", generator=tiny.generators(0)).images[0].size == (32, 32)


def test_a_huge_image_is_shrunk_and_that_is_said_once(pipe, caplog):
    pipe._said.clear()
    with caplog.at_level(logging.WARNING, "mgie"):
        for _ in range(2):
            output = pipe(tiny.picture(0, (1000, 500)), "x", generator=tiny.generators(0))
    assert output.images[0].size == (128, 64)
    assert sum("128 px" in record.message for record in caplog.records) == 1


def test_a_long_instruction_is_cut_at_the_models_limit_and_that_is_said_once(pipe, caplog):
    pipe._said.clear()
    with caplog.at_level(logging.WARNING, "mgie"):
        output = pipe([tiny.picture()] * 2, ["turn it blue " * 800, "x"], generator=tiny.generators(0, 1))
    assert len(output.images) == 2
    assert sum("too long" in record.message for record in caplog.records) == 1


def test_the_longest_prompt_that_fits_is_kept(pipe):
    from mgie.inputs import fit_prompt
    from mgie.prompts import build_prompt

    limit = pipe.preset.context - 24
    cut = fit_prompt(pipe.tokenizer, "ab " * 3000, 4, limit, "slow")
    assert cut.shortened and limit - 4 <= len(cut.ids) <= limit
    assert cut.ids[-5:] == pipe.tokenizer.encode(build_prompt("ab", 4), "slow")[-5:]  # the template's end is there
    assert not fit_prompt(pipe.tokenizer, "ab", 4, limit, "slow").shortened


def test_an_instruction_in_any_script_is_edited(pipe):
    texts = ["夜にして", "اجعلها ليلا", "сделай ночь", "make it 🌙", "a\nb\tc"]
    assert len(pipe(tiny.picture(), texts, generator=tiny.generators(*range(5))).images) == 5


GOOD = {"image": tiny.picture(), "instruction": "x"}
BAD = {
    "no image": ({"image": None}, "no input image"),
    "a path": ({"image": "photo.jpg"}, "PIL image"),
    "an empty list": ({"image": []}, "0 images"),
    "empty instruction": ({"instruction": " \n"}, "empty"),
    "no instruction": ({"instruction": None}, "empty"),
    "a token of the model": ({"instruction": "add <im_patch>"}, "<im_patch>"),
    "counts differ": ({"image": [tiny.picture()] * 3, "instruction": ["a", "b"]}, "2 instructions for 3 edits"),
    "generators": ({"instruction": ["a", "b"], "generator": tiny.generators(0)}, "1 generators for 2 edits"),
    "a seed as generator": ({"generator": 3}, "torch.Generator"),
    "guidance": ({"guidance_scale": 0.5}, "guidance_scale is 0.5"),
    "image guidance": ({"image_guidance_scale": 0.99}, "image_guidance_scale is 0.99"),
    "guidance not a number": ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
    "guidance as text": ({"guidance_scale": "7"}, "guidance_scale is '7'"),
    "half a step": ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
    "an instruction that is no text": ({"instruction": 5}, "is of type int"),
    "half a character": ({"instruction": "caf\udce9"}, "no valid Unicode"),
    "more new tokens than the model reads": ({"max_new_tokens": 9999}, "smaller max_new_tokens"),
    "steps": ({"num_inference_steps": 0}, "num_inference_steps is 0"),
    "new tokens": ({"max_new_tokens": 0}, "max_new_tokens is 0"),
    "1x1": ({"image": tiny.picture(0, (1, 1))}, "1x1 px"),
    "thin": ({"image": Image.new("RGB", (3000, 2))}, "3000x2 px"),
    "empty expressive instruction": ({"expressive_instruction": ""}, "expressive instruction of edit 0 is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_its_value(pipe, name):
    change, message = BAD[name]
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        pipe(**(GOOD | change))


def test_guidance_of_exactly_one_turns_guidance_off_with_a_notice(pipe, caplog):
    pipe._said.clear()
    edit = lambda **scales: pipe(tiny.picture(), "x", generator=tiny.generators(0), **scales).images[0]  # noqa: E731
    with caplog.at_level(logging.WARNING, "mgie"):
        off = edit(guidance_scale=1.0, image_guidance_scale=2.0)
        assert difference(off, edit(guidance_scale=1.0, image_guidance_scale=5.0)) == 0
    assert sum("guidance is off" in record.message for record in caplog.records) == 1
    assert difference(off, edit(guidance_scale=3.0, image_guidance_scale=2.0)) > 0
    with caplog.at_level(logging.WARNING, "mgie"):
        edit(guidance_scale=2.0, image_guidance_scale=1.0)
    assert "image_guidance_scale is 1" in caplog.records[-1].message


# folders that are not whole


@pytest.fixture(scope="module")
def saved(pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def broken(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_a_missing_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mgie\.convert"):
        MGIEPipeline.from_pretrained(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        MGIEPipeline.from_pretrained(tmp_path)


def test_a_checkpoint_of_another_preset_is_refused(saved):
    with pytest.raises(ValueError, match="checkpoint of preset 'tiny', not of 'mini'"):
        MGIEPipeline.from_pretrained(saved, preset="mini")
    with pytest.raises(ValueError, match="unknown preset 'huge'; known: 7b, mini"):
        MGIEPipeline.from_pretrained(saved, preset="huge")


FILES = ["llama/model.safetensors", "tower/model.safetensors", "projector/model.safetensors",
         "edit_head/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
         "vae/diffusion_pytorch_model.safetensors"]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("fault", ["missing", "left over", "shape", "nan", "truncated", "gone"])
def test_damaged_weights_are_refused_by_name(broken, file, fault):
    path = broken / file
    state = load_file(path)
    name = sorted(state)[0]
    if fault == "missing":
        del state[name]
    if fault == "left over":
        state["stranger.weight"] = torch.zeros(2)
    if fault == "shape":
        state[name] = torch.zeros([n + 1 for n in state[name].shape])
    if fault == "nan":
        state[name].view(-1)[0] = float("nan")
    save_file(state, path, metadata={"format": "pt"})
    if fault == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    if fault == "gone":
        path.unlink()
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        MGIEPipeline.from_pretrained(broken)
    message = str(refused.value)
    assert str(broken) in message or "checkpoint" in message
    if fault == "nan":
        assert name in message and "NaN" in message


def test_a_preset_file_that_lacks_an_entry_is_refused(broken):
    data = json.loads((broken / "preset.json").read_text())
    del data["hidden"]
    (broken / "preset.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match="hidden"):
        MGIEPipeline.from_pretrained(broken)


def test_output_that_is_not_a_number_is_reported_with_its_place(pipe):
    from mgie.preprocess import refuse_nan

    decoded = torch.zeros(3, 3, 8, 8)
    refuse_nan(decoded, [4, 5, 6])
    decoded[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"edits \[5\]"):
        refuse_nan(decoded, [4, 5, 6])


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_phones_photo_is_edited_upright_as_the_command_does(pipe, tmp_path, orientation):
    from mgie.io.images import load

    exif = Image.Exif()
    exif[0x0112] = orientation
    tiny.picture(1, (48, 32)).save(tmp_path / "phone.jpg", exif=exif)
    given, read = Image.open(tmp_path / "phone.jpg"), load(tmp_path / "phone.jpg")
    found, expected = (pipe(image, "add snow", generator=tiny.generators(1)).images[0] for image in (given, read))
    assert found.size == ((48, 32) if orientation in (1, 3) else (32, 48)) and difference(found, expected) == 0


def test_too_long_an_expressive_instruction_loses_its_end_with_a_notice(pipe, caplog):
    said = "the sky is dark and the lamps are lit " * 500
    with caplog.at_level(logging.WARNING, "mgie"):
        pipe._said.clear()
        output = pipe(tiny.picture(1), "x", generator=tiny.generators(1), expressive_instruction=said)
    kept = output.expressive_instructions[0]
    assert said.startswith(kept) and 0 < len(kept) < len(said) / 2
    assert "an expressive instruction is too long" in caplog.text
    again = pipe(tiny.picture(1), "x", generator=tiny.generators(1), expressive_instruction=kept)
    assert again.expressive_instructions[0] == kept and difference(again.images[0], output.images[0]) == 0
