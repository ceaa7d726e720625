"""The other axis of Figure 3: CLIP cosine of input and output image. Higher is nearer to the input; [-1, 1].

Convention: sim_image of instruct-pix2pix metrics/clip_similarity.py at 0dffd1e. It rewards doing nothing: the input
copy has 1, so it is read beside the direction similarity and never alone. --direction ip2p_legacy holds here too.
"""

from bench.metrics.clip_direction import CLIPDirection
from bench.metrics.networks.clip import with_clip
from bench.metrics.networks.features import FeatureCache, cosine
from bench.metrics.pairs import Pair, Value, given, values
from bench.settings import MetricSettings


class ImageSimilarity:
    name, needs, networks = "image_similarity", ("input_image",), ("clip",)

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.direction = CLIPDirection(settings, features)
        self.protocol = f"image_similarity: {self.direction.how}, cosine input/output"

    variant = staticmethod(with_clip)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        if not pairs:
            return []
        source = self.direction.images([given(pair.input) for pair in pairs], on_disk=True)
        output = self.direction.images([pair.output for pair in pairs], on_disk=False)
        return values(cosine(source, output))
