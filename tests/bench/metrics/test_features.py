"""Features are computed once a slice; what is stored never depends on what was there before."""

import numpy as np
import pytest
from PIL import Image
from tiny_networks import awkward_pairs, drawn, pair, tiny_settings

from bench.metrics.cts import CTS
from bench.metrics.cvs import CVS
from bench.metrics.networks.features import DIGEST, FeatureCache
from bench.metrics.pairs import Picture


class Counting:
    """An encoder of 4 numbers an image, whose last bits depend on the slice it is in, as real kernels' do."""

    def __init__(self):
        self.slices = []

    def __call__(self, pictures):
        self.slices.append([p.sha256 for p in pictures])
        rows = [np.asarray(p.image, dtype=np.float32).reshape(-1, 3).mean(axis=0) for p in pictures]
        return np.array([[*row, len(pictures)] for row in rows], dtype=np.float32)


def pictures(*seeds):
    return [Picture.of(drawn(seed, 20, 16)) for seed in seeds]


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_pictures_are_encoded_once_and_rows_keep_their_order():
    encode = Counting()
    a, b = pictures(1, 2)
    found = FeatureCache(None).features("p", [b, a, b, a, a], encode)
    assert encode.slices == [[b.sha256, a.sha256]]
    np.testing.assert_array_equal(found, encode([b, a])[[0, 1, 0, 1, 1]])


def test_the_same_slice_is_not_encoded_twice_in_a_process_nor_in_the_next(tmp_path):
    encode = Counting()
    cache = FeatureCache(tmp_path)
    first = cache.features("p", pictures(1, 2), encode)
    np.testing.assert_array_equal(cache.features("p", pictures(1, 2), encode), first)
    np.testing.assert_array_equal(FeatureCache(tmp_path).features("p", pictures(1, 2), encode), first)
    assert len(encode.slices) == 1


def test_a_cache_that_does_not_write_hands_over_what_is_to_be_kept(tmp_path):
    encode, reader = Counting(), FeatureCache(tmp_path, writes=False)
    first = reader.features("p", pictures(1, 2), encode)
    reader.features("p", pictures(3), encode, on_disk=False)
    assert not list(tmp_path.rglob("*.npy"))
    made = reader.handed_over()
    assert len(made) == 1 and reader.handed_over() == {}
    FeatureCache(tmp_path).keep(made)
    np.testing.assert_array_equal(FeatureCache(tmp_path, writes=False).features("p", pictures(1, 2), None), first)


@pytest.mark.parametrize("before", [[], [(1,)], [(2, 1)], [(1, 2, 3)], [(2,), (1,)]])
def test_what_is_stored_for_a_slice_does_not_depend_on_what_was_there(before, tmp_path):
    for slice_ in before:
        FeatureCache(tmp_path / "used").features("p", pictures(*slice_), Counting())
    used = FeatureCache(tmp_path / "used").features("p", pictures(1, 2), Counting())
    fresh = FeatureCache(tmp_path / "fresh").features("p", pictures(1, 2), Counting())
    assert used.tobytes() == fresh.tobytes()
    assert files(tmp_path / "fresh").items() <= files(tmp_path / "used").items()


def test_another_protocol_or_other_pixels_are_another_unit(tmp_path):
    encode, cache = Counting(), FeatureCache(tmp_path)
    cache.features("p", pictures(1, 2), encode)
    cache.features("q", pictures(1, 2), encode)
    cache.features("p", pictures(1, 3), encode)
    assert len(encode.slices) == len(files(tmp_path)) == 3


def test_a_file_replaced_by_other_pixels_under_the_same_name_is_encoded_again(tmp_path):
    encode, cache = Counting(), FeatureCache(tmp_path / "cache")
    found = []
    for seed in (1, 2):
        drawn(seed, 20, 16).save(tmp_path / "image.png")
        found.append(cache.features("p", [Picture(tmp_path / "image.png")], encode))
    assert len(encode.slices) == 2 and (found[0] != found[1]).any()


@pytest.mark.parametrize("damage", ["cut", "empty", "a flipped bit", "text", "no digest"])
def test_a_damaged_file_is_computed_again_and_mended(damage, tmp_path):
    encode = Counting()
    expected = FeatureCache(tmp_path).features("p", pictures(1, 2), encode)
    whole = files(tmp_path)
    ((name, data),) = whole.items()
    flipped = bytearray(data)
    flipped[-DIGEST - 3] ^= 1
    broken = {"cut": data[:-40], "empty": b"", "a flipped bit": bytes(flipped), "text": b"nothing"}
    (tmp_path / name).write_bytes(broken.get(damage, data[:-DIGEST]))
    np.testing.assert_array_equal(FeatureCache(tmp_path).features("p", pictures(1, 2), encode), expected)
    assert files(tmp_path) == whole and len(encode.slices) == 2


def test_a_stored_unit_is_a_plain_npy_file(tmp_path):
    expected = FeatureCache(tmp_path).features("p", pictures(1, 2), Counting())
    (file,) = tmp_path.rglob("*.npy")
    np.testing.assert_array_equal(np.load(file, allow_pickle=False), expected)


def test_output_images_leave_nothing_on_disk(tmp_path):
    cache = FeatureCache(tmp_path)
    cache.features("p", pictures(1, 2), Counting(), on_disk=False)
    assert not files(tmp_path)
    cache.features("p", pictures(1, 2), Counting())  # the same pixels as goal images
    assert len(files(tmp_path)) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("bench.metrics.networks.features.MEMORY", 3 * 16)  # three rows of four float32
    encode, cache = Counting(), FeatureCache(None)
    for seed in range(6):
        cache.features("p", pictures(seed), encode)
    assert sum(unit.nbytes for unit in cache.units.values()) <= 3 * 16
    cache.features("p", pictures(5), encode)
    assert len(encode.slices) == 6
    cache.features("p", pictures(0), encode)
    assert len(encode.slices) == 7


def test_an_encoder_that_returns_too_few_rows_is_refused():
    with pytest.raises(ValueError, match="expected \\(2, D\\)"):
        FeatureCache(None).features("p", pictures(1, 2), lambda pictures: np.zeros((1, 4), np.float32))


def test_no_pictures_need_no_encoder():
    assert len(FeatureCache(None).features("p", [], None)) == 0


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return tiny_settings(tmp_path_factory.mktemp("networks"))


def test_outputs_are_encoded_once_for_all_metrics_and_goals_once_for_all_models(settings, tmp_path, monkeypatch):
    from bench.metrics.networks.clip import CLIP

    encoded = []
    original = CLIP.encode_images
    monkeypatch.setattr(CLIP, "encode_images", lambda self, p: encoded.extend(x.sha256 for x in p) or original(self, p))
    pairs = awkward_pairs()
    cache = FeatureCache(tmp_path)
    cvs, cts = CVS(settings, cache), CTS(settings, cache)
    cvs(pairs), cts(pairs)
    assert len(encoded) == len(set(encoded)) == 2 * len(pairs)
    other_model = [pair(drawn(70 + i, 50, 50), p.goal.image, number=i) for i, p in enumerate(pairs)]
    CVS(settings, FeatureCache(tmp_path))(other_model)
    assert len(encoded) == len(set(encoded)) == 3 * len(pairs)


def test_scores_are_the_same_bits_with_and_without_the_cache(settings, tmp_path):
    def scores():
        return [v.value for v in CVS(settings, FeatureCache(tmp_path))(awkward_pairs())]

    fresh = scores()
    assert scores() == fresh
    assert [v.value for v in CVS(settings, FeatureCache(None))(awkward_pairs())] == fresh


def test_a_picture_is_read_once_and_only_when_it_is_looked_at(tmp_path):
    picture = Picture(tmp_path / "later.png")
    drawn(1, 12, 10).save(tmp_path / "later.png")
    image = picture.image
    (tmp_path / "later.png").unlink()
    assert picture.image is image and len(picture.sha256) == 64
    assert Picture.of(Image.new("L", (3, 3))).image.mode == "RGB"
