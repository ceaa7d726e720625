"""--quantize int8 or nf4: denoiser and text encoders at a half or a quarter of their size, by diffusers' quantisation.

bitsandbytes does both, on a GPU; torchao does int8, on a CPU too. Neither is among this project's dependencies. The VAE
stays as it is.
"""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

BACKENDS = {"int8": ("bitsandbytes", "torchao"), "nf4": ("bitsandbytes",)}
NEED_GPU = ("bitsandbytes",)
BYTES = {"int8": 1.0, "nf4": 0.5}  # of a value
QUANTIZED = ("transformer", "unet", "text_encoder", "text_encoder_2", "text_encoder_3", "vision_language_encoder")


def backend(quantize: str, device: str) -> str:
    """The package that does it. Raises ValueError, one line, where none that can is installed."""
    able = [name for name in BACKENDS[quantize] if device.startswith("cuda") or name not in NEED_GPU]
    if not able:
        raise ValueError(f"--quantize {quantize} on {device}: {' and '.join(BACKENDS[quantize])} needs a GPU")
    found = next((name for name in able if find_spec(name)), None)
    if found is None:
        names = " or ".join(able)
        raise ValueError(f"--quantize {quantize} needs {names}, which is not installed: pip install {able[0]}")
    return found


def record(quantize: str, device: str) -> dict[str, str]:
    """For the fingerprint: another package, or another version of it, may round otherwise."""
    if quantize == "none":
        return {}
    name = backend(quantize, device)
    try:
        return {"quantize": f"{quantize}, {name} {version(name)}"}
    except PackageNotFoundError:
        return {"quantize": f"{quantize}, {name}"}


def configuration(quantize: str, component: str, library: str, dtype: "torch.dtype", device: str) -> object | None:
    """The library's own configuration for one component; None: it is loaded as it is."""
    if quantize == "none" or component not in QUANTIZED:
        return None
    if library == "transformers":
        import transformers as source
    else:
        import diffusers as source
    if backend(quantize, device) == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return source.TorchAoConfig(Int8WeightOnlyConfig())
    if quantize == "int8":
        return source.BitsAndBytesConfig(load_in_8bit=True)
    return source.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
