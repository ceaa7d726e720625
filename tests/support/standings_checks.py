"""A run folder as bench.run leaves it for MagicBrush's test split, without a picture; what must hold of the standings.

Each check raises AssertionError where it does not hold; tests/planted sees that they do.
"""

import json
from pathlib import Path

from bench.records import Score, to_line
from bench.standings.blocks import Standings
from bench.standings.placement import OFFICIAL, Own, placed
from bench.standings.section import collected
from bench.standings.show import csv_text

CLIP = "open_clip ViT-B-32-quickgelu/openai sha256:01234567 fp32, own transform (bicubic 224, centre crop)"
RULE = "output resized to goal (PIL bicubic uint8), [0, 1]"
PROTOCOLS = {
    "l1": f"l1: {RULE}, mean over RGB in float64",
    "l2": f"l2: {RULE}, mean of squares over RGB in float64",
    "cvs": f"cvs: {CLIP}, cosine output/goal",
    "dino": "dino: timm timm/vit_small_patch16_224.dino sha256:89abcdef fp32, Resize 256 bicubic (PIL), "
    "CenterCrop 224, ImageNet norm, class token, cosine output/goal",
    "cts": f"cts: {CLIP}, cosine output/goal caption, end token kept",
}
VALUES = {"l1": 0.07, "l2": 0.02, "cvs": 0.91, "dino": 0.88, "cts": 0.27}
PER_SESSION = {"single": 2, "multi": 1}


def draw_run(out: Path, model: str = "mine", protocols: dict[str, str] | None = None, **changes: object) -> Path:
    """A finished run of the test split under out. changes: of run.json; data and edit are updated, not replaced."""
    turns = changes.get("data", {}).get("turns", "single")
    run = {
        "suite": "paper", "dataset": "magicbrush", "model": model, "setting": "zero-shot", "form": "none",
        "data": {"split": "test", "expand": "instruction", "turns": turns, "caption": "local", "limit": None},
        "edit": {"batch_size": 8, "max_side": None, "exif": "apply", "alpha": "white"}, "fingerprint": {},
        "manifest": "0" * 64, "n": OFFICIAL[turns], "groups": 535, "note": "",
    }  # fmt: skip
    for key, value in changes.items():
        run[key] = run[key] | value if isinstance(value, dict) else value
    protocols = PROTOCOLS if protocols is None else protocols
    folder = out / run["suite"] / f"{run['dataset']}--{model}--{len(list(out.glob('*/*'))):08x}"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(run))
    done = {"seeds": 1, "metrics": protocols, "not_run": {}, "metric_settings": {}, "n": run["n"], "of": run["n"],
            "failures": 0}  # fmt: skip
    (folder / "done.json").write_text(json.dumps(done))
    lines = []
    for place in range(run["n"]):
        group = f"{place // PER_SESSION[turns]}"
        for metric, protocol in protocols.items():
            value = VALUES.get(metric.partition("@")[0], 0.5) + 0.001 * (place % 7 - 3)
            lines.append(to_line(Score(f"magicbrush/test/{place}", group, 0, metric, value, "", protocol)))
    (folder / "scores.jsonl").write_text("".join(lines))
    return folder


def found(**changes: object) -> Standings:
    return collected(**({"out": Path("nowhere")} | changes))


def row(s: Standings, system: str, source: str, checkpoint: str = "") -> dict[str, str]:
    """The numbers of a published row in the block of MagicBrush's script, by metric."""
    rows = [e for e in s.first.entries if e.system == system and source in e.source and checkpoint in e.checkpoint]
    assert len(rows) == 1, rows
    return {metric: cell.text for metric, cell in rows[0].cells.items()}


def check_systems() -> None:
    """Each number stands with its own system, in its own turns: MagicBrush's Table 2 and AURORA's Table 3b."""
    table2 = {
        ("single", "InstructPix2Pix", "official"): "0.1122 0.0371 0.8524 0.7428 0.2764",
        ("single", "InstructPix2Pix", "MagicBrush-epoch-000168"): "0.0625 0.0203 0.9332 0.8987 0.2781",
        ("single", "HIVE", "official"): "0.1092 0.0341 0.8519 0.7500 0.2752",
        ("multi", "InstructPix2Pix", "official"): "0.1584 0.0598 0.7924 0.6177 0.2726",
        ("multi", "InstructPix2Pix", "MagicBrush-epoch-000168"): "0.0964 0.0353 0.8924 0.8273 0.2754",
        ("multi", "HIVE", "official"): "0.1521 0.0557 0.8004 0.6463 0.2673",
    }
    for (turns, system, checkpoint), numbers in table2.items():
        cells = row(found(turns=turns), system, "2306.10012 Table 2", checkpoint)
        assert cells == dict(zip(("l1", "l2", "clip_i", "dino", "clip_t"), numbers.split(), strict=True))
    copy = {"l1": "0.036", "l2": "0.015", "clip_i": "0.943", "dino": "0.917"}
    assert row(found(), "Input copy", "AURORA") == copy


def check_order() -> None:
    """The goal image first, then the copy of the input, above nearly every published row."""
    entries = found().first.entries
    assert [e.system for e in entries[:2]] == ["Goal image", "Input copy"] and len(entries) > 40
    values = [e.cells["l1"].value for e in entries if "l1" in e.cells]
    assert values == sorted(values)
    by_clip = [e.cells["clip_i"].value for e in found(by="clip_i").first.entries if "clip_i" in e.cells]
    assert by_clip == sorted(by_clip, reverse=True)


def check_captions() -> None:
    """With other captions than the script's, or captions that are not stated, CLIP-T is in a block of its own."""
    for turns, goal in (("single", 0.28259240), ("multi", 0.28553964)):
        s = found(turns=turns)
        clip_t = {e.system: e.cells["clip_t"].value for e in s.first.entries if "clip_t" in e.cells}
        assert clip_t.pop("Goal image") == goal and clip_t.pop("VQGAN-CLIP") > goal  # which optimises CLIP
        assert clip_t and max(clip_t.values()) <= goal and "GenArtist" not in clip_t
        (others,) = (b for b in s.blocks if b.protocol == "other captions")
        assert {"GenArtist", "UIP2P", "DDIM + PnP"} <= {e.system for e in others.entries}
        assert f"{goal:.4f}" in others.reason


def check_blocks() -> None:
    """What was given more, or is compared with something else, is never in the block of MagicBrush's script."""
    s = found()
    inside = {e.system for e in s.first.entries}
    assert not inside & {"MagicQuill", "GLIDE", "NEP", "FireEdit", "UniReal", "MGIE", "LGIE", "MIGE", "PIPE", "UNO"}
    assert all(block.reason for block in s.blocks if block is not s.first)
    outside = {e.system for block in s.blocks if block is not s.first for e in block.entries}
    assert {"MagicQuill", "GLIDE", "NEP", "FireEdit", "UniReal", "MGIE", "LGIE", "MIGE", "PIPE", "UNO"} <= outside


def check_all_there() -> None:
    """Every published number of these turns is in the CSV, once, as its source prints it."""
    from bench.standings.published import family, read

    for turns in ("single", "multi"):
        lines = csv_text(found(turns=turns)).splitlines()[1:]
        here = [r for r in read() if family(r.dataset) == "magicbrush" and r.turns in (turns, "-")]
        by_definition = 4  # numbers of the goal image
        assert len(lines) == len(here) + by_definition
        assert all(any(f",{r.metric},{r.value}," in line for line in lines) for r in here)


def check_placement(out: Path) -> None:
    """A run is placed only where its protocol is the script's; else the setting that would place it is named."""
    whole = placed(draw_run(out), "single")
    assert not whole.reasons and set(whole.entry.cells) == {"l1", "l2", "clip_i", "dino", "clip_t"}
    for metric, value in (("l1", 0.07), ("clip_i", 0.91), ("clip_t", 0.27)):
        cell = whole.entry.cells[metric]
        assert abs(cell.value - value) < 1e-4 and cell.low < cell.value < cell.high and cell.n == 1053
    refused(placed(draw_run(out, suite="mini"), "single"), "suite mini is drawn pictures")
    refused(placed(draw_run(out, suite="published"), "single"), "--suite paper")
    refused(placed(draw_run(out, data={"split": "dev"}), "single"), "--split test would place it")
    refused(placed(draw_run(out, data={"limit": 100}), "single"), "without --limit")
    refused(placed(draw_run(out, n=1000), "single"), "the script scores 1,053")
    refused(placed(draw_run(out, data={"turns": "multi"}), "single"), "--turns multi has its rows")
    refused(placed(draw_run(out, edit={"size": "authors"}), "single"), "--size native")
    refused(placed(draw_run(out, edit={"max_side": 512}), "single"), "without --max-side")
    refused(placed(draw_run(out, dataset="evr"), "single"), "its dataset is evr")
    without(placed(draw_run(out, data={"caption": "global"}), "single"), "clip_t", "CLIP-T: its captions are global; "
            "--metrics cts@local would place it")  # fmt: skip
    other = {name: p.replace("ViT-B-32", "ViT-L-14") for name, p in PROTOCOLS.items()}
    without(
        placed(draw_run(out, protocols=other), "single"), "clip_i", "--clip ViT-B-32-quickgelu/openai would place it"
    )
    other = PROTOCOLS | {"dino": PROTOCOLS["dino"].replace("small", "base")}
    without(
        placed(draw_run(out, protocols=other), "single"),
        "dino",
        "--dino timm/vit_small_patch16_224.dino would place it",
    )
    other = PROTOCOLS | {"l1": f"{PROTOCOLS['l1']}; size authors (assumed; the paper names none): centre square"}
    without(placed(draw_run(out, protocols=other), "single"), "l1", "--size native would place it")


def refused(own: Own, said: str) -> None:
    assert own.entry is None and said in "; ".join(own.reasons), own


def without(own: Own, column: str, said: str) -> None:
    assert own.entry is not None and column not in own.entry.cells and said in "; ".join(own.reasons), own
