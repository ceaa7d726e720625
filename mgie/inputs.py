"""What a call of the pipeline is given, checked: an error with the value and what to do for each kind of bad input."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image

from mgie.io.files import HALVES
from mgie.preprocess import edit_size
from mgie.prompts import ADDED_TOKENS, SENTENCE_TOKENS, Rule, build_answer, build_prompt, longest

if TYPE_CHECKING:
    import torch

    from mgie.presets import Preset
    from mgie.tokenizer import Tokenizer


class Inputs(NamedTuple):
    """As many of each as there are edits."""

    images: list[Image.Image]  # RGB
    sizes: list[tuple[int, int]]  # (width, height) of the edits
    instructions: list[str]
    expressive: list[str] | None
    generators: "list[torch.Generator] | None"

    @classmethod
    def check(
        cls,
        preset: "Preset",
        notice: Callable[[str], None],
        image: object,
        instruction: object,
        expressive: object,
        generator: object,
    ) -> "Inputs":
        """notice: told what is changed about them. Raises ValueError."""
        images, instructions = _listed(image), _listed(instruction)
        count = max(len(images), len(instructions))
        images, instructions = _spread(images, count, "images"), _spread(instructions, count, "instructions")
        images = [_picture(i, one) for i, one in enumerate(images)]
        texts = [_text(i, one, "instruction") for i, one in enumerate(instructions)]
        if expressive is not None:
            given = _spread(_listed(expressive), count, "expressive instructions")
            expressive = [_text(i, one, "expressive instruction") for i, one in enumerate(given)]
        factor, limit = preset.factor, preset.max_side
        if any(max(one.size) > limit for one in images):
            notice(f"images with a side over {limit} px are shrunk to it (preset {preset.name})")
        sizes = [edit_size(one, factor, limit) for one in images]
        return cls(images, sizes, texts, expressive, _generators(generator, count))


class Prompt(NamedTuple):
    ids: list[int]
    shortened: bool


def fit_prompt(tokenizer: "Tokenizer", instruction: str, patches: int, limit: int, rule: Rule) -> Prompt:
    """The prompt's ids, at most `limit`: too long an instruction loses its end, never the image or the template."""

    def encode(text: str) -> list[int]:
        return tokenizer.encode(build_prompt(text, patches), rule)

    fitting = longest(instruction, lambda text: len(encode(text)) <= limit)
    ids = encode(fitting)
    if len(ids) > limit:
        raise ValueError(
            f"the prompt takes {len(ids)} tokens without an instruction, and {max(limit, 0)} are left for it beside "
            "max_new_tokens; give a smaller max_new_tokens"
        )
    return Prompt(ids, fitting != instruction)


class Given(NamedTuple):
    """An expressive instruction that was given, as the answer it stands for."""

    text: str
    ids: list[int]
    shortened: bool


def fit_answer(tokenizer: "Tokenizer", text: str, limit: int) -> Given:
    """The answer's ids, at most `limit`, visual tokens and </s> among them: too long a text loses its end."""

    def encode(text: str) -> list[int]:
        # as a training row has it: no <s>, and one blank before the first word, which a piece of text always gets
        return tokenizer.encode(build_answer(text, len(tokenizer.visual)).lstrip(), "slow")[1:]

    ids = encode(text)
    if len(ids) <= limit:
        return Given(text, ids, False)
    kept = longest(text, lambda text: len(encode(text)) <= limit).rstrip()
    return Given(kept, encode(kept), True)


def _listed(value: object) -> list:
    return list(value) if isinstance(value, list | tuple) else [value]


def _spread(values: list, count: int, what: str) -> list:
    if len(values) not in (1, count) or count == 0:
        raise ValueError(f"{len(values)} {what} for {count} edits; give one, or as many as there are edits")
    return values if len(values) == count else values * count


def _picture(place: int, image: object) -> Image.Image:
    if image is None:
        raise ValueError(f"no input image for edit {place}; give a PIL image")
    if not isinstance(image, Image.Image):
        kind = type(image).__name__
        raise ValueError(f"the input image of edit {place} is a {kind}; give a PIL image, e.g. Image.open(path)")
    if min(image.size) == 0:
        raise ValueError(f"the input image of edit {place} is {image.width}x{image.height} px; it has no pixels")
    from mgie.io.images import of_memory  # turned by EXIF, in sRGB, transparent pixels on white, 8 bit RGB

    return of_memory(image)


def _text(place: int, text: object, what: str) -> str:
    if text is not None and not isinstance(text, str):
        raise ValueError(f"the {what} of edit {place} is of type {type(text).__name__} ({text!r}); give a str")
    if text is None or not text.strip():
        raise ValueError(f"the {what} of edit {place} is empty ({text!r}); say what to change")
    if HALVES.search(text):  # bytes that are not UTF-8
        raise ValueError(f"the {what} of edit {place} is no valid Unicode ({text[:40]!r}); give it as UTF-8")
    text = text.strip()
    special = [token for token in (*SENTENCE_TOKENS, *ADDED_TOKENS) if token in text]
    if special:
        raise ValueError(f"the {what} of edit {place} holds {special[0]}, a token of the model's own; leave it out")
    return text


def _generators(generator: object, count: int) -> "list[torch.Generator] | None":
    if generator is None:
        return None
    generators = _listed(generator)
    if len(generators) != count:
        raise ValueError(
            f"{len(generators)} generators for {count} edits; give one each, so that no edit depends on its batch"
        )
    import torch

    if not all(isinstance(one, torch.Generator) for one in generators):
        raise ValueError(f"generator is {generator!r}; give torch.Generator('cpu').manual_seed(seed), one an edit")
    return generators
