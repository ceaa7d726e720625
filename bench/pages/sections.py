"""The parts of the report's page: a table or figure as its command wrote it, people's votes, the gallery.

Each is Markdown that opens at a click. What is not there says which command makes it.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.given.named import Given
from bench.grid.cells import beside
from bench.grid.options import with_these
from bench.grid.show import markdown_table
from bench.registry import SUITES

TABLES = {1: "Table 1: zero-shot editing", 2: "Table 2: fine-tuned on each dataset",
          3: "Table 3: the architecture of LGIE and MGIE", 4: "Table 4: seconds an edit"}  # fmt: skip
BARS = "one panel a dataset and metric"
FIGURES = {3: ("Figure 3: trade-off by image_guidance_scale", "make tradeoff", "the two similarities as curves, one a "
               "model, ours on the left, the paper's on the right"),
           4: ("Figure 4: CLIP-Score of input and goal images", "make clip-score", "bars of CLIP-S, three texts a "
               "dataset, against the input image and the goal image, the paper's bars beside them")}  # fmt: skip
AUTHORS_ONLY = {2: "suite published holds one output of each model, not fine-tuned ones",
                3: "suite published holds one output of each model, not one a form",
                4: "the output images were given: nothing was timed"}  # fmt: skip
SEEING = {"controls": ("Controls: what each metric rewards", "make controls",
                       "for each metric the share of examples on which it ranks rows rightly, as colours"),
          "agreement": ("What each metric sees: rank agreement between metrics and with the right answers",
                        "python -m bench.agreement", "Kendall's tau-b of every two, as colours")}  # fmt: skip
REWRITE = ("Expressive instructions for other editors", "make rewrite", "")
MINIATURE = {"claims": ("The paper's claims, tested on the miniature", "edits side by side"),
             "ablations": ("Ablations: without L_ins, with fewer visual tokens", "bars, one a variant")}  # fmt: skip
SEEN = {"table": "A point a model, its whiskers the 95 % interval over groups, the dashed line what the input copy "
                 "scores: a point on its worse side is worse than doing nothing.",
        "figur": "Whiskers: 95 % intervals. Where they overlap widely the plot shows no difference; the "
                 "numbers are in the CSV.",
        "claim": "Bars: what was measured of each claim, with 95 % intervals.",
        "ablat": "Bars: one a variant, with 95 % intervals.",
        "contr": "The share of examples in %; green is right, red is the wrong way round.",
        "agree": "Blue: both rank edits alike; red: the other way round; white: no relation."}  # fmt: skip
WHOLE = ("table4", *MINIATURE)  # of no split: one file a suite
CELLS = 60  # rows of a CSV that are printed


@dataclass(frozen=True)
class Scope:
    suite: str
    split: str
    results: Path
    out: Path
    given: tuple[Given, ...] = ()  # finished runs that are rows too (--with)

    @property
    def folder(self) -> Path:
        return self.results / self.suite

    @property
    def suffix(self) -> str:
        return beside(self.suite, self.split)

    def file(self, name: str, ending: str) -> Path:
        """What this report writes."""
        return self.folder / f"{name}{self.suffix}{with_these(self.given)}{ending}"

    def stem(self, name: str) -> str:
        """Of a table or figure: the one with the rows of --with where it was made, else the one without."""
        if name in WHOLE:
            return name
        rows = with_these(self.given)
        made = sorted(self.folder.glob(f"{name}{self.suffix}-only-*{rows}.md")) if rows else []
        whole = f"{name}{self.suffix}"
        return whole + rows if (self.folder / f"{whole}{rows}.md").is_file() else made[0].stem if made else whole

    def others(self, name: str) -> list[str]:
        """Stems of the same under names of their own: other settings, selections; those of other splits are not."""
        whole = name if name in WHOLE else f"{name}{self.suffix}"
        found = [path.stem for path in sorted(self.folder.glob(f"{whole}-*.md")) if path.stem != self.stem(name)]
        return [s for s in found if s.removeprefix(f"{whole}-").partition("-")[0] not in SUITES[self.suite].splits]


def fold(title: str, lines: Sequence[str]) -> list[str]:
    """What opens at a click; its title is its anchor."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def linked(folder: Path, stem: str, alt: str) -> str:
    """The plot as a link to its SVG, which stays readable at any size."""
    image = f"![{alt}]({stem}.png)"
    return f"[{image}]({stem}.svg)" if (folder / f"{stem}.svg").is_file() else image


def section(asked: Scope, name: str, title: str, make: str, alt: str, absent: str = "", stem: str = "") -> list[str]:
    """One table or figure as its command wrote it: its Markdown, its plot, and where its numbers are.

    stem: of one with other settings, or of a selection.
    """
    stem = stem or asked.stem(name)
    text, plot = asked.folder / f"{stem}.md", asked.folder / f"{stem}.png"
    if not text.is_file():
        why = absent or f"not run: {make} makes it"
        return fold(f"{title} (not here)", [f"{why[0].upper()}{why[1:]}."])
    body = text.read_text("utf-8").split("\n")[1:]  # without its own title
    tested = next((i for i, line in enumerate(body) if line.startswith("## Between")), len(body))
    noted = next((i for i, line in enumerate(body[:tested]) if line in ("Notes", "Remarks", "Protocols")), tested)
    lines = [f"##{line}" if line.startswith("## ") else line for line in body[:noted]]
    if plot.is_file() and f"({plot.name})" not in "\n".join(body):
        lines += ["", linked(asked.folder, stem, f"{title}: {alt}"), "", f"*{SEEN.get(name[:5], SEEN['table'])}*", ""]
    if noted < tested:
        lines += fold(f"{title.partition(':')[0]}: notes and protocols", body[noted:tested])
    if tested < len(body):
        lines += fold(f"{title.partition(':')[0]}: paired tests between models", body[tested + 1 :])
    files = [
        asked.folder / f"{stem}{ending}"
        for ending in (".csv", "-tests.csv", "-rows.csv", "-figures.csv", ".tex", ".svg")
    ]
    links = ", ".join(f"[{path.name}]({path.name})" for path in files if path.is_file())
    return fold(title, [*lines, *(["", f"Numbers: {links}"] if links else [])])


def others(asked: Scope) -> list[str]:
    """What was made of the tables and figures with other settings, or as a selection."""
    titles = {f"table{n}": (title, BARS) for n, title in TABLES.items()}
    titles |= {f"figure{n}": (title, alt) for n, (title, _, alt) in FIGURES.items()}
    titles |= {name: (title, alt) for name, (title, _, alt) in {"rewrite": REWRITE, **SEEING}.items()}
    lines: list[str] = []
    for name, (title, alt) in titles.items():
        for stem in asked.others(name):
            lines += section(asked, name, f"{title} ({stem.partition('-')[2]})", "", alt, stem=stem)
    return ["## Other settings, and selections", "", *lines] if lines else []


def human(asked: Scope) -> list[str]:
    """Figures 5 and 6 from what bench.human report wrote below human/: its Markdown, plots and tables."""
    title, folder = "Figures 5 and 6: human evaluation", asked.folder / "human"
    found = sorted(folder.glob("*.csv")) + sorted(folder.glob("*.png")) + sorted(folder.glob("*.md"))
    lines: list[str] = []
    if not found:
        return fold(f"{title} (not here)", ["Not run: nobody has voted; `python -m bench.human serve` collects votes, "
                                            "`python -m bench.human report` writes these figures."])  # fmt: skip
    texts = [path for path in found if path.suffix == ".md"]
    for path in texts:  # without its own title; its links are beside it, one folder down
        body = path.read_text("utf-8").split("\n")[1:]
        below = [re.sub(r"\]\((?![a-z]+:|[#/])", "](human/", line) for line in body]
        lines += [f"##{line}" if line.startswith("## ") else line for line in below]
    for path in (p for p in found if p.suffix == ".png" and f"(human/{p.name})" not in "\n".join(lines)):
        lines += ["", linked(asked.folder, f"human/{path.stem}", f"{title}: plot {path.stem}"), ""]
    tables = [path for path in found if path.suffix == ".csv"]
    for path in tables if not texts else ():
        lines += ["", path.stem, "", *csv_table(path)]
    return fold(title, [*lines, "", "Numbers: " + ", ".join(f"[human/{p.name}](human/{p.name})" for p in tables)])


def csv_table(path: Path) -> list[str]:
    rows = read(path)
    if not rows:
        return ["no row"]
    more = [] if len(rows) <= CELLS else ["", f"{len(rows) - CELLS} more rows are in the file."]
    return markdown_table(list(rows[0]), [list(row.values()) for row in rows[:CELLS]]) + more


def gallery(asked: Scope) -> list[str]:
    name, title = f"gallery{asked.suffix}", "Figures 7 and 8: edits and expressive instructions side by side"
    if not (asked.folder / name / "index.html").is_file():
        return fold(f"{title} (not here)", ["Not made here: `make gallery` makes it."])
    count = len({row["example_id"] for row in read(asked.folder / name / "gallery.csv")})
    said = f"[The gallery]({name}/index.html): {count} examples with every model's edit, slider, difference view, " \
           f"texts and scores; numbers: [gallery.csv]({name}/gallery.csv). It holds copies of the datasets' images, " \
           "so it is not part of the repository: `make gallery` makes it."  # fmt: skip
    return fold(title, [said])


def read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
