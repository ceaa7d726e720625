"""halvings.jsonl of a run folder: the slices whose edits were made in smaller batches, because memory ran out or for
another error of the model. The file exists only where there is such a slice; one that is edited again in one batch
leaves it. A slice's line is on disk before its edits are, so that a kill cannot lose it.
"""

import sys
from collections.abc import Iterable

from bench.records import Halving
from bench.runfolder import RunFolder

NAME = "halvings.jsonl"


class Halvings:
    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.known = {(h.seed, h.first): h for h in folder.halvings()}

    def settle(self, seed: int, ids: Iterable[str], halving: Halving | None) -> None:
        """What is known of a slice that is about to be written; says so where it was halved."""
        stale = self.known.keys() & {(seed, example_id) for example_id in ids}
        if stale:
            self.known = {key: h for key, h in self.known.items() if key not in stale}
            self.write()
        if halving:
            self.known[halving.seed, halving.first] = halving
            self.folder.append(NAME, [halving])
            print(f"warning: {sentence(halving)}", file=sys.stderr)

    def close(self, order: dict[str, int]) -> None:
        """Final order, as that of the edits: seed, example."""
        kept = sorted((key for key in self.known if key[1] in order), key=lambda key: (key[0], order[key[1]]))
        self.known = {key: self.known[key] for key in kept}
        self.write()

    def write(self) -> None:
        if self.known:
            self.folder.rewrite(NAME, self.known.values())
        else:
            (self.folder.path / NAME).unlink(missing_ok=True)


def sentence(halving: Halving) -> str:
    why = (halving.reason.splitlines() or [""])[0][:200]
    batches = ", ".join(map(str, halving.batches))
    return f"slice {halving.first} .. {halving.last}: edited in batches of {batches} instead of {halving.size} ({why})"
