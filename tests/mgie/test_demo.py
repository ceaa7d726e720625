"""The demo without a browser: its command, what each input gets, and what the buttons do to the models."""

import subprocess
import sys
from html import escape

import numpy as np
import pytest
from PIL import Image

from baselines.inspix2pix import InsPix2Pix
from bench.records import Example
from bench.settings import EditSettings, ModelSettings
from mgie import MGIEPipeline
from mgie.demo import __main__ as demo
from mgie.demo.desk import MAX_PIXELS, Desk, Stopped, read, settings_of, wanted
from mgie.demo.systems import Settings, Systems
from mgie.demo.words import hint, unknown
from mgie.folder import MINI
from mgie.io.images import png
from mgie.io.web import picture
from mgie.mini.world import examples as world


@pytest.fixture(scope="module")
def systems() -> Systems:
    return Systems("mini", device="cpu")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return world.draw("a photo", split="test").input_image


@pytest.fixture
def path(photo, tmp_path) -> str:
    photo.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def draw(desk: Desk, path: str, expressive: str = "", written: str = "", others=(), progress=lambda *a, **k: None):
    asked = (path, "make it look professional", expressive, written, list(others), 1.3, 1.2, 2, 0)
    return list(desk.edit(*asked, "a session", progress))


def same(a: Image.Image, b: Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


def test_what_is_expressed_is_what_the_edit_itself_writes(systems, photo):
    alone = systems.express(photo, "make it healthy")
    drawn = systems.edit("mgie", photo, "make it healthy", Settings(1.3, 1.2, 1, 0), lambda *_: None)
    assert drawn.expressive_instruction == alone


def test_an_edited_expressive_instruction_is_drawn_by_and_changes_the_pixels(systems, photo):
    def by(name, text):
        return systems.edit(name, photo, "make it healthy", Settings(1.3, 1.2, 1, 0), lambda *_: None, text)

    for name in ("mgie", "lgie"):
        apple, snow = by(name, "Replace the hamburger with an apple."), by(name, "Cover the ground with snow.")
        assert apple.expressive_instruction == "Replace the hamburger with an apple."
        assert not same(apple.image, snow.image)
        assert same(apple.image, by(name, "Replace the hamburger with an apple.").image)


def test_every_step_is_told_and_what_the_listener_raises_ends_the_edit(systems, photo):
    for name in ("mgie", "lgie", "inspix2pix"):
        told = []
        systems.edit(name, photo, "make it healthy", Settings(1.3, 1.2, 3, 0), lambda *step, to=told: to.append(step))
        assert told == [(1, 3), (2, 3), (3, 3)]

        def stop(done, of):
            raise Stopped

        with pytest.raises(Stopped):
            systems.edit(name, photo, "make it healthy", Settings(1.3, 1.2, 3, 0), stop)


def test_inspix2pix_s_edit_is_the_one_that_the_benchmark_scores(systems, photo, tmp_path):
    photo = photo.crop((0, 0, 61, 50))  # its sides are no multiples of what the VAE takes
    photo.save(tmp_path / "photo.png")
    model = InsPix2Pix(ModelSettings("inspix2pix", "mini", "ma5k", device="cpu"))
    example = Example("a/b", "a", tmp_path / "photo.png", "make it healthy")
    scored = model.edit([example], EditSettings(1.3, 1.2, 2), [7])[0].image
    drawn = systems.edit("inspix2pix", photo, "make it healthy", Settings(1.3, 1.2, 2, 7), lambda *_: None)
    assert same(drawn.image, scored) and drawn.expressive_instruction is None


def test_another_pipeline_in_inspix2pix_s_folder_is_refused_by_name(tmp_path):
    (tmp_path / "mgie-e2e").symlink_to(MINI / "mgie-e2e", target_is_directory=True)
    (tmp_path / "inspix2pix").mkdir()
    (tmp_path / "inspix2pix" / "model_index.json").write_text('{"_class_name": "FluxKontextPipeline"}')
    with pytest.raises(ValueError, match="inspix2pix is a FluxKontextPipeline, not a StableDiffusionInstructPix2Pix"):
        Systems(str(tmp_path), device="cpu").loaded("inspix2pix")


def test_edits_carry_the_instruction_that_they_were_drawn_by(systems, path):
    edits = draw(Desk(systems), path, others=["inspix2pix"])[-1][2]
    assert edits.startswith("<h2>Drawn by the instruction “make it look professional”</h2>")
    assert "make it look professional (the instruction itself)" in edits  # InsPix2Pix writes none of its own


def test_words_that_the_miniature_has_never_met_are_named_once_the_edit_is_there(systems, path):
    assert unknown("Make the meal healthy, with a HOT DOG") == []
    assert unknown("a sunset, a dreamy sunset 把它变暗") == ["sunset", "dreamy", "把它变暗"]
    assert hint("make it look professional") == ""
    asked = (path, "like a dreamy sunset", "", "", [], 1.3, 1.2, 1, 0, "s", lambda *a, **k: None)
    assert "not these: dreamy, sunset." in list(Desk(systems).edit(*asked))[-1][3]
    assert "not these: dreamy, sunset." in Desk(systems).write(path, "like a dreamy sunset")[2]


def test_who_presses_while_another_session_is_edited_waits_and_is_told(systems, path):
    desk, told = Desk(systems), []
    draw(desk, path, progress=lambda *a, **k: told.append((desk.waiting("a session"), desk.waiting("another"))))
    assert all("Waiting" not in own and "Waiting: somebody else" in other for own, other in told) and told
    assert "Waiting" not in desk.waiting("another")


def test_cancel_ends_a_session_s_edit_and_no_other_one_s(systems, path):
    desk = Desk(systems)

    def press_cancel(*_, **__):
        desk.cancel("a session")

    assert "Cancelled" in draw(desk, path, progress=press_cancel)[-1][3]
    desk.cancel("another session")
    assert "Done" in draw(desk, path)[-1][3]


def test_an_untouched_expressive_instruction_gives_the_pipeline_s_own_edit(systems, path, photo):
    """Drawn by reading its own text back, an edit could differ from the one that the benchmark scores."""
    text, written, _ = Desk(systems).write(path, "make it look professional")
    own, untouched = draw(Desk(systems), path)[-1], draw(Desk(systems), path, text, written)[-1]
    direct = systems.edit("mgie", photo, "make it look professional", Settings(1.3, 1.2, 2, 0), lambda *_: None)
    assert own[0] == text == direct.expressive_instruction and images(own) == images(untouched)
    assert images(own)[1] == images((0, 0, picture(png(direct.image), "")))[0]
    changed = draw(Desk(systems), path, "Make it black and white.", written)[-1]
    assert images(changed)[0] == images(own)[0] and images(changed)[1] != images(own)[1]


@pytest.mark.parametrize("rewriter", ["mgie", "lgie", "none"])
def test_one_rewriter_writes_for_all_and_all_draw_by_its_text(systems, path, photo, rewriter):
    asked = "make it look professional"
    text, written, _ = Desk(systems).write(path, asked, rewriter=rewriter)
    assert text == (asked if rewriter == "none" else systems.express(photo, asked, rewriter))
    said = list(Desk(systems).edit(path, asked, text, written, ["inspix2pix", "lgie"], 1.3, 1.2, 1, 0, "s",
                                   lambda *a, **k: None, rewriter))[-1]  # fmt: skip
    assert said[2].count(f"<br>{escape(text)}") == 3 and "the instruction itself" not in said[2]
    drawn = systems.edit("inspix2pix", photo, asked, Settings(1.3, 1.2, 1, 0), lambda *_: None, text)
    assert images(said)[2] == images((0, 0, picture(png(drawn.image), "")))[0] and drawn.expressive_instruction == text


def test_only_rewriters_whose_weights_are_there_are_offered(tmp_path, path):
    (tmp_path / "mgie-e2e").symlink_to(MINI / "mgie-e2e", target_is_directory=True)
    assert set(Systems(str(tmp_path)).rewriters) == {"own", "mgie", "none"}
    assert list(Systems("mini").rewriters) == ["own", "mgie", "lgie", "none"]
    assert "no rewriter lgie here" in Desk(Systems(str(tmp_path))).write(path, "go", rewriter="lgie")[2]


def images(said: tuple) -> list[str]:
    return [part.partition('"')[0] for part in said[2].split('src="')[1:]]


@pytest.mark.parametrize("asked, told", [
    ((None, "make it healthy"), "no photo"), (("photo", "  "), "instruction is empty"),
    (("photo", "x" * 2001), "limit is 2000"),
])  # fmt: skip
def test_bad_input_is_said_on_the_page_and_nothing_is_drawn(systems, path, asked, told):
    asked = (path if asked[0] else None, asked[1])
    assert told in Desk(systems).write(*asked)[2]
    *_, edits, message = list(Desk(systems).edit(*asked, "", "", [], 1.3, 1.2, 2, 0, "s", lambda *a, **k: None))[-1]
    assert told in message and 'role="alert"' in message and edits == ""


def test_a_file_that_is_no_image_and_one_of_too_many_pixels_are_refused(systems, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ValueError, match="no image that can be read"):
        read(str(tmp_path / "text.png"), 128)
    good, told = Desk(systems).checked(str(tmp_path / "text.png"))
    assert not good and "no image that can be read" in told and 'role="alert"' in told
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="the limit is 40 megapixels"):
        read(str(tmp_path / "huge.png"), 128)
    with pytest.raises(ValueError, match="no photo"):
        read(None, 128)
    assert wanted("  go ") == "go"
    with pytest.raises(ValueError, match="seed is None"):
        settings_of(1, 1, 1, None)


def test_systems_whose_weights_are_not_there_are_named(tmp_path):
    (tmp_path / "mgie-e2e").symlink_to(MINI / "mgie-e2e", target_is_directory=True)
    for name in (tmp_path, tmp_path / "mgie-e2e"):  # a root, or MGIE's own folder
        assert set(Systems(str(name)).missing) == {"lgie", "inspix2pix"}
    assert Systems("mini").missing == {}


@pytest.mark.parametrize("flags, told", [
    (["--weights", "nowhere"], "nowhere"), (["--port", "0"], "--port 0"), (["--host", "no.such.host.invalid", "--port",
    "8000"], "--host no.such.host.invalid"),
])  # fmt: skip
def test_wrong_use_is_one_line_and_exit_code_2(capsys, flags, told):
    assert demo.main(flags) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1


def test_sharing_is_off_unless_asked_for_and_the_host_is_loopback():
    options = demo.parser().parse_args([])
    assert options.share is False and options.host == "127.0.0.1"


def test_help_needs_neither_torch_nor_gradio():
    code = "import sys, mgie.demo, bench.human.__main__; print({'torch', 'gradio', 'matplotlib'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_express_takes_what_a_call_takes(photo):
    pipe = MGIEPipeline.from_pretrained("mini")
    pipe.progress = False
    assert len(pipe.express([photo, photo], "make it healthy")) == 2
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        pipe.express(photo, "make it healthy", max_new_tokens=0)
