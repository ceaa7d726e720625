"""A host on loopback, and the command on a table of rows: here, and in a process of its own for which it is the Hub."""

import os
import subprocess
import sys

import pytest
from hosts import Host, thing, write_sources

from bench.fetch import web
from bench.fetch.__main__ import main


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr(web, "PAUSE", 0.001)
    host = Host()
    yield host
    host.close()


@pytest.fixture
def table(tmp_path):
    return lambda *rows, **more: write_sources(tmp_path / "sources.toml", {"thing": thing(*rows, **more)})


@pytest.fixture
def fetch(tmp_path, table):
    """Runs the command here on a table of these rows."""

    def run(*rows: dict, flags: tuple[object, ...] = (), **more: object) -> int:
        made = table(*rows, **more)
        return main(["thing", "--data-root", str(tmp_path), "--sources", str(made), *map(str, flags)])

    return run


@pytest.fixture
def hub_fetch(tmp_path, table, host):
    """Runs the command in a process of its own, for which this host is the Hub."""

    def run(*rows: dict, flags: tuple[str, ...] = (), **more: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "bench.fetch", "thing", "--data-root", str(tmp_path), *flags]
        env = {**os.environ, "HF_ENDPOINT": host.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
        command += ["--sources", str(table(*rows, **more))]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)

    return run
