"""The gallery in a browser, from file://: it sorts, filters, compares, and needs no mouse; also after being copied."""

import re
import shutil
from pathlib import Path

import pytest
from browser import NARROW, chromium, keep_screens
from playwright.sync_api import expect
from seen_runs import draw_runs

from bench.gallery import main

pytestmark = pytest.mark.browser
REAL = Path(__file__).parents[2] / "results" / "mini" / "gallery" / "index.html"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Path:
    """Its index.html, in a copy elsewhere: nothing may point back."""
    root = tmp_path_factory.mktemp("gallery")
    folders = draw_runs(root)
    assert main(["--runs", *map(str, folders.values()), "--results", str(root / "results")]) == 0
    shutil.move(root / "results" / "paper" / "gallery-runs", root / "a copy")
    shutil.rmtree(root / "runs")
    shutil.rmtree(root / "data")
    return root / "a copy" / "index.html"


@pytest.fixture(scope="module")
def browser():
    with chromium() as context:
        yield context


@pytest.fixture
def page(browser, gallery):
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(gallery.as_uri())
    yield page
    page.close()
    assert said == []


def order(page) -> list[str]:
    return page.locator("article").evaluate_all("all => all.map((a) => a.dataset.id)")


def printed(page, model: str) -> list[float]:
    """The scores below a model's images, in the page's order."""
    return [float(t.split()[-1]) for t in page.locator("figcaption", has_text=model).all_text_contents()]


def test_it_opens_from_a_file_and_every_image_is_there(page):
    assert page.locator("article").count() == 7
    assert page.get_by_text("7 of 7 examples").is_visible()
    images = page.locator("article img")
    assert images.count() == 7 * 4
    for place in range(7):  # they are loaded as they come into view
        page.locator("article").nth(place).scroll_into_view_if_needed()
        page.wait_for_function(f"[...document.querySelectorAll('article')[{place}].querySelectorAll('img')]"
                               ".every((i) => i.naturalWidth > 0)")  # fmt: skip
    assert all(images.evaluate_all("all => all.map((i) => i.alt.length > 8 && i.loading === 'lazy')"))
    assert page.get_by_text("near says: move magicbrush/test/100-1").is_visible()


def test_it_sorts_by_a_score_and_by_disagreement_and_filters_by_words(page):
    page.get_by_label("Sort by", exact=True).select_option(label="L1 of near")
    values = printed(page, "near")
    assert len(values) == 7 and values == sorted(values, reverse=True)
    page.get_by_label("Order", exact=True).select_option("up")
    assert printed(page, "near") == sorted(values)
    page.get_by_label("Sort by", exact=True).select_option(label="disagreement in SSIM")
    page.get_by_label("Order", exact=True).select_option("down")
    script = "all => all.map((a) => disagreement(data.examples.find((e) => e.id === a.dataset.id), 'ssim'))"
    gaps = page.locator("article").evaluate_all(script)
    assert gaps == sorted(gaps, reverse=True) and gaps[0] > gaps[-1]
    page.get_by_label("Words", exact=True).fill("put 2 CATS")
    assert sorted(order(page)) == ["magicbrush/test/101-2", "magicbrush/test/102-2"]
    page.get_by_label("Dataset", exact=True).select_option("magicbrush")
    assert len(order(page)) == 2
    page.get_by_label("Words", exact=True).fill("no such words")
    assert page.get_by_text("No example has these words").is_visible()


def test_it_sorts_by_which_of_two_models_is_ahead(page):
    page.get_by_label("Sort by", exact=True).select_option(label="SSIM, far minus near")
    script = (
        "all => all.map((a) => difference(data.examples.find((e) => e.id === a.dataset.id), 'ssim', 'far', 'near'))"
    )
    gaps = page.locator("article").evaluate_all(script)
    assert gaps == sorted(gaps, reverse=True) and len(gaps) == 7 and gaps[0] > gaps[-1]
    page.get_by_label("Order", exact=True).select_option("up")
    assert page.locator("article").evaluate_all(script) == gaps[::-1]


def test_the_address_holds_what_is_looked_at_and_the_back_button_goes_back(page, browser):
    page.get_by_label("Sort by", exact=True).select_option(label="L1, far minus near")
    page.get_by_label("Order", exact=True).select_option("up")
    page.get_by_label("Words", exact=True).fill("put 2 cats")
    listed, chosen = order(page), page.url
    page.locator("article button").first.click()
    view = page.get_by_role("dialog")
    page.keyboard.press("ArrowRight")
    assert listed[1] in view.inner_text()
    sent = page.url
    page.go_back()
    expect(view).to_be_hidden()
    assert page.url == chosen and order(page) == listed  # still the gallery, as it was chosen
    page.locator("article button").first.click()
    page.keyboard.press("Escape")
    expect(view).to_be_hidden()
    page.wait_for_function(f"location.href === {chosen!r}")  # nothing of a closed example stays
    page.go_forward()
    expect(view).to_be_visible()

    other = browser.new_page()
    other.goto(sent)
    assert listed[1] in other.get_by_role("dialog").inner_text() and order(other) == listed
    other.evaluate("location.hash = '#example=magicbrush/test/101-1'")  # pasted into the open tab
    other.wait_for_function("document.getElementById('view-id').innerText.includes('101-1')")
    assert len(order(other)) == 7
    other.evaluate("location.hash = '#sort=score:nosuch:model'")  # a link of another gallery
    expect(other.get_by_role("dialog")).to_be_hidden()
    assert len(order(other)) == 7 and other.get_by_label("Sort by", exact=True).input_value() == "order"
    other.close()


@pytest.mark.parametrize("sent", ["#example=magicbrush/test/100-1", "#magicbrush/test/100-1", "#%E0%A4%A"])
def test_an_address_that_another_program_wrote_opens_its_example_which_closes_again(page, sent):
    page.evaluate(f"location.hash = {sent!r}")
    view, whole = page.get_by_role("dialog"), "%A" not in sent
    expect(view).to_be_visible(visible=whole)
    if whole:
        page.keyboard.press("Escape")
        page.wait_for_function("!location.hash.includes('100-1')")
        expect(view).to_be_hidden()


def test_kinds_of_edits_are_offered_where_they_are_known(page):
    assert page.get_by_label("Family", exact=True).is_hidden()
    page.evaluate("""data.examples.forEach((e, i) => { e.family = i % 2 ? "remove" : "add"; });
        for (const id of ["dataset", "family", "sort"]) $(id).replaceChildren(); options(); arrange()""")
    page.get_by_label("Family", exact=True).select_option(label="remove (3)")
    assert len(order(page)) == 3 and "family=remove" in page.url


def test_an_image_that_is_gone_is_named_in_words(browser, gallery, tmp_path):
    shutil.copytree(gallery.parent, tmp_path / "gallery")
    for image in (tmp_path / "gallery" / "images").iterdir():
        image.unlink()
    page = browser.new_page()
    page.goto((tmp_path / "gallery" / "index.html").as_uri() + "#example=magicbrush/test/100-1")
    lost = page.locator("#lost")
    lost.filter(has_text="is not beside this page").wait_for()
    lost.filter(has_text=re.compile(r"Input: images/.*; \w+: images/")).wait_for()  # of two, both
    page.keyboard.press("Escape")
    page.locator("article").first.get_by_text("is not beside this page").first.wait_for()
    page.close()


def test_a_keyboard_is_enough(page):
    first, second = order(page)[:2]
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("article.here").get_attribute("data-id") == second
    page.keyboard.press("Enter")
    view = page.get_by_role("dialog")
    assert view.is_visible() and second in view.inner_text()
    page.keyboard.press("ArrowLeft")
    assert first in view.inner_text()
    page.keyboard.press("4")  # input, near, far, goal
    assert page.get_by_label("Right", exact=True).input_value() == "goal"
    page.keyboard.press("d")
    assert page.get_by_role("radio", name="difference").is_checked()
    assert page.locator("#over").evaluate("i => getComputedStyle(i).mixBlendMode") == "difference"
    page.keyboard.press("s")
    before = page.get_by_label("Divider", exact=True).input_value()
    page.keyboard.press("]")
    assert int(page.get_by_label("Divider", exact=True).input_value()) == int(before) + 5
    page.keyboard.press("Escape")
    expect(view).to_be_hidden()
    page.keyboard.press("/")
    assert page.get_by_label("Words", exact=True).evaluate("i => i === document.activeElement")


def test_keys_quicker_than_the_closing_of_the_view_keep_the_focus_where_they_put_it(page):
    page.locator("article button").first.click()
    script = """() => new Promise((done) => {
        const view = document.querySelector("dialog"), key = new KeyboardEvent("keydown", { key: "/", bubbles: true });
        view.addEventListener("close", () => done(document.activeElement.id));
        view.close();
        document.body.dispatchEvent(key);
    })"""
    assert page.evaluate(script) == "words"
    assert page.locator("article.here").get_attribute("data-id") == order(page)[0]


def test_the_slider_moves_the_border_between_the_two_images(page):
    page.locator("article button").first.click()
    clip = "i => getComputedStyle(i).clipPath"
    assert "50%" in page.locator("#over").evaluate(clip)
    page.get_by_label("Divider", exact=True).fill("20")
    assert "20%" in page.locator("#over").evaluate(clip)
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 20)
    page.mouse.up()
    assert "80%" in page.locator("#over").evaluate(clip)
    row = page.locator("#scores tr", has_text="near")
    assert page.locator("#scores th[scope=col]").count() == 3 and row.locator("td").count() == 2
    page.get_by_role("radio", name="side by side").check()
    left, right = (page.locator(name).bounding_box() for name in ("#under", "#over"))
    assert left["x"] + left["width"] <= right["x"]


def test_a_thousand_examples_are_drawn_as_they_are_reached(page):
    page.evaluate("""data.examples = Array.from({length: 1000}, (_, i) =>
        ({...data.examples[i % 7], id: `magicbrush/test/${i}`})); arrange()""")
    assert len(order(page)) < 100
    milliseconds = "(() => { const start = performance.now(); arrange(); return performance.now() - start; })()"
    page.get_by_label("Sort by", exact=True).select_option(label="disagreement in L1")
    assert page.evaluate(milliseconds) < 2000  # 40 ms on an idle core; this one may be shared
    page.mouse.wheel(0, 20_000)
    page.wait_for_function("document.querySelectorAll('article').length > 24")
    assert len(order(page)) < 1000
    page.evaluate("select(999)")
    assert len(order(page)) == 1000 and page.locator("article.here").is_visible()


def test_a_phone_scrolls_down_only_and_every_control_has_a_name(browser, gallery):
    page = browser.new_page()
    page.set_viewport_size(NARROW)
    page.goto(gallery.as_uri())
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide)
    page.locator("article button").first.click()
    assert page.evaluate(wide) and page.get_by_role("button", name="Close").is_visible()
    nameless = """[...document.querySelectorAll('select, input, button')].filter((c) =>
        !(c.labels && c.labels.length) && !c.getAttribute('aria-label') && !c.innerText)"""
    assert page.evaluate(f"{nameless}.length") == 0
    page.close()


def test_the_pages_look_as_they_do_in_the_pictures(browser, gallery, screens):
    """With --screens: of the miniature's own gallery where it was made."""
    if screens is None:
        pytest.skip("no --screens DIR")
    page = browser.new_page()
    page.goto((REAL if REAL.is_file() else gallery).as_uri())
    # a picture of the whole page has to draw what is not in view as well
    page.add_style_tag(content="article { content-visibility: visible !important }")
    page.evaluate("order = order.slice(0, 3); made = 0; document.getElementById('list').replaceChildren(); grow()")
    page.evaluate("document.querySelectorAll('article img').forEach((i) => { i.loading = 'eager'; })")
    page.wait_for_function("[...document.querySelectorAll('article img')].every((i) => i.naturalWidth > 0)")
    keep_screens(page, "gallery", screens)
    page.locator("article button").nth(3).click()
    page.evaluate("document.getElementById('list').hidden = true")
    keep_screens(page, "gallery-open", screens)
    page.close()
    assert len(list(screens.glob("gallery-*.png"))) >= 8
