"""Figure 4: how near each text is to the input and the goal image, by CLIP: human instruction, LGIE's, MGIE's.

    python -m bench.clip_score                                                         the built-in miniature
    python -m bench.clip_score --suite published --data-root data --clip FOLDER        the authors' own texts
    python -m bench.clip_score --suite paper --data-root data --weights weights        the reproduction

Expressive instructions come from the runs of LGIE and MGIE (seed 0: they are decoded greedily). Writes figure4.csv,
.md, .tex, .png, .svg, the paired tests and every example's scores below results/<suite>/. Exit codes: 0 done,
1 stopped or (--strict) something was not run, 2 wrong use, or nothing could be run.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.figures.figure4 import IMAGES, TextRow, TextTest, latex, markdown, name_of, plot, shown, spelled, texts_in
from bench.figures.texts import measure, wanted_of, written_in
from bench.given.named import add_with
from bench.grid.options import Selection, parser, selected
from bench.grid.reference import against
from bench.grid.show import suite_line
from bench.grid.terminal import columns, wrapped
from bench.planning.command import of_cells
from bench.records import Score
from bench.resampling.intervals import METHODS
from bench.settings import MetricSettings, planned
from mgie.io.command import command, written
from mgie.io.files import write_atomic, write_csv


def head_of(asked: Selection, networks: MetricSettings, rows: Sequence[TextRow]) -> list[str]:
    """What a reader must know before a number."""
    split = f", split {asked.options.split}" if asked.options.split else ""
    scored = {r.dataset: r for r in rows if r.of is not None and r.text == "instruction" and r.dataset != "all"}
    counts = "; ".join(f"{name_of(d, asked.suite)} {r.of} examples in {r.groups} groups" for d, r in scored.items())
    lines = [suite_line(asked.suite, asked.datasets), *asked.options.said]
    lines += [f"Data{split}: {counts}."] if counts else []
    if asked.suite == "published":
        lines.append("Hand-picked by the authors; the expressive instructions are their models' own.")
    if is_mini(networks):
        lines.append(MINI_SAID + ("" if asked.suite == "mini" else " Name the paper's with --clip."))
    cut = {text: sum(r.truncated for r in rows if (r.text, r.image) == (text, "input image") and r.dataset != "all")
           for text in texts_in(rows)}  # fmt: skip
    total = sum(r.n for r in rows if r.image == "input image" and r.dataset != "all")
    said = ", ".join(f"{count} {spelled(text)}" for text, count in cut.items())
    if total:
        lines.append(
            f"Texts that CLIP cut at its context length (see the protocol; OpenAI's: 77 tokens): "
            f"{sum(cut.values())} of {total} ({said}); their ends are not seen, their scores are kept."
        )
    lines += [
        f"Each bar: mean over examples, 95 % interval ({METHODS}). \"all\" pools "
        "the examples of all datasets, each once; how the paper pools is not stated.",
        "CLIP-S is 100 x cosine, unclamped. The paper names no backbone for it; ViT-B/32 is an assumption.",
        "Expressive instructions: seed 0 of each run, decoded greedily, zero-shot, end to end (E2E).",
    ]  # fmt: skip
    if asked.suite == "published":
        lines.append("The paper's bars are of other data than this suite's: not comparable.")
    return lines


MINI_SAID = ("CLIP here is mini-clip, the miniature's own small network, trained on its small world alone: on the "
             "paper's photographs and sentences its numbers mean nothing.")  # fmt: skip


def is_mini(networks: MetricSettings) -> bool:
    from mgie.folder import MINI

    return Path(networks.clip).resolve() == (MINI / "mini-clip").resolve()


def write(
    asked: Selection, rows: Sequence[TextRow], tests: Sequence[TextTest], scores: Sequence[Score], head: Sequence[str]
) -> list[Path]:
    from bench.grid.stored import write_scores

    stem = asked.stem("figure4")
    write_csv(stem.with_suffix(".csv"), TextRow, rows)
    write_csv(stem.with_name(f"{stem.name}-tests.csv"), TextTest, tests)
    write_scores(stem.with_name(f"{stem.name}-scores.csv.gz"), scores)
    write_atomic(stem.with_suffix(".md"), markdown(rows, tests, head))
    write_atomic(stem.with_suffix(".tex"), latex(rows, head))
    warning = "" if asked.suite != "published" else "   the paper's bars are of other data: not comparable"
    return [*(stem.with_suffix(ending) for ending in (".csv", ".md", ".tex")), *plot(rows, stem, warning),
            *(stem.with_name(f"{stem.name}{ending}") for ending in ("-tests.csv", "-scores.csv.gz"))]  # fmt: skip


def show(rows: Sequence[TextRow], head: Sequence[str]) -> None:
    lines = list(head[1:])
    for image in IMAGES:
        table = [["dataset", *(spelled(text) for text in texts_in(rows))]]
        for dataset in dict.fromkeys(r.dataset for r in rows):
            found = {r.text: r for r in rows if (r.dataset, r.image) == (dataset, image)}
            cells = (shown(found[text]).replace("<br>", " ") for text in texts_in(rows))
            table.append([name_of(dataset, rows[0].suite), *cells])
        lines += ["", f"CLIP-S with the {image}", *columns(table)]
    reasons = dict.fromkeys(r.reason for r in rows if r.reason)
    print("\n".join(wrapped([*lines, "", *(f"- {reason}" for reason in reasons)])))


def with_texts(asked: Selection) -> Selection:
    """Without the runs of --with that wrote no text: they have no bar here, which is said."""
    for notice in asked.notices:
        print(f"notice: {notice}", file=sys.stderr)
    silent = [given for given in asked.given if not written_in(given.folder)]
    for given in silent:
        print(f"notice: {given.name} on {given.dataset} ({given.folder.name}) has no expressive instructions: this "
              "figure compares texts, so it has no bar", file=sys.stderr)  # fmt: skip
    return replace(asked, given=tuple(given for given in asked.given if given not in silent))


def main(argv: Sequence[str] | None = None) -> int:
    p = parser("bench.clip_score", __doc__, leave=("rewrite",))
    add_with(p)
    args = p.parse_args(argv)

    def make() -> int:
        asked = with_texts(selected(args, metrics=()))
        if planned(args):
            return of_cells("Figure 4", asked, args, wanted_of(asked), networks=(("clip_s",), asked.networks))
        print(f"{suite_line(asked.suite, asked.datasets)}\n{asked.options.placed}", flush=True)
        rows, tests, scores = measure(asked, asked.networks)
        missing, head = sum(r.of is None for r in rows), head_of(asked, asked.networks, rows)
        show(rows, head)
        print(written(write(asked, rows, tests, scores, head)))
        print("\n".join(against(asked.stem("figure4").with_suffix(".csv"), asked.suite)))
        if missing and asked.strict:
            print(f"error: --strict: {missing} bars were not run", file=sys.stderr)
        return 1 if missing and asked.strict else 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
