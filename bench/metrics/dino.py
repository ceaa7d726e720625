"""DINO: cosine of the class-token features of output and goal image. Higher is better; range [-1, 1].

Convention: MagicBrush image_eval.py at fcfc892, as in DreamBooth: DINO ViT-S/16, each image through its own transform.
What the centre crop cuts off a wide image is not seen.
"""

from dataclasses import replace

from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.networks.vit import dino_of
from bench.metrics.pairs import Pair, Value, given, values
from bench.settings import MetricSettings


class DINO:
    name, needs, networks = "dino", ("goal_image",), ("dino",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.dino, self.features = dino_of(settings), features
        self.protocol = f"dino: {self.dino.protocol}, cosine output/goal"

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """dino@timm/vit_small_patch16_224.dino, dino@FILE, dino@FOLDER: as --dino takes it."""
        return replace(settings, dino=name)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        output = self.dino.images([pair.output for pair in pairs], self.features, on_disk=False)
        goal = self.dino.images([given(pair.goal) for pair in pairs], self.features)
        return values(cosine(output, goal))
