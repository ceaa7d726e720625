"""How the metrics' networks are run: on one device, in fp32, without gradients and without TensorFloat-32.

fp16 CLIP has given cosines above 2 (clipscore#2), and cuDNN's default TF32 convolutions move the third decimal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def device_of(name: str, flag: str = "--metric-device") -> str:
    """auto: cuda where there is one, else cpu. ValueError that names the flag for a device that is not there."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"{flag} {name}: torch {torch.__version__} sees no GPU; use {flag} cpu or auto")
    return name


@contextmanager
def exactly(device: str) -> Iterator[None]:
    """fp32 means fp32, whatever the model under test has switched on."""
    import torch

    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.inference_mode(),
            torch.autocast(torch.device(device).type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def in_batches(rows: list["Tensor"], size: int, device: str, encode: Callable[["Tensor"], "Tensor"]) -> np.ndarray:
    """encode's features of all rows, float32 on the CPU."""
    import torch

    with exactly(device):
        parts = [encode(torch.stack(rows[i : i + size]).to(device)).float().cpu() for i in range(0, len(rows), size)]
    return torch.cat(parts).numpy()


def who(protocol: str, sha256: str, device: str, batch_size: int) -> str:
    """A key for stored features: whatever moves their bits."""
    import torch

    kind = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    threads = torch.get_num_threads()
    return f"{protocol} {sha256} on {kind}, batch {batch_size}, threads {threads}, torch {torch.__version__}"
