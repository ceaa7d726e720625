"""What is judged: items made of run folders, and the questions of the paper's Figures 5 and 6.

Figure 5: two expressive instructions, LGIE's and MGIE's. Figure 6: three edits, InsPix2Pix's, LGIE's and MGIE's.
Assumptions, since the paper prints no questionnaire: the wording below, a tie offered in Figure 5 (its bars have one)
and none in Figure 6 (its scores are 1 to 3); examples are drawn at random, the same ones for both figures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.pages.entries import Entry

FIGURES = (5, 6)
MODELS = {5: ("lgie", "mgie"), 6: ("inspix2pix", "lgie", "mgie")}
TIE = "tie"
ANNOTATORS = 3  # an item
RELEVANCE = "ground-truth relevance"  # asked only where there is a goal image
QUESTIONS = {  # by figure: what results/paper/reported.csv calls it -> as it is asked
    5: {
        "practicality": "Which text is more practical: could an editor carry it out on this photo?",
        "less hallucination": "Which text makes up less: things that are not in the photo, or that nobody asked for?",
    },
    6: {
        "instruction following": "Which edit follows the instruction best?",
        RELEVANCE: "Which edit is closest to the goal image?",
        "overall quality": "Which edit is best over all?",
    },
}
LETTERS = "ABC"
CHOICES5 = ("A", "both alike", "B")
ORDERS6 = tuple(" > ".join(order) for order in permutations(LETTERS))


@dataclass(frozen=True)
class Item:
    """One page of one figure; the same example is two items."""

    id: str  # "5/ma5k/test/0001_A"
    figure: int
    dataset: str
    group: str
    instruction: str
    input_image: str
    goal_image: str | None
    shown: dict[str, str]  # model -> its expressive instruction (5), or its output image's path (6)
    content: str  # SHA-256 of what is shown

    @property
    def questions(self) -> dict[str, str]:
        asked = QUESTIONS[self.figure]
        return {k: v for k, v in asked.items() if k != RELEVANCE or self.goal_image}

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True)
class Study:
    suite: str
    items: list[Item]
    notices: list[str]  # what was left out and why
    settings: str = ""  # the flags that it was drawn by

    @property
    def fingerprint(self) -> str:
        """Of everything that an annotator sees: votes of another study are never mixed in."""
        text = "\n".join(f"{i.id} {i.content}" for i in sorted(self.items, key=lambda i: i.id))
        return sha256(f"{self.suite}\n{text}".encode()).hexdigest()


def study_of(
    suite: str, entries: "Sequence[Entry]", sample: int | None, figures: Sequence[int], seed: int = 0
) -> Study:
    """sample: examples a dataset, drawn by the hash of seed and id (None: all). Raises ValueError for no items."""
    items, notices = [], []
    for dataset in dict.fromkeys(e.dataset for e in entries):
        here = [e for e in entries if e.dataset == dataset]
        lacking = [m for m in MODELS[6] if not any(m in e.views for e in here)]
        if lacking:
            raise ValueError(f"{dataset}: no run of {' and '.join(lacking)}; people compare {', '.join(MODELS[6])}")
        whole = [e for e in here if complete(e)]
        if len(whole) < len(here):
            notices.append(f"{dataset}: {len(here) - len(whole)} of {len(here)} examples lack an edit or a text of a "
                           "model and are left out")  # fmt: skip
        if sample is not None and sample > len(whole):
            notices.append(f"{dataset}: --sample {sample}, but only {len(whole)} examples are there; all are taken")
        drawn = sorted(whole, key=lambda e: sha256(f"{seed}/{e.example.id}".encode()).digest())[:sample]
        items += [item_of(e, figure) for figure in figures for e in drawn]
    if not items:
        raise ValueError(f"nothing to judge: {'; '.join(notices) or 'no example'}")
    flags = "" if sample is None else f"--sample {sample} --seed {seed} "
    return Study(suite, items, notices, f"{flags}--figures {','.join(map(str, figures))}")


def complete(entry: "Entry") -> bool:
    found = {m: entry.views[m].edits.get(entry.example.id) for m in MODELS[6] if m in entry.views}
    edits = {m: edit for m, edit in found.items() if edit is not None}
    return all(m in edits for m in MODELS[6]) and all(edits[m].expressive_instruction for m in MODELS[5])


def item_of(entry: "Entry", figure: int) -> Item:
    e, views = entry.example, entry.views
    edits = {m: views[m].edits[e.id] for m in MODELS[figure]}
    if figure == 5:
        shown = content = {m: edit.expressive_instruction or "" for m, edit in edits.items()}
    else:
        shown = {m: str((views[m].folder / edit.output_image).resolve()) for m, edit in edits.items()}
        content = {m: edit.image_sha256 for m, edit in edits.items()}
    goal = str(e.goal_image.resolve()) if e.goal_image is not None else None
    words = json.dumps([e.instruction, content, goal is not None], sort_keys=True)
    return Item(f"{figure}/{e.id}", figure, entry.dataset, e.group, e.instruction.strip(),
                str(e.input_image.resolve()), goal, shown, sha256(words.encode()).hexdigest())  # fmt: skip


def slots(item: Item, annotator: str) -> dict[str, str]:
    """Letter -> model: another order for each annotator and item, the same one whenever it is shown again."""
    models = sorted(item.shown, key=lambda m: sha256(f"{annotator}/{item.id}/{m}".encode()).digest())
    return dict(zip(LETTERS[: len(models)], models, strict=True))


def answers_of(item: Item, annotator: str, given: Mapping[str, str | None]) -> dict[str, str | list[str]]:
    """given: by question, as on the page. Returns question -> model or tie (5), or models from best to worst (6).

    Raises ValueError for a question without an answer, or with one that is none.
    """
    letters = slots(item, annotator)
    answers: dict[str, str | list[str]] = {}
    allowed = CHOICES5 if item.figure == 5 else ORDERS6
    for name in item.questions:
        answer = given.get(name)
        if answer is None:
            raise ValueError(f"Please answer each question; still open: {item.questions[name]}")
        if answer not in allowed:
            raise ValueError(f"{answer!r:.40} is no answer here; expected one of {', '.join(allowed)}")
        if item.figure == 5:
            answers[name] = letters.get(answer, TIE)
        else:
            answers[name] = [letters[letter] for letter in answer.split(" > ")]
    return answers
