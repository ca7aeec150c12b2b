"""What only PostgreSQL has: roles, and the ways of addressing it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from assets.consent.ledger import Ledger
from assets.database import guard_problems
from tests.assets.consent.ledger.postgres import fresh_schema
from tests.training.consent.people import People
from training.consent.database import DriverMissing, open_engine
from training.consent.tables import metadata


@pytest.fixture
def owner(postgresql: str, request: pytest.FixtureRequest) -> Iterator[People]:
    made = People(fresh_schema(postgresql, f"owned_{request.node.name[-20:]}"), "c-ann")
    yield made
    made.ledger.engine.dispose()


def test_a_writer_appends_and_erases_and_can_change_nothing(owner: People) -> None:
    with owner.ledger.engine.begin() as connection:
        connection.execute(sa.text('CREATE ROLE "rushes-writer" LOGIN'))
    owner.ledger.grant_writer("rushes-writer")
    url = sa.make_url(owner.url).set(username="rushes-writer").render_as_string(hide_password=False)
    writer = People.__new__(People)
    writer.url, writer.ledger, writer.now = url, Ledger(url), owner.now
    granted = writer.grant("c-ann")
    writer.revoke(granted)
    writer.ledger.append("no envelope", writer.now)
    assert len(writer.ledger.erase(granted["consent_id"], "asked for", writer.now)) == 2
    writer.ledger.verify()
    with writer.ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (
            "UPDATE consent_event SET event_id = 'x'",
            "DELETE FROM consent_leaf",
            "DELETE FROM consent_erasure",
            "TRUNCATE consent_event",
            "ALTER TABLE consent_leaf DISABLE TRIGGER ALL",
            "DROP TRIGGER consent_leaf_no_update ON consent_leaf",
            "CREATE OR REPLACE FUNCTION consent_leaf_no_update() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "DROP TABLE consent_leaf CASCADE",
            "SET session_replication_role = replica",
            "CREATE TABLE more (x integer)",
        ):
            with pytest.raises(sa.exc.ProgrammingError, match=r"permission denied|must be owner"):
                connection.execute(sa.text(statement))
        with pytest.raises(sa.exc.IntegrityError, match="never deleted"):
            connection.execute(sa.text("DELETE FROM consent_event"))
    writer.ledger.engine.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_every_way_of_writing_the_address_finds_the_driver(scheme: str) -> None:
    engine = open_engine(f"{scheme}://user:secret@db.example/rushes")
    assert (engine.url.drivername, engine.dialect.driver) == ("postgresql+psycopg", "psycopg")
    assert engine.url.password == "secret"


def test_without_the_driver_one_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DriverMissing, match=r"pip install 'rushes\[server\]'"):
        open_engine("postgresql://db.example/rushes")


def test_the_guards_are_whole_in_every_schema(owner: People) -> None:
    with owner.ledger.engine.connect() as connection:
        assert list(guard_problems(connection, metadata.sorted_tables)) == []
        connection.execute(sa.text("SET search_path = public"))
        assert len(list(guard_problems(connection, metadata.sorted_tables))) > 20  # there are none there
