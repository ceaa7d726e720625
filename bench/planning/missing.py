"""What a run lacks, and the exact command that gets it."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bench.fetch import sources
from bench.fetch.places import Folder
from bench.fetch.sources import Source
from bench.metrics.networks.perceptual import how_to_fetch
from bench.planning.look import Look
from bench.planning.memory import TRUE_SIZES
from bench.planning.networks import absent
from bench.registry import SUITES, folder_name, maker_of
from bench.runs.plan import Plan, check_files
from bench.runs.runner import TooManyFailures
from bench.settings import MetricSettings
from mgie.io.files import NotYet

CONVERTED = 2 * sum(size for name, size in TRUE_SIZES.items() if name != "text_encoder")  # bytes of mgie-e2e, 16 bit
COMMAND = re.compile(r"(?:python -m|hf download|pip install) [^;\n`()]*[^;\n`(). ,]")


class Missing(NamedTuple):
    kind: str  # data, weights, network, images or setting; GPU, memory or disk, which no command gets
    name: str
    why: str
    command: str  # that gets it; empty: none does, and why says what is to be done

    @property
    def fetched(self) -> str:
        """What bench.fetch is asked for by the command, evr or magicbrush:test; empty: it is another command."""
        words = self.command.split()
        return words[3] if words[:3] == ["python", "-m", "bench.fetch"] else ""


NO_GPU = Missing(
    "GPU",
    "here",
    'none, and the run goes to the CPU only where it is told to: --device cpu (make: ARGS="--device cpu")',
    "",
)


@lru_cache(maxsize=1)
def known() -> dict[str, Source]:
    return sources.read()


def missing(look: Look, on_demand: bool) -> Iterator[Missing]:
    """on_demand: the command that is planned makes the weights that its suite can make."""
    if isinstance(look.data, Exception) and not isinstance(look.data, NotYet):
        yield of_data(look, look.data)
    if isinstance(look.model, Exception) and look.model is not look.data and not (on_demand and made_first(look)):
        yield of_model(look, look.model)
    if look.rewriter:
        yield of_rewriter(look, look.rewriter)
    if isinstance(look.plan, Exception):
        yield of_plan(look, look.plan)
    if isinstance(look.plan, Plan):
        try:
            check_files(look.plan)
        except TooManyFailures as error:
            yield Missing("images", look.asked.spec.dataset, first_line(str(error)), fetch_data(look))
    yield from of_networks(look.asked.metrics, look.asked.networks)


def made_first(look: Look) -> str:
    """The command by which the suite makes these weights when a table asks for them; empty where it makes none."""
    maker = maker_of(look.asked.spec.suite, look.asked.spec.weights)
    return maker.how(look.asked.spec) if maker else ""


def of_networks(metrics: tuple[str, ...], settings: MetricSettings) -> Iterator[Missing]:
    for name, why in absent(metrics, settings):
        own = COMMAND.search(why)
        yield Missing("network", name, first_line(why), own[0] if own else how_to_fetch(settings.fetched))


def of_data(look: Look, error: Exception) -> Missing:
    return Missing("data", look.asked.spec.dataset, said(error), fetch_data(look) or command_in(error))


def fetch_data(look: Look) -> str:
    """python -m bench.fetch of the run's dataset; empty for one that bench.fetch does not know."""
    suite, dataset, root = look.asked.suite, look.asked.spec.dataset, look.asked.args.data_root or Path("data")
    if suite == "published" and not SUITES[suite].hand_picked(look.asked.data.split):
        return ""  # the dataset or its outputs: the message says which
    if suite == "published":
        sample = " --split sample" if look.asked.data.split == "sample" else ""
        return f"python -m bench.fetch published --data-root {root}{sample}"
    source = known().get(dataset)
    if suite != "paper" or source is None:
        return ""
    part = look.asked.data.split or "test"
    part = {"val": "dev", "valid": "dev"}.get(part, part)
    return f"python -m bench.fetch {dataset}{f':{part}' if part in source.parts else ''} --data-root {root}"


def of_model(look: Look, error: Exception) -> Missing:
    spec = look.asked.spec
    if spec.images:
        return Missing("images", str(spec.images), said(error), "")
    name = folder_name(spec) if not spec.name.startswith("diffusers:") else spec.name
    return of_weights(look, name, error)


def of_plan(look: Look, error: Exception) -> Missing:
    """What is missing once data and model are there."""
    if look.asked.args.rewrite != "none" and isinstance(error, FileNotFoundError):
        return of_rewriter(look, error)
    kind = "images" if look.asked.spec.images else "setting"
    return Missing(kind, look.asked.called, said(error), command_in(error))


def of_rewriter(look: Look, error: Exception) -> Missing:
    return of_weights(look, f"rewriter {look.asked.args.rewrite}", error)


def of_weights(look: Look, name: str, error: Exception) -> Missing:
    text = str(error)
    kind = "weights" if isinstance(error, FileNotFoundError) else "setting"
    command = command_in(error).replace("DATA_ROOT", str(look.asked.args.data_root or "data"))
    way = "" if command else next((line for line in text.splitlines()[1:] if line.startswith("put ")), "")
    return Missing(kind, name, "; ".join(filter(None, (first_line(text), way))), command)


def command_in(error: Exception) -> str:
    """The first command that a message names."""
    found = COMMAND.search(str(error))
    return found[0] if found else ""


def said(error: Exception) -> str:
    return first_line(str(error)) or type(error).__name__


def first_line(text: str) -> str:
    return " ".join((text.splitlines() or [""])[0].split())


def by_hand(lack: Missing) -> list[str]:
    """What of a fetch a browser must do."""
    source = known().get(lack.fetched.partition(":")[0])
    if source is None or source.together:
        return []
    rows = source.only(lack.fetched.partition(":")[2]).files
    return [row.name.partition(".")[0] for row in rows if row.how == "hand"]


class Fetch(NamedTuple):
    data: int  # bytes that are still to come
    weights: int
    partly: bool  # of some files nobody says how large they are
    converted: int = 0  # of what is made of them

    @property
    def bytes(self) -> int:
        return self.data + self.weights


def to_fetch(lacks: Iterable[Missing], data_root: Path, weights: Path) -> Fetch:
    """All that bench.fetch would bring, each file once, with what those things need."""
    asked = [lack.fetched for lack in lacks if lack.fetched.partition(":")[0] in known()]
    total, partly = {"data": 0, "weights": 0}, False
    for source in sources.chosen(known(), list(dict.fromkeys(asked))):
        folder = Folder((data_root if source.root == "data" else weights) / source.folder)
        for row in source.files:
            if not folder.there(row):
                total[source.root] += row.size
                partly = partly or (row.packed and not row.size)
    return Fetch(total["data"], total["weights"], partly, CONVERTED if "mgie" in asked else 0)
