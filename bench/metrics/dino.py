"""DINO: cosine of the class-token features of output and goal image. Higher is better; range [-1, 1].

Convention: MagicBrush image_eval.py at fcfc892, as in DreamBooth: DINO ViT-S/16, each image through its own transform.
What the centre crop cuts off a wide image is not seen. Variant beside the networks: dino@input, output and input image.
"""

from dataclasses import replace

from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.networks.vit import dino_of
from bench.metrics.pairs import Pair, Value, given, values
from bench.metrics.regions import INPUT, Look, placed
from bench.settings import MetricSettings


class DINO:
    name, networks = "dino", ("dino",)
    needs: tuple[str, ...] = ("goal_image",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.dino, self.features = dino_of(settings), features
        self.look = Look.of(settings)
        self.needs = self.look.needs(DINO.needs)
        self.protocol = f"dino: {self.dino.protocol}, cosine output/{self.look.against}"

    @staticmethod
    def variant(settings: MetricSettings, name: str) -> MetricSettings:
        """dino@timm/vit_small_patch16_224.dino, dino@FILE, dino@FOLDER: as --dino takes it."""
        return placed(settings, name, (INPUT,)) or replace(settings, dino=name)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        output = self.dino.images([pair.output for pair in pairs], self.features, on_disk=False)
        goal = self.dino.images([given(self.look.pair(pair).goal) for pair in pairs], self.features)
        return values(cosine(output, goal))
