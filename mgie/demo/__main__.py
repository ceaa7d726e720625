"""`python -m mgie.demo`: a web page that edits a photo, on loopback, with the built-in miniature or --weights.

    python -m mgie.demo                               the miniature, on a CPU
    python -m mgie.demo --weights weights             weights/mgie-e2e, and lgie-e2e and inspix2pix where they are there

Exit 0 after Ctrl-C or SIGTERM, or 2 with one line for wrong use.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from tempfile import TemporaryDirectory

from mgie.io.command import stoppable
from mgie.io.devices import DTYPES
from mgie.io.web import add_server_flags, check_server, gradio_of_ours, serve

# numbers of held-out drawn examples, all of which need a look at the photo: those on which the miniature's edit comes
# nearest to the goal image first; on the last it fails, as it often does where an object is replaced
EXAMPLES = (0, 5, 56, 48, 7, 1)


def parser() -> ArgumentParser:
    p = ArgumentParser("python -m mgie.demo", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    p.add_argument("--weights", default="mini", help="MGIE's folder, or the one that holds mgie-e2e/ (default: mini)")
    p.add_argument("--device", default="auto", help="auto (cuda where there is one), cpu, cuda, cuda:1, ...")
    p.add_argument("--dtype", default="auto", choices=DTYPES, help="auto: float16 on a GPU, float32 on a CPU")
    p.add_argument("--offload", action="store_true", help="keep the weights in main memory: for a GPU under 20 GB")
    p.add_argument("--share", action="store_true", help="a public address through gradio.live; never without this flag")
    add_server_flags(p)
    return p


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        check_server(options)
        from mgie.demo.systems import Systems

        systems = Systems(options.weights, options.device, options.offload, options.dtype)
        gradio_of_ours()
        from mgie.demo.desk import MAX_UPLOAD_MB
        from mgie.demo.page import CSS, HEAD, build

        with stoppable(), TemporaryDirectory() as folder:
            page = build(systems, draw_examples(Path(folder)))
            serve(page, options, css=CSS, head=HEAD, max_upload=f"{MAX_UPLOAD_MB}mb", share=options.share)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        pass
    return 0


def draw_examples(folder: Path) -> list[list[str]]:
    """[photo, instruction] from the miniature world, saved in folder."""
    from mgie.mini.world import examples as world

    rows = []
    for number in EXAMPLES:
        drawn = world.draw(f"demo/{number}", split="test")
        path = folder / f"{drawn.family}-{number}.png"
        drawn.input_image.save(path)
        rows.append([str(path), drawn.instruction])
    return rows


if __name__ == "__main__":
    sys.exit(main())
