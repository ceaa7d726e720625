"""CLIP-S: 100 times the CLIP cosine of an image and a text (Figure 4). Higher is better; range [-100, 100].

Convention: torchmetrics CLIPScore before its clamp at 0, which it applies to the mean and we never apply. Not the 2.5 x
max(cosine, 0) of jmhessel/clipscore. As a metric of a run: output image against instruction.
"""

import numpy as np

from bench.metrics.networks.clip import clip_of, with_clip
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Picture, Value, values
from bench.records import Example
from bench.settings import MetricSettings


def clip_s(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """images, texts: (n, D) features. Returns (n,)."""
    return 100 * cosine(images, texts)


class CLIPS:
    name, needs, networks = "clip_s", (), ("clip",)

    @staticmethod
    def texts(example: Example) -> dict[str, str | None]:
        """What it reads of an example; a text that is blank gives no value."""
        return {"instruction": example.instruction}

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features = clip_of(settings), features
        self.protocol = f"clip_s: {self.clip.protocol}, 100 x cosine output/instruction, end token kept"
        self.truncated = 0

    variant = staticmethod(with_clip)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        return self.of([p.output for p in pairs], [p.example.instruction.strip() for p in pairs], on_disk=False)

    def of(self, pictures: list[Picture], texts: list[str], on_disk: bool = True) -> list[Value]:
        """Any images against any texts, one value a pair."""
        if len(pictures) != len(texts):
            raise ValueError(f"clip_s: {len(pictures)} images and {len(texts)} texts; give one text an image")
        images, encoded = self.clip.images(pictures, self.features, on_disk), self.clip.texts(texts)
        self.truncated += encoded.truncated
        return values(clip_s(images, encoded.features))
