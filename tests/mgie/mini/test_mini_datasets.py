"""The miniature's five datasets: official layouts, counts, groups, the quick subset, and draws that are cut short."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.datasets.masks import load_mask
from bench.datasets.mini import Mini
from bench.settings import DataSettings
from mgie.io import images
from mgie.mini.datasets import draw as layouts
from mgie.mini.datasets.writer import Parameters
from mgie.mini.world import examples as world
from mgie.mini.world.assets import photographs

NAMES = ("evr", "gier", "ma5k", "magicbrush", "ipr2pr")
SMALL = Parameters(size=48, train=25, val=10, test=50, ipr2pr=40)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools, numpy 2
REPOSITORY = Path(layouts.__file__).parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    layouts.draw(root, SMALL)
    return root


def mini(root: Path, name: str, **settings) -> Mini:
    return Mini(name, root, DataSettings(**settings), SMALL)


@pytest.mark.parametrize("name", NAMES)
def test_each_dataset_is_read_by_its_big_sisters_loader_and_whole(root, name):
    for split in ("train", "val", "test"):
        dataset = mini(root, name, split=split)
        examples = dataset.examples()
        assert len({e.id for e in examples}) == len(examples) > 0
        for example in examples:
            before, after = images.load(example.input_image), images.load(example.goal_image)
            assert before.size == after.size == (48, 48) and before.tobytes() != after.tobytes()
            assert example.instruction.strip()
            facts = dataset.facts(example.id)
            assert photographs()[facts.photograph].split == split == facts.split
            assert example.group == facts.photograph
            if example.mask:
                mask = load_mask(example.mask, before.size)
                assert mask.shape == (48, 48) and mask.any()


@pytest.mark.parametrize("name", ["evr", "gier", "ma5k", "magicbrush"])
def test_a_test_split_has_exactly_as_many_scored_examples_as_asked_for(root, name):
    assert sum(e.scored for e in mini(root, name).examples()) == SMALL.test


def test_the_default_sizes_are_the_published_ones():
    assert Parameters() == Parameters(size=64, train=600, val=64, test=200, ipr2pr=4000)
    stored = json.loads((layouts.ASSETS / "world.json").read_text())
    assert set(stored["drawn"]) == set(stored["decoded"]) == set(NAMES)
    assert stored["parameters"] == {"size": 64, "train": 600, "val": 64, "test": 200, "ipr2pr": 4000}


def test_no_photograph_is_in_two_splits_of_any_dataset(root):
    for name in NAMES:
        groups = [{e.group for e in mini(root, name, split=s).examples()} for s in ("train", "val", "test")]
        assert not groups[0] & groups[2] and not groups[0] & groups[1] and not groups[1] & groups[2]


@pytest.mark.parametrize("name", NAMES)
def test_the_quick_subset_is_on_distinct_photographs_and_part_of_test(root, name):
    quick, test = mini(root, name, split="quick").examples(), mini(root, name).examples()
    photos = {e.group for e in test}
    assert len(quick) == len({e.group for e in quick}) == min(32, len(photos))
    order = [e.id for e in test]
    assert [e.id for e in quick] == [i for i in order if i in {e.id for e in quick}]
    assert quick == mini(root, name, split="quick").examples()


def test_quick_sessions_bring_the_turns_they_need(root):
    quick = mini(root, "magicbrush", split="quick", turns="multi").examples()
    ids = [e.id for e in quick]
    scored = [e for e in quick if e.scored]
    assert len({e.group for e in scored}) == len(scored)
    for example in quick:
        assert example.previous is None or example.previous in ids[: ids.index(example.id)]
    assert any(not e.scored for e in quick)


def test_limit_counts_scored_examples(root):
    assert len(mini(root, "evr", limit=3).examples()) == 3
    limited = mini(root, "magicbrush", turns="multi", limit=4).examples()
    assert sum(e.scored for e in limited) == 4


@pytest.mark.parametrize("name", NAMES)
def test_causes_come_round_equally_often(root, name):
    """In the first turns and single edits, which are planned: at most one apart."""
    lines = (mini(root, name).folder / "facts.jsonl").read_text().splitlines()
    for split in ("train", "test"):
        counts: dict[str, Counter] = {}
        for facts in map(json.loads, lines):
            later_turn = name == "magicbrush" and not facts["unit"].endswith("-1")
            twice = name == "ma5k"  # two experts a fault, see below
            if facts["split"] == split and facts["ambiguous"] and not later_turn and not twice:
                counts.setdefault(facts["family"], Counter())[facts["cause"]] += 1
        for family, causes in counts.items():
            every = [causes[c] for c in world.FAMILIES[family].causes]
            assert max(every) - min(every) <= 1, (family, causes)


def test_ma5k_numbers_have_five_experts_and_two_undo_the_fault(root):
    dataset = mini(root, "ma5k")
    records = json.loads((dataset.folder / "annotations" / "test_sess_1.json").read_text())
    inputs = Counter(record["input"] for record in records)
    assert set(inputs.values()) == {5}
    for name in inputs:
        five = [r for r in records if r["input"] == name]
        assert [r["output"][5] for r in five] == list("ABCDE")
        facts = [dataset.facts(f"ma5k/test/{Path(r['output']).stem}") for r in five]
        assert sum(f.ambiguous for f in facts) == 2
        assert len({r["request"] for r in five}) == 5
    with Image.open(dataset.folder / "images" / records[0]["input"]) as image:
        assert image.format == "JPEG" and image.layer[0][1:3] == image.layer[1][1:3]  # 4:4:4


def test_evr_has_one_sentence_in_train_and_three_elsewhere(root):
    folder = mini(root, "evr").folder
    train, test = (json.loads((folder / f"dataset/adobe/{s}.json").read_text()) for s in ("train", "test"))
    assert {len(r["sents"]) for r in train} == {1}
    assert [len(r["sents"]) for r in test[:-1]] == [3] * (len(test) - 1)
    assert all(r["img0"] != r["img1"] for r in train + test)
    assert len({r["uid"] for r in train + test}) == len(train + test)


def test_gier_masks_do_not_overlap_and_local_operators_point_into_them(root):
    from pycocotools import mask as coco

    folder = mini(root, "gier").folder
    records = json.loads((folder / "GIER.json").read_text())
    assert any(len(r["operator"]) == 2 for r in records) and any(len(r["operator"]) == 1 for r in records)
    for record in records:
        stem = record["input"].removesuffix(".png")
        decoded = [coco.decode(m) for m in json.loads((folder / "masks" / f"{stem}_mask.json").read_text())]
        assert (sum(m.astype(int) for m in decoded) == 1).all()
        for operator in record["operator"].values():
            assert operator["local"] == bool(operator["ids"])
            assert all(i < len(decoded) for i in operator["ids"])
        assert record["expert_summary"] and record["amateur_summary"]


def test_magicbrush_turns_chain_and_masks_are_transparent_where_pixels_change(root):
    folder = mini(root, "magicbrush").folder / "test"
    sessions = json.loads((folder / "edit_sessions.json").read_text())
    assert {len(turns) for turns in sessions.values()} == {1, 2, 3}
    turns = json.loads((folder / "edit_turns.json").read_text())
    assert [turn for session in sessions.values() for turn in session] == turns
    described = {k: json.loads((folder / f"{k}_descriptions.json").read_text()) for k in ("global", "local")}
    for img_id, turns in sessions.items():
        assert set(described["global"][img_id]) == {turns[0]["input"], *(t["output"] for t in turns)}
        assert set(described["local"][img_id]) == {t["output"] for t in turns}
        for n, turn in enumerate(turns):
            assert turn["input"] == (turns[n - 1]["output"] if n else f"{img_id}-input.png")
            place = folder / "images" / img_id
            before, after = (np.asarray(Image.open(place / turn[k])).astype(int) for k in ("input", "output"))
            alpha = np.asarray(Image.open(place / turn["mask"]))[..., 3]
            assert set(np.unique(alpha)) <= {0, 255}
            assert not np.abs(after - before)[alpha == 255].any()


def test_ipr2pr_carries_the_expressive_instructions_of_every_pair(root):
    dataset = mini(root, "ipr2pr", split="train")
    expressive = json.loads((dataset.folder / "ipr2pr_expressive.json").read_text())
    for example in dataset.examples():
        entry = expressive[f"{example.id.rpartition('/')[2]}_0"]
        assert entry["instruction"] == example.instruction
        assert entry["expressive"] == dataset.facts(example.id).expressive_instruction
    assert {dataset.facts(e.id).family for e in dataset.examples()} == set(world.FAMILIES)


def test_drawing_twice_gives_the_same_files(root, tmp_path):
    other = layouts.draw(tmp_path, SMALL)
    ours = root / other.name
    files = sorted(p.relative_to(ours) for p in ours.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(other) for p in other.rglob("*") if p.is_file())
    assert all((ours / f).read_bytes() == (other / f).read_bytes() for f in files)


def test_other_parameters_have_another_folder():
    assert len({SMALL.hash8, Parameters().hash8, Parameters(size=96).hash8, Parameters(draw="x").hash8}) == 4


@pytest.mark.parametrize("name", ["evr", "gier", "ma5k", "magicbrush"])
def test_split_fresh_has_as_many_other_edits_of_the_test_photographs(root, name):
    fresh, test = mini(root, name, split="fresh").examples(), mini(root, name).examples()
    assert sum(e.scored for e in fresh) == sum(e.scored for e in test) == SMALL.test
    assert all(photographs()[e.group].split == "test" for e in fresh)
    edits = [
        {tuple(images.load(i).tobytes() for i in (e.input_image, e.goal_image)) for e in some} for some in (fresh, test)
    ]  # goals alone may be equal: a plain backdrop with its only object removed
    assert not edits[0] & edits[1]
    assert mini(root, name, split="fresh").folder != mini(root, name).folder


def test_a_photograph_that_shows_too_few_retouchings_is_drawn_again(monkeypatch):
    from mgie.mini.datasets import ma5k as layout_ma5k
    from mgie.mini.datasets.facts import Slot
    from mgie.mini.world.assets import of_split
    from mgie.mini.world.dice import Dice

    seen, given = [], layout_ma5k.retouchings

    def fewer_at_first(dice, base):
        seen.append(base.input_image.tobytes())
        return given(dice, base)[: 4 if len(seen) < 3 else 5]

    monkeypatch.setattr(layout_ma5k, "retouchings", fewer_at_first)
    slot = Slot("fix-light", "too dark", of_split("test")[0])
    base, edits = layout_ma5k.retouched_photograph(Dice("again"), "again", "test", 48, slot)
    assert len(edits) == 5 and len(set(seen)) == 3 and base.input_image.tobytes() == seen[-1]


def tiny_draw(root: Path) -> subprocess.Popen:
    code = (
        "from pathlib import Path; from mgie.mini.datasets.draw import draw; "
        "from mgie.mini.datasets.writer import Parameters; import sys; "
        "print(draw(Path(sys.argv[1]), Parameters(size=48, train=25, val=10, test=50, ipr2pr=40)))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code, str(root)], cwd=REPOSITORY, env=environment,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # fmt: skip


def test_a_killed_draw_leaves_no_half_folder_and_the_next_one_finishes(tmp_path):
    process = tiny_draw(tmp_path)
    part = tmp_path / f".mini-{SMALL.hash8}.partial"
    deadline = time.monotonic() + 60
    while not (part / "gier").is_dir() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert part.is_dir() and not list(tmp_path.glob("mini-*"))
    folder = layouts.draw(tmp_path, SMALL)
    assert (folder / "drawn.json").is_file() and not part.exists()
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == sorted(NAMES)


def test_two_processes_at_once_end_with_one_whole_folder(tmp_path):
    processes = [tiny_draw(tmp_path) for _ in range(2)]
    told = {process.communicate(timeout=120)[0].strip() for process in processes}
    assert [p.returncode for p in processes] == [0, 0]
    assert told == {str(tmp_path / f"mini-{SMALL.hash8}")}
    assert len(list((tmp_path / f"mini-{SMALL.hash8}" / "ipr2pr").glob("*/prompt.json"))) == SMALL.ipr2pr


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(writer, parameters):
        writer.text("GIER.json", [])
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(layouts.WRITERS, "gier", full)
    with pytest.raises(OSError, match="No space left"):
        layouts.draw(tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


def test_a_size_that_cannot_be_drawn_is_refused_and_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError, match="size 16 px is outside"):
        layouts.draw(tmp_path, Parameters(size=16, train=5, val=5, test=5, ipr2pr=20))
    assert not list(tmp_path.glob("mini-*"))


def test_pixels_other_than_the_stored_ones_are_refused():
    stored = json.loads((layouts.ASSETS / "world.json").read_text())
    hashes = {"drawn": dict(stored["drawn"]), "decoded": dict(stored["decoded"])}
    layouts.check(hashes, Parameters())
    hashes["drawn"]["evr"] = "0" * 64
    with pytest.raises(ValueError, match="evr came out other than stored"):
        layouts.check(hashes, Parameters())


def test_another_jpeg_coder_is_a_warning_only(capsys):
    stored = json.loads((layouts.ASSETS / "world.json").read_text())
    hashes = {"drawn": dict(stored["drawn"]), "decoded": {**stored["decoded"], "ma5k": "0" * 64}}
    layouts.check(hashes, Parameters())
    assert "JPEG coder gives other pixels for ma5k" in capsys.readouterr().err


def test_an_unknown_split_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="unknown split 'dev'; known: quick, test, train, val, fresh"):
        Mini("evr", tmp_path, DataSettings(split="dev"))
    assert not list(tmp_path.iterdir())


def test_sheets_show_every_family(tmp_path, monkeypatch):
    from mgie.mini import sheets

    monkeypatch.setattr(sheets, "ROWS", 1)
    monkeypatch.setattr(sheets, "FAMILIES", {k: world.FAMILIES[k] for k in ("add", "fix-light")})
    assert sheets.main(["--out", str(tmp_path), "--size", "48"]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "add.png", "fix-light.png", "overview.png"]
    assert "| [add](add.png) |" in (tmp_path / "README.md").read_text()
