"""mini-MA5k: photographs with a fault of light or colour and five experts' retouchings, in the layout of MA5k-Req.

annotations/<split>_sess_1.json, FiveK.json, images/NNNN_O.jpg and _A.jpg .. _E.jpg. Two of the five are asked to put
the fault right without being told which; the others for one global edit each. One number a photograph and round.
"""

from typing import TYPE_CHECKING, NamedTuple

from mgie.mini.datasets.facts import Slot, draw_slot, facts_of, round_and_round
from mgie.mini.world import phrasing
from mgie.mini.world.assets import of_split
from mgie.mini.world.dice import Dice
from mgie.mini.world.examples import DICE, FAMILIES, TRIES, Drawn, Invisible, is_visible, worded
from mgie.mini.world.families_global import LOOKS, retouched
from mgie.mini.world.phrasing import templates

if TYPE_CHECKING:
    from mgie.mini.datasets.writer import DatasetWriter, Parameters

EXPERTS = "ABCDE"
ABSENT = (30, 68, 169, 220, 227)  # numbers that FiveK does not have either
ABSURD = {  # what nobody asks for on a photograph with this fault
    "too dark": "brightness:down", "too bright": "brightness:up", "flat": "contrast:down",
    "one side dark": "brightness:down", "blue": "cool", "orange": "warm", "green": "invert", "faded": "saturation:down",
}  # fmt: skip


class Retouching(NamedTuple):
    expert: str
    request: str
    drawn: Drawn


def write_ma5k(writer: "DatasetWriter", parameters: "Parameters") -> None:
    everything, number = [], 0
    for split in ("train", "val", "test"):
        dice = Dice(parameters.key("ma5k"), DICE, split)
        photographs = round_and_round(dice, of_split(split))
        faults = round_and_round(dice, tuple((f, c) for f in ("fix-light", "fix-colours") for c in FAMILIES[f].causes))
        records: list[dict[str, str]] = []
        inputs = -(-parameters.count(split) // len(EXPERTS))
        for i in range(inputs):
            number += 1
            number += number in ABSENT
            family, cause = next(faults)
            slot = Slot(family, cause, next(photographs))
            base, edits = retouched_photograph(dice, f"{parameters.key('ma5k')}/{i}", split, parameters.size, slot)
            records += write_number(writer, f"{number:04d}", split, base, edits)
            writer.progress(i, inputs)
        writer.text(f"annotations/{split}_sess_1.json", records)
        everything += records
    writer.text("FiveK.json", everything)


def retouched_photograph(dice: Dice, seed: str, split: str, size: int, slot: Slot) -> tuple[Drawn, list[Retouching]]:
    """A photograph with its fault and five retouchings; drawn again where fewer than five would be seen."""
    for attempt in range(TRIES):
        base = draw_slot(f"{seed}/{attempt}" if attempt else seed, split, size, "crowd", slot)
        edits = retouchings(dice, base)
        if len(edits) == len(EXPERTS):
            return base, edits
    raise Invisible(f"photograph '{slot.photograph.id}' with '{slot.cause}' shows no {len(EXPERTS)} retouchings in "
                    f"{TRIES} tries; take another seed")  # fmt: skip


def write_number(writer: "DatasetWriter", number: str, split: str, base: Drawn,
                 edits: list[Retouching]) -> list[dict[str, str]]:  # fmt: skip
    writer.image(f"images/{number}_O.jpg", base.input_image)
    records = []
    for expert, request, drawn in edits:
        writer.image(f"images/{number}_{expert}.jpg", drawn.goal_image)
        records.append({"input": f"{number}_O.jpg", "output": f"{number}_{expert}.jpg", "request": request})
        writer.facts.append(facts_of(f"{number}_{expert}", split, drawn))
    return records


def retouchings(dice: Dice, base: Drawn) -> list[Retouching]:
    """Five on one input: the fault undone, asked for in two ways, and three plain requests; fewer if fewer show."""
    undone = phrasing.instructions(dice, base.change, "crowd", 2)
    plain = [edit for edit in (plain_request(dice, base, key) for key in shuffled_keys(dice, base)) if edit][:3]
    asked = [*((text, base) for text in undone), *((edit.instruction, edit) for edit in plain)]
    return [Retouching(*edit) for edit in zip(EXPERTS, *zip(*dice.shuffled(asked), strict=True), strict=False)]


def shuffled_keys(dice: Dice, base: Drawn) -> list[str]:
    """The global edits a crowd worker has words for; each direction of one family at most once."""
    keys = [k for k in LOOKS if templates("crowd", k) and k not in (ABSURD[base.cause], "sharpen")]
    chosen: dict[str, str] = {}
    for key in dice.shuffled(keys):
        chosen.setdefault(key.partition(":")[0], key)
    return list(chosen.values())


def plain_request(dice: Dice, base: Drawn, key: str) -> Drawn | None:
    """One global edit of the photograph as it is, fault and all; None where one would not see it."""
    family = FAMILIES[key.partition(":")[0]]
    change = retouched(base.change.before, base.change.input_image, key, "benchmark", dice.below(3))
    return worded(dice, family, change, "crowd") if is_visible(change) else None
