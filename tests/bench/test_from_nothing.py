"""From an empty folder to the paper's tables, figures and report, with the documented commands, on a small world.

Everything official is drawn in small and served on loopback. The commands are those of README.md and bench/README.md,
run as a user would, in a folder that holds the code and nothing else.
"""

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mirrored
import pytest
from hosts import COMMIT, Host

ROOT = Path(__file__).parents[2]
CODE = ("Makefile", "bench", "mgie", "baselines", "requirements.lock", "pyproject.toml")
NETWORKS = "weights/networks/timm"
# small, so that a core needs minutes: two steps, 64 px, the small networks that were fetched
SMALL = (
    f"--device cpu --size long:64 --num-inference-steps 2 --seeds 1 --lpips squeeze "
    f"--clip {NETWORKS}/vit_base_patch32_clip_224.openai --dino {NETWORKS}/vit_small_patch16_224.dino"
)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """The folder of a mirror, and the table of sources that fits it."""
    root = tmp_path_factory.mktemp("mirror")
    mirrored.draw_datasets(root, whole=True)
    mirrored.draw_weights(root)
    return root, mirrored.table_of(root, tmp_path_factory.mktemp("table") / "sources.toml")


@pytest.fixture
def host():
    host = Host()
    yield host
    host.close()


@pytest.fixture
def folder(tmp_path):
    """A checkout with its environment, without data, weights, runs or results of its own."""
    place = tmp_path / "checkout"
    (place / ".venv").mkdir(parents=True)
    (place / "results").mkdir()
    for name in CODE:
        (place / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "results" / "paper", place / "results" / "paper")  # tables of suite paper go beside it
    (place / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    for path in Path(sys.prefix).iterdir():
        if not path.name.startswith(".stamp"):
            (place / ".venv" / path.name).symlink_to(path)
    lock = b"".join((ROOT / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
    (place / ".venv" / f".stamp-{hashlib.sha256(lock).hexdigest()[:16]}").touch()
    return place


def run(folder: Path, *command: str, code: int = 0, **more: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(folder), **more}
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # pytest itself may have been started by make
        env.pop(name, None)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def numbers(path: Path) -> list[dict]:
    """The rows of a table, of which each has a number."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    lacking = [(row["model"], row["dataset"], row["metric"], row["reason"]) for row in rows if not row["mean"]]
    assert rows and not [lack for lack in lacking if lack[2] != "seconds"], lacking
    return rows


REDIRECTED = """import os
from hosts import redirect
redirect(os.environ["LOOPBACK"])
"""


@pytest.mark.slow
def test_everything_comes_from_its_sources_through_all_that_goes_wrong_with_them(mirror, host, folder, tmp_path):
    """The Hub, Drive with its confirm page, plain hosts, a browser's downloads; one host answers 503 twice, one breaks
    off, one gives a wrong file: that alone is missing, and fetched by the second command."""
    root, table = mirror
    mirrored.serve_sources(host, root, table)
    downloads = mirrored.by_hand(root, table, tmp_path / "downloads")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(REDIRECTED)
    busy, wrong = (f"/raw.githubusercontent.com/jshi31/T2ONet/928cdc3311e887f3676a55db5d544fee5ac71a3f/data/{name}"
                   for name in ("FiveK/FiveK.json", "GIER/GIER.json"))  # fmt: skip
    broken = f"/timm/vit_base_patch32_clip_224.openai/resolve/{COMMIT}/open_clip_model.safetensors"
    host.faults[busy] = lambda count: 503 if count <= 2 else None
    host.faults[broken] = lambda count: ("cut", 50_000) if count == 1 else None
    host.faults[wrong] = lambda count: bytes(len(host.files[wrong])) if count == 1 else None
    path = os.pathsep.join(map(str, (tmp_path / "site", ROOT / "tests" / "support", folder)))
    command = [sys.executable, "-m", "bench.fetch", "table1", "--sources", str(table), "--from", str(downloads)]
    env = {"PYTHONPATH": path, "LOOPBACK": host.url, "HF_ENDPOINT": host.url, "HF_HUB_OFFLINE": "0",
           "HF_HOME": str(tmp_path / "hub")}  # fmt: skip
    said = run(folder, *command, code=1, **env).stderr
    assert len([line for line in said.splitlines() if line.startswith("missing: ")]) == 1
    assert "missing: GIER.json: " in said and "expected" in said and not (folder / "data/gier/GIER.json").exists()
    before = {asked: host.sent(asked) for asked in host.files}
    done = run(folder, *command, **env)
    again = {asked for asked in host.files if host.sent(asked) > before[asked]}
    assert again == {wrong}
    assert host.sent(broken) == len(host.files[broken])  # no byte twice
    assert "magicbrush test: 19 turns in 10 sessions" in done.stdout
    for source in mirrored.sources.read(table).values():
        place = folder / source.root / source.folder
        for row in source.files:
            if not row.packed:
                assert (place / row.name).read_bytes() == (root / source.name / row.name).read_bytes(), row.name
    assert (folder / "weights" / "mgie-e2e" / "model_index.json").is_file()


@pytest.mark.slow
def test_from_an_empty_folder_to_the_papers_tables_figures_and_report(mirror, host, folder):
    root, table = mirror
    host.serve(root, "/lab")
    done = run(folder, "make", "data", "weights", f"MIRROR={host.url}/lab", f"ARGS=--sources {table}")
    assert "magicbrush test: 19 turns in 10 sessions" in done.stdout and "converting to weights/mgie-e2e" in done.stdout
    mirrored.own_weights(root, folder / "weights")
    if re.search(r"^plan:", (folder / "Makefile").read_text(), re.MULTILINE):
        run(folder, "make", "plan", "SUITE=paper", f"ARGS={SMALL}")
    small = ["SUITE=paper", "STRICT=1", f"ARGS={SMALL}"]
    for number, cells in ((1, 4 * 13), (2, 4 * 13), (3, 7 * 13)):
        run(folder, "make", f"table{number}", *small)
        (path,) = [p for p in made(folder).glob(f"table{number}-*.csv") if "tests" not in p.name]
        rows = [row for row in numbers(path) if row["metric"] != "seconds"]
        assert len(rows) == cells
        assert {row["dataset"] for row in rows} == set(mirrored.DATASETS)
    run(folder, "make", "table4", "MODELS=mgie", "ARGS=--batch-sizes 1 --steps 2 --device cpu")
    run(folder, "make", "figures", "SUITE=paper", f"ARGS={SMALL.replace('--seeds 1 ', '')}")
    names = {path.name.partition("-")[0].partition(".")[0] for path in made(folder).iterdir()}
    assert {"table1", "table2", "table3", "figure3", "figure4", "gallery"} <= names
    run(folder, "make", "report", "SUITE=paper")
    page = (made(folder) / "report.html").read_text()
    assert "Table 1" in page and "Table 3" in page


def made(folder: Path) -> Path:
    return folder / "results" / "paper"
