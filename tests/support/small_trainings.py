"""The trainings on demand at test size; as a script, in processes of their own:

    python tests/support/small_trainings.py table2|finetune|ablate WEIGHTS DATA CACHE

table2 is bench.tables, which trains what finetune does and then goes on to its cells.

Everything above the last lines is run again in each worker, which imports the script of its parent.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from bench.mini import ablate, finetune
from bench.mini.ablate_report import VARIANTS
from bench.mini.finetune import Tuning
from bench.settings import ModelSettings
from mgie import folder as pipelines
from mgie.mini.datasets import draw, writer

SMALL = draw.Parameters(size=48, train=4, val=2, test=4, ipr2pr=6)
RECIPE = Tuning(steps=4, batch_size=2, pairs=4)  # every step is stored: the first one is early enough to stop at
TUNED = [ModelSettings("inspix2pix", "mini", dataset, "fine-tuned") for dataset in ("evr", "ma5k")]
ABLATED = VARIANTS[:2]


def shrink(weights: Path, cache: Path, put: Callable[[object, str, object], None] = setattr) -> None:
    """put: monkeypatch.setattr in a process that goes on to other things."""
    put(pipelines, "MINI", weights)
    for module in (draw, writer):
        put(module, "Parameters", lambda: SMALL)
    for name, value in (("CACHE", cache), ("RECIPE", RECIPE), ("EVERY", 1)):
        put(finetune, name, value)
    put(finetune.place, "__defaults__", (cache, RECIPE))
    put(finetune.train, "__defaults__", (RECIPE,))


def train_here(what: str, data: Path, cache: Path) -> None:
    """One after the other in this process."""
    if what == "finetune":
        for spec in TUNED:
            finetune.train(spec, finetune.place(spec), data)
    else:
        place = ablate.root(RECIPE, cache)
        ablate.store(place, data, RECIPE)
        for variant in ABLATED:
            ablate.train(variant, place, data, RECIPE)


if __name__ in ("__main__", "__mp_main__"):
    what, weights, data, cache = sys.argv[1], *map(Path, sys.argv[2:])
    shrink(weights, cache)

if __name__ == "__main__":
    from bench.tables import main
    from mgie.io.command import command

    if what == "table2":
        asked = "2 --suite mini --models inspix2pix --datasets evr,ma5k --metrics l1 --seeds 1 --split test"
        places = ["--out", str(cache / "runs"), "--results", str(cache / "results"), "--data-root", str(data)]
        sys.exit(main([*asked.split(), *places]))

    def make() -> int:
        if what == "finetune":
            finetune.make(TUNED, data)
        else:
            ablate.train_all(ablate.root(RECIPE, cache), data, ABLATED, RECIPE)
        return 0

    sys.exit(command(make))
