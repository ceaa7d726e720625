"""The metrics' networks: which weights, from where, loaded exactly; and what is said when there are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_networks import drawn, pair, tiny_clip, tiny_settings, tiny_trunk

from bench.metrics.networks import clip as clip_backbone
from bench.metrics.networks.features import FeatureCache
from bench.metrics.networks.vit import dino_of
from bench.metrics.pairs import Picture
from bench.registry import METRICS, load, metric_settings
from bench.runs.scoring import Wanted, load_metrics
from bench.settings import SUITES_OWN, MetricSettings
from mgie.io import hashes, hub, weights


def find_clip(spec: str) -> clip_backbone.ClipWeights:
    return clip_backbone.find(spec, Path("none"))


def clip_of(spec) -> clip_backbone.CLIP:
    return clip_backbone.clip_of(MetricSettings(clip=str(spec), metric_device="cpu", metric_batch_size=2))


def test_the_protocol_follows_the_weights_and_the_config(tmp_path):
    def protocol(folder):
        return clip_of(folder).protocol

    first, again = tiny_clip(tmp_path / "a" / "clip"), tiny_clip(tmp_path / "b" / "clip")
    other_weights = tiny_clip(tmp_path / "c" / "clip", seed=1)
    other_activation = tiny_clip(tmp_path / "d" / "clip", quick_gelu=False)
    assert protocol(first) == protocol(again)
    assert len({protocol(f) for f in (first, other_weights, other_activation)}) == 3


def test_new_weights_under_the_same_path_are_another_network(tmp_path):
    settings, of = tiny_settings(tmp_path), pair(drawn(1, 50, 50), drawn(2, 50, 50))
    for name, file in (("cvs", "clip/open_clip_model"), ("dino", "dino/model"), ("lpips", "squeeze")):
        file = tmp_path / f"{file}.safetensors"
        before = load(METRICS, name, "metric")(settings, FeatureCache(None))
        old = before([of])
        # not a multiple: LPIPS without biases is the same at any scale
        save_file({key: value.abs() for key, value in load_file(file).items()}, file)
        after = load(METRICS, name, "metric")(settings, FeatureCache(None))
        assert after.protocol != before.protocol
        assert after([of]) != old


def test_a_local_checkpoint_of_a_built_in_model_is_read(tmp_path):
    import open_clip

    network = open_clip.create_model("ViT-S-32-alt", load_weights=False)  # a small one of those open_clip names
    file = tmp_path / "own.safetensors"
    save_file(network.state_dict(), file)
    clip = clip_of(f"ViT-S-32-alt/{file}")
    assert f"ViT-S-32-alt/own.safetensors sha256:{hashes.digest(file)[:8]} fp32" in clip.protocol
    assert "bicubic 224, centre crop" in clip.protocol
    image = drawn(1, 60, 40)
    with torch.no_grad():
        expected = network.eval().encode_image(clip.transform(image)[None]).numpy()
    np.testing.assert_allclose(clip.encode_images([Picture.of(image)]), expected, rtol=0, atol=1e-6)


def test_openai_weights_with_the_wrong_activation_are_refused():
    with pytest.raises(ValueError, match="ViT-B-32-quickgelu/openai"):
        clip_of("ViT-B-32/openai")


def test_a_weights_file_that_does_not_say_its_activation_is_asked_for_it(tmp_path):
    file = tmp_path / "own.pt"
    file.write_bytes(b"nobody published this")
    with pytest.raises(ValueError, match=r"RN50-quickgelu/.* or RN50-gelu/"):
        find_clip(f"RN50/{file}")
    plain, quick = find_clip(f"RN50-gelu/{file}"), find_clip(f"RN50-quickgelu/{file}")
    assert (plain.name, quick.name) == ("RN50", "RN50-quickgelu") and plain.shown != quick.shown


def test_published_weights_are_known_by_their_hash_and_take_their_own_activation_alone(tmp_path, monkeypatch):
    file = tmp_path / "RN50.pt"
    file.write_bytes(b"")
    openai = "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"  # the name of OpenAI's folder
    monkeypatch.setattr("bench.metrics.networks.clip.digest", lambda *files: openai)
    for spec in (f"RN50/{file}", f"RN50-gelu/{file}"):
        with pytest.raises(ValueError, match="use RN50-quickgelu/"):
            find_clip(spec)
    assert find_clip(f"RN50-quickgelu/{file}").name == "RN50-quickgelu"


def test_a_bare_name_is_openais_network():
    try:
        assert find_clip("ViT-B-32").shown == "ViT-B-32-quickgelu/openai"
    except FileNotFoundError as error:
        assert "CLIP ViT-B-32-quickgelu/openai" in str(error)


@pytest.mark.parametrize("spec", ["ViT-B-32-quickgelu/opanai", "ViT-Z-99", "ViT-Z-99/openai"])
def test_a_clip_that_is_no_name_is_wrong_use(spec):
    with pytest.raises(ValueError, match="--clip"):
        clip_of(spec)


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No Hub, empty caches."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr("bench.metrics.networks.perceptual.reachable", lambda url: False)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("cvs", "--clip"),
        ("cts", "--clip"),
        ("clip_s", "--clip"),
        ("clip_direction", "--clip"),
        ("dino", "--dino"),
        ("lpips", "--lpips-weights"),
    ],
)
def test_a_network_that_is_nowhere_at_hand_is_said_at_once_with_the_way_out(name, flag, offline):
    with pytest.raises(FileNotFoundError) as error:
        load(METRICS, name, "metric")(MetricSettings(), FeatureCache(None))
    message = str(error.value)
    assert flag in message and "get it with `" in message and "\n" not in message


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cvs", {"clip": "./nowhere"}),
        ("cvs", {"clip": "ViT-B-32/nowhere/file.pt"}),
        ("dino", {"dino": "./nowhere"}),
        ("lpips", {"lpips_weights": Path("nowhere")}),
    ],
)
def test_a_path_that_does_not_exist_is_named(name, change):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(METRICS, name, "metric")(MetricSettings(**change), FeatureCache(None))


def test_a_file_in_the_hubs_cache_is_used_without_the_hub(offline, tmp_path):
    snapshot = tmp_path / "hub" / "models--some--network" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    found = hub.from_hub("some/network", ("absent.bin", "model.safetensors"), "a network", "--flag", tmp_path)
    assert found.read_bytes() == b"weights"


def test_networks_fetched_to_another_root_are_found_from_any_folder(offline, tmp_path, monkeypatch):
    there = tmp_path / "scratch" / "networks"
    for name in ("vit_base_patch32_clip_224.openai/open_clip_model.safetensors",
                 "vit_small_patch16_224.dino/model.safetensors"):  # fmt: skip
        (there / "timm" / name).parent.mkdir(parents=True)
        (there / "timm" / name).write_bytes(b"weights")
    (there / "alexnet-owt-7be5be79.pth").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    here, usual = (metric_settings("paper", SUITES_OWN, root) for root in (Path("scratch"), None))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # as a worker on another machine
    names = ("cvs", "dino", "lpips")
    assert set(load_metrics(names, here, None).ready) == set(load_metrics(names, usual, None).not_run) == set(names)
    for name in names:  # where the files lie is no part of what is scored
        assert Wanted(names, here).of(name) == Wanted(names, usual).of(name)


@pytest.mark.parametrize("damage", ["missing key", "extra key", "wrong size", "not safetensors", "cut short"])
def test_weights_that_do_not_fit_are_refused_by_name(damage, tmp_path):
    settings = tiny_settings(tmp_path)
    file = tmp_path / "dino" / "model.safetensors"
    state = load_file(file)
    if damage == "missing key":
        del state["norm.weight"]
    elif damage == "extra key":
        state["blocks.9.extra"] = torch.zeros(1)
    elif damage == "wrong size":
        state["norm.weight"] = torch.zeros(3)
    save_file(state, file)
    if damage == "not safetensors":
        file.write_bytes(b"hello" * 10)
    elif damage == "cut short":
        file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        dino_of(settings).images([Picture.of(drawn(1, 64, 64))], FeatureCache(None))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_is_not_run(tmp_path):
    import pickle

    class Bad:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    file = tmp_path / "trunk.pth"
    file.write_bytes(pickle.dumps(Bad()))
    with pytest.raises(ValueError, match="not run"):
        weights.read_state(file)
    assert not (tmp_path / "ran").exists()


def test_an_lpips_network_of_another_kind_is_refused(tmp_path):
    file = tiny_trunk(tmp_path / "squeeze.safetensors")
    settings = MetricSettings(lpips_weights=file, metric_device="cpu")
    metric = load(METRICS, "lpips", "metric")(settings, FeatureCache(None))
    with pytest.raises(ValueError, match="weights missing"):
        metric([pair(drawn(1, 40, 40), drawn(2, 40, 40))])


def test_a_clip_with_its_own_tokenizer_finds_its_end_token(tmp_path):
    folder = clip_with_own_tokenizer(tmp_path / "own", eos_id=1)
    clip = clip_of(folder)
    ids, lengths = clip.tokens(["a red dog", "a red dog " * 30])
    assert ids.shape == (2, 12) and ids[1, -1] == 1 and lengths == [5, 92]
    long, longer, dog, cat = clip.texts(["a red dog " * 30, "a red dog " * 40, "a red dog", "a red cat"]).features
    np.testing.assert_allclose(long, longer, atol=1e-6)  # what was cut cannot matter
    assert np.abs(dog - cat).max() > 1e-3
    with pytest.raises(ValueError, match="eos_id"):
        clip_of(clip_with_own_tokenizer(tmp_path / "wrong", eos_id=7)).texts(["a cat"])


def clip_with_own_tokenizer(folder, eos_id):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {t: i for i, t in enumerate(["<start>", "<end>", "<pad>", "<unk>", "a", "red", "dog", "cat"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    tiny_clip(
        folder,
        text_cfg={
            "context_length": 12,
            "vocab_size": 8,
            "hf_tokenizer_name": "own",
            "pool_type": "eos",
            "eos_id": eos_id,
        },
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<start>", eos_token="<end>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder
