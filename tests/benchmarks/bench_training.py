"""Training and scoring of neural models beside RecTools and RecBole: one thread, the same sizes, Beauty.

The libraries are installed into environments of their own in `.bench/` of the project, on the first run. Every
measurement is a process of its own; rounds alternate between the libraries. `--epochs N` trains N epochs instead of
some seconds and measures NDCG@20 too; with RecTools and RecBole an epoch takes minutes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from beauty_split import FOLDER, load_beauty

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_PEERS = {"rectools": ["sasrec", "bert4rec"], "recbole": ["sasrec", "bert4rec", "gru4rec"]}
_ROUNDS = 2
_COLUMNS = [
    ("positions/s", "positions_per_second", "{:,.0f}"),
    ("s/epoch", "seconds_per_epoch", "{:,.1f}"),
    ("peak MB", "peak_mb", "{:,.0f}"),
    ("scored/s", "sessions_per_second", "{:,.0f}"),
    ("NDCG@20", "ndcg", "{:.4f}"),
]


def run(options: Namespace) -> None:
    if not FOLDER:
        print("LLMSEQ_BEAUTY names no folder with the Beauty dataset: left out")
        return
    pythons = {library: python for library in _PEERS if (python := _environment(library))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "beauty.npz"
        _write_data(file)
        for model in ("sasrec", "bert4rec", "gru4rec"):
            libraries = ["llmseq", *(library for library in pythons if model in _PEERS[library])]
            measured: dict[str, list[dict[str, float]]] = {library: [] for library in libraries}
            for _ in range(_ROUNDS):
                for library in libraries:
                    python = pythons.get(library, sys.executable)
                    script = "ours.py" if library == "llmseq" else f"{library}_models.py"
                    measured[library].append(_measure(python, script, model, file, options.epochs))
            _print(model, measured)


def _write_data(file: Path) -> None:
    data = load_beauty()
    prompts = data.test.prompts()
    np.savez(
        file,
        n_items=len(data.catalog),
        items=data.train.items,
        offsets=data.train.offsets,
        prompts=prompts.items,
        prompt_offsets=prompts.offsets,
        targets=data.test.targets(),
    )


def _environment(library: str) -> str | None:
    """The Python of the library's environment, made on the first run; None, with a line, where that fails."""
    folder = _ROOT / ".bench" / library
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.is_file():
        return str(python)
    print(f"installing {library} into {folder.relative_to(_ROOT)} (once)", flush=True)
    torch = next(line for line in (_ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, torch],
        [*pip, "-r", str(_HERE / "peers" / f"{library}.txt"), torch],
    ]
    for command in commands:
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            print(f"{library} could not be installed: left out")
            return None
    ready.touch()
    return str(python)


def _measure(python: str, script: str, model: str, file: Path, epochs: int) -> dict[str, float]:
    command = [python, str(_HERE / "peers" / script), model, str(file), "--epochs", str(epochs)]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise RuntimeError(f"{script} {model} failed:\n{done.stderr[-2000:]}")
    return json.loads(lines[-1].removeprefix("FIGURES "))


def _print(model: str, measured: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n{model:<10}{'':12}" + "".join(f"{name:>13}" for name, _, _ in _COLUMNS) + f"{'ratio':>8}", flush=True)
    ours = statistics.median(one["positions_per_second"] for one in measured["llmseq"])
    for library, rounds in measured.items():
        cells = []
        for _, key, form in _COLUMNS:
            values = [one[key] for one in rounds if one[key] is not None]
            cells.append(f"{form.format(statistics.median(values)) if values else '':>13}")
        rate = statistics.median(one["positions_per_second"] for one in rounds)
        ratio = "" if library == "llmseq" else f"{ours / rate:.1f} ×"
        print(f"{'':10}{library:<12}" + "".join(cells) + f"{ratio:>8}", flush=True)
