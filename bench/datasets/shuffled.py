"""--instructions shuffled: each example is given another one's instruction. A control (bench.controls): a model whose
outputs stay the same ignores what it is told.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from bench.records import Example
from bench.settings import DataSettings


def as_asked(examples: Sequence[Example], data: DataSettings) -> list[Example]:
    """With the instructions that the settings ask for. Raises ValueError as `shuffled`."""
    return shuffled(examples) if data.instructions == "shuffled" else list(examples)


def shuffled(examples: Sequence[Example]) -> list[Example]:
    """In their order, each with the instruction of the next example of another group that says something else.

    Next in an order that follows from the ids alone. Raises ValueError where an example has no such other one.
    """
    order = sorted(range(len(examples)), key=lambda i: sha256(examples[i].id.encode()).digest())
    given: dict[int, str] = {}
    for place, i in enumerate(order):
        mine = examples[i]
        others = (examples[j] for j in (*order[place + 1 :], *order[:place]))
        other = next((e for e in others if e.group != mine.group and said(e) and said(e) != said(mine)), None)
        if other is None:
            raise ValueError(
                f"--instructions shuffled: no example of another group than {mine.id} has another instruction; "
                f"expected at least two groups with different ones among {len(examples)} examples"
            )
        given[i] = other.instruction
    return [replace(example, instruction=given[i]) for i, example in enumerate(examples)]


def said(example: Example) -> str:
    return example.instruction.strip()
