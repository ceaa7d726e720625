"""An editor's pipeline from its folder: every model exactly or not at all, in the family's precision, on its device."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baselines.editors.family import DENOISERS, Family
from baselines.editors.unknown import pipeline_class
from mgie.io.components import component_class, components, load_parts, quiet, weights_of
from mgie.io.devices import Placement, in_half
from mgie.io.files import naming


def fetched(family: Family) -> Path:
    """The local folder of the pipeline: its own, or the Hub's copy in the cache, downloaded where it is not there."""
    place, revision, index = family.source
    if revision is None:
        return Path(place)
    from diffusers import DiffusionPipeline

    folder = Path(DiffusionPipeline.download(place, revision=revision))
    if all(has_weights(folder, name, *named) for name, named in components(index).items()):
        return folder
    return Path(DiffusionPipeline.download(place, revision=revision, variant="fp16"))  # all there is


def has_weights(folder: Path, name: str, library: str, cls: str) -> bool:
    """False for a model whose weights are not there; what is no model needs none."""
    from torch import nn

    if not issubclass(component_class(library, cls, folder), nn.Module):
        return True
    try:
        return bool(weights_of(folder / name).files)
    except FileNotFoundError:
        return False


def load_pipeline(family: Family, folder: Path, where: Placement, quantize: str = "none") -> object:
    """Raises FileNotFoundError or ValueError, with the file's or the tensors' names, before anything is edited."""
    from baselines.quantize import configuration

    device, dtype, offload = where
    cls, index = pipeline_class(family.name), family.source.index
    parts = load_parts(
        folder,
        index,
        lambda name: family.dtype_of(name, dtype),
        lambda name, library: configuration(quantize, name, library, dtype, device),
        None if offload else device,
    )
    options = family.options() | unloaded(cls, components(index))
    with quiet():
        with naming(folder):
            pipeline = cls.from_pretrained(folder, **parts, **options)
        pipeline.set_progress_bar_config(disable=True)
        if offload:
            pipeline.enable_model_cpu_offload(device=device)
        else:
            pipeline = pipeline.to(device)
    if family.mixed and dtype.itemsize == 2:
        for name in DENOISERS:
            if name in parts:
                in_half(parts[name], dtype)
    return pipeline


def unloaded(cls: type[Any], named: Mapping[str, object]) -> dict[str, object]:
    """What the constructor must be told of the safety checker: it would paint black what it dislikes, in silence."""
    known = inspect.signature(cls.__init__).parameters
    if "safety_checker" not in known:
        return {}
    off = {name: None for name in ("safety_checker", "feature_extractor") if name in known and name not in named}
    return off | {"requires_safety_checker": False}
