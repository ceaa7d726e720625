"""--offload: every model whose weights wait in main memory edits the same pixels and is the same run."""

import pytest
import tiny
import tiny_diffusers
import tiny_language
import torch

from baselines.diffusers_pipeline import DiffusersPipeline
from baselines.lgie import LGIE
from baselines.mgie import MGIE
from bench.records import Example
from bench.run import main
from bench.settings import EditSettings, ModelSettings, fill
from mgie.expressive import writer
from mgie.expressive.writer import Request
from mgie.io.devices import Placement, Wanted, placement


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("weights")
    tiny_diffusers.instruct_pix2pix(root / "inspix2pix")
    tiny.build(eyes=True).save_pretrained(root / "mgie-e2e")
    tiny_language.llama(root / "llama")
    return root


@pytest.fixture
def example(tmp_path):
    tiny.picture(0, (32, 24)).save(tmp_path / "0.png")
    return Example("toy/test/0", "g0", tmp_path / "0.png", "make it night")


def edited(made, example):
    return made.edit([example], fill(EditSettings(num_inference_steps=2), made.defaults), [1])[0]


def spec(root, name, form="e2e"):
    return ModelSettings(name, "paper", "ma5k", form=form, weights=root, device="cpu")


AWAY = Placement("cpu:0", torch.float32, True)  # as a GPU is named, where there is none


@pytest.mark.parametrize(("cls", "name", "form"), [(MGIE, "mgie", "e2e"), (LGIE, "lgie", "fz")])
def test_offloaded_the_pixels_and_the_run_are_the_same(root, example, monkeypatch, cls, name, form):
    monkeypatch.setattr(writer, "USUAL", Request(24))
    called: list[object] = []
    monkeypatch.setattr(
        "diffusers.DiffusionPipeline.enable_model_cpu_offload", lambda self, device: called.append(device)
    )
    plain, away = cls(spec(root, name, form)), cls(spec(root, name, form))
    for part in (away.form.rewriter, away.form.editor) if form == "fz" else (away.form,):
        part.where = AWAY
    one, other = edited(plain, example), edited(away, example)
    assert one.image.tobytes() == other.image.tobytes()
    assert one.expressive_instruction == other.expressive_instruction
    assert plain.fingerprint() == away.fingerprint()
    if form == "fz":
        assert called == ["cpu:0"] and not away.form.rewriter.away.there
    else:
        assert away.form.pipeline._offloaded


def test_any_pipeline_of_diffusers_offloads_its_own_way_and_is_not_moved_whole(root, monkeypatch):
    called: list[object] = []
    monkeypatch.setattr(
        "diffusers.DiffusionPipeline.enable_model_cpu_offload", lambda self, device: called.append(device)
    )
    monkeypatch.setattr("diffusers.DiffusionPipeline.to", lambda self, *_: called.append("moved") or self)
    made = DiffusersPipeline(ModelSettings(f"diffusers:{root / 'inspix2pix'}", "paper", "ma5k", device="cpu"))
    made.editor.where = AWAY
    made.load()
    assert called == ["cpu:0"]


def test_offload_without_a_gpu_or_beside_compile_is_refused(root, tmp_path, capsys):
    with pytest.raises(ValueError, match="--offload is for a GPU"):
        placement(Wanted("cpu", offload=True))
    asked = ["--model", "mgie", "--dataset", "ma5k", "--out", str(tmp_path / "runs"), "--data-root", str(tmp_path)]
    assert main([*asked, "--suite", "mini", "--limit", "1", "--offload", "--compile"]) == 2
    assert "give one of them" in capsys.readouterr().err
