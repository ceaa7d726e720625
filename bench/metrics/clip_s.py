"""CLIP-S: 100 times the CLIP cosine of an image and a text (Figure 4). Higher is better; range [-100, 100].

Convention: torchmetrics CLIPScore before its clamp at 0, which it applies to the mean and we never apply. Not the 2.5 x
max(cosine, 0) of jmhessel/clipscore. As a metric of a run: output image against instruction.
Variants beside the CLIP: clip_s@inside, clip_s@outside: the output image with all the rest black, as PIE-Bench's CLIP
of the edited part.
"""

import numpy as np

from bench.metrics.networks.clip import clip_of, with_clip
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Picture, Value, values
from bench.metrics.regions import REGIONS, Look, blackened, placed
from bench.records import Example
from bench.settings import MetricSettings
from mgie.io.images import to_tensor


def clip_s(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """images, texts: (n, D) features. Returns (n,)."""
    return 100 * cosine(images, texts)


class CLIPS:
    name, networks = "clip_s", ("clip",)
    needs: tuple[str, ...] = ()

    @staticmethod
    def texts(example: Example) -> dict[str, str | None]:
        """What it reads of an example; a text that is blank gives no value."""
        return {"instruction": example.instruction}

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features = clip_of(settings), features
        self.look = Look.of(settings)
        self.needs = self.look.needs(CLIPS.needs)
        black = ", the rest black" * bool(self.look.region)
        usual = f"clip_s: {self.clip.protocol}, 100 x cosine output/instruction, end token kept"
        self.protocol = self.look.protocol(usual).replace("resized to goal", "resized to output") + black
        self.truncated = 0

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """clip_s@inside, clip_s@outside: of the mask; clip_s@ViT-L-14: the CLIP."""
        return placed(settings, name, REGIONS) or with_clip(settings, name)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        if self.look.region:
            return self.within(pairs)
        return self.of([p.output for p in pairs], [p.example.instruction.strip() for p in pairs], on_disk=False)

    def within(self, pairs: list[Pair]) -> list[Value]:
        """Of the part that counts. Where CLIP's centre crop cuts all of it off there is no value."""
        found: list[Value | None] = []
        pictures, texts = [], []
        for pair in pairs:
            image = pair.output.image  # RGB
            kept = self.look.kept(pair, to_tensor(image))
            if not isinstance(kept, Value) and not self.clip.seen(kept).any():
                kept = Value(None, f"CLIP's centre crop shows nothing {self.look.region} the mask")
            found.append(kept if isinstance(kept, Value) else None)
            if not isinstance(kept, Value):
                pictures.append(blackened(image, kept))
                texts.append(pair.example.instruction.strip())
        scored = iter(self.of(pictures, texts, on_disk=False) if pictures else [])
        return [value if value is not None else next(scored) for value in found]

    def of(self, pictures: list[Picture], texts: list[str], on_disk: bool = True) -> list[Value]:
        """Any images against any texts, one value a pair."""
        if len(pictures) != len(texts):
            raise ValueError(f"clip_s: {len(pictures)} images and {len(texts)} texts; give one text an image")
        images, encoded = self.clip.images(pictures, self.features, on_disk), self.clip.texts(texts)
        self.truncated += encoded.truncated
        return values(clip_s(images, encoded.features))
