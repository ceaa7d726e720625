"""A metric may stand more than once in a run; what it reads is in its protocol; what it cannot read is said."""

import csv
import json
from pathlib import Path

import pytest
import torch
from drawn import draw_ma5k, draw_magicbrush
from safetensors.torch import load_file
from tiny_networks import tiny_clip, tiny_trunk

from bench.metrics.lpips import LPIPS
from bench.metrics.networks import perceptual
from bench.registry import METRICS, load, metric_entry, metric_of
from bench.run import main
from bench.runs.folder import RunFolder
from bench.settings import MetricSettings
from bench.tables import main as tables


@pytest.fixture
def weights(tmp_path, monkeypatch) -> Path:
    """Where torch, worker processes too, looks for LPIPS' networks: random alex and squeeze, no vgg."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    for seed, net in enumerate(("alex", "squeeze")):
        drawn = tiny_trunk(folder / "drawn.safetensors", net, seed)
        torch.save(load_file(drawn), folder / perceptual.OFFICIAL[net])
    return folder


@pytest.fixture
def clips(tmp_path) -> tuple[str, str]:
    return tuple(str(tiny_clip(tmp_path / f"clip-{seed}", seed)) for seed in (1, 2))


def magicbrush(tmp_path: Path, *more: str) -> list[str]:
    if not (tmp_path / "data").exists():
        draw_magicbrush(tmp_path / "data" / "magicbrush", count=4)
    return ["--suite", "paper", "--data-root", str(tmp_path / "data"), "--dataset", "magicbrush", "--model", "identity",
            "--out", str(tmp_path / "runs"), "--metric-device", "cpu", "--json", *more]  # fmt: skip


def result(capsys, argv: list[str]) -> dict:
    code, said = main(argv), capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


def rows(path: Path) -> dict[str, dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return {row["metric"]: row for row in csv.DictReader(file)}


# what a name means


def test_the_variant_of_a_metric_is_the_network_or_the_captions_that_it_looks_with():
    usual = MetricSettings()
    assert metric_of("lpips@vgg", usual).lpips == "vgg" and metric_of("lpips", usual) == usual
    assert metric_of("dino@d/FILE", usual).dino == "d/FILE" and metric_of("cvs@ViT-L-14", usual).clip == "ViT-L-14"
    both = metric_of("cts@local@ViT-L-14", usual)
    assert (both.captions, both.clip) == ("local", "ViT-L-14")


def test_another_lpips_network_has_its_own_weights_and_the_suites_network_keeps_those_of_the_suite(tmp_path):
    own = MetricSettings(lpips="squeeze", lpips_weights=tmp_path / "w", lpips_heads="none")
    assert metric_of("lpips@squeeze", own) == own
    other = metric_of("lpips@alex", own)
    assert (other.lpips, other.lpips_weights, other.lpips_heads) == ("alex", None, "linear")


@pytest.mark.parametrize(
    ("name", "says"),
    [("psnr", "unknown metric 'psnr'"), ("psnr@x", "unknown metric"), ("l1@red", "l1 has no variants"),
     ("lpips@resnet", "expected lpips@alex")],
)  # fmt: skip
def test_a_variant_that_there_is_not_is_wrong_use_before_anything_is_opened(name, says, tmp_path, capsys):
    assert main(magicbrush(tmp_path, "--metrics", name)) == 2 and says in capsys.readouterr().err
    assert tables(["1", "--metrics", name]) == 2 and says in capsys.readouterr().err


def test_columns_have_readable_heads():
    names = ("lpips@vgg", "cvs@ViT-L-14-quickgelu/openai", "cvs@/elsewhere/my-clip", "cts@local", "lpips")
    assert [metric_entry(n).printed for n in names] == [
        "LPIPS vgg",
        "CVS ViT-L-14-quickgelu",
        "CVS my-clip",
        "CTS local",
        "LPIPS",
    ]


# side by side


@pytest.mark.slow
def test_a_table_has_two_lpips_columns_and_made_again_it_computes_nothing(tmp_path, weights, capsys, monkeypatch):
    draw_ma5k(tmp_path / "data" / "ma5k")
    argv = ["1", "--suite", "paper", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "runs"),
            "--results", str(tmp_path / "results"), "--datasets", "ma5k", "--models", "identity", "--seeds", "1",
            "--limit", "3", "--metric-device", "cpu", "--metrics"]  # fmt: skip
    assert tables([*argv, "lpips@alex,lpips@squeeze"]) == 0
    said = capsys.readouterr()
    assert "LPIPS alex ↓" in said.out and "LPIPS squeeze ↓" in said.out and "to run" in said.err
    written = tmp_path / "results" / "paper"
    (table,) = (p for p in written.glob("table1-limit3-seeds1-only-*.csv") if "tests" not in p.name)
    before, first = table.read_bytes(), rows(table)
    alex, squeeze = (first[f"lpips@{net}"] for net in ("alex", "squeeze"))
    assert float(alex["mean"]) > 0 and alex["mean"] != squeeze["mean"]
    assert "lpips: alex" in alex["protocol"] and "lpips: squeeze" in squeeze["protocol"]

    with monkeypatch.context() as refused:
        refused.setattr(LPIPS, "of", lambda metric, pair: pytest.fail("a score was computed again"))
        assert tables([*argv, "lpips@alex,lpips@squeeze"]) == 0
        assert "to run" not in capsys.readouterr().err and table.read_bytes() == before

    # one that was not there yet is added to the run; it lacks its network, and the others have their numbers
    assert tables([*argv, "lpips@alex,lpips@vgg,lpips"]) == 0
    capsys.readouterr()
    (other,) = (p for p in written.glob("table1-*.csv") if "tests" not in p.name and p != table)
    again = rows(other)
    assert again["lpips@alex"] == alex and again["lpips"]["mean"] == alex["mean"]
    assert "not run: LPIPS vgg" in again["lpips@vgg"]["reason"] and again["lpips@vgg"]["mean"] == ""
    (folder,) = (tmp_path / "runs" / "paper").iterdir()
    done = RunFolder(folder).done()
    assert set(done["metrics"]) == {"lpips@alex", "lpips@squeeze", "lpips"} and set(done["not_run"]) == {"lpips@vgg"}


def test_a_run_that_is_asked_for_more_keeps_what_it_has(tmp_path, clips, capsys, monkeypatch):
    first, second = clips
    one = result(capsys, magicbrush(tmp_path, "--metrics", f"cvs@{first}"))
    monkeypatch.setattr(load(METRICS, "l1", "metric"), "__call__", lambda metric, pairs: pytest.fail("l1 again"))
    both = result(capsys, magicbrush(tmp_path, "--metrics", f"cvs@{second},cvs@{first}"))
    assert both["metrics"][f"cvs@{first}"] == one["metrics"][f"cvs@{first}"] and both["run"] == one["run"]
    means = [both["metrics"][f"cvs@{clip}"]["mean"] for clip in clips]
    assert means[0] != means[1]
    assert len({s.protocol for s in RunFolder(Path(one["run"])).every_score().values()}) == 2


def test_one_name_under_two_networks_keeps_both_and_each_command_reads_its_own(tmp_path, clips, capsys):
    shown = [
        result(capsys, magicbrush(tmp_path, "--metrics", "cvs", "--clip", clip))["metrics"]["cvs"] for clip in clips
    ]
    assert shown[0]["mean"] != shown[1]["mean"]
    lines = (Path(RunFolder(next((tmp_path / "runs" / "paper").iterdir())).path) / "scores.jsonl").read_bytes()
    for clip, before in zip(clips, shown, strict=True):
        again = result(capsys, magicbrush(tmp_path, "--metrics", "cvs", "--clip", clip))
        assert again["metrics"]["cvs"] == before
    folder = RunFolder(next((tmp_path / "runs" / "paper").iterdir()))
    assert (folder.path / "scores.jsonl").read_bytes() == lines
    by_default = {s.protocol for s in folder.scores().values()}
    assert by_default == {shown[1]["protocol"]}  # the one it was last asked for


# captions


def test_local_and_global_captions_stand_side_by_side_and_are_those_of_the_flag(tmp_path, clips, capsys):
    asked = ["--clip", clips[0], "--metrics"]
    both = result(capsys, magicbrush(tmp_path, *asked, "cts@local,cts@global"))["metrics"]
    assert both["cts@local"]["mean"] != both["cts@global"]["mean"]
    for kind in ("local", "global"):
        alone = result(capsys, magicbrush(tmp_path, *asked, "cts", "--caption", kind))["metrics"]["cts"]
        assert alone["mean"] == both[f"cts@{kind}"]["mean"]
        assert f"{kind} goal caption" in alone["protocol"] and alone["protocol"] == both[f"cts@{kind}"]["protocol"]


def test_a_kind_of_captions_of_which_there_is_no_file_is_refused_by_name_before_the_run(tmp_path, clips, capsys):
    argv = magicbrush(tmp_path, "--clip", clips[0], "--metrics", "cts@local,cts")
    (tmp_path / "data" / "magicbrush" / "test" / "local_descriptions.json").unlink()
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert "no goal captions" in said and "local_descriptions.json" in said and "cts@global" in said
    assert "python -m bench.fetch magicbrush" in said and not (tmp_path / "runs").exists()


def test_captions_are_looked_for_before_the_run_by_the_kind_that_each_metric_reads(tmp_path, clips, capsys):
    argv = magicbrush(tmp_path, "--clip", clips[0], "--metrics", "cts@local,cts@global,cts")
    path = tmp_path / "data" / "magicbrush" / "test" / "global_descriptions.json"
    captions = json.loads(path.read_text())
    first = next(iter(captions.values()))
    first.update(dict.fromkeys(first, " "))
    path.write_text(json.dumps(captions))
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert "no usable global goal caption: they will have no cts@global, cts; first" in said
    assert "local" not in said
    path.with_name("local_descriptions.json").write_text("{}")
    assert main(argv) == 0
    assert "no example has a local goal caption: cts@local will have no value" in capsys.readouterr().err


def test_blank_captions_have_no_value(tmp_path, clips, capsys):
    argv = magicbrush(tmp_path, "--clip", clips[0], "--metrics", "cts")
    path = tmp_path / "data" / "magicbrush" / "test" / "global_descriptions.json"
    captions = json.loads(path.read_text())
    whole = result(capsys, argv)["metrics"]["cts"]
    for text, named in zip(("", "  \n"), captions.values(), strict=False):
        named.update(dict.fromkeys(named, text))
    path.write_text(json.dumps(captions))
    found = result(capsys, argv)["metrics"]["cts"]
    assert 0 < found["n"] < whole["n"] and "no goal caption" in found["reason"]


@pytest.mark.parametrize("words", [360, 60])
def test_texts_that_are_cut_are_counted_once_an_example_and_said(tmp_path, clips, capsys, words):
    argv = magicbrush(tmp_path, "--clip", clips[0], "--metrics", "cts,clip_s")
    path = tmp_path / "data" / "magicbrush" / "test" / "global_descriptions.json"
    captions = json.loads(path.read_text())
    img_id, named = next(iter(captions.items()))
    named.update(dict.fromkeys(named, "dog " * words))
    turns = sum(f"{img_id}-output" in name for name in named)
    path.write_text(json.dumps(captions))
    found = result(capsys, argv)["metrics"]
    assert found["cts"]["cut"] == f"{turns if words > 75 else 0} of {found['cts']['n']} texts cut at 77 tokens"
    assert found["clip_s"]["cut"] == f"0 of {found['cts']['n']} texts cut at 77 tokens"
    again = result(capsys, argv)["metrics"]  # nothing is encoded a second time, and it is still known
    assert again["cts"]["cut"] == found["cts"]["cut"]
    argv.remove("--json")
    assert main(argv) == 0 and found["cts"]["cut"] in " ".join(capsys.readouterr().out.split())
    table = ["1", *argv[:4], "--datasets", "magicbrush", "--models", "identity", "--seeds", "1", *argv[8:]]
    assert tables([*table, "--results", str(tmp_path / "results")]) == 0
    text = next((tmp_path / "results" / "paper").glob("table1-*.md")).read_text(encoding="utf-8")
    assert (f"{turns} of {found['cts']['n']} texts cut at 77 tokens" in text) == (words > 75)
