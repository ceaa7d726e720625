"""Who writes an expressive instruction as text: LLaVA, LLaMA, or the MLLM of an MGIE folder, behind one interface.

Convention: question and template of apple/ml-mgie at 835af37, greedy. A folder is recognised by its config: MGIE's own,
LLaVA v1 as published (merged, or a delta with its base), LLaVA as transformers has it, any causal LLM of transformers.
Assumption: without eyes the same question is asked without image tokens.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mgie.convert.llava import open_llava
from mgie.io.components import check_fit, load_component, load_reader
from mgie.io.files import read_json
from mgie.prompts import Rule, build_prompt, longest

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

    from mgie.io.memory import Away
    from mgie.mllm import MLLM
    from mgie.preprocess import ClipProcessor
    from mgie.tokenizer import Tokenizer

END = "ASSISTANT:"


class Request(NamedTuple):
    """What is asked for, the same for all of a batch."""

    max_new_tokens: int = 96
    no_repeat_ngram_size: int = 3  # over prompt and answer; 0: repeats are allowed
    paragraph: bool = False  # the form that derives expressive instructions


USUAL = Request()  # of the official demo


class Written(NamedTuple):
    text: str  # as it was written, up to </s> or [IMG0]
    tokens: int


class Writer(Protocol):
    has_eyes: bool
    usual: Request  # how it is asked for an expressive instruction

    def write(self, instructions: list[str], images: "list[Image] | None", request: Request) -> list[Written]:
        """One answer an instruction. images: one each (RGB), or None to ask without an image."""
        ...


def open_writer(folder: Path, device: str, dtype: "torch.dtype", base: Path | None = None) -> Writer:
    """base: LLaMA's folder, where `folder` is LLaVA's delta. Raises FileNotFoundError or ValueError."""
    kind = kind_of(folder)
    if base is not None and kind != "llava":
        raise ValueError(f"{folder} is no LLaVA delta ({kind}); leave the base out")
    if kind == "mgie":
        from mgie.folder import read_preset

        preset = read_preset(folder, None)
        usual = Request(preset.max_new_tokens, preset.no_repeat_ngram_size)
        return MLLMWriter(*open_mgie(folder, dtype, device), device, usual, preset.token_rule)
    if kind == "llava":
        return MLLMWriter(*open_llava(folder, base, dtype), device, USUAL)
    return LibraryWriter(folder, device, dtype, has_eyes=kind == "transformers llava")


def kind_of(folder: Path) -> str:
    """mgie, llava (as published), transformers llava, or llm."""
    folder = Path(folder)
    index, config = folder / "model_index.json", folder / "config.json"
    if index.is_file():
        name = read_json(index).get("_class_name")
        if name != "MGIEPipeline":
            raise ValueError(f"{folder} is a {name}: it writes no text; expected MGIE, LLaVA or LLaMA")
        return "mgie"
    if not config.is_file():
        state = "has no config.json" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(f"{folder} {state}; expected the folder of a LLaVA, LLaMA or MGIE model")
    data = read_json(config)
    if "vision_config" in data:
        if data.get("model_type") != "llava":
            raise ValueError(f"{folder} is a {data.get('model_type')}: of those that see only LLaVA can be asked here")
        return "transformers llava"
    return "llava" if any(name.startswith("mm_") for name in data) else "llm"


class Asking(NamedTuple):
    """How a folder is asked, read from its small files: nothing is loaded."""

    eyes: bool  # whether it could look at the image
    request: Request


def asking(folder: Path) -> Asking:
    """Raises FileNotFoundError, or ValueError for a folder that writes no text."""
    kind = kind_of(folder)
    if kind != "mgie":
        return Asking(kind != "llm", USUAL)
    from mgie.folder import INDEX, read_preset

    preset = read_preset(folder, None)
    eyes = bool(read_json(Path(folder) / INDEX).get("eyes", True))
    return Asking(eyes, Request(preset.max_new_tokens, preset.no_repeat_ngram_size))


def template_of(folder: Path, eyes: bool) -> str:
    """The question as it is put, with {instruction} in it; one <im_patch> stands for all of an image's."""
    if kind_of(folder) == "transformers llava" and eyes:
        return with_image(build_prompt("{instruction}", 0), "<image>")
    return build_prompt("{instruction}", int(eyes))


def with_image(prompt: str, token: str) -> str:
    """Where transformers' LLaVA expects the image: at the end of the question."""
    return f"{prompt.removesuffix(' ' + END)}\n{token} {END}"


def open_mgie(
    folder: Path, dtype: "torch.dtype", device: str | None = None
) -> "tuple[MLLM, Tokenizer, ClipProcessor | None]":
    """device: where the weights go as they are read."""
    from mgie.folder import EYES, INDEX, check_parts
    from mgie.mllm import MLLM
    from mgie.preprocess import ClipProcessor
    from mgie.tokenizer import Tokenizer

    eyes = check_parts(folder, read_json(folder / INDEX), ("llama", "tokenizer", *EYES))
    tokenizer = Tokenizer.from_pretrained(folder / "tokenizer")
    mllm = MLLM.from_pretrained(folder, tokenizer.image_start, tokenizer.image_patch, dtype, device, eyes)
    processor = ClipProcessor.from_pretrained(folder / "image_processor") if eyes else None
    return mllm, tokenizer, processor


class MLLMWriter:
    """Our own MLLM class, with or without eyes."""

    def __init__(
        self,
        mllm: "MLLM",
        tokenizer: "Tokenizer",
        processor: "ClipProcessor | None",
        device: str,
        usual: Request,
        rule: Rule = "fast",
    ) -> None:
        self.mllm, self.tokenizer, self.processor, self.device = mllm.to(device), tokenizer, processor, device
        self.has_eyes, self.usual, self.rule = processor is not None, usual, rule
        self.stops = [tokenizer.eos, *([tokenizer.special["[IMG0]"]] if "[IMG0]" in tokenizer.special else [])]

    def write(self, instructions: list[str], images: "list[Image] | None", request: Request) -> list[Written]:
        import torch

        from mgie.generate import pad_left

        self.refuse_special(instructions)
        patches = 0
        if images is not None:
            vision = self.mllm.tower.config
            patches = (vision.image_size // vision.patch_size) ** 2

        def encode(text: str) -> list[int]:
            return self.tokenizer.encode(build_prompt(text, patches, request.paragraph), self.rule)

        request, room = within(request, self.mllm.llama.config.max_position_embeddings)
        prompts = [encode(shortened(text, encode, room)) for text in instructions]
        ids, mask = pad_left(prompts, self.tokenizer.pad, torch.device(self.device))
        with torch.no_grad():
            pixels = self.processor(images).to(self.device) if images is not None and self.processor else None
            generated = generate(
                self.mllm.llama, request, self.stops, self.tokenizer.pad, input_ids=ids, attention_mask=mask,
                inputs_embeds=self.mllm.embed(ids, pixels),
            )  # fmt: skip
        answers = [until(row, self.stops) for row in generated[:, ids.shape[1] :].tolist()]
        return [Written(self.tokenizer.decode(answer).strip(), len(answer)) for answer in answers]

    def refuse_special(self, instructions: list[str]) -> None:
        for text in instructions:
            held = next((token for token in self.tokenizer.special if token in text), None)
            if held:
                raise ValueError(f"the instruction '{text[:80]}' holds {held}, a token of the model's; leave it out")


class LibraryWriter:
    """A model in transformers' own classes."""

    def __init__(self, folder: Path, device: str, dtype: "torch.dtype", has_eyes: bool) -> None:
        from transformers import AutoModelForCausalLM, AutoProcessor, AutoTokenizer, LlavaForConditionalGeneration

        cls = LlavaForConditionalGeneration if has_eyes else AutoModelForCausalLM
        reader = load_reader(AutoProcessor if has_eyes else AutoTokenizer, Path(folder))
        model: Any = load_component(cls, Path(folder), dtype, device=device)
        check_fit(folder, reader, [model])
        self.model, self.device = model.to(device), device
        self.has_eyes, self.usual = has_eyes, USUAL
        self.processor: Any = reader if has_eyes else None
        self.tokenizer = reader.tokenizer if has_eyes else reader
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.unk_token or self.tokenizer.eos_token

    def write(self, instructions: list[str], images: "list[Image] | None", request: Request) -> list[Written]:
        import torch

        config = self.model.config.get_text_config()
        patches = 0 if images is None else self.model.config.image_seq_length
        request, room = within(request, getattr(config, "max_position_embeddings", 2048))
        room -= patches

        def encode(text: str) -> list[int]:
            return self.tokenizer.encode(build_prompt(text, 0, request.paragraph))

        short = [shortened(text, encode, room) for text in instructions]
        prompts = [build_prompt(text, 0, request.paragraph) for text in short]
        if images is None:
            inputs = self.tokenizer(prompts, return_tensors="pt", padding=True)
            inputs.pop("token_type_ids", None)
        else:
            prompts = [with_image(p, self.processor.image_token) for p in prompts]
            inputs = self.processor(text=prompts, images=images, return_tensors="pt", padding=True)
            inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        inputs = inputs.to(self.device)
        stops = [self.tokenizer.eos_token_id]
        with torch.no_grad():
            generated = generate(self.model, request, stops, self.tokenizer.pad_token_id, **inputs)
        answers = [until(row, stops) for row in generated[:, inputs["input_ids"].shape[1] :].tolist()]
        texts = self.tokenizer.batch_decode(answers, skip_special_tokens=True)
        return [Written(text.strip(), len(answer)) for text, answer in zip(texts, answers, strict=True)]


def offloaded(writer: Writer, device: str) -> "Away":
    """A writer that was opened on the CPU: from now on its weights come to the device when it writes.

    They stay there until the one that is returned is asked for room.
    """
    import torch

    from mgie.io.memory import wait

    assert isinstance(writer, LibraryWriter | MLLMWriter)  # as open_writer makes them
    writer.device = device
    if isinstance(writer, LibraryWriter):
        return wait(writer.model, torch.device(device))
    llama = writer.mllm.llama  # the MLLM's own forward is not called: its parts are
    return wait(writer.mllm, torch.device(device), [llama.get_input_embeddings(), *llama.children()])


def within(request: Request, context: int) -> tuple[Request, int]:
    """An answer takes at most half of the model's context; the prompt may have the rest."""
    request = request._replace(max_new_tokens=min(request.max_new_tokens, context // 2))
    return request, context - request.max_new_tokens


def shortened(text: str, encode: Callable[[str], list[int]], room: int) -> str:
    """text, or as much of its beginning as leaves the prompt at most `room` tokens."""
    fitting = longest(text, lambda part: len(encode(part)) <= room)
    if len(encode(fitting)) > room:
        raise ValueError(f"the question alone takes more than the {room} tokens that the model has room for")
    if fitting != text:
        said = f"an instruction of {len(text)} characters is longer than the model reads; it is cut"
        warnings.warn(said, stacklevel=3)
    return fitting


def generate(model: Any, request: Request, stops: list[int], pad: int, **inputs: "Tensor") -> "Tensor":
    """Greedy, whatever the checkpoint's own generation config says. (B, prompt and answer)."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=request.max_new_tokens, eos_token_id=stops, pad_token_id=pad,
        no_repeat_ngram_size=request.no_repeat_ngram_size, repetition_penalty=1.0, use_cache=True,
    )  # fmt: skip
    return model.generate(**inputs, generation_config=config)


def until(ids: list[int], stops: list[int]) -> list[int]:
    """ids before the first stop."""
    return ids[: next((i for i, token in enumerate(ids) if token in stops), len(ids))]
