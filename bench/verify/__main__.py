"""Verify what somebody handed in: every file by its digest, every output by its pixels, every score computed again.

    python -m bench.verify mine.zip                                          a run of the miniature
    python -m bench.verify mine.zip --data-root data                         of the real data, which are your own
    python -m bench.verify digests.zip --outputs DIR                         digests only; the outputs came another way

Says what was checked, what could not be and why, and what is wrong, each by its name. A verified bundle is unpacked
below --out and can be a row: python -m bench.tables 1 --with mine.zip. Nothing of a bundle is run, nor opened outside
its own folder. Exit codes: 0 verified, 1 something is wrong or nothing could be computed again, 2 refused or wrong use.
"""

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.bundle.contents import LINES, NEEDED, OBJECTS
from bench.given.named import BUNDLES, VERDICT
from bench.runs.folder import RunFolder
from bench.runs.remote import local_place
from bench.settings import MetricSettings, add_metric_flags, from_flags
from bench.verify.archive import Opened, opened
from bench.verify.files import bring, check_name, check_outputs, claims_of, edits_of, unlike_a_run
from bench.verify.findings import Findings, shortened
from bench.verify.kept import keep
from bench.verify.recomputed import Here, check_counts, compare, recompute, run_here
from mgie.io.command import command
from mgie.io.files import write_json

STRANGE = (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)  # from values of another kind
NOBODY_SEES = "how the outputs were made, and in how many seconds: no output says so"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        "bench.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("bundle", type=Path, metavar="FILE.zip", help="what python -m bench.bundle wrote")
    p.add_argument("--data-root", type=local_place, default=Path("data"), help="your own data (default: data)")
    p.add_argument("--image-root", type=Path, help="EVR: the folder of its images; default: evr/images")
    p.add_argument(
        "--outputs",
        type=Path,
        metavar="DIR",
        help="for a bundle of digests: the run folder with the outputs, or the folder that holds several",
    )
    p.add_argument("--out", type=local_place, default=Path("runs"), help="verified runs go below it (default: runs)")
    add_metric_flags(p.add_argument_group("the metrics' networks"))
    return p


def check_run(reader: RunFolder, bundle: Opened, here: Here, outputs: Path | None) -> Findings:
    """Everything that can be found out about one run. Raises ValueError for nothing: a damaged file is a finding."""
    name = reader.path.name
    found = Findings(
        name, wrong=shortened([w.removeprefix(f"{name}/") for w in bundle.wrong if w.startswith(f"{name}/")])
    )
    if any(f"{file} is missing" in found.wrong for file in NEEDED):
        found.unchecked.append("everything else: without these files there is no run")
        return found
    try:
        check_files(reader, bundle, here, outputs, found)
    except ValueError as error:  # a file that is no record of a run
        text = str(error).replace(f"{reader.path}/", "").partition("; it was changed by hand")[0]
        found.wrong.append(text.splitlines()[0])
    except STRANGE as error:
        found.wrong.append(
            f"{', '.join((*OBJECTS, *LINES))}: one holds a value of a kind that no run's has ({error!r:.80})"
        )
    found.unchecked.append(NOBODY_SEES)
    return found


def check_files(reader: RunFolder, bundle: Opened, here: Here, outputs: Path | None, found: Findings) -> None:
    said, done = check_name(reader, found), reader.done()
    assert done is not None  # a run without one was not looked at
    if not found.wrong:
        count = sum(name.startswith(f"{reader.path.name}/") for name in bundle.said["files"])
        found.checked.append(f"{count} files by their SHA-256")
    if strange := unlike_a_run(reader, said, done):
        found.wrong += strange
        return
    edits, claims = edits_of(reader, found), claims_of(reader, found)
    if not bundle.said["outputs"] and outputs is None:
        found.unchecked.append("all scores and outputs: the bundle holds digests only; --outputs DIR names the outputs")
        return
    if outputs is not None:
        bring(reader, edits.values(), outputs)
    good = check_outputs(reader, edits, found)
    ready = run_here(said, edits, here, found)
    if ready is None:
        return
    run, dataset = ready
    check_counts(run, reader, edits, done, said, found)
    sources = reader.sources()
    changed = [i for i, digest in run.sources.items() if sources and sources.get(i) != digest]
    if changed:
        found.wrong.append(f"scored_from.json: {len(changed)} examples have other goals, captions or masks than the "
                           f"data here, first: {changed[0]}")  # fmt: skip
    lost = edits.keys() - good
    ours, claimed = {key: edits[key] for key in good}, {key[2:] for key in claims}
    scores, account = recompute(run, dataset, reader, ours, lost, claimed, here, found)
    compare(claims, scores, lost, changed, found)
    if found.verified:
        keep(reader, run, ours, scores, account)


def show(found: Findings) -> None:
    print(f"{found.run}:")
    for title, lines in (("checked", found.checked), ("not checked", found.unchecked), ("WRONG", found.wrong)):
        for line in lines:
            print(f"  {title}: {line}")


def verify(args: argparse.Namespace) -> int:
    if not args.bundle.is_file():
        raise FileNotFoundError(f"{args.bundle}: no such file; expected a zip that python -m bench.bundle wrote")
    with open(args.bundle, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    place = args.out / BUNDLES / digest
    part = place.with_name(f".{digest}.checking")
    here = Here(args.data_root, args.image_root, from_flags(MetricSettings, args), args.out)
    shutil.rmtree(part, ignore_errors=True)  # of a killed command
    try:
        bundle = opened(args.bundle, part)
        findings = [check_run(RunFolder(part / name), bundle, here, args.outputs) for name in bundle.said["runs"]]
        for found in findings:
            show(found)
        if all(found.verified for found in findings):
            write_json(part / VERDICT, {found.run: found.said for found in findings})
            shutil.rmtree(place, ignore_errors=True)
            os.replace(part, place)
            print(f"verified. As a row: python -m bench.tables 1 --with {args.bundle}")
            return 0
    finally:
        shutil.rmtree(part, ignore_errors=True)
    wrong = sum(len(found.wrong) for found in findings)
    print(f"NOT verified: {f'{wrong} things are wrong' if wrong else 'no score could be computed again'}")
    return 1


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    return command(lambda: verify(args))


if __name__ == "__main__":
    sys.exit(main())
