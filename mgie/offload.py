"""Weights that wait in main memory and come to the device when they are used: for a GPU smaller than the model.

One group of parts is there at a time. The LLM is called once a token: it comes whole where it fits, once a batch; layer
by layer, where each token moves all of it, only where it does not. The same numbers come out either way.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from mgie.io.memory import free_bytes

if TYPE_CHECKING:
    import torch
    from torch import nn

ROOM = 2 * 2**30  # bytes beside the LLM: its cache of keys and values, activations, the vision tower


class Away(Protocol):
    """Something that can make room on the device."""

    def offload(self) -> None: ...


class Whole:
    """A module that comes to the device whole when it, or one of its parts, is called.

    Its weights in main memory stay where they are: leaving copies nothing. (accelerate's hooks copy them back, and
    know only the forward of the whole.)
    """

    def __init__(self, module: "nn.Module", device: "torch.device", parts: "Sequence[nn.Module]" = ()) -> None:
        """parts: what is called of the module, beside itself and its children; a hook before each brings the whole."""
        self.device, self.there = device, False
        self.leave_first: list[Away] = []  # what makes room when it comes
        self.home = [(tensor, tensor.data) for tensor in (*module.parameters(), *module.buffers())]
        for part in (module, *module.children(), *parts):
            part.register_forward_pre_hook(lambda *_: self.arrive())

    def arrive(self) -> None:
        if self.there:
            return
        for other in self.leave_first:
            other.offload()
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


def take_turns(groups: Sequence[Sequence[Whole | ByLayer]]) -> None:
    """When one of a group comes, all of the other groups leave."""
    for group in groups:
        others = [one for other in groups if other is not group for one in other]
        for one in group:
            if isinstance(one, Whole):
                one.leave_first = list(others)


def fits(module: "nn.Module", device: "torch.device") -> bool:
    """Whether the whole of it and ROOM are free there."""
    free = free_bytes(str(device))
    return free is None or bytes_of(module) + ROOM <= free


def bytes_of(module: "nn.Module") -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def wait(module: "nn.Module", device: "torch.device", parts: "Sequence[nn.Module]" = ()) -> Whole | ByLayer:
    """A large module that is in main memory now, and comes whole where it fits. parts: as of Whole."""
    return Whole(module, device, parts) if fits(module, device) else ByLayer(module, device)
