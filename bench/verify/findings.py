"""What was found out about a run that somebody handed in."""

from dataclasses import dataclass, field


@dataclass
class Findings:
    """Of one run. Verified: nothing is wrong, and something was recomputed."""

    run: str
    checked: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)  # each with the reason
    wrong: list[str] = field(default_factory=list)
    recomputed: int = 0  # scores that were computed again and are the same

    @property
    def verified(self) -> bool:
        return not self.wrong and self.recomputed > 0

    @property
    def said(self) -> str:
        """In a line, for whoever reads a table that this run is a row of."""
        left = f"; not checked: {'; '.join(self.unchecked)}" if self.unchecked else ""
        return f"verified here: {'; '.join(self.checked)}{left}"


MOST = 10  # of one kind, that are named one by one


def shortened(lines: list[str]) -> list[str]:
    return lines if len(lines) <= MOST else [*lines[:MOST], f"and {len(lines) - MOST} more"]
