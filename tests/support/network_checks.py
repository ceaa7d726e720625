"""Each metric of a network beside its reference implementation: one check a metric, which raises where the two differ.

The references are written out plainly (instruct-pix2pix clip_similarity.py at 0dffd1e, MagicBrush image_eval.py at
fcfc892) or are packages on the same weights (timm's blocks, torchmetrics, transformers' CLIPModel).
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from metric_checks import all_pairs, close, ours
from PIL import Image
from tiny_networks import drawn, pair

from bench.metrics import clip_direction
from bench.metrics.networks.features import FeatureCache

NORM = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "dino": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
LONG = "a very long caption about a dog and a cat and a house " * 12 + "at night"


def seen(image, side, norm, resize_to=None):
    """MagicBrush's transform: Resize bicubic on PIL, CenterCrop, ToTensor, Normalize."""
    from torchvision import transforms as t

    return t.Compose(
        [
            t.Resize(resize_to or side, interpolation=t.InterpolationMode.BICUBIC),
            t.CenterCrop(side),
            t.ToTensor(),
            t.Normalize(*NORM[norm]),
        ]
    )(image.convert("RGB"))[None]


def cosine(a, b):
    from scipy import spatial

    return 1 - spatial.distance.cosine(a.double().flatten().numpy(), b.double().flatten().numpy())


def check_dino(settings):
    import timm
    from safetensors.torch import load_file

    network = timm.create_model(f"local-dir:{settings.dino}", pretrained=False, num_classes=0).eval()
    network.load_state_dict(load_file(Path(settings.dino) / "model.safetensors"))

    def feature(image):
        """dino's own forward: patches, class token, positions, blocks, norm, the class token."""
        with torch.no_grad():
            x = network.patch_embed(seen(image, 64, "dino", resize_to=73))
            x = torch.cat([network.cls_token, x], dim=1) + network.pos_embed
            for block in network.blocks:
                x = block(x)
            return network.norm(x)[:, 0]

    of = all_pairs()
    close(ours("dino", of, settings), [cosine(feature(p.output.image), feature(p.goal.image)) for p in of], 1e-5)


@cache
def hf_clip(folder: str):
    """The same weights in transformers' CLIPModel: another implementation of the activation, pooling and projection."""
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel

    sides = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "hidden_act": "quick_gelu",
    }
    text = {**sides, "vocab_size": 49408, "max_position_embeddings": 77, "eos_token_id": 49407, "bos_token_id": 49406}
    model = CLIPModel(
        CLIPConfig(
            text_config=text,
            vision_config={**sides, "image_size": 48, "patch_size": 16},
            projection_dim=24,
        )
    ).eval()
    own = load_file(Path(folder) / "open_clip_model.safetensors")
    model.load_state_dict({k: v for k, v in renamed(own).items() if k in model.state_dict()}, strict=True)
    return model


def renamed(own):
    state = {
        "visual_projection.weight": own["visual.proj"].T,
        "text_projection.weight": own["text_projection"].T,
        "logit_scale": own["logit_scale"],
        "text_model.embeddings.token_embedding.weight": own["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": own["positional_embedding"],
        "vision_model.embeddings.class_embedding": own["visual.class_embedding"],
        "vision_model.embeddings.position_embedding.weight": own["visual.positional_embedding"],
        "vision_model.embeddings.patch_embedding.weight": own["visual.conv1.weight"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for theirs, prefix in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
        for i in range(2):
            block, layer = f"{prefix}.resblocks.{i}", f"{theirs}.encoder.layers.{i}"
            for kind in ("weight", "bias"):
                for part, value in zip("qkv", own[f"{block}.attn.in_proj_{kind}"].chunk(3), strict=True):
                    state[f"{layer}.self_attn.{part}_proj.{kind}"] = value
            norms |= {
                f"{block}.attn.out_proj": f"{layer}.self_attn.out_proj",
                f"{block}.mlp.c_fc": f"{layer}.mlp.fc1",
                f"{block}.mlp.c_proj": f"{layer}.mlp.fc2",
                f"{block}.ln_1": f"{layer}.layer_norm1",
                f"{block}.ln_2": f"{layer}.layer_norm2",
            }
    for name, theirs in norms.items():
        state |= {f"{theirs}.{kind}": own[f"{name}.{kind}"] for kind in ("weight", "bias")}
    return state


def pooled(answer):
    return getattr(answer, "pooler_output", answer)  # transformers 5 returns an object


def image_feature(settings, image, pixels=None):
    with torch.no_grad():
        return pooled(hf_clip(settings.clip).get_image_features(seen(image, 48, "clip") if pixels is None else pixels))


@cache
def tokenizer():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def text_ids(text):
    """clip.tokenize(text, truncate=True): the last place of a long text holds the end token."""
    ids = [49406, *tokenizer().encode(text), 49407]
    if len(ids) > 77:
        ids = [*ids[:76], 49407]
    return torch.tensor([ids + [0] * (77 - len(ids))])


def text_feature(settings, text):
    with torch.no_grad():
        return pooled(hf_clip(settings.clip).get_text_features(input_ids=text_ids(text)))


def check_cvs(settings):
    of = all_pairs()
    expected = [cosine(*(image_feature(settings, x.image) for x in (p.output, p.goal))) for p in of]
    close(ours("cvs", of, settings), expected, 1e-5)


def with_long_caption(of):
    return [
        replace(p, example=replace(p.example, goal_caption=LONG if i == 1 else p.example.goal_caption))
        for i, p in enumerate(of)
    ]


def check_cts(settings):
    of = with_long_caption(all_pairs())
    captions = [text_feature(settings, p.example.goal_caption) for p in of]
    expected = [cosine(image_feature(settings, p.output.image), c) for p, c in zip(of, captions, strict=True)]
    close(ours("cts", of, settings), expected, 1e-5)


def check_clip_s(settings):
    """torchmetrics' CLIPScore before its clamp, which needs a model that returns tensors (1.9, transformers 5)."""
    from torchmetrics.functional.multimodal.clip_score import _clip_score_update

    class Model:
        config = hf_clip(settings.clip).config

        def to(self, device):
            return self

        def get_image_features(self, pixels):
            return image_feature(settings, None, pixels)

        def get_text_features(self, ids, mask):
            model = hf_clip(settings.clip)
            return torch.cat([pooled(model.get_text_features(input_ids=row[None])) for row in ids]).detach()

    def processor(images=None, text=None, return_tensors="pt", padding=True):
        if images is not None:
            to_pil = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in images]
            return {"pixel_values": torch.cat([seen(x, 48, "clip") for x in to_pil])}
        ids = torch.cat([text_ids(t) for t in text])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    of = all_pairs()
    tensors = [torch.tensor(np.asarray(p.output.image)).permute(2, 0, 1) for p in of]
    expected, _ = _clip_score_update(tensors, [p.example.instruction for p in of], Model(), processor)
    assert (expected < 0).any() and (expected > 0).any()  # else a clamp would pass unseen
    close(ours("clip_s", of, settings), expected.tolist(), 1e-4)  # 1e-6 of its scale of 100


def ip2p(settings, p, legacy):
    """ClipSimilarity.forward; legacy: on what compute_metrics.py feeds it."""
    from torch.nn import functional as f

    def encode_image(image):
        if not legacy:
            features = image_feature(settings, image)
        else:
            x = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float() / 255 * 2 - 1
            x = f.interpolate(x, size=48, mode="bicubic", align_corners=False)
            mean, std = (torch.tensor(v)[None, :, None, None] for v in NORM["clip"])
            features = image_feature(settings, None, (x - mean) / std)
        return features / features.norm(dim=1, keepdim=True)

    before, after = encode_image(p.input.image), encode_image(p.output.image)
    texts = [text_feature(settings, t) for t in (p.example.input_caption, p.example.goal_caption)]
    texts = [t / t.norm(dim=1, keepdim=True) for t in texts]
    return f.cosine_similarity(after - before, texts[1] - texts[0]).item(), f.cosine_similarity(before, after).item()


def check_direction(settings, legacy=False):
    of = [*all_pairs(), pair(drawn(0, 60, 50), drawn(1, 60, 50), drawn(0, 60, 50), 3)]  # the last: nothing was done
    settings = replace(settings, direction="ip2p_legacy" if legacy else "own")
    metric = clip_direction.CLIPDirection(settings, FeatureCache(None))
    assert ("ip2p_legacy" in metric.protocol) == legacy
    axes = metric.axes(of)
    expected = [ip2p(settings, p, legacy) for p in of]
    # 2e-5: a float32 difference of features that lie close together
    close(np.array([v.value for v in axes.direction]), [e[0] for e in expected], 2e-5)
    close(np.array([v.value for v in axes.image_similarity]), [e[1] for e in expected], 1e-5)


def check_legacy_direction(settings):
    check_direction(settings, legacy=True)


NETWORK_CHECKS = [check_dino, check_cvs, check_cts, check_clip_s, check_direction, check_legacy_direction]
