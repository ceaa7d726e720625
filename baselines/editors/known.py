"""The allow-list: which class of diffusers belongs to which family of editors. What is not here is refused.

`python -m bench.editors` prints it. A new editor: a file beside this one, a line here, a tiny pipeline in the tests.
"""

from baselines.editors.dreamlite import DreamLite
from baselines.editors.family import Family, Source
from baselines.editors.flux2 import Flux2
from baselines.editors.flux_kontext import FluxKontext
from baselines.editors.glm_image import GlmImage
from baselines.editors.instruct_pix2pix import InstructPix2Pix, InstructPix2PixXL
from baselines.editors.joyimage import JoyImageEdit, JoyImageEditPlus
from baselines.editors.kandinsky5 import Kandinsky5
from baselines.editors.ledits import Ledits
from baselines.editors.longcat import LongCat
from baselines.editors.omnigen import OmniGen
from baselines.editors.qwen_image import QwenImage21, QwenImageEdit
from baselines.editors.z_image import ZImageOmni

FAMILIES: tuple[type[Family], ...] = (
    InstructPix2Pix, InstructPix2PixXL, FluxKontext, Flux2, QwenImageEdit, QwenImage21, LongCat, JoyImageEdit,
    JoyImageEditPlus, Kandinsky5, DreamLite, OmniGen, GlmImage, ZImageOmni, Ledits,
)  # fmt: skip
CLASSES: dict[str, type[Family]] = {kind.name: family for family in FAMILIES for kind in family.kinds}


def family_of(source: Source, unknown_editor: bool = False) -> Family:
    """The family of a pipeline, ready for it. ValueError for a class that is no editor: with the list and the escape.

    unknown_editor: run a class outside the list by the signature of its call (baselines/editors/unknown.py).
    """
    if source.class_name in CLASSES:
        return CLASSES[source.class_name](source)
    if unknown_editor:
        from baselines.editors.unknown import UnknownEditor

        return UnknownEditor(source)
    raise ValueError(f"{source.place} is a {source.class_name}: {why_not(source.class_name)}\n{list_of()}")


def why_not(name: str) -> str:
    if name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
        ledits = f"LEditsPPPipeline{name.removesuffix('Pipeline')}"
        return f"it draws from text; for LEDITS++ set _class_name to {ledits} in a copy's model_index.json"
    return "not among the instruction editors tried here"


def list_of() -> str:
    return (
        f"known: {', '.join(CLASSES)} (python -m bench.editors tells more)\n"
        "to run another that takes an image and a text all the same: --unknown-editor"
    )
