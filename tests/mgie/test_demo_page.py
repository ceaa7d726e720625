"""The demo in a real browser, with the mini model: an edit from start to end, bad input, and no other host asked."""

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from browser import Server, chromium, keep_screens, serving
from playwright.sync_api import Page, expect

from mgie.mini.world import examples as world

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Server:
    with serving(["mgie.demo", "--device", "cpu"], tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture(scope="module")
def context():
    with chromium() as context:
        yield context


@pytest.fixture
def asked(context) -> list[str]:
    return []


@pytest.fixture
def page(server, context, asked) -> Page:
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.address)
    page.get_by_role("button", name="4. Draw the edit").wait_for()
    yield page
    page.close()


def message(page: Page, text: str) -> None:
    page.locator("#message", has_text=text).wait_for(timeout=120_000)


def upload(page: Page, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


def draw(page: Page) -> None:
    page.get_by_role("button", name="4. Draw the edit").click()


def test_a_photo_is_edited_by_all_three_and_by_a_changed_expressive_instruction(page, asked, server, tmp_path, screens):
    photo = tmp_path / "photo.png"
    world.draw("a photo", split="test").input_image.save(photo)
    draw(page)
    message(page, "There is no photo yet")
    upload(page, photo)
    page.locator("#photo img").wait_for()
    draw(page)
    message(page, "The instruction is empty")
    page.get_by_label("2. Instruction").fill("make it look professional")
    page.get_by_role("button", name="3. Let MGIE write").click()
    message(page, "change it if you like")
    expressive = page.get_by_label("Expressive instruction")
    assert expressive.input_value().strip()
    draw(page)
    message(page, "Done.")
    first = images(page)
    assert [alt for alt, _ in first] == ["Your photo", *(f"{name}'s edit: make it look professional"
                                                         for name in ("MGIE", "InsPix2Pix", "LGIE"))]  # fmt: skip
    assert len({source for _, source in first}) == 4  # each differs from the photo and from the others
    with page.expect_download() as download:
        page.get_by_role("link", name="download mgie.png").click()
    assert Path(download.value.path()).read_bytes()[:4] == b"\x89PNG"
    assert page.locator('img:not([alt]), img[alt=""]').count() == 0
    keep_screens(page, "demo", screens)

    expressive.fill("Make it black and white.")
    draw(page)
    page.locator("#edits", has_text="Make it black and white.").wait_for()
    message(page, "Done.")
    assert images(page)[1][1] != first[1][1]
    page.get_by_label("2. Instruction").fill("make it healthy")
    expect(expressive).to_have_value("")  # the old text belongs to another instruction
    assert {url for url in asked if not url.startswith((server.address, "data:", "blob:"))} == set()


def images(page: Page) -> list[tuple[str, str]]:
    return [(i.get_attribute("alt"), i.get_attribute("src")) for i in page.locator("#edits img").all()]


def test_an_example_fills_the_form_and_a_long_edit_can_be_cancelled(page):
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    expect(page.get_by_label("2. Instruction")).to_have_value("make it healthy")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("number input for steps").fill("50")
    page.get_by_label("number input for steps").press("Tab")
    draw(page)
    message(page, "MGIE is drawing")
    page.get_by_role("button", name="Cancel").click()
    message(page, "Cancelled")
    page.get_by_label("number input for steps").fill("1")
    page.get_by_label("number input for steps").press("Tab")
    draw(page)  # the device is free again
    message(page, "Done.")


def test_a_huge_upload_is_refused_with_the_limit_and_a_file_that_is_no_image_is_named(page, tmp_path):
    (tmp_path / "huge.png").write_bytes(b"\x89PNG" + bytes(21 * 2**20))
    (tmp_path / "text.png").write_text("hello")
    assert page.get_by_text("up to 20 MB").is_visible()
    upload(page, tmp_path / "huge.png")
    page.get_by_text("exceed the maximum allowed size of 20").first.wait_for()
    upload(page, tmp_path / "text.png")
    page.locator("#photo img").wait_for(state="attached")
    page.get_by_label("2. Instruction").fill("make it healthy")
    draw(page)
    message(page, "no image that can be read")


@pytest.mark.parametrize("path, host, status", [
    ("gradio_api/file=/etc/passwd", "", 403), ("gradio_api/file=README.md", "", 403), ("", "evil.example", 400),
])  # fmt: skip
def test_no_file_outside_the_upload_folder_and_no_other_host_is_served(server, path, host, status):
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(server.address + path, headers={"Host": host} if host else {}))
    assert refused.value.code == status
