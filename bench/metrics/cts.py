"""CTS: CLIP text similarity, the cosine of output image and goal caption. Higher is better; range [-1, 1].

Convention: MagicBrush image_eval.py at fcfc892 (its CLIP-T): CLIP ViT-B/32 of OpenAI, raw cosine. Which caption, global
or local, is the dataset's setting, or the variant's: cts@global, cts@local. A caption of over 77 tokens is cut before
its end token, and counted.
"""

from dataclasses import replace

from bench.metrics.networks.clip import clip_of, with_clip
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Value, given, values
from bench.records import Example
from bench.settings import MetricSettings


class CTS:
    name, needs, networks = "cts", ("goal_caption",), ("clip",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features, self.kind = clip_of(settings), features, settings.captions
        self.text = f"{self.kind} goal caption".strip()
        self.protocol = f"cts: {self.clip.protocol}, cosine output/{self.text}, end token kept"
        self.truncated = 0

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """cts@global, cts@local: the captions; cts@ViT-L-14: the CLIP; cts@local@ViT-L-14: both."""
        return replace(settings, captions=name) if name in ("global", "local") else with_clip(settings, name)

    def texts(self, example: Example) -> dict[str, str | None]:
        """What it reads of an example; a text that is blank gives no value."""
        return {"goal caption": example.caption(self.kind)}

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        images = self.clip.images([pair.output for pair in pairs], self.features, on_disk=False)
        captions = self.clip.texts([given(self.texts(pair.example)["goal caption"]) for pair in pairs], self.features)
        self.truncated += captions.truncated
        return values(cosine(images, captions.features))
