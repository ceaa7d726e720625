"""Fetch data and weights, check them against what their authors released, lay them out as the datasets read them.

    python -m bench.fetch WHAT ... --data-root data --weights weights

Killed or broken off, the same command goes on where it was. What a machine may not fetch is a numbered instruction;
--from takes it from where you put it. Exit codes: 0 all there and right, 1 something is missing, 2 wrong use.
"""

import argparse
import re
import sys
import time
from pathlib import Path

from bench.fetch import sources as table
from bench.fetch import told
from bench.fetch.bars import Bars
from bench.fetch.fetching import Options, Outcome, fetch, refuse_full
from bench.fetch.places import Refused
from bench.fetch.sources import Source
from mgie.io.files import existing


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m bench.fetch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("what", nargs="*", metavar="WHAT", help="what to fetch; --list shows what there is")
    made.add_argument("--list", action="store_true", help="each thing with size, licence, needs, and what is there")
    made.add_argument(
        "--data-root", type=Path, default=Path("data"), help="datasets go to <data-root>/<name>/ (default: data)"
    )
    made.add_argument(
        "--weights", type=Path, default=Path("weights"), help="weights go to <weights>/<name>/ (default: weights)"
    )
    made.add_argument("--split", default="all", help="published: sample; magicbrush: test, dev, train; default: all")
    made.add_argument("--from", dest="given", type=Path, action="append", default=[], metavar="FILE_OR_DIR",
                      help="what you downloaded yourself: checked, unpacked, laid out; may be repeated")  # fmt: skip
    made.add_argument(
        "--mirror", default="", metavar="URL_OR_DIR", help="fetch from a copy with the same names: <mirror>/<what>/"
    )
    made.add_argument(
        "--limit-gb",
        type=float,
        help="of sets of many files fetch only the first, up to so many GB a thing; default: all",
    )
    made.add_argument("--base-url", default="", help="published: a mirror of the project page's repository")
    made.add_argument(
        "--sources", type=Path, default=table.TABLE, help="another table of sources; default: bench/fetch/sources.toml"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    made = parser()
    args = made.parse_args(argv)
    limit = None if args.limit_gb is None else args.limit_gb * 1e9
    options = Options(args.data_root, args.weights, tuple(args.given), args.mirror, limit)
    try:
        known = table.read(args.sources)
        if args.list:
            print(told.shown(known, options))
            return 0
        things = chosen(known, args)
        refuse_wrong_use(args)
    except ValueError as error:
        made.error(str(error))
    try:
        refuse_full(things, options)
        whole = [one(source, options, args) for source in things]
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1
    return 0 if all(whole) else 1


def chosen(known: dict[str, Source], args: argparse.Namespace) -> list[Source]:
    if not args.what:
        raise ValueError(f"what to fetch is missing; known: {', '.join(known)}")
    part = "" if args.split in ("all", "sample") else args.split
    if args.split == "sample" and "published" not in args.what:
        raise ValueError("--split sample is of published")
    if part and not any(name in known and known[name].parts for name in args.what):
        raise ValueError(f"--split {part}: none of {', '.join(args.what)} has parts")
    return table.chosen(known, args.what, part)


def refuse_wrong_use(args: argparse.Namespace) -> None:
    if args.base_url and not re.match(r"https?://[^/]", args.base_url):
        raise ValueError(f"--base-url {args.base_url}: expected an http:// or https:// address")
    if args.limit_gb is not None and not args.limit_gb > 0:
        raise ValueError(f"--limit-gb {args.limit_gb}: expected more than 0")
    if "://" in args.mirror and not re.match(r"https?://[^/]", args.mirror):
        raise ValueError(f"--mirror {args.mirror}: expected an http:// or https:// address, or a folder")
    if args.mirror and "://" not in args.mirror and not Path(args.mirror).is_dir():
        raise ValueError(f"--mirror {args.mirror}: no such folder")
    for path in args.given:
        if not path.exists():
            raise ValueError(f"--from {path}: there is no such file or folder")
    for flag, path in (("--data-root", args.data_root), ("--weights", args.weights)):
        if not (there := existing(path)).is_dir():
            raise ValueError(f"{flag} {path}: {there} is a file, expected a folder")


def one(source: Source, options: Options, args: argparse.Namespace) -> bool:
    """One thing: fetched, told of, compared with what was released. Whether it is all there and right."""
    from bench.fetch import finish

    folder, bars, began = options.folder(source), Bars(), time.perf_counter()

    def start() -> None:
        if said := told.terms(source, folder):
            print(said, flush=True)

    try:
        if source.files[0].how == "page":
            from bench.fetch import published

            start()
            outcome = published.fetch(source, options, bars, args.split, args.base_url)
        else:
            outcome = fetch(source, options, bars, start)
        if source.name == "mgie" and outcome.whole:
            finish.convert(options, folder, outcome)
    except (Refused, OSError) as error:
        outcome = Outcome(missing={source.name: str(error)})
    seconds = time.perf_counter() - began
    files = "1 file" if outcome.fetched == 1 else f"{outcome.fetched} files"
    print(f"{folder}: {files} fetched, {outcome.kept} there and right before ({seconds:.1f} s)")
    for note in outcome.notes:
        print(note)
    if folder.is_dir() and (outcome.fetched or outcome.kept):
        for line in finish.lines(source, options):
            print(line, flush=True)
    tell_missing(source, outcome, args)
    return outcome.whole


def tell_missing(source: Source, outcome: Outcome, args: argparse.Namespace) -> None:
    for name, reason in sorted(outcome.missing.items()):
        print(f"missing: {name}: {reason}", file=sys.stderr)
    for line, files in outcome.unreachable.items():
        wait = "1 file of {} waits" if files == 1 else f"{files} files of {{}} wait"
        print(f"{line}; {wait.format(source.name)} for it", file=sys.stderr)
    if outcome.missing:
        missing = "1 file is" if len(outcome.missing) == 1 else f"{len(outcome.missing)} files are"
        print(f"{missing} missing; the same command tries again", file=sys.stderr)
    if outcome.by_hand:
        steps = []
        for row in outcome.by_hand:
            steps += [f"open {row.address} in a browser", f"{row.steps}  ({row.name.partition('.')[0]})"]
        root = f"--data-root {args.data_root}" if source.root == "data" else f"--weights {args.weights}"
        steps.append(f"python -m bench.fetch {source.asked} {root} --from FILE_OR_DIR")
        print(f"{source.name}: by hand, because no machine may fetch it:", file=sys.stderr)
        for number, step in enumerate(steps, 1):
            print(f"  {number}. {step}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
