"""Wrong answers made of valid ones, by a seed: swapped types, huge numbers, deep nesting, HTML, wrong encodings."""

import copy
import json
import random

DEEP = b"[" * 200_000
HTML = b"<!doctype html><html><body>\x1b[31mSign in\x1b[0m</body></html>"

_VALUES = (
    None, True, False, 0, -1, 1, 10**30, -(10**30), 1e308, -1e308, 0.5, "", "x", "\x1b[2J\x07", "\ud800", "9" * 400,
    "NaN", [], {}, [[]], [None], [[1.0]], {"a": {"b": []}}, float("nan"), float("inf"), "../../etc/passwd", "a" * 5000,
)  # fmt: skip


def _places(document):
    """Every (container, key) of a document."""
    found, left = [], [document]
    while left:
        node = left.pop()
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in entries:
            found.append((node, key))
            if isinstance(value, (dict, list)):
                left.append(value)
    return found


def _changed(document, rng):
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = _places(document)
        if not places:
            break
        node, key = rng.choice(places)
        how = rng.randrange(6)
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, list):
            node.insert(key, copy.deepcopy(rng.choice(node)))
        elif how == 2:
            node[key] = [node[key]] if rng.random() < 0.5 else {"x": node[key]}
        else:
            node[key] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(document).encode()


def mutations(document, n, seed):
    """n bodies of wrong answers; some may be valid by chance."""
    rng = random.Random(seed)
    valid = json.dumps(document).encode()
    odd = [
        b"", b" ", b"null", b"3", b'"x"', b"[]", b"{}", b"[[1.0]]", HTML, DEEP, b'{"a":' * 50_000, b"\xff\xfe\x00",
        valid.decode().encode("utf-16"), b"\xef\xbb\xbf" + valid, valid + valid, b"1" * 10_000, b"NaN",
        json.dumps({"error": "busy"}).encode(), valid.replace(b'"', b"'"),
    ]  # fmt: skip
    for place in range(n):
        if place < len(odd):
            yield odd[place]
        elif rng.random() < 0.15:
            yield valid[: rng.randrange(len(valid))]
        else:
            yield _changed(document, rng)
