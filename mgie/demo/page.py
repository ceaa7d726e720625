"""The demo's page: photo, instruction, expressive instruction, which can be changed, draw; beside it the edits.

What is said stands at what was pressed: under the photo, under step 3, under step 4.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.demo.desk import LIMIT, MAX_UPLOAD_MB, Desk
from mgie.demo.systems import NAMES, NOBODY, OWN, Systems
from mgie.demo.words import known
from mgie.io.web import message

if TYPE_CHECKING:
    import gradio

BUTTON = "3. Let {} write the expressive instruction"
READY = "Without step 3 the text is written as you draw."
EMPTY = '<p class="small">The edits appear here.</p>'
CSS = """
#photo img { object-fit: contain; }
#edits .pictures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
#edits h2 { font-size: 1.05rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
#edits a { color: var(--link-text-color); text-decoration: underline; margin: 0; padding: 0; }
#edits .pictures { max-width: 580px; }
#photo-said, #write-said, #message { padding: 0 !important; }
#message { scroll-margin-top: 8px; }
#examples img { max-height: 64px; width: auto; }
#examples td { padding-top: 2px; padding-bottom: 2px; }
"""
# Gradio's previews have empty alt texts. A file over the limit is stopped before it is sent: Gradio's own refusal is a
# note that goes after ten seconds
HEAD = """<script>
new MutationObserver(() => document.querySelectorAll('img[alt=""]').forEach(i => {
  i.alt = i.closest('#photo') ? 'Your photo' : 'Example photo'; })).observe(document, {childList: true, subtree: true});
(() => {
  const limit = MAX_MB, mb = bytes => (bytes / 2 ** 20).toFixed(0);
  const check = (event, files) => {
    document.getElementById('too-large')?.remove();
    const large = [...files ?? []].find(file => file.size > limit * 2 ** 20);
    if (!large) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const said = document.createElement('p');
    said.id = 'too-large'; said.className = 'message bad'; said.setAttribute('role', 'alert');
    said.textContent = `${large.name} has ${mb(large.size)} MB; the limit is ${limit} MB: take a smaller photo.`;
    document.getElementById('photo-said').append(said);
    if (event.type === 'change') event.target.value = '';
  };
  document.addEventListener('change', e => { if (e.target.closest('#photo')) check(e, e.target.files); }, true);
  document.addEventListener('drop', e => check(e, e.dataTransfer?.files), true);
  document.addEventListener('paste', e => check(e, e.clipboardData?.files), true);
})();
</script>""".replace("MAX_MB", str(MAX_UPLOAD_MB))
# the expressive instruction of another photo or instruction must not be drawn by
FORGET = f"() => {{ document.getElementById('too-large')?.remove(); return ['', '', `{message(READY)}`]; }}"
# a phone has the edits below the form
SCROLL = """() => { if (innerWidth < 768) document.getElementById('message').scrollIntoView({block: 'start'});
  return []; }"""


def about(systems: Systems) -> str:
    p = systems.preset
    if systems.mini:
        what = (f"This is the built-in miniature and not MGIE-7B. It edits at {p.max_side} px at most and knows small "
                f"drawn scenes and some {len(known()) // 50 * 50} words, as in the examples: what is asked for in "
                "other words comes out as something else. The real one: --weights DIR.")  # fmt: skip
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
                parts = inputs(gr, systems) | chosen(gr, systems) | drawing_part(gr)
            with gr.Column(scale=3, min_width=300):
                parts["edits"] = gr.HTML(EMPTY, elem_id="edits", min_height=120)
                with gr.Column(elem_id="examples"):
                    gr.Examples(examples, [parts["photo"], parts["instruction"]], cache_examples=False,
                                label="Examples: the first ones work best, the last one fails")  # fmt: skip
        connect(gr, desk, parts)
    return page


def inputs(gr: "gradio", systems: Systems) -> dict:
    parts = {
        "photo": gr.Image(label="1. Photo", type="filepath", image_mode=None, height=190, elem_id="photo",
                          sources=["upload", "clipboard"], buttons=[]),
        "photo_said": gr.HTML(LIMIT, elem_id="photo-said"),
        "instruction": gr.Textbox(label="2. Instruction", placeholder="make it look professional", max_lines=3,
                                  elem_id="instruction"),
        "write": gr.Button(BUTTON.format(NAMES["mgie"]), elem_id="write"),
        "write_said": gr.HTML("", elem_id="write-said"),
        "expressive": gr.Textbox(label="Expressive instruction: it is drawn by as it stands here", lines=2,
                                 max_lines=6, elem_id="expressive"),
        "written": gr.State(""),
    }  # fmt: skip
    parts["photo"].preprocess = uploaded  # Gradio's own opens the file, and fails without a word for the user
    return parts


def chosen(gr: "gradio", systems: Systems) -> dict:
    p, here = systems.preset, [n for n in ("inspix2pix", "lgie") if n not in systems.missing]
    with gr.Accordion("Settings: who writes, models beside MGIE, scales, steps, seed", open=False):
        top = max(15.0, p.guidance_scale)
        return {
            "rewriter": gr.Radio([(printed, name) for name, printed in systems.rewriters.items()], value=OWN,
                                 label="Who writes", elem_id="rewriter"),
            "others": gr.CheckboxGroup([(NAMES[n], n) for n in here], value=here, label="Beside MGIE",
                                       visible=bool(here), elem_id="others"),
            "guidance": gr.Slider(1, top, p.guidance_scale, step=0.1, label="guidance_scale: the instruction"),
            "image_guidance": gr.Slider(1, 3, p.image_guidance_scale, step=0.1,
                                        label="image_guidance_scale: the photo"),
            "steps": gr.Slider(1, max(50, p.num_inference_steps), p.num_inference_steps, step=1, label="steps"),
            "seed": gr.Slider(0, 9999, 0, step=1, label="seed: the same one gives the same edit"),
        }  # fmt: skip


def drawing_part(gr: "gradio") -> dict:
    with gr.Row():
        parts = {
            "draw": gr.Button("4. Draw the edit", variant="primary", elem_id="draw", min_width=140),
            "cancel": gr.Button("Cancel", elem_id="cancel", min_width=80),
        }
    return parts | {"message": gr.HTML(message(READY), elem_id="message")}


def connect(gr: "gradio", desk: Desk, p: dict) -> None:
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
        rewriter: str,
        request: gr.Request,
        progress=gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[str, str, str, str]]:
        yield from desk.edit(photo, instruction, expressive, written, others, guidance, image_guidance, steps, seed,
                             request.session_hash, progress, rewriter)  # fmt: skip

    def write(photo: str | None, instruction: str, rewriter: str, request: gr.Request) -> tuple[str, str, str]:
        return desk.write(photo, instruction, request.session_hash, rewriter)

    def named(rewriter: str) -> object:
        return gr.Button(BUTTON.format({OWN: NAMES["mgie"], NOBODY: "nobody"}.get(rewriter) or NAMES[rewriter]))

    def begin(request: gr.Request) -> list:
        return [desk.waiting(request.session_hash), *[gr.Button(interactive=False)] * 2]

    def cancel(request: gr.Request) -> str:
        return desk.cancel(request.session_hash)

    hidden = {"api_visibility": "private"}
    quick, buttons = {"queue": False, "show_progress": "hidden", **hidden}, [p["draw"], p["write"]]
    on_device = {"concurrency_id": "device", "concurrency_limit": 1, "trigger_mode": "once", **hidden}
    connect_photo(gr, desk, p, quick)
    p["rewriter"].change(named, p["rewriter"], p["write"], **quick)
    for change in (p["photo"].change, p["instruction"].change, p["rewriter"].change):
        forgotten = [p["expressive"], p["write_said"], p["message"]]
        change(None, None, forgotten, js=FORGET, trigger_mode="always_last", **hidden)

    def ready() -> list:
        return [gr.Button(interactive=True)] * 2

    # buttons first: a second press would be a second edit
    pressed = p["write"].click(begin, None, [p["write_said"], *buttons], **quick)
    said = [p["expressive"], p["written"], p["write_said"]]
    writing = pressed.then(write, [p["photo"], p["instruction"], p["rewriter"]], said, **on_device)
    asked = [p[name] for name in ("photo", "instruction", "expressive", "written", "others", "guidance",
                                  "image_guidance", "steps", "seed", "rewriter")]  # fmt: skip
    pressed = gr.on(
        [p["draw"].click, p["instruction"].submit], begin, None, [p["message"], *buttons], js=SCROLL, **quick
    )
    drawing = pressed.then(draw, asked, [p["expressive"], p["written"], p["edits"], p["message"]],
                           show_progress_on=p["edits"], **on_device)  # fmt: skip
    for work in (writing, drawing):
        work.then(ready, None, buttons, **quick)
    p["cancel"].click(cancel, None, p["message"], cancels=[drawing], **quick)


def connect_photo(gr: "gradio", desk: Desk, p: dict, quick: dict) -> None:
    """A file is looked at as it comes; one that is no photo is not kept, and what is wrong with it stays to be read."""

    def changed(path: str | None) -> object:
        return desk.checked(path)[1] if path else gr.skip()

    def came(path: str | None) -> tuple[object, object]:
        good, told = desk.checked(path)
        return (gr.skip(), gr.skip()) if good else (None, told)

    p["photo"].change(changed, p["photo"], p["photo_said"], **quick)
    p["photo"].upload(came, p["photo"], [p["photo"], p["photo_said"]], **quick)
    p["photo"].clear(lambda: LIMIT, None, p["photo_said"], **quick)


def uploaded(payload: object) -> str | None:
    """The file behind an image component's payload, if it is one of this page's uploads; what it is, `read` says."""
    from gradio.utils import get_upload_folder

    path = getattr(payload, "path", None)
    inside = path and Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    return str(path) if inside else None
