"""The command as a whole: everything Table 1 needs from one mirror, laid out so that datasets and models read it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import official_files
import pytest
from drawn import draw_magicbrush_hub
from hosts import Host, thing, write_sources
from mirrored import DATASETS, draw_datasets, undigested

from bench.datasets.evr import EVR
from bench.datasets.gier import GIER
from bench.datasets.ma5k import MA5k
from bench.datasets.magicbrush import MagicBrush
from bench.fetch import sources, told
from bench.fetch.__main__ import main
from bench.fetch.fetching import Options
from bench.fetch.places import Folder, digest
from bench.settings import DataSettings
from mgie.convert import released

SOURCES = Path(__file__).parents[4] / "shared" / "docs" / "SOURCES.md"
LAYOUT = {".fetched.json", "TERMS.md"}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A lab's copy of the datasets, each under the names of its source."""
    root = tmp_path_factory.mktemp("copy")
    draw_datasets(root)
    draw_magicbrush_hub(root / "magicbrush")
    return root


@pytest.mark.parametrize("at_an_address", [True, False])
def test_the_datasets_from_a_mirror_are_read_by_the_datasets_and_audited(copy, tmp_path, capfd, at_an_address):
    host, mirror = Host(), str(copy)
    if at_an_address:
        host.serve(copy, "/lab")
        mirror = f"{host.url}/lab"
    table = undigested(DATASETS, tmp_path / "sources.toml")
    command = [*DATASETS, "--mirror", mirror, "--data-root", str(tmp_path / "data"), "--sources", str(table)]
    assert main([*command[:3], *command[4:]]) == 0
    assert main(["magicbrush", "--split", "test", *command[4:]]) == 0
    host.close()
    printed = capfd.readouterr().out
    missing = "images missing: 1 of 12"  # drawn so
    assert f"evr test: 6 records in 6 unique pairs, {missing}; not the released file (SHA-256 " in printed
    assert "magicbrush test: 19 turns in 10 sessions, turns: 19, officially 1,053" in printed
    sizes = {EVR: 18, GIER: 11, MA5k: 10, MagicBrush: 19}
    for kind, count in sizes.items():
        data = kind(tmp_path / "data" / kind.name, DataSettings(split="test"))
        examples = data.examples()
        assert len(examples) == count or kind is GIER
        there = [example for example in examples if example.input_image.is_file() and example.goal_image.is_file()]
        assert len(there) >= len(examples) - 3 and there


def test_table1_is_all_that_table_1_needs_each_once_and_of_magicbrush_the_test_set_alone():
    things = sources.chosen(sources.read(), ["table1", "inspix2pix", "mgie"])
    assert [source.name for source in things] == [*DATASETS, "inspix2pix", "mgie", "networks"]
    assert [row.name for row in things[3].files] == ["test.zip"]
    assert [row.part for row in sources.chosen(sources.read(), ["magicbrush:dev"])[0].files] == ["dev"]


def test_the_terms_name_licence_source_and_date(copy, tmp_path, capsys):
    table = undigested(["ma5k"], tmp_path / "sources.toml")
    main(["ma5k", "--mirror", str(copy), "--data-root", str(tmp_path), "--sources", str(table)])
    terms = (tmp_path / "ma5k" / "TERMS.md").read_text()
    assert "Licence: FiveK's: research only" in terms and "https://drive.google.com/uc?id=1nv6" in terms
    assert re.search(r"Since \d{4}-\d{2}-\d{2}", terms)
    assert "research only" in capsys.readouterr().out


def test_parquet_sets_say_how_many_rows_they_have(tmp_path, capsys):
    folder = draw_magicbrush_hub(tmp_path / "copy" / "thing")
    files = sum(1 for _ in (folder / "data").iterdir())
    one = {"name": "data/dev-*.parquet", "how": "hub", "repo": "a/b", "kind": "dataset", "revision": "main"}
    for official, said in ((7, "as released"), (528, "officially 528")):
        table = write_sources(tmp_path / "sources.toml", {"thing": thing(one, rows={"data/dev-": official})})
        root = tmp_path / str(official)
        assert (
            main(["thing", "--mirror", str(tmp_path / "copy"), "--data-root", str(root), "--sources", str(table)]) == 0
        )
        assert re.search(rf"thing dev: 7 rows in {files} files, {said}", capsys.readouterr().out)


@pytest.mark.slow
def test_mgie_is_fetched_converted_and_said_not_to_be_the_released_one(tmp_path):
    """Tiny random weights in the official layout, given as a user's folder."""
    own, weights = tmp_path / "own", tmp_path / "weights"
    official_files.write(official_files.pipeline(), own / "mgie")
    (own / "inspix2pix").mkdir()
    for part in ("unet", "vae", "scheduler"):
        shutil.copytree(own / "mgie" / "instruct-pix2pix" / part, own / "inspix2pix" / part)
    with tarfile.open(own / "mgie" / "llava.tar", "w") as archive:
        archive.add(own / "mgie" / "llava", "LLaVA-7B-v1")
    shutil.copytree(own / "mgie" / "llava" / "tower", own / "mgie" / "clip")
    shutil.rmtree(own / "mgie" / "llava")
    shutil.rmtree(own / "mgie" / "instruct-pix2pix")
    data = tomllib.loads(undigested(["inspix2pix", "mgie"], tmp_path / "sources.toml").read_text())
    data["inspix2pix"]["files"] = [
        {**data["inspix2pix"]["files"][0], "name": path.relative_to(own / "inspix2pix").as_posix()}
        for path in (own / "inspix2pix").rglob("*.*")
    ]
    table = write_sources(tmp_path / "sources.toml", data)
    command = [sys.executable, "-m", "bench.fetch", "mgie", "--weights", str(weights), "--mirror", str(own)]
    done = subprocess.run([*command, "--sources", str(table)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (weights / "mgie-e2e" / "model_index.json").is_file()
    record = json.loads((weights / "mgie-e2e" / "conversion.json").read_text())
    for name in ("mllm.pt", "unet.pt"):
        assert record["released"][name] == f"not the released file (SHA-256 {record[name.removesuffix('.pt')]})"
        assert f"{name}: not the released file" in done.stdout
    assert f"mgie: mllm.pt: not the released file (SHA-256 {record['mllm']})" in done.stdout
    for name, sha256 in record["llava"].items():
        assert f"mgie: {name}: not the released file (SHA-256 {sha256})" in done.stdout
    assert "mgie: clip/model.safetensors: no released digest of it is known (SHA-256 " in done.stdout
    assert subprocess.run([*command, "--sources", str(table)], capture_output=True, check=False).returncode == 0


def test_a_file_of_weights_is_as_released_or_named_with_its_digest():
    mllm = next(iter(released.known()["mllm.pt"]))
    assert released.verdict("mgie_7b/mllm.pt", mllm) == "as released"
    assert released.verdict("mllm.pt", "ab" * 32) == f"not the released file (SHA-256 {'ab' * 32})"
    assert released.verdict("alexnet-owt-7be5be79.pth", "7be5be79" + "0" * 56) == "as released"
    merged = [released.verdict("pytorch_model-00001-of-00002.bin", d) for d in
              released.known()["pytorch_model-00001-of-00002.bin"]]  # fmt: skip
    assert len(merged) == 2 and all(said.startswith("as released (LLaVA-7B-v1 as ") for said in merged)
    assert "no released digest" in released.verdict("my.bin", "ab" * 32)


def test_the_sources_and_the_table_of_released_weights_agree():
    rows = [row for source in sources.read().values() if source.root == "weights" for row in source.files]
    stated = {row.name: row.sha256 for row in rows if row.sha256}
    assert len(stated) == 8
    for name, sha256 in stated.items():
        assert list(released.known()[name]) == [sha256]


def test_every_row_is_whole_and_what_comes_by_hand_has_its_steps():
    known = sources.read()
    for source in (source for source in known.values() if not source.together):
        assert source.licence and source.terms and source.files and len(source.licence) <= 27
        for row in source.files:
            assert row.steps or row.how != "hand"
            re.compile(row.take), re.compile(row.beside)
    assert {other.partition(":")[0] for other in known["table1"].together} < set(known)


@pytest.mark.skipif(not SOURCES.is_file(), reason="the collection of sources is not here")
def test_every_address_stands_in_the_collection_of_sources():
    text = SOURCES.read_text(encoding="utf-8")
    for source in sources.read().values():
        for row in source.files:
            if row.mark == "secondary" or row.how == "page":
                continue
            keys = (
                [row.repo.rpartition("/")[2]]
                if row.repo
                else [part for part in re.split(r"[/?]", row.address) if len(part) > 20]
            )
            keys = keys or [row.address.removeprefix("https://").rpartition("/")[2]]
            keys = [re.sub(r"^(?:train|val|test)_", "", key) for key in keys]  # some stand as {train,val,test}_
            assert all(key in text for key in keys), (source.name, row.name, keys)
            assert row.sha256 in text and row.revision.replace("main", "") in text and row.commit in text


def test_the_list_fits_and_tells_what_is_there(copy, tmp_path, capsys):
    assert main(["--list", "--data-root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert max(map(len, printed)) <= 100
    by_name = {line.split()[0]: line for line in printed if line and not line.startswith(" ")}
    assert set(sources.read()) <= set(by_name)
    assert "by hand: test (password)" in by_name["magicbrush"] and "24.8 GB" in by_name["magicbrush"]
    assert by_name["evr"].endswith("nothing") and "none stated: users' posts" in by_name["evr"]
    addresses = "".join(line.strip() for line in printed if line.startswith("    "))
    for row in sources.read()["magicbrush"].files:
        assert row.where in addresses and "[seen]" in addresses
    table = undigested(["evr"], tmp_path / "sources.toml")
    main(["evr", "--mirror", str(copy), "--data-root", str(tmp_path), "--sources", str(table)])
    evr = sources.read(table)
    assert re.search(r"^evr .* all$", told.shown(evr, Options(tmp_path, tmp_path)), re.MULTILINE)
    (tmp_path / "evr" / "dataset" / "adobe" / "test.json").unlink()
    assert re.search(r"^evr .* 3 of 4$", told.shown(evr, Options(tmp_path, tmp_path)), re.MULTILINE)


def test_the_list_fits_whatever_is_there(tmp_path, capsys):
    for source in (source for source in sources.read().values() if not source.together):
        folder = Folder((tmp_path / "data" if source.root == "data" else tmp_path / "weights") / source.folder)
        for row in source.files[:-1] or source.files:
            for name in [row.name.replace("*", f"{i:05d}") for i in range(262)][: 262 if row.listed else 1]:
                folder.place(name).parent.mkdir(parents=True, exist_ok=True)
                folder.place(name).write_bytes(b"x")
                folder.keep(name, digest(folder.place(name)))
    assert main(["--list", "--data-root", str(tmp_path / "data"), "--weights", str(tmp_path / "weights")]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100 and "262 so far" in printed and "parts of 2" in printed


def test_the_list_says_all_of_what_is_whole_alone(tmp_path):
    """A set that --limit-gb cut, one that broke off, an archive whose files were removed, a file cut short."""
    one = {"name": "data/a-*.parquet", "how": "hub", "repo": "a/b", "revision": "main"}
    packed = {"name": "images.zip", "how": "http", "address": "http://127.0.0.1:9/a", "take": "x"}
    plain = {"name": "unet.pt", "how": "http", "address": "http://127.0.0.1:9/a"}

    def said(row: dict) -> str:
        known = sources.read(write_sources(tmp_path / "s.toml", {"thing": thing(row)}))
        return told.here(known["thing"], Options(tmp_path, tmp_path))

    folder = Folder(tmp_path / "thing")
    for name in ("data/a-0.parquet", "images/1.png", "unet.pt"):
        folder.place(name).parent.mkdir(parents=True, exist_ok=True)
        folder.place(name).write_bytes(b"weights")
        folder.keep(name, digest(folder.place(name)))
    assert said(one) == "1 so far"
    for limit, words in ((1e9, "first 1"), (None, "all")):
        folder.known[one["name"]] = {"files": ["data/a-0.parquet"], "limit": limit}
        folder.save()
        assert said(one) == words
    folder.keep_unpacked("images.zip", ["images/1.png"], None, "by hand")
    assert said(packed) == said(plain) == "all"
    folder.place("images/1.png").unlink()
    folder.place("unet.pt").write_bytes(b"weight")
    assert said(packed) == said(plain) == "nothing"


def test_the_command_starts_without_torch_and_in_a_moment():
    code = (
        "import sys, bench.fetch.__main__; print(sorted({'torch', 'datasets', 'pyarrow', 'gdown'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "what to fetch is missing"),
        (["nothing-such"], "nothing is called 'nothing-such'"),
        (["magicbrush", "--split", "exam"], "magicbrush has no part 'exam'; it has all, test, dev, train"),
        (["evr", "--split", "test"], "--split test: none of evr has parts"),
        (["evr", "--split", "sample"], "--split sample is of published"),
        (["evr", "--from", "/not/there"], "--from /not/there: there is no such file or folder"),
        (["evr", "--mirror", "/not/there"], "--mirror /not/there: no such folder"),
        (["evr", "--mirror", "ftp://host"], "expected an http:// or https:// address"),
        (["ipr2pr", "--limit-gb", "0"], "--limit-gb 0.0: expected more than 0"),
        (["evr", "--sources", "/not/there"], "no table of sources"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(arguments, word, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and word in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"sha265": "ab"}, "sha265"),
        ({"how": "ftp"}, "how is 'ftp'"),
        ({"mark": "hearsay"}, "mark is 'hearsay'"),
        ({"sha256": "abc"}, "expected 64 hexadecimal digits"),
    ],
)
def test_a_slip_in_the_table_is_refused_by_name(tmp_path, change, word):
    row = {"name": "a.bin", "how": "http", "address": "http://127.0.0.1:9/a", **change}
    with pytest.raises(ValueError, match=re.escape(word)):
        sources.read(write_sources(tmp_path / "s.toml", {"thing": thing(row)}))
