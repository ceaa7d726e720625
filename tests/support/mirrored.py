"""Everything that Table 1 needs, small and drawn, as its sources hold it: a lab's mirror, <mirror>/<thing>/<name>.

Annotations and images in the official layouts, released weights of the true classes at tiny size, and a table of
sources that is our own but for sizes and digests, which are those of the drawn files.
"""

import hashlib
import shutil
import tarfile
import tomllib
import zipfile
from pathlib import Path

from drawn import draw_evr, draw_gier, draw_ma5k, draw_magicbrush, picture, save
from hosts import Host, write_sources

from bench.fetch import sources

DATASETS = ["evr", "gier", "ma5k", "magicbrush"]
WEIGHTS = ["inspix2pix", "mgie", "networks"]


def undigested(names: list[str], path: Path) -> Path:
    """Our own table of sources for these things, without the sizes and digests of the official files."""
    data = tomllib.loads(sources.TABLE.read_text())
    for name in names:
        for row in data[name].get("files", []):
            row.pop("bytes", None), row.pop("sha256", None)
    return write_sources(path, {name: data[name] for name in names})


def packed(folder: Path, path: Path, begin: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{begin}/{file.relative_to(folder).as_posix()}")


def draw_datasets(root: Path, whole: bool = False) -> Path:
    """The four datasets under the names of their sources. whole: every image that is missing or empty is drawn."""
    for draw, name in ((draw_evr, "evr"), (draw_gier, "gier"), (draw_ma5k, "ma5k")):
        draw(root / name)
        if whole:
            complete(root, name)
        for inner in ("images", "masks"):
            if (root / name / inner).is_dir():
                packed(root / name / inner, root / name / f"{inner}.zip", f"some folder/{inner}")
                shutil.rmtree(root / name / inner)
    (root / "gier" / "splits" / "Ids_L1Thr_0.06.json").write_text("[]")
    for row in sources.read()["gier"].files:  # subsets that are not drawn
        if row.how == "http" and not (root / "gier" / row.name).is_file():
            (root / "gier" / row.name).write_text("[]")
    draw_magicbrush(root / "zip")
    packed(root / "zip" / "test", root / "magicbrush" / "test.zip", "MagicBrush/test")
    shutil.rmtree(root / "zip")
    return root


def complete(root: Path, name: str) -> None:
    from bench.registry import DATASETS as KNOWN
    from bench.registry import load
    from bench.settings import DataSettings

    for seed, example in enumerate(load(KNOWN, name, "dataset")(root / name, DataSettings()).examples()):
        for side, path in enumerate((example.input_image, example.goal_image)):
            if path is not None and (not path.is_file() or not path.stat().st_size):
                save(path, picture(5000 + 2 * seed + side))


def draw_weights(root: Path) -> Path:
    """InsPix2Pix, MGIE's released files with LLaVA and CLIP's tower, the metrics' networks. They fit together."""
    import official_files
    import tiny_diffusers
    import tiny_networks
    import torch
    from torchvision import models
    from transformers import CLIPTextConfig, CLIPTextModel

    pipe = official_files.pipeline()
    official_files.write(pipe, root / "mgie")
    tiny_diffusers.instruct_pix2pix(root / "inspix2pix")
    for part in ("unet", "vae", "scheduler"):
        shutil.rmtree(root / "inspix2pix" / part)
        shutil.copytree(root / "mgie" / "instruct-pix2pix" / part, root / "inspix2pix" / part)
    config = CLIPTextConfig(
        bos_token_id=188, eos_token_id=189, pad_token_id=1, hidden_size=pipe.unet.config["cross_attention_dim"],
        intermediate_size=37, projection_dim=16, num_attention_heads=2, num_hidden_layers=2, vocab_size=1000,
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPTextModel(config).save_pretrained(root / "inspix2pix" / "text_encoder")
    with tarfile.open(root / "mgie" / "llava.tar", "w") as archive:
        archive.add(root / "mgie" / "llava", "LLaVA-7B-v1")
    shutil.copytree(root / "mgie" / "llava" / "tower", root / "mgie" / "clip")
    shutil.rmtree(root / "mgie" / "llava")
    shutil.rmtree(root / "mgie" / "instruct-pix2pix")
    networks = root / "networks"
    tiny_networks.tiny_clip(networks / "timm" / "vit_base_patch32_clip_224.openai")
    tiny_networks.tiny_dino(networks / "timm" / "vit_small_patch16_224.dino")
    torch.save(models.squeezenet1_1(weights=None).state_dict(), networks / "squeezenet1_1-b8a52dc0.pth")
    for name in ("alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"):  # fetched, not used
        torch.save({"features.0.weight": torch.zeros(1)}, networks / name)
    return root


def table_of(root: Path, path: Path) -> Path:
    """Our own table of sources for what lies in this mirror, with its sizes and digests."""
    data = tomllib.loads(sources.TABLE.read_text())
    made = {}
    for name in (*DATASETS, *WEIGHTS):
        rows = data[name]["files"]
        if name == "magicbrush":
            rows = [row for row in rows if row.get("part") == "test"]
        if name == "inspix2pix":  # libraries of today save other small files than those of 2023
            rows = [
                {key: value for key, value in rows[0].items() if key not in ("bytes", "sha256")} | {"name": file}
                for file in files_below(root / name)
            ]
        if name == "networks":  # networks of another size: what says which
            small = [("vit_base_patch32_clip_224.openai", "open_clip_config.json"),
                     ("vit_small_patch16_224.dino", "config.json")]  # fmt: skip
            for repo, file in small:
                beside = next(row for row in rows if repo in row["name"])
                rows.append(beside | {"name": f"timm/{repo}/{file}", "path": file})
        made[name] = data[name] | {"files": [exact(row, root / name / row["name"]) for row in rows]}
    made["table1"] = data["table1"]
    return write_sources(path, made)


def exact(row: dict, file: Path) -> dict:
    """The row with the size and digest of the drawn file; what comes by hand is as its host packs it."""
    kept = {key: value for key, value in row.items() if key not in ("bytes", "sha256", "about", "password")}
    if row["how"] in ("hand", "drive"):
        return kept
    data = file.read_bytes()
    return kept | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def serve_sources(host: Host, root: Path, table: Path) -> None:
    """Each file where its row says, for a process in which hosts.redirect holds and HF_ENDPOINT is this host."""
    repos: dict[tuple[str, str, str], dict[str, bytes]] = {}
    for source in sources.read(table).values():
        for row in source.files:
            data = (root / source.name / row.name).read_bytes()
            if row.how == "http":
                host.files["/" + row.address.removeprefix("https://")] = data
            elif row.how == "drive":
                host.drive(row.address, data)
            elif row.how == "hub":
                repos.setdefault((row.repo, row.kind, row.revision), {})[row.path or row.name] = data
    for (repo, kind, revision), files in repos.items():
        host.hub(repo, files, kind, revision)


def by_hand(root: Path, table: Path, folder: Path) -> Path:
    """What a user downloads with a browser, under the names that browsers give."""
    folder.mkdir(parents=True)
    for source in sources.read(table).values():
        for row in source.files:
            if row.how == "hand":
                shutil.copyfile(root / source.name / row.name, folder / f"{source.name} {row.name}")
    return folder


def own_weights(root: Path, weights: Path) -> None:
    """What nobody released and a user has trained: LGIE, the two-step forms, fine-tuned copies of each model."""
    import tiny
    import tiny_language

    with_eyes = weights / "mgie-e2e"
    pipe = tiny.build(eyes=False)
    pipe.save_pretrained(weights / "lgie-e2e")
    tiny_language.llama(weights / "lgie-fz" / "writer")
    tiny_language.llava(weights / "mgie-fz" / "writer")
    for name in ("lgie", "mgie"):
        shutil.copytree(weights / f"{name}-fz" / "writer", weights / f"{name}-ft" / "writer")
        shutil.copytree(weights / "inspix2pix", weights / f"{name}-ft" / "inspix2pix")
    for dataset in DATASETS:
        for folder in (weights / "inspix2pix", with_eyes, weights / "lgie-e2e"):
            shutil.copytree(folder, weights / f"{folder.name}-{dataset}")
