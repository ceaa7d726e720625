"""Oracle: answers with the goal image. The ceiling wherever the goal image is the answer, and a test of scoring."""

from baselines.identity import Copy
from bench.records import Example, Output
from bench.settings import EditSettings
from mgie.io.images import load


class Oracle(Copy):
    name = "oracle"
    reads = ("goal_image",)

    def edit(self, examples: list[Example], settings: EditSettings, seeds: list[int]) -> list[Output]:
        goals = []
        for example in examples:
            if example.goal_image is None:
                raise ValueError(f"oracle: {example.id} has no goal image; run it on a dataset that has them")
            goals.append(example.goal_image)
        return [Output(load(goal, settings.for_goal())) for goal in goals]
