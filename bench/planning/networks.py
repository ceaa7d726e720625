"""Whether the networks that metrics look with are at hand: asked of the disk, without the libraries that load them.

The usual ones are looked for where their own code looks (what bench.fetch left, the Hub's and torch's caches). Any
other is asked of its own code, which knows more and takes seconds to import.
"""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from bench.metrics.networks.perceptual import OFFICIAL
from bench.planning.look import ENDS
from bench.registry import METRICS, load, metric_of, plain
from bench.settings import MetricSettings
from mgie.io.files import looking

# By network and its name in the settings: repository and file at the Hub.
USUAL = {
    ("clip", "ViT-B-32-quickgelu/openai"): ("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),
    ("dino", "timm/vit_small_patch16_224.dino"): ("timm/vit_small_patch16_224.dino", "model.safetensors"),
}
ABSENT = "it is not on this machine"
OWN = {"clip": "clip", "dino": "vit", "lpips": "perceptual"}  # in bench.metrics.networks


def absent(metrics: tuple[str, ...], settings: MetricSettings) -> Iterator[tuple[str, str]]:
    """Each network that is not at hand, once: its name with what it is, and why."""
    seen = set()
    for metric in metrics:
        for network in getattr(load(METRICS, plain(metric), "metric"), "networks", ()):
            name = named(network, wanted := metric_of(metric, settings))
            if (network, name) not in seen and (why := not_here(network, name, wanted)):
                yield f"{network} {name}", why
            seen.add((network, name))


def named(network: str, settings: MetricSettings) -> str:
    """What the settings call it."""
    if network == "lpips":
        return str(settings.lpips_weights or settings.lpips)
    return str(getattr(settings, network, ""))


def not_here(network: str, name: str, settings: MetricSettings) -> str:
    """Why it cannot be loaded; empty where it can."""
    if (network, name) in USUAL:
        return "" if at_hand(settings.fetched, *USUAL[network, name]) else ABSENT
    if network == "lpips" and settings.lpips_weights is None:
        file = OFFICIAL[settings.lpips]
        here = (settings.fetched / file, torch_cache() / "checkpoints" / file)
        return "" if any(path.is_file() for path in here) else ABSENT
    if network == "lpips":
        return "" if Path(name).is_file() else f"--lpips-weights {name}: no such file"
    folder, marks = Path(name), {"clip": "open_clip_config.json", "dino": "config.json"}
    if folder.is_dir() and network in marks and (folder / marks[network]).is_file():
        return "" if any(folder.glob("*.safetensors")) or any(folder.glob("*.bin")) else f"{name} holds no weights"
    if network not in OWN:  # of a metric of one's own: it says so itself once it is loaded
        return ""
    try:
        with looking():
            import_module(f"bench.metrics.networks.{OWN[network]}").find(name, settings.fetched)
    except ENDS as error:
        return str(error)
    return ""


def at_hand(fetched: Path, repo: str, file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return (fetched / repo / file).is_file() or isinstance(try_to_load_from_cache(repo, file), str)


def torch_cache() -> Path:
    """torch.hub.get_dir(), without torch."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "torch")
    return Path(home).expanduser() / "hub"
