"""What the report says of the runs behind its numbers: settings, environment, failures, and what is incomplete.

Run folders are not part of the repository: where one is not here, the report says so instead of leaving it out.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.grid.show import markdown_table
from bench.pages.entries import view_of
from bench.runs.folder import RunFolder


def here(names: Sequence[str], root: Path) -> tuple[list[Path], list[str]]:
    """Run folders below root (runs/<suite>) by name: those that are there and finished, and the names of the others."""
    found = [root / name for name in names if (root / name / "done.json").is_file()]
    return found, [name for name in names if root / name not in found]


def settings(folders: Sequence[Path]) -> list[str]:
    """One line a run: what changes a pixel, and the hash of its weights."""
    rows = []
    for folder in folders:
        run = RunFolder(folder).run()
        edit, fingerprint = run["edit"], run["fingerprint"]
        weights = fingerprint.get("weights") or fingerprint.get("images") or ""
        scales = " / ".join("none" if edit[k] is None else f"{edit[k]:g}"
                            for k in ("guidance_scale", "image_guidance_scale"))  # fmt: skip
        rows.append([
            folder.name, run["setting"], run["data"]["split"] or "test", f"{run['n']} in {run['groups']}", scales,
            _said(edit["num_inference_steps"]), str(edit["batch_size"]), fingerprint.get("dtype", "none"),
            weights[:8] or "none",
        ])  # fmt: skip
    header = ["Run", "Setting", "Split", "Examples in groups", "guidance_scale / image_guidance_scale", "Steps",
              "Batch size", "dtype", "Weights or images, SHA-256"]  # fmt: skip
    return markdown_table(header, rows, left=3)


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def environments(folders: Sequence[Path]) -> list[str]:
    """Each combination of device, threads, Python, packages and commit under which a run was started."""
    seen: Counter[tuple[str, ...]] = Counter()
    for folder in folders:
        lines = set()
        for s in RunFolder(folder).sessions():
            versions = ", ".join(f"{name} {version}" for name, version in s.get("versions", {}).items())
            lines.add((s.get("device", "unknown"), str(s.get("threads", "unknown")), s.get("python", "unknown"),
                       versions, s.get("commit", "unknown")[:10]))  # fmt: skip
        seen.update(lines)
    rows = [[*line, str(count)] for line, count in seen.most_common()]
    return markdown_table(["Device", "Threads", "Python", "Packages", "Commit", "Runs"], rows, left=5)


def failures(folders: Sequence[Path]) -> list[str]:
    """Examples that could not be edited or scored, run by run, the most frequent reason first."""
    lines = []
    for folder in folders:
        found = RunFolder(folder).failures()
        if found:
            reasons = Counter(f"{f['stage']}: {f['reason']}" for f in found)
            first, count = reasons.most_common(1)[0]
            more = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
            lines.append(f"{folder.name}: {len(found)} failures, {count} x {first}{more}")
    return lines


def incomplete(root: Path) -> list[str]:
    """Every run folder below root that is not finished, with how much of it is missing."""
    lines = []
    for path in sorted(root.glob("*/run.json")):
        if not (path.parent / "done.json").exists():
            try:
                lines.append(view_of(path.parent).missing)
            except ValueError as error:  # in use, or changed by hand: its own words
                lines.append(str(error))
    return lines
