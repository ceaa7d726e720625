"""CLIP through open_clip, in fp32: image and text features for CVS, CTS, CLIP-S and the direction similarity.

Convention: MagicBrush image_eval.py at fcfc892 (ViT-B/32, openai): the network's own inference transform on the image
as it is (bicubic to the short side, centre crop, PIL). open_clip's plain ViT-B-32 with openai's weights has the wrong
activation and is refused. Texts are cut to the context length with their end token kept, and counted.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL.Image import Resampling

from bench.metrics.networks.features import FeatureCache, Seen, in_batches, prepare, row_of, who
from bench.settings import MetricSettings
from mgie.io.devices import device_of
from mgie.io.hashes import digest
from mgie.io.hub import from_hub
from mgie.preprocess import middle

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, nn


FILTERS = {"bicubic": Resampling.BICUBIC, "bilinear": Resampling.BILINEAR}
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


class ClipWeights(NamedTuple):
    """One CLIP: what open_clip calls it, its weights, what describes it."""

    name: str  # a built-in model name, or local-dir:<folder>
    shown: str  # in the protocol
    weights: Path
    described_by: tuple[Path, ...] = ()  # files that, besides the weights, decide what comes out
    config: str = "{}"  # JSON: open_clip's model config
    preprocess: str = "{}"  # JSON: what its transform does otherwise than OpenAI's

    def sha256(self) -> str:
        return digest(self.weights, *self.described_by)


class Texts(NamedTuple):
    features: np.ndarray  # (n, D)
    truncated: int  # how many texts were longer than the network reads


class CachedText(NamedTuple):
    """A text as the cache of features knows it."""

    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def clip_of(settings: MetricSettings) -> "CLIP":
    """One network for all metrics that ask for the same weights."""
    source = find(settings.clip, settings.fetched)
    return shared(source, source.sha256(), device_of(settings.metric_device), settings.metric_batch_size)


def with_clip(settings: MetricSettings, name: str) -> MetricSettings:
    """The settings of a metric's variant: cvs@ViT-L-14, cvs@ViT-B-16/openai, cvs@FOLDER; as --clip takes it."""
    return replace(settings, clip=name)


@lru_cache(maxsize=8)
def shared(source: "ClipWeights", sha256: str, device: str, batch_size: int) -> "CLIP":
    return CLIP(source, device, batch_size)


class CLIP:
    """Cheap to make: the network is loaded at the first image."""

    def __init__(self, source: ClipWeights, device: str, batch_size: int) -> None:
        from open_clip import get_tokenizer
        from open_clip.transform import PreprocessCfg

        self.source, self.device, self.batch_size, self.sha256 = source, device, batch_size, source.sha256()
        self.config = json.loads(source.config)
        size = self.config["vision_cfg"]["image_size"]
        self.preprocess = PreprocessCfg(**{**json.loads(source.preprocess), "size": size})
        self.tokenizer = get_tokenizer(source.name)
        crop = "centre crop" if self.preprocess.resize_mode == "shortest" else self.preprocess.resize_mode
        self.network_id = f"open_clip {self.source.shown} sha256:{self.sha256[:8]} fp32"
        self.protocol = f"{self.network_id}, own transform ({self.preprocess.interpolation} {size}, {crop})"

    @cached_property
    def network(self) -> "nn.Module":
        import open_clip
        from safetensors import SafetensorError

        weights, in_folder = str(self.source.weights), self.source.name.startswith("local-dir:")
        pretrained = None if in_folder else weights
        try:
            network = open_clip.create_model(self.source.name, pretrained, precision="fp32", pretrained_text=False)
            if in_folder:  # of several weights files there, the one whose hash stands in the protocol
                open_clip.load_checkpoint(network, weights, strict=True)
        except (RuntimeError, AttributeError, KeyError, UnpicklingError, SafetensorError) as error:
            why = " ".join(str(error).splitlines()[:2]) or type(error).__name__
            raise ValueError(f"{self.source.weights}: not the weights of {self.source.shown}: {why}") from error
        return network.float().eval().requires_grad_(False).to(self.device)

    @cached_property
    def transform(self) -> "Callable[[Image], Tensor]":
        from open_clip.transform import image_transform_v2

        return image_transform_v2(self.preprocess, is_train=False)

    def images(self, pictures: Sequence[Seen], cache: FeatureCache, on_disk: bool = True) -> np.ndarray:
        """(n, D), not normalised."""
        key = who(self.protocol, self.sha256, self.device, self.batch_size)
        return cache.features(key, pictures, self.encode_images, on_disk)

    def encode_images(self, pictures: Sequence[Seen]) -> np.ndarray:
        return self.encode_tensors([row_of(self, picture) for picture in pictures])

    def prepare(self, picture: Seen) -> None:
        prepare(self, picture)

    def transformed(self, image: "Image") -> "Tensor":
        """(3, size, size), normalised."""
        return self.transform(self.middle(image))

    def middle(self, image: "Image") -> "Image":
        """Of a thin picture what the transform keeps; any other as it is."""
        size = self.preprocess.size
        side = size if isinstance(size, int) else size[0]
        if self.preprocess.resize_mode != "shortest" or (not isinstance(size, int) and set(size) != {side}):
            return image
        return middle(image, side, side, FILTERS.get(self.preprocess.interpolation, FILTERS["bicubic"]))

    def seen(self, pixels: np.ndarray) -> np.ndarray:
        """pixels: (H, W, ...). The part that the transform keeps: all, or the square in the middle."""
        if self.preprocess.resize_mode != "shortest":
            return pixels
        side = min(pixels.shape[:2])
        top, left = ((length - side) // 2 for length in pixels.shape[:2])
        return pixels[top : top + side, left : left + side]

    def encode_tensors(self, rows: list["Tensor"]) -> np.ndarray:
        """rows: (3, size, size) each, normalised."""
        return in_batches(rows, self.batch_size, self.device, lambda batch: self.network.encode_image(batch))

    def texts(self, texts: list[str], cache: FeatureCache | None = None) -> Texts:
        """(n, D), not normalised; equal texts are encoded once, with a cache once for all models and seeds."""
        if not texts:
            return Texts(np.zeros((0, 0), dtype=np.float32), 0)
        ids, lengths = self.tokens(list(dict.fromkeys(texts)))
        long = {text for text, length in zip(dict.fromkeys(texts), lengths, strict=True) if length > ids.shape[1]}
        key = f"text {who(self.network_id, self.sha256, self.device, self.batch_size)}"
        written = [CachedText(text) for text in texts]
        features = (cache or FeatureCache(None)).features(key, written, self.encode_texts)
        return Texts(features, sum(text in long for text in texts))

    @property
    def context(self) -> int:
        """Tokens of a text that the network reads, start and end included."""
        return self.config["text_cfg"]["context_length"]

    def cut(self, texts: list[str]) -> int:
        """How many of the texts are longer than that."""
        return sum(self.length(text) > self.context for text in texts)

    def encode_texts(self, written: list["CachedText"]) -> np.ndarray:
        ids, _ = self.tokens([one.text for one in written])
        return in_batches(list(ids), self.batch_size, self.device, lambda batch: self.network.encode_text(batch))

    def tokens(self, texts: list[str]) -> tuple["Tensor", list[int]]:
        """(n, context length) ids, and how long each text would have been. Raises ValueError for a lost end token."""
        ids, text_cfg = self.tokenizer(texts), self.config["text_cfg"]
        pool, end = text_cfg.get("pool_type", "argmax"), self.end_token
        looked_for = text_cfg.get("eos_id", 2) if pool == "eos" else end
        found = ids.max(dim=1).values == end if pool == "argmax" else (ids == end).any(dim=1)
        pools_there = pool in ("argmax", "eos") and "hf_model_name" not in text_cfg
        if pools_there and (looked_for != end or not bool(found.all())):
            raise ValueError(
                f"{self.source.shown}: its text tower looks for the end token {looked_for} (pool_type {pool}) and its "
                f"tokenizer writes {end}; check eos_id in open_clip_config.json"
            )
        return ids, [self.length(text) for text in texts]

    def length(self, text: str) -> int:
        hf = getattr(self.tokenizer, "tokenizer", None)
        if hf is None:  # open_clip's own: start, text, end
            return len(self.tokenizer.encode(text)) + 2
        return len(hf(self.tokenizer.clean_fn(text)).input_ids)

    @property
    def end_token(self) -> int | None:
        own = getattr(self.tokenizer, "eot_token_id", None)
        return self.tokenizer.tokenizer.eos_token_id if own is None else own


def find(spec: str, fetched: Path) -> ClipWeights:
    """The CLIP behind --clip. fetched: what bench.fetch left.

    FileNotFoundError: nowhere at hand; ValueError: not a name, or a wrong pairing.
    """
    from open_clip import get_model_config, get_pretrained_cfg, list_models, list_pretrained_tags_by_model

    spec = spec.removeprefix("local-dir:")
    if Path(spec).is_dir():
        return in_folder(Path(spec))
    if spec.startswith(("/", ".", "~")):
        raise FileNotFoundError(f"--clip {spec}: no such folder; a checkpoint file is given as MODEL/FILE")
    name, _, pretrained = spec.partition("/")
    if not pretrained and "openai" in list_pretrained_tags_by_model(name):  # ViT-L-14: OpenAI's, the papers' usual one
        name, pretrained = f"{name.removesuffix('-quickgelu')}-quickgelu", "openai"
        spec = f"{name}/{pretrained}"
    given, name = name, name.removesuffix("-gelu")  # RN50-gelu says which of RN50 and RN50-quickgelu is meant
    config = get_model_config(name)
    if config is None or not pretrained:
        near = [n for n in list_models() if n.startswith(name[:5])][:5] or list_models()[:5]
        raise ValueError(
            f"--clip {spec}: neither a folder nor MODEL/PRETRAINED or MODEL/FILE with an open_clip model "
            f"({', '.join(near)}, ...); the paper's is ViT-B-32-quickgelu/openai"
        )
    tag = get_pretrained_cfg(name, pretrained)
    if not tag:
        if not Path(pretrained).is_file():
            known = ", ".join(list_pretrained_tags_by_model(name)) or "none"
            wrong = FileNotFoundError if "/" in pretrained or "." in pretrained else ValueError
            raise wrong(f"--clip {spec}: no file {pretrained}, and no weights of {name} called so; known: {known}")
        refuse_other_activation(given, Path(pretrained), config)
        return ClipWeights(name, f"{given}/{Path(pretrained).name}", Path(pretrained), (), json.dumps(config))
    if bool(tag.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = name.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{name}-quickgelu"
        raise ValueError(f"--clip {spec}: its weights need another activation than {name}; use {other}/{pretrained}")
    repo, _, file = tag["hf_hub"].rpartition("/")
    weights = from_hub(repo, (file,) if file else WEIGHTS[::2], f"CLIP {spec}", f"--clip {name}/FILE", fetched)
    preprocess = {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    return ClipWeights(name, spec, weights, (), json.dumps(config), json.dumps(preprocess))


def refuse_other_activation(given: str, file: Path, config: dict) -> None:
    """A weights file does not say whether its network has QuickGELU, and scores with the other activation look right.

    Weights that open_clip publishes are known by their hash; of others the name must say it. Raises ValueError.
    """
    from open_clip import get_model_config

    plain = given.removesuffix("-quickgelu").removesuffix("-gelu")
    if get_model_config(f"{plain}-quickgelu") is None:
        return  # open_clip has this network with one activation
    known, asked = quick_gelu_of(plain, digest(file)), f"{plain}-quickgelu/{file} or {plain}-gelu/{file}"
    if known is None and given == plain:
        raise ValueError(
            f"--clip {given}/{file}: the file does not say its activation, and no published weights have its hash; "
            f"give {asked}. OpenAI's, MetaCLIP's and DFN's weights have QuickGELU, OpenCLIP's own GELU"
        )
    if known is not None and known != bool(config.get("quick_gelu")):
        right = f"{plain}-quickgelu" if known else f"{plain}-gelu"
        raise ValueError(
            f"--clip {given}/{file}: by their hash these are published weights that need another activation; "
            f"use {right}/{file}"
        )


def quick_gelu_of(name: str, sha256: str) -> bool | None:
    """Whether published weights of this network with this SHA-256 have QuickGELU; None: none has it.

    Published names hold the whole SHA-256 (OpenAI's) or its first eight digits.
    """
    from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

    for model in (name, f"{name}-quickgelu"):
        for tag in list_pretrained_tags_by_model(model):
            config = get_pretrained_cfg(model, tag)
            url = config.get("url") or ""
            if f"/{sha256}/" in url or url.endswith(f"-{sha256[:8]}.pt"):
                return bool(config.get("quick_gelu"))
    return None


def in_folder(folder: Path) -> ClipWeights:
    """open_clip's own local-dir scheme: open_clip_config.json, weights, a tokenizer where the config asks for it."""
    described = folder / "open_clip_config.json"
    if not described.is_file():
        raise FileNotFoundError(f"--clip {folder}: no open_clip_config.json in it; without one, name MODEL/FILE")
    data = json.loads(described.read_text())
    if not {"vision_cfg", "text_cfg"} <= data.get("model_cfg", {}).keys():
        raise ValueError(f"{described}: no model_cfg with vision_cfg and text_cfg")
    found = [folder / name for name in WEIGHTS if (folder / name).is_file()] or sorted(folder.glob("*.safetensors"))
    if not found:
        raise FileNotFoundError(f"--clip {folder}: no weights in it; expected {WEIGHTS[0]}")
    tokenizer = [folder / name for name in TOKENIZER if (folder / name).is_file()]
    config, preprocess = json.dumps(data["model_cfg"]), json.dumps(data.get("preprocess_cfg", {}))
    return ClipWeights(f"local-dir:{folder}", folder.name, found[0], (described, *tokenizer), config, preprocess)
