"""mini-GIER: photo edits of one or two operators, asked for by experts and amateurs, in the layout of jshi31/T2ONet.

GIER.json, url_dict.json, splits/<split>_sess_3.json with the index lists global and shapeAlign, images/, masks/ as COCO
RLE. Two or three sentences a pair, the first an expert's. detailed_request is empty where the official files have NaN.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mgie.mini.datasets.facts import draw_slot, facts_of, plan, post, shares
from mgie.mini.world import phrasing
from mgie.mini.world.assets import sources
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import DICE, FAMILIES, Drawn, is_visible, worded
from mgie.mini.world.families_global import LOOKS, retouched
from mgie.mini.world.scene import silhouette

if TYPE_CHECKING:
    from mgie.mini.datasets.writer import DatasetWriter, Parameters

SENTENCES = (3, 2)  # of the first pair, the second, the first again, ...
COLOURING = ("saturation", "black-white", "sepia", "warm", "cool", "recolour")  # nobody asks for two of them at once
NOT_GLOBAL = {"inpaint_obj", "color_bg"}  # T2ONet's rule for its subset "global"


class PhotoRequest(NamedTuple):
    """A GIER pair before it is files."""

    drawn: Drawn
    sentences: list[str]  # the first is an expert's
    regions: list[NDArray[np.bool_]]  # parts of the input image that do not overlap
    operator: dict[str, dict]


def write_gier(writer: "DatasetWriter", parameters: "Parameters") -> None:
    everything: list[dict] = []
    urls: dict[str, str] = {}
    families = tuple(f for f in FAMILIES if f in phrasing.families("expert"))
    for split in ("train", "val", "test"):
        dice = Dice(parameters.key("gier"), DICE, split)
        total = parameters.count(split)
        counts = [SENTENCES[i % 2] for i in range(total)] if split == "train" else shares(total, SENTENCES)
        records: list[dict] = []
        for i, slot in enumerate(plan(dice, split, families, len(counts))):
            drawn = draw_slot(f"{parameters.key('gier')}/{i}", split, parameters.size, "expert", slot)
            asked = request(dice, drawn, counts[i])
            thread, edit = post("gier", split, i), post("gier", split, i, "edit")
            records.append(write_pair(writer, thread, edit, asked))
            writer.facts.append(facts_of(f"{thread}_{edit}", split, asked.drawn))
            source = sources()[asked.drawn.photograph]
            urls |= {records[-1]["input"]: source, records[-1]["output"]: source}
            writer.progress(i, len(counts))
        writer.text(f"splits/{split}_sess_3.json", records)
        whole = [k for k, record in enumerate(records) if not NOT_GLOBAL & set(record["operator"])]
        writer.text(f"splits/{split}_global_sess_3.json", whole)
        writer.text(f"splits/{split}_shapeAlign_sess_3.json", list(range(len(records))))
        everything += records
    writer.text("GIER.json", everything)
    writer.text("url_dict.json", urls)


def request(dice: Dice, drawn: Drawn, many: int) -> PhotoRequest:
    """The drawn edit, two times in five with a global one on top, in as many sentences."""
    second = None if drawn.ambiguous or dice.below(5) > 1 else second_edit(dice, drawn)
    edits = [drawn, second] if second else [drawn]
    styles = ("expert", *["amateur"] * (many - 1))
    wordings = [[*phrasing.instructions(dice, e.change, "expert", 1),
                 *phrasing.instructions(dice, e.change, "amateur", many - 1)] for e in edits]  # fmt: skip
    sentences = [" and ".join(words[i] for words in wordings) for i in range(len(styles))]
    is_local = not drawn.mask.all()
    regions = [drawn.mask, ~drawn.mask] if is_local else objects_of(drawn)
    operator = {name: {"local": is_local, "ids": [0] if is_local else []} for name in drawn.operators}
    if second:
        operator |= {name: {"local": False, "ids": []} for name in second.operators}
    return PhotoRequest(both(drawn, second) if second else drawn, sentences, regions, operator)


def second_edit(dice: Dice, drawn: Drawn) -> Drawn | None:
    """A global edit of another family on the goal image; None where one would not see it."""
    taken = COLOURING if drawn.family in COLOURING else (drawn.family,)
    keys = [k for k in LOOKS if phrasing.templates("expert", k) and k.partition(":")[0] not in taken]
    key = dice.choice(keys)
    family = FAMILIES[key.partition(":")[0]]
    change = retouched(drawn.change.after, drawn.change.goal_image, key, "benchmark", dice.below(3))
    return worded(dice, family, change, "expert") if is_visible(change) else None


def both(first: Drawn, second: Drawn) -> Drawn:
    return replace(
        second, input_image=first.input_image, input_caption=first.input_caption,
        expressive_instruction=f"{first.expressive_instruction} {second.expressive_instruction}",
        family=f"{first.family}+{second.family}", operators=(*first.operators, *second.operators),
    )  # fmt: skip


def objects_of(drawn: Drawn) -> list[NDArray[np.bool_]]:
    """Each object of the input image, later ones in front, then all the rest."""
    rest = np.ones(drawn.mask.shape, bool)
    regions = []
    for sprite in reversed(drawn.input_objects):
        region = silhouette(sprite, rest.shape[0], shadow=False) & rest
        rest &= ~region
        regions.append(region)
    return [region for region in (*regions, rest) if region.any()]


def write_pair(writer: "DatasetWriter", thread: str, edit: str, asked: PhotoRequest) -> dict:
    writer.image(f"images/{thread}_{thread}.png", asked.drawn.input_image)
    writer.image(f"images/{thread}_{edit}.png", asked.drawn.goal_image)
    writer.text(f"masks/{thread}_{thread}_mask.json", [run_lengths(region) for region in asked.regions])
    return {
        "input": f"{thread}_{thread}.png", "output": f"{thread}_{edit}.png",
        "segment": f"{thread}/{thread}.png", "palette": f"{thread}/{thread}plt.png",
        "request": asked.sentences[-1], "detailed_request": "", "dataset": "reddit", "workerId": "mini",
        "operator": asked.operator, "expert_summary": asked.sentences[:1], "amateur_summary": asked.sentences[1:],
    }  # fmt: skip


def run_lengths(mask: NDArray[np.bool_]) -> dict:
    """As a COCO RLE."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode()}
