"""What a model wrote for a batch, kept: no text depends on the seed or on how strongly it guides, so that one serves
all seeds of a run and all scales of the trade-off.

Kept by the batch, not by the example: in another batch the last bits of a state may be others, and a run that is
continued after a kill must end in the same pixels.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mgie.io.images import pixel_hash

if TYPE_CHECKING:
    from PIL.Image import Image

MEMORY = 10**9  # bytes; states of MGIE-7B take 65 kB an example
T = TypeVar("T")


class Texts:
    def __init__(self, most: int = MEMORY) -> None:
        self.most, self.size = most, 0
        self.kept: OrderedDict[tuple, tuple[Any, int]] = OrderedDict()  # Any: what its writer gives

    def of(
        self, instructions: Sequence[str], images: "Sequence[Image] | None", write: Callable[[], tuple[T, int]]
    ) -> T:
        """What `write` gives for this batch, or gave before; it says with it how many bytes that takes."""
        seen = ("",) * len(instructions) if images is None else [pixel_hash(image) for image in images]
        key = tuple(zip(instructions, seen, strict=True))
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key][0]
        written, size = write()
        self.kept[key] = written, size
        self.size += size
        while self.size > self.most:
            _, (_, dropped) = self.kept.popitem(last=False)
            self.size -= dropped
        return written
