"""Where a model's weights lie, what they are (their hash), and where they run (device, dtype).

--weights ROOT holds <model>[-<form>][-<dataset>]/: inspix2pix/, mgie-e2e/, mgie-e2e-ma5k/ (fine-tuned). Without it the
suite mini looks into the package, every other suite into ./weights. Nothing is downloaded here.
"""

from pathlib import Path

from bench.registry import WITH_FORMS, folder_name, form_of, maker_of, model_entry
from bench.settings import ModelSettings
from mgie import folder as pipelines

DEFAULT_ROOT = Path("weights")


def weights_root(spec: ModelSettings) -> Path:
    if spec.weights is not None:
        return spec.weights
    return pipelines.MINI if spec.suite == "mini" else DEFAULT_ROOT


def own_folder(spec: ModelSettings) -> Path:
    """Where this model's own weights lie or should lie: in the root, or where its suite has made them on demand."""
    folder = weights_root(spec) / folder_name(spec)
    maker = None if folder.is_dir() else maker_of(spec.suite, spec.weights)
    return (maker.found(spec) if maker else None) or folder


def weights_folder(spec: ModelSettings) -> Path:
    """The folder of this model's weights. FileNotFoundError: its first line is the reason, the rest the way out."""
    folder = own_folder(spec)
    if folder.is_dir() and any(folder.iterdir()):
        return folder
    raise missing(spec, folder)


def missing(spec: ModelSettings, folder: Path) -> FileNotFoundError:
    state = "is empty" if folder.is_dir() else "does not exist"
    if folder.parent == pipelines.MINI:
        reason = f"no trained mini weights in this version for {folder.name}: {folder} {state}"
    else:
        reason = f"no weights for {folder.name}: {folder} {state}"
    return FileNotFoundError(f"{reason}\n{how_to_get(spec, folder)}")


def how_to_get(spec: ModelSettings, folder: Path) -> str:
    maker = maker_of(spec.suite, spec.weights)
    if maker and (command := maker.how(spec)):
        return f"train: {command}; make table2 and make table3 do so for what they need"
    preset = "mini" if spec.suite == "mini" else "7b"
    train = f"python -m mgie.train --preset {preset} --model {spec.name}"
    if spec.name in WITH_FORMS:
        train += f" --form {spec.form}" + (f" --from {folder.with_name('inspix2pix')}" if spec.form == "ft" else "")
    if spec.setting == "fine-tuned":
        start = folder.with_name(folder.name.removesuffix(f"-{spec.dataset}"))
        train = train.split(" --from ")[0]
        return f"fine-tune: {train} --from {start} --data DATA_ROOT/{spec.dataset} --out {folder}"
    ways = [f"train: {train} --data DATA_ROOT/ipr2pr --out {folder}"]
    released = spec.name not in WITH_FORMS or spec.form == form_of(spec.name)
    if spec.name in WITH_FORMS and spec.form == "fz":
        ways = [f"put a LLaMA or LLaVA folder at {folder / 'writer'} and InsPix2Pix at {folder / 'inspix2pix'}"]
    elif preset == "7b" and released and model_entry(spec.name).get:
        ways.insert(0, model_entry(spec.name).get.format(folder=folder))
    return "\n".join([*ways, "or name the folder that holds it with --weights ROOT"])
