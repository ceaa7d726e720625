"""Each file of a folder of weights that is cut, emptied, a pointer or lost: refused by name, or it changes nothing."""

import json
import shutil

import pytest
import tiny
import tiny_diffusers
import tiny_language
import torch

from baselines.editor import find, open_editor
from bench.runs.runner import NotLoaded, load
from bench.settings import EditSettings, ModelSettings, fill
from mgie.expressive.writer import Request, asking, open_writer
from mgie.pipeline import MGIEPipeline

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 9\n"
DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "a pointer": lambda content: POINTER,
    "lost": lambda content: None,
}
MERGES = [(a, b + "</w>") for a in "abcdef" for b in "ghijkl"]


def with_merges(folder):
    """An InsPix2Pix whose vocabulary lies in vocab.json and merges.txt, as in the released one."""
    place = tiny_diffusers.instruct_pix2pix(folder) / "tokenizer"
    words = json.loads((place / "tokenizer.json").read_text())["model"]["vocab"]
    words |= {a + b: len(words) + i for i, (a, b) in enumerate(MERGES)}
    (place / "vocab.json").write_text(json.dumps(words))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in MERGES))
    (place / "tokenizer.json").unlink()
    return folder


class Loaded:
    """As a run loads it."""

    name = "model"

    def __init__(self, opened):
        self.opened = opened
        load(self)

    def load(self):
        self.model = self.opened()


def edited(folder):
    editor = open_editor(find(str(folder)), ModelSettings("x", "mini", "ma5k", device="cpu"))
    Loaded(editor.load)
    settings = fill(EditSettings(num_inference_steps=1), editor.defaults)
    return editor.edit([tiny.picture(0)], ["ag bh night"], settings, [0], ["x"])[0][0].tobytes()


def written(folder):
    asking(folder)
    writer = Loaded(lambda: open_writer(folder, "cpu", torch.float32)).model
    return writer.write(["make it night"], [tiny.picture(0)] if writer.has_eyes else None, Request(6))[0].text


def drawn(folder):
    pipe = Loaded(lambda: MGIEPipeline.from_pretrained(folder)).model
    pipe.progress = False
    return pipe(tiny.picture(0), "x", num_inference_steps=1, generator=tiny.generators(0)).images[0].tobytes()


def mgie(folder):
    tiny.build().save_pretrained(folder)
    return folder


KINDS = {
    "inspix2pix": (with_merges, edited), "llama": (tiny_language.llama, written),
    "llava": (tiny_language.llava, written), "mgie": (mgie, drawn),
}  # fmt: skip
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("emptied", "a pointer")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    torch.set_num_threads(1)
    root, made = tmp_path_factory.mktemp("whole"), {}

    def one(kind: str):
        if kind not in made:
            make, use = KINDS[kind]
            made[kind] = make(root / kind), use(root / kind)
        return made[kind]

    return one


@pytest.mark.parametrize("damage", ["cut", "lost", *SLOW])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_one_line_with_its_name_or_changes_nothing(whole, tmp_path, kind, damage):
    folder, expected = whole(kind)
    copy = shutil.copytree(folder, tmp_path / kind)
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        kept = path.read_bytes()
        content = DAMAGES[damage](kept)
        path.unlink() if content is None else path.write_bytes(content)
        try:
            assert KINDS[kind][1](copy) == expected, f"{path.name} {damage} is used in silence"
        except (ValueError, FileNotFoundError) as error:
            assert str(path) in str(error) or str(path.parent) in str(error), f"{path} {damage}: {error}"
            assert "\n" not in str(error)
        path.write_bytes(kept)


def test_merges_that_were_cut_between_two_lines_are_refused(whole, tmp_path):
    folder = shutil.copytree(whole("inspix2pix")[0], tmp_path / "cut")
    path = folder / "tokenizer" / "merges.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:12]) + "\n")
    with pytest.raises(NotLoaded, match=r"merges\.txt is cut: it does not make \d+ of the \d+ words; get it again"):
        edited(folder)


def test_what_a_library_raises_on_a_file_it_does_not_name_ends_the_run_with_the_weights_folder(tmp_path):
    class Odd(Loaded):
        def parts(self):
            return {tmp_path / "weights" / "unet": 4.0, tmp_path / "weights" / "vae": 4.0}

    def fails():
        raise Exception("EOF while parsing")  # as tokenizers does

    with pytest.raises(NotLoaded, match=rf"Exception: EOF while parsing \(its weights: {tmp_path / 'weights'}\)"):
        Odd(fails)
    with pytest.raises(KeyboardInterrupt):
        Odd(lambda: (_ for _ in ()).throw(KeyboardInterrupt))


PARTS = ["llama", "tower", "projector", "tokenizer", "image_processor", "edit_head", "unet", "vae", "scheduler"]


@pytest.mark.parametrize("part", PARTS)
def test_a_lost_part_is_named_and_an_mgie_without_its_eyes_is_no_mgie(whole, tmp_path, part):
    folder = shutil.copytree(whole("mgie")[0], tmp_path / "mgie")
    shutil.rmtree(folder / part)
    opened = [lambda: MGIEPipeline.from_pretrained(folder)]
    if part in PARTS[:5]:
        opened.append(lambda: open_writer(folder, "cpu", torch.float32))  # as a rewriter
    for one in opened:
        with pytest.raises(FileNotFoundError, match=f"{folder / part} is missing.*get it again"):
            one()


def test_special_tokens_are_not_guessed_and_are_those_of_the_llm(whole, tmp_path):
    folder = shutil.copytree(whole("mgie")[0], tmp_path / "mgie")
    path = folder / "tokenizer" / "special_tokens.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"<im_patch>": 9999}))
    with pytest.raises(ValueError, match="tokenizer: the id of <im_patch> is 9999, the LLM has 384 tokens"):
        MGIEPipeline.from_pretrained(folder)
    path.unlink()
    (folder / "tokenizer" / "tokenizer.model").write_bytes(b"llama's, which has none of our tokens")
    with pytest.raises(FileNotFoundError, match=r"special_tokens\.json is missing; get it again"):
        MGIEPipeline.from_pretrained(folder)
