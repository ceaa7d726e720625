"""Ablations: fewer visual tokens from training row to decoded states, one start for all, and an honest table."""

from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image

from bench.mini import ablate, ablate_report
from bench.mini.ablate_report import FULL, VARIANTS, Variant, VariantRow
from bench.mini.finetune import Tuning
from mgie import folder as pipelines
from mgie.pipeline import MGIEPipeline
from mgie.tokenizer import Tokenizer
from mgie.train.batches import MLLMRows
from mgie.visual_tokens import VISUAL_TOKENS, slice_is_settled, visual_slice


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("weights")
    pipe = tiny.build(eyes=True)
    pipe.save_pretrained(root / "mgie-e2e")
    pipe.unet.save_pretrained(root / "inspix2pix" / "unet")
    return root


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_a_start_with_fewer_visual_tokens_trains_and_edits_with_just_those(shipped, tmp_path, count, monkeypatch):
    monkeypatch.setattr(pipelines, "MINI", shipped)
    ablate.write_start(count, tmp_path / "start")
    pipe = MGIEPipeline.from_pretrained(tmp_path / "start", dtype=torch.float32)
    assert len(pipe.tokenizer.visual) == len(pipe.visual_embeddings) == count
    ids, labels = MLLMRows(pipe.tokenizer, 0, 512).row("make it red", "the hat is red")
    tail = [*pipe.tokenizer.visual, pipe.tokenizer.eos]
    assert ids.tolist()[-len(tail) :] == labels.tolist()[-len(tail) :] == tail
    given = pipe([Image.new("RGB", (16, 16))], ["make it red"], expressive_instruction=["the hat is red"])
    assert len(given.images) == 1


def test_starts_differ_in_the_tokens_alone(shipped, tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines, "MINI", shipped)
    for count in (8, 1):
        ablate.write_start(count, tmp_path / str(count))
    eight, one = (MGIEPipeline.from_pretrained(tmp_path / n, dtype=torch.float32) for n in ("8", "1"))
    for part in ("edit_head", "unet", "vae"):
        a, b = getattr(eight, part).state_dict(), getattr(one, part).state_dict()
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(eight.visual_embeddings[:1], one.visual_embeddings)


def test_the_slice_of_fewer_tokens_is_settled_earlier_and_eight_is_as_before():
    answer = [5, 6, 100, 101, 102]
    assert visual_slice([*answer, 2], 100, 2).start == 1
    assert slice_is_settled(answer, 100, False, 2) and not slice_is_settled(answer, 100, False)
    assert visual_slice(list(range(20)), 10) == visual_slice(list(range(20)), 10, 8)


def test_a_tokenizer_with_a_gap_or_without_visual_tokens_is_refused():
    special = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for tokens in ((), ("[IMG1]", "[IMG2]")):
        with pytest.raises(ValueError, match=r"no id for \[IMG0\]"):
            _ = Tokenizer(list, str, special | {t: 9 for t in tokens}).visual
    known = Tokenizer(list, str, special | {t: 10 + i for i, t in enumerate(VISUAL_TOKENS)})
    assert known.with_visual(2).visual == known.visual[:2]


def test_a_pipeline_whose_embeddings_and_tokens_differ_in_number_is_refused():
    pipe = tiny.build(eyes=True)
    with pytest.raises(ValueError, match="8 visual embeddings, but the tokenizer has 2 visual tokens"):
        MGIEPipeline(pipe.mllm, pipe.tokenizer.with_visual(2), pipe.image_processor, pipe.edit_head,
                     pipe.visual_embeddings, pipe.unet, pipe.vae, pipe.scheduler, pipe.preset)  # fmt: skip


def test_the_variants_are_those_of_the_issue_in_folders_of_their_own():
    assert {v.tokens for v in VARIANTS if v.ins_weight} == {1, 2, 4, 8} and len({v.folder for v in VARIANTS}) == 5
    assert [v for v in VARIANTS if not v.ins_weight] == [Variant("no L_ins", 8, 0.0)]


def row(name: str, metric: str, mean: float | None, p: float | None = None) -> VariantRow:
    return VariantRow(name, 8, 1.0, "ma5k", metric, mean, mean and mean - 0.01, mean and mean + 0.01, 200, 40,
               None if p is None else 0.02, p, p, "" if mean else "its process died")  # fmt: skip


def test_the_table_shows_missing_variants_with_their_reason_and_the_start(tmp_path):
    rows = [row("full", m, 0.1) for m in ("l1", "cvs", "right")] + [row("1 token", "l1", 0.12, 0.004)]
    rows += [row("no L_ins", "l1", None)]
    paths = ablate_report.write(rows, tmp_path / "ablations", Tuning(), "test")
    text = (tmp_path / "ablations.md").read_text()
    assert "not run: its process died" in text and "+0.0200, p (Holm) 0.0040" in text and "trained with L_ins" in text
    assert all(path.is_file() for path in paths) and Image.open(tmp_path / "ablations.png").width == 1200


def test_missing_shipped_weights_end_with_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pipelines, "MINI", tmp_path)
    assert ablate.main([]) == 2
    assert "make mini trains them" in capsys.readouterr().err
    assert FULL.name == "full"
