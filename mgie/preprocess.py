"""Pixels on their way in and out: the vision tower's input by two routes, the VAE's input, the output image.

Convention: CLIPImageProcessor and crop_resize of apple/ml-mgie at 835af37 (training), demo.ipynb there (inference),
VaeImageProcessor of diffusers. All resizing is PIL on uint8.  s the tower's size in px.

quirk: the two routes differ. Training crops to a square and resizes to 512 before CLIP's own preprocessing, and the
VAE gets a second resize from there; the demo gives CLIP the uncropped picture and the VAE its full size.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mgie.io.files import naming, read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

BICUBIC, LANCZOS = Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
CONFIG = "preprocessor_config.json"
LARGEST = 2**22  # px; what an ordinary picture is resized to is smaller, and is resized whole


@dataclass(frozen=True)
class ClipProcessor:
    """CLIP's preprocessing: shortest side to s, centre crop s x s, [0, 1], normalised."""

    size: int = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __call__(self, images: list[Image.Image]) -> "Tensor":
        """RGB images of any size -> (B, 3, s, s) float32."""
        import torch

        return torch.from_numpy(np.stack([self._one(image) for image in images]))

    def _one(self, image: Image.Image) -> np.ndarray:
        image = middle(image, self.size, self.size, rounded=math.floor)  # as CLIPImageProcessor crops
        short = min(image.size)
        wide, high = (int(self.size * side / short) for side in image.size)
        image = image.convert("RGB").resize((wide, high), BICUBIC)
        left, top = (wide - self.size) // 2, (high - self.size) // 2
        pixels = np.asarray(image.crop((left, top, left + self.size, top + self.size)))  # (s, s, 3)
        scaled = (pixels * (1 / 255)).astype(np.float32)
        normal = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return normal.transpose(2, 0, 1)

    def save_pretrained(self, folder: Path) -> None:
        """In the format of CLIPImageProcessor."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        square = {"height": self.size, "width": self.size}
        data = {
            "image_processor_type": "CLIPImageProcessor",
            "do_resize": True,
            "size": {"shortest_edge": self.size},
            "resample": int(BICUBIC),
            "do_center_crop": True,
            "crop_size": square,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": self.mean,
            "image_std": self.std,
            "do_convert_rgb": True,
        }
        write_json(Path(folder) / CONFIG, data)

    @classmethod
    def from_pretrained(cls, folder: Path) -> "ClipProcessor":
        """Reads CLIPImageProcessor's file too, whose sizes may be bare numbers; refuses what it would not do."""
        with naming(Path(folder) / CONFIG):
            return cls._of(read_json(Path(folder) / CONFIG), folder)

    @classmethod
    def _of(cls, data: dict, folder: Path) -> "ClipProcessor":
        short = data["size"]["shortest_edge"] if isinstance(data["size"], dict) else data["size"]
        crop = data.get("crop_size", short)
        crop = crop["height"] if isinstance(crop, dict) else crop
        if crop != short or data.get("resample", 3) != BICUBIC:
            raise ValueError(
                f"{folder}: shortest side {short}, crop {crop}, resample {data.get('resample')}; "
                "CLIP's preprocessing has both sizes the same and resamples bicubically (3)"
            )
        return cls(short, tuple(data["image_mean"]), tuple(data["image_std"]))

    def __repr__(self) -> str:
        return f"ClipProcessor({asdict(self)})"


def middle(
    image: Image.Image, short: int, crop: int, kind: Image.Resampling = BICUBIC, rounded: Callable[[float], int] = round
) -> Image.Image:
    """image itself, or of a thin one the part of side `short` in which CenterCrop(crop) finds the same pixels.

    Resize to the short side, then CenterCrop, turns 1x120,000 px into 256x30,720,000 of which 224 rows are kept. Here
    PIL resizes those rows alone: its filter reaches beyond the box it is given, so the pixels are those of the whole
    (but for ties of rounding: one level, one value in forty at most where measured).
    short: what the transform resizes the short side to. rounded: of the crop's place. Both are torchvision's.
    """
    width, height = image.size
    narrow, length = min(width, height), max(width, height)
    resized = int(short * length / narrow)
    if resized * short <= LARGEST:
        return image
    start = rounded((resized - crop) / 2) - rounded((short - crop) / 2)
    scale = length / resized
    low, high = start * scale, (start + short) * scale
    reach = 3 * max(1, scale) + 1  # of PIL's filters, in pixels of the image, and one for rounding
    first, last = max(0, int(low - reach)), min(length, int(high + reach) + 1)
    lying = width > height
    part = image.crop((first, 0, last, height) if lying else (0, first, width, last))
    box = (low - first, 0, high - first, height) if lying else (0, low - first, width, high - first)
    if height > 100 * width and resized < height:  # there PIL shrinks the height first; elsewhere the width
        part = part.resize((width, short), kind, box)
        box = (0, 0, width, short)
    return part.resize((short, short), kind, box)


def crop_square(image: Image.Image, size: int = 512) -> Image.Image:
    """The training route's first step: centre crop to a square, resized to size x size."""
    wide, high = image.size
    side = min(wide, high)
    left, top = (wide - side) // 2, (high - side) // 2
    return image.crop((left, top, left + side, top + side)).resize((size, size), BICUBIC)


def training_pixels(image: Image.Image, size: int = 256, crop: int = 512) -> "Tensor":
    """(3, size, size) float32 in [-1, 1], for the VAE: crop_square, then a second resize."""
    import torch

    square = crop_square(image.convert("RGB"), crop).resize((size, size), BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32).transpose(2, 0, 1) / 255.0) * 2.0 - 1.0


def edit_size(image: Image.Image, factor: int, max_side: int) -> tuple[int, int]:
    """(width, height) at which an image is edited: within max_side, then down to multiples of the VAE's factor."""
    scale = min(1.0, max_side / max(image.size))
    width, height = (int(side * scale) // factor * factor for side in image.size)
    if min(width, height) == 0:
        raise ValueError(
            f"the image is {image.width}x{image.height} px; each side must be at least {factor} px "
            f"(once the longer one is at most {max_side})"
        )
    return width, height


def edit_pixels(image: Image.Image, size: tuple[int, int]) -> "Tensor":
    """(3, H, W) float32 in [-1, 1] at size (width, height), Lanczos, as VaeImageProcessor of diffusers."""
    import torch

    resized = image.convert("RGB").resize(size, LANCZOS)
    return torch.from_numpy(np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) / 255.0) * 2.0 - 1.0


def to_images(pixels: "Tensor") -> list[Image.Image]:
    """(B, 3, H, W) in about [-1, 1], any dtype -> RGB images."""
    values = (pixels.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(image) for image in (values * 255).round().astype("uint8")]


def images_of(places: list[int], decoded: "Tensor") -> dict[int, Image.Image]:
    """decoded: (B, 3, H, W), of these places of a batch. By place the image. Raises ValueError as refuse_nan does."""
    refuse_nan(decoded, places)
    return dict(zip(places, to_images(decoded), strict=True))


def refuse_nan(decoded: "Tensor", places: list[int]) -> None:
    """decoded: (B, 3, H, W). Raises ValueError that names the edits of the batch that are not numbers."""
    bad = [i for i, image in zip(places, decoded, strict=True) if not image.isfinite().all()]
    if bad:
        raise ValueError(
            f"edits {bad} of this batch are NaN or infinite; on float16 try bfloat16 or float32, "
            "else look for a damaged checkpoint"
        )
