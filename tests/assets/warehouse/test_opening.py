"""Readers wait for whoever writes the warehouse, no longer than they were told to; memory has bounds."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from assets.home import Home
from assets.warehouse import opening
from assets.warehouse.opening import WarehouseBusy, connect, memory_bytes, memory_limit, opened

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
