"""Damage to a file, drawn from a seed: bytes, JSON values, cells of a table, and what lies under a file's name.

Every mutation is a pure function of (content, dice), so that a failing input is named by its seed alone.
"""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

RAW = {  # JSON text that json.dumps would not write; put in the place of its name
    "@many-digits@": "1" * 5000, "@deep@": "[" * 20_000, "@deep-closed@": "[" * 3000 + "]" * 3000, "@nan@": "NaN",
    "@infinity@": "-Infinity", "@huge@": "1e999", "@bare@": "yes",
}  # fmt: skip
ODD: list[object] = [
    None, True, False, 0, -1, 1, 2**31, 2**70, -(2**63), 0.5, 1e308, "", " ", "\0", "a\0b", "\ud800", "\u202e",
    "é" * 300, "x" * 100_000, "..", "../../../../outside.png", "/etc/passwd", "..\\..\\outside", "C:\\outside",
    "a/../../b", "~/x", "-", "file:///etc/passwd", "https://example.invalid/x", "%s%n{}", "\n", "a\nb", "CON",
    [], {}, [[]], [None], {"a": 1}, {"id": [1]}, "true", "1", "NaN", *RAW,
]  # fmt: skip
HEADS = [
    b"", b"PK\x03\x04", b"\x80\x02", b"\x1f\x8b\x08\x00", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0",
    b"<!DOCTYPE html><html>", b"version https://git-lfs.github.com/spec/v1\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\0" * 64,
    b"GIF89a", b"II*\0", b"PAR1",
]  # fmt: skip


def mutate(path: Path, dice: random.Random) -> str:
    """Damages the file in place; returns in a word what was done."""
    if dice.random() < 0.03:
        return another_kind(path, dice)
    data, kinds = path.read_bytes(), ["bytes"]
    if path.suffix in (".json", ".jsonl"):
        kinds += ["json"] * 3
    elif path.suffix in (".csv", ".tsv"):
        kinds += ["cells"] * 2
    elif path.suffix == ".gz":
        kinds += ["packed"] * 2
    elif path.suffix == ".safetensors":
        kinds += ["header"]
    kind = dice.choice(kinds)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        data = CHANGES[kind](data, dice)
    path.write_bytes(data)
    return kind


def another_kind(path: Path, dice: random.Random) -> str:
    """Under the name is no file any more, or one of another content."""
    kind = dice.choice(("gone", "folder", "dangling link", "link to itself"))
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "gone":
        path.symlink_to(path.name if kind == "link to itself" else "nowhere")
    return kind


def any_bytes(data: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(data) + 1)
    length = min(len(data) - at, dice.choice((1, 2, 4, 16, 256)))
    chunk = bytes(dice.getrandbits(8) for _ in range(length))
    kind = dice.randrange(9)
    if kind == 0 and data:  # a bit
        at = min(at, len(data) - 1)
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[at + length :]
    if kind == 3:
        return data[:at] + dice.choice((b"\0", b"\xff", b"\x7f")) * length + data[at + length :]
    if kind == 4:
        return data[:at] + chunk + data[at:]
    if kind == 5:
        return data[:at] + data[at : at + length] * dice.choice((2, 50)) + data[at + length :]
    if kind == 6:
        return dice.choice(HEADS) + data[dice.choice((0, 8)) :]
    if kind == 7:
        return dice.choice(HEADS)
    return data[:at] + chunk + data[at + length :]


def json_value(data: bytes, dice: random.Random) -> bytes:
    """One value of one JSON text (of a random line, in JSONL) becomes an odd one, moves, doubles or goes."""
    lines = data.split(b"\n") if is_lines(data) else [data]
    place = dice.randrange(len(lines))
    try:
        tree = json.loads(lines[place])
    except (ValueError, RecursionError):
        return any_bytes(data, dice)
    text = json.dumps(changed(tree, dice), ensure_ascii=True)
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    lines[place] = text.encode("ascii")
    return b"\n".join(lines)


def is_lines(data: bytes) -> bool:
    return data.count(b"\n") > 0 and data.startswith(b"{") and data.rstrip().count(b"}\n{") > 0


def changed(tree: object, dice: random.Random) -> object:
    """tree with one change at a random depth."""
    if not isinstance(tree, dict | list) or not tree or dice.random() < 0.15:
        return dice.choice(ODD)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = dice.choice(keys)
    kind = dice.random()
    if kind < 0.6:
        tree[key] = changed(tree[key], dice)
    elif kind < 0.7:
        del tree[key]
    elif kind < 0.8:
        tree[key] = dice.choice(ODD)
    elif kind < 0.9:
        tree[key], other = tree[dice.choice(keys)], tree[key]
        tree[dice.choice(keys)] = other
    elif isinstance(tree, dict):
        tree[dice.choice(("", "x", "../x", "id", "__class__", str(key) + " "))] = tree.pop(key)
    else:
        tree.append(tree[key])
    return tree


def cells(data: bytes, dice: random.Random) -> bytes:
    """A cell, a column or a row of a CSV or TSV."""
    split = b"\t" if b"\t" in data else b","
    rows = [line.split(split) for line in data.split(b"\n")]
    row = dice.choice(rows)
    at = dice.randrange(len(row))
    odd = [v if isinstance(v, str) else json.dumps(v) for v in ODD]
    new = dice.choice([*odd, '"', '"""', 'a"b', "1e400", "-nan", "inf", "0x10", "１２", "x" * 200_000])
    kind = dice.randrange(5)
    if kind == 0:
        rows.append(list(row))
    elif kind == 1:
        del row[at]
    elif kind == 2:
        row.insert(at, b"")
    else:
        row[at] = new.encode("utf-8", "surrogatepass")
    return b"\n".join(split.join(row) for row in rows)


def packed(data: bytes, dice: random.Random) -> bytes:
    """What a gzip file holds, damaged and packed again."""
    try:
        return gzip.compress(cells(gzip.decompress(data), dice), mtime=0)
    except (OSError, EOFError):
        return any_bytes(data, dice)


def header(data: bytes, dice: random.Random) -> bytes:
    """The JSON header of a safetensors file, its length kept right or not."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return any_bytes(data, dice)
    new = json_value(data[8 : 8 + length], dice)
    stated = len(new) if dice.random() < 0.9 else dice.choice((0, 2**40, 2**63))
    return stated.to_bytes(8, "little") + new + data[8 + length :]


CHANGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bytes": any_bytes, "json": json_value, "cells": cells, "packed": packed, "header": header,
}  # fmt: skip
