"""The demo in a real browser, with the mini model: an edit from start to end, bad input, and no other host asked."""

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from browser import NARROW, WIDE, Server, chromium, keep_screens, serving
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


def message(page: Page, text: str, at: str = "#message") -> None:
    page.locator(at, has_text=text).wait_for(timeout=120_000)


def upload(page: Page, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


def draw(page: Page) -> None:
    page.get_by_role("button", name="4. Draw the edit").click()


@pytest.mark.slow
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
    message(page, "if you like, then draw", "#write-said")
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
    message(page, "Without step 3")  # nothing is done of this one
    assert "Drawn by the instruction “make it look professional”" in page.inner_text("#edits")
    assert {url for url in asked if not url.startswith((server.address, "data:", "blob:"))} == set()


def test_the_choice_of_who_writes_is_named_on_the_button_and_forgets_the_old_text(page):
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    page.get_by_role("button", name="3. Let MGIE write").click()
    message(page, "if you like, then draw", "#write-said")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("LGIE for all").check()
    expect(page.get_by_label("Expressive instruction")).to_have_value("")
    page.get_by_role("button", name="3. Let LGIE write").click()
    message(page, "if you like, then draw", "#write-said")
    text = page.get_by_label("Expressive instruction").input_value()
    steps(page, 1)
    draw(page)
    message(page, "Done.")
    assert page.inner_text("#edits").count(text) == 3  # one text for all three


def images(page: Page) -> list[tuple[str, str]]:
    return [(i.get_attribute("alt"), i.get_attribute("src")) for i in page.locator("#edits img").all()]


def test_an_example_fills_the_form_and_a_long_edit_can_be_cancelled(page):
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    expect(page.get_by_label("2. Instruction")).to_have_value("make it healthy")
    steps(page, 50)
    draw(page)
    message(page, "MGIE is drawing")
    page.get_by_role("button", name="Cancel").click()
    message(page, "Cancelled")
    steps(page, 1)
    draw(page)  # the device is free again
    message(page, "Done.")


def steps(page: Page, count: int) -> None:
    field = page.get_by_label("number input for steps")
    if not field.is_visible():
        page.get_by_role("button", name="Settings").click()
    field.fill(str(count))
    field.press("Tab")


def test_a_double_click_draws_once_and_the_buttons_rest_meanwhile(page):
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    steps(page, 8)
    said = page.evaluate_handle("""() => { const said = [], node = document.getElementById("message");
        new MutationObserver(() => said.push(node.innerText)).observe(node, {childList: true, subtree: true});
        return said; }""")
    page.get_by_role("button", name="4. Draw the edit").dblclick()
    message(page, "is drawing")
    page.get_by_label("2. Instruction").press("Enter")  # neither does this start another
    for name in ("4. Draw the edit", "3. Let MGIE write"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    message(page, "Done.")
    for name in ("4. Draw the edit", "3. Let MGIE write"):
        expect(page.get_by_role("button", name=name)).to_be_enabled()
    page.wait_for_timeout(1500)
    assert len([text for text in said.json_value() if "MGIE is drawing" in text]) == 1
    message(page, "Done.")


def test_who_waits_for_somebody_else_s_edit_is_told_so(page, context, server):
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    steps(page, 40)
    draw(page)
    message(page, "is drawing")
    other = context.new_page()
    other.goto(server.address)
    other.get_by_text("make it healthy").click()
    other.locator("#photo img").wait_for()
    draw(other)
    message(other, "Waiting: somebody else's photo is edited first")
    page.get_by_role("button", name="Cancel").click()
    message(other, "is drawing")
    other.get_by_role("button", name="Cancel").click()
    other.close()


def test_all_four_steps_are_on_the_first_screen_and_what_is_said_stands_at_the_button(page):
    height = page.viewport_size["height"]
    for name in ("3. Let MGIE write", "4. Draw the edit"):
        box = page.get_by_role("button", name=name).bounding_box()
        assert box["y"] + box["height"] <= height
    for name, at in (("3. Let MGIE write", "#write-said"), ("4. Draw the edit", "#message")):
        button = page.get_by_role("button", name=name)
        button.click()
        message(page, "There is no photo yet", at)
        low = button.bounding_box()["y"] + button.bounding_box()["height"]
        assert 0 <= page.locator(at).bounding_box()["y"] - low < 40


def test_on_a_phone_a_press_brings_its_message_and_the_edits_into_view(page):
    page.set_viewport_size(NARROW)
    page.get_by_text("make it healthy").click()
    page.locator("#photo img").wait_for()
    page.get_by_label("2. Instruction").press("Enter")
    message(page, "is drawing")
    page.locator("#edits img").first.wait_for()
    for part in ("#message", "#edits img >> nth=0"):
        assert 0 <= page.locator(part).bounding_box()["y"] < NARROW["height"]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Cancel").click()
    page.set_viewport_size(WIDE)


def test_a_file_that_cannot_be_edited_is_named_as_it_comes_and_the_message_stays(page, tmp_path):
    (tmp_path / "huge.png").write_bytes(b"\x89PNG" + bytes(40 * 2**20))
    (tmp_path / "text.png").write_text("hello")
    assert page.get_by_text("up to 20 MB").is_visible()
    upload(page, tmp_path / "huge.png")
    message(page, "huge.png has 40 MB; the limit is 20 MB", "#photo-said")
    expect(page.get_by_text("exceed the maximum allowed size")).to_have_count(0)  # Gradio's own note, which goes
    upload(page, tmp_path / "text.png")
    message(page, "no image that can be read", "#photo-said")
    assert page.locator("#too-large").count() == 0
    expect(page.locator("#photo img")).to_have_count(0)  # no broken picture
    message(page, "no image that can be read", "#photo-said")
    page.get_by_text("make it healthy").click()
    message(page, "This photo is edited at", "#photo-said")


@pytest.mark.parametrize("path, host, status", [
    ("gradio_api/file=/etc/passwd", "", 403), ("gradio_api/file=README.md", "", 403), ("", "evil.example", 400),
])  # fmt: skip
def test_no_file_outside_the_upload_folder_and_no_other_host_is_served(server, path, host, status):
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(server.address + path, headers={"Host": host} if host else {}))
    assert refused.value.code == status
