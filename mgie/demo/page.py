"""The demo's page: photo and instruction -> expressive instruction, which can be changed -> the edits side by side.

Whatever is wrong with an input is said in the message line, which stays; nothing is drawn then.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.demo.systems import NAMES, Settings, Systems
from mgie.io.images import ImageError, Reading, load, png
from mgie.io.web import message, picture

if TYPE_CHECKING:
    import gradio
    from PIL.Image import Image

MAX_UPLOAD_MB = 20
MAX_PIXELS = 40_000_000  # of a photo; decoded it takes 120 MB
MAX_LETTERS = 2000
CSS = """
#photo img { object-fit: contain; }
#edits .pictures { grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); }
#edits a { color: var(--link-text-color); text-decoration: underline; margin: 0; padding: 0; }
"""
# Gradio's previews have empty alt texts
HEAD = """<script>new MutationObserver(() => document.querySelectorAll('img[alt=""]').forEach(i => {
  i.alt = i.closest('#photo') ? 'Your photo' : 'Example photo'; })).observe(document, {childList: true, subtree: true});
</script>"""


class Stopped(Exception):
    """Somebody pressed Cancel."""


class Desk:
    """What the buttons do. One edit at a time: the systems share a device; others wait in the queue."""

    def __init__(self, systems: Systems) -> None:
        self.systems = systems
        self.stop: set[str] = set()  # sessions whose edit is to end at its next step

    def write(self, path: str | None, instruction: str) -> tuple[str, str, str]:
        """The expressive instruction, its mark (see `mark`), and a message."""
        try:
            photo = read(path, self.systems.preset.max_side)
            text = self.systems.express(photo, wanted(instruction))
        except (ValueError, OSError) as error:
            return "", "", message(said(error), "bad")
        what = "MGIE's expressive instruction is below: change it if you like, then draw."
        return text, mark(path, instruction, text), message(what, "good")

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
    ) -> Iterator[tuple[str, str, str, str]]:
        """(expressive instruction, the mark of a written one, edits, message) whenever there is something to see."""
        self.stop.discard(session)
        figures: list[str] = []
        try:
            photo = read(path, self.systems.preset.max_side)
            instruction, settings = wanted(instruction), settings_of(guidance, image_guidance, steps, seed)
            if not expressive.strip():
                progress(0, desc="MGIE looks at the photo")
                expressive = self.systems.express(photo, instruction)
                written = mark(path, instruction, expressive)
            figures.append(figure_of(photo, "Your photo", f"{photo.width} x {photo.height} px"))
            for name in ("mgie", *(n for n in NAMES if n in others)):
                yield expressive, written, grid(figures), message(f"{NAMES[name]} is drawing ...")
                # as it was written, the model goes its own way: the very edit that the benchmark scores
                own = name != "mgie" or mark(path, instruction, expressive) == written
                given = None if own else limited(expressive, "expressive")
                step = self.reporter(name, session, progress)
                drawn = self.systems.edit(name, photo, instruction, settings, step, given)
                caption = f"{drawn.seconds:.1f} s, seed {settings.seed}"
                figures.append(figure_of(drawn.image, NAMES[name], caption, drawn.expressive_instruction, instruction))
            yield expressive, written, grid(figures), message("Done.", "good")
        except Stopped:
            yield expressive, written, grid(figures), message("Cancelled; what was finished before stays.")
        except (ValueError, OSError) as error:
            yield expressive, written, grid(figures), message(said(error), "bad")

    def reporter(self, name: str, session: str, progress: "gradio.Progress") -> object:
        def step(done: int, of: int) -> None:
            if session in self.stop:
                raise Stopped
            progress((done, of), desc=f"{NAMES[name]}: denoising", unit="steps")

        return step

    def cancel(self, session: str) -> str:
        self.stop.add(session)
        return message("Cancelled; what was finished before stays.")


def mark(path: str, instruction: str, text: str) -> str:
    """Tells whether a text is still the one that MGIE wrote for this photo and instruction."""
    return "\n".join((path, instruction.strip(), text.strip()))


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


def grid(figures: list[str]) -> str:
    return f'<div class="pictures">{"".join(figures)}</div>' if figures else ""


def about(systems: Systems) -> str:
    p = systems.preset
    if systems.mini:
        what = (f"This is the built-in miniature, trained on small drawn scenes: it edits at {p.max_side} px at most "
                "and is not MGIE-7B. The real one: --weights DIR.")  # fmt: skip
    else:
        what = f"Weights: {systems.folders['mgie'].name}, preset {p.name}; edits at {p.max_side} px at most."
    missing = "".join(f" {NAMES[name]}: {why}." for name, why in systems.missing.items())
    return f'<p class="small">{escape(what + missing)}</p>'


def build(systems: Systems, examples: list[list[str]]) -> "gradio.Blocks":
    """examples: [photo's path, instruction]."""
    import gradio as gr

    desk = Desk(systems)
    with gr.Blocks(title="MGIE demo", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# Edit a photo by an instruction, with MGIE")
        gr.HTML(about(systems))
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                parts = inputs(gr, systems, examples)
            with gr.Column(scale=3, min_width=300):
                parts |= outputs(gr)
        connect(gr, desk, parts)
    return page


def inputs(gr: "gradio", systems: Systems, examples: list[list[str]]) -> dict:
    limit = f"JPEG, PNG or WebP, up to {MAX_UPLOAD_MB} MB"
    parts = {
        "photo": gr.Image(label="1. Photo", type="filepath", image_mode=None, height=260, elem_id="photo",
                          sources=["upload", "clipboard"], buttons=[]),
        "limit": gr.HTML(f'<p class="small">{limit}: upload, drop or paste it.</p>'),
        "instruction": gr.Textbox(label="2. Instruction", placeholder="make it look professional", max_lines=3,
                                  elem_id="instruction"),
    }  # fmt: skip
    parts["photo"].preprocess = uploaded  # Gradio's own opens the file, and fails without a word for the user
    gr.Examples(examples, [parts["photo"], parts["instruction"]], label="Examples", cache_examples=False)
    parts["write"] = gr.Button("3. Let MGIE write the expressive instruction", elem_id="write")
    parts["expressive"] = gr.Textbox(
        label="Expressive instruction: MGIE draws by it, as it stands here", lines=3, max_lines=6, elem_id="expressive",
        info="Left empty, it is written when you draw.",
    )  # fmt: skip
    parts["written"] = gr.State("")
    p, here = systems.preset, [n for n in ("inspix2pix", "lgie") if n not in systems.missing]
    parts["others"] = gr.CheckboxGroup(
        [(NAMES[n], n) for n in here], value=here, label="Beside MGIE", visible=bool(here), elem_id="others"
    )
    with gr.Accordion("Settings", open=False):
        top = max(15.0, p.guidance_scale)
        parts["guidance"] = gr.Slider(1, top, p.guidance_scale, step=0.1, label="guidance_scale: the instruction")
        parts["image_guidance"] = gr.Slider(1, 3, p.image_guidance_scale, step=0.1,
                                            label="image_guidance_scale: the photo")  # fmt: skip
        parts["steps"] = gr.Slider(1, max(50, p.num_inference_steps), p.num_inference_steps, step=1, label="steps")
        parts["seed"] = gr.Slider(0, 9999, 0, step=1, label="seed: the same one gives the same edit")
    return parts


def outputs(gr: "gradio") -> dict:
    with gr.Row():
        parts = {
            "draw": gr.Button("4. Draw the edit", variant="primary", elem_id="draw"),
            "cancel": gr.Button("Cancel", elem_id="cancel"),
        }
    parts["message"] = gr.HTML(message("Choose a photo and say what to change."), elem_id="message")
    parts["edits"] = gr.HTML("", elem_id="edits", min_height=120)
    return parts


def connect(gr: "gradio", desk: Desk, parts: dict) -> None:
    def draw(
        photo: str | None,
        instruction: str,
        expressive: str,
        written: str,
        others: list[str],
        guidance: float,
        image_guidance: float,
        steps: float,
        seed: float,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[str, str, str, str]]:
        yield from desk.edit(photo, instruction, expressive, written, others, guidance, image_guidance, steps, seed,
                             request.session_hash, progress)  # fmt: skip

    def cancel(request: gr.Request) -> str:
        return desk.cancel(request.session_hash)

    p, hidden = parts, {"api_visibility": "private"}
    for change in (p["photo"].change, p["instruction"].change):
        # the expressive instruction of another photo or instruction must not be drawn by
        change(None, None, p["expressive"], js="() => ''", trigger_mode="always_last", **hidden)
    p["write"].click(desk.write, [p["photo"], p["instruction"]], [p["expressive"], p["written"], p["message"]],
                     concurrency_id="device", concurrency_limit=1, **hidden)  # fmt: skip
    asked = [p[name] for name in ("photo", "instruction", "expressive", "written", "others", "guidance",
                                  "image_guidance", "steps", "seed")]  # fmt: skip
    drawing = gr.on(
        [p["draw"].click, p["instruction"].submit], draw, asked,
        [p["expressive"], p["written"], p["edits"], p["message"]], concurrency_id="device", show_progress_on=p["edits"],
        trigger_mode="multiple",  # else a click right after Cancel is lost: the page still thinks the old edit runs
        **hidden,
    )  # fmt: skip
    p["cancel"].click(cancel, None, p["message"], cancels=[drawing], queue=False, **hidden)


def uploaded(payload: object) -> str | None:
    """The file behind an image component's payload, if it is one of this page's uploads; what it is, `read` says."""
    from gradio.utils import get_upload_folder

    path = getattr(payload, "path", None)
    inside = path and Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    return str(path) if inside else None
