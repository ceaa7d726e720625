"""CVS: CLIP visual similarity, the cosine of output and goal image. Higher is better; range [-1, 1].

Convention: MagicBrush image_eval.py at fcfc892 (its CLIP-I): CLIP ViT-B/32 of OpenAI, each image through CLIP's own
transform, raw cosine. InstructPix2Pix and others use ViT-L/14, another scale: `--clip ViT-L-14-quickgelu/openai`.
"""

from bench.metrics.networks.clip import clip_of, with_clip
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Value, given, values
from bench.settings import MetricSettings


class CVS:
    name, needs, networks = "cvs", ("goal_image",), ("clip",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.clip, self.features = clip_of(settings), features
        self.protocol = f"cvs: {self.clip.protocol}, cosine output/goal"

    variant = staticmethod(with_clip)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        output = self.clip.images([pair.output for pair in pairs], self.features, on_disk=False)
        goal = self.clip.images([given(pair.goal) for pair in pairs], self.features)
        return values(cosine(output, goal))
