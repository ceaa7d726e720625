"""What the tiny editors read and encode with: byte-level tokenizers, Qwen's small language models with eyes, codecs."""

import tiny_diffusers as td

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for c in m.content %}{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def scheduler(**more):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**more)


def qwen_tokenizer():
    tokenizer, processor = td.qwen_processor()
    tokenizer.chat_template = TEMPLATE
    return tokenizer, processor


def token_ids(tokenizer) -> dict[str, int]:
    names = {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    names |= {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def text_sizes(tokenizer, **more) -> dict:
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6}
    return {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": None,
        "pad_token_id": 0, "rope_parameters": rope, **more,
    }  # fmt: skip


def qwen25(tokenizer):
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(text_config=text_sizes(tokenizer), vision_config=vision, **token_ids(tokenizer))
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen3(tokenizer, patch: int = 14):
    """Qwen3-VL and its processor."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    vision = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
        "patch_size": patch, "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    text = text_sizes(tokenizer, head_dim=8)
    config = Qwen3VLConfig(text_config=text, vision_config=vision, **token_ids(tokenizer))
    patches = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    images = Qwen2VLImageProcessor(min_pixels=(2 * patch) ** 2, max_pixels=(8 * patch) ** 2, **patches)
    videos = Qwen3VLVideoProcessor(**patches)
    return Qwen3VLForConditionalGeneration(config), Qwen3VLProcessor(images, tokenizer, videos, chat_template=TEMPLATE)


def qwen3_text(tokenizer, cls: str, layers: int):
    import transformers

    config = transformers.Qwen3Config(
        hidden_size=16, intermediate_size=16, num_hidden_layers=layers, num_attention_heads=2, num_key_value_heads=2,
        head_dim=8, vocab_size=len(tokenizer), max_position_embeddings=1024,
    )  # fmt: skip
    return getattr(transformers, cls)(config)


def vae(latents: int, **more):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=[8, 8], in_channels=3, out_channels=3, latent_channels=latents, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, layers_per_block=1,
        scaling_factor=0.3611, shift_factor=0.1159, **more,
    )  # fmt: skip


def wan():
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
