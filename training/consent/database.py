"""The transactional database below the ledger and the reviews: connections, transactions of a single writer, roles.

SQLite by default; PostgreSQL where several machines write. What keeps rows from being changed is in `guards`.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Connection, Engine, Integer, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import make_url

from training.consent.guards import append_only as append_only  # what a table of facts needs, in one place

WRITER_LOCK = 0x52555348  # PostgreSQL advisory lock that serialises writers

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up none but INTEGER

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


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction as the only writer: what it reads is still true when it commits."""
    with engine.execution_options(rushes_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
        yield connection


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Create what is missing, guards included, in one transaction; takes no lock when nothing is."""
    if set(metadata.tables) <= set(inspect(engine).get_table_names()):
        return
    with writing(engine) as connection:
        metadata.create_all(connection)


@functools.lru_cache(maxsize=64)
def engine_with(url: str, metadata: MetaData) -> Engine:
    """The process's engine for these tables at an address, which are created where they are missing."""
    engine = open_engine(url)
    create_tables(engine, metadata)
    return engine


def grant_writer(engine: Engine, role: str, metadata: MetaData) -> None:
    """Let a PostgreSQL role that exists read and append, and delete where a guard allows it; never own or alter anything.

    Run by the tables' owner. Services then connect as `role`, so that not even they can switch a guard off.
    """
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        schema: str = connection.execute(text("SELECT current_schema()")).scalar_one()
        connection.execute(text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)}"))
        for table in metadata.sorted_tables:
            rights = "SELECT, INSERT" + (", DELETE" if table.info.get("erasable") else "")
            connection.execute(text(f"GRANT {rights} ON {quote(table.name)} TO {quote(role)}"))
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {quote(schema)} TO {quote(role)}"))
