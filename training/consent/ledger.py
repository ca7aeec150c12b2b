"""The consent ledger, read: admitted events in one order, each a salted leaf of a Merkle tree, in a transactional database.

A leaf commits to what was signed and when it was recorded, and holds nothing personal; the event beside it can be erased
without changing any root. Here it is asked, each question answered by an index; an event that is declared erased is never
read. How anything enters or leaves it is in `assets.consent.ledger`, which extends this class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from training.consent import tree
from training.consent.checkpoint import Checkpoint
from training.consent.database import open_engine, portions
from training.consent.events import CONSENT_TYPES, GUARDIAN_TYPES, IDENTITY_TYPES, Event
from training.consent.tables import erasures, event_of, events, leaves, not_erased, of_disputes, sortable_time
from training.consent.times import instant, parse_time

_STREAM = 1000  # rows held in memory at a time

Where = sa.ColumnElement[bool]


class LedgerMissing(FileNotFoundError):
    """There is no ledger at this address. Without one nobody has consented to anything."""


class LedgerReader:
    """The ledger in the database at `url`. Raises LedgerMissing where there is none."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = self._open(url)

    def _open(self, url: str) -> sa.Engine:
        parsed = sa.engine.make_url(url)
        if parsed.get_backend_name() == "sqlite" and not (parsed.database and Path(parsed.database).is_file()):
            raise LedgerMissing(f"no consent ledger at {parsed.database}")
        engine = open_engine(url)
        if not sa.inspect(engine).has_table(leaves.name):
            raise LedgerMissing(f"no consent ledger in {engine.url!r}")
        return engine

    def size(self) -> int:
        """Number of entries, erased ones included."""
        with self.engine.connect() as connection:
            return tree.size(connection)

    def head(self, upto: int | None = None) -> Checkpoint:
        """The ledger as it stands, or as it stood after `upto` events."""
        with self.engine.connect() as connection:
            size = tree.size(connection)
            size = size if upto is None else min(size, upto)
            last = connection.execute(sa.select(leaves.c.recorded_at).where(leaves.c.seq == size - 1)).scalar()
            return Checkpoint(size, tree.root(connection, size).hex(), parse_time(last) if last else None)

    # -- events ------------------------------------------------------------------------------------------------------

    def events(self, upto: int | None = None, since: int = 0, parties: Iterable[str] | None = None) -> list[Event]:
        """Events `since` .. `upto` (exclusive) in order; erased ones are left out.

        With `parties`, only consent and identity events of these, by index.
        """
        if parties is None:
            return list(self.iter_events(upto, since))
        of_people = events.c.type.in_(CONSENT_TYPES + IDENTITY_TYPES), *_between(since, upto)
        theirs = [
            event for names in portions(parties) for event in self._read(events.c.party_id.in_(names), *of_people)
        ]
        return sorted(theirs, key=lambda event: event.seq)

    def iter_events(self, upto: int | None = None, since: int = 0) -> Iterator[Event]:
        """As `events`, a few at a time, for a ledger that does not fit into memory."""
        return self._read(*_between(since, upto))

    def of_consent(self, consent_id: str) -> list[Event]:
        """Every event of one consent in order, a stranger's under the same name included; none when erased."""
        return list(self._read(events.c.consent_id == consent_id))

    def disputes(self, upto: int | None = None) -> list[Event]:
        """Every dispute and every decision, in order."""
        return list(self._read(of_disputes(), *_between(0, upto)))

    def entry(self, seq: int) -> Event | None:
        """The event at a place, None when there is none or it was erased."""
        return next(self._read(events.c.seq == seq), None)

    def find(self, event_id: str) -> Event | None:
        """The event of this identity, None when there is none or it was erased."""
        return next(self._read(events.c.event_id == event_id), None)

    def _read(self, *where: Where) -> Iterator[Event]:
        """Events in order, streamed."""
        query = (
            sa.select(leaves.c.seq, leaves.c.leaf_hash, leaves.c.recorded_at, events.c.envelope)
            .join(events, events.c.seq == leaves.c.seq)
            .where(not_erased(), *where)
            .order_by(events.c.seq)
        )
        with self.engine.connect() as connection:
            for row in connection.execution_options(yield_per=_STREAM).execute(query):
                yield event_of(row)

    # -- what changed ------------------------------------------------------------------------------------------------

    def parties_since(self, seq: int) -> set[str]:
        """Parties to whose consents or guardians something happened from `seq` on; an erasure is something, too."""
        types = events.c.type.in_(CONSENT_TYPES + GUARDIAN_TYPES)
        kept = sa.select(events.c.party_id).where(events.c.seq >= seq, types)
        erased = sa.select(erasures.c.party_id).where(erasures.c.seq >= seq)
        with self.engine.connect() as connection:
            return set(connection.execute(sa.union(kept, erased)).scalars())

    def disputed_since(self, seq: int) -> set[str]:
        """Digests of footage about which a dispute was opened or decided from `seq` on."""
        recent = sa.select(events.c.dispute_id).where(events.c.seq >= seq, events.c.dispute_id.is_not(None))
        opened = self._read(events.c.dispute_id.in_(recent), events.c.type == "dispute")
        return {digest for event in opened for digest in event.body["assets"]}

    def ending_between(self, after: datetime, upto: datetime) -> set[str]:
        """Parties with terms whose `expires_at` lies in (after, upto]."""
        first, last = (sortable_time(instant(time).isoformat().replace("+00:00", "Z")) for time in (after, upto))
        within = events.c.expires_at > first, events.c.expires_at <= last
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(events.c.party_id).where(*within, not_erased())).scalars())


def _between(since: int, upto: int | None) -> list[Where]:
    """No bound that says nothing: beside one more SQLite may leave an index aside."""
    return [*([events.c.seq >= since] if since else []), *([] if upto is None else [events.c.seq < upto])]
