"""A script: the trainings on demand at test size, in processes of their own.

python tests/support/small_trainings.py finetune|ablate WEIGHTS DATA CACHE

Everything above the last lines is run again in each worker, which imports the script of its parent.
"""

import sys
from pathlib import Path

from bench.mini import ablate, finetune
from bench.mini.ablate_report import VARIANTS
from bench.mini.finetune import Tuning
from bench.settings import ModelSettings
from mgie import folder as pipelines
from mgie.mini.datasets import draw, writer

SMALL = draw.Parameters(size=48, train=25, val=10, test=50, ipr2pr=40)
RECIPE = Tuning(steps=60, batch_size=2, pairs=6)

what, weights, data, cache = sys.argv[1], *map(Path, sys.argv[2:])
pipelines.MINI = weights
draw.Parameters = writer.Parameters = lambda: SMALL
finetune.CACHE, finetune.RECIPE, finetune.EVERY = cache, RECIPE, 1
finetune.place.__defaults__ = (cache, RECIPE)
finetune.train.__defaults__ = (RECIPE,)

if __name__ == "__main__":
    from mgie.io.command import command

    def make() -> int:
        if what == "finetune":
            finetune.make([ModelSettings("inspix2pix", "mini", d, "fine-tuned") for d in ("evr", "gier", "ma5k")], data)
        else:
            ablate.train_all(ablate.root(RECIPE, cache), data, VARIANTS[:3], RECIPE)
        return 0

    sys.exit(command(make))
