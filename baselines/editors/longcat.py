"""LongCat-Image-Edit: guided by guidance_scale against the empty text."""

from baselines.editors.family import Family, Kind


class LongCat(Family):
    kinds = (Kind("LongCatImageEditPipeline", "meituan-longcat/LongCat-Image-Edit", 29, 50, 4.5),)
    size = "the input's shape at 1024 x 1024 px of area, sides rounded up to multiples of 16"
