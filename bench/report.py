"""The report: the answer on the first screen; folded below it all tables, figures, protocols, environment, failures.

    python -m bench.report                                        the built-in miniature
    python -m bench.report --suite published --split sample       the authors' own outputs

Collects what make table1 .. table4, make rewrite, make figures and bench.human wrote below results/<suite>/ and runs
nothing: what is not there is said to be not run. Writes report[-<split>].html (one page, images inside), .md (the
same) and .tex (all LaTeX tables in one document), and report[-<split>].png, the first screen's plot. --with adds a
finished run to the first screen, and shows the tables and figures that were made with it. Exit codes: 0 done, 2 wrong
use.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.figures.bars import plot_line
from bench.given.fits import Asked
from bench.given.named import add_with, found
from bench.grid.reference import made_here
from bench.pages.answer import answer
from bench.pages.provenance import environments, failures, here, incomplete, settings
from bench.pages.render import html
from bench.pages.sections import (
    AUTHORS_ONLY,
    BARS,
    FIGURES,
    MINIATURE,
    REWRITE,
    SEEING,
    TABLES,
    Scope,
    fold,
    gallery,
    human,
    linked,
    others,
    read,
    section,
)
from bench.registry import BENCHMARKS, SUITES, edit_settings, split_of
from bench.settings import DataSettings, EditSettings
from mgie.io.command import command, written
from mgie.io.files import write_atomic

DEVIATIONS = Path(__file__).parent / "pages" / "deviations.csv"


def published(asked: Scope) -> list[str]:
    """The standings, with own runs among them."""
    from bench.standings.section import section as standings

    title = "Standings: what other papers print for MagicBrush"
    try:
        given = [run.folder for run in asked.given if run.dataset == "magicbrush"]
        lines = standings(asked.out, asked.folder, given)
    except (ValueError, FileNotFoundError) as error:
        return fold(f"{title} (not here)", [f"Not made: {error}"])
    return fold(title, [line.replace("### ", "#### ", 1) if line.startswith("### ") else line for line in lines])


def rows_of(asked: Scope) -> dict[str, list[dict[str, str]]]:
    """The CSV rows of every table and figure that is there, by its title up to the colon."""
    names = {f"table{n}": title for n, title in TABLES.items()} | {f"figure{n}": f[0] for n, f in FIGURES.items()}
    names["rewrite"] = REWRITE[0]
    found = {title.partition(":")[0]: read(asked.folder / f"{asked.stem(name)}.csv")
             for name, title in names.items()}  # fmt: skip
    return {title: rows for title, rows in found.items() if rows}


def missing(rows: dict[str, list[dict[str, str]]]) -> list[str]:
    """What has no number: the tables and figures that are not there, then counts and reasons, one by one."""
    titles = [*TABLES.values(), *(figure[0] for figure in FIGURES.values())]
    absent = [name for title in titles if (name := title.partition(":")[0]) not in rows]
    lines = [f"not run: {', '.join(absent)}"] if absent else []
    for title, part in rows.items():
        without: dict[str, int] = {}
        for row in part:
            if not row.get("mean", "value") and row.get("reason"):
                without[row["reason"]] = without.get(row["reason"], 0) + 1
        lines += [f"{title}: {count} of {len(part)} values: {reason}" for reason, count in without.items()]
    return lines


def deviations(asked: Scope, rows: dict[str, list[dict[str, str]]]) -> list[str]:
    """What is otherwise than in the paper: in the set-up, and (suite paper) every number outside our interval."""
    words = [row for row in read(DEVIATIONS) if row["suite"] in ("all", asked.suite)]
    lines = [f"- **{row['about']}.** {row['words']}" for row in words]
    compared = [(title, row) for title, part in rows.items() for row in part
                if row.get("verdict") in ("agrees", "outside the interval")]  # fmt: skip
    if asked.suite != "paper":
        return [*lines, "", "No number of this suite is compared with the paper's: the data are others."]
    outside = [(title, row) for title, row in compared if row["verdict"] != "agrees"]
    lines += ["", f"Of {len(compared)} numbers that the paper prints too, {len(compared) - len(outside)} agree."]
    for title, row in outside:
        what = row.get("metric") or row.get("axis") or f"CLIP-S, {row.get('image')}"
        mark = "" if row["paper_confirmed"] == "yes" else "†"
        way = "higher" if float(row["difference"]) > 0 else "lower"
        lines.append(f"- {title}, {row.get('model') or row.get('text')} on {row['dataset']}, {what}: ours "
                     f"{float(row['mean']):.4g} [{float(row['low']):.4g}, {float(row['high']):.4g}], the paper "
                     f"{float(row['paper']):.4g}{mark}: {way} by {abs(float(row['difference'])):.4g}")  # fmt: skip
    return lines


def runs_here(asked: Scope, rows: dict[str, list[dict[str, str]]]) -> tuple[list[str], list[Path], list[str]]:
    """The runs that the numbers name, the folders of those that are here, and the names of the others."""
    own = {given.folder.name for given in asked.given}
    names = {name.rpartition("/")[2] for part in rows.values() for row in part if (name := row.get("run", ""))}
    found, absent = here(sorted(names - own), asked.out / asked.suite)
    return sorted(names | own), [*found, *(given.folder for given in asked.given)], absent


def runs_part(asked: Scope, rows: dict[str, list[dict[str, str]]]) -> list[str]:
    """Failures, settings and environment of the runs that the numbers name."""
    names, found, absent = runs_here(asked, rows)
    said = missing(rows) + incomplete(asked.out / asked.suite) + failures(found)
    lines = [f"- {line}" for line in said] or ["Nothing is missing, and no example failed."]
    if absent:
        first = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        lines += ["", f"Run folders named by the numbers above that are not here: {len(absent)} of {len(names)} "
                  f"({first}). They are not part of the repository; the same commands make them again."]  # fmt: skip
    unknown = ["No run folder is here, so what they ran on is not known."]
    return [
        *fold("Missing and failures", lines),
        *fold("Settings of the runs", settings(found) if found else ["No run folder is here."]),
        *fold("Environment", environments(found) if found else unknown),
    ]


def markdown(asked: Scope) -> str:
    """Raises ValueError where no table or figure has a number, and none of another name is here."""
    rows = rows_of(asked)
    if not others(asked) and not any(row.get("mean") or row.get("value") for part in rows.values() for row in part):
        raise ValueError(f"{asked.folder} holds no results{f' of split {asked.split}' if asked.split else ''}: "
                         f"make table1 SUITE={asked.suite} writes the first, then make report")  # fmt: skip
    split = f", split {asked.split}" if asked.split else ""
    lines = [f"# Report: suite {asked.suite}{split}", "", *first_screen(asked, rows)]
    lines += ["## Tables", ""]
    for n, title in TABLES.items():
        absent = AUTHORS_ONLY.get(n, "") if asked.suite == "published" else ""
        lines += section(asked, f"table{n}", title, f"make table{n}", BARS, absent)
    lines += section(asked, "rewrite", *REWRITE)
    lines += ["## Figures", ""]
    for n, (title, make, alt) in FIGURES.items():
        lines += section(asked, f"figure{n}", title, make, alt)
    lines += human(asked) + gallery(asked) + others(asked)
    lines += ["## What the metrics see", ""]
    for name, (title, make, alt) in SEEING.items():
        lines += section(asked, name, title, make, alt)
    lines += ["## Published rows", "", *published(asked)]
    if asked.suite == "mini":
        lines += ["## Only on the miniature", ""]
        for name, (title, alt) in MINIATURE.items():
            lines += section(asked, name, title, f"make {name}", alt)
    lines += ["## Behind the numbers", "", *fold("Deviations from the paper", deviations(asked, rows))]
    return "\n".join([*lines, *runs_part(asked, rows)]).rstrip() + "\n"


def first_screen(asked: Scope, rows: dict[str, list[dict[str, str]]]) -> list[str]:
    """The answer: what was run, Table 1 in short, what its tests say, its plot."""
    _, runs, _ = runs_here(asked, {"Table 1": rows.get("Table 1", [])})
    found = answer(asked.folder / f"table1{asked.suffix}", asked.split, runs, asked.given)
    if found.grid is None:
        return found.lines
    stem = asked.file("report", "")
    plot_line(found.grid, found.columns, stem)
    plot = linked(asked.folder, stem.name, f"Table 1 in short as a plot, with intervals. {found.lines[-2]}")
    return [*found.lines, plot, "", "Everything else folds open below; † marks a number of the paper that is recalled "
            "and not confirmed.", ""]  # fmt: skip


def latex(asked: Scope) -> str:
    """One document that reads the tables' own files; pdflatex in results/<suite>/ compiles it."""
    names = [f"table{n}" for n in TABLES] + [f"figure{n}" for n in FIGURES]
    stems = [asked.stem(name) for name in names]
    found = [stem for stem in stems if (asked.folder / f"{stem}.tex").is_file()]
    head = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\usepackage{graphicx}",
            r"\usepackage[margin=1.5cm,landscape]{geometry}", r"\begin{document}"]  # fmt: skip
    return "\n".join([*head, *(rf"\input{{{stem}}}" for stem in found), r"\end{document}"]) + "\n"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("bench.report", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("--suite", choices=SUITES, default="mini", help="default: mini, the built-in miniature")
    p.add_argument("--split", help="as for the tables; default: mini quick, published all, paper the test split")
    p.add_argument("--full", action="store_true", help="mini: of the whole test split")
    p.add_argument("--results", type=made_here, default=Path("results"), help="holds <suite>/ (default: results)")
    p.add_argument("--out", type=Path, default=Path("runs"), help="holds the run folders (default: runs)")
    add_with(p)
    return p


def scope_of(args: argparse.Namespace) -> Scope:
    """Raises ValueError for a run of --with that does not belong beside the rows of Table 1."""
    plain = Scope(args.suite, split_of(args.suite, args.full, args.split), args.results, args.out)
    if not args.given:
        return plain
    rows = read(plain.folder / f"table1{plain.suffix}.csv")
    datasets = [d for d in dict.fromkeys(row["dataset"] for row in rows) if d != "all"] or list(BENCHMARKS)
    seeds = max((int(row["seeds"]) for row in rows), default=1)
    edit = edit_settings(args.suite, EditSettings())
    runs = found(args.given, datasets, args.out, Asked(args.suite, DataSettings(plain.split), edit, seeds, "zero-shot"))
    if twice := [run for run in runs.runs if any(row["model"] == run.name for row in rows)]:
        raise ValueError(f"--with: {twice[0].name} is a row of Table 1 already; call it otherwise with --as behind it")
    for notice in runs.notices:
        print(f"notice: {notice}", file=sys.stderr)
    return replace(plain, given=tuple(runs.runs))


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    def make() -> int:
        asked = scope_of(args)
        text = markdown(asked)
        page = asked.file("report", ".html")
        write_atomic(asked.file("report", ".md"), text)
        write_atomic(asked.file("report", ".tex"), latex(asked))
        write_atomic(page, html(text, f"Report: suite {args.suite}", asked.folder))
        print(written([page, asked.file("report", ".md"), asked.file("report", ".tex")]))
        return 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
