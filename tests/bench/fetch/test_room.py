"""The disk is asked before the first file of a command, for all that the command brings."""

import shutil
from types import SimpleNamespace

import pytest
from hosts import thing, write_sources
from zips import zipped

from bench.fetch.__main__ import main

MB = 1_000_000
SPARE = 64 << 20
HAND = {"name": "images.zip", "how": "hand", "address": "https://example.invalid/x", "steps": "download it",
        "take": r"\.png$", "into": "images"}  # fmt: skip


@pytest.fixture
def free(monkeypatch):
    """Says how many bytes a disk has beside those that it keeps."""
    return lambda size: monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=SPARE + size))


@pytest.fixture
def fetch(tmp_path, host):
    def run(things: dict, *flags: object) -> int:
        table = write_sources(tmp_path / "sources.toml", things)
        roots = ("--data-root", str(tmp_path / "data"), "--weights", str(tmp_path / "weights"))
        return main([*things, *roots, "--sources", str(table), *map(str, flags)])

    return run


def row(host, name, size, **more):
    host.files[f"/{name}"] = bytes(size)
    return {"name": name, "how": "http", "address": f"{host.url}/{name}", "bytes": size, **more}


def test_things_that_fit_one_by_one_and_not_together_are_refused_before_the_first_file(fetch, host, free, capsys):
    things = {"a": thing(row(host, "a.bin", 3 * MB), folder="a"),
              "b": thing(row(host, "b.bin", 3 * MB), folder="b", root="weights")}  # fmt: skip
    free(5 * MB)
    assert fetch(things) == 1
    assert "0.0 GB are needed for a, b; make room" in capsys.readouterr().err and not host.count
    free(6 * MB)
    assert fetch(things) == 0
    free(0)
    assert fetch(things) == 0  # nothing is to come


def test_what_is_made_of_a_thing_is_asked_for_with_its_files(fetch, host, free, capsys):
    free(5 * MB)
    assert fetch({"a": thing(row(host, "a.bin", 3 * MB), made=3 * MB)}) == 1
    assert "needed for a; make room" in capsys.readouterr().err and not host.count


def test_what_is_given_packed_is_counted_as_it_unpacks_and_a_folder_is_not(fetch, host, free, tmp_path, capsys):
    things = {"a": thing(HAND, row(host, "a.bin", 3 * MB))}
    free(5 * MB)
    assert fetch(things, "--from", zipped({"1.png": bytes(3 * MB)}, tmp_path / "x.zip")) == 1
    assert "needed for a; make room" in capsys.readouterr().err and not host.count
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "1.png").write_bytes(bytes(3 * MB))
    assert fetch(things, "--from", tmp_path / "own") == 0


def test_what_comes_by_hand_and_is_not_given_yet_is_not_asked_room_for(fetch, host, free):
    free(4 * MB)
    assert fetch({"a": thing({**HAND, "about": 9 * MB}, row(host, "a.bin", 3 * MB), made=9 * MB)}) == 1
    assert host.count["/a.bin"] == 1
