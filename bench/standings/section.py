"""The standings as a whole: collected from published rows and runs at hand, written, and as a section of a report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.standings.blocks import COLUMNS, Standings, goal_clip_t, standings
from bench.standings.published import PUBLISHED, families, read
from bench.standings.show import answer, csv_text, markdown, markdown_block, markdown_differing, title, unplaced
from mgie.io.files import write_atomic


def collected(
    dataset: str = "magicbrush", turns: str = "single", out: Path = Path("runs"), given: Sequence[Path] = (),
    by: str = "l1", published: Path = PUBLISHED,
) -> Standings:  # fmt: skip
    """All published rows of a dataset, with the own runs below out, and those given, that may stand among them.

    Raises ValueError for a dataset of which no source prints anything, and for a given folder that is none of a run.
    """
    from bench.standings.placement import own_runs

    rows = read(published)
    if dataset not in families(rows):
        raise ValueError(f"--dataset {dataset}: no published row; there are rows of {', '.join(families(rows))}")
    if by not in COLUMNS:
        raise ValueError(f"--by {by}: expected {', '.join(COLUMNS)}")
    if dataset != "magicbrush":
        if given:
            raise ValueError(
                f"--with {given[0]}: own runs are placed for --dataset magicbrush alone, this is {dataset}"
            )
        return standings(rows, dataset, turns, by=by)
    own = own_runs(out, given, turns, goal_clip_t(rows, turns))
    out_of: dict[tuple[str, str], list[str]] = {}
    for run in own:
        for reason in run.reasons:
            out_of.setdefault(("Placed without a value" if run.entry else "Not placed", reason), []).append(run.run)
    found = standings(rows, dataset, turns, [run.entry for run in own if run.entry], by)
    return replace(found, left_out=[(*key, runs) for key, runs in out_of.items()])


def stem(s: Standings, folder: Path) -> Path:
    turns = f"-{s.turns}" if s.has_turns else ""
    return folder / f"standings-{s.dataset}{turns}"


def write(s: Standings, folder: Path) -> list[Path]:
    """CSV, Markdown and, of MagicBrush's script, the plot."""
    name = stem(s, folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [name.with_suffix(".csv"), name.with_suffix(".md")]
    write_atomic(paths[0], csv_text(s))
    write_atomic(paths[1], markdown(s))
    if s.first:
        from bench.standings.plot import plot

        paths.append(name.with_suffix(".png"))
        plot(s, paths[-1])
    return paths


def section(out: Path = Path("runs"), folder: Path | None = None, given: Sequence[Path] = ()) -> list[str]:
    """Lines of Markdown for a report: what is published by MagicBrush's script, single turn, own runs among it.

    folder: where the report lies; the plot and the files are written there and linked. None: neither.
    """
    s = collected(out=out, given=given)
    lines = [f"### {title(s)}", "", *(f"- {line}" for line in (*answer(s), *unplaced(s))), ""]
    if folder is not None:
        paths = write(s, folder)
        lines += [f"![{title(s)}: a row a system, a panel a metric]({stem(s, folder).name}.png)", ""]
        lines += [
            "Numbers, and the blocks of other protocols: " + ", ".join(f"[{p.name}]({p.name})" for p in paths[:2]),
            "",
        ]
    lines += [
        "<details>",
        "<summary>All rows of this protocol</summary>",
        "",
        *(markdown_block(s.first) if s.first else []),
        "",
    ]
    return [
        *lines,
        *(f"##{line}" if line.startswith("## ") else line for line in markdown_differing(s)),
        "</details>",
        "",
    ]
