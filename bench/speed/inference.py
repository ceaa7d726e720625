"""Our pipeline against the official demo's way (Reference): the same weights, steps, seeds and outputs.

    python -m bench.speed.inference                                              the miniature, one CPU thread
    python -m bench.speed.inference --random-weights --preset 7b --device cuda --dtype bfloat16 [--compile]

Ours edits a batch together, the reference one image after the other. Both sides take turns; seconds are medians of
--runs after a warm-up, and the claim is their ratio. On a CPU `cpu_ratio` is the ratio of processor times, which other
processes on the machine disturb less. Checks that both sides give the same images within --tolerance (of 255), then
writes results/mini/speed/inference-<device>.csv. Seconds by stage are Table 4's: python -m bench.timing.
"""

import argparse
import csv
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from bench.speed.stopwatch import synchronise
from mgie.inputs import fit_prompt
from mgie.io.devices import device_name
from mgie.visual_tokens import visual_slice

SPEED = Path(__file__).parents[2] / "results" / "mini" / "speed"  # the accepted ones: results/speed

if TYPE_CHECKING:
    from mgie.pipeline import MGIEPipeline


def both(ours: Callable[[], list], theirs: Callable[[], list], device: str, runs: int) -> dict:
    """Medians of either side, taking turns; and what each returned."""
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    images: list[list] = [[], []]
    for run in range(runs + 1):
        for side, call in enumerate((ours, theirs)):
            synchronise(device)
            start, used = time.perf_counter(), time.process_time()
            images[side] = call()
            synchronise(device)
            if run:
                wall[side].append(time.perf_counter() - start)
                cpu[side].append(time.process_time() - used)
    seconds, processor = (list(map(statistics.median, times)) for times in (wall, cpu))
    return {
        "ours_s": round(seconds[0], 4), "reference_s": round(seconds[1], 4), "ratio": round(seconds[1] / seconds[0], 2),
        "cpu_ratio": round(processor[1] / processor[0], 2), "differ_by": apart(*images),
    }  # fmt: skip


def apart(ours: list, theirs: list) -> int:
    """The largest difference of a pixel, of 255."""
    pairs = zip(ours, theirs, strict=True)
    return max(int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max()) for a, b in pairs)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--preset", default="mini", choices=("mini", "7b"))
    p.add_argument("--weights", default="", help="holds mgie-e2e/; default: the miniature's own")
    p.add_argument("--random-weights", action="store_true")
    p.add_argument("--batch-sizes", default="1,8")
    p.add_argument("--steps", type=int, help="default: the preset's")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", default="float32", choices=("float32", "bfloat16", "float16"))
    p.add_argument("--compile", action="store_true")
    p.add_argument("--tolerance", type=int, default=2, help="of 255, between the two sides; bfloat16 needs more")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from bench.speed.models import Case, TimedMGIE
    from mgie.presets import PRESETS

    torch.set_num_threads(1)
    steps, rows = args.steps or PRESETS[args.preset].num_inference_steps, []
    for batch in map(int, args.batch_sizes.split(",")):
        asked = Case("mgie", args.preset, batch, args.dtype, steps, None, args.random_weights, args.weights, False, 5)
        timed = TimedMGIE(asked, args.device)
        reference = Reference(timed.pipe)

        def theirs(t: TimedMGIE = timed, r: Reference = reference) -> list:
            return r.edit(t.images, t.texts, steps, t.generators())

        def ours(t: TimedMGIE = timed) -> list:
            return t.pipe(t.images, t.texts, num_inference_steps=steps, generator=t.generators()).images

        if args.compile:
            timed.pipe.compile()
        row = both(ours, theirs, args.device, args.runs)
        if row["differ_by"] > args.tolerance:
            raise SystemExit(f"batch {batch}: the images differ by {row['differ_by']} of 255, over {args.tolerance}")
        rows.append({"preset": args.preset, "batch": batch, "steps": steps, "dtype": args.dtype} | row | {
            "compiled": args.compile, "weights": "random" if args.random_weights else "trained", "runs": args.runs,
            "threads": 1, "device": device_name(args.device)})  # fmt: skip
        print(f"batch {batch}: {row['ours_s']} s, the demo's way {row['reference_s']} s: {row['ratio']} times, by "
              f"processor time {row['cpu_ratio']} times; images within {row['differ_by']} of 255")  # fmt: skip
    SPEED.mkdir(parents=True, exist_ok=True)
    with open(SPEED / (f"inference-{args.device.partition(':')[0]}.csv"), "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()


class Reference:
    def __init__(self, pipe: "MGIEPipeline") -> None:
        """pipe: whose modules are used; it is left as it is."""
        from diffusers import StableDiffusionInstructPix2PixPipeline

        self.pipe = pipe
        scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
        self.editor = StableDiffusionInstructPix2PixPipeline(
            pipe.vae, None, None, pipe.unet, scheduler, safety_checker=None, feature_extractor=None,
            requires_safety_checker=False,
        )  # fmt: skip
        self.editor.set_progress_bar_config(disable=True)

    def edit(
        self, images: list[Image.Image], texts: list[str], steps: int, generators: list[torch.Generator]
    ) -> list[Image.Image]:
        """One after the other, as the demo does."""
        return [self.edit_one(*each, steps) for each in zip(images, texts, generators, strict=True)]

    @torch.no_grad()
    def edit_one(self, image: Image.Image, text: str, generator: torch.Generator, steps: int) -> Image.Image:
        preset = self.pipe.preset
        states = self.visual_states(image, text)[None]  # (1, 8, D)
        embeddings = self.pipe.visual_embeddings
        embeds = self.pipe.edit_head(states.to(embeddings.dtype), embeddings)
        null = self.pipe.edit_head(torch.zeros_like(states).to(embeddings.dtype), embeddings)
        size = {"width": image.width // preset.factor * preset.factor}
        size["height"] = image.height // preset.factor * preset.factor
        return self.editor(
            image=image if image.size == tuple(size.values()) else image.resize(tuple(size.values()), 1),
            prompt_embeds=embeds.to(self.pipe.unet.dtype), negative_prompt_embeds=null.to(self.pipe.unet.dtype),
            num_inference_steps=steps, guidance_scale=preset.guidance_scale,
            image_guidance_scale=preset.image_guidance_scale, generator=generator,
        ).images[0]  # fmt: skip

    def visual_states(self, image: Image.Image, text: str) -> torch.Tensor:
        """(8, D), out of the last hidden states of every token."""
        pipe, preset = self.pipe, self.pipe.preset
        patches = preset.patches if pipe.mllm.tower is not None else 0
        prompt = fit_prompt(pipe.tokenizer, text, patches, preset.context - preset.max_new_tokens, preset.token_rule)
        ids = torch.tensor([prompt.ids], device=pipe.device)
        eyes = pipe.image_processor if patches else None
        pixels = None if eyes is None else eyes([image]).to(pipe.device)
        written = pipe.mllm.llama.generate(
            input_ids=ids, inputs_embeds=pipe.mllm.embed(ids, pixels), attention_mask=torch.ones_like(ids),
            max_new_tokens=preset.max_new_tokens, do_sample=False, num_beams=1,
            no_repeat_ngram_size=preset.no_repeat_ngram_size, eos_token_id=pipe.tokenizer.eos,
            pad_token_id=pipe.tokenizer.pad, return_dict_in_generate=True, output_hidden_states=True,
        )  # fmt: skip
        states = torch.cat([step[-1] for step in written.hidden_states], dim=1)[0]  # (L + new - 1, D)
        found = visual_slice(written.sequences[0].tolist(), pipe.tokenizer.visual[0])
        return states[found.start : found.start + 8]
