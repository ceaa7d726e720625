"""Prompts, token ids, labels and pixels equal the official code's, for training and for the demo.

Reference: golden data of apple/ml-mgie at 835af37, files b_* (tests/golden/README.md). Ids are exact.
"""

from pathlib import Path

import numpy as np
import pytest
from golden_weights import TOLERANCE, runs
from PIL import Image

from mgie.preprocess import ClipProcessor, crop_square, training_pixels
from mgie.prompts import IGNORED, SENTENCE_TOKENS, build_answer, build_prompt, encode_pieces, training_row
from mgie.tokenizer import Tokenizer
from mgie.train.batches import MLLMRows

SHARED = Path(__file__).parents[3] / "shared" / "golden" / "llama_tokenizer.model"


@pytest.fixture(scope="module")
def recorded(golden):
    return golden.json("b_prompts")


@pytest.fixture(scope="module")
def encode_piece(golden):
    """LLaMA's vocabulary where its file is at hand, else a table of the pieces in the golden data."""
    for file in (golden.folder / SHARED.name, SHARED):
        if file.exists():
            return Tokenizer.from_sentencepiece(file)._encode_piece
    return golden.json("pieces").__getitem__


@pytest.fixture(scope="module")
def slow(recorded, encode_piece):
    return lambda text: encode_pieces(text, encode_piece, recorded["special_ids"], "slow")


def training_text(case: dict, patches: int) -> str:
    return build_prompt(case["instruction"], patches) + build_answer(case["expressive"])


def test_prompt_strings_equal_the_official_ones(recorded):
    patches = recorded["n_patch_real"]
    for case in recorded["cases"]:
        assert build_prompt(case["instruction"], patches) == case["demo_prompt"]
        assert build_prompt(case["instruction"], patches, paragraph=True) == case["process_data_prompt"]
        assert training_text(case, patches) == case["train_prompt"]


@pytest.mark.parametrize(
    ("prompt", "rule", "ids"),
    [
        ("demo_prompt", "fast", "demo_ids_fast"),
        ("demo_prompt", "slow", "demo_ids_slow"),
        ("process_data_prompt", "fast", "process_data_ids_fast"),
        ("train_prompt", "slow", "train_ids_slow"),
        ("train_prompt", "fast", "train_ids_fast"),
    ],
)
def test_token_ids_follow_the_rule_of_the_slow_and_of_the_fast_tokenizer(recorded, encode_piece, prompt, rule, ids):
    for case in recorded["cases"]:
        ours = encode_pieces(case[prompt], encode_piece, recorded["special_ids"], rule)
        assert ours == runs(case[ids]), case["instruction"]


def test_an_answer_that_is_given_gets_the_ids_that_training_gave_it(recorded, slow):
    for case in recorded["cases"]:
        if case["expressive"] != case["expressive"].strip():
            continue  # an answer that is given loses the blanks around it, see mgie.inputs
        answer = slow(build_answer(case["expressive"]).lstrip())[1:]
        assert runs(case["demo_ids_slow"]) + answer == runs(case["train_ids_slow"]), case["expressive"]


def test_labels_cover_the_answer_and_nothing_else(recorded, slow):
    pad = recorded["special_ids"]["<unk>"]
    for case in recorded["cases"]:
        row = training_row(training_text(case, recorded["n_patch_real"]), slow, pad)
        assert row.ids == runs(case["train_ids_slow"]) and row.labels == runs(case["train_labels"])
        img0 = recorded["special_ids"]["[IMG0]"]
        assert (row.labels.index(img0) if img0 in row.labels else None) == case["IMG0_index"]


def test_a_long_row_is_cut_and_keeps_its_loss_on_the_text(golden, recorded, slow):
    cut, first = recorded["truncation"], recorded["cases"][0]
    text = training_text(first | {"expressive": cut["expressive"]}, recorded["n_patch_real"])
    row = training_row(text, slow, recorded["special_ids"]["<unk>"])
    assert row.ids == runs(cut["train_ids"]) and row.labels == runs(cut["train_labels"])
    assert (recorded["special_ids"]["[IMG0]"] in row.labels) == cut["has_img0"]


def test_rows_of_a_batch_are_padded_as_the_official_collator_pads_them(recorded, slow):
    expected, special = recorded["collator"], recorded["special_ids"]
    if not expected:
        pytest.skip("this golden set has no collated batch")
    words = Tokenizer(lambda text: [], lambda ids: "", special)
    words.encode = lambda text, rule: slow(text)
    rows = MLLMRows(words, recorded["n_patch_real"], max_length=512)
    chosen = [recorded["cases"][place] for place in expected["cases"]]
    batch = rows.collate([rows.row(case["instruction"], case["expressive"]) for case in chosen])
    for name in ("input_ids", "labels", "attention_mask"):
        assert batch[name].tolist() == [runs(row) for row in expected[name]], name


def test_a_row_whose_parts_do_not_add_up_is_ignored_as_a_whole(recorded, encode_piece):
    special = recorded["special_ids"]
    prompt = build_prompt("x", recorded["n_patch_real"]) + build_answer("x")
    one_unknown = training_row(
        prompt, lambda text: [special["<unk>"] if i == 5 else i for i in _small(text, special)], special["<unk>"]
    )
    assert set(training_row(prompt, lambda text: _small(text, special), special["<unk>"]).labels) != {IGNORED}
    assert set(one_unknown.labels) == {IGNORED}


def _small(text: str, special: dict[str, int]) -> list[int]:
    return encode_pieces(text, lambda piece: [4 + len(word) % 5 for word in piece.split()], special, "slow")


def test_white_space_beside_sentence_tokens_stays(recorded):
    pieces = []
    encode_pieces(" a </s> b [IMG0] c ", lambda piece: pieces.append(piece) or [9], recorded["special_ids"], "slow")
    assert pieces == [" a ", " b", "c "]
    assert all(token in recorded["special_ids"] for token in SENTENCE_TOKENS)


def synthetic(seed: int, size: tuple[int, int]) -> Image.Image:
    """The golden data's synth_rule."""
    (w, h), state = size, np.random.RandomState(seed)
    y, x = np.mgrid[0:h, 0:w]
    waves = np.stack([x * 255 // (w - 1), y * 255 // (h - 1), ((x // 16 + y // 16) % 2) * 200], -1)
    return Image.fromarray((waves + state.randint(0, 40, (h, w, 3))).clip(0, 255).astype(np.uint8))


def test_pixels_equal_both_routes_of_the_official_code(golden):
    facts, arrays = golden.json("b_images"), golden.arrays("b_images")
    clip = ClipProcessor(facts["processor"]["crop_size"]["height"])
    for item in facts["items"]:
        picture = synthetic(item["seed_inp"], item["size_wh"])
        goal = synthetic(item["seed_ans"], item["size_wh"])
        ours = {
            "train_clip": clip([crop_square(picture)])[0], "demo_clip": clip([picture])[0],
            "p2p_inp": training_pixels(picture), "p2p_ans": training_pixels(goal),
        }  # fmt: skip
        for name, pixels in ours.items():
            values, digest = pixels.double().numpy(), item[name]
            stored = arrays[f"i{item['k']}_{name}_sub"]
            assert np.abs(values[:, ::17, ::17] - stored).max() < 1e-6, (item["k"], name)
            assert values.size == digest["n"] and np.abs(values.ravel()[:64] - digest["first64"]).max() < 1e-6
            assert np.abs(values).sum() == pytest.approx(digest["abs_sum"], rel=TOLERANCE)
        routes = (ours["train_clip"] - ours["demo_clip"]).abs().max().item()
        assert routes == pytest.approx(item["clip_train_vs_demo_maxdiff"], abs=1e-5)


def test_dataset_items_get_the_official_ids_and_labels(golden, recorded, slow):
    for item in golden.json("b_images")["items"]:
        row = training_row(training_text(item, recorded["n_patch_real"]), slow, recorded["special_ids"]["<unk>"])
        assert row.ids == runs(item["input_ids"]) and row.labels == runs(item["labels"])
