"""What a user has already (`--from FILE_OR_DIR`), or a lab's own copy as a folder: looked through by name.

A folder is looked through to the bottom, archives in it too. What fits a row is checked like what comes from the net;
the user's own files stay where and as they are.
"""

import os
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from bench.fetch.places import Folder, Refused, Told, Wanted, difference, digest, settle
from bench.fetch.sources import Row, Source
from bench.fetch.unpack import Pack, check_sum, check_sums, copy, is_archive, listed, opened, place, put, selected


def packs(paths: list[Path]) -> list[Path]:
    """Each folder as a whole, then the archives in it; a single file by its folder."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise Refused(f"--from {path}: there is no such file or folder")
        found.append(path)
        if path.is_dir():
            inside = [Path(top) / name for top, _, names in os.walk(path) for name in names]
            found += sorted(file for file in inside if is_archive(file))
    return list(dict.fromkeys(found))


class Given:
    """The packs of a command, listed when they are first looked at.

    broken: of those that cannot be opened, why. They count as empty: among a user's downloads one may be half there.
    others: files of a name that is wanted and of another size, which are not taken.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = packs(paths)
        self.packs: dict[Path, Pack] = {}
        self.broken: dict[Path, str] = {}
        self.others: list[str] = []

    def pack(self, path: Path, password: str = "") -> Pack | None:
        """None for a single file that is no archive."""
        if path.is_file() and not is_archive(path):
            return None
        if path not in self.packs:
            try:
                self.packs[path] = listed(path)
            except Refused as error:
                self.broken[path] = str(error)
                self.packs[path] = Pack(path, {})
        return self.packs[path]._replace(password=password)

    def single(self, want: Wanted) -> list[tuple[Path, str]]:
        """(file or pack, member) that may be this file, the likeliest first."""
        names = {PurePosixPath(want.name).name, PurePosixPath(want.row.path or want.name).name}
        found = []
        for path in self.paths:
            pack = self.pack(path)
            if pack is None:
                found += [(path, "")] if path.name in names else []
                continue
            members = [name for name in pack.members if PurePosixPath(name).name in names]
            members.sort(key=lambda name: (not name.endswith(want.name), len(name), name))
            fit = [name for name in members if want.bytes in (None, pack.members[name])]
            found += [(path, name) for name in fit]
            if members and not fit:
                size = f"{pack.members[members[0]]:,} bytes, expected {want.bytes:,}"
                self.others.append(f"{path / members[0]} has {size}: not taken")
        return found

    def take(self, want: Wanted, folder: Folder, told: Told) -> bool:
        """The file from what is given, checked. False: it is not among it. Refused: only others of its name are."""
        wrong = ""
        for path, member in self.single(want):
            partial = folder.partial(want.name)
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)
            pack = self.pack(path, want.row.password)
            if pack is None or path.is_dir():
                file = path / member if member else path
                found = digest(file, told)
                wrong = difference(found, want)
                if wrong:
                    wrong = f"{file}: {wrong}"
                    continue
                place(file, partial)
            else:
                for _, stream in opened(pack, [member]):
                    assert stream is not None  # only a folder's files come without one
                    copy(stream, partial, pack.members[member], f"{path}: {member}", told)
            settle(want, folder)
            return True
        if wrong:
            raise Refused(wrong)
        return False

    def unpack(self, want: Wanted, folder: Folder, told: Told) -> int:
        """Everything of this row from every pack that has some; how many files that are."""
        files: list[str] = []
        came, found = [], None
        for path in self.paths:
            pack = self.pack(path, want.row.password)
            if pack is None:
                continue
            fits = selected(want.row, pack)
            refuse_other(pack, {member: to for member, to in fits.items() if to in files}, folder)
            chosen = {member: to for member, to in fits.items() if to not in files}
            if chosen:
                files += put(pack, chosen, folder.path, want.row.name, told)
                came.append(str(path.name))
                found = digest(path) if path.is_file() else None
        if files:
            folder.keep_unpacked(want.name, files, found, ", ".join(came))
        return len(files)

    def set_of(self, source: Source, row: Row) -> list[Wanted]:
        """The files of a set whose names only its host knows, among what is given."""
        begin, pattern = PurePosixPath(row.name).parent, PurePosixPath(row.name).name
        sizes: dict[str, int] = {}
        for path in self.paths:
            pack = self.pack(path)
            members = pack.members if pack else {path.name: path.stat().st_size}
            for name, size in members.items():
                base = PurePosixPath(name).name
                if fnmatchcase(base, pattern):
                    sizes.setdefault((begin / base).as_posix(), size)
        return [Wanted(source, row, name, sizes[name]) for name in sorted(sizes)]


def refuse_other(pack: Pack, again: dict[str, str], folder: Folder) -> None:
    """again: member -> the file that it would become, which an earlier pack gave. Refused: with other bytes."""
    sums = check_sums(pack, again) if again else {}
    for member, to in again.items():
        with open(folder.place(to), "rb") as file:
            if check_sum(file) != sums[member]:
                raise Refused(f"{pack.path}: {member} would become {to}, which another pack has otherwise; give one")
