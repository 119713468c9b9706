"""The README of a bundle."""

from __future__ import annotations

import json
import shlex
from typing import Any

_PAGE = """# {label}, trained on {dataset}

This folder recommends next items without a workspace. It needs `pip install llmseq`.

```sh
python -m llmseq_cli.bundle . {words}
```

```python
from llmseq_cli.bundle import Bundle

bundle = Bundle.open(".")
print(bundle.recommend({session}, k=5))
```

A session is a list of item ids or titles, oldest first. {repeats}{times}

`llmseq serve ./` answers over HTTP and has a page to try sessions on (`pip install 'llmseq[serve]'`).

| file | content |
|---|---|
| `bundle.json` | how the model was made: settings, seed, versions; its metrics; the rules of its lists |
| `models/` | the trained model (safetensors and JSON){members} |
| `items.jsonl` | one item per line, in the model's order: id, title, category, and whether the model knows it |
{more}| `checksums.json` | SHA-256 of all files; llmseq refuses a bundle with changed files |

{metrics}
"""

_TIMES = """
The network reads when items were used: `times=["2024-05-01", "2024-05-09T18:30"]`, or seconds since 1970. Without
times it treats the gaps between items as unknown."""
_VECTORS = "| `vectors.safetensors` | `vectors`: one row per item; a score is its {similarity} with the session's |\n"
_GRAPH = "| `model.onnx` | the network: `items`, `lengths` → `session` (its vector), `scores` (of all items) |\n"

_ONNX = """
## Without llmseq

`model.onnx` runs wherever ONNX runs. It takes item numbers (lines of `items.jsonl`, from 0), padded at the end,
and reads at most the last {longest} known items.

```python
import json

import numpy as np
import onnxruntime

with open("items.jsonl", encoding="utf-8") as lines:
    items = [json.loads(line) for line in lines]
number = {{item["item"]: place for place, item in enumerate(items)}}
session = [number[item] for item in {session}]
read = [place for place in session if items[place]["known"]][-{longest}:]
graph = onnxruntime.InferenceSession("model.onnx")
[[scores]] = graph.run(["scores"], {{"items": np.array([read]), "lengths": np.array([len(read)])}})
{exclude}for place in np.argsort(-scores, kind="stable")[:5]:
    print(items[place]["item"], items[place]["title"], scores[place])
```

`Bundle.open(".", onnx=True)` does the same, with the rules for ties.
"""


def readme(about: dict[str, Any], examples: list[str]) -> str:
    """about: the content of bundle.json. examples: ids of items."""
    excludes = about["rules"]["repeats"] == "exclude"
    more = _VECTORS.format(similarity=about["similarity"]) if about["similarity"] else ""
    session = json.dumps(examples, ensure_ascii=False)
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in about["metrics"].items() if name.endswith("@20"))
    page = _PAGE.format(
        label=about["label"],
        dataset=about["dataset"],
        words=shlex.join(examples),
        session=session,
        repeats="Lists contain no item of the session." if excludes else "Lists may contain items of the session.",
        times=_TIMES if about["settings"].get("time", "none") != "none" else "",
        members=" and its base models" if "," in str(about["settings"].get("runs", "")) else "",
        more=more + (_GRAPH if about["onnx"] else ""),
        metrics=f"On {about['sessions']:,} test sessions: {metrics}." if metrics else "",
    )
    if about["onnx"]:
        exclude = "scores[session] = -np.inf\n" if excludes else ""
        page += _ONNX.format(longest=about["onnx"]["longest"], session=session, exclude=exclude)
    return page
