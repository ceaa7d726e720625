"""Whether an own run may stand among the published rows of MagicBrush's script, and if not, which setting would do it.

What decides is what the run has stored: its data, and the protocol beside every score. A cell is placed only where
every part of its protocol is the script's (image_eval.py at fcfc892); a run with no such cell is not placed. EXIF
orientation, alpha and colour profiles may be read either way: MagicBrush's pictures have none.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.given.named import VERDICT, verified
from bench.metrics.sets import FORMS as SET_FORMS
from bench.metrics.sets import SETS
from bench.records import Score
from bench.registry import SUITES, model_entry, plain
from bench.runs.description import safe
from bench.runs.folder import RunFolder
from bench.standings.blocks import COLUMNS, DATASET, Cell, Entry, is_above, marked
from bench.standings.published import COPY, GOAL, METRICS, printed
from mgie.io.files import read_json

OFFICIAL = SETS["magicbrush"].examples  # pictures that the script scores: all_turn, final_turn
FORMS = {column: SET_FORMS[METRICS[column][1]] for column in COLUMNS}  # what a protocol's first part must be
HARMLESS = re.compile(
    r"size (native|magicbrush|own size)\b.*|EXIF orientation ignored|alpha dropped|colour profiles ignored"
)
BOUNDS = {"identity": COPY, "oracle": GOAL}  # the same as what others print of them
SCORED = "l1,l2,cvs,dino,cts@local"
MINIATURE = (
    "suite mini is drawn pictures of 64 px, not MagicBrush: none of its settings would place it; a run with --suite "
    f"paper --data-root DIR --size native --metrics {SCORED} on the official test files would be"
)


class Own(NamedTuple):
    run: str  # the folder's name
    entry: Entry | None  # None: not placed
    reasons: list[str]  # what keeps the run, or cells of it, out


def own_runs(out: Path, given: Sequence[Path], turns: str, goal: float | None) -> list[Own]:
    """The finished runs of MagicBrush below out, of one name and settings the newest, and those that were named, each
    once. Raises ValueError for a named folder that is none of a run.
    """
    # named as tables name them, they are among those below out anyway
    given = [p for p in given if p.exists() or not list(out.glob(f"*/magicbrush--{safe(str(p))}-*/run.json"))]
    folders = [folder for path in given for folder in (verified(path, out) if path.is_file() else [path])]
    for folder in folders:
        if not (folder / "run.json").is_file():
            raise ValueError(
                f"--with {folder}: no run folder, for it has no run.json; bench.run prints the folder it wrote"
            )
    found = [path.parent for path in sorted(out.glob("*/magicbrush--*/run.json"))]
    own = {f: placed(f, turns, goal) for f in {f.resolve(): f for f in (*found, *folders)}.values()}
    named = {folder.resolve() for folder in folders}
    rivals = {f: name_and_settings(f) for f, run in own.items() if run.entry and f.resolve() not in named}
    newest = {rivals[folder]: folder for folder in sorted(rivals, key=finished)}
    for folder, name in rivals.items():
        if (last := newest[name]) != folder:
            why = f"{last.name} is a newer run of that name and settings; --as NAME keeps two apart"
            own[folder] = Own(folder.name, None, [why])
    return list(own.values())


def finished(folder: Path) -> tuple[int, str]:
    return (folder / "done.json").stat().st_mtime_ns, folder.name


def name_and_settings(folder: Path) -> str:
    """What two attempts of one model have in common: their weights or images may differ."""
    run = RunFolder(folder).run()
    return repr([run.get(key) for key in ("model", "form", "setting", "rewriter", "data", "edit")])


def placed(folder: Path, turns: str, goal: float | None = None) -> Own:
    """goal: CLIP-T of the goal image, above which a value is marked."""
    path = RunFolder(folder)
    try:
        run, done = path.run(), path.done()
        if done is None:
            return Own(folder.name, None, ["it is not finished: give its command again"])
        if reasons := of_the_run(run, turns):
            return Own(folder.name, None, reasons)
        scores = list(path.every_score().values())
        verdict = read_json(folder.parent / VERDICT).get(folder.name) if (folder.parent / VERDICT).is_file() else None
    except ValueError as error:  # a file that was changed by hand
        return Own(folder.name, None, [" ".join(str(error).split("\n")[0].split())])
    cells, reasons = {}, []
    for column in COLUMNS:
        of = METRICS[column][1]
        cell, why = cell_of(column, [s for s in scores if plain(s.metric) == of], run)
        if verdict and not cell:  # what nobody could check stands there with its reason
            why = next((text for name, text in done["not_run"].items() if plain(name) == of), why)
        if cell:
            cells[column] = cell
        else:
            reasons.append(f"{printed(column)}: {why}")
    if not cells:
        return Own(folder.name, None, reasons)
    return Own(folder.name, entry_of(folder, run, done, cells, goal, verdict), reasons)


def of_the_run(run: dict, turns: str) -> list[str]:
    """What of the whole run is not as the script has it; empty where nothing is."""
    data, edit = run["data"], run["edit"]
    if run["dataset"] != "magicbrush":
        return [f"its dataset is {run['dataset']}; own runs are placed for magicbrush alone"]
    if run["suite"] == "mini":
        return [MINIATURE]
    if run["suite"] != "paper" and SUITES[run["suite"]].hand_picked(data.get("split", "")):
        return [f"suite {run['suite']} has a few hand-picked examples; --suite paper has the test split"]
    if run["suite"] != "paper":
        return ["suite published is of outputs that others made; one's own are placed with --suite paper, and others' "
                "are held against print by python -m bench.against_print"]  # fmt: skip
    if data.get("instructions", "own") != "own":
        return ["its instructions are other examples': a control; --instructions own would place it"]
    found = [f"split {data.get('split')}; --split test would place it"] if data.get("split") != "test" else []
    if data.get("turns") != turns:
        found.append(f"--turns {data.get('turns')}; python -m bench.standings --turns {data.get('turns')} has its rows")
    if data.get("limit"):
        found.append(f"--limit {data['limit']}; without --limit it would be placed")
    elif run["n"] != OFFICIAL[turns] and data.get("turns") == turns:
        found.append(
            f"{run['n']:,} examples, the script scores {OFFICIAL[turns]:,}: the official test files would place it"
        )
    if (edit.get("size") or "native") not in ("native", "magicbrush"):
        found.append(f"--size {edit['size']}; --size native or --size magicbrush would place it")
    if edit.get("max_side"):
        found.append(f"--max-side {edit['max_side']}; without --max-side it would be placed")
    return found


def cell_of(column: str, scores: Iterable[Score], run: dict) -> tuple[Cell | None, str]:
    """The run's cell of this column, or why it has none. scores: of the metric and all its variants."""
    by_protocol: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        by_protocol.setdefault((score.metric, score.protocol), []).append(score)
    if not by_protocol:
        return None, f"not scored; --metrics {SCORED} would place it"
    why = {}
    for (metric, protocol), of in by_protocol.items():
        if said := mismatch(column, protocol, run["data"].get("caption", "")):
            why[metric] = said
            continue
        from bench.stats import summarise

        summary = summarise(of)
        if summary.mean is None or summary.n != run["n"]:
            why[metric] = (
                f"{run['n'] - summary.n:,} of {run['n']:,} examples have no value; the script has one for each"
            )
            continue
        return Cell(summary.mean, f"{summary.mean:.4f}", summary.low, summary.high, summary.n, protocol), ""
    return None, "; ".join(dict.fromkeys(why.values()))


def mismatch(column: str, protocol: str, caption: str) -> str:
    """What of a score's protocol is not the script's, and the setting that would make it so; empty: nothing.

    caption: the run's --caption, which counts where the protocol names no kind of captions.
    """
    form, setting = FORMS[column]
    parts = protocol.split("; ")
    match = re.fullmatch(form, parts[0])
    if not match:
        return f"its protocol is {parts[0]!r}; {setting} would place it"
    if column == "clip_t" and (kind := (match[2] or caption).strip()) != "local":
        return f"its captions are {kind or 'not known'}; --metrics cts@local would place it"
    for part in parts[1:]:
        if not HARMLESS.fullmatch(part):
            change = "--size native" if part.startswith("size ") else "without that setting it"
            return f"scored with {part!r}; {change} would place it"
    return ""


def entry_of(
    folder: Path, run: dict, done: dict, cells: dict[str, Cell], goal: float | None, verdict: str | None = None
) -> Entry:
    """verdict: of a bundle, what was verified; that its outputs are copies of anything is only what it says."""
    model = model_entry(run["model"])
    bound = model.bound and verdict is None
    form = "" if run["form"] == "none" else f" {run['form']}"
    form += f" by {run['rewriter']}" if run.get("rewriter") else ""
    released = (run["model"], run["form"], run["setting"]) == ("mgie", "e2e", "zero-shot")
    trained = "no" if bound else "yes" if released or run["setting"] == "fine-tuned" else "unknown"
    notes = [f"{run['n']:,} examples in {run['groups']:,} groups, {done['seeds']} seed{'s' * (done['seeds'] > 1)}"]
    notes += ["if these are the released weights: trained on IPr2Pr and MagicBrush"] if released else []
    system = BOUNDS.get(run["model"], model.printed) if bound else model.printed
    notes += [] if verdict is None else [f"from a bundle, {verdict}"]
    entry = Entry(
        f"{system}{form}", run["setting"] if run["setting"] != "zero-shot" else "-", trained,
        folder.name if verdict is None else f"bundle {folder.parent.name}/{folder.name}", cells, tuple(notes), own=True,
        bound=bound,
    )  # fmt: skip
    return marked(entry, DATASET, "", is_above(cells, goal))
