"""mini-IPr2Pr: the miniature's training set, every family in the plain style, in the layout of clip-filtered-dataset.

seeds.json, <folder>/prompt.json, <seed>_0.jpg and _1.jpg, and ml-mgie's ipr2pr_expressive.json beside them. One seed a
folder. Splits are by position in seeds.json, as the official loader has them.
"""

from typing import TYPE_CHECKING

from mgie.mini.datasets.facts import draw_slot, facts_of, plan
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import DICE, FAMILIES

if TYPE_CHECKING:
    from mgie.mini.datasets.writer import DatasetWriter, Parameters


def write_ipr2pr(writer: "DatasetWriter", parameters: "Parameters") -> None:
    from mgie.train.ipr2pr_hub import positions

    seeds, expressive = [], {}
    for split in ("train", "val", "test"):
        places = positions(split, parameters.ipr2pr)
        dice = Dice(parameters.key("ipr2pr"), DICE, split)
        for place, slot in zip(places, plan(dice, split, tuple(FAMILIES), len(places)), strict=True):
            drawn = draw_slot(f"{parameters.key('ipr2pr')}/{place}", split, parameters.size, "plain", slot)
            folder, seed = f"{place:07d}", str(dice.between(10**8, 2**31))
            writer.image(f"{folder}/{seed}_0.jpg", drawn.input_image)
            writer.image(f"{folder}/{seed}_1.jpg", drawn.goal_image)
            prompt = {"input": drawn.input_caption, "edit": drawn.instruction, "output": drawn.goal_caption}
            writer.text(f"{folder}/prompt.json", prompt)
            seeds.append([folder, [seed]])
            expressive[f"{folder}_{seed}_0"] = {
                "instruction": drawn.instruction, "expressive": drawn.expressive_instruction,
            }  # fmt: skip
            writer.facts.append(facts_of(f"{folder}_{seed}", split, drawn))
            writer.progress(place, parameters.ipr2pr)
    writer.text("seeds.json", seeds)
    writer.text("ipr2pr_expressive.json", expressive)
