"""The ledger holds against whoever writes past it, and says so when somebody got through."""

from __future__ import annotations

import sqlite3
import stat
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tests.training.consent.people import FILE, NOTICE, NOW, TERMS, People, key_of
from training.consent import events as ev
from training.consent import ledger_tables, merkle
from training.consent.checkpoint import checkpoint_holds
from training.consent.keys import CHECKPOINT_KEY, load_or_create, public_bytes
from training.consent.ledger import Admitted, Ledger, LedgerBroken, LedgerMissing

TABLES = ["consent_leaf", "consent_event", "consent_refusal", "consent_checkpoint", "consent_guardian"]


@pytest.fixture
def raw(people: People, tmp_path: Path) -> sqlite3.Connection:
    """A bare connection, as an attacker has it: without `recursive_triggers`; every table has a row."""
    people.grant("c-ann")
    people.ledger.append("no envelope", people.now)
    people.ledger.register_guardian("m-kid", "g-eve", "e" * 64, people.now)
    people.ledger.checkpoint_signed(key_of("platform"))
    return sqlite3.connect(tmp_path / "rushes.db", isolation_level=None)


@pytest.mark.parametrize("table", TABLES)
def test_no_row_is_updated_deleted_or_replaced(raw: sqlite3.Connection, table: str) -> None:
    before = raw.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
    column = raw.execute(f"SELECT * FROM {table}").description[1][0]
    marks = ",".join("?" * len(before[0]))
    for statement, values in (
        (f"UPDATE {table} SET {column} = {column}", ()),
        (f"UPDATE OR REPLACE {table} SET {column} = 'x'", ()),
        (f"DELETE FROM {table}", ()),
        (f"INSERT OR REPLACE INTO {table} VALUES ({marks})", before[0]),
        (f"REPLACE INTO {table} VALUES ({marks})", before[0]),
        (f"INSERT OR IGNORE INTO {table} VALUES ({marks})", before[0]),
    ):
        with pytest.raises(sqlite3.IntegrityError, match=table):
            raw.execute(statement, values)
    assert raw.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() == before


def test_an_event_cannot_be_replaced_by_way_of_its_event_id(raw: sqlite3.Connection) -> None:
    row = list(raw.execute("SELECT * FROM consent_event ORDER BY seq DESC").fetchone())
    raw.execute("INSERT INTO consent_leaf VALUES (?, ?, ?)", (row[0] + 1, "0" * 64, "2026-11-02T09:00:00Z"))
    row[0] += 1
    with pytest.raises(sqlite3.IntegrityError, match="never replaced"):
        raw.execute("INSERT OR REPLACE INTO consent_event VALUES (?,?,?,?,?,?,?)", row)


@pytest.mark.parametrize("step", [-1, 0, 2])
def test_the_sequence_has_no_gaps_and_no_second_entry(raw: sqlite3.Connection, step: int) -> None:
    last = raw.execute("SELECT MAX(seq) FROM consent_leaf").fetchone()[0]
    with pytest.raises(sqlite3.IntegrityError, match="consent_leaf"):
        raw.execute("INSERT INTO consent_leaf VALUES (?, ?, ?)", (last + step, "0" * 64, "2026-11-02T09:00:00Z"))


def _without_guards(raw: sqlite3.Connection) -> None:
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f"DROP TRIGGER {name}")


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE consent_event SET envelope = replace(envelope, '\"train\"', '\"publish_sample\"') WHERE seq = 5",
        "UPDATE consent_event SET salt = zeroblob(32) WHERE seq = 5",
        "UPDATE consent_event SET envelope = '{}' WHERE seq = 5",
        "UPDATE consent_leaf SET leaf_hash = (SELECT leaf_hash FROM consent_leaf WHERE seq = 0) WHERE seq = 5",
        "UPDATE consent_leaf SET recorded_at = '2026-11-01T00:00:00Z' WHERE seq = 5",
        "UPDATE consent_leaf SET recorded_at = '2026-11-02T08:30:00Z' WHERE seq = 5",
        "DELETE FROM consent_event WHERE seq = 5",
        "DELETE FROM consent_leaf WHERE seq = 5",
        "DELETE FROM consent_leaf WHERE seq = 2",
        "UPDATE consent_checkpoint SET root = '" + "0" * 64 + "'",
    ],
)
def test_whoever_gets_past_the_guards_is_found(people: People, raw: sqlite3.Connection, tampering: str) -> None:
    people.ledger.verify()
    _without_guards(raw)
    raw.execute("PRAGMA foreign_keys = OFF")
    assert raw.execute(tampering).rowcount == 1
    with pytest.raises(LedgerBroken):
        people.ledger.verify()


def test_a_ledger_rewritten_from_its_first_event_disagrees_with_its_checkpoint(people: People, tmp_path: Path) -> None:
    key = key_of("platform")
    people.ledger.checkpoint_signed(key)
    other = People(f"sqlite:///{tmp_path / 'other.db'}", "c-ann", "p-bob", "g-eve", "m-kid", "x-mal")
    rewritten, kept = sqlite3.connect(tmp_path / "other.db"), sqlite3.connect(tmp_path / "rushes.db")
    row = kept.execute("SELECT * FROM consent_checkpoint").fetchone()
    rewritten.execute("INSERT INTO consent_checkpoint VALUES (?,?,?,?,?,?)", row)
    rewritten.commit()
    with pytest.raises(LedgerBroken, match="rewritten"):
        other.ledger.verify()


def test_a_signed_checkpoint_needs_nothing_but_the_public_key(people: People) -> None:
    key = key_of("platform")
    signed = people.ledger.checkpoint_signed(key)
    assert (signed["size"], signed["root"]) == (people.ledger.head().size, people.ledger.head().root)
    assert checkpoint_holds(signed, public_bytes(key))
    assert not checkpoint_holds(signed | {"size": signed["size"] + 1}, public_bytes(key))
    assert not checkpoint_holds(signed, public_bytes(key_of("somebody else")))


def test_every_checkpoint_is_consistent_with_every_later_one(people: People) -> None:
    old = people.ledger.head()
    for _ in range(3):
        people.grant("c-ann")
    leaves, new = people.ledger.leaves(), people.ledger.head()
    proof = merkle.consistency_proof(leaves, old.size)
    assert merkle.verify_consistency(old.size, new.size, bytes.fromhex(old.root), bytes.fromhex(new.root), proof)
    assert people.ledger.head(upto=old.size) == old


def test_leaves_are_salted(tmp_path: Path) -> None:
    """The same events in two ledgers give different leaves, so that an erased event cannot be guessed from its leaf."""
    roots = {People(f"sqlite:///{tmp_path / name}.db", "c-ann").ledger.head().root for name in ("one", "two")}
    assert len(roots) == 2


def test_an_erased_event_changes_no_root_and_is_forgotten(people: People, raw: sqlite3.Connection) -> None:
    before = people.ledger.head()
    with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
        raw.execute("DELETE FROM consent_event WHERE seq = 5")
    raw.execute("INSERT INTO consent_erasure VALUES (5, '2026-11-03T00:00:00Z', 'asked for by the party')")
    raw.execute("DELETE FROM consent_event WHERE seq = 5")
    assert people.ledger.head() == before
    assert [event.seq for event in people.ledger.events()] == [0, 1, 2, 3, 4]
    people.ledger.verify()


def test_two_writers_share_one_sequence(people: People) -> None:
    def write(party: str) -> None:
        ledger = Ledger(people.url)
        for _ in range(15):
            body = ev.grant(
                party, "contributor", [FILE], ["train"], people.now, notice_sha256=NOTICE, terms_sha256=TERMS
            )
            assert isinstance(ledger.append(ev.sign(body, key_of(party)), people.now), Admitted)

    start = people.ledger.size()
    threads = [threading.Thread(target=write, args=(party,)) for party in ("c-ann", "p-bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in people.ledger.events()] == list(range(start + 30))
    people.ledger.verify()


def test_a_batch_is_admitted_whole_or_not_at_all(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    head, real, calls = people.ledger.head(), Ledger._admit, []

    def fail_on_third(self: Ledger, *args: object) -> Admitted:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, *args)  # type: ignore[arg-type]

    bodies = [
        ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, notice_sha256=NOTICE, terms_sha256=TERMS)
        for _ in range(3)
    ]
    envelopes = [ev.sign(body, key_of("c-ann")) for body in bodies]
    monkeypatch.setattr(Ledger, "_admit", fail_on_third)
    with pytest.raises(KeyboardInterrupt):
        people.ledger.append_many(envelopes, people.now)
    assert people.ledger.head() == head
    monkeypatch.undo()
    assert all(isinstance(o, Admitted) and not o.already for o in people.ledger.append_many(envelopes, people.now))
    people.ledger.verify()


def test_a_clock_that_steps_back_never_reorders_the_ledger(people: People) -> None:
    people.grant("c-ann")
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], NOW, notice_sha256=NOTICE, terms_sha256=TERMS)
    people.append(body, "c-ann", now=NOW - timedelta(days=1))
    times = [event.recorded_at for event in people.ledger.events()]
    assert times == sorted(times)
    people.ledger.verify()


@pytest.mark.parametrize("made", [False, True])
def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path, made: bool) -> None:
    path = tmp_path / "none.db"
    if made:
        sqlite3.connect(path).execute("CREATE TABLE other (x)")
    with pytest.raises(LedgerMissing):
        Ledger(f"sqlite:///{path}", create=False)
    assert path.exists() == made


def test_the_platforms_key_is_private_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / CHECKPOINT_KEY
    first, second = load_or_create(path), load_or_create(path)
    assert public_bytes(first) == public_bytes(second)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("table", ledger_tables.metadata.sorted_tables, ids=str)
def test_postgresql_gets_guards_too(table: sa.Table) -> None:
    """Compiled for the dialect; a server runs them where one is there."""
    statements: list[str] = []
    engine = sa.create_mock_engine(
        "postgresql+psycopg://",
        lambda sql, *_a, **_k: statements.append(str(sql.compile(dialect=postgresql.dialect()))),
    )
    table.create(engine, checkfirst=False)  # type: ignore[arg-type]
    text = "\n".join(statements)
    for event in ("UPDATE", "DELETE", "TRUNCATE"):
        assert f"BEFORE {event} ON {table.name}" in text
