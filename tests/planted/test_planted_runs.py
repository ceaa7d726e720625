"""Would our tests see the field's known errors outside the metrics? Each is planted, and the named test must fail.

The errors are those that make a benchmark's numbers wrong without a word: seeds, pairing, file formats, what is left
out of a mean, ids taken for constants, weights half loaded, pixels at another range or size, a gate that passes.
"""

import inspect
import io
import itertools

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from baselines.precomputed import Precomputed
from bench import stats
from bench.datasets import magicbrush, published
from bench.grid import gate as compare
from bench.metrics import pairs
from bench.metrics.networks import features
from bench.runs import runner, scoring
from mgie import diffusion, generate, mllm, preprocess
from mgie.convert import delta
from mgie.io import weights
from mgie.tokenizer import Tokenizer
from mgie.train import losses
from tests.baselines import test_precomputed
from tests.bench import test_run_command, test_stats
from tests.bench.datasets import test_datasets_magicbrush, test_datasets_published
from tests.bench.grid import test_check
from tests.bench.metrics import test_features
from tests.bench.runs import test_resume, test_runner
from tests.mgie import test_convert, test_parity_inputs, test_parity_mllm, test_pipeline
from tests.mgie.train import test_training_losses


def set_(module, name, value):
    return lambda patch: patch.setattr(module, name, value)


def seeds_by_place(patch):
    """What one random stream does: the seed counts the examples of a batch instead of following from their ids."""
    place, edit_slice = itertools.count(), runner.edit_slice

    def from_the_start(*arguments):
        nonlocal place
        place = itertools.count()
        return edit_slice(*arguments)

    patch.setattr(runner, "edit_slice", from_the_start)
    patch.setattr(runner, "seed_for", lambda run_seed, example_id: next(place))


def one_generator_a_batch(patch):
    original = diffusion.start_noise
    first = lambda shape, generators, device: original(shape, generators and generators[0], device)  # noqa: E731
    patch.setattr(diffusion, "start_noise", first)


def jpeg(image):
    file = io.BytesIO()
    image.save(file, format="JPEG")
    return file.getvalue()


def pairs_by_order(patch):
    turn = itertools.count()
    patch.setattr(Precomputed, "path", lambda self, example_id: sorted(self.paths.values())[next(turn)])


def missing_left_out(patch):
    original = scoring.score_chunk
    patch.setattr(scoring, "score_chunk", lambda *a: [s for s in original(*a) if s.value is not None])


def missing_is_zero(patch):
    original, zero = scoring.Score, lambda value: 0.0 if value is None else value
    patch.setattr(scoring, "Score", lambda i, group, seed, metric, value, reason, protocol: original(
        i, group, seed, metric, zero(value), "", protocol))  # fmt: skip


def failure_forgotten(patch):
    patch.setattr(runner, "halved", lambda *a: runner.Tried([], [], []))


def mean_of_groups(patch):
    original = stats.group_sums

    def sums(scores):
        totals, counts = original(scores)
        return [total / count for total, count in zip(totals, counts, strict=True)], [1] * len(counts)

    patch.setattr(stats, "group_sums", sums)


def every_example_a_group(patch):
    patch.setattr(stats, "group_sums", lambda scores: ([s.value for s in scores], [1] * len(scores)))


def models_paired_by_place(patch):
    def by_place(scores):
        return {str(i): (s.group, s.value) for i, s in enumerate(scores)}

    patch.setattr(stats, "_by_example", by_place)


def captions_of_the_other_kind(patch):
    original = magicbrush.MagicBrush._captions

    def captions(self, folder):
        other = {"global": "local", "local": "global"}[self.settings.caption]
        object.__setattr__(self.settings, "caption", other)
        return original(self, folder)

    patch.setattr(magicbrush.MagicBrush, "_captions", captions)


def loose_weights(patch):
    patch.setattr(weights, "load_exactly", lambda module, state, *_: module.load_state_dict(state, strict=False))
    patch.setattr(mllm, "load_exactly", lambda module, state: module.load_state_dict(state, strict=False))


def squashed(image, size=512):
    return image.resize((size, size), preprocess.BICUBIC)


def unit_range(image, size=256, crop=512):
    return ORIGINAL_PIXELS(image, size, crop) / 2 + 0.5


ORIGINAL_PIXELS = preprocess.training_pixels


def states_one_too_late(patch):
    original = generate.visual_slice
    for module in (generate, test_parity_mllm):
        patch.setattr(module, "visual_slice", lambda s, i: original(s, i)._replace(start=original(s, i).start + 1))


def in_both(module, test_module, name, value):
    """A function that its test has imported by name."""
    return lambda patch: (patch.setattr(module, name, value), patch.setattr(test_module, name, value))


def everywhere_the_last_eight(sequence, img0):
    return generate.StateSlice(len(sequence) - 9, img0 in sequence)


T_RUN, T_STATS, T_CHECK, T_MLLM = test_runner, test_stats, test_check, test_parity_mllm
T_PIPE, T_PUBLISHED, T_FEATURES = test_pipeline, test_datasets_published, test_features
UNREADABLE_GOAL = test_run_command.test_an_unreadable_goal_image_is_a_missing_score_with_its_reason
CAPTION = test_datasets_magicbrush.test_the_goal_caption_is_the_global_or_the_local_one_of_the_goal_image
SWAPPED = test_resume.test_an_image_deleted_or_swapped_before_scoring_is_edited_again
PIXELS = test_parity_inputs.test_pixels_equal_both_routes_of_the_official_code
SLICE_RULE = T_MLLM.test_the_slice_rule_equals_the_recorded_table
PLANTED = {
    # seeds, order, pairing
    "seeds by place": (T_RUN.test_pixels_do_not_depend_on_the_batch_size, seeds_by_place),
    "one generator a batch": (T_PIPE.test_a_batch_of_eight_equals_eight_single_calls, one_generator_a_batch),
    "the global seed": (T_PIPE.test_the_seed_decides_the_pixels_and_the_global_seed_does_not, set_(
        diffusion, "start_noise", lambda shape, generators, device: torch.randn(shape))),
    "outputs paired by order": (test_precomputed.test_ids_are_never_paired_by_order, pairs_by_order),
    "models paired by place": (T_STATS.test_models_are_paired_by_example_and_not_by_place, models_paired_by_place),
    "a turn on the dataset's input": (T_RUN.test_a_later_turn_edits_the_output_of_the_turn_before, set_(
        runner, "on_outputs", lambda part, folder, edits: (part.examples, []))),
    # files
    "JPEG for PNG": (test_run_command.test_the_oracle_is_perfect, set_(runner, "png", jpeg)),
    "a hash that is not the pixels'": (SWAPPED, lambda patch: (
        patch.setattr(runner, "pixel_hash", lambda image: "0"), patch.setattr(pairs, "pixel_hash", lambda image: "0"))),
    "features by file name": (
        T_FEATURES.test_a_file_replaced_by_other_pixels_under_the_same_name_is_encoded_again,
        set_(pairs.Picture, "sha256", property(lambda self: str(self.path)))),
    "features not checked": (T_FEATURES.test_a_damaged_file_is_computed_again_and_mended, set_(
        features, "read", lambda path: np.load(path) if path.exists() else None)),
    "published files not checked": (
        T_PUBLISHED.test_a_changed_image_is_named_with_both_hashes_and_the_fetch_command,
        set_(published.Published, "_check", lambda self, what, data, listed: None)),
    "captions of the other kind": (CAPTION, captions_of_the_other_kind),
    # what is in a mean
    "missing scores left out": (UNREADABLE_GOAL, missing_left_out),
    "missing scores are 0": (UNREADABLE_GOAL, missing_is_zero),
    "failed edits forgotten": (
        T_RUN.test_one_example_that_cannot_be_edited_is_reported_and_the_others_are_done, failure_forgotten),
    "mean of group means": (T_STATS.test_the_mean_is_over_examples_and_seeds, mean_of_groups),
    "scored twice": (T_STATS.test_a_second_score_of_the_same_example_and_seed_is_refused, set_(
        stats, "_check", lambda scores: None)),
    "interval over examples": (
        T_STATS.test_repeating_every_example_of_a_group_does_not_narrow_the_interval, every_example_a_group),
    # the model: ids, weights, pixels, states
    "ids by constant": (T_MLLM.test_each_greedy_decode_equals_the_official_one, set_(
        Tokenizer, "visual", property(lambda self: list(range(32003, 32011))))),
    "the last eight states": (SLICE_RULE, in_both(generate, T_MLLM, "visual_slice", everywhere_the_last_eight)),
    "states one too late": (SLICE_RULE, states_one_too_late),
    "weights loaded loosely": (T_PIPE.test_damaged_weights_are_refused_by_name, loose_weights),
    "a delta taken for weights": (test_convert.test_an_unmerged_delta_is_refused_by_its_statistics, set_(
        delta, "check", lambda llava, base: None)),
    "squashed for cropped": (PIXELS, in_both(preprocess, test_parity_inputs, "crop_square", squashed)),
    "[0, 1] into the VAE": (PIXELS, in_both(preprocess, test_parity_inputs, "training_pixels", unit_range)),
    "bilinear for bicubic": (PIXELS, set_(preprocess, "BICUBIC", Image.Resampling.BILINEAR)),
    "no condition is dropped": (test_training_losses.test_conditions_are_dropped_in_the_shares_of_the_paper, set_(
        losses, "dropped_conditions", lambda draw: (torch.zeros(len(draw), dtype=torch.bool),) * 2)),
    # the gate
    "a gate that is always green": (
        T_CHECK.test_one_example_that_moved_is_red_though_the_mean_barely_did, set_(compare.Findings, "green", True)),
    "a gate without the mean": (
        T_CHECK.test_a_drift_of_one_percent_in_one_metric_is_red_though_each_example_is_within_its_tolerance,
        set_(compare, "_drifts", lambda check, cell, moves: [])),
    "a gate that skips what is missing": (T_CHECK.test_a_missing_example_is_red_on_either_side, set_(
        compare, "_differences_in_kind", lambda *arguments: [])),
}  # fmt: skip


@pytest.fixture(scope="module")
def pipe():
    torch.set_num_threads(1)
    return tiny.build()


@pytest.fixture(scope="module")
def golden_parts(golden):
    """The fixtures of the parity tests by name."""
    model, cases = T_MLLM.mllm_of(golden.config), fixture(T_MLLM.cases)(golden)
    return {"golden": golden, "mllm": model, "written": fixture(T_MLLM.written)(cases)}


def fixture(of):
    """The function behind a fixture."""
    return getattr(of, "__wrapped__", None) or of.__pytest_wrapped__.obj


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_makes_its_test_fail(error, request, tmp_path, capsys, monkeypatch):
    check, plant = PLANTED[error]
    arguments = arguments_of(check, request, tmp_path, capsys)
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):
            check(**arguments)


def arguments_of(check, request, tmp_path, capsys) -> dict:
    """What pytest would hand to the check, made before anything is planted."""
    first = {"kind": "global", "side": "fresh", "fault": "missing", "file": "projector/model.safetensors",
             "damage": "a flipped bit"}  # fmt: skip
    made = {"tmp_path": tmp_path, "capsys": capsys} | first
    names = inspect.signature(check).parameters
    if {"golden", "mllm", "written"} & set(names):
        made |= request.getfixturevalue("golden_parts")
    if "pipe" in names:
        made["pipe"] = request.getfixturevalue("pipe")
    if "data" in names:
        made["data"] = test_resume.draw_ma5k(tmp_path / "data", photos=2)
    if "broken" in names:
        request.getfixturevalue("pipe").save_pretrained(tmp_path / "saved")
        made["broken"] = tmp_path / "saved"
    if "root" in names:
        made["root"] = fixture(test_datasets_published.root)(tmp_path, request.getfixturevalue("monkeypatch"))
    return {name: made[name] for name in names}
