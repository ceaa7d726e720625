"""The miniature's text, eyes and editors: their stages at two steps each, what they hand on, and what is shipped."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mgie.folder import MINI
from mgie.io.weights import read_safetensors
from mgie.mini.training.pairs import WorldPairs
from mgie.mini.training.parts import Parts
from mgie.mini.training.recipe import StageRecipe
from mgie.mini.training.stage import Training, on_cpu, run
from mgie.mini.world import examples as world
from mgie.mini.world import grammar, phrasing
from mgie.presets import PRESETS
from mgie.train.loop import LoopSettings

PRESET = PRESETS["mini"]


@pytest.mark.parametrize("family", sorted(grammar.QUESTIONS))
def test_the_grammar_finds_the_cause_in_what_the_writer_says(family):
    for cause in world.FAMILIES[family].causes:
        for seed in range(3):
            drawn = world.draw(f"{cause}-{seed}", "test", family=family, cause=cause)
            assert grammar.said(family, drawn.expressive_instruction) == cause, drawn.expressive_instruction


@pytest.mark.parametrize("family", sorted(grammar.QUESTIONS))
def test_an_answer_about_another_cause_is_wrong(family):
    first, second, *_ = world.FAMILIES[family].causes
    told = world.draw("told", "test", family=family, cause=first).expressive_instruction
    assert grammar.names(family, first, told) and not grammar.names(family, second, told)


def test_the_instruction_alone_names_no_cause():
    for family in grammar.QUESTIONS:
        for style in ("plain", "terse", "loose"):
            for text in phrasing.templates(style, family):
                assert grammar.said(family, text) == "", (family, text)


def test_a_family_that_needs_no_eyes_is_refused():
    with pytest.raises(ValueError, match="'sepia' asks for no eyes"):
        grammar.said("sepia", "make it brown")


def test_training_pairs_are_those_that_the_shipped_weights_learned_from(tmp_path):
    """Of the tree that the weights were trained with; another hash makes every stage from `text` on out of date."""
    pairs = WorldPairs(tmp_path, "train", 40, 11)
    assert pairs.content_hash()[:16] == "26cee539e108543f"


def test_pairs_are_the_same_each_time_and_differ_by_seed(tmp_path):
    first, again, other = (WorldPairs(tmp_path / str(i), "train", 6, seed) for i, seed in enumerate((3, 3, 4)))
    assert first.content_hash() == again.content_hash() != other.content_hash()
    assert np.array_equal(first.pixels, again.pixels)
    pair = first[2]
    assert (pair.instruction, pair.expressive) == first.texts()[2]
    assert np.array_equal(np.asarray(pair.goal_image), first.pixels[2, 1])


def test_most_instructions_are_worded_loosely_and_some_plainly(tmp_path):
    pairs = WorldPairs(tmp_path, "train", 120, 1)
    asked = [w for w in pairs.words if w.cause]
    plain, terse = ({text for ways in phrasing.phrases()[style].values() for text in ways if "{" not in text}
                    for style in ("plain", "terse"))  # fmt: skip
    assert 0.05 < sum(w.instruction in plain for w in asked) / len(asked) < 0.5
    assert sum(w.instruction not in plain | terse for w in asked) / len(asked) > 0.4


def test_stage_base_is_told_every_second_pair_by_its_expressive_instruction(tmp_path):
    from mgie.mini.stages.editors import Told

    pairs = WorldPairs(tmp_path, "train", 4, 1)
    mixed, plain = Told(pairs, True), Told(pairs, False)
    wanted = [w.expressive if i % 2 else w.instruction for i, w in enumerate(pairs.words)]
    assert [text for _, text in mixed.texts()] == [mixed[i].expressive for i in range(4)] == wanted
    assert all(plain[i].expressive == text == pairs.words[i].instruction for i, (_, text) in enumerate(plain.texts()))


def test_slips_lose_and_add_words_but_never_all_and_are_the_same_for_the_same_dice():
    from random import Random

    from mgie.mini.stages.answers import with_slips

    text = "make the photo a bit brighter"
    slipped = [with_slips(text, Random(i)) for i in range(300)]
    assert slipped == [with_slips(text, Random(i)) for i in range(300)]
    kept = [set(text.split()) & set(some.split()) for some in slipped]
    assert min(map(len, kept)) >= 1 and sum(some == text for some in slipped) > 90
    unknown = {word for some in slipped for word in some.split()} - set(text.split())
    known = json.dumps(phrasing.phrases()).replace('"', " ").split()
    assert len(unknown) > 100 and len(unknown & set(known)) < 5


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))


@pytest.fixture(scope="module", params=["cpu", GPU])
def chain(request, tmp_path_factory):
    """Every stage at two steps, on 24 pairs, from random tower and codec."""
    from transformers import CLIPVisionModel

    from mgie.mini.stages.align import Align
    from mgie.mini.stages.answers import Eyes, EyesSettings
    from mgie.mini.stages.sd import Diffusion
    from mgie.mini.stages.text import Text

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("mini")
    train, test = (WorldPairs(root / "pairs", split, 24, 1) for split in ("train", "test"))
    unclear = WorldPairs(root / "pairs", "test", 6, 1, families=tuple(grammar.QUESTIONS))
    parts = Parts(root / "work", root / "weights", PRESET.vocab)
    CLIPVisionModel(PRESET.vision_config()).half().save_pretrained(parts.weights / "tower")
    PRESET.vae().half().save_pretrained(parts.weights / "vae")

    def recipe(name: str) -> StageRecipe:
        return StageRecipe(name, steps=2, batch_size=4, lr=1e-3, seed=1, save_every=1, sheets_at=())

    stages = (
        lambda: Text(recipe("text"), train, test, parts.work), lambda: Eyes(recipe("llava"), train, unclear, parts),
        lambda: Eyes(recipe("places"), train, unclear, parts, start="llava"),
        lambda: Eyes(recipe("slips"), train, unclear, parts, eyes=EyesSettings(slips=True), start="places"),
        lambda: Diffusion(recipe("sd"), train, 16, test, parts), lambda: Align(recipe("align"), train, 16, test, parts),
    )  # fmt: skip
    trained = {}
    for make in stages:
        stage = make()
        name = stage.recipe.stage
        trained[name] = (stage, run(stage, parts.work / name, root / "results" / name, request.param))
        trained[name][1].mean.cpu()
    editor_of("base", root, train, test, parts).run(root / "results" / "base", request.param)
    return root, train, test, parts, trained, request.param


def editor_of(name, root, train, test, parts):
    from mgie.mini.stages.editors import EditorStage

    loop = LoopSettings(steps=2, batch_size=4, lr_mllm=1e-3, lr_diffusion=1e-3, ema=0.9, precision="bf16",
                        checkpoint_every=1)  # fmt: skip
    return EditorStage(name, loop, train, test, parts, sheets_at=())


def test_whether_a_stage_is_made_is_known_without_the_checkpoints_of_those_before(chain, tmp_path):
    """In a fresh clone there are none, and `make mini` finds every stage up to date."""
    from mgie.mini.stages.align import Align
    from mgie.mini.training.stage import made_by

    _, train, test, parts, trained, _ = chain
    (tmp_path / f"tokenizer-{PRESET.vocab}").symlink_to(parts.work / f"tokenizer-{PRESET.vocab}")
    fresh, recipe = replace(parts, work=tmp_path), trained["align"][0].recipe
    assert made_by(Align(recipe, train, 16, test, fresh)) == made_by(trained["align"][0])


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("name", ["text", "llava", "places", "slips", "sd", "align"])
def test_a_stage_of_words_trains_where_its_network_is(chain, name, tmp_path):
    from pretended_gpu import PretendedGPU

    stage = chain[4][name][0]
    with PretendedGPU():
        training = Training(stage, "cuda")
        assert training.one_step()["loss"] > 0
        assert next(training.mean.parameters()).is_cuda
        stage.sheet(on_cpu(training.mean), tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("name", ["inspix2pix", "mgie"])
def test_what_an_editor_stores_is_computed_on_its_device(chain, name, tmp_path):
    from pretended_gpu import PretendedGPU

    from mgie.mini.stages.editors import Slipped, Told
    from mgie.train import starts

    root, train, test, parts, *_ = chain
    other = replace(parts, work=tmp_path)
    for stage in ("text", "llava", "places", "slips", "sd", "align", "base"):
        (tmp_path / stage).symlink_to(parts.work / stage)
    (tmp_path / f"tokenizer-{PRESET.vocab}").symlink_to(parts.work / f"tokenizer-{PRESET.vocab}")
    editor = editor_of(name, root, train, test, other)
    trainee = starts.load(starts.write_once(tmp_path / "start", editor.write_start), editor.kind, "mini")
    pairs = Told(train, False) if name == "inspix2pix" else Slipped(train)
    with PretendedGPU():
        stored = editor.stored(trainee, pairs, torch.device("cuda"))
    assert {len(stored[key]) for key in ("input_mode", "goal_mean")} == {len(train)}


def edited(chain, name):
    root, train, test, parts, _, device = chain
    editor = editor_of(name, root, train, test, parts)
    editor.run(root / "results" / name, device)
    return editor, editor.ship(parts.weights, {"stage": name, **editor.facts()})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["inspix2pix", "lgie", "mgie"])
def test_an_editor_trains_through_mgie_train_ships_in_half_and_edits(chain, name):
    from mgie.mini.training import ship

    root, test = chain[0], chain[2]
    editor, folder = edited(chain, name)
    rows = (root / "results" / name / "train.csv").read_text().splitlines()
    assert len(rows) == 3  # a head and two steps
    outputs, texts = ship.edit(name, folder, [test[0], test[1]])
    assert outputs.shape == (2, 64, 64, 3) and outputs.dtype == np.uint8
    assert all(isinstance(text, str) for text in texts)
    for path in folder.rglob("*.safetensors"):
        assert {t.dtype for t in read_safetensors(path).values()} == {torch.float16}, path
    assert (folder / "vae").is_symlink() and (folder / "vae" / "config.json").exists()
    assert editor.facts()["recipe"] in str(metadata(folder / "unet" / "diffusion_pytorch_model.safetensors"))


def test_a_finished_editor_is_not_trained_again(chain):
    editor, _ = edited(chain, "inspix2pix")
    before = (editor.folder / "train.csv").read_bytes()
    for _ in range(2):
        edited(chain, "inspix2pix")
    assert (editor.folder / "train.csv").read_bytes() == before


def test_lgie_and_mgie_share_one_frozen_body(chain):
    from mgie.mini.training import ship

    _, lgie = edited(chain, "lgie")
    _, mgie = edited(chain, "mgie")
    bodies = [folder / "llama" / ship.BODY for folder in (lgie, mgie)]
    assert bodies[0].resolve() == bodies[1].resolve()
    heads = [read_safetensors(folder / "llama" / ship.OWN)["lm_head.weight"] for folder in (lgie, mgie)]
    assert not torch.equal(*heads)


def test_a_part_that_is_missing_says_which_stage_makes_it(tmp_path):
    parts = Parts(tmp_path, tmp_path, PRESET.vocab)
    asked = {"clip": parts.load_tower, "vae": parts.load_vae, "text": lambda: parts.stage_state("text")}
    for stage, ask in asked.items():
        with pytest.raises(FileNotFoundError, match=f"--stage {stage}"):
            ask()


def test_the_shipped_models_edit_and_name_what_they_see():
    if not (MINI / "mgie-e2e" / "model_index.json").exists():
        pytest.skip("the weights of stage mgie are not in this version")
    from mgie.pipeline import MGIEPipeline

    pipe = MGIEPipeline.from_pretrained("mini", dtype=torch.float32)
    pipe.progress = False
    right = 0
    drawn = [world.draw(f"shipped-{i}", "test", family="fix-light") for i in range(8)]
    result = pipe([d.input_image for d in drawn], [d.instruction for d in drawn],
                  generator=[torch.Generator().manual_seed(i) for i in range(8)])  # fmt: skip
    for d, text, image in zip(drawn, result.expressive_instructions, result.images, strict=True):
        right += grammar.names("fix-light", d.cause, text)
        assert image.size == d.input_image.size
    assert right >= 5, result.expressive_instructions


def test_all_shipped_weights_are_within_the_budget():
    files = [path for path in MINI.rglob("*.safetensors") if not path.is_symlink()]
    if not files:
        pytest.skip("no weights in this version")
    sizes = {path: path.stat().st_size for path in files}
    assert sum(sizes.values()) <= 34 * 10**6, json.dumps({str(k): v for k, v in sizes.items()}, indent=1)
    assert max(sizes.values()) <= 15 * 10**6


def metadata(path: Path) -> dict:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()
