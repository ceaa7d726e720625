"""What the demo's buttons do: photo and instruction -> expressive instruction -> edits, and a message each time.

Whatever is wrong with an input is said in a message, which stays; nothing is drawn then.
"""

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.demo.systems import NAMES, OWN, Settings, Systems
from mgie.demo.words import hint
from mgie.io.images import ImageError, Reading, load, png
from mgie.io.web import message, picture

if TYPE_CHECKING:
    import gradio
    from PIL.Image import Image

MAX_UPLOAD_MB = 20
MAX_PIXELS = 40_000_000  # of a photo; decoded it takes 120 MB
MAX_LETTERS = 2000
LIMIT = f'<p class="small">JPEG, PNG or WebP, up to {MAX_UPLOAD_MB} MB: upload, drop or paste it.</p>'


class Stopped(Exception):
    """Somebody pressed Cancel."""


class Desk:
    """What the buttons do. One edit at a time: the systems share a device; others wait in the queue."""

    def __init__(self, systems: Systems) -> None:
        self.systems = systems
        self.stop: set[str] = set()  # sessions whose edit is to end at its next step
        self.working = ""  # the session that has the device

    def checked(self, path: str | None) -> tuple[bool, str]:
        """Whether the file is a photo that can be edited, and what to say of it beside the photo."""
        try:
            photo = read(path, self.systems.preset.max_side)
        except ValueError as error:
            return False, message(said(error), "bad")
        return True, f'<p class="small">This photo is edited at {photo.width} x {photo.height} px.</p>'

    def waiting(self, session: str) -> str:
        """The message for who has pressed a button, until it is their turn."""
        if self.working not in ("", session):
            return message("Waiting: somebody else's photo is edited first. Yours follows by itself.")
        return message("MGIE looks at the photo ...")

    def write(self, path: str | None, instruction: str, session: str = "", rewriter: str = OWN) -> tuple[str, str, str]:
        """The expressive instruction, its mark (see `mark`), and a message. rewriter: one of Systems.rewriters."""
        self.working = session
        try:
            photo = read(path, self.systems.preset.max_side)
            text = self.written(photo, wanted(instruction), rewriter)
        except (ValueError, OSError) as error:
            return "", "", message(said(error), "bad")
        finally:
            self.working = ""
        what = f"Change the text below if you like, then draw.{self.doubt(instruction)}"
        return text, mark(path, instruction, text, rewriter), message(what, "good")

    def written(self, photo: "Image", instruction: str, rewriter: str) -> str:
        if rewriter not in self.systems.rewriters:
            raise ValueError(f"no rewriter {rewriter} here; known: {', '.join(self.systems.rewriters)}")
        return self.systems.express(photo, instruction, "mgie" if rewriter == OWN else rewriter)

    def doubt(self, instruction: str) -> str:
        return hint(instruction) if self.systems.mini else ""

    def edit(
        self,
        path: str | None,
        instruction: str,
        expressive: str,
        written: str,
        others: list[str],
        guidance: float,
        image_guidance: float,
        steps: float,
        seed: float,
        session: str,
        progress: "gradio.Progress",
        rewriter: str = OWN,
    ) -> Iterator[tuple[str, str, str, str]]:
        """(expressive instruction, the mark of a written one, edits, message) whenever there is something to see.

        rewriter: whose text all draw by; OWN: MGIE by the one that is there, the others by their own.
        """
        self.stop.discard(session)
        self.working, figures, by = session, [], ""
        try:
            photo = read(path, self.systems.preset.max_side)
            instruction, settings = wanted(instruction), settings_of(guidance, image_guidance, steps, seed)
            by = f"Drawn by the instruction “{instruction}”"
            if not expressive.strip():
                progress(0, desc="MGIE looks at the photo" if rewriter in (OWN, "mgie") else "the text is written")
                expressive = self.written(photo, instruction, rewriter)
                written = mark(path, instruction, expressive, rewriter)
            figures.append(figure_of(photo, "Your photo", f"{photo.width} x {photo.height} px"))
            for name in ("mgie", *(n for n in NAMES if n in others)):
                yield expressive, written, grid(figures, by), message(f"{NAMES[name]} is drawing ...")
                # as it was written, the model goes its own way: the very edit that the benchmark scores
                as_written = mark(path, instruction, expressive, rewriter) == written
                own = (rewriter == OWN and name != "mgie") or (as_written and rewriter in (OWN, name))
                given = None if own else limited(expressive, "expressive")
                step = self.reporter(name, session, progress)
                drawn = self.systems.edit(name, photo, instruction, settings, step, given)
                caption = f"{drawn.seconds:.1f} s, seed {settings.seed}"
                text = drawn.expressive_instruction or f"{instruction} (the instruction itself)"
                figures.append(figure_of(drawn.image, NAMES[name], caption, text, instruction))
            yield expressive, written, grid(figures, by), message(f"Done.{self.doubt(instruction)}", "good")
        except Stopped:
            yield expressive, written, grid(figures, by), message("Cancelled; what was finished before stays.")
        except (ValueError, OSError) as error:
            yield expressive, written, grid(figures, by), message(said(error), "bad")
        finally:
            self.working = ""

    def reporter(self, name: str, session: str, progress: "gradio.Progress") -> Callable[[int, int], None]:
        def step(done: int, of: int) -> None:
            if session in self.stop:
                raise Stopped
            progress((done, of), desc=f"{NAMES[name]}: denoising", unit="steps")

        return step

    def cancel(self, session: str) -> str:
        self.stop.add(session)
        return message("Cancelled; what was finished before stays.")


def mark(path: str | None, instruction: str, text: str, rewriter: str = OWN) -> str:
    """Tells whether a text is still the one that its rewriter wrote for this photo and instruction."""
    return "\n".join((path or "", instruction.strip(), text.strip(), rewriter))


def read(path: str | None, max_side: int) -> "Image":
    """The photo, within max_side. Raises ValueError with what to do."""
    from PIL import Image, UnidentifiedImageError

    if not path:
        raise ValueError("There is no photo yet: upload one, paste one, or take an example.")
    try:
        with Image.open(path) as file:
            width, height = file.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError):
        raise ValueError("This file is no image that can be read here; take a JPEG, PNG or WebP.") from None
    if width * height > MAX_PIXELS:
        raise ValueError(f"The photo has {width} x {height} px; the limit is {MAX_PIXELS // 10**6} megapixels.")
    try:
        return load(Path(path), Reading(max_side))
    except ImageError as error:
        raise ValueError(f"The photo cannot be decoded: {str(error).partition(': ')[2]}.") from None


def wanted(instruction: str) -> str:
    if not instruction.strip():
        raise ValueError("The instruction is empty: say what to change, for example: make it look professional")
    return limited(instruction.strip(), "instruction")


def limited(text: str, what: str) -> str:
    if len(text) > MAX_LETTERS:
        raise ValueError(f"The {what} text has {len(text)} letters; the limit is {MAX_LETTERS}.")
    return text.strip()


def settings_of(guidance: float, image_guidance: float, steps: float, seed: float | None) -> Settings:
    if seed is None or not 0 <= seed < 2**31 or seed != int(seed):
        raise ValueError(f"The seed is {seed}; it must be a whole number from 0 to {2**31 - 1}.")
    return Settings(float(guidance), float(image_guidance), int(steps), int(seed))


def said(error: Exception) -> str:
    return " ".join(str(error).split("\n")[0].split())


def figure_of(image: "Image", title: str, small: str, text: str | None = None, instruction: str = "") -> str:
    alt = f"{title}'s edit: {instruction}" if instruction else title
    name = f"{title.lower().replace(' ', '-')}.png"
    caption = f"<b>{escape(title)}</b>" + (f"<br>{escape(text)}" if text else "")
    link = f'<br><a href="{{address}}" download="{name}">download {name}</a>' if instruction else ""
    return picture(png(image), alt, caption, f'<br><span class="small">{escape(small)}</span>{link}')


def grid(figures: list[str], title: str) -> str:
    return f'<h2>{escape(title)}</h2><div class="pictures">{"".join(figures)}</div>' if figures else ""
