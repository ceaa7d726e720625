"""Transfers of plain files: continued after a kill, tried again where a host falters, refused in one line."""

import errno
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest
from hosts import Host, thing, write_sources

from bench.fetch import fetching, web
from bench.fetch.__main__ import main
from mgie.io.files import locked

DATA = random.Random(0).randbytes(300_000)
SMALL = b"something small"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def row(host: Host, name: str, data: bytes, **more: object) -> dict:
    host.files[f"/{name}"] = data
    stated = {"bytes": len(data), "sha256": digest(data)}
    return {"name": name, "how": "http", "address": f"{host.url}/{name}", **stated, **more}


@pytest.fixture
def fetch(tmp_path, host):
    """Runs the command on a table of these rows; what it prints is asked of capsys."""

    def run(*rows: dict, **more: object) -> int:
        table = write_sources(tmp_path / "sources.toml", {"thing": thing(*rows, **more)})
        return main(["thing", "--data-root", str(tmp_path / "data"), "--sources", str(table)])

    return run


def place(tmp_path: Path, name: str = "file.bin") -> Path:
    return tmp_path / "data" / "thing" / name


def one_line(capsys: pytest.CaptureFixture, begin: str = "missing: file.bin: ") -> str:
    """What stands on stderr about the file: one line, and after it the one that says how to go on."""
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.endswith(": there")]
    said = [line for line in lines if line.startswith(begin)]
    assert len(said) == 1 and len(lines) <= 2, lines
    return said[0]


def test_a_file_comes_whole_with_its_terms_and_nothing_else(fetch, host, tmp_path, capsys):
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert place(tmp_path).read_bytes() == DATA
    assert sorted(path.name for path in place(tmp_path).parent.iterdir()) == [
        ".fetched.json",
        ".files.lock",
        "TERMS.md",
        "file.bin",
    ]
    terms = place(tmp_path, "TERMS.md").read_text()
    assert "For tests." in terms and f"{host.url}/file.bin (seen)" in terms and "Since 2" in terms
    assert "For tests." in capsys.readouterr().out


def test_what_is_there_is_not_asked_for_again_and_terms_are_shown_once(fetch, host, tmp_path, capsys):
    fetch(row(host, "file.bin", DATA))
    asked = dict(host.count)
    capsys.readouterr()
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert host.count == asked and "For tests." not in capsys.readouterr().out
    place(tmp_path).write_bytes(DATA[:-1] + b"x")  # damaged since
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert place(tmp_path).read_bytes() == DATA


def test_a_file_put_there_by_hand_is_checked_and_kept(fetch, host, tmp_path):
    place(tmp_path).parent.mkdir(parents=True)
    place(tmp_path).write_bytes(DATA)
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert not host.count


@pytest.mark.parametrize("fault", [503, "drop", ("cut", 100_000)])
def test_a_host_that_falters_is_asked_again_and_no_byte_comes_twice(fetch, host, tmp_path, fault):
    host.faults["/file.bin"] = lambda count: fault if count <= 2 else None
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert place(tmp_path).read_bytes() == DATA
    assert host.sent("/file.bin") == len(DATA)


def test_a_host_without_ranges_is_asked_from_the_beginning(fetch, host, tmp_path):
    host.faults["/file.bin"] = lambda count: ("cut", 100_000) if count == 1 else "plain"
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert place(tmp_path).read_bytes() == DATA


def test_a_file_that_changed_between_two_tries_is_not_spliced(fetch, host, tmp_path):
    other = random.Random(1).randbytes(len(DATA))
    host.faults["/file.bin"] = lambda count: ("cut", 0)
    stated = {**row(host, "file.bin", DATA), "bytes": len(DATA), "sha256": ""}
    host.faults["/file.bin"] = lambda count: ("cut", 100_000 if count == 1 else 0)
    assert fetch(stated) == 1
    assert place(tmp_path, "file.bin.partial").stat().st_size == 100_000
    del host.faults["/file.bin"]
    host.files["/file.bin"] = other
    assert fetch(stated) == 0
    assert place(tmp_path).read_bytes() == other


def test_a_wrong_digest_is_one_line_with_both_and_leaves_nothing(fetch, host, tmp_path, capsys):
    stated = row(host, "file.bin", DATA)
    host.files["/file.bin"] = bytes(len(DATA))
    assert fetch(stated) == 1
    said = one_line(capsys)
    assert digest(DATA) in said and digest(bytes(len(DATA))) in said
    assert not list(place(tmp_path).parent.glob("file.bin*"))


def test_a_digest_of_eight_digits_is_the_beginning_of_one(fetch, host, tmp_path):
    short = row(host, "file.bin", DATA, sha256=digest(DATA)[:8])
    assert fetch(short) == 0
    assert fetch({**short, "sha256": "00000000"}) == 1


def test_a_file_larger_than_stated_is_refused(fetch, host, tmp_path, capsys):
    stated = row(host, "file.bin", DATA)
    host.files["/file.bin"] = DATA + b"more"
    assert fetch(stated) == 1
    assert "larger than the 300,000 bytes expected" in one_line(capsys)
    assert not place(tmp_path).exists()


def test_a_truncated_file_is_one_line(fetch, host, tmp_path, capsys):
    stated = row(host, "file.bin", DATA)
    host.files["/file.bin"] = DATA[:1000]
    assert fetch(stated) == 1
    assert "the server has 1,000 bytes of it, expected 300,000" in one_line(capsys)
    assert not place(tmp_path).exists()


@pytest.mark.parametrize(
    ("status", "word"), [(404, "no such file"), (403, "refused"), (401, "login"), (503, "also after 5 tries")]
)
def test_a_refusal_is_one_line_and_the_other_files_come(fetch, host, tmp_path, capsys, status, word):
    host.faults["/file.bin"] = lambda count: status
    assert fetch(row(host, "file.bin", DATA), row(host, "other.bin", SMALL)) == 1
    said = one_line(capsys)
    assert f"the server answers {status}" in said and word in said
    assert not list(place(tmp_path).parent.glob("file.bin*"))
    assert place(tmp_path, "other.bin").read_bytes() == SMALL


def test_a_web_page_in_place_of_a_file_is_refused(fetch, host, tmp_path, capsys):
    host.faults["/file.bin"] = lambda count: "page"
    stated = {key: value for key, value in row(host, "file.bin", DATA).items() if key not in ("bytes", "sha256")}
    assert fetch(stated) == 1
    assert "a web page came in place of the file" in one_line(capsys)
    assert not list(place(tmp_path).parent.glob("file.bin*"))


def test_no_network_is_one_line_however_many_files(fetch, host, tmp_path, capsys):
    rows = [row(host, f"{i}.bin", SMALL) for i in range(20)]
    host.close()
    assert fetch(*rows) == 1
    said = one_line(capsys, "no network: ")
    assert f"{host.url} could not be reached" in said and said.endswith("20 files of thing wait for it")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_way_through_a_proxy_is_one_line_however_many_files(fetch, host, capsys, monkeypatch, scheme):
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    address = host.url.replace("http:", f"{scheme}:")
    rows = [row(host, f"{i}.bin", SMALL, address=f"{address}/{i}.bin") for i in range(3)]
    assert fetch(*rows) == 1
    said = one_line(capsys, "no network: ")
    assert said == (f"no network: {address} could not be reached (through the proxy: [Errno 111] Connection refused); "
                    "3 files of thing wait for it")  # fmt: skip


def test_a_full_disk_is_asked_before_anything_comes(fetch, host, tmp_path, capsys, monkeypatch):
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda path: type("", (), {"free": 10_000, "total": usage}))
    assert fetch(row(host, "file.bin", DATA)) == 1
    assert "0.0 GB are needed for thing; make room" in one_line(capsys, f"{tmp_path} has 0.0 GB free")
    assert not host.count


def test_a_disk_that_fills_up_meanwhile_is_one_line_and_goes_on_later(fetch, host, tmp_path, capsys, monkeypatch):
    class Filling:
        """A file on a disk that has room for 100,000 bytes."""

        def __init__(self, path: Path, mode: str) -> None:
            self.file = Path.open(path, mode)

        def __enter__(self) -> "Filling":
            return self

        def __exit__(self, *raised: object) -> None:
            self.file.close()

        def read(self, count: int) -> bytes:
            return self.file.read(count)

        def write(self, data: bytes) -> int:
            if self.file.tell() > 100_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def flush(self) -> None:
            self.file.flush()

    monkeypatch.setattr(web, "open", Filling, raising=False)
    assert fetch(row(host, "file.bin", DATA)) == 1
    assert "the disk of" in (said := one_line(capsys)) and "is full" in said
    assert not place(tmp_path).exists()
    kept = place(tmp_path, "file.bin.partial").stat().st_size
    assert kept > 100_000
    monkeypatch.undo()
    host.log.clear()
    assert fetch(row(host, "file.bin", DATA)) == 0
    assert place(tmp_path).read_bytes() == DATA and host.sent("/file.bin") == len(DATA) - kept


def test_a_second_process_is_refused_while_the_first_one_fetches(fetch, host, tmp_path, capsys):
    place(tmp_path).parent.mkdir(parents=True)
    with locked(place(tmp_path, "files")):
        assert fetch(row(host, "file.bin", DATA)) == 1
    assert "another process fetches to" in one_line(capsys, "missing: thing: ")
    assert fetch(row(host, "file.bin", DATA)) == 0


def test_killed_at_twenty_moments_it_ends_with_the_same_bytes_and_fetches_no_byte_on_disk_again(host, tmp_path):
    """At each start the first byte that is asked for is the first that is not on disk yet; an archive that came whole
    is unpacked and not fetched again."""
    host.pause, host.block = 0.01, 4096
    members = {f"photos/{i}.png": random.Random(50 + i).randbytes(2_000) for i in range(20)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    rows = [{**row(host, "images.zip", packed.getvalue()), "take": r"\.png$", "into": "images"}]
    rows += [row(host, f"{i}.bin", random.Random(i).randbytes(200_000)) for i in range(4)]
    table = write_sources(tmp_path / "sources.toml", {"thing": thing(*rows)})
    command = [sys.executable, "-m", "bench.fetch", "thing", "--data-root", str(tmp_path / "data")]
    command += ["--sources", str(table)]
    chance, kills, folder = random.Random(7), 0, tmp_path / "data" / "thing"
    while True:
        names = ("images.zip", "0.bin", "1.bin", "2.bin", "3.bin")
        before = {name: len_of(folder / f"{name}.partial") for name in names}
        there = {name for name in names if (folder / name).is_file()}
        there |= {"images.zip"} if (folder / "images").is_dir() else set()
        host.log, host.count = [], defaultdict(int)
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ended = False
        if kills < 20:
            begun, patience = time.monotonic(), chance.uniform(0.0, 0.08)
            while not sum(host.count.values()) and running.poll() is None and time.monotonic() - begun < 30:
                time.sleep(0.005)
            time.sleep(patience)
            running.send_signal(signal.SIGKILL)
            kills += running.wait() == -signal.SIGKILL
        else:
            ended = running.wait(60) == 0
        for asked in host.log:
            name = asked.path.removeprefix("/")
            assert name not in there and asked.start >= before[name], (asked, before)
        if ended or running.returncode == 0:
            break
    assert kills == 20
    for i in range(4):
        assert (folder / f"{i}.bin").read_bytes() == random.Random(i).randbytes(200_000)
    assert {path.name: path.read_bytes() for path in (folder / "images").iterdir()} == {
        name.removeprefix("photos/"): data for name, data in members.items()
    }
    assert sorted(path.name for path in folder.iterdir() if path.name[0] != ".") == [
        "0.bin", "1.bin", "2.bin", "3.bin", "TERMS.md", "images",
    ]  # fmt: skip


def test_an_archive_that_came_whole_and_is_not_recorded_yet_is_not_fetched_again(fetch, host, tmp_path):
    """As a kill leaves it between the archive's last name and the record."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("photos/1.png", SMALL)
    place(tmp_path, "images.zip").parent.mkdir(parents=True)
    place(tmp_path, "images.zip").write_bytes(packed.getvalue())
    assert fetch({**row(host, "images.zip", packed.getvalue()), "take": r"\.png$", "into": "images"}) == 0
    assert place(tmp_path, "images/1.png").read_bytes() == SMALL and not host.count


def len_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
