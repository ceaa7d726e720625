"""How much of the world is drawn, and one dataset's files with the hash over their decoded pixels."""

import json
import sys
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mgie.mini.datasets.facts import Facts
from mgie.mini.world.assets import ASSETS
from mgie.mini.world.examples import VERSION


@dataclass(frozen=True)
class Parameters:
    """What is drawn. Units: EVR records and GIER pairs (train), else scored examples."""

    size: int = 64  # px, square
    train: int = 600
    val: int = 64
    test: int = 200  # scored examples of EVR, GIER, MA5k and MagicBrush each
    ipr2pr: int = 4000  # folders; a twentieth each is val and test
    draw: str = ""  # a name makes another draw of the same photographs and families

    def count(self, split: str) -> int:
        return {"train": self.train, "val": self.val, "test": self.test}[split]

    def key(self, name: str) -> str:
        """What a dataset's dice are keyed by."""
        return f"{name}/{self.draw}" if self.draw else name

    def facts(self) -> dict:
        """As JSON; the first draw has no name."""
        return {name: value for name, value in asdict(self).items() if name != "draw" or value}

    @property
    def hash8(self) -> str:
        """Over the parameters and what the world stored of itself, so that a changed world has another folder."""
        facts = [VERSION, self.facts(), stored()["sample"], stored()["drawn"]]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]


def stored() -> dict:
    """The hashes of the world as it should come out: assets/world.json."""
    return json.loads((ASSETS / "world.json").read_text(encoding="utf-8"))


class DatasetWriter:
    """Writes one dataset's files and hashes what was drawn, apart from what a JPEG coder makes of it."""

    def __init__(self, root: Path, name: str) -> None:
        self.folder, self.name = root / name, name
        self.drawn, self.decoded = sha256(), sha256()
        self.facts: list[Facts] = []

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def text(self, name: str, content: object) -> None:
        """content as JSON, never with NaN."""
        data = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode()
        self.drawn.update(name.encode() + data)
        self.path(name).write_bytes(data)

    def image(self, name: str, image: Image.Image) -> None:
        """As PNG, or as JPEG of quality 95 without colour subsampling where the official name ends so."""
        head = f"{name}:{image.mode}:{image.width}x{image.height}:".encode()
        self.drawn.update(head + image.tobytes())
        if not name.endswith(".jpg"):
            image.save(self.path(name), format="PNG", compress_level=3)
            return
        buffer = BytesIO()
        image.save(buffer, format="JPEG", quality=95, subsampling=0)
        self.path(name).write_bytes(buffer.getvalue())
        self.decoded.update(head + np.asarray(Image.open(buffer)).tobytes())

    def finish(self) -> None:
        lines = "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in self.facts)
        self.drawn.update(lines.encode())
        self.path("facts.jsonl").write_text(lines, encoding="utf-8")

    def progress(self, done: int, of: int) -> None:
        if sys.stderr.isatty() and done % 50 == 0:
            print(f"\rmini-{self.name}: {done} of {of} ", end="", file=sys.stderr, flush=True)
