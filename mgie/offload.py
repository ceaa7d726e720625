"""Weights that wait in main memory and come to the device when they are used: for a GPU smaller than the model.

Small parts come one by one, by accelerate's hooks. The LLM is called once a token: it comes whole where it fits, once a
batch; layer by layer, where each token moves all of it, only where it does not. The same numbers come out either way.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mgie.io.memory import free_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

ROOM = 2 * 2**30  # bytes beside the LLM: its cache of keys and values, activations, the vision tower


class Away(Protocol):
    """Something on the device that can make room."""

    def offload(self) -> None: ...


class Whole:
    """A module that comes to the device whole when one of its parts is called.

    Its weights in main memory stay where they are: leaving copies nothing.
    """

    def __init__(self, module: "nn.Module", parts: "Sequence[nn.Module]", device: "torch.device") -> None:
        """parts: of the module, which are called; a hook before each brings the whole."""
        self.device, self.there = device, False
        self.home = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
        for part in parts:
            part.register_forward_pre_hook(lambda *_: self.arrive())

    def arrive(self) -> None:
        if not self.there:
            for tensor, home in self.home:
                tensor.data = home.to(self.device)
            self.there = True

    def offload(self) -> None:
        for tensor, home in self.home:
            tensor.data = home
        self.there = False


class ByLayer:
    """A module of which a layer at a time is on the device, for its own forward only."""

    def __init__(self, module: "nn.Module", device: "torch.device") -> None:
        from accelerate import cpu_offload

        cpu_offload(module, device)

    def offload(self) -> None:
        """Nothing of it is there between two calls."""


class Several(list[Away]):
    def offload(self) -> None:
        for one in self:
            one.offload()


def fits(module: "nn.Module", device: "torch.device") -> bool:
    """Whether the whole of it and ROOM are free there."""
    free = free_bytes(str(device))
    return free is None or bytes_of(module) + ROOM <= free


def bytes_of(module: "nn.Module") -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def wait(module: "nn.Module", parts: "Sequence[nn.Module]", device: "torch.device") -> Whole | ByLayer:
    """A large module that is in main memory now, and comes whole where it fits."""
    return Whole(module, parts, device) if fits(module, device) else ByLayer(module, device)
