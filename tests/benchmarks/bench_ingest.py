"""Ingest of synthetic interactions (k-core 5, order, split) against the same steps in pandas, as whole processes."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

from measure import Process, run_process

_RUNS = 3
_SPLITS = {
    "sessions": (),
    "leave-one-out": ("--split", "leave-one-out"),
    "global-time": ("--split", "global-time"),
    "global-time, each item": ("--split", "global-time", "--targets", "successive"),
    "users": ("--split", "users"),
    "files": ("--split", "files"),
}
_PANDAS_ROWS = 20_000_000  # beyond, pandas needs more memory than most machines have


def write_interactions(file: Path, rows: int, seed: int = 0) -> None:
    """A CSV of user_id, item_id, timestamp with long tails on both sides, so that the k-core takes several rounds."""
    import duckdb

    with duckdb.connect() as con:
        con.execute(f"select setseed({(seed + 1) / 1000})")
        con.execute(
            f"""
            copy (
                select
                    'U' || (pow(random(), 3) * {rows // 8})::bigint as user_id,
                    'B' || lpad(((pow(random(), 4) * {rows // 20})::bigint)::varchar, 9, '0') as item_id,
                    1500000000 + (random() * 3000)::bigint * 86400 as timestamp
                from range({rows})
            ) to '{file}' (header)
            """
        )


def with_pandas(file: Path, out: Path) -> None:
    """The peer: what one writes in a notebook, done well (only tied rows are hashed)."""
    import hashlib
    import math

    import pandas as pd

    data = pd.read_csv(file, dtype={"user_id": "str", "item_id": "str"})
    data["time"] = pd.to_datetime(data.pop("timestamp"), unit="s")
    while True:
        before = len(data)
        data = data[data.groupby("user_id")["item_id"].transform("size") >= 5]
        data = data[data.groupby("item_id")["user_id"].transform("size") >= 5]
        if len(data) == before:
            break
    tied = data.duplicated(["user_id", "time"], keep=False)
    data["tie"] = ""
    names = (data.loc[tied, "user_id"] + data.loc[tied, "item_id"]).to_list()
    data.loc[tied, "tie"] = [hashlib.md5(name.encode()).hexdigest() for name in names]
    last = data.groupby("user_id")["time"].max().reset_index(name="last")
    last["tie"] = [hashlib.md5(user.encode()).hexdigest() for user in last["user_id"]]
    last = last.sort_values(["last", "tie"]).reset_index(drop=True)
    last["session"] = last.index
    data = data.merge(last[["user_id", "session"]], on="user_id").sort_values(["session", "time", "tie"])
    data["position"] = data.groupby("session").cumcount() + 1
    train_sessions = len(last) - math.ceil(0.2 * len(last))
    data["test"] = data["session"] >= train_sessions
    data["item"], names = pd.factorize(data["item_id"], sort=True)
    items = pd.DataFrame({"item_id": names, "popularity": data["item"].value_counts().sort_index()})
    items["train"] = items.index.isin(data.loc[~data["test"], "item"].unique())
    known = data[data["test"] & data["item"].isin(items.index[items["train"]])]
    evaluated = known[known.groupby("session")["item"].transform("size") >= 2]
    last["truth"] = evaluated.groupby("session")["item"].last()
    data[["session", "position", "item", "time"]].to_parquet(out)
    items.to_parquet(out.with_name("items.parquet"))
    last.to_parquet(out.with_name("sessions.parquet"))


def run(options: Namespace) -> None:
    rows = options.rows
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "interactions.csv"
        write_interactions(file, rows)
        ours: list[Process] = []
        theirs: list[Process] = []
        pandas_too = rows <= _PANDAS_ROWS
        for number in range(_RUNS if pandas_too else 1):
            workspace = Path(folder) / f"workspace-{number}"
            command = [sys.executable, "-m", "llmseq_cli", "ingest", str(file), "--name", "big", "-q"]
            ours.append(run_process([*command, "--workspace", str(workspace)]))
            if pandas_too:
                peer = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from pathlib import Path;"
                peer += "from bench_ingest import with_pandas;"
                peer += f"with_pandas(Path({str(file)!r}), Path({folder!r}) / 'out.parquet')"
                theirs.append(run_process([sys.executable, "-c", peer]))
        print(f"{rows:,} rows, {file.stat().st_size / 1e6:,.0f} MB of CSV, k-core 5")
        print(f"llmseq ingest: {_median(ours)}")
        if theirs:
            print(f"pandas:        {_median(theirs)}")
            ratio = statistics.median(p.seconds / o.seconds for p, o in zip(theirs, ours, strict=True))
            print(f"ratio {ratio:.1f}")
        _splits(file, Path(folder))


def _splits(file: Path, folder: Path) -> None:
    """Ingest with every kind of split, in processor seconds as a multiple of the usual one's: the rounds take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in _SPLITS}
    parts = _parts_of(file, folder)
    for number in range(_RUNS):
        for name, words in _SPLITS.items():
            files = parts if name == "files" else [str(file)]
            command = [sys.executable, "-m", "llmseq_cli", "ingest", *files, "--name", "big", "--k-core", "5", "-q"]
            workspace = folder / f"split-{name.replace(' ', '-')}-{number}"
            seconds[name].append(run_process([*command, *words, "--workspace", str(workspace)]).cpu_seconds)
            shutil.rmtree(workspace)
    usual = statistics.median(seconds["sessions"])
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"split {name}: {median:.1f} s of processor, {median / usual:.2f} of sessions")


def _parts_of(file: Path, folder: Path) -> list[str]:
    """The same rows in three files, by time: train, valid, test."""
    import duckdb

    made = {"train": "timestamp < 1707000000", "valid": "timestamp >= 1707000000 and timestamp < 1733000000"}
    made["test"] = "timestamp >= 1733000000"
    with duckdb.connect() as con:
        for name, condition in made.items():
            con.execute(f"copy (from read_csv('{file}') where {condition}) to '{folder}/{name}.csv' (header)")
    return [f"{folder}/{name}.csv" for name in made]


def _median(processes: list[Process]) -> str:
    seconds = statistics.median(process.seconds for process in processes)
    return f"{seconds:.1f} s, {max(process.peak_mb for process in processes):,.0f} MB"
