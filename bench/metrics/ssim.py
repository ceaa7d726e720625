"""SSIM of Wang et al. 2004 between output and goal image. Higher is better; range [-1, 1].

11x11 Gaussian window of sigma 1.5, K1 .01, K2 .03, population covariance, data range 1, RGB channels averaged, without
the 5 px border: scikit-image with those arguments; torchmetrics with return_full_image=True and that border cropped,
whose two-dimensional float64 convolution takes 5 s a 512 px pair. Not covered: the gray, uniform-window and
down-sampled variants, whose numbers differ by up to .08.
Variants: ssim@outside, ssim@inside: the mean over those places of the map whose whole window lies outside, or inside,
the mask, so that no pixel of the other side has a part in it; ssim@input: against the input image.
"""

from typing import TYPE_CHECKING

from bench.metrics.networks.features import FeatureCache
from bench.metrics.pairs import RESIZE_RULE, Pair, Value, at_goal_size, in_unit_range, same_shape, too_small
from bench.metrics.regions import Look, grown, variant_of
from bench.settings import MetricSettings

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
STRIP = 2**20  # pixels worked on at once: 24 megapixels need no more memory than one


def ssim(output: "Tensor", goal: "Tensor", kept: "np.ndarray | None" = None) -> "Tensor":
    """output, goal: (B, 3, H, W) in [0, 1], H and W at least 11. Returns (B,) float64.

    kept: (H-10, W-10) bool, the places of the map that count (see whole_windows); None: all.
    """
    import torch

    same_shape("ssim", output, goal)
    in_unit_range("ssim", output, goal)
    height, width = output.shape[2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"ssim: the images are {width}x{height}, smaller than the {WINDOW} px window")
    count = torch.ones(height - WINDOW + 1, width - WINDOW + 1) if kept is None else torch.from_numpy(kept)
    columns = min(width, STRIP)
    rows, total = max(1, STRIP // columns), torch.zeros(output.shape[0], dtype=torch.float64)
    for top in range(0, height - WINDOW + 1, rows):
        for left in range(0, width - WINDOW + 1, columns):  # strips overlap by what the window eats
            strip = slice(top, top + rows + WINDOW - 1), slice(left, left + columns + WINDOW - 1)
            for channel in range(output.shape[1]):
                x, y = output[:, channel, *strip].double(), goal[:, channel, *strip].double()
                part = ssim_map(x, y)
                if kept is not None:
                    part = part * count[top : top + rows, left : left + columns].to(part)
                total += part.sum(dim=(1, 2)).cpu()
    return total / (output.shape[1] * count.sum().item())


def whole_windows(kept: "np.ndarray") -> "np.ndarray":
    """kept: (H, W) bool. Returns (H-10, W-10): where the whole window around a place is of pixels that count."""
    border = WINDOW // 2
    return ~grown(~kept, border)[border:-border, border:-border]


def ssim_map(x: "Tensor", y: "Tensor") -> "Tensor":
    """x, y: (B, h, w) float64. Returns (B, h-10, w-10): SSIM at each place where the whole window fits."""
    mean_x, mean_y = blur(x), blur(y)
    covariance = blur(x * y) - mean_x * mean_y
    variances = blur(x * x + y * y) - mean_x**2 - mean_y**2
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    return luminance * (2 * covariance + C2) / (variances + C2)


def blur(x: "Tensor") -> "Tensor":
    """The Gaussian mean where the whole window fits: two passes of eleven sums, 100 times quicker than a 2-d conv."""
    weights = gaussian_window()
    for axis in (-2, -1):
        length = x.shape[axis] - WINDOW + 1
        total = weights[0] * x.narrow(axis, 0, length)
        for place in range(1, WINDOW):
            total.add_(x.narrow(axis, place, length), alpha=weights[place])
        x = total
    return x


def gaussian_window() -> list[float]:
    """The one-dimensional window; its outer product with itself is Wang's."""
    import numpy as np

    weights = np.exp(-0.5 * ((np.arange(WINDOW) - WINDOW // 2) / SIGMA) ** 2)
    return (weights / weights.sum()).tolist()


class SSIM:
    name, networks, by_pair = "ssim", (), True
    needs: tuple[str, ...] = ("goal_image",)
    variant = staticmethod(variant_of("ssim"))

    def __init__(self, settings: MetricSettings, features: FeatureCache) -> None:
        self.look = Look.of(settings)
        self.needs = self.look.needs(SSIM.needs)
        self.protocol = self.look.protocol(
            f"ssim: {RESIZE_RULE}, Gaussian {WINDOW}x{WINDOW} sigma {SIGMA}, K .01 .03, population covariance, "
            "data range 1, RGB mean, 5 px border cropped, float64"
        ) + ", whole windows" * bool(self.look.region)

    def __call__(self, pairs: list[Pair]) -> list[Value]:
        compared = [self.look.pair(pair) for pair in pairs]
        return [too_small(pair, WINDOW, "SSIM", self.look.against) or self.of(pair) for pair in compared]

    def of(self, pair: Pair) -> Value:
        output, goal = at_goal_size(pair)
        if not self.look.region:
            return Value(ssim(output, goal).item())
        kept = self.look.kept(pair, goal)
        if isinstance(kept, Value):
            return kept
        windows = whole_windows(kept)
        if not windows.any():
            return Value(None, f"no whole {WINDOW} px window lies {self.look.region} the mask")
        return Value(ssim(output, goal, windows).item())
