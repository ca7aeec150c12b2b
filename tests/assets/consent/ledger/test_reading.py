"""What the ledger can be asked, answered as by reading all of it, and by an index."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.admission import needs
from assets.consent.intake import register_for
from assets.consent.ledger import Ledger
from tests.training.consent.people import FILE, NOW, People, key_of
from tests.training.consent.plans import reading_all
from training.consent import events as ev
from training.consent.events import Event


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
