"""`python -m mgie.train`: trains MGIE, LGIE or InsPix2Pix; the same command again continues a killed run.

What trains (all else is frozen; mgie.train.joint.TRAINED holds the names):

    --model      --form  trains                                        text that the UNet sees
    mgie         e2e     embed_tokens, lm_head, edit head, UNet        visual tokens, through the edit head
    lgie         e2e     the same, in an LLM without eyes              visual tokens, through the edit head
    mgie, lgie   ft      UNet of InsPix2Pix                            the expressive instruction
    inspix2pix   -       UNet of InsPix2Pix                            the instruction

loss = L_ins + 0.5 L_edit where there is an MLLM, else L_edit. Convention: apple/ml-mgie mgie_train.py at 835af37 with
the paper's numbers, see mgie.train.recipes. Not covered: form fz, which trains nothing.
"""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from mgie.io.command import stoppable
from mgie.train.recipes import RECIPES, SCHEDULES


def parser() -> ArgumentParser:
    p = ArgumentParser(prog="python -m mgie.train", description=__doc__.split("\n\n")[0])
    p.add_argument("--preset", choices=("7b", "mini"), default="mini", help="sizes of the model (default: mini)")
    p.add_argument("--model", choices=("mgie", "lgie", "inspix2pix"), required=True, help="what is trained")
    p.add_argument(
        "--form", choices=("e2e", "ft", "fz"), default="e2e", help="of mgie and lgie: E2E, FT or FZ (default: e2e)"
    )
    p.add_argument(
        "--data",
        type=Path,
        required=True,
        help="a dataset's own folder, or with --dataset the folder that holds several: IPr2Pr, the ml-mgie repack, or "
        "a benchmark that has a train split",
    )
    p.add_argument(
        "--dataset",
        choices=("ipr2pr", "evr", "gier", "ma5k", "magicbrush"),
        help="which dataset --data is; default: told from its layout",
    )
    p.add_argument(
        "--expressive",
        help="JSONL of expressive instructions (python -m mgie.expressive makes it), or the word instruction: each "
        "instruction itself; default: expressive.jsonl in --data or <data>_expressive.jsonl beside it",
    )
    p.add_argument(
        "--out", type=Path, required=True, help="becomes the model's folder; holds the checkpoints until then"
    )
    start = p.add_argument_group("start")
    start.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="a folder of this model, for inspix2pix also Stable Diffusion; preset mini without it: new weights",
    )
    start.add_argument(
        "--llava", type=Path, help="7b e2e from its parts, with --stable-diffusion: merged LLaVA (for lgie LLaMA)"
    )
    start.add_argument(
        "--stable-diffusion", type=Path, help="7b e2e from its parts, with --llava: Stable Diffusion 1.5"
    )
    recipe = p.add_argument_group("recipe; a flag overrides what --recipe says")
    recipe.add_argument(
        "--recipe", choices=tuple(RECIPES), default="paper", help="the paper's, or mgie_train.sh's (default: paper)"
    )
    recipe.add_argument("--steps", type=int, help="optimiser steps; default: the recipe's epochs")
    recipe.add_argument(
        "--batch-size", type=int, help="examples a step, over all processes and micro-batches; default: the recipe's"
    )
    recipe.add_argument(
        "--lr-mllm", type=float, help="learning rate of embeddings, LM head and edit head; default: the recipe's"
    )
    recipe.add_argument("--lr-diffusion", type=float, help="learning rate of the UNet; default: the recipe's")
    recipe.add_argument("--schedule", choices=SCHEDULES, help="of both learning rates; default: the recipe's")
    recipe.add_argument("--warmup", type=float, help="share of the steps with a rising rate; default: the recipe's")
    recipe.add_argument("--weight-decay", type=float, help="default: the recipe's")
    recipe.add_argument(
        "--ins-weight", type=float, default=1.0, help="weight of L_ins; 0 is the paper's ablation (default: 1)"
    )
    recipe.add_argument(
        "--min-snr", type=float, metavar="GAMMA", help="min-SNR weighting of L_edit, such as 5; default: none"
    )
    recipe.add_argument(
        "--ema",
        type=float,
        metavar="DECAY",
        help="save a moving average of the weights with this decay, such as 0.9999; default: none",
    )
    recipe.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")
    speed = p.add_argument_group("speed and memory")
    speed.add_argument(
        "--resolution", type=int, help="px of the diffusion's images; default: 256 for 7b, else its size"
    )
    speed.add_argument(
        "--micro-batch", type=int, help="how many examples are computed together; default: 4 for 7b, 32 for mini"
    )
    speed.add_argument(
        "--precision", choices=("float32", "bf16"), help="of the computation; default: bf16 on a GPU, float32 on a CPU"
    )
    speed.add_argument("--gradient-checkpointing", action="store_true", help="less memory, a third more work")
    speed.add_argument(
        "--precompute",
        choices=("auto", "on", "off"),
        default="auto",
        help="store latents and patch features once; auto, the default: where under 1 GB and read at least twice",
    )
    speed.add_argument(
        "--workers", type=int, help="processes that decode images; default: one a core but one, at most 8; 0: none"
    )
    speed.add_argument("--threads", type=int, help="CPU threads; default: 1 without a GPU, else torch's")
    speed.add_argument(
        "--device", choices=("auto", "cpu"), default="auto", help="auto, the default: cuda where there is one"
    )
    speed.add_argument("--checkpoint-every", type=int, default=500, help="steps between checkpoints (default: 500)")
    speed.add_argument(
        "--log-every", type=int, default=10, help="steps between printed lines; train.csv has every step (default: 10)"
    )
    return p


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        check(args)
        from mgie.train.run import train

        with stoppable():
            train(args, RECIPES[args.recipe])
    except KeyboardInterrupt:
        print("stopped; the same command continues from the last checkpoint", file=sys.stderr)
        return 1
    except (ValueError, FileNotFoundError) as error:
        print(f"mgie.train: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"mgie.train: {error}\nnothing is lost: the same command continues from the last checkpoint",
            file=sys.stderr,
        )
        return 1
    except RuntimeError as error:
        hints = {
            "Diverged": "",
            "OutOfMemoryError": "\nfewer examples at a time: --micro-batch 1; less of each: "
            "--gradient-checkpointing. The same command with them continues from the last checkpoint",
        }
        if type(error).__name__ not in hints:
            raise
        print(f"mgie.train: {error}{hints[type(error).__name__]}", file=sys.stderr)
        return 1
    return 0


def check(args: Namespace) -> None:
    """What argparse cannot say. Raises ValueError."""
    if args.form == "fz":
        raise ValueError(
            "--form fz trains nothing: the expressive instruction goes into a frozen InsPix2Pix. "
            "Use e2e or ft, or evaluate it: python -m bench.run --model mgie --form fz"
        )
    if args.model == "inspix2pix" and args.form != "e2e":
        raise ValueError(
            "--form means nothing to inspix2pix; for InsPix2Pix on expressive instructions: "
            "--model mgie --form ft (or lgie)"
        )
    for name in ("steps", "batch_size", "micro_batch", "checkpoint_every", "log_every"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} is {value}; expected 1 or more")
    for name, low, high in (("ema", 0, 1), ("warmup", 0, 1)):
        value = getattr(args, name)
        if value is not None and not low <= value < high:
            raise ValueError(f"--{name} is {value}; expected {low} or more and below {high}")
    if args.start and (args.llava or args.stable_diffusion):
        raise ValueError("--from names the whole start; leave --llava and --stable-diffusion out")
    if bool(args.llava) != bool(args.stable_diffusion):
        raise ValueError(
            "--llava and --stable-diffusion are given together: the MLLM from one, the UNet and VAE from the other"
        )


if __name__ == "__main__":
    sys.exit(main())
