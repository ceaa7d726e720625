"""Where a model's weights lie, what they are (their hash), and where they run (device, dtype).

--weights ROOT holds <model>[-<form>][-<dataset>]/: inspix2pix/, mgie-e2e/, mgie-e2e-ma5k/ (fine-tuned). Without it the
suite mini looks into the package, every other suite into ./weights. Nothing is downloaded here.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.registry import maker_of
from bench.settings import ModelSettings
from mgie import folder as pipelines

if TYPE_CHECKING:
    import torch

DEFAULT_ROOT = Path("weights")
FORMLESS = ("inspix2pix",)  # --form means nothing to it
NOT_WEIGHTS = (".csv", ".log", ".md", ".png", ".svg")  # what a trainer or the Hub leaves beside them
CACHED_FROM = 16 * 2**20  # bytes: the digest of a smaller file costs less than trusting size and time stamp


def weights_root(spec: ModelSettings) -> Path:
    if spec.weights is not None:
        return spec.weights
    return pipelines.MINI if spec.suite == "mini" else DEFAULT_ROOT


def folder_name(spec: ModelSettings) -> str:
    """mgie-e2e, mgie-e2e-ma5k, inspix2pix, ..."""
    form = "" if spec.name in FORMLESS else f"-{spec.form}"
    return f"{spec.name}{form}" + (f"-{spec.dataset}" if spec.setting == "fine-tuned" else "")


def own_folder(spec: ModelSettings) -> Path:
    """Where this model's own weights lie or should lie: in the root, or where its suite has made them on demand."""
    folder = weights_root(spec) / folder_name(spec)
    maker = None if folder.is_dir() else maker_of(spec.suite, spec.weights)
    return (maker.found(spec) if maker else None) or folder


def weights_folder(spec: ModelSettings) -> Path:
    """The folder of this model's weights. FileNotFoundError: its first line is the reason, the rest the way out."""
    folder = own_folder(spec)
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    raise missing(spec, folder)


def missing(spec: ModelSettings, folder: Path) -> FileNotFoundError:
    state = "is empty" if folder.is_dir() else "does not exist"
    if folder.parent == pipelines.MINI:
        reason = f"no trained mini weights in this version for {folder.name}: {folder} {state}"
    else:
        reason = f"no weights for {folder.name}: {folder} {state}"
    return FileNotFoundError(f"{reason}\n{how_to_get(spec, folder)}")


def how_to_get(spec: ModelSettings, folder: Path) -> str:
    maker = maker_of(spec.suite, spec.weights)
    if maker and (command := maker.how(spec)):
        return f"train: {command}; make table2 and make table3 do so for what they need"
    preset = "mini" if spec.suite == "mini" else "7b"
    train = f"python -m mgie.train --preset {preset} --model {spec.name}"
    if spec.name not in FORMLESS:
        train += f" --form {spec.form}" + (f" --from {folder.with_name('inspix2pix')}" if spec.form == "ft" else "")
    if spec.setting == "fine-tuned":
        start = folder.with_name(folder.name.removesuffix(f"-{spec.dataset}"))
        train = train.split(" --from ")[0]
        return f"fine-tune: {train} --from {start} --data DATA_ROOT/{spec.dataset} --out {folder}"
    ways = [f"train: {train} --data DATA_ROOT/ipr2pr --out {folder}"]
    if spec.name in ("lgie", "mgie") and spec.form == "fz":
        ways = [f"put a LLaMA or LLaVA folder at {folder / 'writer'} and InsPix2Pix at {folder / 'inspix2pix'}"]
    elif preset == "7b" and spec.name == "inspix2pix":
        ways.insert(0, f"download: hf download timbrooks/instruct-pix2pix --local-dir {folder}")
    elif preset == "7b" and spec.name == "mgie" and spec.form == "e2e":
        files = "--llava DIR --mllm mllm.pt --unet unet.pt --instruct-pix2pix DIR"
        ways.insert(0, f"convert the released checkpoint: python -m mgie.convert {files} --out {folder}")
    return "\n".join([*ways, "or name the folder that holds it with --weights ROOT"])


class Wanted(NamedTuple):
    """Where a model is asked to run. A run's ModelSettings serve too: they have these three."""

    device: str = "auto"  # auto: cuda where there is one, else cpu
    dtype: str = "auto"  # auto: bfloat16 on a GPU, float32 on a CPU
    elsewhere: bool = False  # it runs on another machine's GPU: this one need not have one


class Placement(NamedTuple):
    device: str
    dtype: "torch.dtype"


def placement(spec: Wanted) -> Placement:
    """Where the model runs: device cuda, mps, cpu ... and a torch dtype. ValueError for a device that is not there."""
    import torch

    device = ("cuda" if torch.cuda.is_available() else "cpu") if spec.device == "auto" else spec.device
    if device.startswith("cuda") and not spec.elsewhere and not torch.cuda.is_available():
        raise ValueError(f"--device {device}: torch {torch.__version__} sees no GPU; use --device cpu or auto")
    return Placement(device, getattr(torch, dtype_name(spec, device)))


def dtype_name(spec: Wanted, device: str) -> str:
    """auto: bfloat16 on a GPU, float32 on a CPU."""
    if spec.dtype != "auto":
        return spec.dtype
    return "float32" if device == "cpu" else "bfloat16"


def weights_hash(folder: Path) -> str:
    """SHA-256 over the names (sorted, relative) and the SHA-256 of every file below folder.

    Hidden files, tables, plots and notes are left out: they change no pixel.
    Digests of large files are kept beside the folder, in .<folder>.sha256.json, keyed by size and modification time,
    so that 30 GB are read once. Where that file cannot be written, they are computed again.
    """
    folder = Path(folder)
    names = sorted(path.relative_to(folder).as_posix() for path in files_below(folder))
    if not names:
        raise FileNotFoundError(f"no weights: {folder} holds none")
    cache = folder.parent / f".{folder.name}.sha256.json"
    known = read_cache(cache)
    total, kept = hashlib.sha256(), {}
    for name in names:
        stat = (folder / name).stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(name, {})
        digest = entry["sha256"] if entry.get("stamp") == stamp else file_digest(folder / name)
        if stat.st_size >= CACHED_FROM:
            kept[name] = {"stamp": stamp, "sha256": digest}
        total.update(f"{name}\0{digest}\n".encode())
    if kept != known and kept:
        write_cache(cache, kept)
    return total.hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Links are followed: the Hub's cache is made of them."""
    paths = (Path(top) / name for top, _, names in os.walk(folder, followlinks=True) for name in names)
    shown = [p for p in paths if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return [p for p in shown if p.suffix not in NOT_WEIGHTS and p.is_file()]


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_cache(path: Path) -> dict[str, dict]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):  # absent, unreadable or cut short: the digests are computed again
        return {}
    return data if isinstance(data, dict) else {}


def write_cache(path: Path, digests: dict[str, dict]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(digests, indent=1))
        os.replace(temporary, path)
    except OSError:  # a read-only folder; nothing is lost but time
        temporary.unlink(missing_ok=True)
