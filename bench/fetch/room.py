"""Whether the disks hold all that a command still brings, asked before its first file: downloads, what is unpacked, and
what is made of it. By the sizes that the table of sources states; each thing is asked again when its host has answered.
"""

import shutil
from collections import defaultdict
from pathlib import Path

from bench.fetch import mirror, web
from bench.fetch.fetching import SPARE, Options
from bench.fetch.finish import CONVERTED
from bench.fetch.given import Given
from bench.fetch.places import Folder, Refused, wanted
from bench.fetch.sources import Row, Source
from bench.fetch.unpack import selected


def refuse_full(sources: list[Source], options: Options) -> None:
    """Refused: a disk has less free than all these things still take on it."""
    given, needs, places = Given(list(options.given)), defaultdict[int, dict[str, int]](dict), dict[int, Path]()
    for source in sources:
        path = options.folder(source).absolute()
        place = next(p for p in (path, *path.parents) if p.exists())
        places.setdefault(disk := place.stat().st_dev, place)
        if size := needed(source, options, given):
            needs[disk][source.asked] = size
    for disk, sizes in needs.items():
        free, need = shutil.disk_usage(places[disk]).free, sum(sizes.values())
        if free < need + SPARE:
            raise Refused(
                f"{places[disk]} has {free / 1e9:.1f} GB free, {need / 1e9:.1f} GB are needed for {', '.join(sizes)}; "
                "make room, or choose another --data-root or --weights"
            )


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
