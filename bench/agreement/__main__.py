"""What each metric sees: rank agreement between metrics, and with the right answers that the generator knows.

    python -m bench.agreement                                                    the built-in miniature
    python -m bench.agreement --suite paper --data-root data --datasets magicbrush --weights weights

Kendall's tau-b over pairs of edits of one example, 95 % intervals over groups. People's votes are compared with the
metrics by python -m bench.human report. Runs what is missing; writes agreement.csv, .md and .png below
results/<suite>/. Exit codes: 0 done, 1 stopped, 2 wrong use.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.agreement.show import answer, write
from bench.agreement.views import agreements, views_of
from bench.grid.cells import Cell, make_weights, refuse_nothing, run_all
from bench.grid.options import parser, selected
from bench.grid.reference import against
from bench.grid.show import suite_line
from bench.grid.terminal import wrapped
from bench.metrics.sets import expanded
from bench.planning.command import of_cells
from bench.registry import METRICS, PAPER_MODELS, form_of
from bench.settings import planned
from mgie.io.command import command, written

ALL = {"mini": ("identity", "codec", *PAPER_MODELS, "oracle")}  # with rows of which the right answer is known


def make(argv: Sequence[str] | None) -> int:
    p = parser("bench.agreement", __doc__)
    p.add_argument("--models", help=f"comma-separated; default: {', '.join(PAPER_MODELS)}, in mini the copies too")
    p.add_argument("--metrics", help=f"comma-separated, of {', '.join(METRICS)}; default: all of them")
    args = p.parse_args(argv)
    asked = selected(args, ALL.get(args.suite or "mini", PAPER_MODELS))
    wanted = []
    for dataset in asked.datasets:
        options = replace(asked.options, metrics=expanded(asked.options.metrics, dataset) or tuple(METRICS))
        wanted += [(Cell(asked.suite, dataset, model, form=form_of(model)), options) for model in asked.models]
    if planned(args):
        return of_cells("the agreement of metrics", asked, args, wanted, on_demand=True)
    print("\n".join([suite_line(asked.suite, asked.datasets), *asked.options.said]), flush=True)
    make_weights([cell for cell, _ in wanted], asked.options)
    results = run_all(wanted)
    refuse_nothing(results)
    scored = {r.finished: r.protocols for r in results if not r.reason}  # a run may hold other metrics too
    rows = agreements(asked.suite, views_of(scored, asked.data_root))
    if not rows:
        raise ValueError("no two metrics have a value: name at least two with --metrics")
    absent = dict.fromkeys(f"{r.cell.label} not run: {r.reason}" for r in results if r.reason)
    files = write(rows, asked.stem("agreement"))
    print("\n".join(wrapped([*answer(rows), *absent])))
    print(written(files))
    print("\n".join(against(Path(files[0]), asked.suite)))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    return command(lambda: make(argv))


if __name__ == "__main__":
    sys.exit(main())
