"""The transactional database below the ledger and the reviews: connections, single-writer transactions, guards.

`append_only` gives a table guards in the database itself: no row is updated, deleted or replaced, whoever connects.
SQLite's guards hold without `recursive_triggers` too, since `INSERT OR REPLACE` is refused before it inserts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import DDL, Connection, Engine, MetaData, Table, UniqueConstraint, create_engine, event, inspect, text
from sqlalchemy.engine import make_url

WRITER_LOCK = 0x52555348  # PostgreSQL advisory lock that serialises writers


def open_engine(url: str) -> Engine:
    """An engine with the settings that the guards need; nothing is created."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 60})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # this module says BEGIN itself, since the driver would begin too late
    for pragma in ("recursive_triggers=ON", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        with suppress(
            sqlite3.OperationalError
        ):  # somebody writes just now; readers then wait for writers a while longer
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


def append_only(table: Table, *, inserts_if: str | None = None, deletes_if: str = "1=0") -> None:
    """Attach guards that are made together with the table.

    `inserts_if` and `deletes_if` are SQL conditions over NEW and OLD that must hold for a row to be inserted or
    deleted. They come from the code, never from input.
    """
    for dialect, statements in {
        "sqlite": _sqlite_guards(table, inserts_if, deletes_if),
        "postgresql": _postgresql_guards(table, inserts_if, deletes_if),
    }.items():
        for statement in statements:
            event.listen(table, "after_create", DDL(statement.replace("%", "%%")).execute_if(dialect=dialect))


def _unique_keys(table: Table) -> list[Sequence[str]]:
    unique = [[c.name for c in k.columns] for k in table.constraints if isinstance(k, UniqueConstraint)]
    return [[column.name for column in table.primary_key], *sorted(unique)]


def _sqlite_guards(table: Table, inserts_if: str | None, deletes_if: str) -> list[str]:
    def trigger(name: str, when: str, condition: str, message: str) -> str:
        return (
            f"CREATE TRIGGER {table.name}_{name} BEFORE {when} ON {table.name} WHEN {condition} "
            f"BEGIN SELECT RAISE(ABORT, '{table.name}: {message}'); END"
        )

    matches = (" AND ".join(f"{column} = NEW.{column}" for column in key) for key in _unique_keys(table))
    exists = " OR ".join(f"EXISTS (SELECT 1 FROM {table.name} WHERE {match})" for match in matches)  # noqa: S608
    guards = [
        trigger("no_update", "UPDATE", "1=1", "rows are never changed"),
        trigger("no_delete", "DELETE", f"NOT ({deletes_if})", "rows are never deleted"),
        trigger("no_replace", "INSERT", exists, "rows are never replaced"),
    ]
    if inserts_if:
        guards.append(trigger("in_order", "INSERT", f"NOT ({inserts_if})", "the row is out of order"))
    return guards


def _postgresql_guards(table: Table, inserts_if: str | None, deletes_if: str) -> list[str]:
    def guard(
        name: str, when: str, condition: str, message: str, level: str = "ROW", after: str = "RETURN NEW"
    ) -> list[str]:
        function = f"{table.name}_{name}"
        return [
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF NOT ({condition}) THEN RAISE EXCEPTION '{table.name}: {message}'; END IF; {after}; END $$",
            f"CREATE TRIGGER {function} BEFORE {when} ON {table.name} FOR EACH {level} EXECUTE FUNCTION {function}()",
        ]

    return [
        *guard("no_update", "UPDATE", "1=0", "rows are never changed"),
        *guard("no_delete", "DELETE", deletes_if, "rows are never deleted", after="RETURN OLD"),
        *guard("no_truncate", "TRUNCATE", "1=0", "rows are never deleted", level="STATEMENT", after="RETURN NULL"),
        *(guard("in_order", "INSERT", inserts_if, "the row is out of order") if inserts_if else []),
    ]
