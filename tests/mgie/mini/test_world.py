"""The miniature world's laws: the same everywhere, splits apart, edits visible and inside their masks, causes even."""

import json
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgie.mini.datasets import draw as layouts
from mgie.mini.world import examples as world
from mgie.mini.world import phrasing
from mgie.mini.world import pixels as arithmetic
from mgie.mini.world.assets import ASSETS, of_split, photo_pixels, photographs, sources, things
from mgie.mini.world.dice import Dice
from mgie.mini.world.scene import COLOURS, box_of, half, large

AMBIGUOUS = [name for name, family in world.FAMILIES.items() if family.causes]


def same(a: world.Drawn, b: world.Drawn) -> bool:
    return (
        a.input_image.tobytes() == b.input_image.tobytes() and a.goal_image.tobytes() == b.goal_image.tobytes()
        and bool((a.mask == b.mask).all())
        and (a.instruction, a.expressive_instruction) == (b.instruction, b.expressive_instruction)
    )  # fmt: skip


def test_a_seed_gives_the_same_pixels_and_words_again_and_another_seed_others():
    first = world.draw(7)
    assert same(first, world.draw(7))
    assert not same(first, world.draw(8))


def test_the_world_is_the_stored_one():
    """Red after any change of a pixel or a word: raise VERSION, then `python -m mgie.mini.datasets.draw --store`."""
    stored = json.loads((ASSETS / "world.json").read_text())
    assert stored["version"] == world.VERSION
    assert stored["sample"] == layouts.sample()


def test_dice_are_the_ones_of_the_definition():
    from hashlib import sha256

    dice = Dice("a", 1)
    throws = [int.from_bytes(sha256(f"a/1/{i}".encode()).digest()[:8], "big") * 6 >> 64 for i in range(20)]
    assert [dice.below(6) for _ in range(20)] == throws
    assert sorted(dice.shuffled(range(9))) == list(range(9))


def test_photographs_are_in_one_split_each_and_in_the_promised_numbers():
    assert [len(of_split(s)) for s in ("train", "val", "test")] == [150, 16, 40]
    assert len({p.id for s in ("train", "val", "test") for p in of_split(s)}) == len(photographs()) == 206


def test_no_photograph_is_in_two_splits_under_two_names():
    small = {p: arithmetic.resample(photo_pixels(p), 12, 12).astype(float).ravel() for p in photographs()}
    names = list(small)
    grey = np.stack([(v - v.mean()) / v.std() for v in small.values()])
    alike = np.argwhere(np.triu(grey @ grey.T / grey.shape[1] > 0.98, 1))
    assert len(alike) >= 3  # the known ones: the check can see them
    assert all(photographs()[names[i]].split == photographs()[names[j]].split for i, j in alike)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_example_shows_a_photograph_of_its_split(split):
    assert {photographs()[world.draw(i, split).photograph].split for i in range(12)} == {split}


@pytest.mark.parametrize("name", world.FAMILIES)
def test_every_family_changes_what_its_mask_holds_and_nothing_else(name):
    for seed in range(4):
        drawn = world.draw(seed, "test", family=name)
        before, after = np.asarray(drawn.input_image).astype(int), np.asarray(drawn.goal_image).astype(int)
        changed = np.abs(after - before).max(axis=-1)
        assert not changed[~drawn.mask].any()
        assert np.abs(after - before)[drawn.mask].mean() >= 6
        assert drawn.mask.shape == (64, 64) and drawn.mask.dtype == bool


@pytest.mark.parametrize("size", [48, 51, 96, 128])
def test_the_world_keeps_its_proportions_at_other_sizes(size):
    for seed, name in enumerate(("remove", "odd-one-out", "clean-up", "season", "fix-light", "background", "sharpen")):
        drawn = world.draw(seed, size=size, family=name)
        assert drawn.input_image.size == drawn.goal_image.size == (size, size)
    for sprite in world.draw(0, size=size, family="keep-the-animal").input_objects:
        assert max(sprite.width, sprite.height) * 64 >= 29 * size


def test_objects_are_30_px_or_more_of_64():
    assert half(64) >= 30
    assert all(30 <= large(Dice(i), 64) <= 38 for i in range(50))
    assert all(max(box_of(name, 30)) == 30 for name in things())


@pytest.mark.parametrize("size", [0, 10, 47, 257, 4096])
def test_sizes_that_lose_the_objects_shapes_are_refused(size):
    with pytest.raises(ValueError, match=rf"size {size} px is outside 48 to 256"):
        world.draw(0, size=size)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "melt"}, "unknown family 'melt'; known: brightness"),
        ({"style": "rude"}, "unknown style 'rude'; known: plain"),
        ({"split": "dev"}, "unknown split 'dev'.*known: train, val, test"),
        ({"family": "season", "cause": "summer"}, "no cause 'summer'; known: winter"),
        ({"family": "add", "cause": "blue"}, "no cause 'blue'; known: none"),
    ],
)
def test_what_the_world_does_not_hold_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        world.draw(0, **arguments)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_the_answers_to_an_ambiguous_instruction_are_uniform(name):
    """Chi-square over 3000 throws; 5 standard deviations, so that a fair die is red once in a million."""
    family = world.FAMILIES[name]
    causes = family.causes
    counts = Counter(world.choose_cause(Dice("causes", name, i), family, None) for i in range(3000))
    expected, free = 3000 / len(causes), len(causes) - 1
    chi = sum((counts[c] - expected) ** 2 / expected for c in causes)
    assert chi < free + 5 * (2 * free) ** 0.5 and set(counts) == set(causes)


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_an_ambiguous_instruction_keeps_its_answer_to_the_picture(name):
    for cause in world.FAMILIES[name].causes:
        for style in phrasing.STYLES:
            if name not in phrasing.families(style):
                continue
            drawn = world.draw("asked", family=name, cause=cause, style=style)
            assert drawn.ambiguous and drawn.answer
            for word in drawn.answer:
                assert word in drawn.expressive_instruction
                assert word not in drawn.instruction


def test_what_one_must_see_follows_from_the_cause():
    for name in AMBIGUOUS:
        for cause in world.FAMILIES[name].causes:
            drawn = world.draw("why", family=name, cause=cause)
            assert drawn.cause == cause or (name == "subject" and drawn.input_objects[0].place == cause)


@pytest.mark.parametrize("name", world.FAMILIES)
def test_an_expressive_instruction_says_more_than_the_instruction(name):
    for seed in range(4):
        drawn = world.draw(seed, family=name)
        words = drawn.expressive_instruction.strip(".").lower().split()
        assert len(words) <= 32
        objects = (*drawn.input_objects, *drawn.goal_objects)
        seen = {photographs()[drawn.photograph].noun, *(s.name for s in objects), *(s.place for s in objects)}
        named = [thing for thing in seen if thing in drawn.expressive_instruction]
        assert [thing for thing in named if thing not in drawn.instruction] or drawn.ambiguous
        assert "{" not in drawn.expressive_instruction + drawn.instruction
        assert "  " not in drawn.expressive_instruction + drawn.instruction


def test_every_style_has_several_ways_to_ask_for_each_of_its_edits():
    for style in phrasing.STYLES:
        for key in phrasing.phrases()[style]:
            assert len(set(phrasing.templates(style, key))) >= 2, (style, key)
    assert phrasing.families("plain") == phrasing.families("expressive") == set(world.FAMILIES)


def test_benchmarks_ask_in_other_words_and_for_other_amounts_than_the_training_set():
    from mgie.mini.world.families_global import STRENGTHS

    plain = {t.lower() for ways in phrasing.phrases()["plain"].values() for t in ways}
    for style in ("crowd", "expert", "request"):
        theirs = {t.lower().strip(".") for ways in phrasing.phrases()[style].values() for t in ways}
        assert len(theirs & plain) / len(theirs) < 0.1
    for key, trained in STRENGTHS["training"].items():
        if isinstance(trained, tuple):
            assert not set(trained) & set(STRENGTHS["benchmark"][key])


def everything_said(template: str) -> list[str]:
    """All sentences of a template, lower case and without stops; slots as they are."""
    found = [template]
    for pattern, ways in ((r"<(\w+)>", lambda name: phrasing.phrases()["parts"][name]),
                          (r"\[([^\]]*)\]", lambda choices: choices.split("|"))):  # fmt: skip
        while re.search(pattern, found[0]):
            found = [text[: m.start()] + way + text[m.end() :] for text in found for m in (re.search(pattern, text),)
                     for way in ways(m[1])]  # fmt: skip
    return sorted({bare(text) for text in found})


def bare(text: str) -> str:
    return " ".join(re.sub(r"[.,?!]", "", text.lower()).split())


def test_no_loose_sentence_is_a_benchmarks_though_all_the_benchmarks_words_are_in_training():
    def sentences(style):
        return {s for ways in phrasing.phrases()[style].values() for t in ways for s in everything_said(t)}

    loose, theirs = sentences("loose"), set().union(*map(sentences, ("crowd", "expert", "request")))
    assert len(loose) > 5000 and not loose & theirs
    trained = set().union(loose, *map(sentences, ("plain", "terse", "expressive")))
    words = {word for text in trained for word in text.split()}
    assert not {word for text in theirs for word in text.split()} - words


def test_a_loose_sentence_is_one_of_its_templates():
    drawn = world.draw(3, family="sharpen", style="loose")
    known = {s for t in phrasing.templates("loose", "sharpen") for s in everything_said(t)}
    amounts = {a for level in phrasing.phrases()["amounts"]["loose"] for a in level}
    for seed in range(40):
        said = bare(phrasing.instruction(Dice(seed), drawn.change, "loose"))
        assert said in {bare(text.format(amount=a)) for text in known for a in amounts}, said


def brought_in(family, anything=False):
    for seed in range(30):
        drawn = world.draw(seed, "train", family=family, anything=anything)
        yield from set(drawn.goal_objects) - set(drawn.input_objects)


@pytest.mark.parametrize("family", ["add", "replace", "make-a-pair", "healthy"])
def test_edits_bring_in_a_few_objects_only_though_pictures_to_see_from_show_any(family):
    from mgie.mini.world.families_local import NEW_OBJECTS
    from mgie.mini.world.families_which import HEALTHY

    few = HEALTHY.values() if family == "healthy" else NEW_OBJECTS
    new = list(brought_in(family))
    assert {s.name for s in new} <= set(few)
    assert family == "make-a-pair" or not any(s.flip for s in new)
    assert any(s.flip for s in brought_in(family, anything=True))
    assert family == "healthy" or {s.name for s in brought_in(family, anything=True)} - set(few)


def test_a_removed_object_reveals_the_very_background():
    drawn = world.draw(3, family="remove")
    scene = drawn.change.before
    alone = [s for s in scene.sprites if s not in drawn.goal_objects]
    assert len(alone) == 1 and alone[0].name in drawn.instruction
    if len(scene.sprites) == 1:
        assert np.array_equal(np.asarray(drawn.goal_image), scene.background)


def test_a_further_turn_starts_from_the_goal_image():
    first = world.draw(5, family="add", style="request")
    second = world.follow(first, 1, "request")
    assert second.input_image.tobytes() == first.goal_image.tobytes()
    assert second.goal_image.tobytes() != second.input_image.tobytes()
    assert second.photograph == first.photograph


@pytest.mark.parametrize("colour", COLOURS)
def test_recolouring_gives_every_colour_its_hue(colour):
    ramp = np.repeat(np.arange(40, 256, 9, dtype=np.uint8)[:, None, None], 3, axis=2)
    target = np.array(COLOURS[colour])
    pixels = arithmetic.recolour(ramp, COLOURS[colour])[:, 0].astype(int)
    assert (pixels.argmax(axis=1) == target.argmax()).all()
    assert (np.ptp(pixels, axis=1) > 25).all()
    assert (np.diff(pixels.max(axis=1)) >= 0).all()  # light stays light, shade stays shade


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 17), st.integers(1, 17), st.integers(0, 10**6))
def test_resampling_is_the_mean_of_the_covered_area(h, w, height, width, seed):
    dice = Dice(seed)
    image = np.array([[[dice.below(256)] for _ in range(w)] for _ in range(h)], np.uint8)
    got = arithmetic.resample(image, width, height)
    assert got.shape == (height, width, 1)

    def cover(n: int, total: int) -> list[list[Fraction]]:
        edges = [Fraction(i * total * 64 // n, 64) for i in range(n + 1)]
        spans = pairwise(edges)
        return [[max(Fraction(0), min(b, j + 1) - max(a, j)) / (b - a) for j in range(total)] for a, b in spans]

    rows, columns = cover(height, h), cover(width, w)
    for i, j in {(0, 0), (height - 1, width - 1), (height // 2, width // 3)}:
        exact = sum(rows[i][y] * columns[j][x] * int(image[y, x, 0]) for y in range(h) for x in range(w))
        assert abs(int(got[i, j, 0]) - exact) <= 1  # rounded once a direction


@given(st.integers(1, 12), st.integers(1, 12))
def test_gamma_tables_are_the_rounded_power_function(p, q):
    table = arithmetic.gamma(p, q)
    exact = 255 * (np.arange(256) / 255) ** (p / q)
    assert table[0] == 0 and table[255] == 255
    assert np.abs(table - exact).max() <= 0.5 + 1e-9


def test_tables_and_blurs_leave_what_is_even_alone():
    even = np.full((20, 20, 3), 77, np.uint8)
    for changed in (
        arithmetic.blur(even, 3),
        arithmetic.sharpen(even, 1, 512),
        arithmetic.saturate(even, 400),
        arithmetic.resample(even, 7, 9),
        arithmetic.line(256)[even],
        arithmetic.scale(even, 256, 256, 256),
    ):
        assert (changed == 77).all()


def test_no_drawing_code_uses_floats_or_a_library_resampler():
    for name in (
        "pixels",
        "scene",
        "dice",
        "families_global",
        "families_local",
        "families_ambiguous",
        "families_which",
        "examples",
    ):
        source = (Path(world.__file__).parent / f"{name}.py").read_text()
        code = "\n".join(line.partition("#")[0] for line in source.splitlines())
        for word in ("float", "np.random", "import random", ".resize(", "@ ", "np.dot", "math."):
            assert word not in code.partition('"""')[2].partition('"""')[2], (name, word)


def test_every_photograph_and_object_is_in_the_notice_with_its_licence():
    notice = (Path(world.__file__).parents[3] / "NOTICE").read_text(encoding="utf-8")
    for entry in json.loads((ASSETS / "photos.json").read_text(encoding="utf-8")):
        block = notice.partition(Path(entry["file"]).name)[2].partition("package:")[0]
        assert entry["author"] in block and entry["licence_text"] in block and entry["source"] in block
    assert "Copyright (c) Microsoft Corporation" in notice and "LobeHub" in notice
    assert "Permission is hereby granted, free of charge" in notice
    assert set(sources()) == set(photographs()) == {p.stem for p in (ASSETS / "photos").glob("*.webp")}
    assert {n.replace(" ", "_") for n in things()} <= {p.stem for p in (ASSETS / "objects").glob("*.webp")}
