"""What ends a fetch: is it what its authors released? bench.audit on a dataset, rows of tables, digests of weights.

For MGIE the conversion comes before it. Commands are started as a user would: each with its own memory.
"""

import subprocess
import sys
from pathlib import Path

from bench.fetch.fetching import Options, Outcome
from bench.fetch.places import Folder
from bench.fetch.sources import Source
from mgie.convert.released import is_known, verdict

CONVERTED = "mgie-e2e"


def lines(source: Source, options: Options) -> list[str]:
    """One line a split, a set or a file of weights."""
    folder = options.folder(source)
    if source.audit:
        return audited(source.audit, options.data_root)
    if source.rows:
        return counted(source, folder)
    if source.root == "weights":
        known = Folder(folder).known
        names = [row.name for row in source.files if row.name in known and is_known(row.name)]
        return [f"{source.name}: {name}: {verdict(name, str(known[name].get('sha256', '')))}" for name in names]
    return []


def audited(dataset: str, data_root: Path) -> list[str]:
    command = [sys.executable, "-m", "bench.audit", "--dataset", dataset, "--data-root", str(data_root), "--line"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"{dataset}: not audited: {(done.stderr.strip().splitlines() or ['no reason given'])[0]}"]
    return done.stdout.splitlines()


def counted(source: Source, folder: Path) -> list[str]:
    """Rows of parquet files by the beginning of their names, beside the official number."""
    import pyarrow
    from pyarrow import parquet

    said = []
    for begin, official in (source.rows or {}).items():
        files = sorted(folder.glob(f"{begin}*.parquet"))
        if not files:
            continue
        where = f"{source.name} {begin.rpartition('/')[2].rstrip('-')}"
        try:
            rows = sum(parquet.read_metadata(file).num_rows for file in files)
        except (pyarrow.ArrowInvalid, OSError) as error:
            said.append(f"{where}: a file cannot be read: {error}")
            continue
        how = "as released" if rows == official else f"officially {official:,}"
        said.append(f"{where}: {rows:,} rows in {len(files)} files, {how}")
    return said


def convert(options: Options, folder: Path, outcome: Outcome) -> None:
    """MGIE's folder from the released files, where they are all there and it is not."""
    out = options.weights / CONVERTED
    if out.is_dir() and any(out.iterdir()):
        return
    command = [
        sys.executable, "-m", "mgie.convert", "--llava", str(folder / "llava"), "--mllm", str(folder / "mllm.pt"),
        "--unet", str(folder / "unet.pt"), "--instruct-pix2pix", str(options.weights / "inspix2pix"),
        "--clip", str(folder / "clip"), "--out", str(out),
    ]  # fmt: skip
    print(f"converting to {out} (mgie.convert)", flush=True)
    if subprocess.run(command, check=False).returncode:
        outcome.missing[CONVERTED] = "mgie.convert refused the files; what it says stands above"
