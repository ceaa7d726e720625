"""`python -m mgie.edit photo.jpg "make it look professional" -o out.png`: edit one image.

stdout: the expressive instruction, alone. stderr: progress and notices. Exit 0, 1 when stopped, or 2 with one line for
bad input.
"""

import io
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from mgie.io.command import stoppable
from mgie.io.devices import DTYPES
from mgie.io.files import replacing, unfinished

if TYPE_CHECKING:
    from PIL.Image import Image

    from mgie.pipeline import MGIEOutput, MGIEPipeline


def parser() -> ArgumentParser:
    p = ArgumentParser(prog="python -m mgie.edit", description="Edit one image by an instruction, with MGIE.")
    p.add_argument("image", type=Path, help="the input image")
    p.add_argument("instruction", help='what to change, e.g. "make it look professional"')
    p.add_argument("-o", "--output", type=Path, default=Path("out.png"), help="where the edit goes (default: out.png)")
    p.add_argument("--weights", default="mini", help="folder of weights, or mini, the built-in miniature (default)")
    p.add_argument("--seed", type=int, default=0, help="of the noise; the same seed gives the same edit (default: 0)")
    p.add_argument("--steps", type=int, help="denoising steps (default: the preset's)")
    p.add_argument("--guidance-scale", type=float, help="weight of the instruction (default: the preset's)")
    p.add_argument("--image-guidance-scale", type=float, help="weight of the input image (default: the preset's)")
    p.add_argument("--expressive-instruction", help="edit with this text instead of letting MGIE write one")
    p.add_argument(
        "--device", default="auto", help="auto (the default: cuda where there is one), cpu, cuda, cuda:1, ..."
    )
    p.add_argument(
        "--dtype", default="auto", choices=DTYPES,
        help="auto, the default: float16 on a GPU, float32 on a CPU; there 16 bit leaves the UNet in float32",
    )  # fmt: skip
    p.add_argument(
        "--offload",
        action="store_true",
        help="for a GPU smaller than the weights: they wait in main memory; the pixels are the same",
    )
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # an ASCII terminal shows other letters as \\uXXXX
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from mgie.io.images import load  # its errors are ValueErrors with the path and the reason

    try:
        check_output(options.output)
        image = load(options.image)
        if not options.instruction.strip():
            raise ValueError("the instruction is empty; say what to change")
        if not 0 <= options.seed < 2**63:
            raise ValueError(f"--seed is {options.seed}; it must be from 0 to 2**63 - 1")
        with stoppable():
            output = run(options, image, pipeline(options))
            save(output.images[0], options.output)
    except KeyboardInterrupt:
        print("stopped; nothing was saved", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(output.expressive_instructions[0])
    times = ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in output.seconds.items())
    print(f"saved {options.output} ({output.images[0].width}x{output.images[0].height}; {times})", file=sys.stderr)
    return 0


def pipeline(options: Namespace) -> "MGIEPipeline":
    from mgie.folder import find, parts_of

    folder = find(options.weights)  # before torch is loaded: a wrong path is told at once
    import torch
    from transformers.utils.logging import disable_progress_bar

    from mgie.io.devices import Wanted, placement
    from mgie.io.memory import refuse_too_large
    from mgie.pipeline import MGIEPipeline

    disable_progress_bar()  # of loading; denoising has its own
    try:
        torch.device("cpu" if options.device == "auto" else options.device)
    except RuntimeError:
        raise ValueError(f"unknown device '{options.device}'; give auto, cpu, cuda or cuda:N") from None
    device, dtype, _ = placement(Wanted(options.device, options.dtype, offload=options.offload))
    kind = torch.device(device).type

    def parts_in(dtype: torch.dtype) -> dict[Path, float]:
        return parts_of(folder, dtype) | ({folder / "unet": torch.float32.itemsize} if kind == "cpu" else {})

    refuse_too_large(parts_in, dtype, device, options.offload)
    if options.offload:
        pipe = MGIEPipeline.from_pretrained(options.weights, dtype=dtype)
        pipe.enable_model_cpu_offload(device)
        return pipe
    try:
        pipe = MGIEPipeline.from_pretrained(options.weights, dtype=dtype, device=device)
    except torch.OutOfMemoryError as error:
        raise ValueError(f"not enough memory on {device} for {options.weights}; give --offload ({error})") from error
    if kind == "cpu" and dtype.itemsize == 2:
        pipe.unet.float()  # most processors convolve 16 bit some hundred times slower than 32
    return pipe


def run(options: Namespace, image: "Image", pipe: "MGIEPipeline") -> "MGIEOutput":
    import torch

    if options.weights == "mini":
        print("the built-in miniature, not MGIE-7B; the real weights: --weights DIR", file=sys.stderr)
    try:
        return pipe(
            image=image,
            instruction=options.instruction,
            guidance_scale=options.guidance_scale,
            image_guidance_scale=options.image_guidance_scale,
            num_inference_steps=options.steps,
            generator=torch.Generator("cpu").manual_seed(options.seed),
            expressive_instruction=options.expressive_instruction,
        )
    except torch.OutOfMemoryError as error:
        size = f"{image.width}x{image.height}"
        raise ValueError(f"not enough GPU memory for {size} px; give --offload or a smaller image ({error})") from error


def check_output(path: Path) -> None:
    """Before the minutes of work, not after."""
    from PIL import Image

    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"output {path}: '{path.suffix}' is no image format that PIL writes; name it like out.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    longest = os.pathconf(path.parent, "PC_NAME_MAX")
    if len(os.fsencode(unfinished(path, path.suffix).name)) > longest:
        size = len(os.fsencode(path.name))
        raise ValueError(f"output {path}: a name of {size} bytes; give one of at most {longest - 20}")
    if path.is_dir():
        raise ValueError(f"output {path} is a folder; name a file in it")


def save(image: "Image", path: Path) -> None:
    """Atomic: under the final name there is always a whole image."""
    with replacing(path, path.suffix) as temporary:
        image.save(temporary)


if __name__ == "__main__":
    sys.exit(main())
