"""What the ledger answers, as by reading all of it and by an index; roots and proofs from the hashes that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.consent.admission import needs
from assets.consent.intake import grow, register_for
from assets.consent.ledger import Ledger
from assets.database import create_tables, writing
from tests.training.consent.people import FILE, NOW, People, key_of, reading_all
from training.consent import events as ev
from training.consent import merkle, tree
from training.consent.database import open_engine
from training.consent.events import Event
from training.consent.tables import TILE, leaves, metadata, subtrees


@pytest.fixture
def book(people: People) -> Ledger:
    """Grants with and without an end, an amendment, a revocation, a guardian, disputes."""
    people.join("g-eve")
    people.appoint("m-kid", "g-eve")
    first = people.grant("c-ann", expires_at=NOW + timedelta(days=10))
    people.grant("p-bob", "depicted")
    people.append(ev.amend(first, people.now, expires_at="2026-12-01T00:00:00.5Z"), "c-ann")
    people.revoke(people.grant("p-bob", "property_owner", expires_at=NOW + timedelta(days=20)))
    for number in (1, 2):
        disputed = ev.dispute(
            "c-ann", [FILE, f"{number}" * 64], "legal.privacy", people.now, dispute_id=f"dispute-{number}"
        )
        people.append(disputed, "c-ann")
    people.grant("m-kid", "guardian", actor="g-eve", scopes=["train_minor"])
    people.append(ev.adjudicate("dispute-1", "upheld", people.now, officer="o-ida"), "platform")
    return people.ledger


def test_events_are_read_in_order_and_between(book: Ledger) -> None:
    events = book.events()
    assert [event.seq for event in events] == list(range(book.size()))
    assert list(book.iter_events()) == events
    assert book.events(upto=7, since=3) == events[3:7] == list(book.iter_events(upto=7, since=3))
    assert book.entry(4) == events[4]
    assert book.entry(book.size()) is None
    assert all(book.find(event.body["event_id"]) == event for event in events)
    assert book.find("nobody's") is None


def test_events_of_parties_are_their_consents_keys_and_guardians(book: Ledger) -> None:
    def expected(parties: set[str], since: int, upto: int) -> list[Event]:
        theirs = [event for event in book.events(upto, since) if event.body["party_id"] in parties]
        return [event for event in theirs if "dispute_id" not in event.body]

    size = book.size()
    for parties in ({"c-ann"}, {"c-ann", "m-kid", "platform"}, {"nobody"}, set()):
        assert book.events(parties=parties) == expected(parties, 0, size)
        assert book.events(upto=size - 3, since=8, parties=sorted(parties)) == expected(parties, 8, size - 3)
    many = [f"party-{number}" for number in range(1200)]
    assert book.events(parties=[*many, "p-bob"]) == expected({"p-bob"}, 0, size)


def test_what_happened_since_names_parties_and_footage(book: Ledger) -> None:
    events = book.events()
    for seq in range(book.size() + 1):
        later = [event for event in events if event.seq >= seq]
        of_consent = {e.body["party_id"] for e in later if "consent_id" in e.body or "guardian" in e.type}
        assert book.parties_since(seq) == of_consent
        named = {event.body["dispute_id"] for event in later if "dispute_id" in event.body}
        opened = [event for event in events if event.type == "dispute" and event.body["dispute_id"] in named]
        assert book.disputed_since(seq) == {digest for event in opened for digest in event.body["assets"]}
    assert [event.type for event in book.disputes()] == ["dispute", "dispute", "adjudicate"]
    assert len(book.disputes(upto=book.size() - 1)) == 2


def test_terms_that_end_are_found_to_the_fraction_of_a_second(book: Ledger) -> None:
    end = NOW + timedelta(days=10)
    assert book.ending_between(end - timedelta(seconds=1), end) == {"c-ann"}
    assert book.ending_between(end, end + timedelta(days=1)) == set()
    half = NOW.replace(month=12, day=1, hour=0) + timedelta(microseconds=500_000)
    instant = timedelta(microseconds=1)
    assert book.ending_between(half - instant, half) == {"c-ann"}
    assert book.ending_between(half, half + timedelta(seconds=1)) == set()
    assert book.ending_between(half - timedelta(seconds=1), half - instant) == set()
    assert book.ending_between(NOW, NOW + timedelta(days=60)) == {"c-ann", "p-bob"}


def test_nothing_on_the_way_of_a_withdrawal_reads_a_whole_table(people: People, url: str) -> None:
    """SQLite says how it would answer each question: by a key or an index, never by a scan of events or leaves."""
    if not url.startswith("sqlite"):
        pytest.skip("a planner with statistics rightly scans a table of a few rows")
    ledger = people.ledger
    people.grant("c-ann")
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _u: Any, statement: str, parameters: Any, _x: Any, many: bool) -> None:
        if statement.lstrip().startswith("SELECT") and not many:
            asked.append((statement, parameters))

    sa.event.listen(ledger.engine, "before_cursor_execute", note)
    head = ledger.head()
    for call in (
        ledger.size,
        ledger.disputes,
        partial(ledger.entry, 3),
        partial(ledger.find, "genesis"),
        partial(ledger.events, parties=["c-ann"]),
        partial(ledger.events, since=4),
        partial(ledger.parties_since, 4),
        partial(ledger.disputed_since, 4),
        partial(ledger.ending_between, NOW, NOW + timedelta(days=1)),
        partial(ledger.inclusion_proof, 2, head.size),
        partial(ledger.consistency_proof, 2, head.size),
        partial(ledger.checkpoint_signed, key_of("platform")),
    ):
        call()
    body = ev.revoke("consent-1", "c-ann", "contributor", people.now)
    with ledger.engine.connect() as connection:
        register_for(connection, needs([ev.sign(body, key_of("c-ann"))]))
    people.append(body, "c-ann")
    sa.event.remove(ledger.engine, "before_cursor_execute", note)
    assert len(asked) > 25
    assert reading_all(people.url, asked) == []


LARGEST = TILE * TILE + TILE + 3
HASHES = [hashlib.sha256(number.to_bytes(4)).digest() for number in range(LARGEST)]


def _grow(engine: sa.Engine, upto: int, step: int) -> None:
    while (start := _size(engine)) < upto:
        end = min(start + step, upto)
        rows = [
            {"seq": n, "leaf_hash": HASHES[n].hex(), "recorded_at": "2026-11-02T08:00:00Z"} for n in range(start, end)
        ]
        with writing(engine) as connection:
            connection.execute(leaves.insert(), rows)
            grow(connection)


def _size(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return tree.size(connection)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    """More leaves than one subtree of the second level has."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('tree') / 'tree.db'}")
    create_tables(engine, metadata)
    _grow(engine, LARGEST, step=20_000)
    yield engine
    engine.dispose()


def _near_a_boundary(upto: int) -> st.SearchStrategy[int]:
    near = [b + d for b in (0, TILE, 2 * TILE, 3 * TILE, TILE * TILE, LARGEST) for d in range(-3, 4)]
    return st.sampled_from([size for size in near if 0 <= size <= upto]) | st.integers(0, upto)


@settings(max_examples=150, deadline=None)
@given(_near_a_boundary(LARGEST))
def test_every_prefix_has_the_root_of_its_leaves(grown: sa.Engine, size: int) -> None:
    with grown.connect() as connection:
        assert tree.root(connection, size) == merkle.root(HASHES[:size])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_proofs_are_those_of_all_the_leaves(grown: sa.Engine, data: st.DataObject) -> None:
    size = data.draw(_near_a_boundary(LARGEST).filter(bool))
    index, first = data.draw(_near_a_boundary(size - 1)), data.draw(_near_a_boundary(size).filter(bool))
    with grown.connect() as connection:
        assert tree.inclusion_proof(connection, index, size) == merkle.inclusion_proof(HASHES[:size], index)
        assert tree.consistency_proof(connection, first, size) == merkle.consistency_proof(HASHES[:size], first)


def test_all_proofs_around_the_first_boundaries_are_those_of_all_the_leaves(grown: sa.Engine) -> None:
    with grown.connect() as connection:
        for size in (1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE, 2 * TILE + 1):
            for other in {1, 2, TILE - 1, TILE, TILE + 1, 2 * TILE - 1, size} & set(range(1, size + 1)):
                proof = tree.inclusion_proof(connection, other - 1, size)
                assert merkle.verify_inclusion(HASHES[other - 1], other - 1, size, proof, merkle.root(HASHES[:size]))
                assert proof == merkle.inclusion_proof(HASHES[:size], other - 1)
                assert tree.consistency_proof(connection, other, size) == merkle.consistency_proof(HASHES[:size], other)


def test_a_proof_reads_few_rows_however_long_the_ledger_is(grown: sa.Engine) -> None:
    """At most 128 hashes for each of the log n subtrees on the way."""
    read: list[int] = []
    real = tree.hashes

    def counting(connection: sa.Connection, level: int, first: int, last: int) -> list[bytes]:
        read.append(last - first)
        return real(connection, level, first, last)

    with pytest.MonkeyPatch.context() as patch, grown.connect() as connection:
        patch.setattr(tree, "hashes", counting)
        tree.root(connection, LARGEST - 1)
        tree.inclusion_proof(connection, LARGEST // 3, LARGEST - 1)
        assert max(read) <= TILE // 2
        assert len(read) <= 3 * LARGEST.bit_length()


def test_there_is_no_proof_for_what_is_not_there(grown: sa.Engine) -> None:
    with grown.connect() as connection:
        for index, size in ((-1, 5), (5, 5), (0, LARGEST + 1)):
            with pytest.raises(IndexError):
                tree.inclusion_proof(connection, index, size)
        for first, second in ((0, 5), (6, 5), (1, LARGEST + 1)):
            with pytest.raises(IndexError):
                tree.consistency_proof(connection, first, second)


@pytest.mark.parametrize("step", [1, 100, TILE, 3 * TILE + 7])
def test_subtrees_do_not_depend_on_how_the_ledger_grew(url: str, step: int) -> None:
    engine = open_engine(url)
    create_tables(engine, metadata)
    upto = TILE + 1 if step == 1 else 4 * TILE + 1
    _grow(engine, upto, step)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(subtrees).order_by(subtrees.c.position)).all()
        assert [tuple(row) for row in rows] == [
            (1, n, merkle.root(HASHES[n * TILE : (n + 1) * TILE]).hex()) for n in range(upto // TILE)
        ]
    with engine.connect() as connection:
        for bad in ((1, upto // TILE + 1), (1, upto // TILE), (1, 0), (2, 0), (0, 0)):
            with pytest.raises(sa.exc.IntegrityError), connection.begin():
                connection.execute(subtrees.insert().values(level=bad[0], position=bad[1], hash="0" * 64))
            connection.rollback()
    engine.dispose()
