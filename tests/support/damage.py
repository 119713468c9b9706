"""Damages saved artifacts at random and loads them, in a process of its own: a crash there is a result, too.

python damage.py FOLDER SEED FIRST LAST prints a line of JSON for each case from FIRST up to LAST. FOLDER holds a folder
`whole` with one folder for each kind of artifact.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KINDS = (
    *("most-popular", "sknn", "sf-sknn", "sknn-emb", "sknn-emb-sparse", "llmseqsim", "llmseqsim-sparse"),
    *("llmseqsim-index", "sasrec", "gru4rec", "hybrid-sequential", "blend", "stack"),
    *("checkpoint", "reduction", "language-model"),
)
N_ITEMS = 40


def sessions() -> Any:
    from llmseq_cli.data.sessions import Sessions

    draw = np.random.default_rng(1)
    return Sessions.from_lists([(draw.integers(N_ITEMS) + np.arange(5)) % N_ITEMS for _ in range(60)])


def embeddings(sparse: bool) -> Any:
    from scipy.sparse import random_array

    from llmseq_cli.embeddings.item_embeddings import ItemEmbeddings

    draw = np.random.default_rng(2)
    if sparse:
        vectors: Any = random_array((N_ITEMS, 30), density=0.3, rng=draw, dtype=np.float32).tocsr()
    else:
        vectors = draw.normal(size=(N_ITEMS, 12)).astype(np.float32)
    return ItemEmbeddings(vectors, "test", "test", "{title}")


def make(folder: Path) -> None:
    """One whole artifact of each kind, saved as the program saves it."""
    from support.similarity_samples import catalog

    from llmseq_cli.files import atomic_folder
    from llmseq_cli.models.recommender import FitContext
    from llmseq_cli.models.registry import model_class
    from llmseq_cli.settings import parse_settings

    neural = {"dim": "8", "epochs": "2", "max_length": "5", "patience": "0"}
    wanted: dict[str, tuple[str, dict[str, str], Any]] = {
        "most-popular": ("most-popular", {}, None),
        "sknn": ("sknn", {}, None),
        "sf-sknn": ("sf-sknn", {}, None),
        "sknn-emb": ("sknn-emb", {}, embeddings(False)),
        "sknn-emb-sparse": ("sknn-emb", {}, embeddings(True)),
        "llmseqsim": ("llmseqsim", {}, embeddings(False)),
        "llmseqsim-sparse": ("llmseqsim", {}, embeddings(True)),
        "llmseqsim-index": ("llmseqsim", {"index": "hnsw"}, embeddings(False)),
        "sasrec": ("sasrec", neural, None),
        "gru4rec": ("gru4rec", {**neural, "max_length": "4"}, None),
        "hybrid-sequential": ("hybrid-sequential", {}, None),
        "blend": ("blend", {"weights": "1,2"}, None),
        "stack": ("stack", {"item_traits": "popularity,age", "trees": "3"}, None),
    }
    made: dict[str, Any] = {}
    for kind, (name, settings, given) in wanted.items():
        cls = model_class(name)
        combined = ("sknn", "most-popular")
        of = {"hybrid-sequential": ("llmseqsim", "sknn"), "blend": combined, "stack": combined}.get(kind, ())
        base_models = tuple(_as_it_is(one, made[one]) for one in of)
        model = made[kind] = cls(parse_settings(cls.Settings, settings, name), N_ITEMS)
        model.fit(sessions(), FitContext(catalog(N_ITEMS), given, base_models=base_models))
        with atomic_folder(folder / kind, checksums=True) as partial:
            model.save(partial)
    _make_others(folder)


def _as_it_is(run: str, model: Any) -> Any:
    """A base model that is not trained again."""
    from llmseq_cli.models.recommender import BaseRun

    return BaseRun(run, model, lambda _, prompts, k: model.recommend(prompts, k, exclude_history=False))


def _make_others(folder: Path) -> None:
    import torch

    from llmseq_cli.language_model.scratch import make_scratch
    from llmseq_cli.language_model.settings import LocalTuning
    from llmseq_cli.models.neural.checkpoints import Checkpoints
    from llmseq_cli.progress import SilentProgress

    Checkpoints(folder / "checkpoint").write(3, {"weights.a": torch.arange(60.0)}, {"epoch": 1})
    _reduced(folder / "reduction")
    tuning = LocalTuning(dim=16, layers=1, heads=2, max_length=64, vocabulary=300, title_epochs=0)
    whole = make_scratch(folder / "scratch", ["red sock", "blue hat"], tuning, 0, [], SilentProgress())
    whole.rename(folder / "language-model")
    (folder / "scratch").rmdir()


def _reduced(folder: Path) -> np.ndarray:
    from llmseq_cli.embeddings.reduce import load_or_reduce

    return load_or_reduce(folder, embeddings(False), np.zeros(N_ITEMS, dtype=np.int32), "pca", 4, 0).vectors


def use(kind: str, folder: Path) -> Callable[[], Any]:
    """Loads an artifact; what it returns then puts it to use."""
    from llmseq_cli.language_model.library import load_model, load_tokenizer, make_loading
    from llmseq_cli.models.neural.checkpoints import Checkpoints
    from llmseq_cli.models.registry import model_class

    if kind == "checkpoint":
        tensors, about = Checkpoints(folder / kind).read("cpu") or ({}, {})
        return lambda: [about, {name: tensor.tolist() for name, tensor in sorted(tensors.items())}]
    if kind == "reduction":
        vectors = _reduced(folder / kind)
        return lambda: vectors.tolist()
    if kind == "language-model":
        tokens = load_tokenizer(str(folder / kind))("red sock")["input_ids"]
        weights = load_model(str(folder / kind), make_loading("cpu", "float32", False)).parameters()
        total = float(sum(one.double().sum() for one in weights))
        return lambda: [tokens, total]
    name = kind.removesuffix("-sparse").removesuffix("-index")
    model = model_class(name).load(folder / kind, N_ITEMS)
    return lambda: _lists(model)


def _lists(model: Any) -> list[Any]:
    lists = model.recommend(sessions().slice(0, 5), 10)
    return [lists.items.tolist(), lists.scores.tolist()]


def damage(folder: Path, draw: random.Random) -> str:
    """Flips, cuts, swaps or empties something in one file; → what."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = draw.choice(files)
    content = bytearray(file.read_bytes())
    how = draw.choice(("flip", "flip", "header", "cut", "swap", "empty", "zeros", "exchange"))
    n = len(content)
    if how == "flip":
        for _ in range(draw.choice((1, 1, 8))):
            content[draw.randrange(n)] ^= 1 << draw.randrange(8)
    elif how == "header":
        place = draw.randrange(min(n, 400))
        content[place] = draw.randrange(256)
    elif how == "cut":
        del content[draw.randrange(n) :]
    elif how == "swap":
        a, b, size = draw.randrange(n), draw.randrange(n), draw.randrange(1, 9)
        content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]
    elif how == "empty":
        content.clear()
    elif how == "zeros":
        place = draw.randrange(n)
        content[place : place + 16] = bytes(len(content[place : place + 16]))
    else:
        content = bytearray(draw.choice(files).read_bytes())
    file.write_bytes(bytes(content))
    return f"{how} {file.relative_to(folder)}"


def case(number: int, whole: Path, beside: Path, seed: int, expected: dict[str, Any]) -> dict[str, Any]:
    from llmseq_cli.errors import LlmseqError

    draw = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    place = beside / kind
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole / kind, place)
    old = draw.random() < 0.4  # an artifact of an older version, without checksums
    if old:
        for manifest in place.rglob("checksums.json"):
            manifest.unlink()
    what = damage(place, draw)
    about = {"case": number, "kind": kind, "old": old, "damage": what}
    try:
        used = use(kind, beside)
    except LlmseqError as error:
        named = str(beside) in error.message and len(error.message) < 700 and bool(error.hint)
        return about | {"end": "refused" if named else f"unclear: {error}"}
    except BaseException as error:
        return about | {"end": f"{type(error).__name__}: {error}"[:300]}
    finally:
        if kind in ("llmseqsim", "sknn", "most-popular"):  # others are made of them
            shutil.rmtree(place)
            shutil.copytree(whole / kind, place)
    try:
        same = used() == expected[kind]
    except BaseException as error:
        return about | {"end": f"later {type(error).__name__}: {error}"[:300]}
    return about | {"end": "same" if same else "other"}


def main(folder: Path, seed: int, first: int, last: int) -> None:
    import resource
    import warnings

    warnings.simplefilter("ignore")
    whole, beside = folder / "whole", folder / "damaged"
    beside.mkdir(exist_ok=True)
    for kind in ("llmseqsim", "sknn", "most-popular"):
        shutil.rmtree(beside / kind, ignore_errors=True)
        shutil.copytree(whole / kind, beside / kind)
    expected = {kind: use(kind, whole)() for kind in KINDS}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 30), resource.RLIM_INFINITY))
    for number in range(first, last):
        sys.stdout.write(json.dumps({"case": number, "end": "begun"}) + "\n")
        sys.stdout.flush()
        sys.stdout.write(json.dumps(case(number, whole, beside, seed, expected)) + "\n")


if __name__ == "__main__":
    if sys.argv[2:]:
        main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
    else:
        make(Path(sys.argv[1]) / "whole")
