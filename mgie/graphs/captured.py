"""Steps of fixed shape: on a GPU each is one captured CUDA graph, so that it is one launch instead of a thousand.

Elsewhere, and where a capture fails (which is said), a step runs as it is on the same buffers. The numbers are those of
the eager path within rounding. Not timed, and captured by no GPU yet: none was at hand.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # calls before a capture, as torch asks for

Call = Callable[..., tuple[Tensor, ...]]
Notice = Callable[[str], None]


class Captured:
    """A function of tensors, called with the same shapes each time. What it returns is overwritten by the next call."""

    def __init__(
        self, call: Call, device: torch.device, notice: Notice, rewind: Callable[[], None] = lambda: None
    ) -> None:
        """rewind: takes back what a call leaves behind (a cache's length), for the calls that warm up."""
        self.call, self.device, self.notice, self.rewind = call, device, notice, rewind
        self.inputs: tuple[Tensor, ...] = ()
        self.outputs: tuple[Tensor, ...] = ()
        self.replay: Callable[[], None] | None = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if not self.inputs:
            self.inputs = tuple(given.clone() for given in inputs)
            self.capture()
        else:
            for own, given in zip(self.inputs, inputs, strict=True):
                own.copy_(given)
        if self.replay is None:
            return self.call(*self.inputs)
        self.replay()
        return self.outputs

    def capture(self) -> None:
        if self.device.type != "cuda":
            return
        try:
            self.outputs, self.replay = graph_of(lambda: self.call(*self.inputs), self.device)
        except RuntimeError as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            self.notice(f"a step could not be captured ({why[:200]}); its kernels are launched one by one")
        finally:
            self.rewind()

    def fits(self, *inputs: Tensor) -> bool:
        """Whether these have the shapes and dtypes of what was captured."""
        if not self.inputs:
            return True
        return [(x.shape, x.dtype) for x in inputs] == [(x.shape, x.dtype) for x in self.inputs]


def graph_of(call: Callable[[], tuple[Tensor, ...]], device: torch.device) -> tuple[tuple[Tensor, ...], Callable]:
    """The outputs' buffers, and what fills them anew. Raises RuntimeError where call cannot be captured."""
    with torch.cuda.device(device):
        side, current = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                call()
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = call()
    return outputs, graph.replay


class Beside:
    """Work on a stream of its own, while the current one goes on; elsewhere than on a GPU it is simply done."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, call: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """What call makes of `given`; not to be looked at before wait()."""
        if self.stream is None:
            return call(given)
        self.stream.wait_stream(torch.cuda.current_stream(given.device))
        with torch.cuda.stream(self.stream):
            made = call(given)
        given.record_stream(self.stream)
        return made

    def wait(self) -> None:
        if self.stream is not None:
            torch.cuda.current_stream(self.stream.device).wait_stream(self.stream)
