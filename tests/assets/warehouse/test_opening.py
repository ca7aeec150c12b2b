"""A reader waits while dbt builds the warehouse, and no longer than it was told to."""

from __future__ import annotations

import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from assets.home import Home
from assets.warehouse import opening
from assets.warehouse.opening import WarehouseBusy, opened

HOLD = """
import duckdb, sys
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("create table clips as select 7 as n")
    print("holding", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def builder(home: Home):
    """Another process that holds the warehouse as dbt does, until it is told to let go."""
    command = [sys.executable, "-c", HOLD, str(home.warehouse_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


def test_a_reader_waits_until_the_build_is_over(
    home: Home, builder: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def let_go(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 2:
            builder.communicate("\n", timeout=30)

    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=let_go))
    with opened(home) as connection:
        assert connection.execute("select n from clips").fetchone() == (7,)
    assert len(asked) == 2


def test_a_reader_gives_up_and_says_that_a_build_is_under_way(home: Home, builder: subprocess.Popen[str]) -> None:
    with pytest.raises(WarehouseBusy, match="is being built"), opened(home, patience_s=0.0):
        pass


def test_a_file_that_is_no_warehouse_is_not_waited_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    import duckdb

    def never(seconds: float) -> None:
        raise AssertionError("there is nothing to wait for")

    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=never))
    home.warehouse_path.write_bytes(b"these are notes, not a database" * 1000)
    with pytest.raises(duckdb.Error), opened(home):
        pass
