"""Figure 3: how much of the input image is kept against how far the edit goes where its caption says.

    python -m bench.tradeoff                                                           the built-in miniature
    python -m bench.tradeoff --suite paper --data-root data --weights weights          the reproduction
    python -m bench.tradeoff --with runs/mini/magicbrush--mine--zero-shot--0123abcd    a finished run, as one point

One run a model and image_guidance_scale (1.0 to 2.2 by 0.2), each resumable; writes figure3.csv, .md, .png, .svg below
results/<suite>/. Exit codes: 0 done, 1 stopped or (--strict) something was not run, 2 wrong use,
or nothing could be run.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace

from bench.figures.figure3 import AXES, Point, SweepRow, labelled, markdown, plot, scales_in, shown
from bench.given.fits import refuse_unlike
from bench.given.named import add_with
from bench.grid.between import dataset_name
from bench.grid.cells import Cell, Options, Result, is_own, one_line, read_run, refuse_nothing, run_all
from bench.grid.options import Selection, parser, selected
from bench.grid.paper import Reported
from bench.grid.reference import against
from bench.grid.rows import compare
from bench.grid.show import suite_line
from bench.grid.terminal import columns, wrapped
from bench.planning.command import of_cells
from bench.registry import PAPER_MODELS, form_of, model_entry
from bench.resampling.intervals import METHODS
from bench.runs.folder import RunFolder
from bench.settings import planned
from bench.stats import Summary, summarise
from mgie.io.command import command, written
from mgie.io.files import write_atomic, write_csv

SCALES = (1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.2)
GUIDANCE = {"paper": 7.5}  # alpha_X of the figure; other suites: the model's own default
GIVEN = "the output images are given: their image_guidance_scale cannot be changed"


def scales_of(given: str | None) -> tuple[float, ...]:
    """Raises ValueError for what is no list of finite numbers."""
    if given is None:
        return SCALES
    scales = []
    for part in given.split(","):
        try:
            scales.append(float(part))
        except ValueError:
            scales.append(math.nan)
        if not math.isfinite(scales[-1]):
            raise ValueError(f"--image-guidance-scales {given}: '{part.strip()}' is no number; expected for example "
                             "1.0,1.4,1.8")  # fmt: skip
    return tuple(sorted(set(scales)))


def wanted_of(
    asked: Selection, scales: Sequence[float], guidance: float | None
) -> list[tuple[float, Cell, Options]]:  # fmt: skip
    """Every model at every scale."""
    wanted = []
    for scale in scales:
        flags = ["--image-guidance-scale", repr(scale)]
        flags += [] if guidance is None else ["--guidance-scale", repr(guidance)]
        options = replace(asked.options, metrics=tuple(AXES), extra=(*asked.options.extra, *flags))
        wanted += [(scale, cell_of(asked, m, d), options) for m in asked.models for d in asked.datasets]
    return wanted


def sweep(asked: Selection, scales: Sequence[float], guidance: float | None) -> list[SweepRow]:
    """Every model at every scale; a cell that cannot run is two rows with its reason."""
    wanted = wanted_of(asked, scales, guidance)
    able = [w for w in wanted if not is_given(w[1])]
    labels = [f"image_guidance_scale {scale:g}, {cell.model}" for scale, cell, _ in able]
    results = run_all([(cell, options) for _, cell, options in able], labels)
    found = {(scale, cell): result for (scale, cell, _), result in zip(able, results, strict=True)}
    refuse_nothing(results or [Result(cell, None, GIVEN) for _, cell, _ in wanted])
    rows = []
    for scale, cell, _ in wanted:
        result = found.get((scale, cell))
        if result is None or result.reason:
            rows += not_run(cell, scale, guidance, asked.options.seeds, result.reason if result else GIVEN)
        else:
            rows += rows_of(cell, scale, result, asked)
    rows.sort(key=lambda r: (asked.models.index(r.model), r.image_guidance_scale))
    return rows + given_rows(asked, next((r for r in results if not r.reason), None))


def given_rows(asked: Selection, beside: Result | None) -> list[SweepRow]:
    """The runs of --with: one point each, at the scale that it was made with. beside: a finished run of the sweep.

    Raises ValueError for a run on other examples, or scored under other protocols.
    """
    rows = []
    for given in asked.given:
        protocols = beside.protocols if beside else {}
        if beside:
            refuse_unlike(given.folder, beside.finished, asked.options.seeds, protocols)
        run = RunFolder(given.folder).run()
        scale = None if "images" in run["fingerprint"] else run["edit"]["image_guidance_scale"]
        cell = Cell(asked.suite, given.dataset, given.name, given.setting, given.form)
        rows += rows_of(cell, scale, Result(cell, given.folder, protocols=protocols), asked)
    return rows


def cell_of(asked: Selection, model: str, dataset: str) -> Cell:
    return Cell(asked.suite, dataset, model, "zero-shot", form_of(model))


def is_given(cell: Cell) -> bool:
    """Outputs that somebody brought, or that the authors published: no setting moves them."""
    return is_own(cell.model) or (cell.suite == "published" and cell.model in PAPER_MODELS)


def rows_of(cell: Cell, scale: float | None, result: Result, asked: Selection) -> list[SweepRow]:
    folder = result.finished
    run, edit = read_run(folder, asked.options.seeds, result.protocols), RunFolder(folder).run()["edit"]
    where, rows = f"{asked.options.out.name}/{asked.suite}/{folder.name}", []
    for axis in AXES:
        scores = [s for s in run.scores if s.metric == axis]
        if not scores:  # of a run that was given
            why = f"{axis} is not among the metrics of {folder.name}; bench.run --metrics {','.join(AXES)} scores it"
            rows += [
                r for r in not_run(cell, scale, edit["guidance_scale"], asked.options.seeds, why) if r.axis == axis
            ]
            continue
        summary = summarise(scores)
        missing = [s.reason for s in scores if s.value is None]
        said = f"{len(missing)} of {len(scores)} scores missing: {missing[0]}" if missing else ""
        point = Point(cell.dataset, cell.model, scale, axis)
        printed = Reported("", point.value, point.half_unit, point.confirmed)
        rows.append(SweepRow(
            3, cell.suite, cell.setting, cell.form, cell.dataset, cell.model, edit["guidance_scale"], scale, axis,
            summary.mean, summary.low, summary.high, summary.n, run.of, summary.groups, asked.options.seeds,
            point.value, point.confirmed, *(compare(cell.suite, summary, printed) if point.value else (None, "")),
            "; ".join(filter(None, (summary.reason, said))), scores[0].protocol if scores else "", where,
        ))  # fmt: skip
    return rows


def not_run(cell: Cell, scale: float | None, guidance: float | None, seeds: int, reason: str) -> list[SweepRow]:
    rows, nothing = [], Summary(None, None, None, 0, 0)
    for axis in AXES:
        point = Point(cell.dataset, cell.model, scale, axis)
        rows.append(SweepRow(
            3, cell.suite, cell.setting, cell.form, cell.dataset, cell.model, guidance, scale, axis, *nothing[:4], None,
            0, seeds, point.value, point.confirmed, None, "not run", f"not run: {one_line(reason)}", "", "",
        ))  # fmt: skip
    return rows


def head_of(asked: Selection, rows: Sequence[SweepRow]) -> list[str]:
    scored = [r for r in rows if r.of is not None]
    used = {r.model: r.guidance_scale for r in scored}
    data = {(dataset_name(r.dataset, r.suite), r.of, r.groups) for r in scored if r.n == r.of}
    split = f", split {asked.options.split}" if asked.options.split else ""
    counts = [f"{name}, {of} examples in {groups} groups" for name, of, groups in sorted(data)]
    seeds = f"{asked.options.seeds} seed{'s' * (asked.options.seeds > 1)}"
    lines = [suite_line(asked.suite, asked.datasets), *asked.options.said]
    lines += [f"Data{split}: {'; '.join(counts)}, {seeds}."] if counts else []
    if used:
        said = ", ".join(f"{model_entry(m).printed} {g:g}" for m, g in used.items() if g is not None)
        own = "" if asked.suite == "paper" else " (each model's own default; the paper's figure has 7.5)"
        lines.append(f"guidance_scale is fixed at {said}{own}; only image_guidance_scale moves.")
    lines += [
        "Direction similarity: cosine of (output - input image) and (goal - input caption) CLIP features; input image "
        "similarity: cosine of input and output image. Both x100 here, unscaled in the CSV. The input copy lies at "
        "0 and 100 by definition.",
        f"Each point: mean over examples and seeds, 95 % interval ({METHODS}).",
        "The paper's points were read off its figure (direction ±0.15, similarity ±0.3); which "
        "image_guidance_scale belongs to which point is inferred from their even spacing.",
        "The paper names neither CLIP's size nor the number of seeds of this figure: both are assumptions here.",
    ]
    if asked.suite == "published":
        lines.append("The paper's points are of other data than this suite's: not comparable.")
    return lines


def show(rows: Sequence[SweepRow], head: Sequence[str]) -> None:
    lines = list(head[1:])
    for model in dict.fromkeys(r.model for r in rows):
        table = [["image_guidance_scale", *AXES.values()]]
        for scale in scales_in([r for r in rows if r.model == model]):
            cells = {r.axis: r for r in rows if (r.model, r.image_guidance_scale) == (model, scale)}
            table.append([labelled(scale), *(shown(cells[axis]).replace("<br>", " ") for axis in AXES)])
        lines += ["", model_entry(model).printed, *columns(table)]
    reasons = dict.fromkeys(r.reason for r in rows if r.reason)
    print("\n".join(wrapped([*lines, "", *(f"- {reason}" for reason in reasons)])))


def main(argv: Sequence[str] | None = None) -> int:
    p = parser("bench.tradeoff", __doc__, leave=("image_guidance_scale",))
    p.add_argument("--models", help="comma-separated; default: inspix2pix,lgie,mgie")
    p.add_argument("--seeds", type=int, default=1, help="how many: seeds 0 to N-1 (default 1)")
    p.add_argument("--image-guidance-scales", help="comma-separated; default: 1.0 to 2.2 by 0.2")
    add_with(p)
    args = p.parse_args(argv)

    def make() -> int:
        asked = selected(args, PAPER_MODELS, ("magicbrush",), args.seeds, metrics=tuple(AXES))
        scales = scales_of(args.image_guidance_scales)
        if len(asked.datasets) > 1:
            raise ValueError(f"--datasets {args.datasets}: this figure has one dataset, for example magicbrush")
        guidance = GUIDANCE.get(asked.suite) if args.guidance_scale is None else args.guidance_scale
        if planned(args):
            able = [w for w in wanted_of(asked, scales, guidance) if not is_given(w[1])]
            if not able:
                raise ValueError(f"nothing can be run: {GIVEN}")
            labels = [f"scale {scale:g}, {cell.model}" for scale, cell, _ in able]
            return of_cells("Figure 3", asked, args, [w[1:] for w in able], labels)
        print(f"{suite_line(asked.suite, asked.datasets)}\n{asked.options.placed}", flush=True)
        for notice in asked.notices:
            print(f"notice: {notice}", file=sys.stderr)
        rows = sweep(asked, scales, guidance)
        head, stem, missing = head_of(asked, rows), asked.stem("figure3"), sum(r.of is None for r in rows)
        show(rows, head)
        write_csv(stem.with_suffix(".csv"), SweepRow, rows)
        write_atomic(stem.with_suffix(".md"), markdown(rows, head))
        print(written([stem.with_suffix(".csv"), stem.with_suffix(".md"), *plot(rows, stem)]))
        print("\n".join(against(stem.with_suffix(".csv"), asked.suite)))
        if missing and asked.strict:
            print(f"error: --strict: {missing} values were not run", file=sys.stderr)
        return 1 if missing and asked.strict else 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
