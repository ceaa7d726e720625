"""Every published number has its form and its source; what is not of the form is refused with its line."""

import re
from pathlib import Path

import pytest

from bench.standings.published import COLUMNS, PROTOCOLS, PUBLISHED, families, family, faults, read

ROWS = read()
GOOD = next(r for r in ROWS if (r.system, r.metric, r.turns) == ("HIVE", "l1", "single"))


def test_every_row_has_its_form_and_names_its_source():
    assert len(ROWS) > 1300 and [r for r in ROWS if faults(r)] == []
    assert {r.protocol for r in ROWS} == set(PROTOCOLS)
    assert families(ROWS)[0] == "magicbrush" and len(families(ROWS)) == 7


def test_rows_hold_facts_and_no_sentences_of_others():
    assert max(len(r.note) for r in ROWS) < 250
    quoted = [q for r in ROWS for q in re.findall(r'["“]([^"”]*)["”]', r.note) if len(q.split()) > 4]
    assert quoted == []


def test_the_paper_of_this_project_is_no_row_of_magicbrushs_script():
    assert {r.protocol for r in ROWS if "2309.17102" in r.reported_by} == {"other"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"value": "9.3"}, "l1 is 9.3: stored on the scale of 0 to 1, not x100"),
        ({"value": "about 0.1"}, "value is 'about 0.1', expected a number as the source prints it"),
        ({"value": "nan"}, "value is 'nan'"),
        ({"protocol": "magicbrush"}, "protocol is 'magicbrush', expected mb or mb-region"),
        ({"turns": "two"}, "turns is 'two', expected single or multi or -"),
        ({"trained_on_magicbrush": ""}, "trained_on_magicbrush is ''"),
        ({"reported_by": "a blog"}, "reported_by is 'a blog': it names no source"),
        ({"reported_by": "X arXiv 2401.00001 through a note"}, "expected 'secondary'"),
        ({"higher_is_better": "1"}, "higher_is_better is 1 for l1"),
        ({"caption": "local"}, "caption is 'local' for l1"),
        ({"metric": "clip_t", "higher_is_better": "1"}, "caption is '-' for clip_t"),
        ({"protocol": "other", "note": ""}, "the note does not say which"),
        ({"system": ""}, "system is empty"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_of_the_form_is_refused_in_words(change, said):
    assert faults(GOOD) == [] and said in "; ".join(faults(GOOD._replace(**change)))


def written(folder: Path, *lines: str) -> Path:
    path = folder / "published.csv"
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n", encoding="utf-8")
    return path


def test_the_line_of_a_wrong_row_is_named(tmp_path):
    line = "X,-,no,magicbrush-test,single,mb,-,l1,0.1,0,X arXiv 2401.00001 Table 1,seen,"
    assert len(read(written(tmp_path, line))) == 1
    with pytest.raises(ValueError, match=r"line 3: l1 of X by X arXiv 2401.00001 Table 1 is there twice"):
        read(written(tmp_path, line, line))
    with pytest.raises(ValueError, match="line 2: 3 fields; expected 13"):
        read(written(tmp_path, "X,-,no"))
    with pytest.raises(ValueError, match=r"line 2: .*CONTRIBUTING.md says how"):
        read(written(tmp_path, line.replace("0.1,", "7,")))
    with pytest.raises(FileNotFoundError, match="check it out"):
        read(tmp_path / "none.csv")


def test_the_one_line_of_contributing_is_a_row(tmp_path):
    text = (PUBLISHED.parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = (line.strip() for line in text.splitlines() if line.strip().startswith("My system,"))
    (row,) = read(written(tmp_path, line))
    assert (row.system, row.protocol, row.turns) == ("My system", "mb", "single")


def test_datasets_are_called_by_their_family():
    assert family("magicbrush-test:144-additions") == family("magicbrush-extended") == "magicbrush"
    assert family("emu-edit-test:110") == "emu-edit"
