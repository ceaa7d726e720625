"""Tiny random pipelines of today's editors, of diffusers' real classes, built from configs alone and saved as folders.

Byte-level tokenizers, networks of 16 to 32 channels; nothing is downloaded. Size rules that draw a megapixel are made
small by `shrink`. Not covered: anything a trained model would do.
"""

from pathlib import Path

import tiny_diffusers as td
import torch
from tiny_encoders import TEMPLATE, qwen3, qwen3_text, qwen25, qwen_tokenizer, scheduler, vae, wan


def flux2_parts() -> dict:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    codec = AutoencoderKLFlux2(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 2, latent_channels=2,
        up_block_types=["UpDecoderBlock2D"] * 2, block_out_channels=[4, 4], layers_per_block=1, norm_num_groups=2,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        patch_size=1, in_channels=8, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=256, axes_dims_rope=[4, 4, 4, 4], guidance_embeds=True,
    )  # fmt: skip
    return {"vae": codec, "transformer": transformer, "scheduler": scheduler()}


def flux2():
    from diffusers import Flux2Pipeline
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, PixtralImageProcessor, PixtralProcessor

    tokenizer, _ = qwen_tokenizer()
    tokenizer.add_tokens(["[IMG]", "[IMG_BREAK]", "[IMG_END]"], special_tokens=True)
    text = {
        "model_type": "mistral", "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 16,
        "num_attention_heads": 2, "num_key_value_heads": 2, "num_hidden_layers": 30, "head_dim": 8,
    }  # fmt: skip
    vision = {
        "model_type": "pixtral", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "image_size": 30, "patch_size": 6,
    }  # fmt: skip
    image = tokenizer.convert_tokens_to_ids("[IMG]")
    encoder = Mistral3ForConditionalGeneration(
        Mistral3Config(text_config=text, vision_config=vision, image_token_index=image)
    )
    processor = PixtralProcessor(PixtralImageProcessor(), tokenizer, chat_template=TEMPLATE)
    return Flux2Pipeline(text_encoder=encoder, tokenizer=processor, **flux2_parts())


def flux2_klein(cls: str = "Flux2KleinPipeline", **more):
    import diffusers

    tokenizer, _ = qwen_tokenizer()
    encoder = qwen3_text(tokenizer, "Qwen3ForCausalLM", 28)
    return getattr(diffusers, cls)(text_encoder=encoder, tokenizer=tokenizer, **flux2_parts(), **more)


def qwen_image_edit(cls: str):
    import diffusers

    tokenizer, processor = qwen_tokenizer()
    codec = diffusers.AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    transformer = diffusers.QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, guidance_embeds=False, axes_dims_rope=(8, 4, 4),
    )  # fmt: skip
    return getattr(diffusers, cls)(scheduler(), codec, qwen25(tokenizer), tokenizer, processor, transformer)


def qwen_image21():
    from diffusers import AutoencoderKLQwenImage21, QwenImage21Pipeline, QwenImage21Transformer2DModel

    tokenizer, _ = qwen_tokenizer()
    encoder, processor = qwen3(tokenizer, patch=16)
    codec = AutoencoderKLQwenImage21(
        base_dim=4, decoder_base_dim=4, z_dim=8, dim_mult=[1] * 5, num_res_blocks=1, attn_scales=[],
        temperal_downsample=[False, True, True, True], latents_mean=[0.0] * 8, latents_std=[1.0] * 8,
    )  # fmt: skip
    transformer = QwenImage21Transformer2DModel(
        patch_size=1, in_channels=8, out_channels=8, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        context_in_dim=16, mlp_ratio=2, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    return QwenImage21Pipeline(scheduler(), codec, encoder, processor, transformer)


def longcat():
    from diffusers import LongCatImageEditPipeline, LongCatImageTransformer2DModel

    tokenizer, processor = qwen_tokenizer()
    transformer = LongCatImageTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=[4, 4, 8],
    )  # fmt: skip
    return LongCatImageEditPipeline(scheduler(), vae(16), qwen25(tokenizer), tokenizer, processor, transformer)


def joyimage(plus: bool = False):
    import diffusers

    name = "JoyImageEditPlus" if plus else "JoyImageEdit"
    tokenizer, _ = qwen_tokenizer()
    encoder, processor = qwen3(tokenizer)
    transformer = getattr(diffusers, f"{name}Transformer3DModel")(
        patch_size=[1, 2, 2], in_channels=4, hidden_size=32, num_attention_heads=2, text_dim=16, num_layers=1,
        rope_dim_list=[4, 6, 6], theta=256,
    )  # fmt: skip
    return getattr(diffusers, f"{name}Pipeline")(scheduler(), wan(), encoder, tokenizer, transformer, processor)


def kandinsky5():
    from diffusers import Kandinsky5I2IPipeline, Kandinsky5Transformer3DModel
    from transformers import CLIPTextModel

    tokenizer, processor = qwen_tokenizer()
    transformer = Kandinsky5Transformer3DModel(
        in_visual_dim=4, in_text_dim=16, in_text_dim2=32, time_dim=16, out_visual_dim=4, patch_size=(1, 2, 2),
        model_dim=16, ff_dim=32, num_text_blocks=1, num_visual_blocks=1, axes_dims=(1, 1, 2), visual_cond=True,
        attention_type="regular",
    )  # fmt: skip
    with torch.no_grad():  # what starts at zero lets no text through
        for parameter in transformer.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return Kandinsky5I2IPipeline(
        transformer, td.vae(), qwen25(tokenizer), processor, CLIPTextModel(td.clip_config()), td.clip_tokenizer(),
        scheduler(shift=7.0),
    )  # fmt: skip


def dreamlite(cls: str = "DreamLitePipeline"):
    import diffusers

    tokenizer, _ = qwen_tokenizer()
    encoder, processor = qwen3(tokenizer)
    unet = diffusers.DreamLiteUNetModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), cross_attention_dim=16,
        down_block_types=("DreamLiteCrossAttnNoSelfAttnDownBlock2D", "DreamLiteCrossAttnDownBlock2D"),
        up_block_types=("DreamLiteCrossAttnUpBlock2D", "DreamLiteUpBlock2D"), attention_head_dim=4,
        layers_per_block=1, norm_num_groups=4, transformer_layers_per_block=1,
    )  # fmt: skip
    codec = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1), latent_channels=4,
    )  # fmt: skip
    return getattr(diffusers, cls)(encoder, tokenizer, processor, codec, unet, scheduler())


def omnigen():
    from diffusers import OmniGenPipeline, OmniGenTransformer2DModel

    tokenizer, _ = qwen_tokenizer()
    transformer = OmniGenTransformer2DModel(
        in_channels=4, patch_size=2, hidden_size=24, num_layers=1, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=32, vocab_size=len(tokenizer), pad_token_id=0, pos_embed_max_size=64,
        rope_scaling={"short_factor": [1.0] * 6, "long_factor": [1.0] * 6},
    )  # fmt: skip
    return OmniGenPipeline(transformer, scheduler(invert_sigmas=True, num_train_timesteps=1), td.vae(), tokenizer)


def ledits(xl: bool = False):
    """The parts of InstructPix2Pix's tiny pipelines, with a UNet of 4 channels and LEDITS++'s scheduler."""
    import tempfile

    import diffusers

    deeper = {  # it looks at the cross attention of the layers at a quarter of the latents' size
        "block_out_channels": (8, 16, 16), "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    }  # fmt: skip
    plan = diffusers.DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++", solver_order=2, beta_start=0.00085, beta_end=0.012, steps_offset=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        built = (td.instruct_pix2pix_xl if xl else td.instruct_pix2pix)(Path(folder))
        unet = diffusers.UNet2DConditionModel.from_config(td_unet(built) | {"in_channels": 4} | ({} if xl else deeper))
        cls = diffusers.StableDiffusionXLInstructPix2PixPipeline if xl else None
        cls = cls or diffusers.StableDiffusionInstructPix2PixPipeline
        parts = cls.from_pretrained(built).components
    parts |= {"unet": unet, "scheduler": plan}
    if xl:
        keep = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
        return diffusers.LEditsPPPipelineStableDiffusionXL(**{k: parts[k] for k in keep}, add_watermarker=False)
    parts.pop("image_encoder", None)
    return diffusers.LEditsPPPipelineStableDiffusion(**parts, requires_safety_checker=False)


def td_unet(folder: Path) -> dict:
    import json

    return json.loads((folder / "unet" / "config.json").read_text())


def glm_image():
    from diffusers import GlmImagePipeline, GlmImageTransformer2DModel
    from transformers import (
        GlmImageConfig,
        GlmImageForConditionalGeneration,
        GlmImageImageProcessor,
        GlmImageProcessor,
        T5Config,
        T5EncoderModel,
    )

    special = {"image_token": "<|image|>", "grid_bos_token": "<sop>", "grid_eos_token": "<eop>"}
    plain, _ = qwen_tokenizer()
    tokenizer = type(plain)(
        vocab=plain.get_vocab() | {w: len(plain) + i for i, w in enumerate([*special.values(), "<bos>"])}, merges=[],
        bos_token="<bos>", model_specific_special_tokens=special,
    )  # fmt: skip
    glyphs = td.t5_tokenizer()
    encoder = T5EncoderModel(T5Config(d_model=32, d_kv=8, d_ff=37, num_layers=1, num_heads=2, vocab_size=300))
    ids = {"image_token_id": tokenizer.convert_tokens_to_ids("<|image|>")}
    text = {
        "vocab_size": len(tokenizer) + 128, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 2048, "vision_vocab_size": 128,
        "eos_token_id": None, "pad_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": (4, 2, 2)},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 32, "num_heads": 2, "image_size": 64, "patch_size": 16, "intermediate_size": 32,
        "spatial_merge_size": 1,
    }  # fmt: skip
    codes = {"embed_dim": 32, "num_embeddings": 128, "latent_channels": 32}
    config = GlmImageConfig(
        text_config=text, vision_config=vision, vq_config=codes, **ids, image_start_token_id=128, image_end_token_id=129
    )
    template = TEMPLATE.replace("<|vision_start|><|image_pad|><|vision_end|>", "<|image|>")
    processor = GlmImageProcessor(
        GlmImageImageProcessor(
            patch_size=16, merge_size=1, temporal_patch_size=1, min_pixels=32 * 32, max_pixels=512 * 512
        ),
        tokenizer,
        template,
    )
    transformer = GlmImageTransformer2DModel(
        patch_size=2, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=2,
        text_embed_dim=32, time_embed_dim=16, condition_dim=8, prior_vq_quantizer_codebook_size=128,
    )  # fmt: skip
    codec = td.vae(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    draft = GlmImageForConditionalGeneration(config)
    return GlmImagePipeline(glyphs, processor, encoder, draft, codec, transformer, scheduler())


def z_image():
    from diffusers import ZImageOmniPipeline, ZImageTransformer2DModel
    from transformers import Siglip2ImageProcessor, Siglip2VisionConfig, Siglip2VisionModel

    tokenizer, _ = qwen_tokenizer()
    transformer = ZImageTransformer2DModel(
        all_patch_size=(2,), all_f_patch_size=(1,), in_channels=4, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2,
        n_kv_heads=2, cap_feat_dim=16, siglip_feat_dim=16, rope_theta=256.0, axes_dims=[8, 4, 4],
        axes_lens=[2048, 128, 128],
    )  # fmt: skip
    with torch.no_grad():  # they are made by torch.empty
        for name, parameter in transformer.named_parameters():
            if name.endswith("pad_token"):
                parameter.fill_(1)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    eye = Siglip2VisionModel(Siglip2VisionConfig(**sizes, num_patches=16, patch_size=4))
    looks = Siglip2ImageProcessor(patch_size=4, max_num_patches=16)
    encoder = qwen3_text(tokenizer, "Qwen3Model", 2)
    return ZImageOmniPipeline(scheduler(), vae(4), encoder, tokenizer, transformer, eye, looks)


def shrink(monkeypatch, pipeline) -> None:
    """Size rules of a megapixel at 96 x 64 px of area instead, the shapes kept."""
    from importlib import import_module

    from diffusers.pipelines.joyimage import image_processor

    for name in ("longcat_image.pipeline_longcat_image_edit", "qwenimage.pipeline_qwenimage_edit",
                 "qwenimage.pipeline_qwenimage_edit_plus", "qwenimage21.pipeline_qwenimage21"):  # fmt: skip
        module = import_module(f"diffusers.pipelines.{name}")
        if type(pipeline).__module__ == module.__name__:
            rule = module.calculate_dimensions
            monkeypatch.setattr(module, "calculate_dimensions", lambda area, ratio, rule=rule: rule(96 * 64, ratio))
    monkeypatch.setattr(image_processor, "BUCKETS", {1024: [(64, 96), (96, 64), (64, 64)]})
    if hasattr(pipeline, "resolutions"):
        pipeline.resolutions = [(96, 64), (64, 96), (64, 64)]
    if type(pipeline).__name__ == "FluxKontextPipeline":
        pipeline.default_sample_size = 8


BUILDS = {  # by diffusers' class
    "FluxKontextPipeline": td.flux_kontext,
    "StableDiffusionInstructPix2PixPipeline": td.instruct_pix2pix,
    "StableDiffusionXLInstructPix2PixPipeline": td.instruct_pix2pix_xl,
    "Flux2Pipeline": flux2,
    "Flux2KleinPipeline": flux2_klein,
    "Flux2KleinKVPipeline": lambda: flux2_klein("Flux2KleinKVPipeline"),
    "QwenImageEditPipeline": lambda: qwen_image_edit("QwenImageEditPipeline"),
    "QwenImageEditPlusPipeline": lambda: qwen_image_edit("QwenImageEditPlusPipeline"),
    "QwenImage21Pipeline": qwen_image21,
    "LongCatImageEditPipeline": longcat,
    "JoyImageEditPipeline": joyimage,
    "JoyImageEditPlusPipeline": lambda: joyimage(plus=True),
    "Kandinsky5I2IPipeline": kandinsky5,
    "DreamLitePipeline": dreamlite,
    "DreamLiteMobilePipeline": lambda: dreamlite("DreamLiteMobilePipeline"),
    "OmniGenPipeline": omnigen,
    "GlmImagePipeline": glm_image,
    "ZImageOmniPipeline": z_image,
    "LEditsPPPipelineStableDiffusion": ledits,
    "LEditsPPPipelineStableDiffusionXL": lambda: ledits(xl=True),
}


def save(name: str, folder: Path) -> Path:
    """The tiny pipeline of a class, as a folder."""
    torch.manual_seed(0)
    if BUILDS[name].__module__ == td.__name__:
        return BUILDS[name](folder)
    BUILDS[name]().save_pretrained(folder)
    return folder
