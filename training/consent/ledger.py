"""The consent ledger, read: admitted events in one order, each a salted leaf of a Merkle tree, in a transactional database.

A leaf commits to what was signed and when it was recorded, and holds nothing personal; the event beside it can be erased
without changing any root. Every question is answered by an index; an event that is declared erased is never read.

What a decision rests on is read with suspicion (`proven_events`): each event is hashed into its leaf, and the leaf into the
stored hashes above it up to the root, so that an edited event, leaf or hash is found. A body may be gone only where an
erasure is declared. This costs by the events that are asked for, not by the ledger's length; the whole ledger is re-read by
`assets.consent.audit`. How anything enters or leaves is in `assets.consent.ledger`, which extends `LedgerReader`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from training.consent import merkle, tree
from training.consent.canonical import parse_strictly
from training.consent.database import open_engine, portions
from training.consent.events import CONSENT_TYPES, GUARDIAN_TYPES, IDENTITY_TYPES, Event
from training.consent.keys import Checkpoint
from training.consent.tables import (
    TILE,
    erasures,
    event_of,
    events,
    leaf_of,
    leaves,
    not_erased,
    of_disputes,
    sortable_time,
    subtrees,
)
from training.consent.times import parse_time

_STREAM = 1000  # rows held in memory at a time

Where = sa.ColumnElement[bool]


class LedgerMissing(FileNotFoundError):
    """There is no ledger at this address. Without one nobody has consented to anything."""


class LedgerReader:
    """The ledger in the database at `url`. Raises LedgerMissing if there is none."""

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
        theirs = [e for names in portions(parties) for e in self._read(*_of_parties(names), *_between(since, upto))]
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
        first, last = (sortable_time(time) for time in (after, upto))
        within = events.c.expires_at > first, events.c.expires_at <= last
        with self.engine.connect() as connection:
            return set(connection.execute(sa.select(events.c.party_id).where(*within, not_erased())).scalars())


def _between(since: int, upto: int | None) -> list[Where]:
    """No bound that says nothing: beside one more SQLite may leave an index aside."""
    return [*([events.c.seq >= since] if since else []), *([] if upto is None else [events.c.seq < upto])]


def _of_parties(parties: Iterable[str]) -> tuple[Where, Where]:
    return events.c.party_id.in_(parties), events.c.type.in_(CONSENT_TYPES + IDENTITY_TYPES)


# -- with suspicion ----------------------------------------------------------------------------------------------------


class EvidenceBroken(ValueError):
    """The ledger's tables are not what was appended; the message says where."""


def proven_events(connection: sa.Connection, parties: Iterable[str], upto: int) -> list[Event]:
    """Consent and identity events of these parties and every dispute, ahead of `upto`, in order; erased ones left out.

    Raises EvidenceBroken for one that is not what its leaf commits to.
    """
    proven = list(_proven(connection, of_disputes(), events.c.seq < upto))
    for names in portions(parties):
        proven += _proven(connection, *_of_parties(names), events.c.seq < upto)
    _require_in_tree(connection, {event.seq // TILE for event in proven}, upto)
    return sorted(proven, key=lambda event: event.seq)


def require_all_bodies(connection: sa.Connection) -> None:
    """Every entry has its event or a declared erasure, counted from indexes; raises EvidenceBroken."""
    kept = sa.select(sa.func.count()).select_from(events).scalar_subquery()
    freed = ~sa.exists().where(events.c.seq == erasures.c.seq)
    erased = sa.select(sa.func.count()).select_from(erasures).where(freed).scalar_subquery()
    size = sa.select(sa.func.coalesce(sa.func.max(leaves.c.seq) + 1, 0)).scalar_subquery()
    gone: int = connection.execute(sa.select(size - kept - erased)).scalar_one()  # one statement: others may be writing
    if gone:
        raise EvidenceBroken(f"{gone} events are gone without a declared erasure")


def bodiless() -> sa.Select[tuple[int]]:
    """Places of entries that have neither their event nor a declared erasure."""
    return (
        sa.select(leaves.c.seq)
        .outerjoin(events, events.c.seq == leaves.c.seq)
        .outerjoin(erasures, erasures.c.seq == leaves.c.seq)
        .where(events.c.seq.is_(None), erasures.c.seq.is_(None))
    )


def require_bodies(connection: sa.Connection, since: int, upto: int) -> None:
    """As `require_all_bodies`, of the entries in [since, upto) alone."""
    absent = bodiless().where(leaves.c.seq >= since, leaves.c.seq < upto).limit(1)
    if gone := connection.execute(absent).first():
        raise EvidenceBroken(f"event {gone[0]} is gone without a declared erasure")


def _proven(connection: sa.Connection, *where: Where) -> Iterator[Event]:
    query = (
        sa.select(leaves.c.seq, leaves.c.leaf_hash, leaves.c.recorded_at, events.c.salt, events.c.envelope)
        .join(events, events.c.seq == leaves.c.seq)
        .where(not_erased(), *where)
    )
    for row in connection.execute(query):
        try:
            envelope = parse_strictly(row.envelope)
            if leaf_of(row.salt, row.recorded_at, envelope).hex() != row.leaf_hash:
                raise ValueError("it is not what its leaf commits to")
            yield event_of(row, envelope)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceBroken(f"event {row.seq} cannot be read: {error!r}") from error


def _require_in_tree(connection: sa.Connection, tiles: set[int], upto: int) -> None:
    """The leaves of these tiles hash to what is stored of them, level by level, up to the hashes that make the root."""
    level, complete = 1, upto // TILE
    while tiles := {tile for tile in tiles if tile < complete}:
        for tile in sorted(tiles):
            stored = connection.execute(
                sa.select(subtrees.c.hash).where(subtrees.c.level == level, subtrees.c.position == tile)
            ).scalar()
            if stored != merkle.root(tree.hashes(connection, level - 1, tile * TILE, (tile + 1) * TILE)).hex():
                raise EvidenceBroken(f"the kept hash {tile} of level {level} is not that of what is below it")
        level, complete, tiles = level + 1, complete // TILE, {tile // TILE for tile in tiles}
