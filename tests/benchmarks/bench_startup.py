"""What `llmseq --help` costs beside importing typer and rich."""

from __future__ import annotations

import statistics
import sys
from argparse import Namespace

from measure import run_process


def run(options: Namespace) -> None:
    helps, imports = [], []
    for _ in range(9):
        helps.append(run_process([sys.executable, "-m", "llmseq_cli", "--help"]).seconds)
        imports.append(run_process([sys.executable, "-c", "import typer, rich.console, rich.table"]).seconds)
    ours, theirs = statistics.median(helps), statistics.median(imports)
    print(f"llmseq --help {ours:.3f} s, importing typer and rich {theirs:.3f} s, difference {ours - theirs:.3f} s")
