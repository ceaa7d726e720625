"""Tiny random pipelines of diffusers, built from configs alone, for tests: InstructPix2Pix (1.5, XL), Kontext.

Sizes follow diffusers' own fast tests; nothing is downloaded. Not covered: anything a trained model would do.
"""

from pathlib import Path

import torch

WORDS = [chr(c) for c in range(33, 127)]


def clip_tokenizer():
    from transformers import CLIPTokenizer

    vocab = {w: i for i, w in enumerate(WORDS + [w + "</w>" for w in WORDS])}
    vocab |= {"<|startoftext|>": len(vocab), "<|endoftext|>": len(vocab) + 1}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def t5_tokenizer():
    from transformers import T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((w, -2.0) for w in WORDS)]
    return T5TokenizerFast(vocab=pieces)


def clip_config(**more):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        bos_token_id=188, eos_token_id=189, pad_token_id=1, hidden_size=32, intermediate_size=37, projection_dim=32,
        num_attention_heads=4, num_hidden_layers=2, vocab_size=1000, **more,
    )  # fmt: skip


def vae(**more):
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=[8, 8, 8, 8], in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4,
        down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, **more,
    )  # fmt: skip


def instruct_pix2pix(folder: Path, seed: int = 0) -> Path:
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=8, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=4,
    )  # fmt: skip
    scheduler = EulerAncestralDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    build = {
        "unet": unet, "vae": vae(), "scheduler": scheduler, "text_encoder": CLIPTextModel(clip_config()),
        "tokenizer": clip_tokenizer(), "safety_checker": None, "feature_extractor": None,
    }  # fmt: skip
    StableDiffusionInstructPix2PixPipeline(**build, requires_safety_checker=False).save_pretrained(folder)
    return folder


def instruct_pix2pix_xl(folder: Path, seed: int = 0) -> Path:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLInstructPix2PixPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=8, out_channels=4, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, transformer_layers_per_block=(1, 1), projection_class_embeddings_input_dim=80,
        cross_attention_dim=64,
    )  # fmt: skip
    text = clip_config(hidden_act="gelu")
    StableDiffusionXLInstructPix2PixPipeline(
        unet=unet, vae=vae(), scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        text_encoder=CLIPTextModel(text), tokenizer=clip_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(text), tokenizer_2=clip_tokenizer(), add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux_kontext(folder: Path, seed: int = 0) -> Path:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxKontextPipeline, FluxTransformer2DModel
    from transformers import CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=[4, 4, 8], guidance_embeds=True,
    )  # fmt: skip
    t5 = T5Config(d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=2, vocab_size=300)
    FluxKontextPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), transformer=transformer,
        vae=vae(use_quant_conv=False, use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035),
        text_encoder=CLIPTextModel(clip_config()), tokenizer=clip_tokenizer(), text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=t5_tokenizer(), image_encoder=None, feature_extractor=None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def qwen_processor() -> tuple:
    from tokenizers import pre_tokenizers
    from transformers import Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    parts = ("im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
    special = ["<|endoftext|>", *(f"<|{part}|>" for part in parts)]
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *special]
    tokenizer = Qwen2Tokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.add_tokens(special, special_tokens=True)
    patches = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    images = Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=56 * 56, **patches)
    return tokenizer, Qwen2VLProcessor(images, tokenizer, Qwen2VLVideoProcessor(**patches), chat_template="-")
