"""Figures 7 and 8: a page of input, instruction, every model's edit and goal, texts and scores; works from file://.

    python -m bench.gallery                                                            the built-in miniature
    python -m bench.gallery --suite published --data-root data                         the authors' own outputs
    python -m bench.gallery --with mine                                                a finished run beside the models
    python -m bench.gallery --runs runs/paper/ma5k--mgie--0123abcd runs/...            these run folders as they are

Writes results/<suite>/gallery[-<split>]/, with --runs gallery-runs/: index.html, which holds its data, style and
script and asks no network, and images/ beside it, loaded as they come into view. The folder works wherever it is
copied to. It is not one file: 1,000 examples are some 300 MB of images, which no browser opens smoothly from within a
page. It holds copies of the datasets' images, so it carries a .gitignore of its own. Exit codes: 0 done, 1 stopped,
2 wrong use.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.given.named import add_with
from bench.grid.between import column_name, dataset_name
from bench.grid.cells import cells_of
from bench.grid.options import parser, selected
from bench.grid.show import scaled, suite_line
from bench.pages.entries import BY, Entry, Gallery, Pictures, View, from_cells, from_runs, metrics_in, output_of
from bench.planning.command import of_cells
from bench.registry import PAPER_MODELS, metric_entry, model_entry, short_name
from bench.settings import planned
from mgie.io.command import command
from mgie.io.files import write_atomic

HERE = Path(__file__).parent / "pages"
FLOOR = "identity"  # of the bounds its scores are shown, and no image: that is the input


def columns_of(entries: Sequence[Entry]) -> list[str]:
    rank = {FLOOR: 0, "codec": 1, "inspix2pix": 2, "lgie": 3, "mgie": 4, "oracle": 9}
    found = dict.fromkeys(column for entry in entries for column in entry.views)
    return sorted(found, key=lambda column: rank.get(column.split(" ")[0], 5))


def data_of(gallery: Gallery, pictures: Pictures) -> dict:
    """The object that the page's script reads; everything in it is text, numbers and names of files."""
    entries, columns, metrics = gallery.entries, columns_of(gallery.entries), metrics_in(gallery.entries)
    shown = [c for c in columns if not model_entry(c.partition(BY)[0]).bound]
    return {
        "suite": gallery.suite,
        "datasets": {d: dataset_name(d, gallery.suite) for d in dict.fromkeys(e.dataset for e in entries)},
        "models": [{"id": c, "name": name_of(c), "shown": c in shown} for c in columns],
        "metrics": [
            {
                "id": m,
                "name": column_name(m),
                "short": metric_entry(m).printed,
                "lower": metric_entry(m).lower,
                "scale": metric_entry(m).scale,
                "digits": metric_entry(m).digits,
            }
            for m in metrics
        ],
        "examples": [example_of(entry, columns, shown, pictures) for entry in entries],
    }


def name_of(column: str) -> str:
    asked, by, rewriter = column.partition(BY)
    model, _, form = asked.partition(" ")
    return f"{short_name(model)} {form.upper()}".strip() + f"{by}{rewriter}"


def example_of(entry: Entry, columns: Sequence[str], shown: Sequence[str], pictures: Pictures) -> dict:
    example, edits, first = entry.example, {}, next(iter(entry.views.values()))
    for column in columns:
        view = entry.views.get(column)
        if view is None:
            continue
        edit = view.edits.get(example.id)
        scores = view.scores.get(example.id, [])
        edits[column] = {
            "image": output_of(view, example, pictures)._asdict() if column in shown else None,
            "text": edit.expressive_instruction if edit else None,
            "seconds": round(sum(edit.seconds.values()), 4) if edit and edit.seconds else None,
            "scores": {s.metric: s.value for s in scores if s.value is not None},
            "reasons": {s.metric: s.reason for s in scores if s.value is None},
            "run": view.folder.name,
        }
    lacks = "this dataset has no goal image here"
    return {
        "id": example.id, "dataset": entry.dataset, "family": entry.family, "instruction": example.instruction.strip(),
        "caption": example.goal_caption, "input": pictures.show(example.input_image, "", first.reading())._asdict(),
        "goal": pictures.show(example.goal_image, lacks, first.reading(goal=True))._asdict(), "edits": edits,
    }  # fmt: skip


def csv_of(entries: Sequence[Entry]) -> str:
    """The numbers and texts on the page, long form: one row an example, model and metric."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["example_id", "dataset", "group", "instruction", "model", "expressive_instruction", "seed",
                    "metric", "value", "reason", "protocol", "run"])  # fmt: skip
    for entry in entries:
        e = entry.example
        for column, view in entry.views.items():
            edit = view.edits.get(e.id)
            said = (edit.expressive_instruction or "") if edit else ""
            for s in view.scores.get(e.id, []):
                value = "" if s.value is None else repr(s.value)
                table.writerow([e.id, entry.dataset, e.group, e.instruction.strip(), column, said, s.seed, s.metric,
                                value, s.reason, s.protocol, view.folder.name])  # fmt: skip
    return text.getvalue()


def page(data: dict, notes: Sequence[str], notices: Sequence[str]) -> str:
    """One HTML page with its style, script and data inside."""
    from html import escape

    # "<" could end the script element or open a comment, wherever it stands; as an escape it cannot
    packed = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {
        "TITLE": escape(f"Gallery, suite {data['suite']}"), "STYLE": (HERE / "gallery.css").read_text("utf-8"),
        "SCRIPT": (HERE / "gallery.js").read_text("utf-8"), "DATA": packed,
        "NOTES": "".join(f"<li>{escape(note)}</li>" for note in notes),
        "NOTICES": "".join(f"<p class=notice role=note>{escape(notice)}</p>" for notice in notices),
    }  # fmt: skip
    # in one pass: what a part holds is not looked at again
    return re.sub(r"<!--([A-Z]+)-->", lambda mark: parts[mark[1]], (HERE / "gallery.html").read_text("utf-8"))


def notes_of(gallery: Gallery, views: Sequence[View]) -> list[str]:
    """What must be known of the data and the numbers, assumptions included."""
    lines = [suite_line(gallery.suite, gallery.datasets)]
    lines += sorted({f"Data: {v.run['note']}" for v in views if v.run["note"]})
    protocols = {s.protocol for v in views for scores in v.scores.values() for s in scores}
    lines += [
        "Seed 0 of each run is shown, images and scores alike. SSIM, DINO, CVS and CTS are printed x100"
        f"{scaled(metrics_in(gallery.entries))}.",
        "Disagreement in a metric: its largest minus its smallest value among the models; the input copy and the "
        "goal image do not count.",
        "The address holds the filters, the order and the open example: it can be sent, and the back button goes back.",
        "In the slider and the difference view the right image is stretched to the size of the left one.",
    ]
    return lines + [f"Protocol: {p}" for p in sorted(protocols)]


def write(gallery: Gallery, folder: Path, max_side: int, notes: Sequence[str] = ()) -> Path:
    """The page and its images; a page that is there is replaced last, images that none uses are removed after it."""
    pictures = Pictures(folder, max_side)
    views = list({id(v): v for entry in gallery.entries for v in entry.views.values()}.values())
    data = data_of(gallery, pictures)
    write_atomic(folder / ".gitignore", "# copies of the datasets' images: made by a command, not to be committed\n*\n")
    write_atomic(folder / "gallery.csv", csv_of(gallery.entries))
    write_atomic(folder / "index.html", page(data, [*notes, *notes_of(gallery, views)], gallery.notices))
    pictures.remove_unused()
    return folder / "index.html"


def main(argv: Sequence[str] | None = None) -> int:
    p = parser("bench.gallery", __doc__, leave=("limit", "max_side"))
    p.add_argument("--models", help="comma-separated; default: identity,inspix2pix,lgie,mgie")
    p.add_argument("--runs", type=Path, nargs="+", metavar="FOLDER", help="run folders, finished or not, as they are")
    p.add_argument(
        "--limit", type=int, dest="shown", metavar="N", help="show the first N examples of each dataset; default: all"
    )
    p.add_argument(
        "--max-side", type=int, dest="shown_side", metavar="PX", default=512,
        help="px; larger images are shrunk to it on the page (default 512)",
    )  # fmt: skip
    add_with(p)
    args = p.parse_args(argv)

    def make() -> int:
        if args.runs and args.given:
            raise ValueError(
                f"--with {args.given[0].what} adds to the models' runs; beside --runs name its folder there"
            )
        for flag, value in (("--limit", args.shown), ("--max-side", args.shown_side)):
            if value is not None and value < 1:
                raise ValueError(f"{flag} {value}: it must be at least 1")
        notes: list[str] = []
        if args.runs:
            if planned(args):
                raise ValueError("--plan with --runs: these folders are shown as they are, nothing is run for them")
            gallery = from_runs(args.runs, args.data_root, args.shown)
            folder = args.results / gallery.suite / "gallery-runs"
        else:
            asked = selected(args, (FLOOR, *PAPER_MODELS), metrics=())
            if planned(args):
                cells = cells_of(1, asked.suite, asked.models, asked.datasets)
                return of_cells("the gallery", asked, args, [(cell, asked.options) for cell in cells])
            print(f"{suite_line(asked.suite, asked.datasets)}\n{asked.options.placed}", flush=True)
            for notice in asked.notices:
                print(f"notice: {notice}", file=sys.stderr)
            gallery, folder = from_cells(asked, args.shown), asked.stem("gallery")
            notes = asked.options.said
        for notice in gallery.notices:
            print(f"notice: {notice}", file=sys.stderr)
        if not gallery.entries:
            raise ValueError(f"nothing to show: {'; '.join(gallery.notices) or 'no example'}")
        print(f"{len(gallery.entries)} examples: {write(gallery, folder, args.shown_side, notes)}")
        return 1 if gallery.notices and args.strict else 0

    return command(make)


if __name__ == "__main__":
    sys.exit(main())
