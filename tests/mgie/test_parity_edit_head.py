"""The edit head equals EditMapper of the official code: at a golden set's tiny sizes, and at real size.

Reference: golden data of apple/ml-mgie at 835af37, files a_* (tests/golden/README.md). float32, CPU.
"""

import re

import numpy as np
import pytest
import torch
from golden_weights import TOLERANCE, close, edit_head_of, fill, recipe

from mgie.presets import PRESETS


@pytest.fixture(scope="module")
def tiny(golden):
    return {name: torch.from_numpy(array) for name, array in golden.arrays("a_edit_mapper_tiny").items()}


def test_the_weight_recipe_gives_the_recorded_weights(golden):
    digests = golden.json("weights_digest")
    for name, digest in digests.items():
        weight = recipe(name, tuple(digest["shape"]), golden.config["salt"]).double()
        assert weight.flatten()[0].item() == digest["first"] and weight.flatten()[-1].item() == digest["last"], name
        assert weight.abs().sum().item() == pytest.approx(digest["abs_sum"], rel=1e-9), name
    ours = {"edit_head." + name for name, _ in edit_head_of(golden.config).named_parameters()}
    assert ours == {name for name in digests if name.startswith("edit_head.")}


def test_the_edit_head_equals_the_official_one(golden, tiny):
    head = edit_head_of(golden.config)
    with torch.no_grad():
        close(head(tiny["llm"], tiny["emb"]), tiny["out"])
        close(head(tiny["llm"], tiny["emb"][0]), tiny["out"])  # embeddings as (n, D)
        close(head.mapper.encoder(head.llm2hid(tiny["llm"] + tiny["emb"])), tiny["encoder_memory"])


def test_null_is_the_heads_answer_to_zero_states_with_the_embeddings_added(golden, tiny):
    head = edit_head_of(golden.config)
    with torch.no_grad():
        close(head.null(tiny["emb"][0]), tiny["null_out"])
        close(head.null(tiny["emb_from_embed_tokens"]), tiny["null_out_emb_tokens"])


def test_rows_of_a_batch_do_not_touch_each_other(golden, tiny):
    head = edit_head_of(golden.config)
    with torch.no_grad():
        alone = torch.cat([head(row[None], tiny["emb"]) for row in tiny["llm"]])
        close(head(tiny["llm"], tiny["emb"]), alone.numpy(), 1e-5)


def drawn(rule: str) -> torch.Tensor:
    """'0.02*RandomState(7).standard_normal((1,8,4)) ...' -> that tensor."""
    form = r"(?:([\d.]+)\*)?RandomState\((\d+)\)\.standard_normal\(\(([\d, ]+)\)\)"
    factor, seed, shape = re.match(form, rule).groups()
    values = np.random.RandomState(int(seed)).standard_normal([int(n) for n in shape.split(",")])
    return torch.from_numpy((float(factor or 1) * values).astype(np.float32))


def same_digest(ours: torch.Tensor, digest: dict) -> None:
    values = ours.double().flatten()
    assert values.numel() == digest["n"]
    scale = max(abs(digest["min"]), abs(digest["max"]))
    for got, key in ((values[:64], "first64"), (values[-16:], "last16")):
        assert np.abs(got.numpy() - np.asarray(digest[key])).max() / scale <= TOLERANCE
    assert values.abs().sum().item() == pytest.approx(digest["abs_sum"], rel=TOLERANCE)
    assert values.std().item() == pytest.approx(digest["std"], rel=TOLERANCE)
    assert values.mean().item() == pytest.approx(digest["mean"], abs=TOLERANCE * scale)


def test_at_real_size_it_has_the_official_parameters_and_output(golden):
    real, salt = golden.json("a_edit_mapper_real"), golden.config["salt"]
    head = PRESETS["7b"].edit_head()
    assert sum(p.numel() for p in head.parameters()) == 31_958_784
    assert {f"edit_head.{n}": list(p.shape) for n, p in head.named_parameters()} == {
        name: digest["shape"] for name, digest in real["weights_digest"].items()
    }
    fill(head, "edit_head.{}".format, salt)
    states, embeddings = drawn(real["inputs"]["llm"]), drawn(real["inputs"]["emb"])
    with torch.no_grad():
        out, null = head(states, embeddings), head.null(embeddings)
    same_digest(out, real["out"])
    same_digest(out[1], real["out_row1"])
    same_digest(null, real["null_out"])
