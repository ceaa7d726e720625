"""The metric engine against MagicBrush's way (score), and against the bare forward passes.

    python -m bench.speed.metric_engine                      200 pairs, about an hour on one core
    python -m bench.speed.metric_engine --pairs 8 --runs 3   minutes

L1, SSIM, LPIPS, DINO, CVS and CTS of real 512 px pairs: photographs of mgie/mini/assets brought to 512 px (bicubic),
the output images the same with changed light. Networks of the true sizes (CLIP ViT-B/32, DINO ViT-S/16, AlexNet) with
random weights: time does not depend on their values. All sides take turns; seconds are medians, every claim is a ratio:
cold (nothing cached), cached (goal features and captions encoded before, for another model), three models over the same
goals (cold + 2 x cached against 3 x the reference), and cold over the bare forward passes in our batches. On a CPU the
ratios of processor times are given beside those of the wall clock. Writes results/mini/speed/metrics-<device>.csv.
"""

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image

from bench.records import Example
from bench.settings import MetricSettings
from bench.speed.stopwatch import synchronise
from mgie.io.devices import device_name
from mgie.mini.world.assets import PHOTOS

if TYPE_CHECKING:
    from bench.metrics.networks.clip import CLIP
    from bench.metrics.networks.perceptual import Perceptual
    from bench.metrics.networks.vit import DINONetwork

SPEED = Path(__file__).parents[2] / "results" / "mini" / "speed"  # the accepted ones: results/speed

SIDE, CHUNK = 512, 16
CLIP_NAME, DINO_NAME = "ViT-B-32-quickgelu", "vit_small_patch16_224"


def draw(folder: Path, pairs: int) -> list:
    """The files of the pairs; a goal image is a photograph, an output image the same a little darker or brighter."""

    photos, found = sorted(PHOTOS.glob("*.*")), []
    for i in range(pairs):
        goal = Image.open(photos[i % len(photos)]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        goal = goal.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if i >= len(photos) else goal
        gain = 0.7 + 0.6 * ((i * 7) % 11) / 10
        output = Image.fromarray(np.clip(np.asarray(goal) * gain, 0, 255).astype(np.uint8))
        files = Files(folder / f"{i}-output.png", folder / f"{i}-goal.jpg", f"photograph {i} in another light")
        output.save(files.output, compress_level=1)
        goal.save(files.goal, quality=92)
        found.append(files)
    return found


def write_random(files: Mapping[str, Path]) -> None:
    """Weights of the metrics' networks at their true sizes, always the same ones. files: by clip, dino, alex."""
    import open_clip
    import timm
    import torch
    from safetensors.torch import save_file
    from torchvision import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {
            "clip": open_clip.create_model(CLIP_NAME).state_dict(),
            "dino": timm.create_model(DINO_NAME, pretrained=False, num_classes=0).state_dict(),
            "alex": {f"features.{k}": v for k, v in models.alexnet(weights=None).features.state_dict().items()},
        }
    for name, state in networks.items():
        save_file({k: v.contiguous() for k, v in state.items()}, files[name])


def random_networks(folder: Path, device: str) -> MetricSettings:
    """Weights files of the true architectures, as a user would name them."""
    write_random({name: folder / f"{name}.safetensors" for name in ("clip", "dino", "alex")})
    return MetricSettings(
        clip=f"{CLIP_NAME}/{folder / 'clip.safetensors'}", dino=str(folder / "dino.safetensors"),
        lpips="alex", lpips_weights=folder / "alex.safetensors", metric_device=device, metric_batch_size=CHUNK,
    )  # fmt: skip


def ours(files: list, settings: MetricSettings, cache: Path | None) -> dict[str, list[float]]:
    """As bench.runs.scoring calls the metrics: chunk by chunk, each image opened once."""

    from bench.metrics.pairs import Pair, Picture, given
    from bench.runs.scoring import load_metrics

    metrics = load_metrics(METRICS, settings, cache).ready
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    for start in range(0, len(files), CHUNK):
        pairs = [
            Pair(Example(str(f.output), "", f.goal, "", f.goal, f.caption), Picture(f.output), Picture(f.goal))
            for f in files[start : start + CHUNK]
        ]
        for name in METRICS:
            values[name] += [given(value.value) for value in metrics[name](pairs)]
    return values


def bare(files: list, networks: "Networks") -> Callable[[], None]:
    """Nothing but the forward passes a cold run needs, on tensors that lie ready, in our batches."""
    from bench.metrics.networks.vit import class_token
    from bench.metrics.pairs import Picture, to_tensor

    pictures = [(Picture(f.output).image, Picture(f.goal).image) for f in files]
    ready = []
    import torch

    for start in range(0, len(files), CHUNK):
        both = [image for pair in pictures[start : start + CHUNK] for image in pair]
        tokens = networks.clip.tokenizer([f.caption for f in files[start : start + CHUNK]])
        clip, dino = (torch.stack([n.transform(image) for image in both]) for n in (networks.clip, networks.dino))
        pairs = [[2 * to_tensor(image)[None] - 1 for image in pair] for pair in pictures[start : start + CHUNK]]
        ready.append((clip, dino, tokens, pairs))

    def forward() -> None:
        with torch.inference_mode():
            for clip, dino, tokens, pairs in ready:
                for half in clip.chunk(2):  # outputs and goals are batches of their own in ours
                    networks.clip.network.encode_image(half.to(networks.clip.device))
                networks.clip.network.encode_text(tokens.to(networks.clip.device))
                for half in dino.chunk(2):
                    class_token(networks.dino.network, half.to(networks.dino.device))
                for pair in pairs:
                    networks.perceptual.distance(*pair)

    return forward


def check_equal(mine: dict, theirs: dict) -> float:
    """The largest difference; ours and the reference's are the same numbers or the comparison is of nothing."""
    apart = max(abs(a - b) for name in mine for a, b in zip(mine[name], theirs[name], strict=True))
    if not apart < 1e-4:
        raise SystemExit(f"ours and the reference differ by {apart}")
    return apart


def csv_of(device: str) -> Path:
    return SPEED / f"metrics-{device.partition(':')[0]}.csv"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pairs", type=int, default=200)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--device", default="cpu")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from bench.metrics.networks.clip import clip_of
    from bench.metrics.networks.features import exactly
    from bench.metrics.networks.perceptual import perceptual
    from bench.metrics.networks.vit import dino_of

    torch.set_num_threads(1)
    # fp32 means fp32 on every side: no TensorFloat-32
    with tempfile.TemporaryDirectory() as scratch, exactly(args.device):
        folder = Path(scratch)
        settings, files = random_networks(folder, args.device), draw(folder, args.pairs)
        assert settings.lpips_weights is not None  # they were just made
        networks = Networks(
            clip_of(settings), dino_of(settings), perceptual("alex", settings.lpips_weights, "linear", args.device)
        )
        cached = folder / "features"
        apart = check_equal(ours(files, settings, cached), score(files, networks))  # also the warm-up, and the cache
        sides: dict[str, Callable[[], object]] = {
            "reference": lambda: score(files, networks), "cold": lambda: ours(files, settings, None),
            "cached": lambda: ours(files, settings, cached), "bare": bare(files, networks),
        }  # fmt: skip
        wall: dict[str, list[float]] = {name: [] for name in sides}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(args.runs):
            for name, call in sides.items():
                start, used = time.perf_counter(), time.process_time()
                call()
                synchronise(args.device)
                wall[name].append(time.perf_counter() - start)
                cpu[name].append(time.process_time() - used)
    row = {"pairs": args.pairs, "runs": args.runs}
    for kind, times in (("", wall), ("cpu_", cpu)):
        s = {name: statistics.median(values) for name, values in times.items()}
        row |= {f"{kind}{name}_s": round(value / args.pairs, 4) for name, value in s.items()}
        row |= {
            f"{kind}cold_ratio": round(s["reference"] / s["cold"], 2),
            f"{kind}cached_ratio": round(s["reference"] / s["cached"], 2),
            f"{kind}three_models_ratio": round(3 * s["reference"] / (s["cold"] + 2 * s["cached"]), 2),
            f"{kind}over_bare": round(s["cold"] / s["bare"], 2),
        }
    row |= {"differ_by": f"{apart:.1e}", "threads": 1, "device": device_name(args.device)}
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(csv_of(args.device), "w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    for kind, clock in (("", "wall"), ("cpu_", "processor")):
        print(f"{clock} time: cold {row[f'{kind}cold_ratio']} times as fast as the reference, cached "
              f"{row[f'{kind}cached_ratio']}, three models {row[f'{kind}three_models_ratio']}; cold over the bare "
              f"forward passes {row[f'{kind}over_bare']}")  # fmt: skip


if __name__ == "__main__":
    main()

METRICS = ("l1", "ssim", "lpips", "dino", "cvs", "cts")


class Networks(NamedTuple):
    """As bench.backbones load them: the same modules on both sides."""

    clip: "CLIP"
    dino: "DINONetwork"
    perceptual: "Perceptual"


class Files(NamedTuple):
    output: Path
    goal: Path
    caption: str


def opened(files: Files) -> tuple[Image.Image, Image.Image]:
    """Output and goal image, the output at the goal's size."""
    output, goal = Image.open(files.output).convert("RGB"), Image.open(files.goal).convert("RGB")
    return (output if output.size == goal.size else output.resize(goal.size, Image.Resampling.BICUBIC)), goal


def unit(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None] / 255


def l1(files: Files, networks: Networks) -> float:
    output, goal = (np.asarray(image, np.float64) / 255 for image in opened(files))
    return float(np.abs(output - goal).mean())


def ssim(files: Files, networks: Networks) -> float:
    from skimage.metrics import structural_similarity

    output, goal = (np.asarray(image, np.float64) / 255 for image in opened(files))
    return float(structural_similarity(
        output, goal, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=2
    ))  # fmt: skip


@torch.inference_mode()
def lpips(files: Files, networks: Networks) -> float:
    output, goal = ((2 * unit(image) - 1).to(networks.perceptual.device) for image in opened(files))
    return float(networks.perceptual.network(output, goal))


@torch.inference_mode()
def dino(files: Files, networks: Networks) -> float:
    features = []
    for path in (files.output, files.goal):
        pixels = networks.dino.transform(Image.open(path).convert("RGB"))[None]
        features.append(networks.dino.network.forward_features(pixels.to(networks.dino.device))[:, 0])
    return float(torch.nn.functional.cosine_similarity(*features))


def clip_image(path: Path, networks: Networks) -> torch.Tensor:
    pixels = networks.clip.transform(Image.open(path).convert("RGB"))[None]
    return networks.clip.network.encode_image(pixels.to(networks.clip.device))


@torch.inference_mode()
def cvs(files: Files, networks: Networks) -> float:
    pair = (clip_image(path, networks) for path in (files.output, files.goal))
    return float(torch.nn.functional.cosine_similarity(*pair))


@torch.inference_mode()
def cts(files: Files, networks: Networks) -> float:
    text = networks.clip.network.encode_text(networks.clip.tokenizer([files.caption]).to(networks.clip.device))
    return float(torch.nn.functional.cosine_similarity(clip_image(files.output, networks), text))


BY_NAME = {"l1": l1, "ssim": ssim, "lpips": lpips, "dino": dino, "cvs": cvs, "cts": cts}


def score(pairs: list[Files], networks: Networks) -> dict[str, list[float]]:
    """Metric after metric over all pairs, as the script's own functions are called."""
    return {name: [BY_NAME[name](files, networks) for files in pairs] for name in METRICS}
