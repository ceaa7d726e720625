"""Files made to do harm: bombs, names that lead out of their folder, pickles that hold code. Each is refused."""

import gzip
import io
import json
import os
import pickle
import re
import struct
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench.datasets.masks import load_mask
from bench.grid.stored import MAX_BYTES, read_scores
from bench.records import Mask
from mgie.convert.shards import Shards
from mgie.io.images import MAX_PIXELS, ImageError, load
from mgie.io.weights import open_tensors

ROOT = Path(__file__).parents[2]


def png_bomb(width: int, height: int) -> bytes:
    """A few kilobytes that say they are width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("read", [load, lambda path: load_mask(Mask(path), (8, 8))], ids=["image", "mask"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded_with_the_limit_named(tmp_path, read):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bomb(60_000, 60_000))
    with pytest.raises(ImageError, match=f"60000x60000 px is over the limit of {MAX_PIXELS:,} pixels"):
        read(path)


def test_a_bomb_in_a_parquet_row_or_in_the_repack_is_refused_too(tmp_path):
    import base64

    from bench.datasets.hub_rows import stored
    from mgie.train.data import RepackPairs

    tiff = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(tiff, format="TIFF", compression="group4")
    with pytest.raises(ImageError, match="over the limit"):
        stored({"mask_img": {"bytes": tiff.getvalue()}}, "mask_img", "turn 1")
    coded = base64.b64encode(png_bomb(30_000, 30_000))
    (tmp_path / "ipr2pr.tsv").write_bytes(coded + b"\t" + coded + b"\n")
    entry = {"0_0_0": {"instruction": "a", "expressive": "b"}}
    (tmp_path / "ipr2pr_expressive.json").write_text(json.dumps(entry))
    with pytest.raises(ImageError, match="over the limit"):
        RepackPairs.read(tmp_path)[0]


def test_a_gzip_bomb_is_refused_with_the_limit_named(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.grid.stored.MAX_BYTES", 1000)
    (tmp_path / "s.csv.gz").write_bytes(gzip.compress(bytes(100_000)))
    with pytest.raises(ValueError, match="more than the limit of 1,000 bytes"):
        read_scores(tmp_path / "s.csv.gz")
    assert MAX_BYTES < 2**30


def test_a_mask_that_says_it_is_huge_is_refused(tmp_path):
    (tmp_path / "m.json").write_text(json.dumps([{"size": [10**6, 10**6], "counts": [10**12]}]))
    with pytest.raises(ImageError, match="expected 1 to .* pixels"):
        load_mask(Mask(tmp_path / "m.json", (0,)), (8, 8))


class Harmful:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_holds_code_is_refused_and_its_code_is_not_run(tmp_path, zipped, protocol):
    from mgie.io.weights import read_state

    path, proof = tmp_path / "a.pt", tmp_path / "it-ran"
    state = {"a": torch.ones(2), "b": Harmful(proof)}
    torch.save(state, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    for read in (open_tensors, read_state):
        with pytest.raises(ValueError, match="code|pickles are not run"):
            read(path)
    path.write_bytes(pickle.dumps(Harmful(proof), protocol=protocol))
    for read in (open_tensors, read_state):
        with pytest.raises(ValueError, match=re.escape(str(path))):
            read(path)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["../mllm.bin", "/etc/hostname", "a/../../b.bin", "..", "a\0b", 7])
def test_an_index_that_names_a_file_outside_its_folder_is_refused(tmp_path, name):
    torch.save({"w": torch.ones(1)}, tmp_path / "mllm.bin")
    folder = tmp_path / "llava"
    folder.mkdir()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ValueError, match="expected the name of a file beside it"):
        Shards(folder)


def test_a_scheduler_is_looked_up_among_schedulers_only(tmp_path):
    from mgie.folder import scheduler_class

    for name in ("DiffusionPipeline", "__name__", None, 3, "UNet2DConditionModel", "NoScheduler"):
        with pytest.raises(ValueError, match="expected one of diffusers"):
            scheduler_class(name, tmp_path)
    assert scheduler_class("DDIMScheduler", tmp_path).__name__ == "DDIMScheduler"


FORBIDDEN = {
    "an archive is unpacked": r"zipfile|tarfile|unpack_archive|extractall",
    "an archive is unpacked unseen": r"unpack_archive|extractall|\.extract\(",
    "a pickle is loaded": r"pickle\.loads?\(|allow_pickle=True|weights_only=False|read_pickle|joblib",
    "code is made of text": r"(?<![.\w])(eval|exec)\(|trust_remote_code|yaml\.load\(|shell=True|os\.system",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_in_the_code_opens_what_may_hold_code(what):
    """Archives are unpacked in one file, member by member, each name checked; no pickle is loaded, so none can run."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("bench", "mgie", "baselines") for path in (ROOT / folder).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines() if re.search(FORBIDDEN[what], line)
        and not (what == "an archive is unpacked" and path == ROOT / "bench" / "fetch" / "unpack.py")
    ]  # fmt: skip
    assert found == []


def test_every_torch_load_takes_weights_only():
    for folder in ("bench", "mgie", "baselines"):
        for path in (ROOT / folder).rglob("*.py"):
            for call in re.findall(r"torch\.load\([^\n]*", path.read_text(encoding="utf-8")):
                assert "weights_only=True" in call, f"{path}: {call}"
