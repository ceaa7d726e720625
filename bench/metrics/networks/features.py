"""Features of images, computed once and shared by models, seeds and metrics.

What is stored is a unit: the features of one slice of images, encoded together. Its key is the SHA-256 of who encodes
(network, weights, transform, device) and of the slice's distinct pixels in order, never a name or a path. A unit is
encoded whole or not at all, so its bits do not depend on what was there before: a killed and repeated run ends in the
same files.
"""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from PIL.Image import Image

from mgie.io.files import write_whole

if TYPE_CHECKING:
    from torch import Tensor

MEMORY = 64 * 2**20  # bytes of features held in memory; the oldest go first
DIGEST = hashlib.sha256().digest_size


class Known(Protocol):
    """What is told apart by its content's hash."""

    @property
    def sha256(self) -> str: ...


class Seen(Known, Protocol):
    """An image as the networks are given it."""

    @property
    def image(self) -> Image: ...


One = TypeVar("One", bound=Known)  # an image, or a text


class FeatureCache:
    """Features in memory and, with a folder, in <folder>/<first two hex>/<key>.npy."""

    def __init__(self, folder: Path | None, writes: bool = True) -> None:
        """writes=False: the folder is only read; what would be written is handed to somebody else, see handed_over."""
        self.folder, self.writes = folder, writes
        self.unwritten: dict[str, np.ndarray] = {}
        self.units: OrderedDict[str, np.ndarray] = OrderedDict()

    def features(
        self,
        protocol: str,
        pictures: Sequence[One],
        encode: Callable[[list[One]], np.ndarray],
        on_disk: bool = True,
    ) -> np.ndarray:
        """(len(pictures), D), rows in the order of `pictures`; equal pictures are encoded once.

        on_disk=False for output images, which no later run asks for.
        """
        if not pictures:
            return np.zeros((0, 0), dtype=np.float32)
        distinct = {picture.sha256: picture for picture in pictures}
        key = hashlib.sha256("\n".join([protocol, *distinct]).encode()).hexdigest()
        path = self.path(key) if self.folder and on_disk else None
        unit = self.units.get(key)
        if unit is None and path:
            unit = read(path)
        if unit is None:
            unit = encoded(list(distinct.values()), encode)
        if path and not path.exists():
            self.keep({key: unit})
        self.remember(key, unit)
        place = {sha256: row for row, sha256 in enumerate(distinct)}
        return unit[[place[picture.sha256] for picture in pictures]]

    def path(self, key: str) -> Path:
        assert self.folder is not None  # only those that have one are asked
        return self.folder / key[:2] / f"{key}.npy"

    def keep(self, units: dict[str, np.ndarray]) -> None:
        """Store what is not there yet; nothing without a folder."""
        for key, unit in units.items():
            if not self.writes:
                self.unwritten[key] = unit
            elif self.folder and not self.path(key).exists():
                write(self.path(key), unit)

    def handed_over(self) -> dict[str, np.ndarray]:
        """What was made since this was last asked and is to be kept, by key."""
        made, self.unwritten = self.unwritten, {}
        return made

    def remember(self, key: str, unit: np.ndarray) -> None:
        self.units[key] = unit
        self.units.move_to_end(key)
        while len(self.units) > 1 and sum(u.nbytes for u in self.units.values()) > MEMORY:
            self.units.popitem(last=False)


def encoded(pictures: list[One], encode: Callable[[list[One]], np.ndarray]) -> np.ndarray:
    unit = np.ascontiguousarray(encode(pictures))
    if unit.ndim != 2 or len(unit) != len(pictures):
        raise ValueError(f"the encoder returned {unit.shape} for {len(pictures)} images, expected ({len(pictures)}, D)")
    return unit


def read(path: Path) -> np.ndarray | None:
    """The stored unit; None when there is none, or when it is not what was written, which is removed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    array, digest = data[:-DIGEST], data[-DIGEST:]
    if hashlib.sha256(array).digest() != digest:
        path.unlink(missing_ok=True)
        return None
    return np.load(io.BytesIO(array), allow_pickle=False)


def write(path: Path, unit: np.ndarray) -> None:
    """Atomic. A .npy file with the SHA-256 of itself behind it, which numpy does not read."""
    buffer = io.BytesIO()
    np.save(buffer, unit, allow_pickle=False)
    write_whole(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest(), path)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a, b: (n, D). Returns (n,): cosine row by row, cast to float64 before it is normalised; NaN for a zero row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        products = (a * b).sum(axis=-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return np.clip(products, -1, 1)  # rounding alone can pass 1


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


def row_of(network: "Transforming", picture: Seen) -> "Tensor":
    """(3, S, S): what the network is given of a picture; transformed now, or before in another process."""
    import torch

    made = getattr(picture, "ready", {}).get(network.protocol)
    return network.transformed(picture.image) if made is None else torch.from_numpy(made)


def prepare(network: "Transforming", picture: Seen) -> None:
    """Transform the picture now, for whoever is handed it."""
    ready = getattr(picture, "ready", None)
    if ready is not None and network.protocol not in ready:
        ready[network.protocol] = network.transformed(picture.image).numpy()


class Transforming(Protocol):
    """A network with a transform of its own."""

    protocol: str

    def transformed(self, image: Image) -> "Tensor": ...


def in_batches(rows: list["Tensor"], size: int, device: str, encode: Callable[["Tensor"], "Tensor"]) -> np.ndarray:
    """encode's features of all rows, float32 on the CPU."""
    import torch

    with exactly(device):
        parts = [encode(sent(torch.stack(rows[i : i + size]), device)).float().cpu() for i in range(0, len(rows), size)]
    return torch.cat(parts).numpy()


def sent(batch: "Tensor", device: str) -> "Tensor":
    """The batch on the device; to a GPU from pinned memory, so that the copy waits for nothing."""
    if not device.startswith("cuda"):
        return batch.to(device)
    return batch.pin_memory().to(device, non_blocking=True)


def who(protocol: str, sha256: str, device: str, batch_size: int) -> str:
    """A key for stored features: whatever moves their bits."""
    import torch

    kind = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    threads = torch.get_num_threads()
    return f"{protocol} {sha256} on {kind}, batch {batch_size}, threads {threads}, torch {torch.__version__}"
