"""Open the warehouse to read it, with the bounds on memory that every DuckDB connection of a home has.

dbt builds in a copy beside the warehouse, which then takes its place, so readers and the night never wait for each other.
Only somebody who opens the warehouse itself to write locks readers out.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.home import Home

if TYPE_CHECKING:
    import duckdb

PATIENCE_S = 120.0
ASK_AGAIN_S = 0.5

SHARE, LEAST_MIB = 0.25, 512  # of what this machine or container has; other steps run beside


class WarehouseBusy(RuntimeError):
    """Somebody held the warehouse open to write all the time that a reader waited."""


@contextlib.contextmanager
def opened(home: Home, patience_s: float = PATIENCE_S) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection. Raises FileNotFoundError where no warehouse was built yet, and WarehouseBusy."""
    if not home.warehouse_path.is_file():
        raise FileNotFoundError(
            f"there is no warehouse at {home.warehouse_path}: materialise the warehouse group first"
        )
    with _patiently(home, patience_s) as connection:
        yield connection


def mart_rows(home: Home, mart: str) -> list[dict[str, Any]]:
    """All rows of a mart as dbt left it; FileNotFoundError where there is no warehouse yet."""
    with opened(home) as connection:
        return connection.table(mart).to_arrow_table().to_pylist()


def _patiently(home: Home, patience_s: float) -> duckdb.DuckDBPyConnection:
    import duckdb

    deadline = time.monotonic() + patience_s
    while True:
        try:
            return connect(home.warehouse_path, spill_folder(home), memory_limit(home), read_only=True)
        except duckdb.IOException as error:
            if "set lock on file" not in str(error):
                raise
            if time.monotonic() > deadline:
                raise WarehouseBusy(
                    f"the warehouse is open for writing for more than {patience_s:.0f} s: {error}"
                ) from error
        time.sleep(ASK_AGAIN_S)


def connect(path: Path, spill: Path, memory: str, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """A connection with bounded memory; what does not fit is spilled to the folder `spill`."""
    import duckdb

    return duckdb.connect(str(path), read_only=read_only, config={"memory_limit": memory, "temp_directory": str(spill)})


def spill_folder(home: Home) -> Path:
    """This process's own: two that spilled into one folder would overwrite each other's files."""
    return home.scratch("duckdb") / str(os.getpid())


def memory_limit(home: Home) -> str:
    """What one connection may take, as DuckDB reads it: as set, or a share of what there is."""
    return home.duckdb_memory or f"{max(LEAST_MIB, int(SHARE * memory_bytes()) >> 20)}MiB"


def memory_bytes(root: Path = Path("/")) -> int:
    """What this machine has, or what the container that this process runs in may use, whichever is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with contextlib.suppress(OSError):  # no control groups
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":  # version 2
                limits += _limits(root / "sys/fs/cgroup", group, "memory.max")
            elif "memory" in controllers.split(","):
                limits += _limits(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return min(limits)


def _limits(root: Path, group: str, name: str) -> Iterator[int]:
    """The limits of a group and of all that it is in. A container may see its own group as the root."""
    folder = root / group.lstrip("/")
    for group_folder in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            if (text := (group_folder / name).read_text().strip()).isdigit():  # not "max"
                yield int(text)
        if group_folder == root:
            return
