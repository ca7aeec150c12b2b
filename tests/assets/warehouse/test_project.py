"""How dbt is run and the warehouse is opened: manifest, environment, builds beside readers, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from assets.home import Home
from assets.warehouse import opening, project
from assets.warehouse.opening import WarehouseBusy, connect, memory_bytes, memory_limit, opened
from assets.warehouse.project import applied, begin_build, environment, finish_build

TARGET = Path("/home/building/warehouse.duckdb")


def test_a_manifest_is_stale_when_it_is_missing_or_older_than_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, manifest = tmp_path / "models" / "marts" / "a.sql", tmp_path / "target" / "manifest.json"
    for path in (model, manifest):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(project, "PROJECT_DIR", tmp_path)
    os.utime(model, (100, 100))
    os.utime(manifest, (200, 200))
    assert not project._stale(manifest)
    os.utime(model, (300, 300))
    assert project._stale(manifest)
    manifest.unlink()
    assert project._stale(manifest)


def test_the_lake_is_readable_to_sql_before_anything_was_written(home: Home) -> None:
    lake = Path(environment(home, TARGET)["RUSHES_LAKE"])
    assert (lake / "deliveries" / "schema.parquet").is_file()


def test_the_environment_is_put_back_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_LAKE", "before")
    monkeypatch.delenv("RUSHES_WAREHOUSE", raising=False)
    seen = []

    def fail() -> None:
        with applied({"RUSHES_LAKE": "during", "RUSHES_WAREHOUSE": "now"}):
            seen.append(os.environ["RUSHES_LAKE"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == ["during"]
    assert os.environ["RUSHES_LAKE"] == "before"
    assert "RUSHES_WAREHOUSE" not in os.environ


def write(path: Path, sql: str) -> None:
    """As dbt does, in the file that it builds in."""
    with connect(path, path.parent / "spill", "512MiB", read_only=False) as connection:
        connection.execute(sql)


def test_an_analyst_who_is_reading_stops_no_build_and_keeps_what_they_read(home: Home) -> None:
    write(home.warehouse_path, "create table clips as select 1 as n")
    with subprocess.Popen(
        [sys.executable, "-c", READING, str(home.warehouse_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as analyst:
        assert analyst.stdout.readline() == "1\n"
        target = begin_build(home)
        write(target, "update clips set n = 2")
        finish_build(home, target)
        output, _ = analyst.communicate("again\n", timeout=30)
        assert output == "1\n"
    with opened(home) as connection:
        assert connection.execute("select n from clips").fetchone() == (2,)


READING = """
import duckdb, sys
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    for _ in range(2):
        print(connection.execute("select n from clips").fetchone()[0], flush=True)
        sys.stdin.readline()
"""


def test_a_build_that_was_killed_leaves_the_warehouse_and_nothing_that_the_next_trips_over(home: Home) -> None:
    write(home.warehouse_path, "create table payouts as select 1 as n")
    killed = begin_build(home)
    write(killed, "drop table payouts")
    killed.with_name("warehouse.duckdb.wal").write_bytes(b"half a log")
    with opened(home) as connection:
        assert connection.execute("select n from payouts").fetchone() == (1,)
    target = begin_build(home)
    write(target, "insert into payouts values (2)")
    finish_build(home, target)
    with opened(home) as connection:
        assert connection.execute("select n from payouts order by n").fetchall() == [(1,), (2,)]
    assert not target.parent.exists()


def test_what_an_earlier_writer_left_in_its_log_is_built_upon(home: Home) -> None:
    """A warehouse that was written in place and whose writer was killed: its last rows are in the log beside it."""
    script = (
        "import duckdb, os, sys; connection = duckdb.connect(sys.argv[1]);"
        "connection.execute('create table payouts as select 1 as n'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, str(home.warehouse_path)], check=True)
    assert home.warehouse_path.with_name("warehouse.duckdb.wal").is_file()
    finish_build(home, begin_build(home))
    with opened(home) as connection:
        assert connection.execute("select n from payouts").fetchone() == (1,)


# -- opening -----------------------------------------------------------------------------------------------------------


HOLD = """
import duckdb, sys
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("create table clips as select 7 as n")
    print("holding", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def writer(home: Home):
    """Another process that has the warehouse open to write, until it is told to let go."""
    command = [sys.executable, "-c", HOLD, str(home.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


def test_a_reader_waits_until_the_writer_lets_go(
    home: Home, writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            writer.communicate("\n", timeout=30)

    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=let_go))
    with opened(home) as connection:
        assert connection.execute("select n from clips").fetchone() == (7,)
    assert len(waits) == 2


def test_a_reader_gives_up_and_says_that_somebody_writes(home: Home, writer: subprocess.Popen[str]) -> None:
    with pytest.raises(WarehouseBusy, match="open for writing"), opened(home, patience_s=0.0):
        pass


def test_a_file_that_is_no_warehouse_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    def never(seconds: float) -> None:
        raise AssertionError("there is nothing to wait for")

    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=never))
    home.warehouse_path.write_bytes(b"these are notes, not a database" * 1000)
    with pytest.raises(duckdb.Error), opened(home):
        pass


def test_a_reader_has_bounded_memory_and_spills_below_the_home(home: Home) -> None:
    home = replace(home, duckdb_memory="300MiB")
    connect(home.warehouse_path, home.state, "1GiB", read_only=False).close()
    with opened(home) as connection:
        settings = "select current_setting('memory_limit'), current_setting('temp_directory')"
        limit, spill = connection.execute(settings).fetchone()
        assert limit == "300.0 MiB"
        assert Path(spill).is_relative_to(home.state)


def test_memory_is_a_share_of_what_the_container_may_use(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/jobs/one\n0::/jobs/one\n")
    for file, limit in (
        ("memory.max", "max"),
        ("jobs/memory.max", f"{3 * 2**30}"),
        ("jobs/one/memory.max", "max"),
        ("memory/memory.limit_in_bytes", f"{2 * 2**30}"),
    ):
        path = tmp_path / "sys/fs/cgroup" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    assert memory_bytes(tmp_path) == 2 * 2**30
    monkeypatch.setattr(opening, "memory_bytes", lambda: 4 * 2**30)
    assert memory_limit(home) == "1024MiB"
    monkeypatch.setattr(opening, "memory_bytes", lambda: 2**20)
    assert memory_limit(home) == "512MiB", "too little to work with would fail every night"
