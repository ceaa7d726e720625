"""What a user gives holds one name twice: systems are kept apart, and equal names with other bytes are refused."""

import pytest
from zips import tarred, zipped

from bench.fetch import sources

OUTPUTS = {"name": "outputs.zip", "how": "hand", "address": "https://example.invalid/x", "steps": "download it"}
IMAGES = OUTPUTS | {"name": "images.zip", "take": r"\.png$", "into": "images"}
TWICE = {"a/1.png": b"same size", "b/1.png": b"size same"}


@pytest.fixture
def outputs():
    row = sources.read()["magicbrush-outputs"].files[0]
    return OUTPUTS | {"take": row.take, "into": row.into}


def written(files, folder):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_what_was_laid_out_is_counted_by_system(fetch, outputs, tmp_path, capsys):
    assert fetch(outputs, flags=("--from", written(TWO | {"sysB/139/139_iter_2.png": b"x"}, tmp_path / "dl"))) == 0
    printed = capsys.readouterr().out
    assert "thing sysA: turns: 1, sessions: 1, officially 1,053 in 535" in printed
    assert "thing sysB: turns: 2, sessions: 1, officially" in printed


def laid_out(tmp_path):
    return {path.relative_to(tmp_path / "thing").as_posix(): path.read_bytes()
            for path in (tmp_path / "thing").rglob("*.png")}  # fmt: skip


FORMS = [
    lambda files, at: written(files, at / "dl"),
    lambda files, at: zipped(files, at / "dl.zip"),
    lambda files, at: tarred(files, at / "dl.tar.gz"),
]
TWO = {"sysA/139/139_1.png": b"one", "sysB/139/139_1.png": b"two", "sysB/139/139_inde_2.png": b"more"}


@pytest.mark.parametrize("give", FORMS)
def test_the_outputs_of_each_system_keep_its_name(fetch, outputs, tmp_path, give):
    assert fetch(outputs, flags=("--from", give(TWO, tmp_path))) == 0
    assert laid_out(tmp_path) == TWO


@pytest.mark.parametrize("inside", ["", "inference/"])
def test_an_archive_of_one_system_gives_it_its_own_name(fetch, outputs, tmp_path, inside):
    own = zipped({f"{inside}139/139_1.png": b"one"}, tmp_path / "epoch-168.zip")
    assert fetch(outputs, flags=("--from", own)) == 0
    assert laid_out(tmp_path) == {"epoch-168/139/139_1.png": b"one"}


@pytest.mark.parametrize("give", FORMS)
def test_two_images_of_one_name_and_size_are_refused_unless_their_bytes_agree(fetch, tmp_path, capsys, give):
    (tmp_path / "other").mkdir()
    assert fetch(IMAGES, flags=("--from", give(TWICE, tmp_path / "other"))) == 1
    assert "would become images/1.png, and they differ" in capsys.readouterr().err
    assert fetch(IMAGES, flags=("--from", give(dict.fromkeys(TWICE, b"same"), tmp_path))) == 0
    assert laid_out(tmp_path) == {"images/1.png": b"same"}


def test_an_image_that_two_archives_have_otherwise_is_refused(fetch, tmp_path, capsys):
    own = tmp_path / "dl"
    own.mkdir()
    for name, data in TWICE.items():
        zipped({"1.png": data}, own / f"{name[0]}.zip")
    assert fetch(IMAGES, flags=("--from", own)) == 1
    assert "1.png would become images/1.png, which another pack has otherwise" in capsys.readouterr().err
