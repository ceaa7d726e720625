"""Debian's chromium under playwright, for the tests marked `browser`; nothing is downloaded, no net is asked."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def chromium(**settings: object) -> Iterator[BrowserContext]:
    """A fresh profile; settings are playwright's: viewport=NARROW, color_scheme="dark". No chromium: skipped."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")  # .ci/run installs it, or fails
    settings.setdefault("viewport", WIDE)
    with TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=str(CHROMIUM), args=FLAGS, headless=True, **settings
        )
        try:
            yield context
        finally:
            context.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """`python -m <arguments> --port N` in a process of its own, which can be killed and started again."""

    def __init__(self, arguments: Sequence[str], folder: Path) -> None:
        self.arguments, self.log, self.port = list(arguments), folder / "server.log", free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", *self.arguments, "--port", str(self.port)]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
        until = time.monotonic() + 180
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail(f"{' '.join(command)} did not start:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.3)

    def answers(self) -> bool:
        try:
            with urlopen(self.address, timeout=5) as reply:
                return reply.status == 200
        except (URLError, OSError):
            return False

    def kill(self) -> None:
        self.process.kill()  # SIGKILL: nothing is tidied up
        self.process.wait()


@contextmanager
def serving(arguments: Sequence[str], folder: Path) -> Iterator[Server]:
    server = Server(arguments, folder)
    try:
        yield server
    finally:
        server.kill()


def keep_screens(page: Page, name: str, folder: Path | None) -> None:
    """name-1280-light.png ... name-390-dark.png in folder; None: nobody asked for them (pytest --screens DIR)."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for size in (WIDE, NARROW):
        page.set_viewport_size(size)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_timeout(300)  # a page that follows the scheme by script needs a moment
            page.screenshot(path=folder / f"{name}-{size['width']}-{scheme}.png", full_page=True)
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
