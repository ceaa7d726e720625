"""Official weights -> one folder of safetensors for MGIEPipeline:

    python -m mgie.convert --llava DIR [--llama-base DIR] --mllm mllm.pt --unet unet.pt --instruct-pix2pix DIR --out OUT

Convention: demo.ipynb of apple/ml-mgie at 835af37: LLaVA-7B-v1 (the delta is merged here), mllm.pt over it, unet.pt
into timbrooks/instruct-pix2pix. float16. Every tensor is accounted for by name; OUT appears only when it is whole.
"""

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from mgie import folder as layout
from mgie.convert.manifest import EMBEDDINGS, NUM_VISUAL_TOKENS, TRAINED
from mgie.convert.official import Official, check_names, open_official
from mgie.convert.released import verdict
from mgie.io.command import command
from mgie.io.files import existing, whole_folder, write_json
from mgie.io.hashes import file_digest

if TYPE_CHECKING:
    from mgie.presets import Preset

RELEASED = "IPr2Pr and MagicBrush"  # what the released checkpoint was trained on (README of apple/ml-mgie)
SPARE_BYTES = 64 * 2**20


def convert(
    llava: Path,
    mllm: Path,
    unet: Path,
    instruct_pix2pix: Path,
    out: Path,
    llama_base: Path | None = None,
    clip: Path | None = None,
    trained_on: str = RELEASED,
) -> dict:
    """Writes OUT and returns its conversion.json. Raises FileNotFoundError or ValueError; nothing half is left as OUT.

    clip: the vision tower's folder; None: what LLaVA's config names, in its folder, on this disk or on the Hub.
    """
    from mgie.convert import delta

    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already; remove it to convert again, or name another --out")
    files = open_official(Path(llava), llama_base, clip, Path(mllm), Path(unet), Path(instruct_pix2pix))
    delta.check(files.llava, files.base)
    preset, dropped = check_names(files)
    room(out, preset, files)
    try:
        with whole_folder(out) as partial:
            write_all(files, preset, partial)
            record = describe(files, preset, dropped, trained_on)
            write_json(partial / layout.RECORD, record)
    except Exception as error:
        if type(error).__name__ == "SafetensorError":  # its own class for a full disk too
            raise OSError(f"{out} could not be written: {error}") from error
        raise
    return record


def room(out: Path, preset: "Preset", files: Official) -> None:
    """Refuses before anything is written when the disk cannot hold the result."""
    from mgie.presets import parameters

    needed = 2 * sum(parameters(preset).values()) + SPARE_BYTES
    place = existing(out)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ValueError(f"{place} has {free / 1e9:.1f} GB, {needed / 1e9:.1f} GB are needed; choose another --out")


def write_all(files: Official, preset: "Preset", folder: Path) -> None:
    """The layout of mgie.folder, one component after the other."""
    from mgie.convert.components import write_diffusion, write_eyes, write_head, write_llama, write_tokenizer

    write_llama(files, preset, folder / "llama")
    write_eyes(files, preset, folder)
    write_head(files, preset, folder / "edit_head")
    scheduler = write_diffusion(files, preset, folder)
    write_tokenizer(files, preset, folder / "tokenizer")
    write_json(folder / layout.PRESET, preset.to_json())
    index = {"_class_name": "MGIEPipeline", "preset": preset.name, "scheduler": scheduler, "eyes": True}
    write_json(folder / layout.INDEX, index)


def describe(files: Official, preset: "Preset", dropped: dict[str, list[str]], trained_on: str) -> dict:
    """conversion.json: what was taken, by SHA-256, and what was left out."""
    embeddings = files.mllm.get(EMBEDDINGS)
    rows = files.mllm[TRAINED[0]][-NUM_VISUAL_TOKENS:]
    source = "the last 8 rows of model.embed_tokens.weight" if embeddings is None else "emb"
    same = embeddings is None or bool((embeddings.half()[0] == rows.half()).all())
    llava, single = files.llava.sha256(), {name: file_digest(path) for name, path in files.paths.items()}
    official = {f"{name}.pt": digest for name, digest in single.items()} | llava  # under the names of their authors
    return {
        "preset": preset.name,
        "trained_on": trained_on,
        "released": {name: verdict(name, digest) for name, digest in official.items()},
        "llava": llava,
        "llama_base": None if files.base is None else files.base.sha256(),
        "llama_base_verified": False,  # no sum of a right base and the delta is published to compare with
        "clip": None if files.clip is files.llava else files.clip.sha256(),
        **single,
        "visual_embeddings": source + ("" if same else ", which differs from the last 8 rows of model.embed_tokens"),
        "left_out": dropped,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m mgie.convert", description=__doc__.splitlines()[0])
    parser.add_argument("--llava", type=Path, required=True, help="LLaVA-Lightning-7B-v1-1, merged, or its delta")
    parser.add_argument("--llama-base", type=Path, help="LLaMA-7B, where --llava is a delta: merged on the way")
    parser.add_argument("--mllm", type=Path, required=True, help="mllm.pt of apple/ml-mgie")
    parser.add_argument("--unet", type=Path, required=True, help="unet.pt of apple/ml-mgie")
    parser.add_argument("--instruct-pix2pix", type=Path, required=True, help="folder of timbrooks/instruct-pix2pix")
    parser.add_argument("--clip", type=Path, help="vision tower; default: the one that LLaVA's config names")
    parser.add_argument("--trained-on", default=RELEASED, help="what the tables say of it; default: the released one's")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()  # a bar for each small part says nothing; the LLM has its own line
    stopped = "stopped; nothing is left of it, and the same command begins anew"
    return command(lambda: run(options), "mgie.convert", stopped)


def run(options: argparse.Namespace) -> int:
    record = convert(
        options.llava, options.mllm, options.unet, options.instruct_pix2pix, options.out, options.llama_base,
        options.clip, options.trained_on,
    )  # fmt: skip
    print(f"{options.out}: preset {record['preset']}, trained on {record['trained_on']}")
    for name, said in record["released"].items():
        print(f"  {name}: {said}")
    for role in ("llama_base", "llava"):
        for name, digest in (record[role] or {}).items():
            print(f"  {role} {name} sha256 {digest}")
    if record["llama_base"]:
        print("  which LLaMA this base is cannot be verified: compare its SHA-256 with a source that you trust")
    else:
        print("  how LLaVA was merged, and from which LLaMA, cannot be verified; its SHA-256 is above")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
