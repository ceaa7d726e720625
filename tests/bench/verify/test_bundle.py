"""Handing in and verifying: an honest bundle verifies elsewhere; what is changed in one is named; none can do harm."""

import io
import json
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from drawn import picture
from handed_in import check, ending, listed_anew, members, packed

from bench.bundle.__main__ import main as bundle
from bench.bundle.private import Private
from bench.given.fits import Asked
from bench.given.named import BUNDLES, With, found
from bench.run import main as bench_run
from bench.runs.folder import RunFolder
from bench.settings import DataSettings
from bench.verify.__main__ import main as verify


def test_an_honest_bundle_verifies_with_somebody_elses_data_and_can_be_a_row(world, tmp_path, capsys):
    shutil.copytree(world / "data", tmp_path / "other")
    archive = Path(shutil.copy(world / "near.zip", tmp_path / "got.zip"))
    out = tmp_path / "runs"
    assert verify([str(archive), "--data-root", str(tmp_path / "other"), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "7 outputs by their pixels" in said and "7 of l1, 7 of ssim (largest difference 0)" in said
    assert "WRONG" not in said and "not checked: how the outputs were made" in said
    asked = Asked("paper", DataSettings())
    ((run,), _) = found([With(str(archive))], ["magicbrush"], out, asked)
    assert run.name == "near" and "verified here" in run.said and RunFolder(run.folder).done()
    assert not [p for p in (out / BUNDLES).iterdir() if p.name.startswith(".")]
    archive.write_bytes(archive.read_bytes() + b" ")
    with pytest.raises(ValueError, match="not a bundle that was verified here; first: python -m bench.verify"):
        found([With(str(archive))], ["magicbrush"], out, asked)


def test_nothing_in_a_bundle_says_whose_machine_it_was(world):
    for name, data in members(world / "near.zip").items():
        text = data.decode("latin-1")
        for private in (str(world), str(Path.home()) + "/", str(Path.cwd()), "somebodys home", "/tmp/"):
            assert private not in text, f"{name} holds {private}"
    files = members(world / "near.zip")
    assert "command" in files[ending(files, "sessions.jsonl")].decode()  # cut, not left out


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("unreadable: /disk/own/my data/x.png: cannot be decoded", "unreadable: …/x.png: cannot be decoded"),
        ("C:\\Users\\me\\x.png", "…/x.png"),
        ("~me/secret/x.png, ~/y.png", "…/x.png, …/y.png"),
        ("diffusers:/disk/own/pipe", "diffusers:…/pipe"),
        ("cosine output/goal, open_clip ViT-B-32/openai", "cosine output/goal, open_clip ViT-B-32/openai"),
        ("magicbrush/test/1-1", "magicbrush/test/1-1"),
        ("TypeError: <class 'x'>, 1 < 2", "TypeError: ‹class 'x'>, 1 < 2"),
        ("https://mllm-ie.github.io/x/y", "https://mllm-ie.github.io/x/y"),
        ("https://alice:word@host/x/y.png: 404", "…/y.png: 404"),
        ("--clip ViT-B-32-quickgelu//mnt/alice/clip.pt: none", "--clip ViT-B-32-quickgelu/…/clip.pt: none"),
        ("s3://alice-bucket/x.png: denied", "…/x.png: denied"),
        ("s3://alice-bucket", "…"),
        ("file:///home/alice/x.png", "…/x.png"),
        ("\\\\server\\alice\\x.png", "…/x.png"),
        ("no such file: 'C:\\\\Users\\\\alice\\\\x'", "no such file: '…/x'"),
        ("../../alice/out/x.png: no such", "…/x.png: no such"),
        ("at ../x.png, ./alice/x.png", "at …/x.png, …/x.png"),
        ("[Errno 2] '/my files/alice smith/x.png'", "[Errno 2] '…/x.png'"),
        ("unreadable: /my files/alice smith/x.png: cannot", "unreadable: …/x.png: cannot"),
        ("mean over a / b / c, 1/2, and/or", "mean over a / b / c, 1/2, and/or"),
    ],
)
def test_of_a_path_the_last_part_is_kept_and_other_words_as_they_are(text, clean):
    assert Private({"/disk/own/my data"}).text(text) == clean


def test_the_places_of_a_command_line_are_cut_however_they_are_written():
    words = ["--images", "../john/out", "--data-root=s3://bucket/johns", "--clip", "ViT-L-14/openai", "--model", "mine",
             "--rewrite", "johns/texts.jsonl"]  # fmt: skip
    assert Private(set()).command(words) == [
        "--images", "…/out", "--data-root=…/johns", "--clip", "ViT-L-14/openai", "--model", "mine",
        "--rewrite", "…/texts.jsonl",
    ]  # fmt: skip
    words = ["--clip", "ViT-B-32//mnt/john/clip.pt", "--clip=../john/clip", "--dino", "john-secret/dino", "--dino",
             "timm/vit_small_patch16_224.dino", "--data", "john/data", "--with", "john/runs/x"]  # fmt: skip
    assert Private(set()).command(words) == [
        "--clip", "ViT-B-32/…/clip.pt", "--clip=…/clip", "--dino", "…/dino", "--dino",
        "timm/vit_small_patch16_224.dino", "--data", "…/data", "--with", "…/x",
    ]  # fmt: skip


def test_no_file_of_a_bundle_says_where_networks_and_data_lay(world, tmp_path):
    """In the settings of scores, reasons of failures and the command, by whichever form they were named."""
    (folder,) = (world / "runs" / "paper").glob("magicbrush--near--*")
    run = RunFolder(Path(shutil.copytree(folder, tmp_path / folder.name)))
    done = run.done()
    for entry, clip in zip(done["scored"], ("ViT-B-32//mnt/alice/clip.pt", "alice/models/clip"), strict=True):
        entry["settings"] |= {"clip": clip, "dino": "alice-secret/dino", "lpips_weights": "alice/squeeze.pt"}
    run.finish(done)
    session = run.sessions()[0] | {"command": ["--data-root", "alice/data", "--clip", "alice/clip"]}
    run.rewrite("sessions.jsonl", [session | {"data_root": "alice/data"}])
    run.append("failures.jsonl", [{"reason": "unreadable: alice/data/magicbrush/x.png: cut short"}])
    assert bundle([str(run.path), "-o", str(tmp_path / "x.zip")]) == 0
    text = "".join(data.decode() for name, data in members(tmp_path / "x.zip").items() if not name.endswith(".png"))
    assert "alice" not in text and "unreadable: …/x.png: cut short" in text
    assert "ViT-B-32/…/clip.pt" in text


def pixel(files):
    name = ending(files, ".png")
    from PIL import Image

    image = Image.open(io.BytesIO(files[name])).convert("RGB")
    image.putpixel((3, 3), (1, 2, 3))
    data = io.BytesIO()
    image.save(data, format="PNG")
    return {name: data.getvalue()}, name.split("/", 1)[1]


def score(files):
    name = ending(files, "scores.jsonl")
    lines = files[name].decode().splitlines()
    line = json.loads(lines[0])
    lines[0] = json.dumps(line | {"value": line["value"] + 0.001})
    return {name: ("\n".join(lines) + "\n").encode()}, f"{line['metric']} of {line['example_id']}"


def line_gone(files):
    name = ending(files, "scores.jsonl")
    first, rest = files[name].split(b"\n", 1)
    return {name: rest}, f"of {json.loads(first)['example_id']}, seed 0, is missing"


def group(files):
    name = ending(files, "scores.jsonl")
    lines = files[name].decode().splitlines()
    line = json.loads(lines[0])
    lines[0] = json.dumps(line | {"group": "another"})
    return {name: ("\n".join(lines) + "\n").encode()}, "its group is 'another'"


def setting(files):
    name = ending(files, "run.json")
    run = json.loads(files[name])
    run["edit"]["guidance_scale"] = 3.5
    return {name: json.dumps(run).encode()}, "its settings are not those that the name of the run was made of"


def count(files):
    name = ending(files, "done.json")
    done = json.loads(files[name])
    return {name: json.dumps(done | {"n": 6}).encode()}, "done.json, n: it says 6, there are 7"


def elsewhere(files):
    name = ending(files, "edits.jsonl")
    return {name: files[name].replace(b'"images/0/', b'"../../images/0/', 1)}, "is said to lie at '../../images/0/"


def markup(files):
    name = ending(files, "run.json")
    run = json.loads(files[name])
    return {name: json.dumps(run | {"note": "<script>alert(1)</script>"}).encode()}, "it holds markup"


def no_json(files):
    return {ending(files, "done.json"): b"[1, "}, "is not JSON"


@pytest.mark.parametrize("plant", [pixel, score, line_gone, group, setting, count, elsewhere, markup, no_json])
@pytest.mark.parametrize("forged", [False, True], ids=["careless", "forged"])
def test_what_was_changed_is_named_even_where_the_list_was_made_anew(plant, forged, world, tmp_path, capsys):
    files = members(world / "near.zip")
    change, said = plant(files)
    files = files | change
    archive = packed(listed_anew(files) if forged else files, tmp_path / "x.zip")
    assert check(archive, world, tmp_path / "runs") == 1
    text = capsys.readouterr().out
    assert said in text and "NOT verified" in text
    (name,) = change
    assert forged or f"{name.split('/', 1)[1]} is not the file that was handed in" in text
    assert not list((tmp_path / "runs" / BUNDLES).iterdir())


@pytest.mark.parametrize("end", [".png", "scores.jsonl", "run.json", "done.json"])
def test_a_missing_file_is_named(end, world, tmp_path, capsys):
    files = members(world / "near.zip")
    name = ending(files, end)
    del files[name]
    assert check(packed(files, tmp_path / "x.zip"), world, tmp_path / "runs") == 1
    assert f"{name.split('/', 1)[1]} is missing" in capsys.readouterr().out
    assert check(packed(listed_anew(files), tmp_path / "y.zip"), world, tmp_path / "runs") == 1
    assert "missing" in capsys.readouterr().out


def link(to: Path, files: dict[str, bytes]) -> Path:
    packed(files, to)
    with zipfile.ZipFile(to, "a") as archive:
        info = zipfile.ZipInfo(f"{ending(files, 'run.json').split('/')[0]}/halvings.jsonl")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return to


def twice(to: Path, files: dict[str, bytes]) -> Path:
    packed(files, to)
    with pytest.warns(UserWarning), zipfile.ZipFile(to, "a") as archive:
        archive.writestr("bundle.json", "{}")
    return to


LISTED_OUTSIDE = b'"files": {"../../etc/passwd": {"bytes": 1, "sha256": "x"},'
HOSTILE = {
    "a path outside": (lambda to, f: packed(f | {"../evil.txt": b"x"}, to), "'../evil.txt' would lead out"),
    "an absolute path": (lambda to, f: packed(f | {f"{to.parent.parent}/evil.txt": b"x"}, to), "would lead out"),
    "a path outside in the middle": (lambda to, f: packed(f | {"a/../../evil": b"x"}, to), "would lead out"),
    "a backslash": (lambda to, f: packed(f | {"..\\evil.txt": b"x"}, to), "would lead out"),
    "a link": (link, "is a link"),
    "a name twice": (twice, "its member 'bundle.json' is there twice"),
    "a bomb": (lambda to, f: packed(f | {ending(f, "failures.jsonl"): b"\n" * (300 << 20)}, to), "it would unpack to"),
    "a program": (lambda to, f: packed(listed_anew(f | {"run.sh": b"rm"}), to), "'run.sh', which is no file"),
    "a program in a run": (
        lambda to, f: packed(listed_anew(f | {ending(f, "run.json").replace("run.json", "x.py"): b"x"}), to),
        "does not belong in a bundle",
    ),
    "an unlisted image": (
        lambda to, f: packed(f | {ending(f, ".png").replace(".png", "2.png"): b"x"}, to), "does not belong in a bundle"
    ),
    "another run's name": (
        lambda to, f: packed(f | {"bundle.json": f["bundle.json"].replace(b'"runs": [', b'"runs": ["../x--y",')}, to),
        "is not that of a bundle",
    ),
    "a listed file outside": (
        lambda to, f: packed(f | {"bundle.json": f["bundle.json"].replace(b'"files": {', LISTED_OUTSIDE)}, to),
        "'../../etc/passwd', which is no file of its runs",
    ),
    "no list": (lambda to, f: packed({k: f[k] for k in f if k != "bundle.json"}, to), "it holds no bundle.json"),
    "a list that is none": (lambda to, f: packed(f | {"bundle.json": b"[]"}, to), "is not that of a bundle"),
    "a list nested without end": (lambda to, f: packed(f | {"bundle.json": b"[" * 100_000}, to), "is not"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(kind, world, tmp_path, capsys):
    make, said = HOSTILE[kind]
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    archive = make(inner / "x.zip", members(world / "near.zip"))
    assert check(archive, world, inner / "runs") == 2
    assert said in capsys.readouterr().err
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p != archive]
    assert not left


def test_what_is_no_archive_is_refused(world, tmp_path, capsys):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    assert check(tmp_path / "x.zip", world, tmp_path / "runs") == 2
    assert "neither a zip nor a tar archive" in capsys.readouterr().err
    assert check(tmp_path / "none.zip", world, tmp_path / "runs") == 2
    assert "no such file" in capsys.readouterr().err
    whole = (world / "near.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    assert check(tmp_path / "cut.zip", world, tmp_path / "runs") == 2


def test_without_the_data_it_is_said_that_no_score_could_be_computed_again(world, tmp_path, capsys):
    assert (
        verify([str(world / "near.zip"), "--data-root", str(tmp_path / "none"), "--out", str(tmp_path / "runs")]) == 1
    )
    said = capsys.readouterr().out
    assert "not checked: all scores: the data of magicbrush are not usable here" in said
    assert "NOT verified: no score could be computed again" in said and "WRONG" not in said


def test_other_goals_here_are_named_and_their_scores_are_not_held_against_the_bundle(world, tmp_path, capsys):
    shutil.copytree(world / "data", tmp_path / "other")
    goal = sorted((tmp_path / "other").rglob("*-output1.png"))[0]
    picture(99, (48, 40)).save(goal)
    assert (
        verify([str(world / "near.zip"), "--data-root", str(tmp_path / "other"), "--out", str(tmp_path / "runs")]) == 1
    )
    said = capsys.readouterr().out
    assert "examples have other goals, captions or masks than the data here" in said
    assert "handed in" not in said


def test_a_bundle_of_digests_needs_the_outputs_from_elsewhere(world, tmp_path, capsys):
    archive = world / "digests.zip"
    assert not [name for name in members(archive) if name.endswith(".png")]
    assert check(archive, world, tmp_path / "runs") == 1
    assert "the bundle holds digests only; --outputs DIR names the outputs" in capsys.readouterr().out
    assert check(archive, world, tmp_path / "runs", "--outputs", str(world / "runs" / "paper")) == 0
    assert "7 of l1" in capsys.readouterr().out


def test_a_metric_whose_network_is_another_one_here_is_not_checked_and_said(world, tmp_path, capsys):
    files = members(world / "near.zip")
    for name in (ending(files, "scores.jsonl"), ending(files, "done.json")):
        files[name] = files[name].replace(b"ssim: ", b"ssim: of another kind, ")
    assert check(packed(listed_anew(files), tmp_path / "x.zip"), world, tmp_path / "runs") == 0
    said = capsys.readouterr().out
    assert "not checked: ssim: it was scored as 'ssim: of another kind" in said and "7 of l1 (" in said


def test_the_same_runs_are_the_same_bytes(world, tmp_path):
    (folder,) = (world / "runs" / "paper").glob("magicbrush--near--*")
    for name in ("a.zip", "b.zip"):
        assert bundle([str(folder), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_the_bundle_that_the_readme_makes_leaves_a_clone_clean():
    root = Path(__file__).parents[3]
    name = re.search(r"bench\.bundle RUN -o (\S+)", (root / "README.md").read_text(encoding="utf-8"))[1]
    if (root / ".git").exists():
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=root).returncode == 0


def test_an_unfinished_run_and_what_is_none_are_not_handed_in(world, tmp_path, capsys):
    (folder,) = (world / "runs" / "paper").glob("magicbrush--near--*")
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    (copy / "done.json").unlink()
    for run, to, said in ((copy, "x.zip", "not finished"), (tmp_path, "x.zip", "no run folder"), (folder, "x", ".zip")):
        assert bundle([str(run), "-o", str(tmp_path / to)]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / to).exists()
    copy = Path(shutil.copytree(folder, tmp_path / "other" / folder.name))
    next(copy.rglob("*.png")).unlink()
    assert bundle([str(copy), "-o", str(tmp_path / "x.zip")]) == 2
    assert "1 output images are gone" in capsys.readouterr().err


@pytest.mark.parametrize("more", [("--metrics", "l1", "--instructions", "shuffled"),
                                  ("--metrics", "l1@outside,l1@input", "--mask-grow", "2")])  # fmt: skip
def test_controls_and_scores_by_a_grown_mask_verify_as_they_were_run(more, world, tmp_path, capsys):
    argv = ["--suite", "paper", "--data-root", str(world / "data"), "--out", str(tmp_path / "made")]
    assert bench_run([*argv, "--dataset", "magicbrush", "--model", "identity", *more]) == 0
    (folder,) = (tmp_path / "made" / "paper").iterdir()
    assert bundle([str(folder), "-o", str(tmp_path / "one.zip")]) == 0
    assert check(tmp_path / "one.zip", world, tmp_path / "runs") == 0
    said = capsys.readouterr().out
    assert "WRONG" not in said and "was scored as" not in said and "7 of l1" in said
