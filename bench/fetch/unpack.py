"""What comes packed, or as a folder that a user gives: which members belong where, and putting them there.

Nothing is written outside the thing's folder: a member whose name would lead out of its archive refuses the archive
whole, before anything is unpacked, and only plain files are taken, never links. Members go to `.<name>.unpacked/` first
and are moved when the last of them is there.
"""

import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from bench.fetch.places import Damaged, Refused, Told
from bench.fetch.sources import ARCHIVES, Row
from bench.fetch.web import full

BLOCK = 1 << 20
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, zipfile.LargeZipFile)


class Pack(NamedTuple):
    """An archive or a folder, listed: member -> bytes."""

    path: Path
    members: dict[str, int]
    password: str = ""

    @property
    def stem(self) -> str:
        name = self.path.name
        return next((name.removesuffix(end) for end in ARCHIVES if name.endswith(end)), name)


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(ARCHIVES)


def listed(path: Path, password: str = "") -> Pack:
    """Refused: damaged, a name that leads out, a link, or an encryption that Python does not know."""
    try:
        if path.is_dir():
            files = [Path(top) / name for top, _, names in os.walk(path) for name in names]
            members = {file.relative_to(path).as_posix(): file.stat().st_size for file in files if file.is_file()}
        elif zipfile.is_zipfile(path):
            members = zip_members(path)
        elif tarfile.is_tarfile(path):
            members = tar_members(path)
        else:
            raise Damaged(f"{path}: neither a zip nor a tar archive; an unfinished download, or a web page?")
    except (*DAMAGED, OSError, ValueError) as error:
        raise Damaged(f"{path}: damaged or cut short ({error}); get it again") from None
    for name in members:
        refuse_outside(name, path)
    return Pack(path, members, password)


def zip_members(path: Path) -> dict[str, int]:
    with zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    for info in infos:
        if info.compress_type == 99:
            raise Refused(
                f"{path}: encrypted with AES, which Python cannot read; unpack it yourself (7z x) and name the folder "
                "with --from"
            )
        if (info.external_attr >> 16) & 0o170000 == 0o120000:
            raise Damaged(f"{path}: {info.filename} is a link; refused, nothing was unpacked")
    # orig_filename: ZipFile itself cuts a name at NUL
    return {info.orig_filename: info.file_size for info in infos}


def tar_members(path: Path) -> dict[str, int]:
    members = {}
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isfile():
                members[info.name] = info.size
            elif not info.isdir():
                raise Damaged(f"{path}: {info.name} is a link or a device; refused, nothing was unpacked")
    return members


def refuse_outside(name: str, path: Path) -> None:
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in parts[0]:
        raise Damaged(f"{path}: its member {name!r:.80} would lead out of its folder; refused, nothing was unpacked")


class Swollen(NamedTuple):
    """How much an archive that a stranger sends may unpack to."""

    times: int  # its own size
    least: int  # bytes, in any case


def refuse_strange(pack: Pack, swollen: Swollen) -> None:
    """Of what a stranger sends. Refused: no zip, a name that is there twice, an encrypted member, a zip that unpacks to
    far more than it is."""
    if not pack.path.is_file() or not zipfile.is_zipfile(pack.path):
        raise Refused(f"{pack.path}: no zip archive")
    with zipfile.ZipFile(pack.path) as archive:
        infos = archive.infolist()
    names = [info.orig_filename for info in infos if not info.is_dir()]
    said = "refused, nothing was unpacked"
    if len(names) != len(pack.members):
        twice = next(name for name in pack.members if names.count(name) > 1)
        raise Refused(f"{pack.path}: its member {twice!r:.80} is there twice; {said}")
    if locked := [info.orig_filename for info in infos if info.flag_bits & 1]:
        raise Refused(f"{pack.path}: its member {locked[0]!r:.80} is encrypted; {said}")
    total, size = sum(pack.members.values()), pack.path.stat().st_size
    if total > max(swollen.least, swollen.times * size):
        raise Refused(f"{pack.path}: it would unpack to {total / 1e6:,.0f} MB, from {size / 1e6:,.1f} MB; {said}")


def member_of(pack: Pack, name: str, most: int) -> bytes:
    """One member of a zip, read without unpacking. Refused: it is not there, larger than `most` bytes, or damaged."""
    size = pack.members.get(name)
    if size is None or size > most:
        raise Refused(f"{pack.path}: it holds no {name}" + ("" if size is None else f" of at most {most:,} bytes"))
    try:
        with zipfile.ZipFile(pack.path) as archive, archive.open(name) as file:
            return file.read(size + 1)
    except (*DAMAGED, OSError, RuntimeError, NotImplementedError) as error:
        raise Damaged(f"{pack.path}: damaged or cut short ({error}); get it again") from None


def write_zip(to: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A zip of these files, in their order; the same files are the same bytes. Images, packed already, are stored."""
    with zipfile.ZipFile(to, "w") as archive:
        for name, data in files:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the first day that a zip knows
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def selected(row: Row, pack: Pack) -> dict[str, str]:
    """member -> where it goes below the thing's folder; empty where the pack is not of this row."""
    names = [name for name in pack.members if not re.search(r"(?:^|/)(?:__MACOSX/|\._|\.git/)", name)]
    places = [""]
    if row.beside:
        places = sorted({parent(name) for name in names if re.fullmatch(row.beside, PurePosixPath(name).name)})
        if row.not_in:
            places = [place for place in places if not re.search(row.not_in, place or pack.stem)]
    begin = f"{places[0]}/" if places and places[0] else ""
    fits = {name: re.search(row.take, name.removeprefix(begin)) for name in names if places and name.startswith(begin)}
    groups = {name: match.groupdict() for name, match in fits.items() if match}
    systems = {group.get("system") for group in groups.values()}
    named = pack.path.is_dir() or len(systems) > 1
    found: dict[str, str] = {}
    taken: dict[str, str] = {}
    again: dict[str, str] = {}
    for name, group in groups.items():
        into = row.into.format(system=(named and group.get("system")) or pack.stem)
        to = (PurePosixPath(into) / (group.get("keep") or PurePosixPath(name).name)).as_posix()
        if to in taken:
            again[name] = to
        else:
            found[name], taken[to] = to, name
    sums = check_sums(pack, {*again, *(taken[to] for to in again.values())}) if again else {}
    for name, to in again.items():
        if sums[taken[to]] != sums[name]:
            raise Refused(f"{pack.path}: both {taken[to]} and {name} would become {to}, and they differ")
    return found


def check_sums(pack: Pack, members: Iterable[str]) -> dict[str, int]:
    """member -> CRC-32 of its bytes, which a zip states itself."""
    if not pack.path.is_dir() and zipfile.is_zipfile(pack.path):
        with zipfile.ZipFile(pack.path) as archive:
            return {info.orig_filename: info.CRC for info in archive.infolist()}
    found = {}
    for member, stream in opened(pack, members):
        with stream or open(pack.path / member, "rb") as file:
            found[member] = check_sum(file)
    return found


def check_sum(file: IO[bytes]) -> int:
    found = 0
    while block := file.read(BLOCK):
        found = zlib.crc32(block, found)
    return found


def parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix().removeprefix(".").removeprefix("/")


def put(pack: Pack, chosen: dict[str, str], folder: Path, name: str, told: Told) -> list[str]:
    """Unpacks, then moves. Returns the files below the folder. Refused: damaged, wrong password, no room."""
    need = sum(pack.members[member] for member in chosen)
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise Refused(f"{folder} has {free / 1e9:.1f} GB free, {need / 1e9:.1f} GB are unpacked from {pack.path}")
    staged = folder / f".{name}.unpacked"
    shutil.rmtree(staged, ignore_errors=True)  # of a killed command
    try:
        for member, stream in opened(pack, chosen):
            to = staged / chosen[member]
            to.parent.mkdir(parents=True, exist_ok=True)
            if stream is None:
                place(pack.path / member, to)
                told(pack.members[member])
            else:
                copy(stream, to, pack.members[member], f"{pack.path}: {member}", told)
        for name_below in chosen.values():
            (folder / name_below).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / name_below, folder / name_below)
    except (*DAMAGED, ValueError) as error:
        raise Damaged(f"{pack.path}: damaged or cut short ({error}); get it again") from None
    except RuntimeError as error:  # zipfile's word for a password
        raise Refused(f"{pack.path}: {error}") from None
    except OSError as error:
        raise full(error, staged) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return list(chosen.values())


def place(file: Path, to: Path) -> None:
    """A user's own file, without a second copy where the disk allows: nothing here changes a file in place."""
    try:
        os.link(file.resolve(), to)
    except OSError:  # another disk, or one without links
        shutil.copyfile(file, to)


def opened(pack: Pack, chosen: Iterable[str]) -> Iterator[tuple[str, IO[bytes] | None]]:
    """The chosen members in the pack's own order: a packed tar is read once, front to back. None: a file as it is."""
    if pack.path.is_dir():
        for member in chosen:
            yield member, None
    elif zipfile.is_zipfile(pack.path):
        with zipfile.ZipFile(pack.path) as archive:
            if pack.password:
                archive.setpassword(pack.password.encode())
            for info in archive.infolist():
                if info.orig_filename in chosen:
                    with archive.open(info) as stream:
                        yield info.orig_filename, stream
    else:
        with tarfile.open(pack.path) as tar:
            for entry in tar:
                if entry.name in chosen:
                    yield entry.name, tar.extractfile(entry)


def copy(stream: IO[bytes], to: Path, size: int, what: str, told: Told) -> None:
    """Exactly `size` bytes: an archive that holds more than its list says is refused."""
    written = 0
    with open(to, "wb") as file:
        while block := stream.read(BLOCK):
            written += len(block)
            if written > size:
                raise ValueError(f"{what} is larger than its archive says")
            file.write(block)
            told(len(block))
    if written != size:
        raise ValueError(f"{what} has {written:,} of {size:,} bytes")
