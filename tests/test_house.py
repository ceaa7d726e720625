"""The house: mgie stands alone, commands are imported by nobody, no file circles, rooms and files stay small.

Who may import whom is held by the contracts of import-linter in pyproject.toml (make lint); here is what they cannot
say.
"""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
HOUSES = ("bench", "mgie", "baselines")
LONGEST, FULLEST = 350, 14  # lines a file, files a room
OF_ONE_KIND = {"bench/metrics", "bench/datasets", "baselines/editors"}  # these may be longer


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for house in HOUSES for path in sorted((ROOT / house).rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """The modules of ours that a file names in an import, wherever in it that stands: lazy and typing ones count."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    packages = {name for name in found & FILES.keys() if FILES[name].name == "__init__.py"}
    return (found & FILES.keys()) - packages


# modules that are commands and still imported: by whom
IMPORTED = {
    "bench.run": {"bench.grid.cells", "bench.grid.jobs", "bench.planning.look", "bench.speed.startup"},
    "mgie.edit": {"mgie.demo.systems"},
    "mgie.presets": set(FILES),
}
IMPORTS = {module: imports_of(path) - {module} for module, path in FILES.items()}


def test_mgie_is_a_library_that_needs_no_benchmark():
    """Every module of mgie but the miniature's commands imports where bench and baselines cannot be found."""
    names = [m for m in FILES if m.startswith("mgie") and not m.endswith("__main__")]
    code = (
        "import sys\n"
        "class Refusing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('bench', 'baselines'):\n"
        "            raise ModuleNotFoundError(f'{name} is not installed here')\n"
        "sys.meta_path.insert(0, Refusing())\n"
        "from mgie import MGIEPipeline\n"
        "import importlib\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        "pipe = MGIEPipeline.from_pretrained('mini')\n"
        "assert not {'bench', 'baselines'} & set(sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_commands_are_imported_by_nobody():
    runs = {m for m, path in FILES.items() if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")}
    commands = {m for m in runs if m.count(".") == 1 or m.endswith("__main__")}
    wrong = [(a, b) for a, found in IMPORTS.items() for b in found & commands if a not in IMPORTED.get(b, ())]
    assert commands and not wrong


def test_there_is_no_circle_of_files():
    left = {module: set(found) for module, found in IMPORTS.items()}
    while free := [module for module, found in left.items() if not found & left.keys()]:
        for module in free:
            del left[module]
    assert not left


def test_files_and_rooms_stay_small():
    files = [path for path in FILES.values() if path.name != "__init__.py"]
    lines = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in (*files, *(ROOT / "tests").rglob("*.py"))}
    long = [f"{path}: {n} lines" for path, n in lines.items() if n > LONGEST]
    rooms = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    full = [f"{room}: {n} files" for room, n in rooms.items() if n > FULLEST and room not in OF_ONE_KIND]
    assert not long + full
