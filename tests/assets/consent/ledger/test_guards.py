"""The database itself keeps the past, from any connection and role; the audit tells when it was changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from assets.consent.ledger import Ledger, LedgerBroken
from assets.database import append_only, guard_problems
from tests.assets.consent.ledger.conftest import Intruder, fresh_schema
from tests.training.consent.people import People, key_of
from training.consent.database import DriverMissing, open_engine
from training.consent.keys import checkpoint_holds, public_bytes
from training.consent.tables import metadata

TABLES = ["consent_leaf", "consent_event", "consent_erasure", "consent_refusal", "consent_checkpoint"]
REFUSED = (sa.exc.IntegrityError, sa.exc.NotSupportedError)


def _insert(intruder: Intruder, table: str, row: tuple[object, ...], verb: str = "INSERT", end: str = "") -> None:
    values = {f"v{index}": value for index, value in enumerate(row)}
    marks = ", ".join(f":{name}" for name in values)
    intruder.run(f"{verb} INTO {table} VALUES ({marks}){end}", **values)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_updated_deleted_or_replaced(intruder: Intruder, table: str) -> None:
    before = intruder.rows(f"SELECT * FROM {table} ORDER BY 1")
    column = intruder.connection.execute(sa.text(f"SELECT * FROM {table}")).keys()
    first, second = list(column)[:2]
    statements = [f"UPDATE {table} SET {second} = {second}", f"DELETE FROM {table}"]
    if intruder.kind == "sqlite":
        statements.append(f"UPDATE OR REPLACE {table} SET {second} = 'x'")
        inserts = [("INSERT OR REPLACE", ""), ("REPLACE", ""), ("INSERT OR IGNORE", "")]
    else:
        statements += [f"TRUNCATE {table}", f"TRUNCATE {table} CASCADE"]
        inserts = [("INSERT", f" ON CONFLICT ({first}) DO UPDATE SET {second} = excluded.{second}")]
    for statement in statements:
        with pytest.raises(REFUSED, match=r"never|foreign key"):
            intruder.run(statement)
    for verb, end in inserts:
        with pytest.raises(REFUSED, match=table):
            _insert(intruder, table, before[0], verb, end)
    assert intruder.rows(f"SELECT * FROM {table} ORDER BY 1") == before


def test_no_setting_of_a_session_switches_the_guards_off(intruder: Intruder) -> None:
    settings = {
        "sqlite": [
            "PRAGMA recursive_triggers = OFF",
            "PRAGMA foreign_keys = OFF",
            "PRAGMA ignore_check_constraints = ON",
        ],
        "postgresql": [
            "SET session_replication_role = replica",
            "CREATE TEMPORARY TABLE consent_leaf (seq bigint, leaf_hash text, recorded_at text)",
            "CREATE TEMPORARY TABLE consent_erasure AS SELECT seq FROM consent_event",
        ],
    }
    for setting in settings[intruder.kind]:
        intruder.run(setting)
    schema = "main" if intruder.kind == "sqlite" else intruder.rows("SELECT current_schema()")[0][0]
    for statement in (
        f"UPDATE {schema}.consent_event SET event_id = 'x' WHERE seq = 0",
        f"DELETE FROM {schema}.consent_event WHERE seq = 1",
        f"INSERT INTO {schema}.consent_leaf VALUES (99, '', '')",
    ):
        with pytest.raises(REFUSED, match="consent_"):
            intruder.run(statement)


@pytest.mark.parametrize("step", [-1, 0, 2])
def test_the_sequence_has_no_gaps_and_no_second_entry(intruder: Intruder, step: int) -> None:
    last = intruder.rows("SELECT MAX(seq) FROM consent_leaf")[0][0]
    with pytest.raises(REFUSED, match="consent_leaf"):
        _insert(intruder, "consent_leaf", (last + step, "0" * 64, "2026-11-02T09:00:00Z"))


def test_no_event_is_slipped_in_where_another_was_erased_or_under_anothers_name(intruder: Intruder) -> None:
    erased = intruder.rows("SELECT seq FROM consent_erasure")[0][0]
    row = intruder.rows("SELECT * FROM consent_event ORDER BY seq DESC")[0]
    with pytest.raises(REFUSED, match="consent_event"):
        _insert(intruder, "consent_event", (erased, "another", *row[2:8], "0" * 64, *row[9:]))
    with pytest.raises(REFUSED, match=r"consent_event|foreign key"):
        _insert(intruder, "consent_event", (row[0] + 1, "another", *row[2:8], "0" * 64, *row[9:]))
    _insert(intruder, "consent_leaf", (row[0] + 1, "0" * 64, "2026-11-02T09:00:00Z"))
    verb = "INSERT OR REPLACE" if intruder.kind == "sqlite" else "INSERT"
    with pytest.raises(REFUSED, match=r"never replaced|duplicate key"):
        _insert(intruder, "consent_event", (row[0] + 1, *row[1:]), verb)


def test_a_standing_consent_and_a_part_of_a_revoked_one_cannot_be_erased(intruder: Intruder, people: People) -> None:
    standing = people.grant("p-bob")
    seq, digest = intruder.rows("SELECT seq, envelope_sha256 FROM consent_event ORDER BY seq DESC")[0]
    declared = (seq, "2026-11-03T00:00:00Z", "why not", "p-bob", digest, "0" * 64, "0" * 64)
    with pytest.raises(REFUSED, match="consent_erasure"):
        _insert(intruder, "consent_erasure", declared)
    people.revoke(standing)
    revocation, digest = intruder.rows("SELECT seq, envelope_sha256 FROM consent_event ORDER BY seq DESC")[0]
    _insert(intruder, "consent_erasure", (revocation, *declared[1:4], digest, *declared[5:]))
    with pytest.raises(REFUSED, match="never deleted"):
        intruder.run("DELETE FROM consent_event WHERE seq = :seq", seq=revocation)
    with pytest.raises(LedgerBroken, match=f"event {revocation} is declared erased and still there"):
        people.ledger.verify()


def test_keys_and_guardians_are_never_erased(intruder: Intruder) -> None:
    seq, party, digest = intruder.rows("SELECT seq, party_id, envelope_sha256 FROM consent_event ORDER BY seq")[0]
    with pytest.raises(REFUSED, match="consent_erasure"):
        _insert(intruder, "consent_erasure", (seq, "2026-11-03T00:00:00Z", "x", party, digest, "0" * 64, "0" * 64))


def test_a_table_of_facts_has_no_hidden_row_number_to_be_replaced_by() -> None:
    metadata = sa.MetaData()
    table = sa.Table("fact", metadata, sa.Column("name", sa.String(9), primary_key=True), sa.Column("said", sa.Text))
    append_only(table)
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert().values(name="one", said="first"))
        with pytest.raises(sa.exc.OperationalError, match="no column named rowid"):
            connection.exec_driver_sql("INSERT OR REPLACE INTO fact (rowid, name, said) VALUES (1, 'two', 'second')")


TAMPERINGS = [
    "UPDATE consent_event SET envelope = replace(envelope, '\"train\"', '\"publish_sample\"') WHERE seq = {last}",
    "UPDATE consent_event SET envelope = replace(envelope, ',', ', ') WHERE seq = {last}",
    "UPDATE consent_event SET envelope = '{{}}' WHERE seq = {last}",
    "UPDATE consent_event SET envelope = '[' WHERE seq = {last}",
    "UPDATE consent_event SET salt = (SELECT salt FROM consent_event WHERE seq = 0) WHERE seq = {last}",
    "UPDATE consent_event SET party_id = 'p-bob' WHERE seq = {last}",
    "UPDATE consent_event SET type = 'revoke' WHERE seq = {last}",
    "UPDATE consent_event SET consent_id = NULL WHERE seq = {last}",
    "UPDATE consent_event SET expires_at = '2027-01-01T00:00:00.000000Z' WHERE seq = {last}",
    "UPDATE consent_event SET key_id = 'k-other' WHERE seq = 2",
    "UPDATE consent_event SET event_id = 'other' WHERE seq = {last}",
    "UPDATE consent_event SET envelope_sha256 = '' WHERE seq = {last}",
    "UPDATE consent_leaf SET leaf_hash = (SELECT leaf_hash FROM consent_leaf WHERE seq = 0) WHERE seq = {last}",
    "UPDATE consent_leaf SET recorded_at = '2026-11-01T00:00:00Z' WHERE seq = {last}",
    "UPDATE consent_leaf SET recorded_at = '2026-11-02T08:30:00Z' WHERE seq = {last}",
    "DELETE FROM consent_event WHERE seq = {last}",
    "DELETE FROM consent_event WHERE seq = 1",
    "DELETE FROM consent_leaf WHERE seq = {last}",
    "DELETE FROM consent_leaf WHERE seq = 2",
    "DELETE FROM consent_erasure WHERE seq = 5",
    "UPDATE consent_checkpoint SET root = '" + "0" * 64 + "'",
    "UPDATE consent_checkpoint SET public_key = '" + "0" * 64 + "'",
    "INSERT INTO consent_subtree VALUES (1, 0, '" + "0" * 64 + "')",
]


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_whoever_gets_past_the_guards_is_found(people: People, intruder: Intruder, tampering: str) -> None:
    people.ledger.verify()
    with intruder.unguarded():
        assert intruder.run(tampering.format(last=people.ledger.size() - 1)) == 1
    with pytest.raises(LedgerBroken) as broken:
        people.ledger.verify()
    assert not any("guard" in problem or "altered" in problem for problem in broken.value.problems)


TRIGGER_CHANGES = {
    "sqlite": [
        ("DROP TRIGGER consent_event_no_delete", "consent_event_no_delete is missing"),
        (
            "CREATE TRIGGER swallow BEFORE INSERT ON consent_event WHEN NEW.type = 'revoke' "
            "BEGIN SELECT RAISE(IGNORE); END",
            "swallow on consent_event is not the ledger's",
        ),
    ],
    "postgresql": [
        ("DROP TRIGGER consent_event_no_delete ON consent_event", "consent_event_no_delete is missing"),
        ("ALTER TABLE consent_leaf ENABLE TRIGGER consent_leaf_no_update", "consent_leaf_no_update was altered"),
        ("ALTER TABLE consent_leaf DISABLE TRIGGER ALL", "consent_leaf_no_truncate was altered"),
        (
            "CREATE OR REPLACE FUNCTION consent_leaf_no_update() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NEW; END'",
            "consent_leaf_no_update was altered",
        ),
        ("ALTER FUNCTION consent_leaf_no_update() RESET search_path", "consent_leaf_no_update was altered"),
        (
            "CREATE RULE swallow AS ON INSERT TO consent_event WHERE NEW.type = 'revoke' DO INSTEAD NOTHING",
            "swallow on consent_event is not the ledger's",
        ),
    ],
}


def test_a_guard_that_was_dropped_altered_or_added_is_named(people: People, intruder: Intruder) -> None:
    problems = set()
    for statement, problem in TRIGGER_CHANGES[intruder.kind]:
        intruder.run(statement)
        problems.add(problem)
        with pytest.raises(LedgerBroken) as broken:
            people.ledger.verify()
        assert all(any(expected in message for message in broken.value.problems) for expected in problems)


def test_a_table_rebuilt_without_its_constraints_is_named(people: People, intruder: Intruder) -> None:
    if intruder.kind != "sqlite":
        pytest.skip("SQLite keeps the text of a table; PostgreSQL's triggers go with the table and are missed")
    intruder.run("ALTER TABLE consent_refusal ADD COLUMN more TEXT")
    with pytest.raises(LedgerBroken, match="consent_refusal was altered"):
        people.ledger.verify()


def test_a_ledger_rewritten_from_its_first_event_disagrees_with_its_checkpoint(people: People, url: str) -> None:
    signed = people.ledger.checkpoint_signed(key_of("platform"))
    intruder = Intruder(url)
    with intruder.unguarded():
        for table in ("consent_event", "consent_leaf"):
            intruder.run(f"DELETE FROM {table}")
    intruder.close()
    People(url, "c-ann", "p-bob")
    assert people.ledger.size() == signed["size"]
    with pytest.raises(LedgerBroken, match="rewritten"):
        people.ledger.verify()


def test_a_signed_checkpoint_needs_nothing_but_the_public_key(people: People) -> None:
    key = key_of("platform")
    signed = people.ledger.checkpoint_signed(key)
    assert (signed["size"], signed["root"]) == (people.ledger.head().size, people.ledger.head().root)
    assert checkpoint_holds(signed, public_bytes(key))
    assert not checkpoint_holds(signed | {"size": signed["size"] + 1}, public_bytes(key))
    assert not checkpoint_holds(signed, public_bytes(key_of("somebody else")))
    assert Ledger(people.url).checkpoint_signed(key) == signed  # kept once


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
