"""The fetch against a local server: right files, wrong ones, missing ones, broken transfers, and the second run."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from hosts import Host

from bench.datasets import published
from bench.datasets.published import Published
from bench.fetch import web
from bench.fetch.__main__ import main
from bench.fetch.published import NAMES, check_texts, page_examples
from bench.settings import DataSettings

SHARED = Path(__file__).parents[4] / "shared" / "data" / "published" / "examples.jsonl"
ON_PAGE = {theirs: ours for ours, theirs in NAMES.items()}
KINDS = {"input": "input", "goal": "answer", "inspix2pix": "p2p", "lgie": "lgie", "mgie": "mgie"}
ROW = """                    <tr>
                        <td><img src="https://host/main/_qual/{name}_{i}_input.jpg" /></td>
                        <td><center><div style="width: 120px; text-align: left;">{instruction}</div></center></td>
{cells}                    </tr>
"""
PICTURE = '                        <td><img src="https://host/main/_qual/{name}_{i}_{kind}.jpg" /></td>\n'
TEXT = '\t\t\t\t\t\t<td><center><div style="width: 260px; text-align: left;">{}</div></center></td>\n'


def html_page(records: list[dict]) -> str:
    """Built like the project page: tables of images first, then tables of expressive instructions."""
    first = second = ""
    for r in records:
        dataset, _, i = r["id"].split("/")
        row = {"name": ON_PAGE[dataset], "i": i, "instruction": r["instruction"]}
        pictures = [PICTURE.format(**row, kind=kind) for kind in ("p2p", "lgie", "mgie", "answer")]
        first += ROW.format(**row, cells="".join(pictures))
        texts = r["expressive_instruction"]
        second += ROW.format(**row, cells=TEXT.format(texts["lgie"]) + TEXT.format(texts["mgie"]))
    head = "<tr><th>Input</th><th>Instruction</th></tr>"
    return f"<html><body><table>{head}{first}</table><h2>x</h2><table>{head}{second}</table></body></html>"


@pytest.fixture
def site(tmp_path, monkeypatch):
    records, files, lines = [], {}, ["path,sha256,bytes,source_path"]
    for dataset in ("ipr2pr", *published.IN_SAMPLE):
        for i in range(6):
            texts = {"lgie": f"It's LGIE, {dataset} {i}.", "mgie": f'It is MGIE: "{dataset}" {i} & more'}
            records.append(
                {
                    "id": f"{dataset}/published/{i}",
                    "instruction": f"edit {dataset}  {i}",
                    "expressive_instruction": texts,
                }
            )
            for kind, theirs in KINDS.items():
                data = hashlib.sha256(f"{dataset}{i}{kind}".encode()).digest() * 40
                source = f"_qual/{ON_PAGE[dataset]}_{i}_{theirs}.jpg"
                files[source] = data
                lines.append(f"{dataset}/{i}_{kind}.jpg,{hashlib.sha256(data).hexdigest()},{len(data)},{source}")
    files["index.html"] = html_page(records).encode()
    for r in page_examples(html_page(records)):
        texts = published.texts_of(r)
        lines.append(f"examples.jsonl#{r['id']},{hashlib.sha256(texts).hexdigest()},{len(texts)},index.html")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(published, "MANIFEST", tmp_path / "manifest.csv")
    monkeypatch.setattr(web, "PAUSE", 0.001)
    site = Host()
    site.files = {f"/repo/{name}": data for name, data in files.items()}
    yield site
    site.close()


def run(site: Host, root: Path, *more: str) -> int:
    return main(["published", "--data-root", str(root), "--base-url", f"{site.url}/repo", *more])


def test_everything_is_fetched_checked_and_readable_as_the_published_suite(site, tmp_path, capsys):
    assert run(site, tmp_path / "data") == 0
    printed = capsys.readouterr()
    assert "No licence is stated" in " ".join(printed.out.split()) and "151 files fetched" in printed.out
    assert "151 of 151 files" in printed.err and "published: 150 of 150 images as released" in printed.out
    data = Published("gier", tmp_path / "data" / "published", DataSettings())
    assert len(data.examples()) == len(data.outputs("lgie")) == 6
    assert data.expressive_instructions("mgie")["gier/published/2"] == 'It is MGIE: "gier" 2 & more'
    assert data.examples()[2].instruction == "edit gier 2"  # white space as a browser shows it
    assert not list((tmp_path / "data").rglob(".*"))  # no temporary file is left


def test_a_second_run_asks_for_nothing(site, tmp_path, capsys):
    run(site, tmp_path)
    site.count.clear()
    assert run(site, tmp_path) == 0
    assert not site.count and "0 files fetched, 151 there and right before" in capsys.readouterr().out


def test_only_what_is_missing_or_wrong_is_fetched_again(site, tmp_path):
    run(site, tmp_path)
    site.count.clear()
    folder = tmp_path / "published"
    (folder / "evr" / "3_goal.jpg").unlink()
    (folder / "ma5k" / "0_mgie.jpg").write_bytes(b"half")
    same_size = folder / "gier" / "1_lgie.jpg"
    same_size.write_bytes(bytes(len(same_size.read_bytes())))
    (folder / "examples.jsonl").write_text("{}\n")
    assert run(site, tmp_path) == 0
    names = ("_qual/evr_3_answer.jpg", "_qual/ma5k_0_mgie.jpg", "_qual/gier_1_lgie.jpg", "index.html")
    assert set(site.count) == {f"/repo/{name}" for name in names}


def test_the_sample_fetches_the_first_three_of_four_sets(site, tmp_path):
    assert run(site, tmp_path, "--split", "sample") == 0
    assert len(site.count) == 61
    Published("evr", tmp_path / "published", DataSettings(split="sample")).outputs("mgie")


def test_a_wrong_file_is_refused_named_with_both_hashes_and_never_stored(site, tmp_path, capsys):
    right = site.files["/repo/_qual/evr_0_mgie.jpg"]
    site.files["/repo/_qual/evr_0_mgie.jpg"] = bytes(len(right))
    assert run(site, tmp_path) == 1
    said = capsys.readouterr().err
    assert "evr/0_mgie.jpg" in said and hashlib.sha256(right).hexdigest() in said
    assert hashlib.sha256(bytes(len(right))).hexdigest() in said
    assert not (tmp_path / "published" / "evr" / "0_mgie.jpg").exists()
    assert (tmp_path / "published" / "evr" / "1_mgie.jpg").exists()  # the others are fetched all the same
    assert site.count["/repo/_qual/evr_0_mgie.jpg"] == 1


def test_a_file_larger_than_listed_is_refused(site, tmp_path, capsys):
    site.files["/repo/_qual/evr_0_mgie.jpg"] += b"x"
    assert run(site, tmp_path) == 1
    assert "larger than the 1,280 bytes" in capsys.readouterr().err


def test_a_missing_file_is_named_and_the_next_run_completes_the_set(site, tmp_path, capsys):
    data = site.files.pop("/repo/_qual/gier_2_input.jpg")
    assert run(site, tmp_path) == 1
    said = capsys.readouterr().err
    assert "missing: gier/2_input.jpg: the server answers 404" in said and "the same command" in said
    assert site.count["/repo/_qual/gier_2_input.jpg"] == 1  # asking again would not help
    site.files["/repo/_qual/gier_2_input.jpg"] = data
    assert run(site, tmp_path) == 0


@pytest.mark.parametrize("fault", [("cut", 0), ("cut", 500), "drop", 503])
def test_a_broken_transfer_is_tried_again(site, tmp_path, fault):
    site.faults["/repo/_qual/ma5k_1_input.jpg"] = lambda count: fault if count < 3 else None
    assert run(site, tmp_path) == 0
    assert site.count["/repo/_qual/ma5k_1_input.jpg"] == 3


@pytest.mark.parametrize("fault", [("cut", 0), "drop", 503])
def test_a_transfer_that_stays_broken_is_given_up_and_named(site, tmp_path, capsys, fault):
    site.faults["/repo/_qual/ma5k_1_input.jpg"] = lambda count: fault
    assert run(site, tmp_path) == 1
    assert "ma5k/1_input.jpg" in (said := capsys.readouterr().err) and re.search(f"{web.TRIES} (times|tries)", said)
    assert not (tmp_path / "published" / "ma5k" / "1_input.jpg").exists()


def test_a_changed_page_is_refused_and_named(site, tmp_path, capsys):
    site.files["/repo/index.html"] = site.files["/repo/index.html"].replace(b'MGIE: "evr" 4', b'MGIE: "eve" 4')
    site.files["/repo/index.html"] = site.files["/repo/index.html"].replace(b"LGIE, evr 4", b"LGIE, eve 4")
    assert run(site, tmp_path) == 1
    assert "the texts of evr/published/4" in capsys.readouterr().err
    assert not (tmp_path / "published" / "examples.jsonl").exists()


@pytest.mark.parametrize("page", [b"", b"<html>", b"\xff\xfe", b"<tr><td>" * 1000])
def test_a_page_that_is_not_the_project_page_is_refused(site, tmp_path, capsys, page):
    site.files["/repo/index.html"] = page
    assert run(site, tmp_path, "--split", "sample") == 1
    assert "examples.jsonl" in capsys.readouterr().err


def test_a_mirror_that_is_a_folder_will_do(site, tmp_path, capsys):
    for name, data in site.files.items():
        path = tmp_path / "copy" / name.replace("/repo/", "published/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "copy" / "published" / "_qual" / "evr_0_mgie.jpg").unlink()
    assert main(["published", "--data-root", str(tmp_path), "--mirror", str(tmp_path / "copy")]) == 1
    assert "missing: evr/0_mgie.jpg: " in capsys.readouterr().err
    assert len(Published("gier", tmp_path / "published", DataSettings()).outputs("mgie")) == 6
    assert not site.count


def test_no_server_at_all_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.0001)
    assert main(["published", "--data-root", str(tmp_path), "--base-url", "http://127.0.0.1:9"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith("no network: http://127.0.0.1:9 could not be reached")
    assert said[0].endswith("151 files of published wait for it")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["evr", "nothing-such"],
        ["published", "--base-url", "file:///etc"],
        ["published", "--base-url", "x"],
        ["published", "--split", "x"],
    ],
)
def test_wrong_use_exits_with_two(arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2


def test_a_data_root_that_is_a_file_is_wrong_use(tmp_path, capsys):
    (tmp_path / "data").write_text("")
    with pytest.raises(SystemExit) as stop:
        main(["published", "--data-root", str(tmp_path / "data")])
    assert stop.value.code == 2 and "is a file" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_file(), reason="the authors' texts are not here")
def test_the_real_pages_rows_become_the_known_texts():
    records = [json.loads(line) for line in SHARED.read_text().splitlines()]
    assert page_examples(html_page(records)) == records
    listed = {path: row for path, row in published.manifest().items() if "#" in path}
    check_texts(records, listed)
