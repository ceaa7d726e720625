"""Steps of fixed shape give the eager numbers, on the CPU with the same buffers; a capture that fails is said."""

import numpy as np
import pytest
import tiny
import torch

from mgie.generate import decode
from mgie.graphs import captured, decoding
from mgie.graphs.captured import Captured
from mgie.graphs.decoding import StaticDecoding
from mgie.graphs.static import StaticUNet
from tests.mgie.test_decode import CPU, NEW, model, prompts, tokenizer


def refused(text: str) -> None:
    raise AssertionError(f"nothing is to be said: {text}")


def test_decoding_in_a_cache_of_fixed_length_writes_the_same_and_keeps_the_same_states():
    """Rows of several lengths; one decoding serves batches of other sizes, other models, and the same again."""
    static = StaticDecoding(refused)
    for seed, rows in ((0, 5), (1, 5), (2, 3), (0, 5)):
        mllm, asked = model(seed), prompts(seed, rows)
        eager = decode(mllm, tokenizer(), asked, None, CPU, NEW)
        fixed = decode(mllm, tokenizer(), asked, None, CPU, NEW, static=static)
        assert [a.sequence for a in fixed] == [a.sequence for a in eager]
        for one, other in zip(fixed, eager, strict=True):
            assert (one.states - other.states).abs().max() < 1e-4


def test_a_cache_serves_the_next_batch_of_its_size():
    static, mllm = StaticDecoding(refused), model(3)
    decode(mllm, tokenizer(), prompts(3), None, CPU, NEW, static=static)
    first = static.kept
    again = decode(mllm, tokenizer(), prompts(4), None, CPU, NEW, static=static)
    assert static.kept is first and first.length % decoding.ROUND == 0
    eager = decode(mllm, tokenizer(), prompts(4), None, CPU, NEW)
    assert [a.sequence for a in again] == [a.sequence for a in eager]
    decode(mllm, tokenizer(), prompts(4, rows=2), None, CPU, NEW, static=static)
    assert static.kept is not first


@pytest.mark.slow
def test_a_pipeline_with_steps_of_fixed_shape_draws_the_same():
    """Two sizes: the VAE decodes one while the next is denoised, which on a CPU is one after the other."""
    eager, static = tiny.build(), tiny.build()
    static.compile(backend="eager", static=True)
    pictures = [tiny.picture(0), tiny.picture(1, (48, 32)), tiny.picture(2)]
    texts = ["make it night", "a red hat", "make it night"]
    ours, theirs = (pipe(pictures, texts, generator=tiny.generators(1, 2, 3)) for pipe in (static, eager))
    assert ours.expressive_instructions == theirs.expressive_instructions
    for one, other in zip(ours.images, theirs.images, strict=True):
        assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
    assert static._static.unet.step is not None and ours.seconds["vae_decode"] > 0


def test_on_a_cpu_compile_leaves_the_shapes_alone():
    pipe = tiny.build()
    pipe.compile(backend="eager")
    assert pipe._static is None


def test_a_step_of_the_unet_is_captured_anew_for_another_shape():
    class UNet:
        def __call__(self, x, t, encoder_hidden_states, return_dict):
            return (x * t + encoder_hidden_states.sum(),)

    static = StaticUNet(refused)
    for batch in (2, 2, 3):
        x, embeds = torch.rand(batch, 8, 4, 4), torch.rand(batch, 5, 6)
        for t in (torch.tensor(7), torch.tensor(3)):
            assert torch.equal(static(UNet(), x, t, embeds), x * t + embeds.sum())


class Fake:
    """In place of a captured graph: what warms up, and replays on the buffers."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.replays = fails, 0

    def __call__(self, call, device):
        call()
        if self.fails:
            raise RuntimeError(f"{self.fails}\nand more")
        outputs = call()

        def replay():
            self.replays += 1
            for own, new in zip(outputs, call(), strict=True):
                own.copy_(new)

        return outputs, replay


@pytest.mark.parametrize("fails", ["", "operation not permitted when stream is capturing"])
def test_a_captured_step_works_on_its_buffers_and_one_that_cannot_be_captured_as_it_is(monkeypatch, fails):
    fake, said, rewound = Fake(fails), [], []
    monkeypatch.setattr(captured, "graph_of", fake)
    step = Captured(lambda a, b: (a + b,), torch.device("cuda"), said.append, lambda: rewound.append(1))
    for k in range(3):
        (total,) = step(torch.full((2,), float(k)), torch.ones(2))
        assert total.tolist() == [k + 1.0] * 2
    assert rewound == [1]  # the calls that warmed up left nothing behind
    assert fake.replays == (0 if fails else 3)
    assert said == ([f"a step could not be captured ({fails}); its kernels are launched one by one"] if fails else [])


def test_what_warms_up_a_step_of_the_decode_leaves_no_token_in_the_cache(monkeypatch):
    monkeypatch.setattr(captured, "graph_of", Fake())
    monkeypatch.setattr(Captured, "capture", on_gpu(Captured.capture))
    mllm, asked = model(5), prompts(5)
    fixed = decode(mllm, tokenizer(), asked, None, CPU, NEW, static=StaticDecoding(refused))
    assert [a.sequence for a in fixed] == [a.sequence for a in decode(mllm, tokenizer(), asked, None, CPU, NEW)]


def on_gpu(capture):
    def as_there(self):
        self.device = torch.device("cuda")
        capture(self)

    return as_there
