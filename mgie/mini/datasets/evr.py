"""mini-EVR: forum posts that ask for an edit, in the layout of airsplay/VisualRelationships.

dataset/adobe/{train,valid,test}.json and images/. One terse sentence a pair in train, three in valid and test, typed in
haste; the last record may have fewer, so that a split has exactly as many as asked for. A post is one drawing; the
photograph behind it is in facts.jsonl.
"""

from typing import TYPE_CHECKING

from mgie.mini.datasets.facts import draw_slot, facts_of, plan, post, shares
from mgie.mini.world import phrasing
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import DICE, FAMILIES

if TYPE_CHECKING:
    from mgie.mini.datasets.writer import DatasetWriter, Parameters

SENTENCES = {"train": (1,), "val": (3,), "test": (3,)}  # of a pair
OFFICIAL_NAME = {"train": "train", "val": "valid", "test": "test"}


def write_evr(writer: "DatasetWriter", parameters: "Parameters") -> None:
    families, uid = tuple(f for f in FAMILIES if f in phrasing.families("terse")), 0
    for split, name in OFFICIAL_NAME.items():
        dice = Dice(parameters.key("evr"), DICE, split)
        counts = shares(parameters.count(split), SENTENCES[split])
        records = []
        for i, slot in enumerate(plan(dice, split, families, len(counts))):
            drawn = draw_slot(f"{parameters.key('evr')}/{i}", split, parameters.size, "terse", slot)
            site = dice.choice(("Reddit", "Zhopped"))
            thread, edit = post("evr", split, i), post("evr", split, i, "edit")
            img0, img1 = f"{site}.com_{thread}_{thread}.png", f"{site}.com_{thread}_{edit}.png"
            writer.image(f"images/{img0}", drawn.input_image)
            writer.image(f"images/{img1}", drawn.goal_image)
            asked = phrasing.instructions(dice, drawn.change, "terse", counts[i])
            sentences = [phrasing.with_typos(dice, text) for text in asked]
            records.append({"img0": img0, "img1": img1, "sents": sentences, "uid": f"{site}_{uid}"})
            writer.facts.append(facts_of(f"{site}_{uid}", split, drawn))
            uid += 1
            writer.progress(i, len(counts))
        writer.text(f"dataset/adobe/{name}.json", records)
