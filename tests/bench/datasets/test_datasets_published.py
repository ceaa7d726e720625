"""The published suite: every file that is used is what the authors published, or it is named."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from drawn import picture, save

from bench.datasets import published
from bench.datasets.published import Published, manifest
from bench.settings import DataSettings

SHARED = Path(__file__).parents[4] / "shared" / "data" / "published"


def record(dataset: str, i: int) -> dict:
    images = {kind: f"{dataset}/{i}_{kind}.jpg" for kind in ("input", "goal", *published.MODELS)}
    expressive = {"lgie": f"lgie's words {i}", "mgie": f"mgie's words {i}"}
    return {
        "id": f"{dataset}/published/{i}",
        "dataset": dataset,
        "instruction": f"edit {i}",
        "expressive_instruction": expressive,
        "images": images,
        "sample": i < 3,
    }


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A drawn published set, with a manifest of its own: the authors' files are not part of the project."""
    folder, lines = tmp_path / "data" / "published", ["path,sha256,bytes,source_path"]
    records = [record(dataset, i) for dataset in ("ipr2pr", *published.IN_SAMPLE) for i in range(6)]
    for n, r in enumerate(records):
        for kind, name in r["images"].items():
            save(folder / name, picture(10 * n + len(kind), (16, 16)))
            data = (folder / name).read_bytes()
            lines.append(f"{name},{hashlib.sha256(data).hexdigest()},{len(data)},_qual/{name}")
        texts = published.texts_of(r)
        lines.append(f"examples.jsonl#{r['id']},{hashlib.sha256(texts).hexdigest()},{len(texts)},index.html")
    (folder / "examples.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(published, "MANIFEST", tmp_path / "manifest.csv")
    return folder


@pytest.mark.parametrize("dataset", ["ipr2pr", "evr", "gier", "ma5k", "magicbrush"])
def test_all_has_six_examples_a_dataset_and_their_authors_outputs(root, dataset):
    data = Published(dataset, root, DataSettings())
    found = data.examples()
    assert [e.id for e in found] == [f"{dataset}/published/{i}" for i in range(6)]
    assert all(e.group == e.id and e.input_image.is_file() and e.goal_image.is_file() for e in found)
    for model in ("inspix2pix", "lgie", "mgie"):
        assert data.outputs(model) == {e.id: root / dataset / f"{i}_{model}.jpg" for i, e in enumerate(found)}
    assert data.expressive_instructions("mgie")[f"{dataset}/published/4"] == "mgie's words 4"
    assert data.expressive_instructions("inspix2pix") == {}
    assert data.note == "n = 6, hand-picked by the authors: not a benchmark result"


def test_the_sample_is_the_first_three_and_has_no_ipr2pr(root):
    data = Published("evr", root, DataSettings(split="sample"))
    assert len(data.examples()) == len(data.outputs("lgie")) == 3 and data.note.startswith("n = 3")
    with pytest.raises(ValueError, match="sample holds evr, gier, ma5k, magicbrush, not ipr2pr"):
        Published("ipr2pr", root, DataSettings(split="sample"))


def test_a_changed_image_is_named_with_both_hashes_and_the_fetch_command(root):
    path = root / "evr" / "1_mgie.jpg"
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes() + b"x")
    wrong = hashlib.sha256(path.read_bytes()).hexdigest()
    data = Published("evr", root, DataSettings())
    assert len(data.examples()) == 6 and len(data.outputs("lgie")) == 6  # files that are not used are not asked for
    with pytest.raises(ValueError) as error:
        data.outputs("mgie")
    assert all(part in str(error.value) for part in (str(path), right, wrong, "python -m bench.fetch published"))


def test_a_missing_image_or_page_names_the_file_and_the_fetch_command(root):
    (root / "gier" / "0_goal.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"0_goal\.jpg.*bench\.fetch published --data-root"):
        Published("gier", root, DataSettings()).examples()
    shutil.rmtree(root)
    with pytest.raises(FileNotFoundError, match=r"examples\.jsonl") as error:
        Published("gier", root, DataSettings()).examples()
    assert "bench.fetch published" in str(error.value) and "no licence" in str(error.value)


def test_a_changed_text_is_refused(root):
    path = root / "examples.jsonl"
    path.write_text(path.read_text().replace("mgie's words 2", "other words"))
    with pytest.raises(ValueError, match=r"evr/published/2 is not what the authors published"):
        Published("evr", root, DataSettings()).examples()


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "evr/published/0"}', '{"id": 3}'])
def test_a_broken_line_is_named(root, line):
    path = root / "examples.jsonl"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="line 31"):
        Published("evr", root, DataSettings()).examples()


def test_an_example_that_occurs_twice_or_never_is_refused(root):
    path = root / "examples.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[7]]))
    with pytest.raises(ValueError, match="occurs twice"):
        Published("evr", root, DataSettings()).examples()
    path.write_text("".join(lines[:8]))
    with pytest.raises(ValueError, match="no example evr/published/2"):
        Published("evr", root, DataSettings()).examples()


def test_an_image_path_outside_the_set_is_refused(root):
    path = root / "examples.jsonl"
    path.write_text(path.read_text().replace("evr/0_input.jpg", "../../secret.jpg"))
    with pytest.raises(ValueError, match="not a file of the published set"):
        Published("evr", root, DataSettings()).examples()


@pytest.mark.parametrize(("dataset", "split"), [("evr", "test"), ("ip2p", "all"), ("evr", "../all")])
def test_unknown_datasets_and_splits_list_the_known_ones(root, dataset, split):
    with pytest.raises(ValueError, match="known:"):
        Published(dataset, root, DataSettings(split=split))


def test_the_real_manifest_has_thirty_quintuples_and_thirty_texts():
    listed = manifest()
    images = {path for path in listed if not path.startswith("examples.jsonl#")}
    assert images == {
        f"{dataset}/{i}_{kind}.jpg"
        for dataset in ("ipr2pr", *published.IN_SAMPLE)
        for i in range(6)
        for kind in ("input", "goal", *published.MODELS)
    }
    assert len(listed) == 180 and all(len(row.sha256) == 64 and row.bytes > 0 for row in listed.values())


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' files are not here")
@pytest.mark.parametrize("dataset", published.IN_SAMPLE)
def test_the_authors_own_sample_passes(dataset):
    data = Published(dataset, SHARED, DataSettings(split="sample"))
    assert len(data.examples()) == 3
    assert all(len(data.outputs(model)) == 3 for model in published.MODELS)
    assert all(data.expressive_instructions("mgie").values())
