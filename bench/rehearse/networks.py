"""The metrics' networks at their true sizes with random weights: CLIP ViT-B/32, DINO ViT-S/16, LPIPS' AlexNet.

    python -m bench.rehearse.networks --out FOLDER

Each lies where a flag of bench.run can name it: FOLDER/clip (--clip), dino.safetensors (--dino), alex.safetensors
(--lpips-weights). What is there is whole and is not made again.
"""

import argparse
from pathlib import Path

from bench.speed.metric_engine import CLIP_NAME, write_random
from mgie.io.files import whole_folder, write_json


def write(folder: Path) -> None:
    """As bench.fetch lays them out."""
    import open_clip

    (folder / "clip").mkdir()
    write_random({"clip": folder / "clip" / "open_clip_model.safetensors", "dino": folder / "dino.safetensors",
                  "alex": folder / "alex.safetensors"})  # fmt: skip
    described = {"model_cfg": open_clip.get_model_config(CLIP_NAME), "preprocess_cfg": {}}
    write_json(folder / "clip" / "open_clip_config.json", described)


def main() -> None:
    p = argparse.ArgumentParser("bench.rehearse.networks", description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, required=True)
    out = p.parse_args().out
    if not out.is_dir():
        with whole_folder(out) as folder:
            write(folder)


if __name__ == "__main__":
    main()
