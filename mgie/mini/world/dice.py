"""Random numbers that are the same on every machine and library version: SHA-256 in counter mode, integers only.

numpy and the standard library promise a seed's stream only within a version; a drawn dataset must outlive versions.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Thrown in order; the key says which throws: Dice("train", 7) is independent of Dice("train", 8)."""

    def __init__(self, *key: object) -> None:
        self.key = "/".join(str(part) for part in key).encode() + b"/"
        self.count = 0

    def below(self, n: int) -> int:
        """Uniform in 0 .. n - 1 (to within n / 2^64)."""
        if n < 1:
            raise ValueError(f"a die needs at least one side, not {n}")
        digest = sha256(self.key + str(self.count).encode()).digest()
        self.count += 1
        return int.from_bytes(digest[:8], "big") * n >> 64

    def between(self, low: int, high: int) -> int:
        """Uniform in low .. high, both included."""
        return low + self.below(high - low + 1)

    def coin(self) -> bool:
        return self.below(2) == 1

    def choice(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Fisher-Yates."""
        items = list(items)
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]
        return items
