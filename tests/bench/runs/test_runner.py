"""The main path in small: slices, seeds, failures, turns that build on each other."""

import gc
import json
import weakref
from dataclasses import replace

import numpy as np
import profiles as drawn
import pytest
from PIL import Image

from baselines.precomputed import Precomputed
from bench.records import Example, Halving, Output
from bench.runs.description import Run, by_shape, manifest_hash, shape, shapes_of
from bench.runs.folder import RunFolder
from bench.runs.runner import TooManyFailures, edit_all, edit_slice, profiles, seed_for, slices, write
from bench.settings import DataSettings, EditSettings, ModelSettings
from mgie.io.images import pixel_hash


def examples(folder, n: int = 5) -> list[Example]:
    folder.mkdir(exist_ok=True)
    for k in range(n):
        Image.fromarray(np.full((8, 8, 3), 40 * k % 256, np.uint8)).save(folder / f"{k}.png")
    return [Example(f"toy/test/{k}", f"toy/{k}", folder / f"{k}.png", f"edit {k}") for k in range(n)]


def run_of(list_of_examples, **edit) -> Run:
    return Run("mini", "toy", "painter", "zero-shot", "none", DataSettings(), EditSettings(batch_size=2, **edit), {},
               list_of_examples, manifest_hash(list_of_examples))  # fmt: skip


class Painter:
    """Adds a constant that comes from the seed; notes every call; cannot edit what is in `poison`."""

    name, defaults = "painter", EditSettings()

    def __init__(self, poison: tuple[str, ...] = (), memory: int = 99) -> None:
        self.calls, self.poison, self.memory = [], poison, memory

    def fingerprint(self):
        return {}

    def load(self):
        pass

    def edit(self, examples, settings, seeds):
        from mgie.io.images import load

        self.calls.append([e.id for e in examples])
        if len(examples) > self.memory:
            raise RuntimeError("CUDA out of memory")
        if bad := [e.id for e in examples if e.id in self.poison]:
            raise FloatingPointError(f"NaN in the edit of {bad[0]}")
        images = [
            np.asarray(load(e.input_image, settings)) + np.uint8(seed % 7 + 1)
            for e, seed in zip(examples, seeds, strict=True)
        ]
        return [Output(Image.fromarray(i), "bright", 3) for i in images]


def go(run, model, folder, seeds=1, max_failures=0.0):
    folder = RunFolder(folder)
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder, edit_all(run, model, folder, range(seeds), max_failures, lambda n, failed=0: None)


def test_slices_are_fixed_and_complete(tmp_path):
    batches = list(slices(run_of(examples(tmp_path))))
    assert [[e.id[-1] for e in b] for b in batches] == [["0", "1"], ["2", "3"], ["4"]]


def test_a_slice_never_holds_an_example_and_the_one_whose_output_it_edits(tmp_path):
    first, second, third = examples(tmp_path, 3)
    chain = [first, replace(second, previous=first.id), replace(third, previous=second.id)]
    assert [len(b) for b in slices(run_of(chain))] == [1, 1, 1]


def test_examples_of_one_shape_are_edited_together_and_batches_are_whole(tmp_path):
    listed = examples(tmp_path / "in", 16)
    for k, e in enumerate(listed):
        Image.new("RGB", (16, 8) if k % 2 else (8, 16)).save(e.input_image)
    run = replace(run_of(listed), edit=EditSettings(batch_size=8, size="native"))
    batches = list(slices(run))
    assert [{Image.open(e.input_image).size for e in b} for b in batches] == [{(8, 16)}, {(16, 8)}]
    assert [len(b) for b in batches] == [8, 8] and [e.id for e in batches[0]] == [e.id for e in listed[::2]]
    assert replace(run_of(listed), edit=EditSettings(size="square:8")).ordered == listed  # all of them one shape
    model = Painter()
    folder, failures = go(run, model, tmp_path / "run")
    assert failures == [] and [len(call) for call in model.calls] == [8, 8]
    assert [e.example_id for e in folder.edits().values()] == [e.id for e in listed]  # written in official order


def test_a_batch_begins_where_the_shape_changes_whatever_is_left_of_the_one_before(tmp_path):
    listed = examples(tmp_path / "in", 21)
    for k, e in enumerate(listed):
        Image.new("RGB", [(8, 16), (16, 8), (24, 8)][0 if k < 5 else 1 + k % 2]).save(e.input_image)
    run = replace(run_of(listed), edit=EditSettings(batch_size=8, size="native"))
    assert [len(b) for b in slices(run)] == [5, 8, 8]  # 5, 3 + 5, 3 + 5 where batches run on
    model = Painter()
    go(run, model, tmp_path / "run")
    assert [
        len({Image.open(listed[int(i.rpartition("/")[2])].input_image).size for i in call}) for call in model.calls
    ] == [1] * 3


def test_a_run_that_was_begun_in_batches_across_shapes_goes_on_to_the_same_bytes(tmp_path):
    listed = examples(tmp_path / "in", 12)
    for k, e in enumerate(listed):
        Image.new("RGB", (16, 8) if k < 3 else (8, 16)).save(e.input_image)
    run = replace(run_of(listed), edit=EditSettings(batch_size=8, size="native"))
    whole, _ = go(run, Painter(), tmp_path / "whole")
    begun = RunFolder(tmp_path / "begun")
    begun.path.mkdir()
    ready = edit_slice(listed[:8], 0, run.edit, Painter())  # the first batch of eight, of both shapes
    begun.append("edits.jsonl", [write(0, one, begun) for one in ready.encoded])
    begun, failures = go(run, Painter(), begun.path)
    assert failures == [] and begun.edits().keys() == whole.edits().keys()
    for e in whole.edits().values():
        assert (begun.path / e.output_image).read_bytes() == (whole.path / e.output_image).read_bytes()


def test_what_cannot_be_read_and_what_lies_on_its_side_have_their_own_place(tmp_path):
    listed = examples(tmp_path, 4)
    Image.new("RGB", (8, 16)).save(listed[1].input_image)
    turned = Image.new("RGB", (8, 16))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.jpg", exif=exif)
    listed[2] = replace(listed[2], input_image=tmp_path / "turned.jpg")
    listed[3].input_image.write_bytes(b"no image")
    assert by_shape(listed, shapes_of(listed, EditSettings(size="native"))) == listed
    assert shape(listed[1].input_image, EditSettings()) == (8, 16)
    assert shape(listed[2].input_image, EditSettings()) == (16, 8)
    assert shape(listed[2].input_image, EditSettings(exif="ignore")) == (8, 16)
    assert shape(listed[3].input_image, EditSettings()) == (0, 0)


def test_turns_keep_behind_one_another_whatever_their_shapes(tmp_path):
    listed = examples(tmp_path, 6)
    Image.new("RGB", (16, 8)).save(listed[1].input_image)
    later = [replace(listed[k + 3], previous=listed[k].id) for k in range(3)]
    run = replace(run_of([*listed[:3], *later]), edit=EditSettings(batch_size=8, size="native"))
    assert [e.id[-1] for e in run.ordered] == ["0", "2", "1", "3", "5", "4"]  # the shape of a turn is its session's
    assert [len(b) for b in slices(run)] == [2, 1, 2, 1]


def test_given_outputs_are_among_the_images_whose_profiles_are_counted(tmp_path):
    run = run_of(examples(tmp_path / "in", 3))
    images = tmp_path / "given"
    images.mkdir()
    for e, profile in zip(run.examples, (drawn.WIDE["Adobe RGB"][0], b"none", None), strict=True):
        Image.new("RGB", (8, 8)).save(images / e.file_name, icc_profile=profile)
    mine = Precomputed(ModelSettings("mine", "mini", "toy", images=images))
    assert profiles(run, Painter()) == {"images": 3, "converted": 0, "broken": 0}
    assert profiles(run, mine) == {"images": 6, "converted": 1, "broken": 1}


def test_seed_depends_on_the_example_and_not_on_its_place():
    assert seed_for(0, "toy/test/1") == seed_for(0, "toy/test/1")
    assert len({seed_for(s, f"toy/test/{k}") for s in range(3) for k in range(50)}) == 150


def test_the_manifest_follows_the_bytes_of_the_images_and_the_texts(tmp_path):
    listed = examples(tmp_path)
    before = manifest_hash(listed)
    assert manifest_hash(listed) == before
    assert manifest_hash([replace(listed[0], instruction="other"), *listed[1:]]) != before
    goals = [replace(e, goal_image=e.input_image, goal_caption="a cat", group="other") for e in listed]
    assert manifest_hash(goals) == before != manifest_hash(goals, goals=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "3.png")
    assert manifest_hash(listed) != before


def test_whatever_changes_a_pixel_changes_the_folder_and_nothing_else_does(tmp_path):
    run = run_of(examples(tmp_path))
    for other in (
        replace(run, model="other"), replace(run, fingerprint={"weights": "1"}), replace(run, setting="fine-tuned"),
        replace(run, edit=replace(run.edit, batch_size=3)), replace(run, edit=replace(run.edit, num_inference_steps=9)),
        replace(run, examples=run.examples[:3], manifest=manifest_hash(run.examples[:3])),
    ):  # fmt: skip
        assert other.name != run.name
    for same in (
        replace(run, note="read this"), replace(run, sources={"a": "b"}),
        replace(run, data=DataSettings(caption="local")),
    ):  # fmt: skip
        assert same.name == run.name
    assert replace(run, form="e2e").name.startswith("toy--painter-e2e--zero-shot--")


def test_edits_are_in_final_order_with_hash_text_and_seconds(tmp_path):
    run = run_of(examples(tmp_path / "in"))
    folder, failures = go(run, Painter(), tmp_path / "run", seeds=2)
    lines = [json.loads(line) for line in (folder.path / "edits.jsonl").read_text().splitlines()]
    assert failures == []
    assert [(e["seed"], e["example_id"]) for e in lines] == [(s, e.id) for s in (0, 1) for e in run.examples]
    for line in lines:
        assert line["image_sha256"] == pixel_hash(Image.open(folder.path / line["output_image"]))
        assert line["expressive_instruction"] == "bright" and line["expressive_tokens"] == 3
        assert line["seconds"]["edit"] > 0


def test_pixels_do_not_depend_on_the_batch_size(tmp_path):
    listed = examples(tmp_path / "in")
    one, _ = go(replace(run_of(listed), edit=EditSettings(batch_size=1)), Painter(), tmp_path / "one")
    all_, _ = go(replace(run_of(listed), edit=EditSettings(batch_size=8)), Painter(), tmp_path / "all")
    assert {k: e.image_sha256 for k, e in one.edits().items()} == {k: e.image_sha256 for k, e in all_.edits().items()}


def test_out_of_memory_halves_the_batch_and_everything_is_edited(tmp_path):
    listed = examples(tmp_path / "in")
    model = Painter(memory=1)
    folder, failures = go(replace(run_of(listed), edit=EditSettings(batch_size=4)), model, tmp_path / "run")
    assert failures == [] and len(folder.edits()) == 5
    assert max(len(call) for call in model.calls[2:]) <= 2


class Hungry(Painter):
    """Takes 1 MB an example, in objects of its own; above `most` MB alive it is out of memory."""

    class Megabyte:
        pass

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.alive, self.peaks = most, weakref.WeakSet(), []

    def edit(self, examples, settings, seeds):
        held = []
        for _ in examples:
            held.append(self.Megabyte())
            held[-1].itself = held[-1]  # as autograd's graphs and hooks do: freed by the collector alone
            self.alive.add(held[-1])
            if len(self.alive) > self.most:
                raise RuntimeError("CUDA out of memory")
        self.peaks.append(len(self.alive))
        for one in held:
            del one.itself
        return super().edit(examples, settings, seeds)


def test_nothing_of_a_failed_attempt_is_alive_when_the_halves_are_tried(tmp_path):
    listed, model = examples(tmp_path / "in", 6), Hungry(3)
    gc.disable()  # so that only what the runner frees is freed
    try:
        folder, failures = go(replace(run_of(listed), edit=EditSettings(batch_size=6)), model, tmp_path / "run")
    finally:
        gc.enable()
    assert failures == [] and len(folder.edits()) == 6
    assert model.peaks == [3, 3] and [h.batches for h in folder.halvings()] == [[3, 3]]


def test_a_halved_slice_is_on_record_and_said_and_changes_no_output_image(tmp_path, capsys):
    run = replace(run_of(examples(tmp_path / "in", 7)), edit=EditSettings(batch_size=4))
    folder, _ = go(run, Painter(memory=2), tmp_path / "short", seeds=2)
    why = "RuntimeError: CUDA out of memory"
    assert folder.halvings() == [
        Halving(seed, f"toy/test/{first}", f"toy/test/{last}", sum(batches), batches, why)
        for seed in (0, 1) for first, last, batches in ((0, 3, [2, 2]), (4, 6, [1, 2]))
    ]  # fmt: skip
    said = f"slice toy/test/4 .. toy/test/6: edited in batches of 1, 2 instead of 3 ({why})"
    assert capsys.readouterr().err.count(said) == 2
    whole, _ = go(run, Painter(), tmp_path / "whole", seeds=2)
    assert capsys.readouterr().err == "" and not (whole.path / "halvings.jsonl").exists()
    one, other = ({k: e.image_sha256 for k, e in f.edits().items()} for f in (folder, whole))
    assert one == other and len(one) == 14


def test_a_slice_that_is_edited_again_in_one_batch_leaves_the_record(tmp_path):
    run = replace(run_of(examples(tmp_path / "in", 7)), edit=EditSettings(batch_size=4))
    folder, _ = go(run, Painter(memory=2), tmp_path / "run")
    for k in (5, 1):
        folder.rewrite("edits.jsonl", [e for e in folder.edits().values() if e.example_id != f"toy/test/{k}"])
        go(run, Painter(), tmp_path / "run")
        assert [h.first for h in folder.halvings()] == ["toy/test/0"] * (k == 5)
    assert not (folder.path / "halvings.jsonl").exists()


def test_one_example_that_cannot_be_edited_is_reported_and_the_others_are_done(tmp_path):
    run = run_of(examples(tmp_path / "in"))
    folder, failures = go(run, Painter(poison=("toy/test/3",)), tmp_path / "run", max_failures=0.5)
    assert [f["example_id"] for f in failures] == ["toy/test/3"] and "NaN" in failures[0]["reason"]
    assert {k[1] for k in folder.edits()} == {e.id for e in run.examples} - {"toy/test/3"}


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_an_unreadable_input_image_is_a_failure_that_names_the_file(tmp_path, damage):
    listed = examples(tmp_path / "in")
    path = tmp_path / "in" / "1.png"
    content = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(content[: 0 if damage == "empty" else len(content) // 2])
    folder, failures = go(run_of(listed), Painter(), tmp_path / "run", max_failures=0.5)
    assert [f["example_id"] for f in failures] == ["toy/test/1"] and str(path) in failures[0]["reason"]
    assert len(folder.edits()) == 4


def test_too_many_failures_stop_the_run_and_keep_what_was_edited(tmp_path):
    run = run_of(examples(tmp_path / "in"))
    with pytest.raises(TooManyFailures, match="1 of 5 examples failed.*--max-failures 0.1"):
        go(run, Painter(poison=("toy/test/3",)), tmp_path / "run", max_failures=0.1)
    assert len(RunFolder(tmp_path / "run").edits()) == 3
    _, failures = go(run, Painter(), tmp_path / "run", max_failures=0.1)
    assert failures == []


def test_a_later_turn_edits_the_output_of_the_turn_before(tmp_path):
    first, second = examples(tmp_path / "in", 2)
    second = replace(second, previous=first.id, turn=2)
    run = run_of([first, second])
    folder, _ = go(run, Painter(), tmp_path / "run")
    a, b = (np.asarray(Image.open(folder.path / folder.image(0, e))) for e in (first, second))
    assert (b == a + seed_for(0, second.id) % 7 + 1).all()
    folder, failures = go(run, Painter(poison=(first.id,)), tmp_path / "broken", max_failures=1)
    assert [f["reason"] for f in failures][1] == f"the turn before it was not edited: {first.id}"
