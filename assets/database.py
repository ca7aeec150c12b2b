"""The transactional database: transactions of a single writer, tables of facts, and the guards that the database keeps.

No row of a table of facts is updated, deleted or replaced, whoever connects: `append_only` attaches guards to a table, and
`guard_problems` compares what a database has with what it should have. SQLite's guards need no setting of the connection:
`INSERT OR REPLACE` deletes without firing delete triggers, so it is refused before it inserts. PostgreSQL's fire in every
session (`ENABLE ALWAYS`) and look tables up in their own schema only.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from training.consent.database import open_engine

WRITER_LOCK = 0x52555348  # PostgreSQL advisory lock that serialises writers
_GUARDS = "append_only_guards"  # key in a table's `info`


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction as the only writer: what it reads is still true when it commits."""
    with engine.execution_options(rushes_writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITER_LOCK})
        yield connection


def create_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create what is missing, guards included, in one transaction; takes no lock when nothing is."""
    if set(metadata.tables) <= set(sa.inspect(engine).get_table_names()):
        return
    with writing(engine) as connection:
        metadata.create_all(connection)


@functools.lru_cache(maxsize=64)
def engine_with(url: str, metadata: sa.MetaData) -> sa.Engine:
    """The process's engine for these tables at an address, which are created where they are missing."""
    engine = open_engine(url)
    create_tables(engine, metadata)
    return engine


def grant_writer(engine: sa.Engine, role: str, metadata: sa.MetaData) -> None:
    """Let a PostgreSQL role that exists read and append, and delete where a guard allows it; never own or alter anything.

    Run by the tables' owner. Services then connect as `role`, so that not even they can switch a guard off.
    """
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        schema: str = connection.execute(sa.text("SELECT current_schema()")).scalar_one()
        connection.execute(sa.text(f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(role)}"))
        for table in metadata.sorted_tables:
            rights = "SELECT, INSERT" + (", DELETE" if table.info.get("erasable") else "")
            connection.execute(sa.text(f"GRANT {rights} ON {quote(table.name)} TO {quote(role)}"))
        connection.execute(sa.text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {quote(schema)} TO {quote(role)}"))


# -- guards ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guard:
    """Refuses `when` (INSERT, UPDATE, DELETE, TRUNCATE) on `table` unless SQL condition `allowed` holds."""

    table: str
    name: str
    when: str
    allowed: str
    message: str

    @property
    def trigger(self) -> str:
        return f"{self.table}_{self.name}"

    def sqlite(self) -> str:
        return (
            f"CREATE TRIGGER {self.trigger} BEFORE {self.when} ON {self.table} WHEN ({self.allowed}) IS NOT TRUE "
            f"BEGIN SELECT RAISE(ABORT, '{self.table}: {self.message}'); END"
        )

    def postgresql_body(self) -> str:
        result = {"DELETE": "OLD", "TRUNCATE": "NULL"}.get(self.when, "NEW")
        return (
            f"BEGIN IF ({self.allowed}) IS NOT TRUE THEN RAISE EXCEPTION '{self.table}: {self.message}' "
            f"USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN {result}; END"
        )

    def postgresql_trigger(self) -> str:
        level = "STATEMENT" if self.when == "TRUNCATE" else "ROW"
        return (
            f"CREATE TRIGGER {self.trigger} BEFORE {self.when} ON {self.table} "
            f"FOR EACH {level} EXECUTE FUNCTION {self.trigger}()"
        )

    def postgresql(self) -> list[str]:
        function = f"{self.trigger}()"
        return [
            f"CREATE OR REPLACE FUNCTION {function} RETURNS trigger LANGUAGE plpgsql AS $${self.postgresql_body()}$$",
            # a temporary table of the session must not be taken for the ledger's
            f"DO $$BEGIN EXECUTE 'ALTER FUNCTION {function} SET search_path = ' "
            "|| quote_ident(current_schema()) || ', pg_temp'; END$$",
            self.postgresql_trigger(),
            f"ALTER TABLE {self.table} ENABLE ALWAYS TRIGGER {self.trigger}",
        ]


def append_only(table: sa.Table, *, inserts_if: str | None = None, deletes_if: str = "1=0") -> None:
    """Attach guards that are made together with the table.

    `inserts_if` and `deletes_if` are SQL conditions over NEW and OLD that must hold for a row to be inserted or
    deleted. They come from the code, never from input.
    """
    changes = Guard(table.name, "no_update", "UPDATE", "1=0", "rows are never changed")
    deletes = Guard(table.name, "no_delete", "DELETE", deletes_if, "rows are never deleted")
    order = [Guard(table.name, "in_order", "INSERT", inserts_if, "the row is out of order")] if inserts_if else []
    replaces = Guard(table.name, "no_replace", "INSERT", f"NOT ({_exists(table)})", "rows are never replaced")
    truncates = Guard(table.name, "no_truncate", "TRUNCATE", "1=0", "rows are never deleted")
    table.info[_GUARDS] = {
        "sqlite": [changes, deletes, replaces, *order],
        "postgresql": [changes, deletes, truncates, *order],
    }
    if not _is_rowid(table):  # a hidden row number would be one more key by which a row could be replaced
        table.dialect_options["sqlite"]["with_rowid"] = False
    for dialect, statements in (
        ("sqlite", [guard.sqlite() for guard in table.info[_GUARDS]["sqlite"]]),
        ("postgresql", [line for guard in table.info[_GUARDS]["postgresql"] for line in guard.postgresql()]),
    ):
        for statement in statements:
            ddl = sa.DDL(statement.replace("%", "%%")).execute_if(dialect=dialect)
            sa.event.listen(table, "after_create", ddl)


def _is_rowid(table: sa.Table) -> bool:
    """Whether SQLite takes the primary key for the row number: one column of type INTEGER."""
    keys = list(table.primary_key)
    return len(keys) == 1 and keys[0].type.compile(sqlite.dialect()) == "INTEGER"


def _exists(table: sa.Table) -> str:
    unique = [[c.name for c in k.columns] for k in table.constraints if isinstance(k, sa.UniqueConstraint)]
    keys: list[Sequence[str]] = [[column.name for column in table.primary_key], *sorted(unique)]
    matches = (" AND ".join(f"{column} = NEW.{column}" for column in key) for key in keys)
    return " OR ".join(f"EXISTS (SELECT 1 FROM {table.name} WHERE {match})" for match in matches)  # noqa: S608


def guard_problems(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[str]:
    """What is wrong with the guards of these tables in this database, in sentences: missing, altered or added ones."""
    dialect = connection.dialect.name
    for table in tables:
        guards: list[Guard] = table.info[_GUARDS][dialect]
        if dialect == "sqlite":
            present, expected = _in_sqlite(connection, table), {guard.trigger: guard.sqlite() for guard in guards}
            expected[table.name] = str(CreateTable(table).compile(dialect=connection.dialect)).strip()
        else:
            present, expected = _in_postgresql(connection, table), _expected_in_postgresql(connection, guards)
        for name in sorted(expected.keys() | present.keys()):
            if name not in present:
                yield f"guard {name} is missing: whoever can write to the database can change the past"
            elif name not in expected:
                yield f"{name} on {table.name} is not the ledger's: it may change or swallow what is written"
            elif present[name] != expected[name]:
                yield f"{name} was altered"


def _in_sqlite(connection: sa.Connection, table: sa.Table) -> dict[str, str]:
    query = sa.text("SELECT name, sql FROM sqlite_master WHERE tbl_name = :table AND type IN ('table', 'trigger')")
    return {row.name: row.sql.strip() for row in connection.execute(query, {"table": table.name})}


def _expected_in_postgresql(connection: sa.Connection, guards: list[Guard]) -> dict[str, str]:
    schema: str = connection.execute(sa.text("SELECT quote_ident(current_schema())")).scalar_one()
    return {
        guard.trigger: f"{guard.postgresql_trigger()} A {guard.postgresql_body()} search_path={schema}, pg_temp"
        for guard in guards
    }


def _in_postgresql(connection: sa.Connection, table: sa.Table) -> dict[str, str]:
    """By name: the trigger, in which sessions it fires (A: all), its function's body and the function's settings."""
    triggers = sa.text(
        "SELECT tgname AS name, pg_get_triggerdef(t.oid, true) || ' ' || tgenabled::text || ' ' || prosrc || ' ' || "
        "COALESCE(array_to_string(proconfig, ' '), '') AS made FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid "
        "WHERE NOT tgisinternal AND tgrelid = to_regclass(:table) "
        "UNION ALL SELECT rulename, definition FROM pg_rules WHERE tablename = :table AND schemaname = current_schema()"
    )
    return {row.name: row.made for row in connection.execute(triggers, {"table": table.name})}
