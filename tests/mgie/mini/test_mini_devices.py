"""Every stage of the miniature sends what it needs to the device of its network: shown by a GPU that is pretended."""

import pytest
import torch
from pretended_gpu import PretendedGPU

from mgie.mini import plan as recipes
from mgie.mini.training import pictures
from mgie.mini.training.stage import Training, on_cpu

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available")
EDITS = 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("work") / "data"


def test_the_pretended_gpu_refuses_what_a_gpu_would():
    with PretendedGPU():
        here, there = torch.ones(2, 2), torch.ones(2, 2).to("cuda")
        assert (here.device.type, there.device.type, (there @ there).device.type) == ("cpu", "cuda", "cuda")
        assert there.cpu().device.type == "cpu" and here.to(there.device).is_cuda
        assert torch.zeros(1, device=there.device).is_cuda and torch.nn.Linear(2, 2).to("cuda")(there).is_cuda
        for mixed in (lambda: here + there, lambda: torch.nn.Linear(2, 2)(there), lambda: torch.cat([here, there])):
            with pytest.raises(RuntimeError, match="mixes tensors of CPU and GPU"):
                mixed()
        with pytest.raises(TypeError, match="no numpy array"):
            there.numpy()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vae", "clip", "tower", "metric_clip", "dino", "lpips"])
def test_a_stage_of_pictures_trains_where_its_network_is(cache, name, monkeypatch, tmp_path):
    monkeypatch.setattr(pictures, "CHUNK", EDITS)
    monkeypatch.setattr(recipes, "EDITS", EDITS)
    if name == "tower":
        Training(recipes.clip(recipes.Place(cache.parent))).save(made(cache.parent / "clip") / "checkpoint.safetensors")
    stage = getattr(recipes, name)(recipes.Place(cache.parent))
    with PretendedGPU():
        training = Training(stage, "cuda")
        assert training.one_step()["loss"] > 0
        assert next(training.mean.parameters()).is_cuda
        stage.sheet(on_cpu(training.mean), tmp_path / "sheet.png")
        assert next(training.mean.parameters()).is_cuda
    assert (tmp_path / "sheet.png").exists()


def made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder
