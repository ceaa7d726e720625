"""What the rehearsal says: seconds and peak memory by stage, what Table 1 will take here, what would not fit."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.registry import PAPER_MODELS
from bench.rehearse.stages import Asked, Figure
from mgie.presets import PRESETS, memory

OFFICIAL = Path(__file__).parents[1] / "datasets" / "official.csv"
SEEDS = 5  # Table 1's, of suite paper
WRITTEN = 32 + 8  # tokens: of an expressive instruction as the paper sums them up, and the visual ones
SIDE = 512  # px; what the table's output images are scaled to for the disk


def lines(asked: Asked, figures: Sequence[Figure], free: dict[str, int | None], machine: str) -> list[str]:
    """Markdown."""
    true = "true size" if not asked.small else "tiny size (--small): the ways, not the figures"
    head = [f"# Rehearsal, {true}", "", machine, ""]
    parts = [*stages(figures), *table1(asked, figures), *fits(asked, free), *the_row(figures)]
    return head + parts


def stages(figures: Sequence[Figure]) -> list[str]:
    rows = ["| stage | s | peak, main memory, GB | peak, GPU, GB | |", "|---|---|---|---|---|"]
    for one in figures:
        device = "" if one.get("device_peak") is None else f"{one['device_peak'] / 1e9:.1f}"
        if "seconds" in one:
            rows.append(f"| {name_of(one)} | {one['seconds']:.1f} | {one['peak'] / 1e9:.1f} | {device} | {said(one)} |")
        else:
            rows.append(f"| {name_of(one)} | | | | {said(one)} |")
    return [*rows, ""]


def name_of(one: Figure) -> str:
    kind = one.get("kind")
    if kind in ("load", "edit", "end"):
        batch = f", batch {one['batch']}" if "batch" in one else ""
        return f"{one['model']}, {kind if kind != 'end' else 'edit'}{batch}"
    return f"{one['stage']}, {kind}" if kind and kind != one["stage"] else one["stage"]


def said(one: Figure) -> str:
    kind = one.get("kind")
    if kind == "load":
        return (
            f"{one['weights'] / 1e9:.1f} GB of weights as {one['dtype']}; peak {one['peak'] / one['weights']:.2f} of it"
        )
    if kind == "edit":
        mllm = (
            f"prompt {one['prefill']:.1f} s, a token {one['token']:.2f} s ({one['tokens']}), " if one["tokens"] else ""
        )
        return f"{mllm}a denoising step {one['step']:.1f} s, the rest {one['rest']:.1f} s"
    if kind == "score":
        return f"{one['pair']:.2f} s a pair at {SIDE} px in one process: L1, SSIM, LPIPS, DINO, CVS, CTS"
    if kind == "killed":
        return f"killed after {one['edits']} edits" if one["killed"] else "ended before it could be killed"
    if kind == "table":
        return f"continued: {one['kept']} of {one['before']} edits kept, {one['edits']} in all"
    if one.get("why"):
        return one["why"]
    return f"{one['disk'] / 1e9:.2f} GB on disk" if "disk" in one else ""


def edits_of_table1() -> int:
    """Of one model: every triple of the four test splits, with each seed."""
    with open(OFFICIAL, newline="", encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["where"] == "test" and r["what"] == "triples"]
    return SEEDS * sum(int(r["value"]) for r in rows)


def table1(asked: Asked, figures: Sequence[Figure]) -> list[str]:
    """Hours of edits and of scores, and disk, from what an edit took; the text is written once for all seeds."""
    edits, found, hours = edits_of_table1(), [], {}
    for model in PAPER_MODELS:
        took = [one for one in figures if one.get("kind") == "edit" and one["model"] == model]
        if took:
            best = min(took, key=seconds_of)
            hours[model] = edits * seconds_of(best) / 3600
            found.append(f"- {model}: {edits:,} edits, {seconds_of(best):.1f} s each at batch {best['batch']} "
                         f"({STEPS} steps): {time_text(hours[model])}")  # fmt: skip
    if not found:
        return []
    for one in (one for one in figures if one.get("kind") == "score"):
        found.append(f"- scoring: {one['pair']:.2f} s an output in one process: "
                     f"{time_text(edits * one['pair'] / 3600)} a model; tables score in a process a core")  # fmt: skip
    images = [one for one in figures if one.get("kind") == "table" and one["edits"]]
    if images:
        each = images[0]["image"] * (SIDE / images[0]["side"]) ** 2
        all_of_them = f"{len(hours) * edits * each / 1e9:.0f} GB ({each / 1e6:.2f} MB each at {SIDE} px"
        found.append(
            f"- disk for their output images: {all_of_them}; of random weights they are noise, real ones less)"
        )
    small = " (the miniature's models on the paper's number of examples)" * asked.small
    return [f"## Table 1 would take here{small}", "", *found, ""]


STEPS = PRESETS["7b"].num_inference_steps


def seconds_of(one: Figure) -> float:
    """An edit of Table 1, at this batch."""
    text = (one["prefill"] + WRITTEN * one["token"]) / SEEDS
    return (text + STEPS * one["step"] + one["rest"]) / one["batch"]


def time_text(hours: float) -> str:
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:,.0f} days"


def fits(asked: Asked, free: dict[str, int | None]) -> list[str]:
    """Memory by dtype and batch (an estimate: mgie.presets) against what is free."""
    rows = []
    for place, there in free.items():
        for name, width in (("float32", 4), ("float16 or bfloat16", 2)):
            for batch in (1, 8):
                needed = sum(memory(PRESETS[asked.preset], width, batch).values())
                if there is not None and needed > there:
                    rows.append(f"- MGIE as {name} at batch {batch} on {place}: {needed / 1e9:.1f} GB, "
                                f"{there / 1e9:.1f} are free")  # fmt: skip
    return ["## What would not fit", "", *(rows or ["Nothing of MGIE at batch 1 and 8, in 16 and 32 bits."]), ""]


def the_row(figures: Iterable[Figure]) -> list[str]:
    rows = [one for one in figures if one.get("kind") == "table"]
    if not rows:
        return []
    values = [f"- {name}: {shortened(value)}" for name, value in rows[-1]["row"].items()]
    return [
        f"## The row of {rows[-1]['model']} (random weights: that there are numbers is all it says)",
        "",
        *values,
        "",
    ]


def shortened(value: str) -> str:
    try:
        return f"{float(value):.4f}"
    except ValueError:  # the reason why there is none
        return value.partition(";")[0]
