"""The annotators' page: sign in, then one item after the other. The server keeps nothing but the file of votes.

Whatever a vote needs (annotator, tab, item) is on the page itself, so that a server that was killed and started again
takes it up. Which model an answer is about is known to the file alone: images are sent without names.
"""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bench.human.study import CHOICES5, ORDERS6, QUESTIONS, Item, slots
from bench.human.votes import Left, Refused, Votes
from bench.settings import EditSettings
from mgie.io.images import ImageError, load, png
from mgie.io.web import message, picture

if TYPE_CHECKING:
    import gradio

LOOK_AGAIN = 30  # seconds
SIDE = 512  # px; larger images are shrunk for the page
CONSENT = (
    "Your answers, their times and the id you type are stored in a file on this computer, to compare models that edit "
    "photos. Nothing else is recorded. Taking part is voluntary; you can stop at any time."
)
KEYS = {
    5: "Keys: 1 = A, 2 = both alike, 3 = B, for one question after the other; Enter sends; U takes a vote back.",
    6: "Keys: type the letters from best to worst, as b a, for one question after the other; Enter sends; "
       "Escape clears; U takes a vote back.",
}  # fmt: skip
CSS = """
#task blockquote { font-size: 1.15rem; margin: .3rem 0 .6rem; padding: .2rem .8rem; border-left: 4px solid #2f6fde;
  color: var(--body-text-color); }
#task progress { width: 100%; height: 10px; appearance: none; border: 1px solid var(--border-color-primary);
  border-radius: 5px; overflow: hidden; background: transparent; }
#task progress::-webkit-progress-bar { background: transparent; }
#task progress::-webkit-progress-value { background: #2f6fde; }
#task progress::-moz-progress-bar { background: #2f6fde; }
#task p, #task h2 { color: var(--body-text-color); margin: 0 0 .4rem; }
.texts { display: grid; gap: 10px; }
.texts div { border: 1px solid var(--border-color-primary); border-radius: 6px; padding: .5rem .8rem; min-width: 0;
  color: var(--body-text-color); background: var(--background-fill-secondary); overflow-wrap: anywhere; }
#task .alone { max-width: 420px; }
#message, #sign-in-message { padding: 0 !important; }
.question { padding: 8px 12px !important; }
.question .wrap { gap: 6px; }
#task .three { grid-template-columns: repeat(2, minmax(0, 1fr)); }
@media (min-width: 768px) { #task .three { grid-template-columns: repeat(3, minmax(0, 1fr)); } }
"""
SCRIPT = """<script>
(() => {
  // somebody else has the last items: look again now and then
  setInterval(() => { if (document.querySelector('[data-again]')) location.reload(); }, AGAIN);
  document.addEventListener('click', event => {
    if (!event.target.closest('#undo') || confirm('Take your last vote back? You judge its item again.')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  let typed = '';
  const seen = e => e.offsetParent !== null;
  const questions = () => [...document.querySelectorAll('.question')].filter(seen);
  const open = () => questions().find(q => !q.querySelector('input:checked'));
  const press = id => { const b = document.getElementById(id); if (b && seen(b)) b.click(); };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches('textarea, input:not([type=radio]), summary')) return;
    const key = event.key.toLowerCase();
    if (key === 'u') { press('undo'); return; }
    if (!questions().length) return;
    if (key === 'enter') {
      if (!event.target.matches('button, a')) { event.preventDefault(); press('send'); }
      return;
    }
    if (key === 'escape') { typed = ''; press('clear'); return; }
    const q = open();
    if (!q) return;
    const labels = [...q.querySelectorAll('label')].filter(l => l.querySelector('input'));
    if (labels.length === 3 && '123'.includes(key)) { labels[Number(key) - 1].querySelector('input').click(); }
    if (labels.length === 6 && 'abc'.includes(key) && !typed.includes(key.toUpperCase())) {
      typed += (typed ? ' > ' : '') + key.toUpperCase();
      const fits = labels.filter(l => l.innerText.trim().startsWith(typed));
      if (fits.length === 1) { fits[0].querySelector('input').click(); typed = ''; }
    }
  });
})();
</script>""".replace("AGAIN", str(1000 * LOOK_AGAIN))
REMEMBER = "(id, consent) => { sessionStorage.setItem('annotator', id); return [id, consent]; }"
RECALL = "() => [sessionStorage.getItem('annotator') || '']"


def build(votes: Votes) -> "gradio.Blocks":
    import gradio as gr

    with gr.Blocks(title="Which edit is better?", analytics_enabled=False) as page:
        gr.Markdown("# Judge edits of photos")
        parts = sign_in_form(gr) | item_form(gr)
        connect(gr, page, votes, parts)
    return page


def sign_in_form(gr: "gradio") -> dict:
    with gr.Column(elem_id="sign-in") as form:
        gr.HTML(instructions(), elem_id="instructions")
        gr.Markdown(CONSENT)
        consent = gr.Checkbox(label="I have read this and take part of my own will.", elem_id="consent")
        who = gr.Textbox(label="Annotator id (letters, digits, - and _; not your name)", max_lines=1, elem_id="who")
        begin = gr.Button("Begin", variant="primary", elem_id="begin")
        said = gr.HTML("", elem_id="sign-in-message")
    return {"form": form, "consent": consent, "who": who, "begin": begin, "sign_in_said": said}


def item_form(gr: "gradio") -> dict:
    """The item and its questions; the questions of both figures are there, those of the other one hidden."""
    with gr.Column(visible=False, elem_id="judge") as judge, gr.Row():
        with gr.Column(scale=6, min_width=300):
            task = gr.HTML("", elem_id="task")
        with gr.Column(scale=5, min_width=300):
            texts, radios = gr.HTML("", elem_id="texts", visible=False), {}
            for figure, choices in ((5, CHOICES5), (6, ORDERS6)):
                for name, text in QUESTIONS[figure].items():
                    label = f"{text} From best to worst:" if figure == 6 else text
                    classes = {"elem_classes": ["question"], "visible": False}
                    radios[figure, name] = gr.Radio(list(choices), label=label, **classes)
            said = gr.HTML("", elem_id="message")
            with gr.Row():
                send = gr.Button("Send (Enter)", variant="primary", elem_id="send", min_width=120)
                clear = gr.Button("Clear (Esc)", elem_id="clear", min_width=100)
                undo = gr.Button("Undo (U)", elem_id="undo", min_width=120)
    hidden = {name: gr.Textbox(visible=False) for name in ("annotator", "tab", "item")}
    parts = {"judge": judge, "task": task, "texts": texts, "radios": radios, "message": said}
    return parts | {"send": send, "clear": clear, "undo": undo} | hidden


def connect(gr: "gradio", page: "gradio.Blocks", votes: Votes, p: dict) -> None:
    radios, hidden = p["radios"], {"api_visibility": "private"}
    state = [p["annotator"], p["tab"], p["item"]]
    buttons = [p["send"], p["clear"], p["undo"]]
    fixed = [p["message"], p["form"], p["judge"], p["task"], p["texts"]]
    shown = [*fixed, *buttons, *state, *radios.values()]

    def view(annotator: str, tab: str, said: str) -> list:
        """The next item, or the end."""
        item, left = votes.next(annotator)
        asked = [gr.Radio(value=None, visible=bool(item and figure == item.figure and name in item.questions))
                 for figure, name in radios]  # fmt: skip
        task = task_of(item, annotator, left) if item else over(left)
        boxes = texts_of(item, annotator) if item else ""
        usable = [gr.Button(visible=bool(item))] * 2 + [gr.Button(visible=left.done > 0)]
        return [said, gr.Column(visible=False), gr.Column(visible=True), task, gr.HTML(boxes, visible=bool(boxes)),
                *usable, annotator, tab, item.id if item else "", *asked]  # fmt: skip

    def only(said: object) -> list:
        """A message; all else as it is."""
        return [said, *[gr.skip()] * (len(shown) - 1)]

    def begin(who: str, consent: bool) -> list:
        try:
            tab = votes.sign_in(who.strip(), consent)
        except Refused as refused:
            return [message(str(refused), "bad"), *only(gr.skip())]
        return ["", *view(who.strip(), tab, "")]

    def recall(who: str) -> list:
        """A page that was loaded again goes on; anybody else signs in."""
        try:
            return (
                view(who, votes.sign_in(who, False), message("Welcome back: go on here.")) if who else only(gr.skip())
            )
        except Refused:
            return only(gr.skip())

    def send(annotator: str, tab: str, item: str, *given: str | None) -> list:
        answers = {name: value for (figure, name), value in zip(radios, given, strict=True)
                   if item.startswith(f"{figure}/")}  # fmt: skip
        try:
            votes.vote(annotator, tab, item, answers)
        except Refused as refused:
            full = "already" in str(refused)
            return view(annotator, tab, message(str(refused))) if full else only(message(str(refused), "bad"))
        return view(annotator, tab, message("Counted.", "good"))

    def undo(annotator: str, tab: str) -> list:
        try:
            votes.undo(annotator, tab)
        except Refused as refused:
            return only(message(str(refused), "bad"))
        return view(annotator, tab, message("Your last vote is taken back: judge it again."))

    usual = {"show_progress": "hidden", "concurrency_limit": None, **hidden}
    page.load(recall, [p["who"]], shown, js=RECALL, **usual)
    began = [p["sign_in_said"], *shown]
    gr.on([p["begin"].click, p["who"].submit], begin, [p["who"], p["consent"]], began, js=REMEMBER, **usual)
    p["send"].click(send, [*state, *radios.values()], shown, **usual)
    p["undo"].click(undo, state[:2], shown, **usual)
    p["clear"].click(lambda: [None] * len(radios), None, list(radios.values()), **usual)


def over(left: Left) -> str:
    counted = f"{left.done} vote{'s' * (left.done != 1)} of yours {'are' if left.done != 1 else 'is'} counted."
    if left.held:
        soon = f"what they leave comes to you: this page looks again every {LOOK_AGAIN} seconds."
        return (f"<h2>Nothing is free for you just now.</h2><p>{counted} Others are at the last {left.held}; {soon}</p>"
                "<p data-again></p>")  # fmt: skip
    return f"<h2>That was all, thank you.</h2><p>{counted} You can close this page.</p>"


def task_of(item: Item, annotator: str, left: Left) -> str:
    part = "Two texts for one photo" if item.figure == 5 else "Three edits of one photo"
    total = left.done + left.left
    head = (f"<h2>{part}</h2><p>{left.done} done, {left.left} left for you "
            f'<progress value="{left.done}" max="{total}" aria-label="progress"></progress></p>'
            f"<p>The instruction was:</p><blockquote>{escape(item.instruction)}</blockquote>")  # fmt: skip
    body = photo_of(item) if item.figure == 5 else edits(item, slots(item, annotator))
    return f'{head}{body}<p class="small">{escape(KEYS[item.figure])}</p>'


def photo_of(item: Item) -> str:
    return f'<div class="pictures alone">{shown_image(item.input_image, "the photo", "The photo")}</div>'


def texts_of(item: Item, annotator: str) -> str:
    """The two texts of an item of Figure 5, which stand beside the photo, over the questions; else empty."""
    if item.figure != 5:
        return ""
    boxes = [f"<div><b>Text {letter}</b><br>{escape(item.shown[model])}</div>"
             for letter, model in slots(item, annotator).items()]  # fmt: skip
    return f'<div class="texts">{"".join(boxes)}</div>'


def edits(item: Item, letters: dict[str, str]) -> str:
    figures = [shown_image(item.input_image, "the photo", "The photo")]
    if item.goal_image:
        figures.append(shown_image(item.goal_image, "the goal image", "The goal image"))
    figures += [shown_image(item.shown[m], f"edit {letter}", f"Edit {letter}") for letter, m in letters.items()]
    return f'<div class="pictures three">{"".join(figures)}</div>'


def shown_image(path: str, alt: str, caption: str) -> str:
    """Encoded anew, so that neither name, type nor metadata of the file tell whose it is."""
    try:
        data = png(load(Path(path), EditSettings(max_side=SIDE)))
    except ImageError:
        return f'<figure><p class="message bad" role="alert">{escape(alt)} cannot be read</p></figure>'
    return picture(data, alt, f"<b>{escape(caption)}</b>")


def instructions() -> str:
    """What is asked, with an example from the miniature world whose answer is plain."""
    from PIL import ImageOps

    from mgie.mini.world import examples as world

    drawn = world.draw("demo/1", split="test", size=128)
    shown = (
        (drawn.input_image, "the photo", "The photo"), (drawn.goal_image, "the goal image", "The goal image"),
        (ImageOps.grayscale(drawn.input_image).convert("RGB"), "edit A, all in grey", "Edit A"),
        (drawn.goal_image, "edit B, as the goal image", "Edit B"), (drawn.input_image, "edit C, unchanged", "Edit C"),
    )  # fmt: skip
    pictures = "".join(picture(png(image), alt, f"<b>{title}</b>") for image, alt, title in shown)
    right = escape(drawn.expressive_instruction)
    return f"""<h2>What to do</h2>
<p>You see one item after the other; you cannot know which model made what. Judge by what you see, at your own pace.</p>
<p><b>Two texts.</b> A photo, an instruction, and two longer texts that say what the edit should be. For
“{escape(drawn.instruction)}”, “{right}” is practical; “Add a doctor to the photo.” makes something up.</p>
<p><b>Three edits.</b> A photo, an instruction, often a goal image (how a person did it), and three edits. Order them
from best to worst for each question. Here B does what was asked, C nothing, A spoils the photo: B &gt; C &gt; A.</p>
<blockquote>{escape(drawn.instruction)}</blockquote><div class="pictures">{pictures}</div>"""
