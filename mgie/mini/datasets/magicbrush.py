"""mini-MagicBrush: sessions of one to three local edits with masks and captions, in the layout of the authors' zips.

<split>/edit_turns.json, edit_sessions.json, global_descriptions.json, local_descriptions.json, images/<img_id>/. A
mask is the input image, transparent where it is to be edited. Folders train, dev, test.
"""

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mgie.mini.datasets.facts import draw_slot, facts_of, plan, shares
from mgie.mini.world import phrasing
from mgie.mini.world.assets import photographs
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import DICE, FAMILIES, TRIES, Drawn, Invisible, follow

if TYPE_CHECKING:
    from mgie.mini.datasets.writer import DatasetWriter, Parameters

TURNS = (1, 3, 2, 1, 3)  # .4, .2 and .4 of the sessions have one, two and three, as in the official test split


def write_magicbrush(writer: "DatasetWriter", parameters: "Parameters") -> None:
    families = tuple(f for f in FAMILIES if f in phrasing.families("request"))
    for split, folder in (("train", "train"), ("val", "dev"), ("test", "test")):
        dice = Dice(parameters.key("magicbrush"), DICE, split)
        lengths = shares(parameters.count(split), TURNS)
        turns: list[dict[str, str]] = []
        sessions: dict[str, list] = {}
        captions: dict[str, dict] = {"global": {}, "local": {}}
        for i, slot in enumerate(plan(dice, split, families, len(lengths))):
            first = draw_slot(f"{parameters.key('magicbrush')}/{i}", split, parameters.size, "request", slot)
            session = draw_session(first, lengths[i], parameters.key(f"{split}/{i}"))
            img_id = str(100000 + photographs()[first.photograph].number * 1000 + i)
            records = write_session(writer, folder, img_id, session)
            turns += records
            sessions[img_id] = records
            describe(captions, img_id, session)
            writer.facts += [facts_of(f"{img_id}-{n}", split, d) for n, d in enumerate(session, start=1)]
            writer.progress(i, len(lengths))
        writer.text(f"{folder}/edit_turns.json", turns)
        writer.text(f"{folder}/edit_sessions.json", sessions)
        for kind, texts in captions.items():
            writer.text(f"{folder}/{kind}_descriptions.json", texts)


def draw_session(first: Drawn, turns: int, seed: str) -> list[Drawn]:
    """The first turn and those that follow on it; begun anew where a turn leaves nothing to ask for."""
    for attempt in range(TRIES):
        session = [first]
        try:
            while len(session) < turns:
                session.append(follow(session[-1], f"{seed}/{attempt}/{len(session)}", "request"))
        except Invisible:
            continue
        return session
    raise Invisible(f"no {turns} turns follow on '{first.goal_caption}' ({seed})")


def write_session(writer: "DatasetWriter", folder: str, img_id: str, session: list[Drawn]) -> list[dict[str, str]]:
    place = f"{folder}/images/{img_id}"
    names = [f"{img_id}-input.png", *(f"{img_id}-output{n}.png" for n in range(1, len(session) + 1))]
    writer.image(f"{place}/{names[0]}", session[0].input_image)
    records = []
    for n, drawn in enumerate(session, start=1):
        mask = f"{img_id}-mask{n}.png"
        writer.image(f"{place}/{mask}", masked(drawn))
        writer.image(f"{place}/{names[n]}", drawn.goal_image)
        records.append({"input": names[n - 1], "mask": mask, "output": names[n], "instruction": drawn.instruction})
    return records


def masked(drawn: Drawn) -> Image.Image:
    """RGBA: transparent, and white under it, where the edit is asked for."""
    pixels = np.dstack([np.asarray(drawn.input_image), np.full(drawn.mask.shape, 255, np.uint8)])
    pixels[drawn.mask] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def describe(captions: dict[str, dict], img_id: str, session: list[Drawn]) -> None:
    outputs = {f"{img_id}-output{n}.png": drawn for n, drawn in enumerate(session, start=1)}
    captions["global"][img_id] = {
        f"{img_id}-input.png": session[0].input_caption, **{name: d.goal_caption for name, d in outputs.items()},
    }  # fmt: skip
    captions["local"][img_id] = {name: d.local_caption for name, d in outputs.items()}
