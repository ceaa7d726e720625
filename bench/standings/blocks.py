"""Published numbers in blocks: one a protocol, its rows in order; what differs for one system stands side by side.

The CLIP-T column holds local captions only. The goal image itself scores 0.2826 with them (single-turn), so a higher
value has other captions, and one whose captions are not stated may have: both go to a block of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import combinations
from typing import NamedTuple

from bench.standings.published import COPY, GOAL, METRICS, NOT_STATED, PROTOCOLS, SCRIPT, Published, family, lower

DATASET = "magicbrush-test"  # what MagicBrush's script is for
COLUMNS = ("l1", "l2", "clip_i", "dino", "clip_t")  # what it prints
OTHER_CAPTIONS = "other captions"
OPTIMISES = "optimises CLIP"  # a note that explains a CLIP-T above the goal image's
PERFECT = {"l1": "0", "l2": "0", "clip_i": "1", "dino": "1"}  # of the goal image, by definition
MARKS = {  # mark: what it means, the words of a note that bring it
    "T": ("trained on MagicBrush's training split", ""),
    "?": ("whether it was trained on that split is not known", ""),
    "s": ("read in somebody's notes on the source, not in the source itself", ""),
    "d": ("given a description of the goal instead of the instruction", "target description"),
    "i": ("the source does not state the turns; they are inferred", "turns not stated"),
    "o": ("by the script before its repair of February 2025, which could mispair turns", "before PR 28"),
    "c": ("copied from another source, not measured again", "copied from|quoted row|transcription slip"),
    "u": ("doubtful; its note says why", "doubtful|possibly swapped|look swapped"),
    "b": ("a run that somebody handed in, of whose scores those stand here that were computed again", "from a bundle"),
    "^": ("above what the goal image itself scores with local captions", ""),
}


class Cell(NamedTuple):
    value: float
    text: str  # as the source prints it
    low: float | None = None  # the 95 % interval of an own run
    high: float | None = None
    n: int = 0  # examples of an own run
    protocol: str = ""  # of an own run's scores


@dataclass(frozen=True)
class Entry:
    """A row of a table: one system in one source, or an own run."""

    system: str
    checkpoint: str
    trained: str  # yes, no, unknown
    source: str
    cells: dict[str, Cell]
    notes: tuple[str, ...] = ()
    secondary: bool = False
    own: bool = False
    bound: bool = False  # the input copy, the codec copy or the goal image: no editor
    marks: str = ""


class Block(NamedTuple):
    dataset: str
    turns: str
    protocol: str  # of PROTOCOLS, or OTHER_CAPTIONS
    title: str
    reason: str  # why it cannot be compared with the first block
    metrics: tuple[str, ...]
    entries: list[Entry]


class Differing(NamedTuple):
    """Numbers of one system in one metric that rounding does not explain, rising."""

    system: str
    trained: str
    metric: str
    values: list[tuple[Cell, Entry]]


@dataclass(frozen=True)
class Standings:
    dataset: str  # as --dataset names it
    turns: str
    by: str
    blocks: list[Block]
    differing: list[Differing]
    left_out: list[tuple[str, str, list[str]]] = field(default_factory=list)  # runs or cells of them: what, why, which

    @property
    def first(self) -> Block | None:
        """The block of MagicBrush's script, in which own runs stand; None for another dataset."""
        return next((b for b in self.blocks if is_script(b)), None)

    @property
    def has_turns(self) -> bool:
        return any(block.turns != "-" for block in self.blocks)

    @property
    def sources(self) -> list[str]:
        """Published ones, then the folders of own runs."""
        entries = sorted((e for b in self.blocks for e in b.entries), key=lambda e: e.own)
        return list(dict.fromkeys(e.source for e in entries))


def copy_of_input(block: Block) -> dict[str, Cell]:
    """What a copy of the input scores: as published, else by an own run."""
    copies = [e for e in block.entries if e.system == COPY and e.bound]
    return {metric: cell for e in sorted(copies, key=lambda e: not e.own) for metric, cell in e.cells.items()}


def is_script(block: Block) -> bool:
    return (block.dataset, block.protocol) == (DATASET, SCRIPT) and block.turns != "-"


def standings(
    rows: Sequence[Published], dataset: str, turns: str, own: Sequence[Entry] = (), by: str = "l1"
) -> Standings:
    """dataset: a family of published.family; turns: single or multi, rows that do not say are in blocks of their own.

    own: rows that bench.standings.placement has found to be of MagicBrush's script and these turns.
    """
    here = [row for row in rows if family(row.dataset) == dataset and row.turns in (turns, "-")]
    goal = goal_clip_t(here, turns)
    keyed: dict[tuple[str, str, str, str], list[Published]] = {}
    for row in here:
        protocol = protocol_of(row, goal)
        apart = row.reported_by if protocol == "other" else ""
        keyed.setdefault((row.dataset, row.turns, protocol, apart), []).append(row)
    blocks = [block_of(*key[:3], of, goal, by, own) for key, of in keyed.items()]
    order = (SCRIPT, OTHER_CAPTIONS, *PROTOCOLS)
    blocks.sort(key=lambda b: (not is_script(b), b.turns == "-", b.dataset != DATASET, order.index(b.protocol)))
    first = next((b for b in blocks if is_script(b)), None)
    return Standings(dataset, turns, by, blocks, differing(first.entries) if first else [])


def goal_clip_t(rows: Iterable[Published], turns: str) -> float | None:
    """CLIP-T of the goal image itself with local captions, as published."""
    found = [float(r.value) for r in rows if (r.dataset, r.turns, r.protocol) == (DATASET, turns, SCRIPT)
             and (r.system, r.metric, r.caption) == (GOAL, "clip_t", "local")]  # fmt: skip
    return found[0] if found else None


def protocol_of(row: Published, goal: float | None) -> str:
    """The protocol of a number; a CLIP-T of other captions than the script's block holds is of OTHER_CAPTIONS."""
    if (row.dataset, row.protocol, row.metric) != (DATASET, SCRIPT, "clip_t") or row.turns == "-":
        return row.protocol
    above = goal is not None and float(row.value) > goal and OPTIMISES not in row.note
    return OTHER_CAPTIONS if row.caption != "local" or above else SCRIPT


def block_of(
    dataset: str,
    turns: str,
    protocol: str,
    rows: Sequence[Published],
    goal: float | None,
    by: str,
    own: Sequence[Entry],
) -> Block:
    grouped: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        grouped.setdefault((row.system, row.checkpoint, row.trained_on_magicbrush, row.reported_by), []).append(row)
    entries = [entry_of(of, goal, protocol) for of in grouped.values()]
    metrics = list(dict.fromkeys(row.metric for row in rows))
    title, reason = PROTOCOLS.get(protocol, ("CLIP-T with other captions, or captions that are not stated", ""))
    if (dataset, protocol) == (DATASET, SCRIPT) and turns != "-":
        entries, metrics = [with_perfect(e) for e in entries] + list(own), [*COLUMNS]
    elif (dataset, protocol) == (DATASET, SCRIPT):
        title, reason = f"{title}, turns not stated", NOT_STATED
    elif protocol == OTHER_CAPTIONS and goal is not None:
        reason = f"with local captions the goal image itself scores {goal:.4f}; what is above it has other captions (^)"
    elif protocol == "other":
        title = f"another protocol, {rows[0].reported_by}"
        reason = "; ".join(dict.fromkeys(clause for row in rows for clause in row.note.split("; ")))
    known = list(METRICS)
    metrics.sort(key=lambda m: known.index(m) if m in known else len(known))
    return Block(dataset, turns, protocol, title, reason, tuple(metrics), ordered(entries, metrics, by))


def entry_of(rows: Sequence[Published], goal: float | None, protocol: str) -> Entry:
    first = rows[0]
    notes = tuple(dict.fromkeys(row.note for row in rows if row.note))
    cells = {row.metric: Cell(float(row.value), row.value) for row in rows}
    above = protocol in (SCRIPT, OTHER_CAPTIONS) and is_above(cells, goal)
    entry = Entry(
        first.system, first.checkpoint, first.trained_on_magicbrush, first.reported_by, cells, notes,
        any(row.seen != "seen" for row in rows), bound=first.system in (COPY, GOAL),
    )  # fmt: skip
    return marked(entry, first.dataset, first.turns, above)


def is_above(cells: dict[str, Cell], goal: float | None) -> bool:
    return goal is not None and "clip_t" in cells and cells["clip_t"].value > goal


def marked(entry: Entry, dataset: str, turns: str, above: bool) -> Entry:
    said, found = "; ".join(entry.notes), ""
    if family(dataset) == "magicbrush" and not entry.bound:
        found += {"yes": "T", "unknown": "?"}.get(entry.trained, "")
    found += "s" * entry.secondary
    found += "".join(m for m, (_, words) in MARKS.items() if words and any(w in said for w in words.split("|"))
                     and (m != "i" or turns != "-"))  # fmt: skip
    found += "^" * (above and entry.system != GOAL)
    return replace(entry, marks=found)


def with_perfect(entry: Entry) -> Entry:
    """The goal image compared with itself is perfect by definition; no source prints that."""
    if entry.system != GOAL:
        return entry
    cells = {metric: Cell(float(text), text) for metric, text in PERFECT.items()} | entry.cells
    notes = (*entry.notes, "L1, L2, CLIP-I and DINO by definition")
    return replace(entry, cells=cells, notes=notes)


def ordered(entries: Sequence[Entry], metrics: Sequence[str], by: str) -> list[Entry]:
    """Best first by one metric, then by the others in their order; rows without it last."""
    keys = [m for m in dict.fromkeys((by, *metrics)) if m in metrics]

    def place(entry: Entry) -> tuple:
        values = [(entry.cells[m].value if lower(m) else -entry.cells[m].value) if m in entry.cells else float("inf")
                  for m in keys]  # fmt: skip
        return (keys[0] not in entry.cells if keys else True, *values)

    return sorted(entries, key=place)


def differing(entries: Sequence[Entry]) -> list[Differing]:
    """Systems of which two sources print numbers that rounding does not explain; two checkpoints of one source do not
    contradict each other.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if not entry.own and not entry.bound:
            groups.setdefault((entry.system, entry.trained), []).append(entry)
    found = []
    for (system, trained), of in groups.items():
        for metric in COLUMNS:
            values = [(e.cells[metric], e) for e in of if metric in e.cells]
            values.sort(key=lambda pair: pair[0].value)
            if any(a[1].source != b[1].source and contradict(a[0], b[0]) for a, b in combinations(values, 2)):
                found.append(Differing(system, trained, metric, values))
    return found


def contradict(a: Cell, b: Cell) -> bool:
    """Whether no number rounds to both."""
    halves = [Decimal(10) ** -len(cell.text.partition(".")[2]) / 2 for cell in (a, b)]
    return abs(Decimal(a.text) - Decimal(b.text)) > sum(halves, Decimal(0))
