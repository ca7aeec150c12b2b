"""Every test of the ledger runs on SQLite and on a real PostgreSQL server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.assets.consent.ledger.postgres import NoServer, fresh_schema, server
from tests.training.consent.people import People, key_of
from training.consent.database import open_engine

_names = (f"ledger_{number}" for number in itertools.count())


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    try:
        with server() as url:
            yield url
    except NoServer as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rushes.db'}"
    return fresh_schema(request.getfixturevalue("postgresql"), next(_names))


@pytest.fixture
def people(url: str) -> Iterator[People]:
    """A contributor and a depicted person with keys; connections are closed afterwards."""
    made = People(url, "c-ann", "p-bob")
    yield made
    made.ledger.engine.dispose()


class Intruder:
    """Somebody with a connection of their own to the database, with its default settings and every right."""

    def __init__(self, url: str) -> None:
        plain = sa.create_engine(open_engine(url).url, isolation_level="AUTOCOMMIT")
        self.connection, self.kind = plain.connect(), plain.dialect.name

    def run(self, statement: str, **values: Any) -> int:
        return self.connection.execute(sa.text(statement), values).rowcount

    def rows(self, query: str) -> list[Any]:
        return [tuple(row) for row in self.connection.execute(sa.text(query))]

    def close(self) -> None:
        self.connection.close()
        self.connection.engine.dispose()

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Guards are put back afterwards as they were, so that nothing but a change itself can tell."""
        if self.kind == "sqlite":
            guards = self.rows("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            before = [f"DROP TRIGGER {name}" for name, _ in guards]
            after = [sql for _, sql in guards]
        else:
            tables = (
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace"
            )
            guards = self.rows(
                f"SELECT tgname, relname FROM ({tables}) t JOIN pg_trigger ON tgrelid = relname::regclass "
                "WHERE NOT tgisinternal"
            )
            before = [f"ALTER TABLE {table} DISABLE TRIGGER ALL" for (table,) in self.rows(tables)]
            after = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for name, table in guards]
        for statement in before:
            self.run(statement)
        yield
        for statement in after:
            self.run(statement)


@pytest.fixture
def intruder(people: People, url: str) -> Iterator[Intruder]:
    """Comes to a ledger in which every table has a row."""
    gone = people.grant("p-bob", "depicted")
    people.revoke(gone)
    people.ledger.erase(gone["consent_id"], "asked for by the party", people.now)
    people.grant("c-ann")
    people.ledger.append("no envelope", people.now)
    people.ledger.checkpoint_signed(key_of("platform"))
    found = Intruder(url)
    yield found
    found.close()
