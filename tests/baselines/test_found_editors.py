"""Which editor a folder, a file or a Hub id is, and what is fetched of it."""

import pytest

from baselines.editor import find
from baselines.editors.known import family_of


def test_an_instruct_pix2pix_that_calls_itself_stable_diffusion_is_known_by_its_eight_channels(folders, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(folders("StableDiffusionInstructPix2PixPipeline"), tmp_path / "magicbrush")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionPipeline"}))
    assert find(str(folder)).class_name == "StableDiffusionInstructPix2PixPipeline"
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 4}))
    assert find(str(folder)).class_name == "StableDiffusionPipeline"


@pytest.mark.parametrize("name", ["model.safetensors", "sub.dir/model.ckpt"])
def test_a_single_file_is_told_how_to_become_a_folder(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find(str(path))
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="is a single-file checkpoint; convert it to a folder: python -c") as error:
        find(str(path))
    assert "from_single_file" in str(error.value)


def test_of_a_hub_id_with_half_weights_alone_these_are_fetched(folders, tmp_path, monkeypatch):
    import shutil

    import diffusers

    from baselines.loading import fetched

    plain = folders("StableDiffusionInstructPix2PixPipeline")
    half = shutil.copytree(plain, tmp_path / "half")
    for path in list(half.rglob("*.safetensors")):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    bare = shutil.copytree(plain, tmp_path / "bare", ignore=lambda folder, names: [n for n in names if "safeten" in n])
    asked = []

    def download(place, revision, variant=None):
        asked.append(variant)
        return half if variant else bare

    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    source = find(str(plain))._replace(place="owner/name", revision="abc")
    assert fetched(family_of(source)) == half
    assert asked == [None, "fp16"]
