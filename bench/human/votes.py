"""The votes: one SQLite file (WAL), one transaction a vote; killed at any moment, it holds whole votes only.

An item is given to an annotator (a claim) while fewer than 3 others have judged it or are about to. Items that somebody
has judged come first, so that a study that ends early has whole items; the rest is shuffled for each annotator. Items
that others took a while ago and have not judged come last: who only looked in keeps no item from being finished.
"""

import json
import re
import secrets
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.human.study import ANNOTATORS, Item, Study, answers_of

SCHEMA = """
CREATE TABLE study (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE items (id TEXT PRIMARY KEY, figure INTEGER NOT NULL, item TEXT NOT NULL);
CREATE TABLE annotators (id TEXT PRIMARY KEY, consented REAL NOT NULL, tab TEXT NOT NULL);
CREATE TABLE claims (annotator TEXT PRIMARY KEY, item TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE votes (id INTEGER PRIMARY KEY AUTOINCREMENT, annotator TEXT NOT NULL REFERENCES annotators (id),
  item TEXT NOT NULL REFERENCES items (id), answers TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL,
  UNIQUE (annotator, item));
"""
KEPT = (
    15 * 60
)  # seconds for which an item stays with somebody who does not vote on it, as long as others have more to do
ALONE = 2 * 60  # seconds for which nobody else is given it in any case
NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
OTHER_TAB = "This annotator id is open in another tab or window. Go on there, or reload this page to go on here."


class Refused(ValueError):
    """A vote that is not counted; its text is for the annotator."""


class Vote(NamedTuple):
    annotator: str
    item: Item
    answers: dict[str, str | list[str]]
    seconds: float  # from when it was shown
    at: float


class Left(NamedTuple):
    done: int
    left: int
    held: int = 0  # short of votes, but with others just now


class Votes:
    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, study: Study | None = None) -> "Votes":
        """study: begin it, or go on with it. Raises ValueError for votes of another study or a file that is none."""
        if study is None and not path.is_file():
            raise ValueError(f"{path}: no such file; votes are collected by python -m bench.human serve")
        path.parent.mkdir(parents=True, exist_ok=True)
        votes = cls(path)
        try:
            with votes.writing() as db:
                if not db.execute("SELECT name FROM sqlite_master WHERE name = 'study'").fetchone():
                    if study is None:
                        raise ValueError(f"{path} holds no study; give the file of python -m bench.human serve")
                    begin(db, study)
                found = dict(db.execute("SELECT key, value FROM study"))
            if study is not None and found["fingerprint"] != study.fingerprint:
                votes.begin_again(study, found.get("settings", ""))
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{path} is no file of votes ({error}); give another --votes") from None
        return votes

    def begin_again(self, study: Study, begun: str) -> None:
        """With other items, as long as nobody has voted on the old ones. Raises ValueError for settings that differ."""
        with self.writing() as db:
            cast = db.execute("SELECT count(*) FROM votes").fetchone()[0]
            if cast:
                same = "the same settings, but of other runs" if begun == study.settings else "other settings"
                raise ValueError(
                    f"{self.path} holds {cast} votes on other items, of {same}: begun with {begun or 'unknown flags'}, "
                    f"asked for with {study.settings}; give those it was begun with to go on, or another file: "
                    "--votes FILE (make human VOTES=FILE)"
                )
            for table in ("votes", "claims", "items", "study"):
                db.execute(f"DELETE FROM {table}")
            fill(db, study)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when this returns; waits for others up to 30 s."""
        db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
        finally:
            db.close()

    @property
    def suite(self) -> str:
        with self.writing() as db:
            return db.execute("SELECT value FROM study WHERE key = 'suite'").fetchone()[0]

    def sign_in(self, annotator: str, consent: bool) -> str:
        """The tab's token; tabs signed in before are closed out. Raises Refused."""
        if not NAME.fullmatch(annotator):
            raise Refused("The annotator id must be 1 to 32 letters, digits, - or _ (no name is needed).")
        with self.writing() as db:
            known = db.execute("SELECT 1 FROM annotators WHERE id = ?", (annotator,)).fetchone()
            if not known and not consent:
                raise Refused("Please tick the box: without your consent nothing is recorded.")
            tab = secrets.token_hex(8)
            db.execute("INSERT INTO annotators VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET tab = excluded.tab",
                       (annotator, time.time(), tab))  # fmt: skip
        return tab

    def next(self, annotator: str) -> tuple[Item | None, Left]:
        """The item this annotator is to judge now (None: there is none left), and how many."""
        with self.writing() as db:
            open_items, held = free_items(db, annotator)
            done = db.execute("SELECT count(*) FROM votes WHERE annotator = ?", (annotator,)).fetchone()[0]
            db.execute("DELETE FROM claims WHERE annotator = ?", (annotator,))
            if open_items:
                claim(db, annotator, open_items[0].id)
        return (open_items[0] if open_items else None), Left(done, len(open_items), held)

    def vote(self, annotator: str, tab: str, item_id: str, given: Mapping[str, str | None]) -> None:
        """Count one vote. The same vote again, after a lost answer, is no second one. Raises Refused."""
        with self.writing() as db:
            item = allowed(db, annotator, tab, item_id)
            if db.execute("SELECT 1 FROM votes WHERE annotator = ? AND item = ?", (annotator, item_id)).fetchone():
                return
            counted = db.execute("SELECT count(*) FROM votes WHERE item = ?", (item_id,)).fetchone()[0]
            if counted >= ANNOTATORS:
                raise Refused(f"This item has its {ANNOTATORS} votes already; yours is not counted. Here is another.")
            try:
                answers = answers_of(item, annotator, given)
            except ValueError as error:
                raise Refused(str(error)) from None
            now, both = time.time(), (annotator, item_id)
            shown = db.execute("SELECT at FROM claims WHERE annotator = ? AND item = ?", both).fetchone()
            seconds = max(0.0, now - shown[0]) if shown else 0.0
            db.execute("INSERT INTO votes (annotator, item, answers, seconds, at) VALUES (?, ?, ?, ?, ?)",
                       (*both, json.dumps(answers), seconds, now))  # fmt: skip

    def undo(self, annotator: str, tab: str) -> Item:
        """Take the annotator's last vote back; its item is shown again. Raises Refused."""
        with self.writing() as db:
            check_tab(db, annotator, tab)
            last = db.execute("SELECT id, item FROM votes WHERE annotator = ? ORDER BY id DESC LIMIT 1",
                              (annotator,)).fetchone()  # fmt: skip
            if last is None:
                raise Refused("There is no vote of yours to take back.")
            db.execute("DELETE FROM votes WHERE id = ?", (last[0],))
            claim(db, annotator, last[1])
            return item_in(db, last[1])

    def left(self, annotator: str) -> Left:
        with self.writing() as db:
            done = db.execute("SELECT count(*) FROM votes WHERE annotator = ?", (annotator,)).fetchone()[0]
            open_items, held = free_items(db, annotator)
            return Left(done, len(open_items), held)

    def all(self) -> list[Vote]:
        with self.writing() as db:
            items = {i: parsed(text) for i, text in db.execute("SELECT id, item FROM items")}
            rows = db.execute("SELECT annotator, item, answers, seconds, at FROM votes ORDER BY id").fetchall()
        return [Vote(who, items[item], json.loads(answers), s, at) for who, item, answers, s, at in rows]

    def items(self) -> list[Item]:
        with self.writing() as db:
            return [parsed(text) for (text,) in db.execute("SELECT item FROM items ORDER BY id")]


def begin(db: sqlite3.Connection, study: Study) -> None:
    for statement in filter(str.strip, SCHEMA.split(";")):
        db.execute(statement)
    fill(db, study)


def fill(db: sqlite3.Connection, study: Study) -> None:
    about = [("fingerprint", study.fingerprint), ("suite", study.suite), ("settings", study.settings)]
    db.executemany("INSERT INTO study VALUES (?, ?)", about)
    db.executemany("INSERT INTO items VALUES (?, ?, ?)", [(i.id, i.figure, i.to_json()) for i in study.items])


def parsed(text: str) -> Item:
    return Item(**json.loads(text))


def item_in(db: sqlite3.Connection, item_id: str) -> Item:
    row = db.execute("SELECT item FROM items WHERE id = ?", (item_id,)).fetchone()
    if row is None:
        raise Refused(f"There is no item {item_id!r:.60} in this study; nothing was counted. Reload the page.")
    return parsed(row[0])


def check_tab(db: sqlite3.Connection, annotator: str, tab: str) -> None:
    row = db.execute("SELECT tab FROM annotators WHERE id = ?", (annotator,)).fetchone()
    if row is None:
        raise Refused("Please sign in first: this annotator id is not known.")
    if row[0] != tab:
        raise Refused(OTHER_TAB)


def allowed(db: sqlite3.Connection, annotator: str, tab: str, item_id: str) -> Item:
    check_tab(db, annotator, tab)
    return item_in(db, item_id)


def claim(db: sqlite3.Connection, annotator: str, item_id: str) -> None:
    db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (annotator, item_id, time.time()))


def free_items(db: sqlite3.Connection, annotator: str) -> tuple[list[Item], int]:
    """In this annotator's order: what others do not keep; Figure 5 before 6; what others have begun; shuffled.

    With the number of items that are short of votes, but with others just now.
    """
    from hashlib import sha256

    mine = {i for (i,) in db.execute("SELECT item FROM votes WHERE annotator = ?", (annotator,))}
    voted = dict(db.execute("SELECT item, count(*) FROM votes GROUP BY item"))

    def with_others(seconds: float) -> dict[str, int]:
        return dict(db.execute("SELECT item, count(*) FROM claims WHERE annotator != ? AND at > ? GROUP BY item",
                               (annotator, time.time() - seconds)))  # fmt: skip

    kept, alone = with_others(KEPT), with_others(ALONE)
    own = db.execute("SELECT item FROM claims WHERE annotator = ?", (annotator,)).fetchone()
    found, held = [], 0
    for item_id, figure, text in db.execute("SELECT id, figure, item FROM items"):
        votes = voted.get(item_id, 0)
        if item_id in mine or votes >= ANNOTATORS:
            continue
        if votes + alone.get(item_id, 0) >= ANNOTATORS:
            held += 1
            continue
        taken = votes + kept.get(item_id, 0)
        shuffled = sha256(f"{annotator}/{item_id}".encode()).digest()
        found.append(((own != (item_id,), taken >= ANNOTATORS, figure, -taken, shuffled), text))
    return [parsed(text) for _, text in sorted(found)], held
