"""The Hub, Google Drive, a lab's mirror and what a user gives: each kind of source by its own ways."""

import hashlib
import random
import tarfile
from pathlib import Path

import pytest
from hosts import COMMIT, QUOTA, redirect
from zips import tarred, write_encrypted, zipped

LARGE, SMALL = random.Random(0).randbytes(50_000), b'{"small": true}'
PICTURES = {f"photos/{i}_{n}.png": random.Random(i).randbytes(900) for i in range(3) for n in ("in", "out")}
TAKE = r"(?:^|/)\d_(?:in|out)\.png$"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.endswith(": there")]


HUB = {"how": "hub", "repo": "who/model", "revision": "main"}
SET = {"how": "hub", "repo": "who/data", "kind": "dataset", "revision": "main", "name": "data/train-*.parquet"}
HAND = {"name": "images.zip", "how": "hand", "address": "https://example.invalid/x", "steps": "download the zip"}


def test_the_hubs_files_are_checked_by_its_own_digests_and_the_commit_is_said(hub_fetch, host, tmp_path):
    host.hub("who/model", {"sub/big.bin": LARGE, "config.json": SMALL, "other.bin": LARGE})
    rows = [{**HUB, "name": "big.bin", "path": "sub/big.bin", "sha256": digest(LARGE)}, {**HUB, "name": "config.json"}]
    done = hub_fetch(*rows)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "thing" / "big.bin").read_bytes() == LARGE
    assert (tmp_path / "thing" / "config.json").read_bytes() == SMALL
    assert f"who/model: no commit is pinned; its main is {COMMIT[:12]}" in done.stdout
    asked = dict(host.count)
    assert hub_fetch(*rows).returncode == 0 and host.count == asked  # the second time nobody is asked


@pytest.mark.parametrize("name", ["big.bin", "config.json"])
def test_a_file_that_is_not_what_the_hub_says_is_refused(hub_fetch, host, tmp_path, name):
    host.hub("who/model", {"big.bin": LARGE, "config.json": SMALL})
    path = f"/who/model/resolve/{COMMIT}/{name}"
    host.files[path] = bytes(len(host.files[path]))
    done = hub_fetch({**HUB, "name": "big.bin"}, {**HUB, "name": "config.json"})
    assert done.returncode == 1
    assert len([line for line in lines(done.stderr) if name in line and "expected" in line]) == 1
    assert not list((tmp_path / "thing").glob(f"{name}*"))


def test_another_file_than_the_released_one_is_refused_before_it_comes(hub_fetch, host):
    host.hub("who/model", {"big.bin": LARGE})
    done = hub_fetch({**HUB, "name": "big.bin", "sha256": digest(b"released")})
    assert done.returncode == 1 and f"released was {digest(b'released')}" in done.stderr
    assert not host.sent(f"/who/model/resolve/{COMMIT}/big.bin")


def test_a_file_that_a_repository_lacks_or_has_otherwise_costs_that_file_alone(hub_fetch, host, tmp_path):
    host.hub("who/model", {"big.bin": LARGE, "config.json": SMALL})
    wrong = {**HUB, "name": "wrong.bin", "path": "big.bin", "sha256": digest(b"released")}
    done = hub_fetch({**HUB, "name": "absent.bin"}, wrong, {**HUB, "name": "config.json"})
    said = [line.partition(": ")[2] for line in lines(done.stderr) if line.startswith("missing: ")]
    assert done.returncode == 1 and [line.partition(":")[0] for line in said] == ["absent.bin", "wrong.bin"]
    assert "has no file absent.bin" in said[0] and "released was" in said[1]
    assert (tmp_path / "thing" / "config.json").read_bytes() == SMALL


def test_a_hub_that_falters_is_asked_for_its_list_again(hub_fetch, host, tmp_path):
    host.hub("who/model", {"big.bin": LARGE})
    host.faults["/api/models/who/model/revision/main"] = lambda count: 503 if count <= 2 else None
    done = hub_fetch({**HUB, "name": "big.bin"})
    assert done.returncode == 0 and (tmp_path / "thing" / "big.bin").read_bytes() == LARGE, done.stderr


def test_a_set_is_fetched_by_the_hubs_list_and_cut_by_its_size(hub_fetch, host, tmp_path):
    shards = {f"data/train-{i}-of-4-abc.parquet": random.Random(i).randbytes(40_000) for i in range(4)}
    host.hub("who/data", {**shards, "data/dev-0-of-1-abc.parquet": LARGE, "README.md": SMALL}, "dataset")
    done = hub_fetch(SET, flags=("--limit-gb", "0.0001"))
    assert done.returncode == 0, done.stderr
    got = sorted(path.name for path in (tmp_path / "thing" / "data").iterdir())
    assert got == ["train-0-of-4-abc.parquet", "train-1-of-4-abc.parquet"]
    assert "leaves out data/train-2-of-4-abc.parquet" in done.stdout
    assert hub_fetch(SET).returncode == 0
    for name, data in shards.items():
        assert (tmp_path / "thing" / name).read_bytes() == data
        assert host.sent(f"/datasets/who/data/resolve/{COMMIT}/{name}") == len(data)


def test_a_repository_that_is_not_there_and_a_hub_that_is_not_there_are_a_line_each(hub_fetch, host):
    done = hub_fetch({**HUB, "name": "big.bin"})
    assert done.returncode == 1 and "the Hub has no model who/model" in lines(done.stderr)[0]
    host.close()
    done = hub_fetch({**HUB, "name": "big.bin"}, {**HUB, "name": "config.json"})
    assert len(lines(done.stderr)) == 1 and "no network: the Hub" in done.stderr
    assert "2 files of thing wait for it" in done.stderr


@pytest.fixture
def drive(host, monkeypatch):
    redirect(host.url, monkeypatch.setattr)
    return {"name": "images.zip", "how": "drive", "address": "1abc", "take": TAKE, "into": "images"}


def test_drives_confirm_page_is_answered_and_the_zip_is_laid_out(fetch, drive, host, tmp_path):
    host.drive("1abc", zipped(PICTURES, tmp_path / "x.zip").read_bytes())
    assert fetch(drive) == 0
    for name, data in PICTURES.items():
        assert (tmp_path / "thing" / "images" / Path(name).name).read_bytes() == data
    assert not list((tmp_path / "thing").glob("images.zip*"))  # what it held is laid out; the zip itself is gone
    asked = dict(host.count)
    assert fetch(drive) == 0 and host.count == asked


def test_drives_quota_is_named_with_the_way_by_a_browser(fetch, drive, host, capsys):
    host.files["/drive.google.com/uc?id=1abc"] = QUOTA.encode()
    assert fetch(drive) == 1
    said = [line for line in lines(capsys.readouterr().err) if line.startswith("missing: images.zip")]
    assert len(said) == 1 and "quota" in said[0] and "--from" in said[0]


def test_drive_goes_on_where_a_transfer_broke_off(fetch, drive, host, tmp_path, monkeypatch):
    data = zipped(
        PICTURES | {"photos/3_in.png": random.Random(9).randbytes(2_000_000)}, tmp_path / "x.zip"
    ).read_bytes()
    host.drive("1abc", data)
    path = "/drive.usercontent.google.com/download?id=1abc"
    host.faults[path] = lambda count: ("cut", 1_200_000) if count == 1 else None
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)  # gdown's pause between two tries
    assert fetch(drive) == 0
    assert max(asked.start for asked in host.log if asked.path == path) >= 1_000_000
    assert (tmp_path / "thing" / "images" / "3_in.png").stat().st_size == 2_000_000


def test_a_later_command_goes_on_where_a_transfer_from_drive_broke_off(fetch, drive, host, tmp_path, monkeypatch):
    many = PICTURES | {"photos/3_in.png": random.Random(9).randbytes(2_000_000)}
    host.drive("1abc", zipped(many, tmp_path / "x.zip").read_bytes())
    path = "/drive.usercontent.google.com/download?id=1abc"
    host.faults[path] = lambda count: ("cut", 1_200_000) if count == 1 else "drop"
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)
    assert fetch(drive) == 1
    assert not (tmp_path / "thing" / "images").exists()
    host.log.clear()
    del host.faults[path]
    assert fetch(drive) == 0
    assert max(asked.start for asked in host.log if asked.path == path) >= 1_000_000
    assert len(list((tmp_path / "thing" / "images").iterdir())) == 7
    assert not list((tmp_path / "thing").glob("images.zip*"))


def test_a_mirror_at_an_address_gives_files_archives_and_sets(fetch, host, tmp_path):
    shards = {f"data/train-{i}.parquet": random.Random(i).randbytes(2000) for i in range(3)}
    host.files |= {f"/copy/thing/{name}": data for name, data in shards.items()}
    host.files["/copy/thing/index.txt"] = "".join(f"{name} 2000\n" for name in shards).encode()
    host.files["/copy/thing/images.zip"] = zipped(PICTURES, tmp_path / "x.zip").read_bytes()
    host.files["/copy/thing/big.bin"] = LARGE
    rows = ({**HUB, "name": "big.bin", "sha256": digest(LARGE)}, {**HAND, "take": TAKE, "into": "images"}, SET)
    assert fetch(*rows, flags=("--mirror", f"{host.url}/copy")) == 0
    folder = tmp_path / "thing"
    assert (folder / "big.bin").read_bytes() == LARGE and len(list((folder / "images").iterdir())) == 6
    assert {name: (folder / name).read_bytes() for name in shards} == shards


@pytest.mark.parametrize("line", ["../../evil.parquet 5", "data/train-1.parquet", "/etc/train-1.parquet 7"])
def test_a_mirrors_list_cannot_name_files_elsewhere(fetch, host, capsys, line):
    host.files["/copy/thing/index.txt"] = f"{line}\n".encode()
    assert fetch(SET, flags=("--mirror", f"{host.url}/copy")) == 1
    assert "is not a name below its folder" in capsys.readouterr().err


def test_a_mirror_that_is_a_folder_is_copied_and_checked(fetch, tmp_path, capsys):
    own = tmp_path / "copy" / "thing"
    (own / "data").mkdir(parents=True)
    (own / "data" / "train-0.parquet").write_bytes(LARGE)
    (own / "big.bin").write_bytes(LARGE)
    rows = ({**HUB, "name": "big.bin", "sha256": digest(LARGE)}, SET)
    assert fetch(*rows, flags=("--mirror", tmp_path / "copy")) == 0
    assert (tmp_path / "thing" / "data" / "train-0.parquet").read_bytes() == LARGE
    assert fetch(*rows, {**HUB, "name": "more.bin"}, flags=("--mirror", tmp_path / "copy")) == 1
    assert "missing: more.bin: the mirror" in capsys.readouterr().err


def test_what_no_machine_may_fetch_is_a_numbered_instruction(fetch, capsys):
    assert fetch({**HAND, "take": TAKE, "into": "images"}) == 1
    said = capsys.readouterr().err
    assert "1. open https://example.invalid/x in a browser" in said and "2. download the zip" in said
    assert "3. python -m bench.fetch thing --data-root" in said and "--from FILE_OR_DIR" in said
    assert fetch({**HAND, "part": "test"}, {**SET, "part": "train"}, flags=("--split", "test")) == 1
    assert "2. download the zip" in (said := capsys.readouterr().err) and "bench.fetch thing:test --data-root" in said


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_from_takes_an_archive_and_leaves_it_as_it_is(fetch, tmp_path, capsys, pack):
    end = {zipped: "zip", tarred: "tar.gz"}[pack]
    archive = pack(
        PICTURES | {"photos/readme.txt": b"no", "__MACOSX/photos/._0_in.png": b"junk"}, tmp_path / f"y.{end}"
    )
    before = archive.read_bytes()
    assert fetch({**HAND, "take": TAKE, "into": "images"}, flags=("--from", archive)) == 0
    assert sorted(p.name for p in (tmp_path / "thing" / "images").iterdir()) == sorted(Path(n).name for n in PICTURES)
    assert archive.read_bytes() == before and "thing/images.zip: there\n" in capsys.readouterr().err
    assert fetch({**HAND, "take": TAKE, "into": "images"}) == 0  # there now


def test_from_takes_a_folder_with_archives_and_single_files_in_it(fetch, tmp_path):
    own = tmp_path / "downloads"
    (own / "deep").mkdir(parents=True)
    zipped(PICTURES, own / "deep" / "whatever it is called.zip")
    (own / "big (1).bin").write_bytes(b"another")
    (own / "deep" / "big.bin").write_bytes(LARGE)
    rows = ({**HUB, "name": "big.bin", "sha256": digest(LARGE)}, {**HAND, "take": TAKE, "into": "images"})
    assert fetch(*rows, flags=("--from", own)) == 0
    assert (tmp_path / "thing" / "big.bin").read_bytes() == LARGE
    assert len(list((tmp_path / "thing" / "images").iterdir())) == 6


def test_from_refuses_a_file_of_the_right_name_and_another_digest(fetch, tmp_path, capsys):
    (tmp_path / "big.bin").write_bytes(LARGE)
    assert fetch({**HUB, "name": "big.bin", "sha256": digest(b"x")}, flags=("--from", tmp_path / "big.bin")) == 1
    assert f"its SHA-256 is {digest(LARGE)}, expected {digest(b'x')}" in capsys.readouterr().err
    assert (tmp_path / "big.bin").read_bytes() == LARGE and not (tmp_path / "thing" / "big.bin").exists()


def test_from_names_a_file_of_another_size_that_it_does_not_take(fetch, tmp_path, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "big.bin").write_bytes(LARGE[:-1])
    assert fetch({**HUB, "name": "big.bin", "bytes": len(LARGE)}, flags=("--from", tmp_path / "own")) == 1
    assert "big.bin has 49,999 bytes, expected 50,000: not taken" in capsys.readouterr().out
    assert not (tmp_path / "thing" / "big.bin").exists()


def test_from_with_nothing_that_fits_says_what_was_expected(fetch, tmp_path, capsys):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "half.zip").write_bytes(b"PK")  # an unfinished download of something else
    assert fetch({**HAND, "take": TAKE, "into": "images"}, flags=("--from", tmp_path / "own")) == 1
    printed = capsys.readouterr()
    assert "--from has nothing that fits: images.zip" in printed.out and "missing: half.zip: " in printed.err
    assert ": there" not in printed.err


BESIDE = {**HAND, "beside": "list\\.json", "take": r"^(?P<keep>list\.json|images/[^/]+)$", "into": "test"}


def test_a_zip_with_a_password_is_opened_and_laid_out_around_its_list(fetch, tmp_path, capsys):
    files = {"any/test/list.json": b"[]", "any/test/images/1.png": b"one", "any/readme.txt": b"no"}
    archive = write_encrypted(tmp_path / "a.zip", files, "MagicBrush")
    assert fetch({**BESIDE, "password": "wrong"}, flags=("--from", archive)) == 1
    assert "Bad password" in capsys.readouterr().err
    assert not (tmp_path / "thing" / "test").exists()
    assert fetch({**BESIDE, "password": "MagicBrush"}, flags=("--from", archive)) == 0
    got = {p.relative_to(tmp_path / "thing" / "test").as_posix() for p in (tmp_path / "thing" / "test").rglob("*.*")}
    assert got == {"list.json", "images/1.png"}


@pytest.mark.parametrize("name", ["../evil_in.png", "/etc/0_in.png", "a/../../0_in.png", "C:/0_in.png", "a\\0_in.png"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_that_would_write_outside_is_refused_whole(fetch, tmp_path, capsys, pack, name):
    archive = pack({**PICTURES, name: b"evil"}, tmp_path / ("z.zip" if pack is zipped else "z.tar.gz"))
    assert fetch({**HAND, "take": r"\.png$", "into": "images"}, flags=("--from", archive)) == 1
    said = [line for line in lines(capsys.readouterr().err) if line.startswith("missing: ")]
    assert len(said) == 1 and "would lead out of its folder" in said[0]
    assert not (tmp_path / "thing" / "images").exists() and not list(tmp_path.rglob("*evil*"))


def test_links_in_archives_are_refused(fetch, tmp_path, capsys):
    archive = tarred(PICTURES, tmp_path / "z.tar.gz")
    with tarfile.open(archive, "w:gz") as opened:
        info = tarfile.TarInfo("photos/0_in.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(info)
    assert fetch({**HAND, "take": TAKE, "into": "images"}, flags=("--from", archive)) == 1
    assert "is a link or a device; refused" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [0, 10, 400, -40])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_damaged_archive_is_one_line_and_is_fetched_anew(fetch, host, tmp_path, capsys, pack, cut):
    name = "z.zip" if pack is zipped else "z.tar.gz"
    whole = pack(PICTURES, tmp_path / name).read_bytes()
    row = {"name": name, "how": "http", "address": f"{host.url}/{name}", "take": TAKE, "into": "images"}
    host.files[f"/{name}"] = whole[:cut]
    assert fetch(row) == 1
    said = [line for line in lines(capsys.readouterr().err) if line.startswith("missing: ")]
    assert len(said) == 1 and "z." in said[0]
    assert not (tmp_path / "thing" / "images").exists()
    host.files[f"/{name}"] = whole
    assert fetch(row) == 0
    assert len(list((tmp_path / "thing" / "images").iterdir())) == 6


def test_a_changed_byte_in_a_zip_is_found_by_its_check_sum(fetch, tmp_path, capsys):
    archive = zipped(PICTURES, tmp_path / "z.zip")
    data = bytearray(archive.read_bytes())
    data[100] ^= 1
    archive.write_bytes(data)
    assert fetch({**HAND, "take": TAKE, "into": "images"}, flags=("--from", archive)) == 1
    assert "damaged or cut short" in capsys.readouterr().err
    assert not (tmp_path / "thing" / "images").exists()
