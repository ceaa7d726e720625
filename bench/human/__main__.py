"""Human evaluation: people compare texts (Figure 5) and edits (Figure 6), blind; what they said is counted.

    python -m bench.human serve                                            the built-in miniature's runs
    python -m bench.human serve --runs runs/paper/ma5k--mgie--0123abcd ... --sample 25     these run folders
    python -m bench.human report                                           figures, intervals, agreement, votes.csv

Votes go to --votes (default votes/<suite>.sqlite), one transaction a vote; the same command goes on with them.
Exit codes: 0 done, 1 stopped, 2 wrong use.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.grid.cells import cells_of
from bench.grid.options import parser, selected
from bench.grid.reference import made_here
from bench.human.study import ANNOTATORS, FIGURES, Study, study_of
from bench.planning.command import of_cells
from bench.settings import planned
from mgie.io.command import command
from mgie.io.web import add_server_flags, check_server, gradio_of_ours, serve


def serve_parser() -> argparse.ArgumentParser:
    p = parser("python -m bench.human serve", __doc__, leave=("rewrite",))  # people compare the models as they are
    p.add_argument("--runs", type=Path, nargs="+", metavar="FOLDER", help="finished run folders of the three models")
    p.add_argument("--votes", type=Path, help="file of the votes; default: votes/<suite>.sqlite")
    p.add_argument("--sample", type=int, help="examples a dataset, drawn at random; the paper: 25. Default: all")
    p.add_argument("--seed", type=int, default=0, help="of the draw (default 0)")
    p.add_argument("--figures", default="5,6", help="which pages: 5 (texts), 6 (edits); default 5,6")
    add_server_flags(p)
    return p


def report_parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("python -m bench.human report", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    p.add_argument("--votes", type=Path, help="file of the votes; default: that of --suite")
    p.add_argument("--suite", default="mini", help="which default file of votes (default: mini)")
    p.add_argument("--results", type=made_here, default=Path("results"), help="files go below it (default: results)")
    return p


def votes_file(given: Path | None, suite: str) -> Path:
    """The place for votes; those begun where votes lay before are gone on with there, with a note."""
    here, before = Path("votes") / f"{suite}.sqlite", Path("runs") / "human" / f"{suite}.sqlite"
    if given or here.exists() or not before.exists():
        return given or here
    print(f"note: {before} is read; votes lie in {here} now: stop the page, then mkdir -p votes && mv {before}* votes/",
          file=sys.stderr)  # fmt: skip
    return before


def figures_of(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not numbers or any(n not in map(str, FIGURES) for n in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"--figures {text}: expected 5, 6 or 5,6")
    return [int(n) for n in numbers]


def study(args: argparse.Namespace) -> Study:
    """Raises ValueError for a run that is not finished, with how much is missing."""
    from bench.pages.entries import from_cells, from_runs

    figures = figures_of(args.figures)
    if args.sample is not None and args.sample < 1:
        raise ValueError(f"--sample {args.sample}: expected at least 1 (the paper: 25)")
    found = from_runs(args.runs, args.data_root, None) if args.runs else from_cells(selected(args), None)
    if found.notices:
        raise ValueError("people judge finished runs only: " + "; ".join(found.notices))
    return study_of(found.suite, found.entries, args.sample, figures, args.seed)


def run_serve(argv: Sequence[str]) -> int:
    args = serve_parser().parse_args(argv)

    def start() -> int:
        if planned(args):
            if args.runs:
                raise ValueError("--plan with --runs: these folders are shown as they are, nothing is run for them")
            asked = selected(args)
            cells = cells_of(1, asked.suite, asked.models, asked.datasets)
            return of_cells("Figures 5 and 6", asked, args, [(cell, asked.options) for cell in cells])
        check_server(args)
        gradio_of_ours()
        made = study(args)
        from bench.grid.show import suite_line
        from bench.human.page import CSS, SCRIPT, build
        from bench.human.votes import Votes

        print(suite_line(made.suite, sorted({i.dataset for i in made.items})))
        path = votes_file(args.votes, made.suite)
        votes = Votes.open(path, made)
        for notice in made.notices:
            print(f"notice: {notice}", file=sys.stderr)
        kinds = ", ".join(f"{sum(i.figure == f for i in made.items)} of Figure {f}" for f in FIGURES)
        print(f"{len(made.items)} items ({kinds}), {ANNOTATORS} annotators each; votes in {path}")
        serve(build(votes), args, css=CSS, head=SCRIPT)
        return 0

    return command(start)


def run_report(argv: Sequence[str]) -> int:
    args = report_parser().parse_args(argv)

    def make() -> int:
        from bench.human.figures import report
        from bench.human.votes import Votes
        from mgie.io.command import written

        votes = Votes.open(votes_file(args.votes, args.suite))
        folder = args.results / votes.suite / "human"
        print(written(report(votes, folder)))
        return 0

    return command(make)


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    commands = {"serve": run_serve, "report": run_report}
    if argv and argv[0] in commands:
        return commands[argv[0]](argv[1:])
    if argv and argv[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    print(f"error: {argv[0] if argv else 'no command'}: expected serve or report (--help)", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
