"""Finished run folders of the three models on drawn data, without a model: what people are to judge."""

from pathlib import Path

from drawn import draw_evr, draw_ma5k
from PIL import ImageOps

from bench.records import Edit, Example
from bench.registry import open_dataset
from bench.runs.description import manifest_hash
from bench.runs.folder import RunFolder
from bench.settings import DataSettings
from mgie.io.images import ImageError, load, pixel_hash

CHANGES = {"inspix2pix": ImageOps.grayscale, "lgie": ImageOps.mirror, "mgie": ImageOps.invert}
DRAW = {"evr": draw_evr, "ma5k": draw_ma5k}


def make_runs(root: Path, dataset: str, unfinished: str = "") -> list[Path]:
    """One folder a model, below root/runs; data in root/data. unfinished: a model whose run lacks two edits."""
    if not (root / "data" / dataset).exists():
        DRAW[dataset](root / "data" / dataset)
    examples = open_dataset("paper", dataset, root / "data", DataSettings()).examples()
    return [run_of(model, dataset, examples, root, 2 if model == unfinished else 0) for model in CHANGES]


def run_of(model: str, dataset: str, examples: list[Example], root: Path, left_out: int) -> Path:
    folder = RunFolder(root / "runs" / "paper" / f"{dataset}--{model}--00000000")
    folder.path.mkdir(parents=True)
    form = "none" if model == "inspix2pix" else "e2e"
    folder.start(
        {"suite": "paper", "dataset": dataset, "model": model, "setting": "zero-shot", "form": form, "note": "",
         "n": len(examples), "groups": len({e.group for e in examples}), "manifest": manifest_hash(examples),
         "data": {"split": ""}, "edit": {"batch_size": 8}, "fingerprint": {}},
        {"data_root": str(root / "data")},
    )  # fmt: skip
    for example in examples[: len(examples) - left_out]:
        try:
            image = CHANGES[model](load(example.input_image)).convert("RGB")
        except ImageError as error:
            folder.append("failures.jsonl", [{"example_id": example.id, "seed": 0, "reason": str(error)}])
            continue
        name = folder.image(0, example)
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder.path / name)
        text = None if model == "inspix2pix" else f"{example.instruction}, by {CHANGES[model].__name__}"
        folder.append("edits.jsonl", [Edit(example.id, 0, name, pixel_hash(image), text)])
    if not left_out:
        folder.finish({"seeds": 1, "metrics": {}, "not_run": {}, "metric_settings": {}, "n": len(examples),
                       "of": len(examples), "failures": 0})  # fmt: skip
    return folder.path
