"""Files of every format, damaged: cut, flipped, recoded, with quotes, NUL and deep JSON, as broken archives."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable

import zstandard

ROWS = 40
_TIMES = [1577836800 + 3600 * n for n in range(ROWS)]
_TRIPLES = [(f"u{n % 5}", f"i{n % 7}", time) for n, time in enumerate(_TIMES)]


def _lines(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _csv(sign: str, header: str = "user,item,time,title") -> bytes:
    rows = [sign.join((user, item, str(time), f'"A {n}"')) for n, (user, item, time) in enumerate(_TRIPLES)]
    return _lines(header.replace(",", sign), *rows)


def _objects(write: Callable[[dict], str], user: str = "user", item: str = "item", time: str = "time") -> bytes:
    return _lines(*(write({user: u, item: i, time: t}) for u, i, t in _TRIPLES))


SOURCES: dict[str, bytes] = {
    "a.csv": _csv(","),
    "a.tsv": _csv("\t"),
    "semicolon.csv": _csv(";"),
    "dates.csv": _lines(
        "user,item,date", *(f"{u},{i},{n % 28 + 1}/3/2021 8:0{n % 10}" for n, (u, i, _) in enumerate(_TRIPLES))
    ),
    "a.jsonl": _objects(json.dumps),
    "array.json": json.dumps([{"user": u, "item": i, "time": t} for u, i, t in _TRIPLES]).encode(),
    "pretty.json": _objects(lambda record: json.dumps(record, indent=2)),
    "literals.json": _objects(repr, "reviewerID", "asin", "unixReviewTime"),
    "reviews.json": _objects(json.dumps, "reviewerID", "asin", "unixReviewTime"),
    "steam.json": _lines(*(repr({"username": u, "product_id": i, "date": "2018-01-05"}) for u, i, _ in _TRIPLES)),
    "u.data": _lines(*(f"{u[1:]}\t{i[1:]}\t3\t{t}" for u, i, t in _TRIPLES)),
    "ratings.dat": _lines(*(f"{u[1:]}::{i[1:]}::3::{t}" for u, i, t in _TRIPLES)),
    "x.inter": _lines("user_id:token\titem_id:token\ttimestamp:float", *(f"{u}\t{i}\t{t}" for u, i, t in _TRIPLES)),
    "lists.csv": _lines("user,items", *(f'u{n},"[1, {n}, 3]"' for n in range(ROWS))),
    "sequences.txt": _lines(*(" ".join(map(str, range(n, n + 3 + n % 4))) for n in range(ROWS))),
}


def mutate(name: str, content: bytes, dice: random.Random) -> tuple[str, bytes]:
    """A file of this name and content after one to four accidents."""
    for _ in range(dice.randint(1, 4)):
        content = dice.choice(_ACCIDENTS)(content, dice)
    packed = dice.random()
    if packed < 0.1:
        name, content = name + ".gz", gzip.compress(content, mtime=0)
    elif packed < 0.15:
        name, content = name + ".zst", zstandard.compress(content)
    if packed < 0.12:
        content = dice.choice((_flip, _cut, _keep))(content, dice)
    return name, content


def _keep(content: bytes, dice: random.Random) -> bytes:
    return content


def _place(content: bytes, dice: random.Random) -> int:
    return dice.randrange(len(content) + 1)


def _flip(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.randint(1, 8)):
        if changed:
            changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _cut(content: bytes, dice: random.Random) -> bytes:
    return content[: _place(content, dice)]


def _take_out(content: bytes, dice: random.Random) -> bytes:
    first, last = sorted((_place(content, dice), _place(content, dice)))
    return content[:first] + content[last:]


def _insert(content: bytes, dice: random.Random) -> bytes:
    at = _place(content, dice)
    return content[:at] + dice.choice(_INSERTED) + content[at:]


def _insert_often(content: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(2, 12)):
        content = _insert(content, dice)
    return content


def _recode(content: bytes, dice: random.Random) -> bytes:
    text = content.decode("utf-8", errors="replace").replace("A", "Ä")
    return text.encode(dice.choice(("latin-1", "utf-16", "utf-8-sig", "cp1252")), errors="replace")


def _ends(content: bytes, dice: random.Random) -> bytes:
    lines = content.split(b"\n")
    return b"".join(line + dice.choice((b"\n", b"\r\n", b"\r", b"\n\n")) for line in lines)


def _shuffle(content: bytes, dice: random.Random) -> bytes:
    lines = content.split(b"\n")
    dice.shuffle(lines)
    return b"\n".join(lines)


def _repeat(content: bytes, dice: random.Random) -> bytes:
    return content * dice.randint(2, 4)


_DEEP = b"[" * 5000
_INSERTED = (
    *(b'"', b"'", b'""', b'"\n', b"\x00", b"\xff", b"\xef\xbb\xbf", b",", b"\t", b"\n", b"\r", b"\\", b"{", b"}", b"["),
    *(b"NaN", b"null", b"\\u0000", b"\\ud800", b"1e999", b"-1", b"9" * 400, b"x" * 200_000, _DEEP, b'{"a":' * 3000),
    *("é".encode(), "e\u0301".encode(), "😀".encode(), b"\x1a", b"\xe2\x80\xa8", b"%s{0}{x}", b";", b"|", b"::"),
)
_ACCIDENTS = (_flip, _cut, _take_out, _insert, _insert, _insert_often, _recode, _ends, _shuffle, _repeat)
