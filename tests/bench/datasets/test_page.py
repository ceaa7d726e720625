"""The project page's examples looked up in official files: the size rule that their pixels tell."""

import json

import pytest
from drawn import draw_ma5k, draw_magicbrush, picture, save
from PIL import Image

from bench import audit
from bench.datasets import page
from bench.datasets.ma5k import MA5k
from bench.datasets.published import Published
from bench.records import Example
from bench.settings import DataSettings
from mgie.io.sizes import sized


@pytest.fixture
def data(tmp_path, monkeypatch):
    """MA5k with inputs of all shapes, and a page whose examples are MA5k's, made by a rule that the test names."""
    draw_ma5k(tmp_path / "ma5k")
    listed = MA5k(tmp_path / "ma5k", DataSettings()).examples()
    inputs = list(dict.fromkeys(e.input_image for e in listed))
    for place, path in enumerate(inputs):  # soft, so that JPEG and enlarging change little
        picture(place, (6, 4)).resize((640, 420) if place % 2 else (400, 600), Image.Resampling.BICUBIC).save(path)
    shown = [next(e for e in listed if e.input_image == path) for path in inputs]

    def made(rule: str):
        examples = []
        for place, e in enumerate(shown):
            image = Image.open(e.input_image).convert("RGB")
            image = image.resize((512, 512)) if rule == page.STRETCHED else sized(image, rule)
            save(tmp_path / "published" / f"{place}.jpg", image, quality=90)
            examples.append(
                Example(f"ma5k/published/{place}", f"{place}", tmp_path / "published" / f"{place}.jpg",
                        f" {e.instruction.upper()}. ")
            )  # fmt: skip
        unknown = Example("ma5k/published/9", "9", tmp_path / "published" / "0.jpg", "nobody said this")
        monkeypatch.setattr(Published, "examples", lambda self: [*examples, unknown])
        return shown

    return tmp_path, made


@pytest.mark.parametrize("rule", ["authors", page.STRETCHED])
def test_the_rule_that_made_the_page_is_found_by_its_pixels(data, rule, capsys):
    root, made = data
    shown = made(rule)
    found = page.look_up(root, "ma5k")
    assert [f.agrees for f in found[:-1]] == [rule] * len(shown)
    assert all(f.differences[rule] < page.AGREES for f in found[:-1])
    assert found[-1].official == "" and "no official example" in found[-1].note
    assert audit.main(["--published", "--data-root", str(root)]) == 0
    said = capsys.readouterr().out
    assert f"{len(shown)} that tell one rule from the others, it is: {rule} {len(shown)}" in said
    assert ("no assumption any more" in said) == (rule == "authors")


def test_a_page_of_other_pictures_agrees_with_nothing(data, capsys):
    root, made = data
    made("authors")
    for place, path in enumerate(sorted((root / "published").glob("*.jpg"))):
        picture(100 + place, (512, 512)).save(path)
    assert audit.main(["--published", "--data-root", str(root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert all(one["agrees"] == "" for one in said["examples"]) and "stays an assumption" in said["verdict"]


def test_squares_tell_nothing(tmp_path, monkeypatch):
    draw_magicbrush(tmp_path / "magicbrush")
    for path in (tmp_path / "magicbrush" / "test" / "images").rglob("*-input.png"):
        picture(len(path.name), (6, 6)).resize((512, 512), Image.Resampling.BICUBIC).save(path)
    first = next(iter(page.official(tmp_path / "magicbrush", "magicbrush")))
    monkeypatch.setattr(Published, "examples", lambda self: [first])
    (found,) = page.look_up(tmp_path, "magicbrush")
    assert found.agrees == "authors" and "a square already" in found.note
    assert "stays an assumption" in page.verdict_of([found])


def test_without_official_files_it_is_said_what_is_missing(tmp_path, capsys):
    assert audit.main(["--published", "--data-root", str(tmp_path)]) == 2
    assert "none of evr, gier, ma5k, magicbrush, ipr2pr" in capsys.readouterr().err


def test_a_dataset_without_its_annotations_is_left_out_by_name_and_the_others_are_looked_up(data, capsys):
    root, made = data
    shown = made("authors")
    (root / "gier").mkdir()
    assert audit.main(["--published", "--data-root", str(root), "--json"]) == 0
    said = capsys.readouterr()
    assert "gier is left out: GIER: no file" in said.err and "python -m bench.fetch gier" in said.err
    found = json.loads(said.out)
    assert list(found["left out"]) == ["gier"] and len(found["examples"]) == len(shown) + 1
    for path in (root / "ma5k").rglob("*.json"):
        path.unlink()
    assert audit.main(["--published", "--data-root", str(root)]) == 2
    assert "ma5k is left out" in capsys.readouterr().err


def found_by(*rules: str) -> list[page.Found]:
    return [page.Found(f"ma5k/published/{place}", "x", {}, rule) for place, rule in enumerate(rules)]


def test_the_verdict_goes_by_share_and_names_the_exceptions():
    stray = page.verdict_of(found_by(*["authors"] * 29, "stretched"))
    assert "holds for 29 of 30; not for ma5k/published/29 (stretched)" in stray and "does not hold" not in stray
    assert page.verdict_of(found_by(*["native"] * 4)).endswith("--size authors does not hold")
    many = page.verdict_of(found_by("authors", *["native"] * 7))
    assert "holds for 1 of 8; not for" in many and many.endswith("ma5k/published/5 (native) and 2 more")
