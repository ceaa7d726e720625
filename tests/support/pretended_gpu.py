"""A GPU that is not there: tensors sent to "cuda" stay on the CPU but count as being elsewhere.

    with PretendedGPU(): loss(network.to("cuda"))     # RuntimeError where an operation mixes CPU and "cuda"

It finds what a test on a CPU cannot: a batch, an index or a frozen part that was not sent to the network's device.
Not covered: numbers on a GPU, kernels, memory; operations inside of PyTorch's own composite functions.
"""

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MAY_MIX = {  # as on a real GPU
    Tensor.__getitem__, Tensor.__setitem__, Tensor.copy_, Tensor.data.__set__, torch._has_compatible_shallow_copy_type,
}  # fmt: skip


class PretendedGPU(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[int, object] = {}  # storages that are there, by number; kept alive, so that none is given twice

    def is_there(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self.sent

    def put(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self.sent[storage._cdata] = storage
        return tensor

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
        there = [self.is_there(t) for t in tensors]
        if func == Tensor.device.__get__:
            return GPU if there[0] else CPU
        if func in (Tensor.is_cuda.__get__, Tensor.is_cpu.__get__):
            return there[0] == (func == Tensor.is_cuda.__get__)
        if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self.moved(func, args, kwargs, there)
        if func in (Tensor.numpy, Tensor.__array__) and there[0]:
            raise TypeError("a tensor on a GPU is no numpy array; .cpu() first")
        asked = kwargs.get("device")
        if asked is not None:
            kwargs["device"] = "cpu"
            goes = torch.device(asked).type == "cuda"
        else:
            mixed = {t for t, x in zip(there, tensors, strict=True) if x.dim() > 0}
            if len(mixed) == 2 and func not in MAY_MIX:
                raise RuntimeError(f"{getattr(func, '__name__', func)} mixes tensors of CPU and GPU")
            goes = any(there) if func is not Tensor.copy_ else there[0]
        result = func(*args, **kwargs)
        return tree_map(lambda part: self.put(part) if isinstance(part, Tensor) else part, result) if goes else result

    def moved(self, func, args, kwargs, there):
        """What .to, .cpu and .cuda return: the tensor itself where it stays, else a copy."""
        asked = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, (str, torch.device, Tensor))]
        if func is not Tensor.to:
            goes = func is Tensor.cuda
        elif asked and isinstance(asked[0], Tensor):
            goes = self.is_there(asked[0])
        else:
            goes = torch.device(asked[0]).type == "cuda" if asked else there[0]
        result = args[0]
        if func is Tensor.to:  # for the dtype
            args = [CPU if isinstance(a, (str, torch.device)) else a for a in args]
            result = func(*args, **{k: CPU if k == "device" else v for k, v in kwargs.items()})
        if goes != there[0] and result.untyped_storage()._cdata == args[0].untyped_storage()._cdata:
            result = result.clone()
        return self.put(result) if goes else result
