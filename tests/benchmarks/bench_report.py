"""Reports over a thousand runs with 4,469 scored sessions each: what a user waits for, from start to last line."""

from __future__ import annotations

import statistics
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
from measure import run_process

from llmseq_cli import IngestOptions, TrainOptions
from llmseq_cli.data.ingest import Protocol
from llmseq_cli.workspace import Workspace

_SESSIONS = 22_345  # a fifth of them is scored: 4,469
_RUNS = 1_000
_SEEDS = 5  # runs that differ by nothing else

_CLONES = f"""
insert into core.run by name
select
    1000 + g as run_id, dataset_id, split_id, model, label, status, (g % {_SEEDS})::integer as seed,
    json_merge_patch(settings, ('{{"variant": ' || g // {_SEEDS} || '}}')::json) as settings,
    embeddings, environment, figures,
    sessions, depth, started_at
from core.run, range({_RUNS}) as t(g);
insert into core.metric
select 1000 + g, metric, k, value * (0.9 + 0.2 * (hash(g, metric) % 1000) / 1000)
from core.metric, range({_RUNS}) as t(g);
insert into core.case_rank
select 1000 + g, case_id, nullif((hash(g, case_id) % 200)::smallint, 0)
from core.case_rank, range({_RUNS}) as t(g);
insert into core.recommendation
select 1000 + g, case_id, rank, item_id, score
from core.recommendation, range(2) as t(g)
"""


def run(options: Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _make_workspace(Path(folder))
        twenty = ",".join(str(1000 + number) for number in range(20))
        for what, words in {
            f"leaderboard of {_RUNS:,} runs, in groups of {_SEEDS} seeds": [],
            f"leaderboard of {_RUNS:,} runs, one line each": ["--no-group"],
            "significance over 20 runs": ["--models", twenty, "--no-group", "--significance"],
            f"significance over {_RUNS:,} runs": ["--significance"],
            "two runs compared": ["compare", "1000", "1001", "--sessions", "0"],
        }.items():
            command = words if "compare" in words else ["report", *words]
            done = [
                run_process([sys.executable, "-m", "llmseq_cli", *command], {"LLMSEQ_WORKSPACE": f"{folder}/workspace"})
                for _ in range(5)
            ]
            seconds = statistics.median(one.seconds for one in done)
            print(f"{what}: {seconds:.2f} s, {max(one.peak_mb for one in done):,.0f} MB", flush=True)


def _make_workspace(folder: Path) -> None:
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(_SESSIONS), 6)
    items = random.zipf(1.3, len(users)) % 2_000
    lines = (f"u{user},i{item},{time}" for time, (user, item) in enumerate(zip(users, items, strict=True)))
    clicks = folder / "clicks.csv"
    clicks.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n", encoding="utf-8")
    workspace = Workspace(folder / "workspace")
    workspace.ingest(IngestOptions([clicks], "shop", protocol=Protocol(k_core=0)))
    workspace.train(TrainOptions("most-popular", list_length=20))
    workspace.sql(_CLONES, write=True)
