"""Human evaluation in a real browser: two people at once, a server killed in the middle, bad input, a second tab."""

import sqlite3
from pathlib import Path

import pytest
from browser import WIDE, Server, chromium, keep_screens, serving
from human_runs import make_runs
from playwright.sync_api import BrowserContext, Page, expect

pytestmark = pytest.mark.browser
OPEN = """(() => {  // all questions of the item are there, and none is answered
  const seen = [...document.querySelectorAll('.question')].filter(q => q.offsetParent && q.querySelector('input'));
  const task = document.getElementById('task')?.innerText ?? '';
  return seen.length === (task.includes('Two texts') ? 2 : 3) && !document.querySelector('.question input:checked');
})()"""
FILLED = "document.querySelector('#task progress').value"


@pytest.fixture(scope="module")
def votes(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("human") / "votes.sqlite"


@pytest.fixture(scope="module")
def server(votes) -> Server:
    runs = [*make_runs(votes.parent, "ma5k"), *make_runs(votes.parent, "evr")]
    arguments = ["bench.human", "serve", "--runs", *map(str, runs), "--sample", "3", "--votes", str(votes)]
    with serving(arguments, votes.parent) as server:
        yield server


@pytest.fixture(scope="module")
def context() -> BrowserContext:
    with chromium() as context:
        context.set_default_timeout(60_000)
        yield context


def sign_in(context: BrowserContext, server: Server, who: str) -> Page:
    page = context.new_page()
    page.goto(server.address)
    page.get_by_label("Annotator id").fill(who)
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Begin").click()
    page.wait_for_function(OPEN)
    return page


def answer(page: Page) -> None:
    """All questions of the item, by keyboard alone."""
    page.wait_for_function(OPEN)
    texts = "Two texts" in page.inner_text("#task")
    for key in "13" if texts else "bacabc":
        page.keyboard.press(key)
    expect(page.locator(".question input:checked")).to_have_count(2 if texts else 3)
    page.keyboard.press("Enter")


def vote(page: Page, number: int) -> None:
    """number: which vote of this annotator's it is."""
    answer(page)
    page.locator("#task", has_text=f"{number} done").wait_for()


def everything_in_view(page: Page) -> None:
    """On a small laptop: the photo, all questions and the button, without scrolling."""
    page.set_viewport_size({"width": 1280, "height": 800})
    seen = [page.locator("#task img").first, page.get_by_role("button", name="Send")]
    for part in (*seen, *page.locator(".question").filter(visible=True).all()):
        box = part.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= 800
    page.set_viewport_size(WIDE)


def rows(votes: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(votes) as db:
        return db.execute("SELECT annotator, item FROM votes").fetchall()


@pytest.mark.slow
def test_two_people_at_once_and_a_kill_in_the_middle_end_in_exactly_twenty_votes(context, server, votes, screens):
    anna, bob = sign_in(context, server, "anna"), sign_in(context, server, "bob")
    keep_screens(anna, "human-texts", screens)
    assert anna.evaluate(FILLED) == 0  # nothing is done yet, and nothing looks done
    everything_in_view(anna)
    for number in range(1, 6):
        vote(anna, number)
        vote(bob, number)
    server.kill()
    assert len(rows(votes)) == 10
    server.start()
    for page in (anna, bob):
        page.reload()  # it knows who it was
        page.locator("#message", has_text="Welcome back").wait_for()
    for number in range(6, 11):
        everything_in_view(anna)
        vote(anna, number)
        vote(bob, number)
    keep_screens(bob, "human-edits", screens)
    assert len(rows(votes)) == len(set(rows(votes))) == 20
    assert anna.locator('img:not([alt]), img[alt=""]').count() == 0
    vote(anna, 11)
    answer(anna)
    anna.locator("#task", has_text="That was all, thank you").wait_for()
    for name in ("Send", "Clear"):  # nothing is left to be sent
        expect(anna.get_by_role("button", name=name)).to_have_count(0)
    anna.once("dialog", lambda dialog: dialog.dismiss())
    anna.keyboard.press("u")
    assert len(rows(votes)) == 22  # asked, and not taken back
    anna.once("dialog", lambda dialog: dialog.accept())
    anna.keyboard.press("u")
    anna.locator("#task", has_text="11 done").wait_for()
    assert len(rows(votes)) == 21


def test_bad_input_is_said_on_the_page_and_a_second_tab_takes_over(context, server, votes, screens):
    page = context.new_page()
    page.goto(server.address)
    begin = page.get_by_role("button", name="Begin")
    begin.wait_for()
    keep_screens(page, "human-sign-in", screens)
    begin.click()
    page.locator("#sign-in-message", has_text="annotator id must be").wait_for()
    page.get_by_label("Annotator id").fill("carl")
    begin.click()
    page.locator("#sign-in-message", has_text="without your consent").wait_for()
    page.get_by_label("I have read this").check()
    begin.click()
    page.wait_for_function(OPEN)
    page.keyboard.press("Enter")
    page.locator("#message", has_text="Please answer each question").wait_for()

    second = sign_in(context, server, "carl")
    page.bring_to_front()
    answer(page)
    page.locator("#message", has_text="open in another tab").wait_for()

    with sqlite3.connect(votes) as db:
        [(shown,)] = db.execute("SELECT item FROM claims WHERE annotator = 'carl'").fetchall()
        [removed] = db.execute("SELECT * FROM items WHERE id = ?", (shown,)).fetchall()
        db.execute("DELETE FROM items WHERE id = ?", (shown,))
    second.bring_to_front()
    answer(second)
    second.locator("#message", has_text="There is no item").wait_for()
    with sqlite3.connect(votes) as db:
        db.execute("INSERT INTO items VALUES (?, ?, ?)", removed)
    assert not any(who == "carl" for who, _ in rows(votes))


def test_nothing_on_the_page_tells_which_model_an_answer_is_about(context, server):
    asked = []
    page = context.new_page()
    page.on("response", lambda response: asked.append(response))
    page.goto(server.address)
    page.get_by_label("Annotator id").fill("dora")
    page.get_by_label("I have read this").check()
    page.get_by_role("button", name="Begin").click()
    page.wait_for_function(OPEN)
    sent = page.content() + page.evaluate("JSON.stringify(window.gradio_config)")
    assert "Text A" in sent and not any(w in sent.lower() for w in ("mgie", "lgie", "inspix2pix", "runs/paper"))
    assert {r.url for r in asked if not r.url.startswith((server.address, "data:", "blob:"))} == set()
