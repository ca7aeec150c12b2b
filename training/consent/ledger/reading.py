"""Questions to the ledger's tables, each answered by an index: events, the parties something happened to, the past that a
judgement rests on. An event that is declared erased is never read, whether its row is gone yet or not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from training.consent.canonical import parse_strictly
from training.consent.event_schema import CONSENT_TYPES, IDENTITY_TYPES
from training.consent.events import Event
from training.consent.ledger.entry import event_of, sortable_time
from training.consent.ledger.tables import erasures, events, leaves
from training.consent.register import Needs, Register
from training.consent.times import instant

_PORTION = 500  # names in one question
_STREAM = 1000  # rows held in memory at a time
_GUARDIAN_TYPES = ("guardian", "end_guardian")

Where = sa.ColumnElement[bool]


def _not_erased() -> Where:
    return ~sa.exists().where(erasures.c.seq == events.c.seq)


def _up_to(upto: int | None) -> list[Where]:
    return [] if upto is None else [events.c.seq < upto]


def read_events(connection: sa.Connection, *where: Where) -> Iterator[Event]:
    """Events in order, streamed."""
    query = (
        sa.select(leaves.c.seq, leaves.c.leaf_hash, leaves.c.recorded_at, events.c.envelope)
        .join(events, events.c.seq == leaves.c.seq)
        .where(_not_erased(), *where)
        .order_by(events.c.seq)
    )
    for row in connection.execution_options(yield_per=_STREAM).execute(query):
        yield event_of(row)


def events_between(connection: sa.Connection, since: int, upto: int | None) -> Iterator[Event]:
    return read_events(connection, events.c.seq >= since, *_up_to(upto))


def events_of_parties(connection: sa.Connection, parties: Iterable[str], since: int, upto: int | None) -> list[Event]:
    """Consent and identity events of these parties, in order."""
    found: list[Event] = []
    for names in portions(parties):
        theirs = events.c.party_id.in_(names), events.c.type.in_(CONSENT_TYPES + IDENTITY_TYPES)
        found += read_events(connection, *theirs, events.c.seq >= since, *_up_to(upto))
    return sorted(found, key=lambda event: event.seq)


def events_of_consent(connection: sa.Connection, consent_id: str) -> list[Event]:
    return list(read_events(connection, events.c.consent_id == consent_id))


def disputes(connection: sa.Connection, upto: int | None) -> list[Event]:
    """Disputes and their decisions, in order."""
    return list(read_events(connection, of_disputes(), *_up_to(upto)))


def of_disputes() -> sa.ColumnElement[bool]:
    """That an event opens or decides a dispute, asked of the index first: beside another bound SQLite would read all."""
    named = events.alias()
    return events.c.seq.in_(sa.select(named.c.seq).where(named.c.dispute_id > ""))


# -- what changed ----------------------------------------------------------------------------------------------------


def parties_since(connection: sa.Connection, seq: int) -> set[str]:
    """Parties of consent and guardian events from `seq` on, erased ones included: their consent is gone, too."""
    kept = sa.select(events.c.party_id).where(events.c.seq >= seq, events.c.type.in_(CONSENT_TYPES + _GUARDIAN_TYPES))
    erased = sa.select(erasures.c.party_id).where(erasures.c.seq >= seq)
    return set(connection.execute(sa.union(kept, erased)).scalars())


def disputed_since(connection: sa.Connection, seq: int) -> set[str]:
    """Digests of footage about which a dispute was opened or decided from `seq` on."""
    recent = sa.select(events.c.dispute_id).where(events.c.seq >= seq, events.c.dispute_id.is_not(None))
    opened = read_events(connection, events.c.dispute_id.in_(recent), events.c.type == "dispute")
    return {digest for event in opened for digest in event.body["assets"]}


def ending_between(connection: sa.Connection, after: datetime | str, upto: datetime | str) -> set[str]:
    """Parties with terms that claim to expire in (after, upto]."""
    first, last = (sortable_time(instant(time).isoformat().replace("+00:00", "Z")) for time in (after, upto))
    ending = sa.select(events.c.party_id).where(events.c.expires_at > first, events.c.expires_at <= last, _not_erased())
    return set(connection.execute(ending).scalars())


# -- what a judgement rests on ---------------------------------------------------------------------------------------


def register_for(connection: sa.Connection, needs: Needs, before: int | None = None) -> Register:
    """The register as far as a judgement with these needs may look, folded from the events ahead of `before`."""
    relevant: dict[int, str] = {}
    for column, names, types in (
        (events.c.party_id, needs.parties, IDENTITY_TYPES),
        (events.c.key_id, needs.keys, IDENTITY_TYPES),
        (events.c.consent_id, needs.consents, CONSENT_TYPES),
        (events.c.dispute_id, needs.disputes, None),
    ):
        for row in _matching(connection, column, names, [] if types is None else [events.c.type.in_(types)], before):
            relevant[row.seq] = row.envelope
    register = Register()
    for seq in sorted(relevant):
        register.record(parse_strictly(relevant[seq]))
    register.event_ids.update(
        row.event_id for row in _matching(connection, events.c.event_id, needs.event_ids, [], before)
    )
    return register


def _matching(
    connection: sa.Connection, column: sa.Column[Any], names: Collection[str], where: list[Where], before: int | None
) -> Iterator[Any]:
    for some in portions(name for name in names if storable(name)):
        query = sa.select(events.c.seq, events.c.event_id, events.c.envelope)
        yield from connection.execute(query.where(column.in_(some), _not_erased(), *where, *_up_to(before)))


def storable(name: str) -> bool:
    """Whether a database can hold the name at all; no identifier that the schema lets in fails this."""
    return len(name) <= 128 and "\x00" not in name


def portions(names: Iterable[str]) -> Iterator[list[str]]:
    """Distinct names in sorted lists that fit one question."""
    rest = sorted(set(names))
    for start in range(0, len(rest), _PORTION):
        yield rest[start : start + _PORTION]
