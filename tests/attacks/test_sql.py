"""`llmseq sql` against statements that write, attach, read, install or set what is none of their business."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

import pytest

from llmseq_cli.store.connection import Store

SECRET = "the-secret-of-a-file"

READ_ONLY = [
    # write the workspace's file, however it is spelled
    "copy (select 1) to '{ws}/llmseq.duckdb'",
    "copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)",
    "explain analyze copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)",
    "with a as (copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)) from a",
    "copy (select 1) to (select '{ws}/llmseq.duckdb')",
    "copy (select 1) to ('{ws}/llmseq' || '.duckdb') (use_tmp_file false)",
    "copy (select 1) to '{link}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{hard}' (use_tmp_file false)",
    "copy (select 1) to 'file://{ws}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{ws}/../{ws_name}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{ws}/llmseq.duckdb.wal' (use_tmp_file false)",
    "copy (select 1) to '{ws}/in-use.json'",
    "copy (select 1) to '{ws}/artifacts/model.json'",
    "copy (select 1 as x, 2 as y) to '{ws}/llmseq.duckdb.tmp' (format parquet, partition_by (x))",
    "prepare p as copy (select 1) to $1 (use_tmp_file false); execute p('{ws}/llmseq.duckdb')",
    "select 1; copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)",
    # write elsewhere
    "copy (select 1) to '{out}/x.csv'",
    "copy (select 1) to '{out}/x.json' (format json)",
    "copy (select 1) to '{out}/x.parquet' (format parquet)",
    "copy (select 1) to '/dev/stdout'",
    "copy (select 1) to stdout",
    "copy (select 1 as x, 2 as y) to '{out}/parts' (format csv, partition_by (x))",
    "copy datasets to '{out}/x.csv'",
    "export database '{out}/whole'",
    "export database '{out}/whole' (format parquet)",
    # change tables
    "create table t (x integer)",
    "create or replace view runs as select 1",
    "create temp table t as select 1",
    "create schema mine",
    "create sequence q",
    "create type mood as enum ('good')",
    "create macro one() as 1",
    "insert into core.dataset select * from core.dataset",
    "with a as (insert into migration values (7, 'x', now()) returning *) from a",
    "update core.dataset set name = 'other'",
    "delete from core.dataset",
    "truncate core.dataset",
    "merge into core.dataset as d using core.dataset as s on d.name = s.name when matched then delete",
    "drop table core.dataset",
    "drop schema core cascade",
    "alter table core.dataset rename to set",
    "comment on table core.dataset is 'mine'",
    "select nextval('core.run_number')",
    "begin; delete from core.dataset; commit",
    "explain analyze delete from core.dataset",
    "checkpoint",
    "vacuum",
    # attach
    "attach '{other}/llmseq.duckdb' as n (read_write); drop table n.core.dataset",
    "attach '{other}/llmseq.duckdb' as n (read_only); from n.core.dataset",
    "attach '{ws}/llmseq.duckdb' as again",
    "attach '{out}/new.duckdb' as new",
    "attach ':memory:' as m",
    "attach '{url}/x.duckdb' as remote",
    "attach 'dbname=x' as p (type postgres)",
    "detach llmseq",
    "use memory",
    "copy from database llmseq to memory",
    # read files
    "select * from read_csv('{file}')",
    "select * from read_text('{file}')",
    "select content from read_blob('{file}')",
    "select * from read_json('{file}')",
    "select * from read_parquet('{file}')",
    "select * from parquet_metadata('{file}')",
    "select * from sniff_csv('{file}')",
    "select * from glob('{out}/*')",
    "select * from '{file}'",
    'select * from "{file}"',
    "from '{out}/*.csv'",
    "select * from read_text('{ws}/artifacts/model.json')",
    "select * from read_text('{ws}/llmseq.duckdb')",
    "select * from read_duckdb('{other}/llmseq.duckdb')",
    "copy core.metric from '{file}'",
    "import database '{out}'",
    "pragma import_database('{out}')",
    "select getenv('HOME')",
    "select * from query('select * from read_text(''{file}'')')",
    "select * from json_execute_serialized_sql(json_serialize_sql('select * from read_text(''{file}'')'))",
    "pragma json_execute_serialized_sql('x')",
    "select * from statement",  # a variable of the program
    "select * from columns",
    "select * from duckdb_extensions()",
    # install, network
    "install httpfs",
    "install spatial from community",
    "force install icu from '{url}'",
    "load httpfs",
    "load '{out}/evil.duckdb_extension'",
    "update extensions",
    "select * from read_csv('{url}/x.csv')",
    "select * from '{url}/x.parquet'",
    "select * from read_csv('s3://bucket/x.csv')",
    "copy (select 1) to '{url}/x.csv'",
    "create secret s (type s3, key_id 'a', secret 'b')",
    "create persistent secret s (type http)",
    # settings
    "set enable_external_access = true",
    "set disabled_filesystems = ''",
    "set lock_configuration = false",
    "set allowed_directories = ['/']",
    "set temp_directory = '{out}'",
    "set home_directory = '{out}'",
    "set extension_directory = '{out}'",
    "reset disabled_filesystems",
    "set variable x = 1",
    "pragma enable_profiling = 'json'",
    "pragma profiling_output = '{out}/profile.json'",
    "pragma database_list",
    "call enable_logging(storage = 'file', storage_config = {{'path': '{out}'}})",
    "call truncate_duckdb_logs()",
    "select * from (select set_config('x', 'y'))",
]

WITH_WRITE = [
    "copy (select 1) to '{ws}/llmseq.duckdb'",
    "copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)",
    "explain analyze copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)",
    "with a as (copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)) from a",
    "with a as (copy (select 1) to ('{ws}/llmseq' || '.duckdb') (use_tmp_file false)) from a",
    "copy (select 1) to ('{ws}/llmseq' || '.duckdb') (use_tmp_file false)",
    "copy (select 1) to '{ws}/llmseq'\n'.duckdb' (use_tmp_file false)",
    "copy (select 1) to $${ws}/llmseq.duckdb$$ (use_tmp_file false)",
    "copy (select 1) to e'{ws}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to /* 'x.csv' */ '{ws}/llmseq.duckdb' (use_tmp_file false)",
    "set variable p = '{ws}/llmseq.duckdb'; copy (select 1) to (getvariable('p')) (use_tmp_file false)",
    "prepare p as copy (select 1) to $1 (use_tmp_file false); execute p('{ws}/llmseq.duckdb')",
    "copy (select 1) to '{link}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{sym}' (use_tmp_file false)",
    "copy (select 1) to '{dangling}' (use_tmp_file false)",
    "copy (select 1) to '{hard}' (use_tmp_file false)",
    "copy (select 1) to '{out}/trap.csv'",  # DuckDB would write to tmp_trap.csv first
    "copy (select 1) to 'file://{ws}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to 'file:{ws}/%6clmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{ws}/../{ws_name}/./llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{ws}//llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{relative}/llmseq.duckdb' (use_tmp_file false)",
    "copy (select 1) to '{ws}/llmseq.duckdb.wal' (use_tmp_file false)",
    "copy (select 1) to '{ws}/llmseq.duckdb.wal.checkpoint' (use_tmp_file false)",
    "copy (select 1 as x, 2 as y) to '{ws}/llmseq.duckdb.tmp' (format parquet, partition_by (x))",
    "copy (select 1 as x, 2 as y) to '{ws}' (format parquet, partition_by (x), overwrite)",
    "copy (select 1 as x, 2 as y) to '{ws}/..' (format parquet, partition_by (x), overwrite_or_ignore)",
    "copy (select 1 as x, 2 as y) to '{tree}' (format csv, partition_by (x), overwrite)",
    "copy (select 1) to '{out}/p' (per_thread_output, filename_pattern '../../{ws_name}/x')",
    "copy (select 1) to '{out}/p' (per_thread_output, file_extension '/../../{ws_name}/llmseq.duckdb')",
    "copy (select 1) to '{out}/p' (per_thread_output, file_extension ('/../' || '/x'))",
    "copy (select 1) to '{ws}/in-use.json'",
    "copy (select 1) to '{ws}/artifacts/model.json'",
    "copy (select 1) to '{ws}/artifacts/new.json'",
    "export database '{ws}/artifacts'",
    "export database '{ws}/llmseq.duckdb.tmp'",
    "export database '{tree}'",
    "attach '{ws}/llmseq.duckdb' as again",
    "attach '{hard}' as again",
    "attach '{link}/llmseq.duckdb' as again (read_only)",
    "attach '{ws}/artifacts/new.duckdb' as new",
    "attach 'file:{ws}/llmseq.duckdb' as again",
    "select * from read_text('{ws}/artifacts/model.json')",
    "select * from read_text('{link}/artifacts/model.json')",
    "select * from read_text('{ws}/artifacts/*.json')",
    "select * from read_text('{out}/' || 'secret.csv')",
    "set variable p = '{out}/'; select * from read_text(getvariable('p') || 'secret.csv')",
    "import database '{out}'",
    "pragma import_database('{out}')",
    "pragma json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "from query('with a as (copy (select 1) to ''{ws}/llmseq.duckdb'' (use_tmp_file false)) from a')",
    "install httpfs",
    "force install icu from '{url}'",
    "load '{out}/evil.duckdb_extension'",
    "update extensions",
    "select * from read_csv('{url}/x.csv')",
    "attach '{url}/x.duckdb' as remote",
    "create persistent secret s (type http)",
    "set lock_configuration = false",
    "set enable_external_access = true",
    "set allowed_paths = ['/etc/passwd']",
    "pragma profiling_output = '{out}/profile.json'",
    "call enable_logging(storage = 'file', storage_config = {{'path': '{out}'}})",
]


class Asked(StreamRequestHandler):
    count = 0

    def handle(self) -> None:
        Asked.count += 1


@pytest.fixture
def net():
    Asked.count = 0
    server = ThreadingTCPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "workspace"
    with Store(folder).write("testing") as con:
        con.execute("insert into core.dataset values (1, 'shop', now(), '{}', '{}', '{}')")
        con.execute("insert into core.metric values (1, 'ndcg', 20, 0.5)")
    (folder / "artifacts").mkdir()
    (folder / "artifacts" / "model.json").write_text(f'{{"x": "{SECRET}"}}')
    return folder


@pytest.fixture
def places(tmp_path, monkeypatch, net, made) -> dict[str, str]:
    """A workspace, another one, a folder of files, links into the workspace; the names that statements use for them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    ws, other, out = tmp_path / "workspace", tmp_path / "other", tmp_path / "out"
    for folder in (ws, other):
        shutil.copytree(made, folder)
    out.mkdir()
    (out / "secret.csv").write_text(f"x\n{SECRET}\n")
    (out / "schema.sql").write_text(f"copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false);")
    (out / "load.sql").write_text("")
    (out / "tree").mkdir()
    (tmp_path / "link").symlink_to(ws)
    (out / "tree" / "x=1").symlink_to(ws)
    (out / "sym.csv").symlink_to(ws / "llmseq.duckdb")
    (out / "dangling.csv").symlink_to(ws / "llmseq.duckdb.wal")
    (out / "tmp_trap.csv").symlink_to(ws / "llmseq.duckdb.wal")
    os.link(ws / "llmseq.duckdb", tmp_path / "hard.duckdb")
    return {
        "ws": str(ws), "ws_name": ws.name, "relative": ws.name, "other": str(other), "out": str(out), "url": net,
        "file": str(out / "secret.csv"), "link": str(tmp_path / "link"), "hard": str(tmp_path / "hard.duckdb"),
        "sym": str(out / "sym.csv"), "dangling": str(out / "dangling.csv"), "tree": str(out / "tree"),
    }  # fmt: skip


def prints(root: Path, without: Path | None = None) -> dict[str, str]:
    """What every file below a folder holds; the workspace's own database is looked at by its rows instead."""
    return {
        str(path.relative_to(root)): "link" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or (path.is_file() and (without is None or not path.samefile(without)))
    }


def rows(folder: Path) -> list[object]:
    with Store(folder).read("testing") as con:
        return [con.execute(f"from {table}").fetchall() for table in ("core.dataset", "core.metric", "migration")]


@pytest.mark.parametrize("statement", READ_ONLY)
def test_a_query_reads_tables_and_nothing_else(llmseq, tmp_path, places, statement):
    before = prints(tmp_path)
    done = llmseq("sql", statement.format(**places))
    assert prints(tmp_path) == before
    assert Asked.count == 0
    assert done.status == 1, done.out
    assert SECRET not in done.out + done.err.replace(statement, "")
    assert done.err.startswith("error: ")
    assert "hint: " in done.err
    assert "this is a bug" not in done.err


@pytest.mark.parametrize("statement", WITH_WRITE)
def test_with_write_the_workspaces_files_stay_out_of_reach(llmseq, tmp_path, places, statement):
    database = tmp_path / "workspace" / "llmseq.duckdb"
    before, rows_before = prints(tmp_path, database), rows(tmp_path / "workspace")
    done = llmseq("sql", statement.format(**places), "--write")
    after = prints(tmp_path, database)
    assert after == before
    assert rows(tmp_path / "workspace") == rows_before
    assert Asked.count == 0
    assert done.status == 1, done.out
    assert SECRET not in done.out + done.err
    assert done.err.startswith("error: ")
    assert "this is a bug" not in done.err


@pytest.mark.parametrize("statement", ["copy (select 1) to '{ws}/llmseq.duckdb' (use_tmp_file false)", "from '{file}'"])
def test_a_leaderboard_of_ones_own_is_no_way_out(llmseq, tmp_path, places, statement):
    (tmp_path / "own.sql").write_text(statement.format(**places))
    before = prints(tmp_path)
    done = llmseq("report", "--sql", tmp_path / "own.sql")
    assert (done.status, prints(tmp_path)) == (1, before)
    assert SECRET not in done.out + done.err


def test_reading_goes_on_as_before(llmseq, places):
    for statement, expected in {
        "select name from core.dataset": [{"name": "shop"}],
        "select 1 as x, 2 as x, 3 as x_1": [{"x": 1, "x_2": 2, "x_1": 3}],
        "select timestamp '2020-01-02 03:04:05.678' as t": [{"t": "2020-01-02T03:04:05.678000"}],
        "pivot core.metric on k using max(value) group by metric": [{"metric": "ndcg", "20": 0.5}],
        "with a as (select 1 as x) select x + 1 as y from a": [{"y": 2}],
        "select 1 as x; select 2 as x": [{"x": 2}],
        "values (1)": [{"col0": 1}],
        "select 'é' as \"ü;\" -- copy x to 'y'": [{"ü;": "é"}],
        "select copy from (select 3 as copy)": [{"copy": 3}],
    }.items():
        assert llmseq("sql", statement, "--json").json == expected
    assert "datasets" in llmseq("sql", "show tables").out
    assert "varchar" in llmseq("sql", "describe runs").out.lower()
    assert llmseq("sql", "explain select 1").status == 0
    assert "2020-01-02 03:04:05.678" in llmseq("sql", "select timestamp '2020-01-02 03:04:05.678' as t").out


def test_with_write_files_that_are_named_are_read_and_written(llmseq, tmp_path, places):
    out = tmp_path / "out"
    for statement in (
        "create table mine as select 1 as x, 'é' as y union all select 2, 'b'",
        "copy mine to '{out}/mine.csv'",
        "copy (select * from mine) to 'out/mine.parquet' (format parquet)",
        "copy mine to '{out}/parts' (format csv, partition_by (x))",
        "copy mine to '{out}/threads' (format csv, per_thread_output, file_extension 'txt')",
        "export database '{out}/whole' (format parquet)",
        "insert into mine select * from '{out}/mine.csv'",
        "insert into mine select * from read_parquet('out/mine.par*')",
        "copy mine from 'file://{out}/mine.csv'",
        "insert into mine select x, y from read_csv('{out}/parts/**/*.csv')",
        "attach '{out}/new.duckdb' as new; create table new.t as select * from mine; detach new",
        "attach '{other}/llmseq.duckdb' as other (read_only); insert into mine select 9, name from other.core.dataset",
        "set variable x = 5; update mine set x = getvariable('x') where x = 2",
        "select copy from (select 3 as copy)",
    ):
        done = llmseq("sql", statement.format(**places), "--write")
        assert done.status == 0, (statement, done.err)
    assert (out / "mine.csv").read_text().splitlines() == ["x,y", "1,é", "2,b"]
    assert sorted(path.name for path in (out / "parts").iterdir()) == ["x=1", "x=2"]
    assert (out / "whole" / "schema.sql").is_file()
    assert llmseq("sql", "select x, count(*) as n from mine group by x order by x", "--json").json == [
        {"x": 1, "n": 5}, {"x": 5, "n": 5}, {"x": 9, "n": 1}
    ]  # fmt: skip


def test_a_condition_reaches_no_file(llmseq, shop, tmp_path):
    assert llmseq("train", "most-popular").status == 0
    (tmp_path / "secret.txt").write_text(SECRET)
    for condition in (
        f"(select content = 'x' from read_text('{tmp_path / 'secret.txt'}'))",
        f"1 = 1); copy (select 1) to '{tmp_path / 'written.csv'}' --",
        "1 = 1); set lock_configuration = false --",
    ):
        before = prints(tmp_path)
        done = llmseq("report", "--where", condition)
        assert (done.status, prints(tmp_path)) == (2, before), done.out
        assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    "condition",
    [
        "(select content = 'x' from read_text('{secret}'))",
        "exists (select 1 from '{secret}')",
        "user_id in (select name from core.dataset)",
        "getenv('HOME') = 'x'",
        "getvariable('x') = 1",
        "read_text('{secret}') is not null",
        "current_setting('temp_directory') = ''",
        "query('select 1') = 1",
        "sum(time) over () > 1",
        "max(time) > 1",
        "list_transform([1], x -> x)[1] = 1",
        "user_id = $1",
        "1 = 1) from t; copy (select 1) to '{out}' --",
        "1 = 1) from t; set lock_configuration = false; select (1",
        "1 = 1) from read_text('{secret}') as t --",
        "1 = 1), (2",
        "1 = 1) from t where (1 = 1",
        "1 = 1) from t union all select (1 = 1",
        "nextval('s') = 1",
        "1 = 1 --",
        "1 = 1 /*",
        "pg_sleep(9) is null",
        "repeat('x', 1000000000) = ''",
        "",
    ],
)
def test_a_condition_on_a_file_reaches_nothing_but_its_columns(llmseq, tmp_path, condition):
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "clicks.csv").write_text("user_id,item_id,time\nu1,i1,1600000000\nu1,i2,1600000001\n")
    before = prints(tmp_path)
    words = condition.format(secret=tmp_path / "secret.txt", out=tmp_path / "written.csv")
    done = llmseq("ingest", tmp_path / "clicks.csv", "--name", "x", "--k-core", "0", "--where", words)
    after = {path: print for path, print in prints(tmp_path).items() if "workspace" not in str(path)}
    assert after == {path: print for path, print in before.items() if "workspace" not in str(path)}
    assert SECRET not in done.out + done.err
    if condition != "1 = 1 --":  # a comment ends at the end of its line
        assert (done.status, "error: --where" in done.err) == (2, True), done.err
