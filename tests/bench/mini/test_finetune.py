"""Weights trained on demand: found where they were made, keyed by what made them, and trained by a table alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from tiny_diffusers import instruct_pix2pix

from baselines.places import weights_folder
from baselines.two_step import places
from bench.grid.cells import Cell, Options, make_weights
from bench.mini import finetune
from bench.mini import finetune as finetune_loop
from bench.mini.finetune import MADE, Tuning, found, main, place, train
from bench.settings import ModelSettings
from mgie import folder as pipelines
from mgie.mini.datasets import draw as layouts
from mgie.mini.datasets import writer
from mgie.train.data import FilePairs

SMALL = layouts.Parameters(size=48, train=25, val=10, test=50, ipr2pr=40)
RECIPE = Tuning(steps=3, batch_size=2, pairs=6)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """A weights root with untrained models."""
    root = tmp_path_factory.mktemp("weights")
    instruct_pix2pix(root / "inspix2pix")
    tiny.build(eyes=True).save_pretrained(root / "mgie-e2e")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    layouts.draw(root, SMALL)
    return root


@pytest.fixture(autouse=True)
def small_world(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines, "MINI", shipped)
    monkeypatch.setattr(layouts, "Parameters", lambda: SMALL)
    monkeypatch.setattr(writer, "Parameters", lambda: SMALL)
    monkeypatch.setattr(finetune, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(finetune.place, "__defaults__", (tmp_path / "cache", RECIPE))


def spec(name="inspix2pix", dataset="evr", setting="fine-tuned", form="e2e", **more) -> ModelSettings:
    return ModelSettings(name, "mini", dataset, setting, form, device="cpu", **more)


def test_a_tuned_model_is_found_by_the_harness_once_it_is_whole_and_is_not_trained_again(data):
    one = spec()
    with pytest.raises(FileNotFoundError, match="python -m mgie.mini.finetune --model inspix2pix --dataset evr"):
        weights_folder(one)
    folder = place(one)
    said = train(one, folder, data, RECIPE)
    assert weights_folder(one) == found(one) == folder and "3 steps on 6 pairs of mini-evr" in said
    before = (folder / "train.csv").read_text()
    train(one, folder, data, RECIPE)
    assert (folder / "train.csv").read_text() == before and not (folder / ".checkpoints").exists()
    (folder / MADE).unlink()  # as a kill leaves it
    assert found(one) is None


def test_tuning_changes_the_unet_and_nothing_that_is_frozen(data, shipped):
    one = spec("mgie", "ma5k")
    train(one, folder := place(one), data, RECIPE)
    state = {name: (tiny_state(shipped / "mgie-e2e", name), tiny_state(folder, name)) for name in ("unet", "vae")}
    assert any(not np.array_equal(a[k], b[k]) for a, b in [state["unet"]] for k in a)
    assert all(np.array_equal(a[k], b[k]) for a, b in [state["vae"]] for k in a)


def tiny_state(folder: Path, part: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(next((folder / part).glob("*.safetensors")))


def test_form_ft_is_trained_on_what_the_model_itself_writes_and_its_parts_are_found(data, monkeypatch):
    one, asked = spec("mgie", "ma5k", "zero-shot", "ft"), []
    write = finetune_loop.written
    monkeypatch.setattr(finetune_loop, "written", lambda *given: asked.append(write(*given)) or asked[-1])
    train(one, folder := place(one), data, RECIPE)
    assert json.loads((folder / ".written.json").read_text()) == asked[0] and len(asked[0]) == 6
    assert (folder / "inspix2pix" / "model_index.json").is_file()
    assert places(one)["inspix2pix"] == [folder / "inspix2pix"]
    assert place(one) == place(replace(one, dataset="evr"))  # one training serves every dataset


def test_other_weights_recipe_or_dataset_are_other_folders(tmp_path, shipped, monkeypatch):
    here = {place(spec()), place(spec(dataset="ma5k")), place(spec(), tmp_path / "cache", replace(RECIPE, steps=4))}
    instruct_pix2pix(tmp_path / "other" / "inspix2pix", seed=1)
    monkeypatch.setattr(pipelines, "MINI", tmp_path / "other")
    assert len(here | {place(spec())}) == 4


def test_nothing_is_made_where_other_weights_are_named_or_the_shipped_ones_suffice(tmp_path, monkeypatch):
    monkeypatch.setattr(finetune, "train", lambda *given: pytest.fail("nothing was to be trained"))
    zero = [Cell("mini", "ma5k", "inspix2pix"), Cell("mini", "ma5k", "mgie", form="fz"), Cell("mini", "evr", "codec")]
    make_weights(zero, Options())
    make_weights([Cell("mini", "ma5k", "mgie", "fine-tuned", "e2e")], Options(weights=tmp_path))
    make_weights([Cell("paper", "ma5k", "mgie", "fine-tuned", "e2e")], Options())
    assert place(spec("lgie", "ma5k")) is None  # its start is not there: the cell says so


def test_pairs_on_the_same_images_are_encoded_once_and_get_the_same_latents(data, shipped, tmp_path):
    from mgie.train import starts

    trainee = starts.load(shipped / "inspix2pix", ("inspix2pix", "e2e"), None)
    pairs, name = finetune_loop.pairs_of(spec(dataset="gier"), {}, tmp_path, data, Tuning(pairs=40))
    stored = finetune_loop.training_set(pairs, trainee, tmp_path / "stored").stored
    assert name == "gier" and len(np.load(tmp_path / "stored" / "goal_mean.npy")) < len(pairs) == 40
    alone = finetune_loop.training_set(FilePairs(pairs.examples[-1:]), trainee, tmp_path / "alone").stored
    assert np.allclose(alone["goal_mean"][0], stored["goal_mean"][-1], atol=1e-5)
    assert np.allclose(alone["text_states"][0], stored["text_states"][stored["text_index"][-1]], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "mgie"], "give --dataset"),
        (["--model", "inspix2pix", "--form", "ft"], "--form ft is for lgie and mgie"),
        (["--model", "lgie", "--dataset", "evr"], "make mini AGAIN=1 trains them"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, says, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
