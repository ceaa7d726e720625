"""Would the checks of the standings see a wrong row? Each error is planted, and its check must turn red."""

from dataclasses import replace

import pytest
import standings_checks as checks

from bench.standings import blocks, placement, section


def plant_swapped_systems(patch):
    """The numbers of each row under the name of another one."""
    original = blocks.entry_of
    kept = []

    def entry_of(rows, goal, protocol):
        entry = original(rows, goal, protocol)
        kept.append(entry)
        return replace(entry, cells=kept[-2].cells) if len(kept) > 1 else entry

    patch.setattr(blocks, "entry_of", entry_of)


def plant_swapped_turns(patch):
    original = section.standings
    other = {"single": "multi", "multi": "single"}
    patch.setattr(section, "standings", lambda rows, data, turns, *rest: original(rows, data, other[turns], *rest))


def plant_goal_for_copy(patch):
    original = section.read
    names = {"Goal image": "Input copy", "Input copy": "Goal image"}
    renamed = lambda: [r._replace(system=names.get(r.system, r.system)) for r in original()]  # noqa: E731
    patch.setattr(section, "read", lambda path: renamed())


def plant_all_by_the_script(patch):
    original = section.read
    of = ("mb-region", "mb-hints", "ee", "other")
    renamed = lambda: [r._replace(protocol="mb") if r.protocol in of else r for r in original()]  # noqa: E731
    patch.setattr(section, "read", lambda path: renamed())


def plant_lost_row(patch):
    original = section.read
    patch.setattr(section, "read", lambda path: original()[1:])


def plant_swapped_caption(patch):
    original = placement.mismatch
    other = {"local": "global", "global": "local"}
    patch.setattr(placement, "mismatch", lambda c, protocol, caption: original(c, protocol, other[caption]))


def plant_columns_mixed_up(patch):
    patch.setattr(placement, "METRICS", placement.METRICS | {"clip_i": ("CLIP-I", "dino"), "dino": ("DINO", "cvs")})


def set_(module, name, value):
    return lambda patch: patch.setattr(module, name, value)


PLANTED = {
    "systems swapped": (checks.check_systems, plant_swapped_systems),
    "turns swapped": (checks.check_systems, plant_swapped_turns),
    "goal for input copy": (checks.check_systems, plant_goal_for_copy),
    "worst first": (checks.check_order, set_(blocks, "lower", lambda metric: metric not in ("l1", "l2"))),
    "other captions beside local ones": (
        checks.check_captions,
        set_(blocks, "protocol_of", lambda r, goal: r.protocol),
    ),
    "other protocols in the script's block": (checks.check_blocks, plant_all_by_the_script),
    "a row lost": (checks.check_all_there, plant_lost_row),
}
WRONGLY_PLACED = {
    "any protocol": set_(placement, "mismatch", lambda *_: ""),
    "any run": set_(placement, "of_the_run", lambda *_: []),
    "captions swapped": plant_swapped_caption,
    "columns mixed up": plant_columns_mixed_up,
    "any size": set_(placement, "HARMLESS", placement.re.compile(".*")),
    "any CLIP": set_(placement, "FORMS", placement.FORMS | {"clip_i": (".*", "")}),
}


@pytest.mark.parametrize("error", PLANTED)
def test_a_planted_error_turns_its_check_red(error, monkeypatch):
    check, plant = PLANTED[error]
    check()
    plant(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        check()


@pytest.mark.parametrize("error", WRONGLY_PLACED)
def test_a_run_of_another_protocol_that_is_placed_turns_its_check_red(error, monkeypatch, tmp_path):
    WRONGLY_PLACED[error](monkeypatch)
    with pytest.raises(AssertionError):
        checks.check_placement(tmp_path)
