"""One thing, whole: what is there already, what is given, what comes from a mirror or its sources; then it is laid out.

`refuse_full` asks the disks for all things of a command before its first file, by the sizes that the table of sources
states. Then of each thing everything is looked up (which files, how large), the disk is asked again, and the files come
one after the other. A file that is refused costs that file; a host that cannot be reached costs the rest of its files,
and one line.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import requests

from bench.fetch import drive, hub, mirror, web
from bench.fetch.bars import Bars
from bench.fetch.given import Given
from bench.fetch.places import Damaged, Folder, Refused, Told, Unreachable, Wanted, digest, less, settle, wanted, within
from bench.fetch.sources import Row, Source
from bench.fetch.unpack import listed, put, selected
from mgie.io.files import existing, locked

SPARE = 64 << 20  # bytes that a disk keeps
CONVERTED = "mgie-e2e"  # what mgie.convert makes of what was fetched


@dataclass(frozen=True)
class Options:
    """What the command was asked."""

    data_root: Path
    weights: Path
    given: tuple[Path, ...] = ()
    mirror: str = ""
    limit: float | None = None  # bytes of all sets of a thing

    def folder(self, source: Source) -> Path:
        return (self.data_root if source.root == "data" else self.weights) / source.folder


@dataclass
class Outcome:
    """What became of a thing."""

    fetched: int = 0
    kept: int = 0
    missing: dict[str, str] = field(default_factory=dict)  # file -> why
    unreachable: dict[str, int] = field(default_factory=Counter)  # the line -> how many files wait for it
    by_hand: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left: float | None = None  # bytes that --limit-gb leaves to the sets that follow

    @property
    def whole(self) -> bool:
        return not (self.missing or self.unreachable or self.by_hand)


def fetch(source: Source, options: Options, bars: Bars, start: Callable[[], None] | None = None) -> Outcome:
    """Everything of a thing that is not there yet. start: called once before the first file comes."""
    outcome, folder = Outcome(), Folder(options.folder(source))
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.path / "files"))
        except ValueError:
            raise Refused(f"another process fetches to {folder.path} at present; wait for it") from None
        return fill(source, options, bars, start, folder, outcome)


def fill(
    source: Source, options: Options, bars: Bars, start: Callable[[], None] | None, folder: Folder, outcome: Outcome
) -> Outcome:
    rows, outcome.left = [], options.limit
    for row in source.files:
        if has_set(source, folder, row, options.limit) if row.listed else folder.has(wanted(source, row)):
            outcome.kept += 1
            outcome.left = less(outcome.left, kept_of(source, folder, row) if row.listed else [])
        else:
            rows.append(row)
    if not rows:
        return outcome
    if start:
        start()
    with bars.shown():
        rows = take_given(source, rows, options, folder, outcome, bars)
        wants = look_up(source, rows, options, folder, outcome)
        room(folder, wants)
        opened, gone = web.session(), set()
        for want in wants:
            host = want.row.how if want.row.how in ("hub", "drive") and not options.mirror else web.host(want.url)
            if host in gone:
                outcome.unreachable[next(reversed(outcome.unreachable))] += 1
                continue
            try:
                with bars.file(f"{source.name}/{want.name}", want.size) as told:
                    get(want, folder, opened, bool(options.mirror), told)
                bars.there(f"{source.name}/{want.name}")
                outcome.fetched += 1
            except Unreachable as error:
                outcome.unreachable[str(error)] += 1
                gone.add(host)
            except (Refused, OSError) as error:
                outcome.missing[want.name] = str(error)
        keep_sets(rows, wants, options, folder, outcome)
    return outcome


def take_given(
    source: Source, rows: list[Row], options: Options, folder: Folder, outcome: Outcome, bars: Bars
) -> list[Row]:
    """The rows that what is given does not fill."""
    own_copy = mirror.folder(options.mirror, source)
    paths = [*options.given, *([own_copy] if own_copy else [])]
    if not paths:
        return rows
    given, left = Given(paths), []
    for row in rows:
        try:
            if row.listed:
                whole = given.set_of(source, row)
                found = within(whole, outcome.left, outcome.notes)
                outcome.left = less(outcome.left, found)
                taken = []
                for want in found:
                    if not folder.has(want):
                        with bars.file(f"{source.name}/{want.name}", 0) as told:
                            given.take(want, folder, told)
                        bars.there(f"{source.name}/{want.name}")
                    taken.append(want)
                done = bool(whole)
                if taken:
                    folder.known[row.name] = {"files": [want.name for want in taken], "limit": options.limit}
                    folder.save()
                    outcome.fetched += len(taken)
            else:
                want = wanted(source, row)
                with bars.file(f"{source.name}/{row.name}", row.size) as told:
                    done = bool(given.unpack(want, folder, told) if row.packed else given.take(want, folder, told))
                if done:
                    bars.there(f"{source.name}/{row.name}")
                outcome.fetched += done
            if not done:
                left.append(row)
        except (Refused, OSError) as error:
            outcome.missing[row.name] = str(error)
    outcome.missing |= {path.name: why for path, why in given.broken.items()}
    outcome.notes += [f"{source.name}: {said}" for said in given.others]
    if left and options.given and not own_copy:
        expected = ", ".join(row.name for row in left)
        outcome.notes.append(f"{source.name}: --from has nothing that fits: {expected}")
    if own_copy:
        outcome.missing |= {row.name: f"the mirror {own_copy} does not have it" for row in left}
        return []
    return left


def look_up(source: Source, rows: list[Row], options: Options, folder: Folder, outcome: Outcome) -> list[Wanted]:
    """The files of these rows that are not there, with sizes, digests and addresses."""
    found: list[Wanted] = []
    if options.mirror:
        groups = {row.name: [row] for row in rows}
    else:
        outcome.by_hand += [row for row in rows if row.how == "hand"]
        rows = [row for row in rows if row.how != "hand"]
        found += [wanted(source, row) for row in rows if row.how != "hub"]
        groups = {}
        for row in (row for row in rows if row.how == "hub"):
            groups.setdefault(f"{row.repo}@{row.revision}", []).append(row)
    for group in groups.values():
        try:
            if options.mirror:
                files = mirror.wanted(options.mirror, source, group[0], outcome.left, outcome.notes)
            else:
                files = hub.wanted(source, group, outcome.left, outcome.notes, outcome.missing)
            found, outcome.left = found + files, less(outcome.left, files)
        except Unreachable as error:
            outcome.unreachable[str(error)] += len(group)
        except Refused as error:
            outcome.missing |= {row.name: str(error) for row in group}
    absent = [want for want in found if not folder.has(want)]
    outcome.kept += len(found) - len(absent)
    return absent


def room(folder: Folder, wants: list[Wanted]) -> None:
    """Refused before anything comes when the disk cannot hold it: archives count twice, packed and unpacked."""
    need = sum(want.size * (2 if want.row.packed else 1) - web.length(folder.partial(want.name)) for want in wants)
    if need > 0:
        refuse_full_disk(existing(folder.path), need)


def refuse_full_disk(place: Path, need: int, things: str = "") -> None:
    """need: bytes, for these things."""
    free = shutil.disk_usage(place).free
    if free < need + SPARE:
        raise Refused(
            f"{place} has {free / 1e9:.1f} GB free, {need / 1e9:.1f} GB are needed{things and f' for {things}'}; make "
            "room, or choose another --data-root or --weights"
        )


def get(want: Wanted, folder: Folder, opened: requests.Session, mirrored: bool, told: Told) -> None:
    """The file at its final name, or the archive's files at theirs."""
    partial, archive = folder.partial(want.name), folder.place(want.name)
    if not (want.row.packed and folder.has_file(want)):  # whole already, and killed before it was unpacked
        if want.row.how == "drive" and not mirrored:
            drive.transfer(want, partial, told)
        else:
            web.transfer(opened, want.url, partial, want.bytes, dict(want.headers), told)
        settle(want, folder)
    if want.row.packed:
        try:
            pack = listed(archive, want.row.password)
            chosen = selected(want.row, pack)
            if not chosen:
                raise Damaged(f"{archive} holds nothing that was expected: names like {want.row.take}")
            files = put(pack, chosen, folder.path, want.row.name, told)
        except Damaged:
            archive.unlink(missing_ok=True)  # the next try fetches it anew
            raise
        folder.keep_unpacked(want.name, files, digest(archive), want.url or want.row.where)
        archive.unlink()


def has_set(source: Source, folder: Folder, row: Row, limit: float | None) -> bool:
    """Whether a set was fetched whole before, or as far as this limit goes."""
    entry = folder.known.get(row.name, {})
    files = entry.get("files")
    if not isinstance(files, list) or not files or entry.get("limit") not in (None, limit):
        return False
    return all(isinstance(name, str) and folder.has(Wanted(source, row, name)) for name in files)


def kept_of(source: Source, folder: Folder, row: Row) -> list[Wanted]:
    """The files of a set that was fetched before."""
    names = folder.known[row.name]["files"]
    return [Wanted(source, row, name, web.length(folder.place(name))) for name in names]


def keep_sets(rows: list[Row], wants: list[Wanted], options: Options, folder: Folder, outcome: Outcome) -> None:
    """Remembers the names of a set's files, so that it is known to be whole without asking its host again."""
    for row in (row for row in rows if row.listed and row.how != "page"):
        begin = row.name.partition("*")[0]
        lost = row.name in outcome.missing or any(want.row is row and not folder.place(want.name).is_file()
                                                  for want in wants)  # fmt: skip
        files = [name for name in folder.known if name.startswith(begin) and "*" not in name]
        if files and not lost and not outcome.unreachable:
            folder.known[row.name] = {"files": sorted(files), "limit": options.limit}
            folder.save()


def refuse_full(sources: list[Source], options: Options) -> None:
    """Refused: a disk has less free than all these things still take on it."""
    given, needs, places = Given(list(options.given)), defaultdict[int, dict[str, int]](dict), dict[int, Path]()
    for source in sources:
        place = existing(options.folder(source))
        places.setdefault(disk := place.stat().st_dev, place)
        if size := needed(source, options, given):
            needs[disk][source.asked] = size
    for disk, sizes in needs.items():
        refuse_full_disk(places[disk], sum(sizes.values()), ", ".join(sizes))


def needed(source: Source, options: Options, given: Given) -> int:
    """Bytes that a thing still takes. What is given as a folder, or lies in a mirror's, may be linked: not counted."""
    folder, total, left, whole = Folder(options.folder(source)), 0, options.limit, True
    local = bool(options.mirror) and not mirror.is_address(options.mirror)
    for row in source.files:
        if folder.there(row) == "yes" or row.how == "page" or local:
            continue
        unpacked = size_given(row, given) if row.packed else None
        if unpacked is not None:
            total += unpacked
        elif row.how == "hand" and not options.mirror:
            whole = False
        elif row.packed or row.listed or not given.single(wanted(source, row)):
            size = row.size * (2 if row.packed else 1)
            if row.listed and left is not None:
                size = int(max(0, min(size, left)))
                left -= size
            total += max(0, size - came(row, folder))
    out = options.weights / CONVERTED
    is_made = out.is_dir() and any(out.iterdir())
    return total + (source.made if whole and not is_made else 0)


def size_given(row: Row, given: Given) -> int | None:
    """What the archives among what is given unpack to for this row; None: nothing that is given is of it."""
    sizes = []
    for path in given.paths:
        pack = given.pack(path, row.password)
        try:
            chosen = selected(row, pack) if pack else {}
        except Refused:  # said in its place
            continue
        if chosen and pack:
            sizes.append(0 if path.is_dir() else sum(pack.members[member] for member in chosen))
    return sum(sizes) if sizes else None


def came(row: Row, folder: Folder) -> int:
    if not row.listed:
        return web.length(folder.partial(row.name))
    begin = row.name.partition("*")[0]
    return sum(web.length(folder.place(name)) for name in folder.known if name.startswith(begin))
