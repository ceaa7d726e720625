"""How a command ends: exit codes, one line for its user, the files it wrote."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path


def command(make: Callable[[], int]) -> int:
    """Run it; what its user can mend becomes one line and exit code 2."""
    try:
        return make()
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def written(paths: Sequence[Path]) -> str:
    return "written: " + ", ".join(map(str, paths))
