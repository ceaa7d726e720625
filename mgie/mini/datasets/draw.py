"""The five datasets of the miniature, drawn once into <data root>/mini-<hash8>/ in their big sisters' official layouts.

    folder = draw(Path("data"))    # folder / "evr", "gier", "ma5k", "magicbrush", "ipr2pr"

A folder under its final name is whole: it is drawn under another name and renamed. What was drawn is compared with the
SHA-256 in assets/world.json. Each dataset also has facts.jsonl, which no official layout has: per unit the photograph,
family, cause, answer and expressive instruction.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from mgie.io.files import NotYet, hold, is_looking, whole_folder, write_json
from mgie.mini.datasets.evr import write_evr
from mgie.mini.datasets.gier import write_gier
from mgie.mini.datasets.ipr2pr import write_ipr2pr
from mgie.mini.datasets.ma5k import write_ma5k
from mgie.mini.datasets.magicbrush import write_magicbrush
from mgie.mini.datasets.writer import DatasetWriter, Parameters, stored
from mgie.mini.world.assets import ASSETS
from mgie.mini.world.examples import FAMILIES, VERSION
from mgie.mini.world.examples import draw as draw_example
from mgie.mini.world.phrasing import STYLES, families

WRITERS = {
    "evr": write_evr,
    "gier": write_gier,
    "ma5k": write_ma5k,
    "magicbrush": write_magicbrush,
    "ipr2pr": write_ipr2pr,
}


def draw(root: Path, parameters: Parameters | None = None) -> Path:
    """The folder with the five datasets under the data root; drawn when it is not there (about half a minute)."""
    parameters = parameters or Parameters()
    folder = Path(root) / f"mini-{parameters.hash8}"
    if folder.is_dir():
        return folder
    if is_looking():
        raise NotYet(f"the miniature's datasets are drawn at first use, in half a minute, into {folder}")
    with alone(folder):
        if folder.is_dir():  # another process was faster
            return folder
        with whole_folder(folder) as part:
            hashes = draw_all(part, parameters)
            check(hashes, parameters)
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time draws a folder; the system drops the lock of a killed one."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open(folder.with_name(f".{folder.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise OSError(f"the miniature's datasets cannot be drawn into {folder.parent}: {error}; "
                      "name a folder that can be written with --data-root") from error  # fmt: skip
    with lock:
        hold(lock, f"waiting: another process is drawing {folder}")
        yield


def draw_all(folder: Path, parameters: Parameters) -> dict[str, dict[str, str]]:
    """Draws every dataset into folder. Returns {"drawn": {dataset: SHA-256}, "decoded": {...}}."""
    print(f"drawing the miniature's datasets at {parameters.size} px, once (about half a minute)", file=sys.stderr)
    hashes: dict[str, dict[str, str]] = {"drawn": {}, "decoded": {}}
    for name, write in WRITERS.items():
        writer = DatasetWriter(folder, name)
        write(writer, parameters)
        writer.finish()
        end = "\r" if sys.stderr.isatty() else ""
        print(f"{end}mini-{name}: {len(writer.facts)} edits          ".rstrip(), file=sys.stderr, flush=True)
        hashes["drawn"][name], hashes["decoded"][name] = writer.drawn.hexdigest(), writer.decoded.hexdigest()
    record = {"version": VERSION, "parameters": parameters.facts(), **hashes}
    write_json(folder / "drawn.json", record)
    return hashes


def check(hashes: dict[str, dict[str, str]], parameters: Parameters) -> None:
    """Pixels and words against the stored ones; ValueError where they differ, a warning where only JPEG coding does."""
    expected = stored()
    if expected["parameters"] != parameters.facts() or expected["version"] != VERSION:
        return  # other parameters have no stored hash
    wrong = [name for name, value in hashes["drawn"].items() if value != expected["drawn"][name]]
    if wrong:
        raise ValueError(
            f"the miniature's {', '.join(wrong)} came out other than stored in {ASSETS / 'world.json'}: "
            f"{hashes['drawn'][wrong[0]][:16]}, expected {expected['drawn'][wrong[0]][:16]}. Scores would not be "
            "comparable. Was the world's code or an asset changed? Then raise VERSION in mgie/mini/world/examples.py "
            "and run python -m mgie.mini.datasets.draw --store"
        )
    other = [name for name, value in hashes["decoded"].items() if value != expected["decoded"][name]]
    if other:
        print(f"warning: this machine's JPEG coder gives other pixels for {', '.join(other)} than the one that made "
              "the stored scores; differences of one grey level are to be expected", file=sys.stderr)  # fmt: skip


def sample() -> str:
    """SHA-256 over a few examples of every family and style: a quick look whether the world is still the stored one."""
    digest = sha256()
    for name in FAMILIES:
        for style in STYLES:
            if name in families(style):
                drawn = draw_example("sample", "test", Parameters().size, name, style=style)
                digest.update(drawn.input_image.tobytes() + drawn.goal_image.tobytes() + drawn.mask.tobytes())
                digest.update(f"{drawn.instruction}|{drawn.expressive_instruction}|{drawn.goal_caption}".encode())
    return digest.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    import argparse
    import tempfile

    parser = argparse.ArgumentParser(prog="python -m mgie.mini.datasets.draw", description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, default=Path("data"), help="parent of mini-<hash8>/")
    parser.add_argument("--store", action="store_true", help="after a change of the world: store the new hashes")
    options = parser.parse_args(arguments)
    if options.store:
        with tempfile.TemporaryDirectory() as folder:
            hashes = draw_all(Path(folder), Parameters())
        record = {"version": VERSION, "parameters": Parameters().facts(), **hashes, "sample": sample()}
        write_json(ASSETS / "world.json", record)
        print(ASSETS / "world.json")
        return 0
    print(draw(options.data_root))
    return 0


if __name__ == "__main__":
    sys.exit(main())
