"""The MLLM equals the official code: forward, decode, the slice rule, NULL, the clean-up of the text.

Reference: golden data of apple/ml-mgie at 835af37, files c_* (tests/golden/README.md). float32, CPU; ids are exact.
"""

import re

import numpy as np
import pytest
import torch
from golden_weights import close, edit_head_of, mllm_of, runs

from mgie.generate import decode, read
from mgie.prompts import ADDED_TOKENS, IGNORED, remove_alter, tidy
from mgie.tokenizer import Tokenizer
from mgie.visual_tokens import NUM_VISUAL_TOKENS, slice_is_settled, visual_slice

CPU = torch.device("cpu")
FAIR_MARGIN = 1e-3  # below it float noise may choose another token


def tokenizer_of(vocab: dict) -> Tokenizer:
    """Special ids alone; the recorded cases are ids already."""
    image = {"<im_patch>": vocab["im_patch"], "<im_start>": vocab["im_start"], "<im_end>": vocab["im_end"]}
    visual = {f"[IMG{i}]": vocab["IMG0"] + i for i in range(NUM_VISUAL_TOKENS)}
    sentence = {"<unk>": vocab["pad"], "<s>": vocab["bos"], "</s>": vocab["eos"]}
    return Tokenizer(lambda text: [], lambda ids: "", sentence | image | visual)


@pytest.fixture(scope="module")
def mllm(golden):
    return mllm_of(golden.config)


@pytest.fixture(scope="module")
def cases(golden):
    """name -> (facts, its arrays, its image)."""
    arrays = golden.arrays("c_generate")
    images = torch.from_numpy(arrays["images"])
    return {
        name: (facts, {k.removeprefix(name + "_"): v for k, v in arrays.items() if k.startswith(name + "_")},
               images[facts["image_index"]])
        for name, facts in golden.json("c_generate").items()
        if isinstance(facts, dict) and "sequence" in facts
    }  # fmt: skip


@pytest.fixture(scope="module")
def written(cases):
    """Those that were decoded, with a margin that float noise cannot turn into another token."""
    fair = {n: c for n, c in cases.items() if "max_new_tokens" in c[0] and c[0]["min_top1_top2_margin"] > FAIR_MARGIN}
    return fair or pytest.skip("no decode has a margin that allows an exact comparison")


def test_the_towers_features_are_layer_minus_two_without_cls_projected(golden, mllm):
    arrays = golden.arrays("c_mllm_forward")
    pixels = torch.from_numpy(arrays["images"])
    with torch.no_grad():
        hidden = mllm.tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        close(hidden, arrays["clip_hidden_states_m2"])
        close(mllm.patch_features(pixels), arrays["projected"])


def test_logits_and_states_equal_the_official_ones(golden, mllm):
    arrays = golden.arrays("c_mllm_forward")
    ids, mask = torch.from_numpy(arrays["input_ids"]), torch.from_numpy(arrays["attention_mask"]).long()
    with torch.no_grad():
        output = mllm(ids, mask, torch.from_numpy(arrays["images"]))
        close(output.logits, arrays["logits"])
        close(output.states, arrays["last_hidden"])
        embedded = mllm.embed(ids, torch.from_numpy(arrays["images"]))  # with the image in its place
        close(embedded, arrays["hidden_layer0"])
        layers = mllm.llama.model(inputs_embeds=embedded, attention_mask=mask, output_hidden_states=True).hidden_states
        close(layers[1], arrays["hidden_layer1"])
        text = torch.from_numpy(arrays["text_input_ids"])
        alone = mllm(text, torch.ones_like(text))
    close(alone.logits, arrays["text_logits"])
    close(alone.states, arrays["text_last_hidden"])


def test_left_padding_changes_nothing(golden, mllm):
    arrays = golden.arrays("c_mllm_forward")
    row, image = torch.from_numpy(arrays["input_ids"][:1]), torch.from_numpy(arrays["images"][:1])
    length = int(arrays["attention_mask"][0].sum())
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), row[:, :length]], dim=1)
    mask = (torch.arange(padded.shape[1]) >= 5).long()[None]
    with torch.no_grad():
        states = mllm(padded, mask, image).states[:, 5:]
    close(states, arrays["last_hidden"][:1, :length], 1e-4)


def run(golden, mllm, chosen: dict, **options) -> list:
    facts = [case[0] for case in chosen.values()]
    settings = {"max_new_tokens": facts[0]["max_new_tokens"], "no_repeat_ngram_size": facts[0]["no_repeat_ngram_size"]}
    images = torch.stack([image for *_, image in chosen.values()])
    prompts = [f["prompt"] for f in facts]
    return decode(mllm, tokenizer_of(golden.config["vocab"]), prompts, images, CPU, **(settings | options))


def check(answer, facts: dict, arrays: dict, eos: int) -> None:
    """The whole official sequence, or its beginning up to where the slice is settled."""
    length = len(answer.sequence)
    assert answer.sequence == facts["sequence"][:length]
    assert length == len(facts["sequence"]) or (answer.written and answer.sequence[-1] != eos)
    assert answer.start == facts["p"] and answer.written == (facts["IMG0_index"] is not None)
    close(answer.all_states, arrays["hid_all"][: length - 1])
    close(answer.states, arrays["hid8"])


def test_each_greedy_decode_equals_the_official_one(golden, mllm, written):
    head, emb = edit_head_of(golden.config), torch.from_numpy(golden.arrays("c_generate")["EMB"])
    for name, (facts, arrays, image) in written.items():
        (answer,) = run(golden, mllm, {name: (facts, arrays, image)})
        check(answer, facts, arrays, golden.config["vocab"]["eos"])
        with torch.no_grad():
            close(head(answer.states[None], emb), arrays["edit_out"])


def test_a_batch_of_all_lengths_decodes_as_each_alone(golden, mllm, written):
    groups = {}
    for name, case in written.items():
        groups.setdefault((case[0]["max_new_tokens"], case[0]["no_repeat_ngram_size"]), {})[name] = case
    for group in groups.values():
        for answer, (facts, arrays, _) in zip(run(golden, mllm, group), group.values(), strict=True):
            check(answer, facts, arrays, golden.config["vocab"]["eos"])


def test_the_scores_of_the_first_token_equal_the_official_ones(golden, mllm, written):
    for facts, arrays, image in written.values():
        if "scores_first" not in arrays:
            continue
        ids = torch.tensor([facts["prompt"]])
        with torch.no_grad():
            scores = mllm(ids, torch.ones_like(ids), image[None]).logits[0, -1]
        allowed = np.isfinite(arrays["scores_first"])  # the n-gram rule takes the others out
        close(scores[torch.from_numpy(allowed)], arrays["scores_first"][allowed])


def test_without_the_ngram_rule_the_official_sequences_differ_and_so_do_ours(golden, mllm, written):
    for name, case in written.items():
        (free,) = run(golden, mllm, {name: case}, no_repeat_ngram_size=0)
        assert free.sequence == case[0]["sequence_without_ngram_rule"][: len(free.sequence)], name
        changed = case[0]["sequence_without_ngram_rule"] != case[0]["sequence"]
        assert changed == case[0]["ngram_rule_changes_output"]


def test_an_answer_that_is_given_has_the_states_of_one_that_was_written(golden, mllm, cases):
    head, emb = edit_head_of(golden.config), torch.from_numpy(golden.arrays("c_generate")["EMB"])
    for facts, arrays, image in cases.values():
        prompt, answer = facts["prompt"], facts["sequence"][len(facts["prompt"]) :]
        if mllm.image_start in answer or mllm.image_patch in answer:
            continue  # quirk: image tokens may be generated, but such a sequence cannot be run again as a whole
        (read_,) = read(mllm, tokenizer_of(golden.config["vocab"]), [prompt], [answer], image[None], CPU)
        assert read_.start == facts["p"]
        close(read_.states, arrays["hid8"])
        with torch.no_grad():
            close(head(read_.states[None], emb), arrays["edit_out"])


def test_null_equals_the_official_one(golden, mllm):
    arrays = golden.arrays("c_generate")
    embeddings = mllm.llama.get_input_embeddings().weight[-NUM_VISUAL_TOKENS:]
    close(embeddings[None], arrays["EMB"], 1e-7)
    with torch.no_grad():
        close(edit_head_of(golden.config).null(embeddings), arrays["null_out"])


def test_the_slice_rule_equals_the_recorded_table(golden):
    img0 = 32003
    for row in golden.json("c_slice_rule"):
        sequence = [5] * row["len_out"]
        if row["img0_at_generated"] is not None:
            sequence[row["n_prompt"] + row["img0_at_generated"]] = img0
        found = visual_slice(sequence, img0)
        assert found.start == row["p"] and found.written == (row["img0_at_generated"] is not None), row
        if row["clamped"]:
            assert found.start < sequence.index(img0) - 1


def test_the_slice_is_settled_exactly_when_no_end_could_move_it(golden):
    """Against all ways on: a row that is not over gets between one and eleven more tokens."""
    for img0_at in [None, *range(10, 40)]:
        sequence = [7] * 40
        if img0_at is not None:
            sequence[img0_at] = 3
        starts = {visual_slice(sequence + [9] * more, 3).start for more in range(1, 12)}
        assert slice_is_settled(sequence, 3, over=False) == (len(starts) == 1), img0_at
        assert slice_is_settled(sequence, 3, over=True)


def test_the_clean_up_equals_the_official_one_and_ours_is_empty_where_it_raises(golden):
    for case in golden.json("c_remove_alter"):
        if case["error"] is None:
            assert remove_alter(case["input"]) == tidy(case["input"]) == case["output"], case
        else:
            with pytest.raises(IndexError):
                remove_alter(case["input"])
            assert tidy(case["input"]) == ""


@pytest.fixture(scope="module")
def real(golden):
    """The real vocabulary and its 256 patches at tiny width."""
    prompts = golden.json("b_prompts")
    special = prompts["special_ids"]
    facts = {k: v for k, v in golden.json("c_real_vocab").items() if not k.startswith("_")}
    side = image_of(next(iter(facts.values()))).shape[-1]
    sizes = {"vision_size": side, "vision_patch": side // round(prompts["n_patch_real"] ** 0.5)}
    sizes["vocab"] = prompts["vocab_len"]
    ids = {"image_start": special["<im_start>"], "image_patch": special["<im_patch>"]}
    assert set(special) >= set(ADDED_TOKENS)
    return mllm_of(golden.config, **sizes, **ids), Tokenizer(lambda t: [], lambda i: "", special), facts


def image_of(facts: dict) -> torch.Tensor:
    seed, shape = re.match(r"RandomState\((\d+)\)\.standard_normal\(\(([\d, ]+)\)\)", facts["image"]).groups()
    values = np.random.RandomState(int(seed)).standard_normal([int(n) for n in shape.split(",")])
    return torch.from_numpy(values.astype(np.float32))


def test_with_the_real_vocabulary_the_decode_equals_the_official_one(golden, real):
    (mllm, tokenizer, cases), prompts = real, golden.json("b_prompts")["cases"]
    arrays, head = golden.arrays("c_real_vocab"), edit_head_of(golden.config)
    for name, facts in cases.items():
        if facts["min_margin"] < FAIR_MARGIN:
            continue
        kind, place = re.match(r"(\w+) of b_prompts case (\d+)", facts["prompt_ids"]).groups()
        prompt = runs(prompts[int(place)][kind])
        new = len(facts["new_tokens"])
        (answer,) = decode(mllm, tokenizer, [prompt], image_of(facts), CPU, new)
        assert answer.ids == facts["new_tokens"][: len(answer.ids)], name
        assert answer.start == facts["p"]
        close(answer.states, arrays[f"{name}_hid8"])
        with torch.no_grad():
            close(head(answer.states[None], torch.from_numpy(arrays["EMB"])), arrays[f"{name}_edit_out"])


def test_with_the_real_vocabulary_the_training_string_has_the_official_states_and_loss(golden, real):
    (mllm, tokenizer, cases), arrays = real, golden.arrays("c_real_vocab")
    by_instruction = {case["instruction"]: case for case in golden.json("b_prompts")["cases"]}
    for name, facts in cases.items():
        case = by_instruction[facts["instruction"]]
        ids, labels = torch.tensor([runs(case["train_ids_slow"])]), torch.tensor(runs(case["train_labels"]))
        with torch.no_grad():
            output = mllm(ids, (ids != tokenizer.pad).long(), image_of(facts))
            loss = torch.nn.functional.cross_entropy(output.logits[0, :-1], labels[1:], ignore_index=IGNORED)
        assert loss.item() == pytest.approx(facts["train_ce"], rel=1e-4), name
        start = facts["train_p"]
        close(output.states[0, start : start + NUM_VISUAL_TOKENS], arrays[f"{name}_train_hid8"])
