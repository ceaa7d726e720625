"""What is fuzzed: a folder of good files, which of them are damaged, and the code of ours that then reads them.

Each `use` calls what a command calls. It may raise one clear error or go through; what it may not do is in limits.py.
"""

import io
import json
import random
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path

import drawn
from of_weights import (
    draw_network,
    draw_official,
    draw_pipeline,
    draw_training,
    read_network,
    read_official,
    read_pipeline,
    read_trained,
)

from bench.settings import DataSettings, EditSettings


@dataclass(frozen=True)
class Target:
    name: str
    draw: Callable[[Path], object]  # lays good files into a folder
    files: tuple[str, ...]  # patterns of those that are damaged
    use: Callable[[Path, random.Random], None]
    weight: int = 1  # its share of the inputs
    named: tuple[str, ...] = ()  # how our messages name a file, where not by its path
    made: tuple[str, ...] = field(default=())  # below the folder: what `use` leaves, removed before the next input


class Refusal(ValueError):
    """A command's exit code 1 or 2 and what it said."""


def command(main: Callable[[list[str]], int], argv: list[str]) -> None:
    """Runs a command; its refusal becomes an error, a traceback or another exit code a failure."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(argv)
    text = err.getvalue() + out.getvalue()
    assert code in (0, 1, 2) and "Traceback" not in text, text[-300:]
    if code:
        raise Refusal(text)


# datasets


def read_dataset(name: str, folder: Path, dice: random.Random) -> None:
    from bench import audit
    from bench.datasets.facts import FACTS
    from bench.registry import DATASETS, load

    if name in FACTS and dice.random() < 0.3:
        command(audit.main, ["--dataset", name, "--data-root", str(folder)])
        return
    settings = DataSettings(split=dice.choice(SPLITS[name]), turns=dice.choice(("single", "multi")),
                            expand=dice.choice(("instruction", "pair", "record")))  # fmt: skip
    dataset = load(DATASETS, name, "dataset")(folder / name, settings)
    for example in dataset.examples():
        assert folder in example.input_image.parents, example.input_image
    str(dataset.note).encode()


SPLITS = {
    "evr": ("test", "train"), "gier": ("test", "test_global", "val"), "ma5k": ("test", "train"),
    "magicbrush": ("test",), "ipr2pr": ("test", "train"),
}  # fmt: skip


def draw_hub(kind: str, folder: Path) -> None:
    drawn.draw_magicbrush_hub(folder / "magicbrush", kind=kind)


def read_hub(folder: Path, dice: random.Random) -> None:
    from bench.registry import DATASETS, load

    for example in load(DATASETS, "magicbrush", "dataset")(folder / "magicbrush", DataSettings(split="dev")).examples():
        assert folder in example.input_image.parents and folder in example.goal_image.parents


def draw_repack(folder: Path) -> None:
    import base64

    lines, entries = [], {}
    for k in range(4):
        jpegs = []
        for side in (0, 1):
            file = io.BytesIO()
            drawn.picture(2 * k + side, (16, 16)).save(file, format="JPEG")
            jpegs.append(base64.b64encode(file.getvalue()))
        lines.append(b"\t".join(jpegs))
        entries[f"{k:07d}_{k}_0"] = {"instruction": "make it night", "expressive": "the lamps would be lit"}
    (folder / "ipr2pr.tsv").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "ipr2pr_expressive.json").write_text(json.dumps(entries))


def read_training(folder: Path, dice: random.Random) -> None:
    from mgie.train.data import read_pairs

    pairs = read_pairs(folder, "ipr2pr", None, needs_expressive=dice.random() < 0.7)
    pairs.texts()
    for i in range(len(pairs)):
        pairs[i]


def draw_pairs(folder: Path) -> None:
    from training_runs import draw_pairs

    draw_pairs(folder, pairs=3)


def draw_published(folder: Path) -> None:
    from bench.datasets.published import MODELS

    lines, paths = [], []
    for i in range(6):
        images = {kind: f"ma5k/{i}_{kind}.jpg" for kind in ("input", "goal", *MODELS)}
        record = {"id": f"ma5k/published/{i}", "dataset": "ma5k", "instruction": "lift"}
        record["expressive_instruction"] = {"lgie": "brighter", "mgie": "the sky is brighter"}
        lines.append(json.dumps(record | {"images": images, "sample": i < 3}))
        paths += images.values()
    for seed, path in enumerate(paths):
        drawn.save(folder / "published" / path, drawn.picture(seed, (8, 8)))
    (folder / "published" / "examples.jsonl").write_text("\n".join(lines) + "\n")


def read_published(folder: Path, dice: random.Random) -> None:
    from bench.datasets.published import Listed, Published

    data, texts = Published("ma5k", folder / "published", DataSettings()), b"lift\nbrighter\nthe sky is brighter"
    good = folder.with_name("good") / "published"  # what the authors published, here
    names = {str(p.relative_to(good)): p.read_bytes() for p in good.rglob("*.jpg")}
    names |= {f"examples.jsonl#ma5k/published/{i}": texts for i in range(6)}
    listed = {name: Listed(name, sha256(content).hexdigest(), 0, name) for name, content in names.items()}
    data.__dict__["_manifest"] = listed
    data.examples()
    data.outputs("mgie")


# images


def draw_images(folder: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 20
    for end in ("jpg", "png", "webp", "gif", "tif", "bmp", "avif"):
        drawn.picture(3, (40, 30)).save(folder / f"a.{end}", exif=exif)
    drawn.picture(4, (40, 30), "RGBA").save(folder / "alpha.png")
    drawn.picture(4, (40, 30)).convert("CMYK").save(folder / "cmyk.jpg")
    drawn.picture(4, (40, 30)).convert("P").save(folder / "palette.png")
    Image.new("I;16", (40, 30), 40000).save(folder / "deep.png")


def read_images(folder: Path, dice: random.Random) -> None:
    from mgie.io.images import load, to_tensor

    settings = EditSettings(exif=dice.choice(("apply", "ignore")), alpha=dice.choice(("white", "drop")), max_side=32)
    for path in sorted(folder.iterdir()):
        image = load(path, settings)
        assert image.mode == "RGB" and max(image.size) <= 32
        to_tensor(image)


def draw_masks(folder: Path) -> None:
    drawn.draw_gier(folder / "gier")
    drawn.masked(1, (20, 20)).save(folder / "mask.png")


def read_masks(folder: Path, dice: random.Random) -> None:
    from bench.datasets.masks import load_mask
    from bench.records import Mask

    load_mask(Mask(folder / "mask.png"), (24, 20))
    load_mask(Mask(folder / "gier" / "masks" / "aa4_aa4_mask.json", (1, 0)), (24, 20))


# runs and what they leave


def draw_run(folder: Path) -> None:
    from tests.bench.runs.test_resume import draw_ma5k

    draw_ma5k(folder / "data", photos=1)
    command_of_run(folder)


def command_of_run(folder: Path, *more: str) -> None:
    from bench.run import main
    from tests.bench.runs.test_resume import command as argv

    command(main, argv(folder / "data", folder / "out", "--metrics", "l1", "--seeds", "1", *more))


def read_a_run(folder: Path, dice: random.Random) -> None:
    from bench.grid.cells import read_run

    if dice.random() < 0.4:
        for run in (folder / "out" / "paper").glob("ma5k--*"):
            if (run / "done.json").exists():
                read_run(run, 1)
        return
    command_of_run(folder)


def draw_index(folder: Path) -> None:
    from tests.bench.runs.test_resume import draw_ma5k

    draw_ma5k(folder / "data", photos=1)
    images = folder / "data" / "ma5k" / "images"
    rows = [(f"ma5k/test/0001_{letter}", str(images / f"0001_{letter}.jpg")) for letter in "ABCDE"]
    (folder / "index.csv").write_text("id,path\n" + "".join(f"{i},{path}\n" for i, path in rows))
    (folder / "index.jsonl").write_text("".join(json.dumps({"id": i, "path": path}) + "\n" for i, path in rows))


def read_index(folder: Path, dice: random.Random) -> None:
    images = folder / ("index.csv" if dice.random() < 0.5 else "index.jsonl")
    command_of_run(folder, "--model", "mine", "--images", str(images), "--max-failures", "1")


def draw_stored(folder: Path) -> None:
    from bench.grid.stored import write_scores
    from tests.bench.grid.test_check import NAME, check_of, scores

    write_scores(folder / "scores" / NAME, scores())
    (folder / "check.json").write_text(check_of().to_json())
    rows = "1,zero-shot,none,ma5k,identity,l1,0.155\n1,zero-shot,none,ma5k,identity,ssim,0.555\n"
    (folder / "table1.csv").write_text("table,setting,form,dataset,model,metric,mean\n" + rows)


def read_stored(folder: Path, dice: random.Random) -> None:
    from bench.grid.gate import read_check, stale_tables
    from bench.grid.stored import read_scores
    from tests.bench.grid.test_check import NAME

    stale_tables(folder)
    read_scores(folder / "scores" / NAME)
    read_check(folder / "check.json")


HUB = ("magicbrush/from-hub",)
OFFICIAL = ("LLaVA's", "the vision tower's", "unet/config.json", "vae/config.json", "scheduler_config.json",
            "the UNet's", "the config files give", "mllm.pt has no", "has no unet/", "has no vae/",
            "has no scheduler/")  # fmt: skip
TARGETS = [
    *(Target(name, lambda folder, name=name: getattr(drawn, f"draw_{name}")(folder / name), (f"{name}/**/*.json",),
             partial(read_dataset, name), 6) for name in SPLITS),
    Target("hub-parquet", partial(draw_hub, "parquet"), ("**/*.parquet",), read_hub, 1, ("MagicBrush: ",), HUB),
    Target("hub-arrow", partial(draw_hub, "arrow"), ("**/*.arrow",), read_hub, 1, ("MagicBrush: ",), HUB),
    Target("hub-laid-out", lambda folder: (draw_hub("parquet", folder), read_hub(folder, random.Random(0))),
           ("magicbrush/from-hub/**/*.json",), read_hub, 3),
    Target("repack", draw_repack, ("ipr2pr.tsv", "*.json"), read_training, 4),
    Target("training-pairs", draw_pairs, ("*/prompt.json", "expressive.jsonl"), read_training, 4),
    Target("published", draw_published, ("published/examples.jsonl", "published/ma5k/*"), read_published, 3),
    Target("images", draw_images, ("*",), read_images, 10),
    Target("masks", draw_masks, ("mask.png", "gier/masks/*"), read_masks, 5),
    Target("run-folder", draw_run, tuple(f"out/paper/*/{end}" for end in ("*.json", "*.jsonl", "images/0/*.png")),
           read_a_run, 8),
    Target("images-index", draw_index, ("index.csv", "index.jsonl"), read_index, 4, made=("out",)),
    Target("stored-scores", draw_stored, ("scores/*", "check.json", "table1.csv"), read_stored, 8),
    Target("pipeline", draw_pipeline, ("mgie/**/*.json", "mgie/**/*.safetensors"), read_pipeline, 2),
    Target("official-bin", partial(draw_official, ".bin"), ("*.pt", "llava/*", "llava/tower/*"), read_official, 2,
           OFFICIAL),
    Target("official-safetensors", partial(draw_official, ".safetensors"),
           ("llava/*", "llava/tower/*", "instruct-pix2pix/*/*.json"), read_official, 2, OFFICIAL),
    Target("networks", draw_network, ("*",), read_network, 6),
    Target("training-run", draw_training, (".checkpoints/*/trainer/*", "train.csv"), read_trained, 4),
]  # fmt: skip


class Drawn:
    """A target's good files, kept, and a copy of them that is damaged and mended again."""

    def __init__(self, target: Target, root: Path) -> None:
        self.target, self.folder, self.good = target, root / target.name / "at", root / target.name / "good"
        self.folder.mkdir(parents=True)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            target.draw(self.folder)
        shutil.copytree(self.folder, self.good)
        found = {path for pattern in target.files for path in self.folder.glob(pattern) if path.is_file()}
        self.files = sorted(path for path in found if not path.name.startswith("."))
        assert self.files, f"{target.name}: no file for {target.files}"
        for seed in range(3):  # good files are read without an error, and what is imported once is imported now
            target.use(self.folder, random.Random(seed))
        self.mend()

    def mend(self) -> None:
        """The good files again; folders that a use only reads are not copied a second time."""
        for name in self.target.made:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        there, good = files_below(self.folder), files_below(self.good)
        for name in there.keys() - good.keys():
            remove(self.folder / name)
        for name, stamp in good.items():
            if there.get(name) != stamp:
                remove(self.folder / name)
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.good / name, self.folder / name)


def files_below(folder: Path) -> dict[str, tuple]:
    """Relative name -> what tells a changed file from an unchanged one."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir() or not any(path.iterdir()):
            stat = path.lstat()
            found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
