"""Data roots and run folders behind an address: memory:// in this process, s3:// against a server in this process."""

import json
import os

import fsspec
import pytest

import bench.runs.remote
from bench.run import main
from bench.runs.folder import RunFolder
from tests.bench.runs.test_resume import command, draw_ma5k, files_of, folder_of, seeded  # noqa: F401


@pytest.fixture
def local(tmp_path, monkeypatch):
    """A local data root and its finished run, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    data = draw_ma5k(tmp_path / "local", photos=1)
    assert main(command(data, tmp_path / "whole")) == 0
    return data


@pytest.fixture
def memory(local):
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    fs.put(str(local), "/bucket/data", recursive=True)
    yield fs
    fs.store.clear()


@pytest.fixture
def s3(local, monkeypatch):
    """The address of a bucket on a local S3-compatible server, which boto finds through the environment."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fs = fsspec.filesystem("s3", skip_instance_cache=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    fs.mkdir("bucket")
    fs.put(str(local), "bucket/data", recursive=True)
    yield fs
    server.stop()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def remote_files(fs, address: str, into) -> dict[str, bytes]:
    """The remote run folder's files, as files_of sees a local one."""
    (folder,) = [name.rstrip("/").rpartition("/")[2] for name in fs.ls(f"{address}/paper", detail=False)]
    fs.get(f"{address}/paper/{folder}", str(into / "paper" / folder), recursive=True)
    return files_of(into)


def test_a_run_with_data_and_folder_in_memory_ends_in_the_bytes_of_a_local_one(memory, tmp_path, capsys):
    assert main(command("memory://bucket/data", "memory://bucket/runs")) == 0
    assert remote_files(memory, "/bucket/runs", tmp_path / "down") == files_of(tmp_path / "whole")
    session = json.loads((folder_of(tmp_path / "down") / "sessions.jsonl").read_text())
    assert session["data_root"] == "memory://bucket/data"
    assert not [name for name in memory.store if ".lock" in name]


def test_a_run_on_s3_ends_in_the_bytes_of_a_local_one(s3, tmp_path, capsys):
    assert main(command("s3://bucket/data", "s3://bucket/runs")) == 0
    assert remote_files(s3, "bucket/runs", tmp_path / "down") == files_of(tmp_path / "whole")


def test_another_machine_goes_on_from_what_the_remote_folder_holds(memory, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench.runs.remote, "EVERY", 0.0)
    appended = RunFolder.append

    def stop_at_the_third(self, name, records):
        appended(self, name, records)
        if name == "edits.jsonl" and len(self.edits()) >= 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", stop_at_the_third)
        assert main(command("memory://bucket/data", "memory://bucket/runs")) == 1
    assert any(name.endswith("edits.jsonl") for name in memory.store)
    assert not any(name.endswith("done.json") for name in memory.store)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(command("memory://bucket/data", "memory://bucket/runs")) == 0
    assert remote_files(memory, "/bucket/runs", tmp_path / "down") == files_of(tmp_path / "whole")
    sessions = (folder_of(tmp_path / "down") / "sessions.jsonl").read_text().splitlines()
    assert len(sessions) == 2  # the second took the first one up


def test_a_remote_folder_that_was_emptied_starts_over(memory, tmp_path, capsys):
    assert main(command("memory://bucket/data", "memory://bucket/runs", "--metrics", "l1")) == 0
    memory.rm("/bucket/runs", recursive=True)
    assert main(command("memory://bucket/data", "memory://bucket/runs", "--metrics", "l1")) == 0
    assert any(name.endswith("done.json") for name in memory.store)


def test_data_is_fetched_once_and_again_only_where_it_changed(memory, tmp_path, monkeypatch):
    fetched = []
    fetch = bench.runs.remote.Remote.fetch
    monkeypatch.setattr(bench.runs.remote.Remote, "fetch", lambda self, names, folder: (
        fetched.append(sorted(names)), fetch(self, names, folder)))  # fmt: skip
    stage = lambda: bench.runs.remote.stage("memory://bucket/data", "ma5k", tmp_path / "staged")  # noqa: E731
    root = stage()
    assert len(fetched.pop()) == 7 and stage() == root and not fetched
    memory.pipe("/bucket/data/ma5k/images/0001_A.jpg", b"other")
    memory.rm("/bucket/data/ma5k/images/0001_B.jpg")
    stage()
    assert fetched == [["images/0001_A.jpg"]]
    assert (root / "ma5k/images/0001_A.jpg").read_bytes() == b"other"
    assert not (root / "ma5k/images/0001_B.jpg").exists()


def test_a_name_that_would_leave_the_local_copy_is_refused(memory, tmp_path, capsys):
    memory.store["/bucket/data/ma5k/../../evil.txt"] = memory.store["/bucket/data/ma5k/images/0001_A.jpg"]
    assert main(command("memory://bucket/data", tmp_path / "out")) == 2
    assert "refused" in capsys.readouterr().err and not list(tmp_path.rglob("evil.txt"))


@pytest.mark.parametrize("data, code, said", [
    ("memory://bucket/none", 2, "memory://bucket/none/ma5k: no files at this address"),
    ("nosuch://bucket/data", 2, "nosuch://bucket/data/ma5k: Protocol not known: nosuch"),
])  # fmt: skip
def test_an_address_without_data_is_one_line_and_exit_2(memory, tmp_path, capsys, data, code, said):
    assert main(command(data, tmp_path / "out")) == code
    assert said in capsys.readouterr().err


def test_a_bucket_that_cannot_be_reached_is_said_with_its_address(local, tmp_path, capsys, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert main(command("s3://bucket/data", tmp_path / "out")) == 1
    assert "error: s3://bucket/data/ma5k:" in capsys.readouterr().err


def test_suite_mini_and_tables_say_that_they_need_a_local_folder(capsys):
    from bench.tables import main as tables

    assert main(["--suite", "mini", "--data-root", "memory://x", "--dataset", "ma5k", "--model", "identity"]) == 2
    assert "suite mini draws its data into a local folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        tables(["1", "--out", "s3://bucket/runs"])
    assert stopped.value.code == 2 and "give a local path" in capsys.readouterr().err
    assert not os.path.exists("s3:")
