"""Open the warehouse to read it. dbt holds the file alone while it builds, so a reader waits; nobody else writes it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from assets.home import Home

if TYPE_CHECKING:
    import duckdb

PATIENCE_S = 120.0  # a build over a small lake takes half a minute
ASK_AGAIN_S = 0.5


class WarehouseBusy(RuntimeError):
    """The warehouse was being built all the time that a reader waited."""


@contextlib.contextmanager
def opened(home: Home, patience_s: float = PATIENCE_S) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection. Raises FileNotFoundError where no warehouse was built yet, and WarehouseBusy."""
    with _connect(home, patience_s) as connection:
        yield connection


def _connect(home: Home, patience_s: float) -> duckdb.DuckDBPyConnection:
    import duckdb

    if not home.warehouse_path.is_file():
        raise FileNotFoundError(
            f"there is no warehouse at {home.warehouse_path}: materialise the warehouse group first"
        )
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return duckdb.connect(str(home.warehouse_path), read_only=True)
        except duckdb.IOException as error:
            if "set lock on file" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise WarehouseBusy(
                    f"the warehouse is being built for more than {patience_s:.0f} s: {error}"
                ) from error
        time.sleep(ASK_AGAIN_S)
