"""Table 4 as CSV, Markdown, LaTeX and on a terminal. The paper's column is of an A100 and compared only with one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.grid.latex import escaped
from bench.grid.paper import MARK, Reported, reported_cells
from bench.grid.terminal import columns, wrapped
from bench.registry import model_entry
from mgie.io.files import write_atomic, write_csv

if TYPE_CHECKING:
    from bench.speed.models import Case


STAGES = ("text_encoder", "tower", "decode", "edit_head", "vae_encode", "unet", "vae_decode", "other")
TOKENS = 32  # of the expressive instruction, with random weights: the paper's summaries are at most this long
STAGE_NAMES = {"text_encoder": "text encoder", "tower": "vision tower", "decode": "decode", "edit_head": "edit head",
               "vae_encode": "VAE encode", "unet": "UNet", "vae_decode": "VAE decode", "other": "other"}  # fmt: skip
HEAD = ("model", "batch", "s a call", "spread", "s an edit", "peak MB", "tokens", "at best s", "reached",
        "UNet reached", "paper, A100")  # fmt: skip


@dataclass(frozen=True)
class TimingRow:
    """One model at one batch size. Seconds are of one call with the whole batch."""

    model: str
    preset: str
    weights: str  # trained or random
    batch: int
    side_px: int
    steps: int
    dtype: str
    compiled: bool
    device: str
    on_gpu: bool
    clock: str
    threads: int
    runs: int
    seconds: float  # median
    fastest: float
    slowest: float
    peak_mb: int
    text_encoder: float  # medians by stage; 0 where the model has none
    tower: float
    decode: float
    edit_head: float
    vae_encode: float
    unet: float
    vae_decode: float
    other: float
    tokens: float | None  # median of the expressive instructions; None: the model writes none
    under_32: float | None  # share of them with fewer tokens
    fixed: bool  # the number of tokens was given, not the model's choice
    tflop: float  # counted in one call
    gbytes: float  # of weights, once a pass
    limit: float  # seconds: the sum over stages of what operations or bytes take at the measured rates
    fraction: float  # limit / seconds
    unet_fraction: float  # the same of the UNet alone
    matmul_tflops: float  # the best of several matrix products
    conv_tflops: float  # the best of the convolutions that are called; 0: none is
    read_gbs: float  # the best way through a buffer of a stage's size


def said(asked: "Case", device: str) -> str:
    """The first line: what is timed, and what it is not."""
    weights = "random weights" if asked.random else "trained weights"
    if asked.preset == "mini":
        return f"Table 4 in small: the built-in miniature on {device}, {weights}; its seconds are not MGIE-7B's"
    return f"Table 4 at the true sizes (preset {asked.preset}), {weights}, on {device}"


def paper_of(row: TimingRow) -> Reported:
    key = ("table4", f"A100, batch {row.batch}", "-", row.model, "seconds")
    return reported_cells().get(key, Reported())


def compared(row: TimingRow) -> str:
    """How far from the paper's cell, where that can be said: the true sizes on an A100."""
    paper = paper_of(row).value
    if row.preset == "mini" or "A100" not in row.device or paper is None:
        return ""
    return f" ({row.seconds / paper:.2f} of it)"


def cells(row: TimingRow) -> list[str]:
    paper = paper_of(row)
    share = "fixed" if row.fixed else f"{100 * (row.under_32 or 0):.0f} % under 32"
    tokens = "" if row.tokens is None else f"{row.tokens:g} ({share})"
    return [
        model_entry(row.model).printed, str(row.batch), f"{row.seconds:.3g}", f"{row.fastest:.3g} to {row.slowest:.3g}",
        f"{row.seconds / row.batch:.3g}", f"{row.peak_mb:,}", tokens, f"{row.limit:.3g}", f"{100 * row.fraction:.0f} %",
        f"{100 * row.unet_fraction:.0f} %", f"{paper.printed}{paper.mark}{compared(row)}" if paper.printed else "",
    ]  # fmt: skip


def stage_cells(row: TimingRow) -> list[str]:
    values = asdict(row)
    return [
        model_entry(row.model).printed,
        str(row.batch),
        *(f"{values[s]:.3g}" if values[s] else "" for s in STAGE_NAMES),
    ]


def notes(rows: Sequence[TimingRow]) -> list[str]:
    first = rows[0]
    size = "the built-in miniature, not MGIE-7B" if first.preset == "mini" else f"the true sizes, preset {first.preset}"
    fixed = (
        "length of the expressive instruction fixed, plus its eight visual tokens" if first.fixed
        else "as many tokens as the model writes"
    )  # fmt: skip
    devices = " and ".join(dict.fromkeys(f"{r.device}{f' at {r.clock}' if r.clock else ''}" for r in rows))
    threads = "" if first.on_gpu else f", {first.threads} thread{'s' if first.threads > 1 else ''}"
    lines = [
        f"Timed: {size}; {first.weights} weights; {first.side_px} px, {first.steps} steps, {first.dtype}"
        f"{', compiled' if first.compiled else ''}{threads}; {fixed}.",
        f"Device: {devices}.",
        f"Seconds are of one call with the whole batch: median of n = {first.runs} after a warm-up, synchronised; "
        "spread is the fastest to the slowest.",
        "At best: what the counted operations (matrix products, convolutions, attention) or the weights' bytes, once a "
        "pass (of an embedding the rows that are read), take at the best rates that this device showed in the same "
        f"process: {first.matmul_tflops:.3g} TFLOP/s of several matrix products, {first.conv_tflops:.3g} TFLOP/s of "
        f"the convolutions that are called, {first.read_gbs:.3g} GB/s; stage by stage, whichever takes longer. "
        f"Reached: that over the seconds{winograd(first)}.",
        "Peak memory: " + ("of the GPU." if first.on_gpu else "of the process, Python and torch included."),
        f"The paper's column is of one A100 with the real weights; {MARK}: not confirmed. ",
    ]
    a100 = all("A100" in r.device for r in rows) and first.preset != "mini"
    lines[-1] += "Compared with it." if a100 else "Another device or size is timed here: not comparable."
    return lines


def winograd(row: TimingRow) -> str:
    """What the bound is of where convolutions need fewer operations than are counted."""
    if row.conv_tflops <= row.matmul_tflops:
        return ""
    times = row.conv_tflops / row.matmul_tflops
    return (
        f". Convolutions reach {times:.2g} times the rate of matrix products, since Winograd's algorithm needs fewer "
        "operations than are counted: the bound is of the counted operations at that rate"
    )


def write(stem: Path, rows: Sequence[TimingRow]) -> list[Path]:
    """stem.csv, .md and .tex; returns them."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    write_csv(stem.with_suffix(".csv"), TimingRow, rows)
    write_atomic(stem.with_suffix(".md"), markdown(rows))
    write_atomic(stem.with_suffix(".tex"), latex(rows))
    return [stem.with_suffix(end) for end in (".csv", ".md", ".tex")]


def markdown(rows: Sequence[TimingRow]) -> str:
    def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
        rule = "|---|" + "---:|" * (len(head) - 1)
        return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(line)} |" for line in body)]

    lines = ["# Table 4: inference time", "", *(f"- {line}" for line in notes(rows)), ""]
    lines += table(HEAD, [cells(row) for row in rows])
    lines += ["", "Seconds of a call by stage (medians):", ""]
    lines += table(("model", "batch", *STAGE_NAMES.values()), [stage_cells(row) for row in rows])
    return "\n".join(lines) + "\n"


def latex(rows: Sequence[TimingRow]) -> str:
    lines = [f"% {line}" for line in notes(rows)] + [r"\begin{table}", r"\centering", r"\resizebox{\textwidth}{!}{%"]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(HEAD) - 1)}}}", r"\toprule"]
    lines += [" & ".join(map(escaped, HEAD)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(escaped, cells(row))) + r" \\" for row in rows]
    caption = escaped(f"Inference time. {' '.join(notes(rows))}")
    lines += [r"\bottomrule", r"\end{tabular}}", rf"\caption{{{caption}}}", r"\label{tab:table4}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def show(rows: Sequence[TimingRow], files: Sequence[Path]) -> None:
    stages = [("model", "batch", *STAGE_NAMES.values()), *map(stage_cells, rows)]
    lines = [*columns([HEAD, *map(cells, rows)], 2), "", *columns(stages, 2), ""]
    print("\n".join(wrapped([*lines, *(f"- {note}" for note in notes(rows))])))
    print("written: " + ", ".join(map(str, files)))
