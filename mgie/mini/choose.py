"""`python -m mgie.mini.choose`: the preset's sampling defaults, measured on the validation photographs.

Each shipped editor edits the same pairs at every setting of the grid, a row each in results/mini/training/sampling.csv.
What is chosen is written into mgie/presets.py by hand, and into the shipped folders with --write. Of the settings that
guide (both scales above 1; without, image_guidance_scale does nothing) the least mean over the editors of both ratios
wins: L1 to identity's on global edits, and inside what changes on local ones.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

from mgie.io.files import read_json, write_json
from mgie.presets import PRESETS, Preset

GRID = [  # guidance_scale, image_guidance_scale, steps
    (1.0, 1.0, 4), (1.0, 1.0, 8), (1.0, 1.0, 20), (1.3, 1.0, 4), (1.3, 1.0, 8), (1.3, 1.2, 4), (1.3, 1.2, 8),
    (1.3, 1.5, 8), (2.0, 1.2, 8),
]  # fmt: skip
PAIRS, SEED = 32, 1


def main(arguments: list[str] | None = None) -> int:
    from mgie.folder import MINI
    from mgie.mini.make import RESULTS, WORK
    from mgie.mini.stages.editors import FORMS

    parser = argparse.ArgumentParser("python -m mgie.mini.choose", description=__doc__.split("\n")[0])
    parser.add_argument("--model", action="append", choices=tuple(FORMS), help="default: all three")
    parser.add_argument("--weights", type=Path, default=MINI)
    parser.add_argument("--out", type=Path, default=RESULTS / "sampling.csv")
    parser.add_argument("--write", action="store_true", help="only write the defaults into the shipped folders")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    if options.write:
        for form in FORMS.values():
            write_defaults(options.weights / form, PRESETS["mini"])
        return 0
    rows = []
    for name in options.model or FORMS:
        rows += measured(name, options.weights / FORMS[name], WORK / "pairs")
        write_rows(options.out, rows)
    for row in sorted(rows, key=lambda row: row["mean"]):
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    return 0


def measured(name: str, folder: Path, cache: Path) -> list[dict]:
    """A row a setting of the grid."""
    from mgie.mini.stages.editors import errors
    from mgie.mini.training import ship
    from mgie.mini.training.pairs import WorldPairs

    pairs = WorldPairs(cache, "val", PAIRS, SEED)
    rows = []
    for text, image, steps in GRID:
        preset = replace(PRESETS["mini"], guidance_scale=text, image_guidance_scale=image, num_inference_steps=steps)
        outputs, _ = ship.edit(name, folder, [pairs[i] for i in range(PAIRS)], preset=preset)
        found = errors(outputs, pairs, PAIRS)
        mean = (found["ratio_global"] + found["ratio_inside_local"]) / 2
        rows.append(
            {
                "model": name,
                "guidance_scale": text,
                "image_guidance_scale": image,
                "num_inference_steps": steps,
                "pairs": PAIRS,
                "mean": round(mean, 4),
                **{key: round(found[key], 4) for key in ("ratio_global", "ratio_inside_local", "outside_local")},
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_defaults(folder: Path, preset: Preset) -> None:
    """Into preset.json (LGIE, MGIE) or sampling.json (InsPix2Pix)."""
    from mgie.folder import SAMPLED, write_sampling

    path = folder / "preset.json"
    if not path.exists():
        write_sampling(preset, folder)
        return
    stored = read_json(path)
    write_json(path, stored | {name: getattr(preset, name) for name in SAMPLED})


if __name__ == "__main__":
    raise SystemExit(main())
