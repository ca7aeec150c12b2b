"""Connections to the transactional database below the ledger and the reviews: SQLite, or PostgreSQL for several machines.

Every engine of the platform comes from here. Writing, creating tables and what keeps rows from being changed is the
platform's (`assets.database`); a training process only reads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Connection, Engine, Integer, create_engine, event
from sqlalchemy.engine import make_url

Value = TypeVar("Value", int, str)
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up none but INTEGER

_PORTION = 500  # values in one IN list; every database takes that many
_PRAGMAS = (
    "recursive_triggers=ON",
    "foreign_keys=ON",
    "synchronous=FULL",
    "secure_delete=ON",  # what is erased is overwritten in the file
    "trusted_schema=OFF",  # nothing that somebody wrote into the schema calls functions with side effects
    "cache_size=-262144",  # KiB at most: indexes of random digests are then written once a commit, not once a row
)


class DriverMissing(ImportError):
    """The database's driver is not installed; the message says how to get it."""


def open_engine(url: str) -> Engine:
    """An engine with the settings that the guards need; nothing is created. Raises DriverMissing."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        try:
            return create_engine(parsed, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise DriverMissing(f"{error.name} is not installed: pip install 'rushes[server]'") from error
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 60})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # this module says BEGIN itself, since the driver would begin too late
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        with suppress(sqlite3.OperationalError):  # somebody writes just now; readers wait for writers a while longer
            connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("rushes_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def portions(values: Iterable[Value]) -> Iterator[list[Value]]:
    """Distinct values in sorted lists that fit one query."""
    rest = sorted(set(values))
    for start in range(0, len(rest), _PORTION):
        yield rest[start : start + _PORTION]
