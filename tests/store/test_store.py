"""The workspace's file: migrations, who may hold it, what happens to it when things go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from llmseq_cli.errors import LlmseqError, WorkspaceBusyError
from llmseq_cli.store.connection import Store
from llmseq_cli.store.migrations import known_migrations, migrate, schema_version
from llmseq_cli.store.queries import query, sql_root
from llmseq_cli.store.runs import run_name

CONTRACT = {
    "datasets": ["dataset"],
    "items": ["dataset", "item", "title", "category", "popularity", "text"],
    "interactions": ["dataset", "session", "position", "item", "time"],
    "splits": ["dataset", "session", "part"],
    "item_embeddings": ["dataset", "item", "source", "model", "template", "text", "vector"],
    "runs": ["run", "dataset", "model", "label", "settings", "seed", "status"],
    "metrics": ["run", "metric", "k", "value"],
    "recommendations": ["run", "session", "rank", "item", "score"],
    "ranks": ["run", "session", "ground_truth", "rank"],
    "jobs": ["job", "dataset", "task", "provider", "remote_id", "status", "model"],
    "answers": ["run", "session", "sample", "text", "item", "similarity", "kind"],
    "trials": ["study", "trial", "settings", "value", "state"],
    "rejected": ["dataset", "file", "line", "reason"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "workspace")


def hold(store: Store, seconds: float) -> subprocess.Popen[str]:
    """Another process that writes to the workspace for so long; returns once it holds it."""
    code = (
        "import sys, time; from pathlib import Path; from llmseq_cli.store.connection import Store\n"
        "with Store(Path(sys.argv[1])).write('ingesting slowly'):\n"
        f"    print('held', flush=True); time.sleep({seconds})"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_new_workspace_has_all_views_of_the_contract(store):
    with store.write("testing") as con:
        for view, columns in CONTRACT.items():
            there = [column[0] for column in con.execute(f"select * from {view} limit 0").description]
            assert set(columns) <= set(there), view


def test_migrations_are_numbered_without_gaps_and_applied_once(store):
    numbers = [number for number, _ in known_migrations()]
    assert numbers == list(range(5, 5 + len(numbers)))
    with store.write("testing") as con:
        assert schema_version(con) == numbers[-1]
        migrate(con)
        assert con.execute("select count(*) from migration").fetchall() == [(len(numbers),)]


def test_a_failing_migration_leaves_nothing(tmp_path, monkeypatch):
    folder = tmp_path / "sql" / "schema"
    folder.mkdir(parents=True)
    (folder / "0001_good.sql").write_text("create table good (x integer)")
    (folder / "0002_bad.sql").write_text("create table half (x integer); create table half (x integer)")
    monkeypatch.setattr("llmseq_cli.store.migrations.sql_root", lambda: tmp_path / "sql")
    monkeypatch.setattr(
        "llmseq_cli.store.migrations.query", lambda name: (tmp_path / "sql" / f"{name}.sql").read_text()
    )
    con = duckdb.connect()
    with pytest.raises(duckdb.CatalogException):
        migrate(con)
    assert schema_version(con) == 1
    assert con.execute("select count(*) from duckdb_tables() where table_name = 'half'").fetchall() == [(0,)]


def test_an_older_workspace_is_upgraded_even_by_a_reader(store, monkeypatch):
    with store.write("testing") as con:
        newest = schema_version(con)
    later = [*known_migrations(), (newest + 1, "schema/later")]
    texts = {"schema/later": "create table later (x integer); create view seen as select x from later"}
    for module in ("migrations", "connection"):
        monkeypatch.setattr(f"llmseq_cli.store.{module}.known_migrations", lambda: later)
    monkeypatch.setattr("llmseq_cli.store.migrations.query", lambda name: texts[name])
    with store.read("testing") as con:
        assert schema_version(con) == newest + 1
        assert con.execute("select count(*) from seen").fetchall() == [(0,)]


FIRST_DRAFT = [(1, "schema/0001_foundation"), (6, "schema/0006_x")]
BEFORE_IT_WAS_ONE_FILE = [(number, f"schema/000{number}_x") for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("applied", [FIRST_DRAFT, BEFORE_IT_WAS_ONE_FILE, []])
def test_a_workspace_from_before_the_first_release_is_refused_and_not_written(store, applied):
    store.folder.mkdir()
    with duckdb.connect(str(store.file)) as con:
        con.execute("create table migration (version integer primary key, name varchar, applied_at timestamp)")
        for number, name in applied:
            con.execute("insert into migration values (?, ?, now())", [number, name])
    before = store.file.read_bytes()
    for opened in (store.read, store.write):
        with pytest.raises(LlmseqError, match="from before the first release") as error, opened("testing"):
            pass
        assert "ingest" in error.value.hint
    assert store.file.read_bytes() == before


def test_a_workspace_that_went_through_all_five_migrations_is_opened(store):
    with store.write("testing") as con:
        con.execute("delete from migration")
        for number in range(1, 6):
            con.execute("insert into migration values (?, ?, now())", [number, f"schema/000{number}_x"])
    for opened in (store.read, store.write):
        with opened("testing") as con:
            assert schema_version(con) == 5
            assert con.execute("select count(*) from migration").fetchall() == [(5,)]


def test_a_runs_name_is_the_models_and_a_number(store):
    with store.write("testing") as con:
        con.execute("insert into core.dataset values (1, 'shop', now(), '{}', '{}', '{}')")
        con.execute("insert into core.split values (1, 1, 'sessions', 'sessions', '{}', '{}', now())")
        con.execute(
            "insert into core.run (run_id, dataset_id, split_id, model, label, status, seed, settings, environment,"
            " figures, sessions, list_length, started_at)"
            " values (7, 1, 1, 'v-sknn', 'V-SKNN', 'done', 0, '{}', '{}', '{}', 1, 20, now())"
        )
        assert con.execute("select run from runs").fetchall() == [(run_name("v-sknn", 7),)] == [("v-sknn-7",)]


def test_a_newer_workspace_is_refused(store):
    with store.write("testing") as con:
        con.execute("insert into migration values (999, 'future', now())")
    for opened in (store.read, store.write):
        with pytest.raises(LlmseqError, match="written by a newer llmseq") as error, opened("testing"):
            pass
        assert "pip install -U llmseq" in error.value.hint


def test_a_file_that_is_no_workspace_is_refused(store):
    store.folder.mkdir()
    store.file.write_bytes(b"not a database" * 1000)
    with pytest.raises(LlmseqError, match="is not a DuckDB file"), store.read("testing"):
        pass
    store.file.unlink()
    duckdb.connect(str(store.file)).execute("create table theirs (x integer)").close()
    with pytest.raises(LlmseqError, match="was not made by llmseq"), store.write("testing"):
        pass


def test_reading_where_there_is_no_workspace(store):
    with pytest.raises(LlmseqError, match="there is no workspace in") as error, store.read("testing"):
        pass
    assert "llmseq demo" in error.value.hint
    assert not store.folder.exists()


def test_a_second_process_is_told_who_holds_the_workspace(store):
    holder = hold(store, 30)
    try:
        for opened in (store.read, store.write):
            with pytest.raises(WorkspaceBusyError) as error, opened("testing"):
                pass
            assert f"in use by process {holder.pid}, ingesting slowly" in error.value.message
            assert "--wait-for-lock" in error.value.hint
    finally:
        holder.kill()
        holder.wait()


def test_waiting_for_the_lock(store):
    holder = hold(store, 1)
    patient = Store(store.folder, wait_for_lock=True)
    with patient.write("testing") as con:
        assert con.execute("select 1").fetchall() == [(1,)]
    assert holder.wait() == 0


def test_several_processes_read_at_once(store):
    with store.write("testing"):
        pass
    code = (
        "import sys; from pathlib import Path; from llmseq_cli.store.connection import Store\n"
        "with Store(Path(sys.argv[1])).read('x') as con: print(con.execute('select count(*) from runs').fetchall())"
    )
    with store.read("testing"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(store.folder)], capture_output=True, text=True, check=False
        )
    assert done.stdout == "[(0,)]\n", done.stderr


def test_a_process_starts_one_duckdb_and_keeps_no_file_locked(store, monkeypatch):
    with store.write("testing"):
        pass
    monkeypatch.setattr("duckdb.connect", None)
    for opened in (store.read, store.write, store.read):
        with opened("testing") as con:
            assert con.execute("select count(*) from runs").fetchall() == [(0,)]
    holder = hold(store, 30)  # nothing is in its way
    holder.kill()
    holder.wait()


def test_two_workspaces_and_two_readers_at_once(store, tmp_path):
    other = Store(tmp_path / "it's another")
    with store.write("testing") as con:
        con.execute("create table ours as select 1 as x")
    with other.write("testing") as con, store.read("testing") as one, store.read("testing") as two:
        assert one.execute("from ours").fetchall() == two.execute("from ours").fetchall() == [(1,)]
        with pytest.raises(duckdb.CatalogException):
            con.execute("from ours")
    for each in (store, other):
        assert [file.name for file in each.folder.iterdir()] == ["llmseq.duckdb"]


def test_a_duckdb_that_failed_is_not_used_again(store):
    with store.write("testing"):
        pass
    with pytest.raises(LlmseqError, match="broken"), store.read("testing") as con:
        raise duckdb.FatalException("broken")
    with store.read("testing") as con:
        assert con.execute("select count(*) from runs").fetchall() == [(0,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_a_duckdb_of_its_own(store):
    with store.write("testing"):
        pass
    child = os.fork()
    if not child:
        signal.alarm(60)
        with suppress(BaseException), store.read("testing") as con:
            os._exit(con.execute("select count(*) + 7 from runs").fetchall()[0][0])
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_kill_in_the_middle_of_a_transaction_leaves_the_workspace_as_it_was(store):
    with store.write("testing") as con:
        con.execute("create table kept as select 1 as x")
    code = (
        "import sys, time; from pathlib import Path; from llmseq_cli.store.connection import Store\n"
        "with Store(Path(sys.argv[1])).transaction('x') as con:\n"
        "    con.execute('create table half as select range as x from range(3000000)')\n"
        "    print('half', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with store.write("testing") as con:
        assert con.execute("select x from kept").fetchall() == [(1,)]
        assert con.execute("select count(*) from duckdb_tables() where table_name = 'half'").fetchall() == [(0,)]


def test_a_transaction_that_fails_is_rolled_back(store):
    with pytest.raises(LlmseqError, match="nothing"), store.transaction("testing") as con:
        con.execute("create table half (x integer); select * from nothing")
    with store.read("testing") as con:
        assert con.execute("select count(*) from duckdb_tables() where table_name = 'half'").fetchall() == [(0,)]


def test_ctrl_c_stops_a_query_that_stays_inside_duckdb(store):
    code = (
        "import signal, sys; from pathlib import Path; from llmseq_cli.store.connection import Store\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job is born without
        "try:\n"
        "    with Store(Path(sys.argv[1])).write('x') as con:\n"
        "        print('begun', flush=True)\n"
        "        con.execute('select count(*) from range(100000) a, range(1000000) b where a.range * b.range = 3')\n"
        "except KeyboardInterrupt: sys.exit(77)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait(timeout=30) == 77
    finally:
        process.kill()
    with store.read("testing") as con:
        assert con.execute("select count(*) from runs").fetchall() == [(0,)]


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(LlmseqError, match="is not a folder"), Store(tmp_path / "file").write("testing"):
        pass


def test_database_errors_become_one_line(store):
    message = "Catalog Error: Table with name nothing does not exist"
    with pytest.raises(LlmseqError, match=message) as error, store.write("testing") as con:
        con.execute("select * from nothing")
    assert "\n" not in error.value.message


def test_every_query_file_says_what_a_row_is():
    for file in sorted(sql_root().rglob("*.sql")):
        name = str(file.relative_to(sql_root()).with_suffix(""))
        assert query(name).startswith("--"), name
        if file.parent.name != "schema" and file.stem != "macros":
            assert "one row" in query(name), f"{name} does not say what one row is"


def test_every_query_file_is_used():
    package = Path(query.__wrapped__.__globals__["__file__"]).parent.parent
    code = "\n".join(file.read_text() for file in package.rglob("*.py"))
    for file in sorted(sql_root().rglob("*.sql")):
        name = str(file.relative_to(sql_root()).with_suffix(""))
        if file.parent.name == "schema":
            continue
        folder, _, stem = name.partition("/")
        assert f'"{name}"' in code or f"'{name}'" in code or (f'"{folder}/{{' in code and f'"{stem}"' in code), name


def test_a_terminal_gets_the_first_rows_of_a_large_table(llmseq, shop, monkeypatch):
    many = "select range as place from range(1500)"
    assert "1,500 rows" in llmseq("sql", many).out
    monkeypatch.setattr("llmseq_cli.cli.console.PlainConsole.is_terminal", True)
    shown = llmseq("sql", many)
    assert (" 999" in shown.out, "1000" in shown.out, "rows" in shown.out) == (True, False, False)
    assert shown.err == "the first 1,000 rows; pipes, files and --json get all\n"
    assert len(llmseq("sql", many, "--json").json) == 1500
