"""Bundles as somebody hands them in: read, changed as a forger would, packed again, verified."""

import hashlib
import json
import zipfile
from pathlib import Path

from bench.verify.__main__ import main as verify


def members(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as file:
        return {name: file.read(name) for name in file.namelist()}


def packed(files: dict[str, bytes], to: Path) -> Path:
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return to


def listed_anew(files: dict[str, bytes]) -> dict[str, bytes]:
    """As a forger would: bundle.json says just what is there."""
    said = json.loads(files["bundle.json"])
    said["files"] = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                     for name, data in files.items() if name != "bundle.json"}  # fmt: skip
    return files | {"bundle.json": json.dumps(said).encode()}


def ending(files: dict[str, bytes], end: str) -> str:
    return next(name for name in sorted(files) if name.endswith(end))


def check(archive: Path, world: Path, out: Path, *more: str) -> int:
    return verify([str(archive), "--data-root", str(world / "data"), "--out", str(out), *more])
