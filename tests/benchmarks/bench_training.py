"""Training and scoring of neural models beside RecTools and RecBole: one thread, the same sizes, Beauty.

The libraries are installed into environments of their own in `.bench/` of the project, on the first run. Every
measurement is a process of its own; rounds alternate between the libraries, and a ratio is the median over rounds of
ours to theirs. Of positions and ratios there are two: by the clock, and by seconds on the processor, which other work
on the machine hardly moves. `--minutes` lets every library train for as long on the processor, instead of measuring
some seconds, and shows the NDCG@20 that it reaches. With RecTools and RecBole an epoch takes minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from support.beauty_split import FOLDER, load_beauty

Figures = dict[str, float | None]

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_PEERS = {"rectools": ["sasrec", "bert4rec"], "recbole": ["sasrec", "bert4rec", "gru4rec"]}
_OURS, _OURS_FLOAT32, _OURS_TWO, _PRODUCTS = "llmseq", "float32", "two threads", "products"
"""llmseq; again, with products in the precision that every processor has; and with two threads; and the products of
the softmax alone, which nothing that has one can pass."""
_SCRIPTS = {
    _OURS: ["ours.py"],
    _OURS_FLOAT32: ["ours.py", "--precision", "float32"],
    _OURS_TWO: ["ours.py", "--threads", "2"],
    _PRODUCTS: ["products.py"],
}
_MODELS = ("sasrec", "bert4rec", "gru4rec")
_ROUNDS = 2
_PATIENCE = 600  # seconds for one measurement that trains for some seconds only
_COLUMNS = [
    ("positions/s", "positions_per_second", "{:,.0f}"),
    ("/CPU s", "positions_per_cpu_second", "{:,.0f}"),
    ("s/epoch", "seconds_per_epoch", "{:,.1f}"),
    ("peak MB", "peak_mb", "{:,.0f}"),
    ("scored/s", "sessions_per_second", "{:,.0f}"),
    ("NDCG@20", "ndcg", "{:.4f}"),
]
_RATIOS = [("ratio", "positions_per_second"), ("by CPU s", "positions_per_cpu_second")]


def run(options: Namespace) -> None:
    if not (FOLDER and (Path(FOLDER) / "reviews_Beauty_5.json.gz").is_file()):
        print("LLMSEQ_BEAUTY names no folder with the Beauty dataset: left out")
        return
    pythons = {library: python for library in _PEERS if (python := _environment(library))}
    pythons |= dict.fromkeys(_SCRIPTS, sys.executable)
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "beauty.npz"
        _write_data(file)
        for model in _MODELS:
            measured[model] = _compare(model, pythons, file, options.minutes)
            _print(model, measured[model])
    if options.json:
        Path(options.json).write_text(json.dumps({"training": measured}, indent=2) + "\n", encoding="utf-8")


def _write_data(file: Path) -> None:
    data = load_beauty()
    histories = data.test.histories()
    np.savez(
        file,
        n_items=len(data.catalog),
        items=data.train.items,
        offsets=data.train.offsets,
        histories=histories.items,
        prompt_offsets=histories.offsets,
        targets=data.test.targets(),
    )


def _environment(library: str) -> str | None:
    """The Python of the library's environment, made where it is missing or old; None, with a line, where that fails."""
    folder = _ROOT / ".bench" / library
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = _HERE / "peers" / f"{library}.txt"
    torch = next(line for line in (_ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    version = hashlib.sha256(f"{sys.version} {torch} {wanted.read_text()}".encode()).hexdigest()
    if ready.is_file() and ready.read_text() == version:
        return str(python)
    print(f"installing {library} into {folder.relative_to(_ROOT)} (once)", flush=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2"]
    commands = [
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [*pip, torch],
        [*pip, "-r", str(wanted), torch],
    ]
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            print(f"{library} could not be installed, left out: {_reason(done.stderr)}", flush=True)
            return None
    ready.write_text(version)
    return str(python)


def _reason(stderr: str) -> str:
    """The line that says most: the last error of pip, else the last line of a traceback."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    if errors and "connection broken by" in stderr:  # pip's last error then is that it found no version
        return f"the package index cannot be reached ({errors[-1]})"
    return (errors or lines or ["no reason given"])[-1]


def _compare(model: str, pythons: dict[str, str], file: Path, minutes: float) -> dict[str, list[Figures]]:
    """The figures of every library that has the model, one a round; a library that fails is left out, with a line."""
    measured: dict[str, list[Figures]] = {name: [] for name in ((_OURS,) if minutes else _SCRIPTS)}
    measured |= {library: [] for library in pythons if model in _PEERS.get(library, [])}
    for _ in range(1 if minutes else _ROUNDS):
        for library in list(measured):
            figures = _measure(pythons[library], library, model, file, minutes)
            if figures is not None:
                measured[library].append(figures)
            elif library in _SCRIPTS:
                raise RuntimeError(f"{_OURS} could not train {model}")
            else:
                del measured[library]
    return measured


def _measure(python: str, library: str, model: str, file: Path, minutes: float) -> Figures | None:
    script, *more = _SCRIPTS.get(library, [f"{library}_models.py"])
    command = [python, str(_HERE / "peers" / script), model, str(file), "--minutes", str(minutes), *more]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command, env=os.environ | one_thread, capture_output=True, text=True, timeout=None if minutes else _PATIENCE
        )
    except subprocess.TimeoutExpired:
        print(f"{library} {model} was not measured, left out: no figures after {_PATIENCE} s", flush=True)
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        print(f"{library} {model} was not measured, left out: {_reason(done.stderr)}", flush=True)
        return None
    return json.loads(lines[-1].removeprefix("FIGURES "))


def _print(model: str, measured: dict[str, list[Figures]]) -> None:
    heads = "".join(f"{name:>13}" for name, *_ in [*_COLUMNS, *_RATIOS])
    print(f"\n{model:<10}{'':12}{heads}", flush=True)
    for library, rounds in measured.items():
        cells = [_cell(form, [one.get(key) for one in rounds]) for _, key, form in _COLUMNS]
        if library not in (_OURS, _OURS_TWO, _PRODUCTS):
            pairs = list(zip(measured[_OURS], rounds, strict=True))
            cells += [_cell("{:.1f} ×", [ours[key] / theirs[key] for ours, theirs in pairs]) for _, key in _RATIOS]
        print(f"{'':10}{library:<12}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    if _PRODUCTS in measured:
        of_limit = _median_ratio(measured[_OURS], measured[_PRODUCTS], "positions_per_cpu_second")
        by_two = _median_ratio(measured[_OURS_TWO], measured[_OURS], "positions_per_second")
        print(f"{'':10}{of_limit:.2f} of what the products alone allow; two threads: {by_two:.2f} x one", flush=True)


def _median_ratio(rounds: list[Figures], others: list[Figures], key: str) -> float:
    return statistics.median(
        float(one[key] or 0) / float(other[key] or 1) for one, other in zip(rounds, others, strict=True)
    )


def _cell(form: str, values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return form.format(statistics.median(known)) if known else ""
