"""Debian's chromium under playwright, for the tests marked `browser`; nothing is downloaded, no net is asked."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
    """A fresh profile; settings are playwright's: viewport=NARROW, color_scheme="dark". Refuses to go on without it."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing: apt-get install chromium (or leave these tests out: -m 'not browser')")
    settings.setdefault("viewport", WIDE)
    with TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=str(CHROMIUM), args=FLAGS, headless=True, **settings
        )
        try:
            yield context
        finally:
            context.close()


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
