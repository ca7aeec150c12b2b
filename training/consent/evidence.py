"""Reading what a decision rests on with suspicion, and nothing else: events that are proven to be what the tree commits to.

Each event is hashed again into its leaf, and the leaf into the stored hashes above it up to the root, so that an event
edited in place, a leaf or a stored hash is found. A body may be gone only where an erasure is declared. All of it costs by
the events that are asked for, not by the ledger's length; the whole ledger is re-read by `assets.consent.audit`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from training.consent import merkle, tree
from training.consent.canonical import canonical, parse_strictly
from training.consent.database import portions
from training.consent.events import CONSENT_TYPES, IDENTITY_TYPES, Event
from training.consent.tables import TILE, commitment_leaf, erasures, events, leaves, not_erased, of_disputes, subtrees
from training.consent.times import parse_time

_OF_PARTIES = CONSENT_TYPES + IDENTITY_TYPES


class EvidenceBroken(ValueError):
    """The ledger's tables are not what was appended; the message says where."""


def proven_events(connection: sa.Connection, parties: Iterable[str], upto: int) -> list[Event]:
    """Consent and identity events of these parties and every dispute, ahead of `upto`, in order; erased ones left out.

    Raises EvidenceBroken for one that is not what its leaf commits to.
    """
    proven = list(_proven(connection, of_disputes(), events.c.seq < upto))
    for names in portions(parties):
        theirs = events.c.party_id.in_(names), events.c.type.in_(_OF_PARTIES)
        proven += _proven(connection, *theirs, events.c.seq < upto)
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


def require_bodies(connection: sa.Connection, since: int, upto: int) -> None:
    """As `require_all_bodies`, of the entries in [since, upto) alone."""
    absent = (
        sa.select(leaves.c.seq)
        .outerjoin(events, events.c.seq == leaves.c.seq)
        .outerjoin(erasures, erasures.c.seq == leaves.c.seq)
        .where(leaves.c.seq >= since, leaves.c.seq < upto, events.c.seq.is_(None), erasures.c.seq.is_(None))
        .limit(1)
    )
    gone: int | None = connection.execute(absent).scalar()
    if gone is not None:
        raise EvidenceBroken(f"event {gone} is gone without a declared erasure")


def _proven(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> Iterator[Event]:
    query = (
        sa.select(leaves.c.seq, leaves.c.leaf_hash, leaves.c.recorded_at, events.c.salt, events.c.envelope)
        .join(events, events.c.seq == leaves.c.seq)
        .where(not_erased(), *where)
    )
    for row in connection.execute(query):
        try:
            yield _event(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EvidenceBroken(f"event {row.seq} cannot be read: {error!r}") from error


def _event(row: Any) -> Event:
    envelope = parse_strictly(row.envelope)
    body, signature = envelope["body"], bytes.fromhex(envelope["sig"])
    if commitment_leaf(row.salt, row.recorded_at, canonical(body), signature).hex() != row.leaf_hash:
        raise ValueError("it is not what its leaf commits to")
    return Event(row.seq, parse_time(row.recorded_at), body, envelope["key_id"], row.leaf_hash)


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
