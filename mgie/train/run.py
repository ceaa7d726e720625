"""A training run's folder: its settings, its start, its data, and the loop between them.

    OUT/train.csv train.png training.json   the curve, and what was run (written first, never changed)
    OUT/.checkpoints/ .start/ .precomputed/ what continuing needs; hidden, so that the model's hash leaves them out
    OUT/.pairs.jsonl                        the pairs, found on the disk once
    OUT/model_index.json unet/ ...          the trained model's folder, when training is done

As with bench.runs.folder: the same command continues, other settings in the same folder are refused.
"""

import json
import math
import os
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mgie.io.files import hold, read_json, write_json
from mgie.io.hashes import weights_hash
from mgie.presets import PRESETS
from mgie.train import checkpoint, starts
from mgie.train import from_scratch as fresh
from mgie.train.batches import TrainingSet, load_stored, precompute, stored_bytes
from mgie.train.data import INSTRUCTION, Pairs, dataset_folder, read_pairs
from mgie.train.loop import Loop, LoopSettings
from mgie.train.recipes import Recipe, overridden

if TYPE_CHECKING:
    from accelerate import Accelerator

PAIRS = ".pairs.jsonl"
SETTINGS, LOCK = "training.json", ".lock"
FREE = {"micro_batch", "checkpoint_every", "keep", "workers", "log_every"}  # a continued run may change these


def train(args: Namespace, recipe: Recipe) -> None:
    import diffusers
    import transformers
    from accelerate import Accelerator

    for library in (diffusers, transformers):  # a bar for each weight file of each checkpoint
        library.utils.logging.disable_progress_bar()

    kind = (args.model, args.form)
    data, dataset = dataset_folder(args.data, args.dataset)
    told = args.model != "inspix2pix"
    if not (args.out / SETTINGS).exists():  # of a start that was refused: the data may have been completed since
        (args.out / PAIRS).unlink(missing_ok=True)
    pairs = read_pairs(data, dataset, args.expressive, needs_expressive=told, index=args.out / PAIRS)
    accelerator = Accelerator(cpu=args.device == "cpu")
    if accelerator.device.type == "cuda":
        repeatable()
    if args.threads or accelerator.device.type == "cpu":
        torch.set_num_threads(args.threads or 1)  # two threads on shared cores are slower than one
    settings = loop_settings(args, recipe, len(pairs), accelerator.device.type)
    args.out.mkdir(parents=True, exist_ok=True)
    with locked(args.out, accelerator):
        run = {
            "model": args.model,
            "form": args.form,
            "preset": args.preset,
            "dataset": dataset,
            "pairs": len(pairs),
            "start": start_name(args),
            "recipe": recipe.name,
            "min_snr": args.min_snr,
            "resolution": args.resolution,
            "texts": sha256(repr(pairs.texts()).encode()).hexdigest(),
            "gradient_checkpointing": args.gradient_checkpointing,
            "loop": asdict(settings),
        }
        begin(args.out, run, accelerator)
        say(accelerator, described(args, run, recipe, settings))
        with accelerator.main_process_first():
            folder = start(args, kind, pairs, recipe, args.out)
        half = keeps_half(settings, accelerator)
        one_dtype = settings.precision == "bf16"
        trainee = starts.load(folder, kind, args.preset, args.resolution, args.min_snr, half, one_dtype)
        if accelerator.is_main_process and not (args.out / SETTINGS).exists():
            write_json(args.out / SETTINGS, run)  # not before: a refused start is no run
        data = training_set(args, pairs, trainee, settings, accelerator)
        if args.gradient_checkpointing:
            checkpoint_gradients(trainee.model)
        train_from(trainee, data, settings, args.out, accelerator, f"{args.preset} {args.model} {args.form}")


def train_from(
    trainee: starts.Trainee,
    data: TrainingSet,
    settings: LoopSettings,
    out: Path,
    accelerator: "Accelerator",
    title: str,
) -> None:
    """The loop from its newest checkpoint on; then OUT becomes the model's folder."""
    if accelerator.is_main_process:
        checkpoint.clear_unfinished(out)
    loop = Loop(trainee.model, trainee.save, settings, out, accelerator)
    loop.resume()
    if loop.step:
        say(accelerator, f"continuing after step {loop.step} of {settings.steps}")
    loop.run(data, title)
    if accelerator.is_main_process:
        _, last = checkpoint.checkpoints(out)[-1]
        checkpoint.publish(last, out)
    say(accelerator, f"done: {settings.steps} steps; the model is in {out}, the curve in {out / 'train.png'}")


def keeps_half(settings: LoopSettings, accelerator: "Accelerator") -> bool:
    """FSDP wants one dtype for what trains and what does not."""
    from accelerate import DistributedType

    return settings.precision == "bf16" and accelerator.distributed_type != DistributedType.FSDP


def repeatable() -> None:
    """GPU kernels that give the same bits each time, as far as there are such: a resumed run repeats the losses."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # as the released script


def loop_settings(args: Namespace, recipe: Recipe, pairs: int, device: str) -> LoopSettings:
    values = overridden(args, recipe)
    steps = args.steps or math.ceil(recipe.epochs * pairs / values["batch_size"])
    return LoopSettings(
        steps=steps,
        **values,
        clip=recipe.clip,
        ins_weight=args.ins_weight,
        ema=args.ema,
        seed=args.seed,
        precision=args.precision or ("bf16" if device == "cuda" else "float32"),
        micro_batch=args.micro_batch or (4 if args.preset == "7b" else 32),
        checkpoint_every=args.checkpoint_every,
        workers=decoders() if args.workers is None else args.workers,
        log_every=args.log_every,
    )


def decoders() -> int:
    """Processes that decode images, where none are asked for: off the main thread, which feeds the device."""
    return max(1, min(MOST_DECODERS, len(os.sched_getaffinity(0)) - 1))


def described(args: Namespace, run: dict, recipe: Recipe, settings: LoopSettings) -> str:
    joint = args.form == "e2e" and args.model != "inspix2pix"
    rates = f"lr {settings.lr_mllm:g} (MLLM), " * joint + f"lr {settings.lr_diffusion:g} (diffusion)"
    lines = [
        f"training {args.model}{'' if args.model == 'inspix2pix' else ' ' + args.form}, preset {args.preset}, on "
        f"{run['pairs']} pairs of {run['dataset']} in {args.data}; start: {run['start']['what']}",
        f"recipe {recipe.name}: {settings.steps} steps of {settings.batch_size}, {rates}, {settings.schedule}, "
        f"{settings.precision}",
    ]
    if run["dataset"] == "ipr2pr":
        lines.append("assumed: every seed of a folder is a pair; with a seeds.json, its first 90 % of folders train")
    if args.expressive == INSTRUCTION:
        lines.append("expressive instructions: none; the instruction is its own target")
    assumed = recipe.assumptions + recipe.joint_assumptions * joint
    return "\n".join([*lines, *(f"assumed: {text}" for text in assumed)])


def start_name(args: Namespace) -> dict[str, str]:
    if args.start:
        if not args.start.is_dir():
            starts.class_of(args.start)
        return {"what": str(args.start), "sha256": weights_hash(args.start)}
    if args.llava:
        return {"what": f"{args.llava} and {args.stable_diffusion}"}
    return {"what": "new weights, frozen parts too: to show that training works, not to edit well"}


def start(args: Namespace, kind: tuple[str, str], pairs: Pairs, recipe: Recipe, out: Path) -> Path:
    """The folder that training starts from; what is not there already is made once in OUT/.start."""
    if args.start:
        return args.start
    made = out / ".start"
    preset = PRESETS[args.preset]
    joint = kind[1] == "e2e" and args.model != "inspix2pix"
    if args.llava:
        from mgie.train import starts as start_parts

        if not joint:
            raise ValueError(
                f"--llava is for --form e2e; --model {args.model} --form {args.form} starts --from an "
                "InsPix2Pix or Stable Diffusion folder"
            )
        reset_seed = args.seed if recipe.reset_unet else None
        return starts.write_once(
            made,
            lambda folder: start_parts.assemble(
                args.llava, args.stable_diffusion, preset, args.model == "mgie", args.seed, reset_seed, folder
            ),
        )
    if args.preset != "mini":
        ways = (
            "--llava DIR --stable-diffusion DIR (merged LLaVA-7B and Stable Diffusion 1.5), or --from a folder "
            "that python -m mgie.convert made"
            if joint
            else "--from DIR (timbrooks/instruct-pix2pix, or Stable Diffusion 1.5 whose UNet is then widened)"
        )
        raise ValueError(f"preset {args.preset} is not trained from nothing; name its start: {ways}")
    if joint:
        return starts.write_once(
            made, lambda folder: fresh.mgie(preset, pairs.texts(), args.model == "mgie", args.seed, folder)
        )
    return starts.write_once(made, lambda folder: fresh.inspix2pix(preset, pairs.texts(), args.seed, folder))


def training_set(
    args: Namespace, pairs: Pairs, trainee: starts.Trainee, settings: LoopSettings, accelerator: "Accelerator"
) -> TrainingSet:
    """With what is frozen precomputed, if asked for or if it is small and read more than once."""
    data = TrainingSet(pairs, trainee.rows, trainee.sizes, trainee.image_processor)
    size = stored_bytes(data, trainee.model)
    small = size <= AUTO_STORED and settings.steps * settings.batch_size >= 2 * len(pairs)
    if args.precompute == "off" or (args.precompute == "auto" and not small):
        return data
    folder = args.out / ".precomputed"
    with accelerator.main_process_first():
        if not folder.is_dir():
            say(accelerator, f"precomputing latents and features of {len(pairs)} pairs, about {size / 2**20:.0f} MB")
            trainee.model.to(accelerator.device)
            precompute(data, trainee.model, folder, accelerator.device)
    return TrainingSet(pairs, trainee.rows, trainee.sizes, trainee.image_processor, load_stored(folder))


def checkpoint_gradients(model: torch.nn.Module) -> None:
    model.denoiser.unet.enable_gradient_checkpointing()
    if isinstance(model, starts.JointModel):
        model.mllm.llama.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def begin(out: Path, run: dict, accelerator: "Accelerator") -> None:
    """Refuses to continue another run; clears what a start that was refused has left."""
    path = out / SETTINGS
    if not path.exists():
        if accelerator.is_main_process:
            for left in (out / ".start", out / ".precomputed"):
                shutil.rmtree(left, ignore_errors=True)
        accelerator.wait_for_everyone()
        return
    before = read_json(path)
    differs = [f"{name}: {a!r}, now {b!r}" for name, a, b in differences(before, json.loads(json.dumps(run)))]
    if differs:
        raise ValueError(
            f"{out} holds a run with other settings ({'; '.join(differs)}); give the same command to "
            "continue it, or another --out"
        )


def differences(before: dict, now: dict) -> Iterator[tuple[str, object, object]]:
    for name in sorted(before.keys() | now.keys()):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            yield from differences(a, b)
        elif a != b and name not in FREE:
            yield name, a, b


@contextmanager
def locked(out: Path, accelerator: "Accelerator") -> Iterator[None]:
    """One run a folder: a second one would write the same checkpoints."""
    if not accelerator.is_main_process:
        yield
        return
    with open(out / LOCK, "w") as file:
        hold(file, ValueError(f"{out} is being trained by another process; wait for it, or give another --out"))
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def say(accelerator: "Accelerator", text: str) -> None:
    if accelerator.is_main_process:
        print(text, file=sys.stdout, flush=True)


MOST_DECODERS = 8
AUTO_STORED = 2**30  # bytes up to which frozen parts are precomputed without being asked
