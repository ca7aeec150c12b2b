"""The ledger's Merkle tree in the database: its complete subtrees are kept as it grows, so that a root or a proof reads few
rows however long the ledger is.

As in C2SP's tlog-tiles, one hash is kept for every 256 leaves, one for every 256 of those, and so on. Any complete subtree
in between is at most 128 kept hashes; any range of leaves in a proof is at most log n complete subtrees.
"""

from __future__ import annotations

import sqlalchemy as sa

from training.consent import merkle
from training.consent.tables import TILE, leaves, subtrees

_TILE_BITS = TILE.bit_length() - 1


def size(connection: sa.Connection) -> int:
    """Number of leaves; their sequence has no gaps."""
    last = connection.execute(sa.select(sa.func.max(leaves.c.seq))).scalar()
    return 0 if last is None else last + 1


def root(connection: sa.Connection, upto: int) -> bytes:
    """Root of the first `upto` leaves, which must be there."""
    return range_root(connection, 0, upto)


def inclusion_proof(connection: sa.Connection, index: int, upto: int) -> list[bytes]:
    """That leaf `index` is in the tree of the first `upto` leaves; raises IndexError."""
    _require(connection, upto)
    return [range_root(connection, *part) for part in merkle.inclusion_ranges(index, upto)]


def consistency_proof(connection: sa.Connection, first: int, second: int) -> list[bytes]:
    """That the tree of the first `first` leaves is a prefix of the tree of `second`; raises IndexError."""
    _require(connection, second)
    return [range_root(connection, *part) for part in merkle.consistency_ranges(first, second)]


def _require(connection: sa.Connection, upto: int) -> None:
    if upto > (there := size(connection)):
        raise IndexError(f"a tree of {upto} in a ledger of {there}")


def range_root(connection: sa.Connection, first: int, last: int) -> bytes:
    """Root of the leaves in [first, last), a range of an RFC 9162 proof (see `merkle.complete_subtrees`)."""
    return merkle.bag([_complete_root(connection, *part) for part in merkle.complete_subtrees(first, last)])


def _complete_root(connection: sa.Connection, first: int, last: int) -> bytes:
    """Root of a complete subtree from the hashes kept on the highest level that fits it."""
    level = ((last - first).bit_length() - 1) // _TILE_BITS
    width = TILE**level  # leaves below one hash of this level
    return merkle.root(hashes(connection, level, first // width, last // width))


def hashes(connection: sa.Connection, level: int, first: int, last: int) -> list[bytes]:
    """Kept hashes at positions [first, last) of a level; level 0 is the leaves. Raises LookupError where some miss."""
    if level == 0:
        query = sa.select(leaves.c.leaf_hash).where(leaves.c.seq >= first, leaves.c.seq < last).order_by(leaves.c.seq)
    else:
        within = (subtrees.c.level == level) & (subtrees.c.position >= first) & (subtrees.c.position < last)
        query = sa.select(subtrees.c.hash).where(within).order_by(subtrees.c.position)
    kept = [bytes.fromhex(row[0]) for row in connection.execute(query)]
    if len(kept) != last - first:
        raise LookupError(f"the ledger lacks hashes of level {level} from {first} to {last}: verify it")
    return kept
