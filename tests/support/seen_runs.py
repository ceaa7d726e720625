"""Small finished runs of somebody's own output images on a drawn MagicBrush, for what people look at: pages, report."""

from dataclasses import replace
from pathlib import Path

from drawn import draw_magicbrush, picture

from bench.datasets.magicbrush import MagicBrush
from bench.records import file_name
from bench.run import main as run
from bench.runs.folder import RunFolder
from bench.settings import DataSettings

SESSIONS = 4  # 7 turns


def draw_runs(root: Path, models: tuple[str, ...] = ("near", "far"), write: bool = True) -> dict[str, Path]:
    """root/data/magicbrush and root/runs; by model its run folder. Each model's images are other ones.

    write: each edit has an expressive instruction, as LGIE's and MGIE's have.
    """
    draw_magicbrush(root / "data" / "magicbrush", count=SESSIONS)
    examples = MagicBrush(root / "data" / "magicbrush", DataSettings()).examples()
    folders = {}
    for number, model in enumerate(models, 1):
        for place, example in enumerate(examples):
            (root / model).mkdir(exist_ok=True)
            picture(1000 * number + place, (40, 40)).save(root / model / file_name(example.id))
        argv = ["--suite", "paper", "--data-root", str(root / "data"), "--out", str(root / "runs"), "--dataset"]
        assert run([*argv, "magicbrush", "--model", model, "--images", str(root / model), "--metrics", "l1,ssim"]) == 0
        (folders[model],) = (root / "runs" / "paper").glob(f"magicbrush--{model}--*")
        if write:
            folder = RunFolder(folders[model])
            said = [replace(e, expressive_instruction=f"{model} says: move {e.example_id}", expressive_tokens=4)
                    for e in folder.edits().values()]  # fmt: skip
            folder.rewrite("edits.jsonl", said)
    return folders


def folder_of(runs: Path, model: str = "near") -> Path:
    """The run of that model below runs/."""
    return next((runs / "paper").glob(f"magicbrush--{model}--*"))
