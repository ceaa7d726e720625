"""The bound of Table 4: what one call asks of the device, and what the device can do.

Counted are the operations of matrix products, convolutions and attention as torch's FlopCounterMode counts them, and
the weights' bytes, once a pass; of an embedding only the rows that are read; activations and the cache are left out.
Rates are the best that this device shows: of several matrix products, of every kind of convolution that was called, of
copies and reads of several sizes. A convolution that needs fewer operations than are counted (Winograd) raises the
rate, and so the bound stays one: nothing passes it.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.speed.stopwatch import synchronise

if TYPE_CHECKING:
    import torch
    from torch import nn

RUNS = 5  # of each kind; the best counts
SMALLEST, LARGEST = 2**16, 2**30  # bytes of a buffer that is read
SHARE = 0.01  # kinds of convolutions with less of all their operations are not timed


class Convolution(NamedTuple):
    """One kind of convolution."""

    input: tuple[int, ...]  # (B, C, H, W)
    weight: tuple[int, ...]  # (out, in / groups, h, w)
    stride: tuple[int, ...]
    padding: tuple[int, ...] | str
    dilation: tuple[int, ...]
    groups: int
    dtype: str  # float32, as torch.<dtype>


class Work(NamedTuple):
    """What one call asks of the device, by stage."""

    products: dict[str, float]  # operations of matrix products and attention
    convolutions: dict[str, float]  # operations
    bytes: dict[str, float]  # of weights, of all passes
    passes: dict[str, int]
    dtypes: dict[str, str]
    kinds: tuple[Convolution, ...] = ()

    @property
    def flops(self) -> dict[str, float]:
        return {stage: self.products[stage] + self.convolutions[stage] for stage in self.products}


class Rates(NamedTuple):
    """The best that was measured, a second."""

    products: dict[str, float]  # by dtype: operations
    convolutions: dict[str, float]
    reads: dict[int, float]  # by size of the buffer: bytes

    def limit(self, work: Work) -> dict[str, float]:
        """Seconds below which no stage can come: by its operations or by its bytes, whichever takes longer."""
        found = {}
        for stage, dtype in work.dtypes.items():
            product = self.products[dtype]
            operations = work.products[stage] / product
            if work.convolutions[stage]:  # a convolution may also be done as a matrix product
                operations += work.convolutions[stage] / max(product, self.convolutions.get(dtype, 0.0))
            found[stage] = max(operations, self.reading(work, stage))
        return found

    def reading(self, work: Work, stage: str) -> float:
        """What fits into a cache is read quicker: the rate is that of a buffer no larger than the stage's weights."""
        if not work.bytes[stage]:
            return 0.0
        once = work.bytes[stage] / max(1, work.passes[stage])
        sizes = [size for size in self.reads if size <= once] or [min(self.reads)]
        return work.bytes[stage] / self.reads[max(sizes)]

    def at_least(self, other: "Rates") -> "Rates":
        """The better of both."""
        return Rates(
            better(self.products, other.products), better(self.convolutions, other.convolutions),
            better(self.reads, other.reads),
        )  # fmt: skip


Key = TypeVar("Key", str, int)


def better(one: dict[Key, float], other: dict[Key, float]) -> dict[Key, float]:
    return {key: max(one.get(key, 0.0), other.get(key, 0.0)) for key in one | other}


def count_work(call: Callable[[], object], modules: "dict[str, nn.Module]") -> Work:
    """The work of one call, by module."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    products, convolutions = dict.fromkeys(modules, 0.0), dict.fromkeys(modules, 0.0)
    passes, rows, kinds, hooks = dict.fromkeys(modules, 0), dict.fromkeys(modules, 0.0), dict[Convolution, int](), []
    with FlopCounterMode(display=False) as counter:
        before: dict[str, tuple[float, float]] = {}

        def counted() -> tuple[float, float]:
            found = counter.get_flop_counts().get("Global", {})
            folded = sum(n for op, n in found.items() if "convolution" in str(op))
            return float(sum(found.values()) - folded), float(folded)

        def begin(name: str) -> None:
            before[name] = counted()

        def end(name: str) -> None:
            for total, now, then in zip((products, convolutions), counted(), before[name], strict=True):
                total[name] += now - then
            passes[name] += 1

        def read(name: str, part: "nn.Embedding", ids: "torch.Tensor") -> None:
            rows[name] += ids.unique().numel() * part.weight[0].numel() * part.weight.element_size()

        def convolved(part: "nn.Conv2d", given: "torch.Tensor") -> None:
            kind = Convolution(tuple(given.shape), tuple(part.weight.shape), part.stride, part.padding, part.dilation,
                               part.groups, str(given.dtype).removeprefix("torch."))  # fmt: skip
            kinds[kind] = kinds.get(kind, 0) + 1

        for name, module in modules.items():
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: begin(name)))
            hooks.append(module.register_forward_hook(lambda *_, name=name: end(name)))
            for part in module.modules():
                if isinstance(part, torch.nn.Embedding):
                    hooks.append(part.register_forward_hook(lambda p, args, _, name=name: read(name, p, args[0])))
                if type(part) is torch.nn.Conv2d:
                    hooks.append(part.register_forward_hook(lambda p, args, _: convolved(p, args[0])))
        try:
            call()
        finally:
            for hook in hooks:
                hook.remove()
    sizes = {name: read_whole(module) for name, module in modules.items()}
    dtypes = {name: dtype_of(module) for name, module in modules.items()}
    return Work(
        products, convolutions, {name: passes[name] * sizes[name] + rows[name] for name in modules}, passes, dtypes,
        tuple(sorted(kinds, key=operations)),
    )  # fmt: skip


def read_whole(module: "nn.Module") -> int:
    """Bytes of the weights that a pass reads whole: all but those of embeddings."""
    import torch

    embeddings = {id(p) for part in module.modules() if isinstance(part, torch.nn.Embedding) for p in part.parameters()}
    return sum(p.numel() * p.element_size() for p in module.parameters() if id(p) not in embeddings)


def dtype_of(module: "nn.Module") -> str:
    weight = next(iter(module.parameters()), None)
    return "float32" if weight is None else str(weight.dtype).removeprefix("torch.")


def operations(kind: Convolution) -> float:
    """Of one call, as FlopCounterMode counts them: two for a product and its sum."""
    batch, _, *size = kind.input
    out, *kernel = kind.weight
    places = 1
    for axis, side in enumerate(size):
        pad = kind.padding if isinstance(kind.padding, str) else kind.padding[axis]
        reach = kind.dilation[axis] * (kind.weight[2 + axis] - 1) + 1
        around = {"same": reach - 1, "valid": 0}[pad] if isinstance(pad, str) else 2 * pad
        places *= (side + around - reach) // kind.stride[axis] + 1
    per_place = 1
    for side in kernel:
        per_place *= side
    return 2.0 * batch * out * places * per_place


def rates_of(device: str, work: Work) -> Rates:
    """Measured now, on this device, in the dtypes of the work."""
    dtypes = sorted(set(work.dtypes.values()))
    whole = [work.bytes[s] / max(1, work.passes[s]) for s in work.bytes if work.bytes[s]]
    sizes = {size_below(once) for once in whole} or {SMALLEST}
    return Rates(
        {dtype: best_product(device, dtype) for dtype in dtypes}, best_convolutions(device, work.kinds),
        {size: best_read(device, size) for size in sizes},
    )  # fmt: skip


def size_below(count: float) -> int:
    """The power of two below, within what is measured."""
    return max(SMALLEST, min(LARGEST, 2 ** (int(count).bit_length() - 1)))


def best_product(device: str, dtype: str) -> float:
    """Operations a second of the best of several square matrix products."""
    import torch

    found = 0.0
    for side in (2048, 4096, 8192) if device.startswith("cuda") else (256, 512, 1024):
        a, b = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in range(2))
        found = max(found, 2.0 * side**3 / fastest(partial(torch.matmul, a, b), device))
    return found


def best_convolutions(device: str, kinds: tuple[Convolution, ...]) -> dict[str, float]:
    """By dtype, operations a second of the best of these, with channels first or last."""
    import torch
    from torch.nn.functional import conv2d

    found: dict[str, float] = {}
    most = max(map(operations, kinds), default=0.0)
    for kind in kinds:
        if operations(kind) < SHARE * most:
            continue
        dtype = getattr(torch, kind.dtype)
        x, weight = (torch.randn(shape, device=device).to(dtype) for shape in (kind.input, kind.weight))
        for form in (torch.contiguous_format, torch.channels_last):
            x, weight = x.contiguous(memory_format=form), weight.contiguous(memory_format=form)

            def call(x: "torch.Tensor" = x, weight: "torch.Tensor" = weight, kind: Convolution = kind) -> object:
                return conv2d(x, weight, None, kind.stride, kind.padding, kind.dilation, kind.groups)

            found[kind.dtype] = max(found.get(kind.dtype, 0.0), operations(kind) / fastest(call, device))
    return found


def best_read(device: str, size: int) -> float:
    """Bytes a second of the best way to go through a buffer: to copy it (read and written), to add it up, to multiply
    it with a vector."""
    import torch

    source = torch.ones(size // 4, device=device)
    target, matrix = torch.empty_like(source), source.view(-1, min(1024, size // 4))
    vector = torch.ones(matrix.shape[1], device=device)
    ways = ((lambda: target.copy_(source), 2 * size), (lambda: source.sum(), size), (lambda: matrix @ vector, size))
    return max(read / fastest(call, device) for call, read in ways)


def fastest(call: Callable[[], object], device: str) -> float:
    """Seconds a call, of the best of several rounds; each is long enough for the clock."""
    import torch

    with torch.inference_mode():
        many, seconds = 1, 0.0
        call()
        while True:
            seconds = once(call, device, many) / many
            if seconds * many > 1e-3 or many >= 4096:
                break
            many *= 4
        return min([seconds, *(once(call, device, many) / many for _ in range(RUNS))])


def once(call: Callable[[], object], device: str, many: int) -> float:
    synchronise(device)
    start = time.perf_counter()
    for _ in range(many):
        call()
    synchronise(device)
    return time.perf_counter() - start
