"""Figure 3's two axes: direction similarity, and image similarity of input and output. Higher is better; [-1, 1].

Convention: instruct-pix2pix metrics/clip_similarity.py at 0dffd1e: the cosine of (output - input) image features and
(goal caption - input caption) text features, each normalised first; an output equal to its input gives 0, as there.
quirk: ip2p_legacy repeats compute_metrics.py, which feeds [-1, 1] to a network that wants [0, 1] and squashes the image
with F.interpolate, bicubic without antialiasing. Their network is ViT-L/14.
Variant beside the CLIP: clip_direction@emu, Emu Edit's CLIP_dir: the same, but no value where the output is the input
or its two captions are one, for there is no direction then (scripts that divide give NaN, F.normalize 0).
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.metrics.networks.clip import CLIP, clip_of, with_clip
from bench.metrics.networks.features import FeatureCache, cosine, who
from bench.metrics.pairs import Pair, Picture, Value, given, values
from bench.records import Example
from bench.settings import MetricSettings
from mgie.io.images import to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Axes(NamedTuple):
    direction: list[Value]
    image_similarity: list[Value]  # input against output image


def direction_similarity(
    source: np.ndarray, output: np.ndarray, input_caption: np.ndarray, goal_caption: np.ndarray
) -> np.ndarray:
    """All (n, D) features. Returns (n,); 0 where the images or the captions do not differ."""
    images, texts = normalised(output) - normalised(source), normalised(goal_caption) - normalised(input_caption)
    still = ~images.any(axis=-1) | ~texts.any(axis=-1)
    return np.where(still, 0.0, cosine(images, texts))


def normalised(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


class CLIPDirection:
    name, networks = "clip_direction", ("clip",)
    needs = ("input_image", "input_caption", "goal_caption")

    @staticmethod
    def texts(example: Example) -> dict[str, str | None]:
        return {"input caption": example.input_caption, "goal caption": example.goal_caption}

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features, self.legacy = clip_of(settings), features, settings.direction == "ip2p_legacy"
        self.how = f"{self.clip.network_id}, {LEGACY}" if self.legacy else self.clip.protocol
        self.strict = settings.direction == EMU
        self.protocol = f"clip_direction: {self.how}, cosine of output - input and goal - input caption, end token kept"
        self.protocol += ", no value where either is nothing" * self.strict
        self.truncated = 0

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """clip_direction@emu: no value where there is no direction; clip_direction@ViT-L-14: the CLIP."""
        return replace(settings, direction=EMU) if name == EMU else with_clip(settings, name)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        found = self.axes(pairs).direction
        return [still(pair) or value for pair, value in zip(pairs, found, strict=True)] if self.strict else found

    def axes(self, pairs: list[Pair]) -> Axes:
        """Both of Figure 3's axes, one value a pair each."""
        if not pairs:
            return Axes([], [])
        source = self.images([given(pair.input) for pair in pairs], on_disk=True)
        output = self.images([pair.output for pair in pairs], on_disk=False)
        # the same image encoded in two slices differs in the last bits, which must not count as a direction
        same = np.array([given(pair.input).sha256 == pair.output.sha256 for pair in pairs])
        output = np.where(same[:, None], source, output)
        before = self.clip.texts([given(pair.example.input_caption) for pair in pairs])
        after = self.clip.texts([given(pair.example.goal_caption) for pair in pairs])
        self.truncated += before.truncated + after.truncated
        direction = direction_similarity(source, output, before.features, after.features)
        return Axes(values(direction), values(cosine(source, output)))

    def images(self, pictures: list[Picture], on_disk: bool) -> np.ndarray:
        if not self.legacy:
            return self.clip.images(pictures, self.features, on_disk)
        key = who(f"{self.clip.network_id}, {LEGACY}", self.clip.sha256, self.clip.device, self.clip.batch_size)
        return self.features.features(key, pictures, self.encode_legacy, on_disk)

    def encode_legacy(self, pictures: list[Picture]) -> np.ndarray:
        return self.clip.encode_tensors([legacy_transform(picture.image, self.clip) for picture in pictures])


def still(pair: Pair) -> Value | None:
    """The answer where nothing leads from input to output."""
    if given(pair.input).sha256 == pair.output.sha256:
        return Value(None, "no direction: the output is the input")
    if given(pair.example.input_caption).strip() == given(pair.example.goal_caption).strip():
        return Value(None, "no direction: input and goal caption are the same")
    return None


EMU = "emu"
LEGACY = "ip2p_legacy ([-1, 1] fed as [0, 1], squashed, bicubic without antialias)"


def legacy_transform(image: "Image", clip: CLIP) -> "Tensor":
    """(3, size, size): what instruct-pix2pix at 0dffd1e feeds to CLIP."""
    import torch
    from torch.nn import functional

    side = clip.preprocess.size if isinstance(clip.preprocess.size, int) else clip.preprocess.size[0]
    x = 2 * to_tensor(image)[None] - 1  # quirk: edit_dataset.py's range, where clip_similarity.py expects [0, 1]
    x = functional.interpolate(x, size=side, mode="bicubic", align_corners=False)  # quirk: no antialias, no crop
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (clip.preprocess.mean, clip.preprocess.std))
    return ((x - mean) / std)[0]
