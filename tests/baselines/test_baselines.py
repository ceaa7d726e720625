"""InsPix2Pix, LGIE and MGIE as models of the benchmark: every form, seeds, fingerprints, missing weights, writers."""

import json
import shutil
from dataclasses import replace

import numpy as np
import official_files
import pytest
import tiny
import tiny_diffusers
import tiny_language
import torch

from baselines.inspix2pix import InsPix2Pix
from baselines.lgie import LGIE
from baselines.mgie import MGIE
from bench.records import Example
from bench.settings import EditSettings, ModelSettings, fill
from mgie import folder as pipelines
from mgie.convert.__main__ import convert
from mgie.expressive import writer
from mgie.expressive.writer import Request, kind_of, open_writer
from mgie.prompts import tidy

MODELS = {"inspix2pix": InsPix2Pix, "lgie": LGIE, "mgie": MGIE}
CASES = [("inspix2pix", "e2e"), *((name, form) for name in ("lgie", "mgie") for form in ("e2e", "fz", "ft"))]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A weights root as --weights names it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("weights")
    tiny_diffusers.instruct_pix2pix(root / "inspix2pix")
    for name in ("lgie", "mgie"):
        tiny.build(eyes=name == "mgie").save_pretrained(root / f"{name}-e2e")
        tiny_diffusers.instruct_pix2pix(root / f"{name}-ft" / "inspix2pix", seed=1)
    tiny_language.llama(root / "llama")
    tiny_language.llava(root / "llava")
    return root


@pytest.fixture(autouse=True)
def short_answers(monkeypatch):
    """As long as those of tiny.TINY; untrained models write to the limit."""
    monkeypatch.setattr(writer, "USUAL", Request(24))


@pytest.fixture
def examples(tmp_path):
    made = []
    for i, (size, text) in enumerate([((32, 24), " make it night "), ((32, 24), "a red hat"), ((41, 32), "dog")]):
        tiny.picture(i, size).save(tmp_path / f"{i}.png")
        made.append(Example(f"toy/test/{i}", f"g{i}", tmp_path / f"{i}.png", text))
    return made


def model(root, name, form="e2e", **more):
    return MODELS[name](ModelSettings(name, "paper", "ma5k", form=form, weights=root, device="cpu", **more))


def edit(made, examples, seeds):
    return made.edit(examples, fill(EditSettings(num_inference_steps=2), made.defaults), seeds)


@pytest.mark.parametrize(("name", "form"), CASES)
def test_every_form_edits_a_batch_as_it_edits_one_at_a_time(root, examples, name, form):
    made = model(root, name, form)
    together = edit(made, examples, [1, 2, 3])
    for output, example, seed in zip(together, examples, [1, 2, 3], strict=True):
        alone = edit(made, [example], [seed])[0]
        assert np.abs(np.asarray(output.image, int) - np.asarray(alone.image, int)).max() <= 1
        assert (output.expressive_instruction, output.expressive_tokens) == (
            alone.expressive_instruction, alone.expressive_tokens,
        )  # fmt: skip
        assert output.image.mode == "RGB"
        assert all(seconds >= 0 for seconds in output.seconds.values()) and output.seconds
        assert ("mllm" in output.seconds) == (name != "inspix2pix")
        assert (output.expressive_instruction is None) == (name == "inspix2pix")
    assert [output.image.size for output in together] == [(32, 24), (32, 24), (40, 32)]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_nothing_heavy_is_loaded_before_the_first_edit(root, name, form):
    made = model(root, name, form)
    made.fingerprint()
    inner = getattr(made, "form", made)
    assert "pipeline" not in getattr(inner, "editor", inner).__dict__
    assert getattr(inner, "_pipeline", None) is None
    assert "writer" not in inner.__dict__


def test_fingerprints_of_different_models_and_forms_differ_and_are_stable(root):
    prints = [json.dumps(model(root, *case).fingerprint(), sort_keys=True) for case in CASES]
    assert len(set(prints)) == len(CASES)
    assert prints == [json.dumps(model(root, *case).fingerprint(), sort_keys=True) for case in CASES]
    assert model(root, "mgie", dtype="bfloat16").fingerprint()["dtype"] == "bfloat16; VAE and latents float32"


@pytest.mark.parametrize(("name", "form"), [("lgie", "fz"), ("mgie", "fz"), ("lgie", "ft"), ("mgie", "ft")])
def test_fz_and_ft_edit_with_what_the_writer_wrote(root, examples, name, form):
    from mgie.io.images import load

    made = model(root, name, form)
    output = edit(made, examples[:1], [1])[0]
    images = [load(examples[0].input_image)] if name == "mgie" else None
    folder = root / ("llava" if name == "mgie" else "llama")
    written = open_writer(folder, "cpu", torch.float32).write(["make it night"], images, Request(24))[0]
    assert output.expressive_instruction == (tidy(written.text) or "make it night")
    assert output.expressive_tokens == written.tokens
    text = replace(examples[0], instruction=output.expressive_instruction)
    editor = made.form.editor
    settings = fill(EditSettings(num_inference_steps=2), made.defaults)
    assert editor.edit_examples([text], settings, [1])[0].image.tobytes() == output.image.tobytes()


def test_ft_takes_its_own_tuned_editor_and_fz_the_plain_one(root):
    assert model(root, "lgie", "ft").form.editor.source.place == str(root / "lgie-ft" / "inspix2pix")
    assert model(root, "lgie", "fz").form.editor.source.place == str(root / "inspix2pix")


def test_mgies_text_depends_on_the_image_and_lgies_does_not(root, examples):
    other = [replace(examples[0], input_image=examples[1].input_image)]
    for name, differs in (("lgie", False), ("mgie", True)):
        made = model(root, name, "fz")
        texts = {edit(made, e, [1])[0].expressive_instruction for e in (examples[:1], other)}
        assert len(texts) == 1 + differs, name


def test_an_mgie_folder_can_be_the_writer_where_no_llava_lies(root, examples, tmp_path):
    for part in ("mgie-e2e", "inspix2pix"):
        shutil.copytree(root / part, tmp_path / part)
    made = model(tmp_path, "mgie", "fz")
    assert made.form.writer_folder == tmp_path / "mgie-e2e"
    output = edit(made, examples[:1], [1])[0]
    end_to_end = edit(model(root, "mgie"), examples[:1], [1])[0]
    assert output.expressive_instruction == end_to_end.expressive_instruction


def test_a_model_without_eyes_is_not_taken_for_mgie(root, tmp_path):
    shutil.copytree(root / "lgie-e2e", tmp_path / "mgie-e2e")
    with pytest.raises(ValueError, match="has no eyes: it is LGIE"):
        model(tmp_path, "mgie")
    shutil.copytree(root / "mgie-e2e", tmp_path / "lgie-e2e")
    with pytest.raises(ValueError, match="has eyes: it is MGIE"):
        model(tmp_path, "lgie")
    shutil.copytree(root / "llama", tmp_path / "mgie-fz" / "writer")
    shutil.copytree(root / "inspix2pix", tmp_path / "inspix2pix")
    with pytest.raises(ValueError, match="LLM without eyes"):
        model(tmp_path, "mgie", "fz")


@pytest.mark.parametrize(("name", "form"), CASES)
def test_missing_weights_are_named_in_the_first_line_with_the_way_out_after_it(tmp_path, name, form):
    with pytest.raises(FileNotFoundError) as error:
        model(tmp_path, name, form)
    first, *rest = str(error.value).splitlines()
    assert str(tmp_path / (name if name == "inspix2pix" else f"{name}-{form}")) in first
    assert rest


@pytest.mark.parametrize(("name", "form"), CASES)
def test_without_mini_weights_the_mini_suite_says_so(tmp_path, monkeypatch, name, form):
    monkeypatch.setattr(pipelines, "MINI", tmp_path)
    with pytest.raises(FileNotFoundError, match="^no trained mini weights in this version"):
        MODELS[name](ModelSettings(name, "mini", "ma5k", form=form, device="cpu"))


def test_inspix2pix_refuses_another_pipeline_in_its_folder(tmp_path):
    tiny_diffusers.flux_kontext(tmp_path / "inspix2pix")
    with pytest.raises(ValueError, match="is a FluxKontextPipeline.*--model diffusers:"):
        model(tmp_path, "inspix2pix")


def test_inspix2pix_without_a_weights_root_comes_from_the_hub(monkeypatch, tmp_path, root):
    from baselines import editor

    monkeypatch.chdir(tmp_path)
    asked = []

    def hub(target):
        asked.append(target)
        return find(str(root / "inspix2pix")) if target == "timbrooks/instruct-pix2pix" else find(target)

    find = editor.find
    monkeypatch.setattr(editor, "find", hub)
    InsPix2Pix(ModelSettings("inspix2pix", "paper", "ma5k", device="cpu"))
    assert asked == ["timbrooks/instruct-pix2pix"]


def test_the_released_checkpoint_says_what_it_was_trained_on(tmp_path, root):
    files = official_files.write(official_files.pipeline(), tmp_path / "official")
    convert(**files, out=tmp_path / "mgie-e2e")
    trained, *files = model(tmp_path, "mgie").note.split("; ")
    assert trained == "trained on IPr2Pr and MagicBrush"
    assert [file.partition(" (SHA-256 ")[0] for file in files] == [
        "mllm.pt: not the released file", "unet.pt: not the released file",
    ]  # fmt: skip
    assert model(root, "mgie").note == ""


def test_defaults_are_those_of_the_preset_and_of_the_pipeline(root):
    mini = model(root, "mgie").defaults
    preset = (tiny.TINY.guidance_scale, tiny.TINY.image_guidance_scale, 3)
    assert (mini.guidance_scale, mini.image_guidance_scale, mini.num_inference_steps) == preset
    plain = model(root, "inspix2pix").defaults
    assert (plain.guidance_scale, plain.image_guidance_scale, plain.num_inference_steps) == (7.5, 1.5, 100)


def test_an_unreadable_image_is_reported_as_such(root, examples, tmp_path):
    from mgie.io.images import ImageError

    (tmp_path / "broken.png").write_bytes(b"")
    broken = replace(examples[0], input_image=tmp_path / "broken.png")
    for case in CASES:
        with pytest.raises(ImageError, match="broken.png"):
            edit(model(root, *case), [broken], [1])


def test_writers_are_recognised_by_their_config(root, tmp_path):
    files = official_files.write(official_files.pipeline(), tmp_path / "official")
    kinds = [kind_of(folder) for folder in (root / "mgie-e2e", root / "llama", root / "llava", files["llava"])]
    assert kinds == ["mgie", "llm", "transformers llava", "llava"]
    with pytest.raises(ValueError, match="writes no text"):
        kind_of(root / "inspix2pix")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        kind_of(tmp_path / "none")


@pytest.mark.parametrize("delta", [False, True])
def test_llava_as_published_is_read_whole_and_its_delta_merged(tmp_path, delta):
    pipe = official_files.pipeline()
    files = official_files.write(pipe, tmp_path / "official", delta=delta)
    made = open_writer(files["llava"], "cpu", torch.float32, files["llama_base"])
    theirs = pipe.mllm.state_dict()
    for name, ours in made.mllm.state_dict().items():
        wanted = theirs[name][: len(ours)] if name.endswith(("embed_tokens.weight", "lm_head.weight")) else theirs[name]
        assert torch.allclose(ours, wanted, atol=4e-3 if delta else 0, rtol=0), name  # a sum in float16 is rounded
    texts, images = ["make it night", "a red hat"], [tiny.picture(1), tiny.picture(2, (40, 33))]
    assert all(one.tokens for one in made.write(texts, images, Request(8)))
    if delta:
        with pytest.raises(ValueError, match="delta that was not merged"):
            open_writer(files["llava"], "cpu", torch.float32)


@pytest.mark.parametrize("folder", ["llama", "llava", "mgie-e2e"])
def test_a_writer_s_weights_go_to_its_device_as_they_are_read(root, folder, monkeypatch):
    moved, to = [], torch.nn.Module.to
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda self, *to_what: moved.extend(p.device.type for p in self.parameters())
        or to(self, *to_what),
    )  # fmt: skip
    open_writer(root / folder, "meta", torch.float32)
    assert set(moved) == {"meta"}


@pytest.mark.parametrize("folder", ["llama", "llava", "mgie-e2e"])
def test_a_writer_answers_a_batch_as_it_answers_one_and_obeys_its_limit(root, folder):
    made = open_writer(root / folder, "cpu", torch.float32)
    texts = ["make it night", "a", "the lamps are lit on the white dog"]
    images = [tiny.picture(i, (20 + i, 30)) for i in range(3)] if made.has_eyes else None
    together = made.write(texts, images, Request(10))
    alone = [made.write([t], images and [images[i]], Request(10))[0] for i, t in enumerate(texts)]
    assert together == alone
    assert all(one.tokens <= 10 for one in together)
    assert len({one.text for one in together}) > 1


def test_an_instruction_longer_than_the_model_reads_is_cut_with_a_notice(root):
    made = open_writer(root / "llama", "cpu", torch.float32)
    with pytest.warns(UserWarning, match="12000 characters is longer than the model reads"):
        assert made.write(["dark red " * 1333 + "end"], None, Request(4))[0].tokens <= 4


@pytest.mark.parametrize("name, form", [case for case in CASES if case[0] != "inspix2pix"])
def test_a_text_is_written_once_for_all_seeds_and_scales_and_draws_the_same_pixels(root, examples, name, form):
    settings = EditSettings(num_inference_steps=1, guidance_scale=2.0, image_guidance_scale=1.2)
    asked = [(settings, [1, 2, 3]), (settings, [4, 5, 6]), (replace(settings, image_guidance_scale=1.8), [1, 2, 3])]
    fresh = [model(root, name, form).edit(examples, *one) for one in asked]
    kept, written = model(root, name, form), []
    write = kept.form.texts.of
    kept.form.texts.of = lambda i, p, w: write(i, p, lambda: written.append(len(i)) or w())
    again = [kept.edit(examples, *one) for one in asked]
    for one, other in zip(fresh, again, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a.image.tobytes() == b.image.tobytes()
            assert (a.expressive_instruction, a.expressive_tokens) == (b.expressive_instruction, b.expressive_tokens)
    assert written == [3]
    assert all(output.seconds["mllm"] > 0 for outputs in again for output in outputs)  # as if it had been written
    kept.edit(examples[:2], settings, [1, 2])  # another batch
    assert written == [3, 2]


def test_texts_are_kept_within_their_memory_and_the_last_used_ones_stay():
    from baselines.texts import Texts

    texts, written = Texts(most=25), []

    def of(name: str) -> str:
        return texts.of([name], None, lambda: (written.append(name) or name.upper(), 10))

    assert [of(name) for name in "abacab"] == list("ABACAB")
    assert written == ["a", "b", "c", "b"]
