"""Steps of fixed shape: on a GPU each is one captured CUDA graph, so that it is one launch instead of a thousand.

Elsewhere, and where a capture fails (which is said), a step runs as it is on the same buffers. The numbers are those of
the eager path within rounding. Not timed, and captured by no GPU yet: none was at hand.
B batch, L prompt length, T length of the cache, D hidden size, V vocabulary.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn
    from transformers import DynamicCache

WARM_UP = 3  # calls before a capture, as torch asks for
ROUND = 128  # tokens: a cache's length is a multiple of it, so that few lengths are captured

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


class Decoder(Protocol):
    """An MLLM, of which a step asks for its LLM alone."""

    llama: "nn.Module"


class StaticDecoding:
    """Decoding in a cache of fixed length, a step captured once for all batches of the same size and length."""

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.kept: _Fixed | None = None  # only the last: at 7B a cache takes gigabytes

    def begin(self, mllm: Decoder, cache: "DynamicCache", mask: Tensor, new_tokens: int) -> "_Fixed":
        """cache, mask: of the prompt, (B, L). new_tokens: so many steps at most follow."""
        batch, prompt = mask.shape
        length = -(-(prompt + new_tokens + WARM_UP) // ROUND) * ROUND
        if self.kept is None or not self.kept.serves(mllm, batch, length):
            self.kept = None  # let go before the next is made
            self.kept = _Fixed(mllm, batch, length, cache, self.notice)
        self.kept.fill(cache, mask)
        return self.kept


class _Fixed:
    def __init__(self, mllm: Decoder, batch: int, length: int, like: "DynamicCache", notice: Notice) -> None:
        from transformers import StaticCache

        self.mllm, self.batch, self.length = mllm, batch, length
        keys = like.layers[0].keys  # (B, heads, L, head size)
        self.cache = StaticCache(config=mllm.llama.config, max_cache_len=length)
        self.cache.early_initialization(batch, keys.shape[1], keys.shape[3], keys.dtype, keys.device)
        self.least = torch.finfo(keys.dtype).min
        self.mask = torch.full((batch, 1, 1, length), self.least, dtype=keys.dtype, device=keys.device)
        self.prompt = self.at = 0
        self.step = Captured(self.run, keys.device, notice, self.rewind)

    def serves(self, mllm: Decoder, batch: int, length: int) -> bool:
        return (self.mllm, self.batch, self.length) == (mllm, batch, length)

    def fill(self, cache: "DynamicCache", mask: Tensor) -> None:
        """Begin after the prompt."""
        self.prompt = self.at = mask.shape[1]
        for own, given in zip(self.cache.layers, cache.layers, strict=True):
            own.keys[:, :, : self.prompt].copy_(given.keys)
            own.values[:, :, : self.prompt].copy_(given.values)
        self.rewind()
        self.mask.fill_(self.least)
        self.mask[:, 0, 0, : self.prompt].masked_fill_(mask.bool(), 0)

    def rewind(self) -> None:
        """The cache ends where the next token goes."""
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(self.at)

    def __call__(self, embeddings: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """embeddings: (B, 1, D) of the next tokens; place: (B, 1). Returns states (B, 1, D) and scores (B, V)."""
        self.mask[..., self.at] = 0
        states, scores = self.step(embeddings, place)
        self.at += 1
        return states.clone(), scores

    def run(self, embeddings: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        states = self.mllm.llama.model(
            inputs_embeds=embeddings, attention_mask=self.mask, position_ids=place, past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state  # fmt: skip
        return states, self.mllm.llama.lm_head(states[:, -1]).float()


class StaticUNet:
    """A UNet's step, captured once for all steps of the same shape."""

    def __init__(self, notice: Notice) -> None:
        self.notice = notice
        self.step: Captured | None = None  # of the last shape

    def __call__(self, unet: Callable, model_input: Tensor, timestep: Tensor, embeds: Tensor) -> Tensor:
        """model_input: (nB, 2C, h, w); timestep: a number; embeds: (nB, Q, F). Returns (nB, C, h, w)."""
        inputs = model_input, torch.as_tensor(timestep).to(model_input.device), embeds
        if self.step is None or not self.step.fits(*inputs):
            self.step = None  # let go before the next is captured

            def call(x: Tensor, t: Tensor, e: Tensor) -> tuple[Tensor, ...]:
                return (unet(x, t, encoder_hidden_states=e, return_dict=False)[0],)

            self.step = Captured(call, model_input.device, self.notice)
        return self.step(*inputs)[0].clone()


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


class Static(NamedTuple):
    """What of a call has fixed shapes: a step of the decode and of the UNet; and the VAE decodes the images of one size
    while those of the next are denoised."""

    decoding: StaticDecoding
    unet: StaticUNet
    beside: Beside

    @classmethod
    def on(cls, device: torch.device, notice: Notice) -> "Static":
        return cls(StaticDecoding(notice), StaticUNet(notice), Beside(device))
