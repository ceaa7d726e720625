"""Thin pictures: what a network's transform keeps of them, without the picture that it would resize in full.

Resize to the short side, then CenterCrop, turns 1x120,000 px into 256x30,720,000 of which 224 rows are kept. Here PIL
resizes those rows alone: its filter reaches beyond the box it is given, so the pixels are those of the whole (but for
ties of rounding: one level, one value in forty at most where measured).
"""

from PIL import Image

LARGEST = 2**22  # px; what an ordinary picture is resized to is smaller, and is left to the transform itself


def middle(image: Image.Image, short: int, crop: int, kind: Image.Resampling = Image.Resampling.BICUBIC) -> Image.Image:
    """image itself, or of a thin one the part of side `short` in which CenterCrop(crop) finds the same pixels.

    short: what the transform resizes the short side to. Sizes and rounding are torchvision's.
    """
    width, height = image.size
    narrow, length = min(width, height), max(width, height)
    resized = int(short * length / narrow)
    if resized * short <= LARGEST:
        return image
    start = round((resized - crop) / 2) - round((short - crop) / 2)
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
