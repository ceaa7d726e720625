"""The metrics' networks at their true sizes with random weights: CLIP ViT-B/32, DINO ViT-S/16, LPIPS' AlexNet.

    python -m bench.rehearse.networks --out FOLDER

Each lies where a flag of bench.run can name it: FOLDER/clip (--clip), dino.safetensors (--dino), alex.safetensors
(--lpips-weights). What is there is whole and is not made again.
"""

import argparse
from pathlib import Path

from mgie.io.files import whole_folder, write_json

CLIP, DINO = "ViT-B-32-quickgelu", "vit_small_patch16_224"


def write(folder: Path) -> None:
    import lpips
    import open_clip
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    (folder / "clip").mkdir()
    network = open_clip.create_model(CLIP, pretrained=None)
    save_file(contiguous(network), folder / "clip" / "open_clip_model.safetensors")
    described = {"model_cfg": open_clip.get_model_config(CLIP), "preprocess_cfg": {}}
    write_json(folder / "clip" / "open_clip_config.json", described)
    save_file(contiguous(timm.create_model(DINO, pretrained=False, num_classes=0)), folder / "dino.safetensors")
    trunk = lpips.LPIPS(net="alex", pretrained=False, pnet_rand=True, lpips=False, verbose=False).net
    save_file(contiguous(trunk), folder / "alex.safetensors")


def contiguous(network: object) -> dict:
    return {name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}  # type: ignore[attr-defined]


def main() -> None:
    p = argparse.ArgumentParser("bench.rehearse.networks", description=__doc__.splitlines()[0])
    p.add_argument("--out", type=Path, required=True)
    out = p.parse_args().out
    if not out.is_dir():
        with whole_folder(out) as folder:
            write(folder)


if __name__ == "__main__":
    main()
