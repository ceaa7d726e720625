"""CTS: CLIP text similarity, the cosine of output image and goal caption. Higher is better; range [-1, 1].

Convention: MagicBrush image_eval.py at fcfc892 (its CLIP-T): CLIP ViT-B/32 of OpenAI, raw cosine. Which caption, global
or local, is the dataset's setting. A caption of over 77 tokens is cut before its end token; `truncated` counts them.
"""

from bench.metrics.networks.clip import clip_of
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Value, values
from bench.settings import MetricSettings


class CTS:
    name, needs, networks = "cts", ("goal_caption",), ("clip",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features = clip_of(settings), features
        self.protocol = f"cts: {self.clip.protocol}, cosine output/goal caption, end token kept"
        self.truncated = 0

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        images = self.clip.images([pair.output for pair in pairs], self.features, on_disk=False)
        captions = self.clip.texts([pair.example.goal_caption for pair in pairs], self.features)
        self.truncated += captions.truncated
        return values(cosine(images, captions.features))
