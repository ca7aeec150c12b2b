"""Re-reading the whole ledger with suspicion: guards, sequence, tree, checkpoints, and every entry again.

Entries are judged in chunks, each on what the ledger held before it and looked up as when they were appended, so that
memory stays small and several processes can share the work. Since judgements look things up by index, SQLite's indexes are
checked against their tables, and every entry's columns against what was signed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import sqlalchemy as sa

from assets.consent.admission import Register, judge, needs
from assets.consent.intake import register_for, search_columns
from assets.consent.ledger_tables import checkpoints
from assets.database import guard_problems
from training.consent import merkle
from training.consent.canonical import canonical, parse_strictly, sha256_hex
from training.consent.database import open_engine
from training.consent.keys import checkpoint_holds
from training.consent.ledger import LedgerReader, bodiless
from training.consent.tables import TILE, erasures, events, leaf_of, leaves, metadata, subtrees
from training.consent.times import parse_time

_CHUNK = 2000  # entries judged on one look at the past
_WORTH_A_POOL = 20_000  # entries below which starting processes costs more than it saves
_STREAM = 10_000


def audit(ledger: LedgerReader, workers: int | None = None) -> Iterator[str]:
    """Every problem of the ledger, in a sentence, judged by `workers` processes (default: one for each core)."""
    yield from structure_problems(ledger)
    size = ledger.size()
    chunks = [(start, min(start + _CHUNK, size)) for start in range(0, size, _CHUNK)]
    workers = workers or os.cpu_count() or 1
    if workers == 1 or size < _WORTH_A_POOL:
        for chunk in chunks:
            yield from chunk_problems(ledger.engine, *chunk)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would share the parent's connections
    url = ledger.engine.url.render_as_string(hide_password=False)
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_connect, initargs=(url,)) as pool:
        for problems in pool.map(_chunk_in_worker, chunks):
            yield from problems


def structure_problems(ledger: LedgerReader) -> Iterator[str]:
    """Problems of the ledger as a whole, judging no entry: its guards, file, sequence, tree, checkpoints and erasures."""
    with ledger.engine.connect() as connection:
        yield from guard_problems(connection, metadata.sorted_tables)
        yield from _database_problems(connection)
        yield from _tree_problems(connection)
        yield from _erasure_problems(connection)


# -- the whole -------------------------------------------------------------------------------------------------------


def _database_problems(connection: sa.Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for row in connection.exec_driver_sql("PRAGMA integrity_check"):
            if row[0] != "ok":
                yield f"the database file is damaged: {row[0]}"


def _tree_problems(connection: sa.Connection) -> Iterator[str]:
    """Sequence and times ascend, kept subtrees and checkpoints recompute from the leaves."""
    signed = {row.size: dict(row._mapping) for row in connection.execute(sa.select(checkpoints))}
    kept = {(row.level, row.position): row.hash for row in connection.execute(sa.select(subtrees))}
    growing, levels, previous = merkle.GrowingTree(), [list[bytes]()], ""
    yield from _checkpoint_problems(signed.pop(0, None), growing)
    query = sa.select(leaves).order_by(leaves.c.seq)
    for row in connection.execution_options(yield_per=_STREAM).execute(query):
        if row.seq != growing.size:
            yield f"event {growing.size} is missing: the next one is {row.seq}"
            return
        if row.recorded_at < previous:
            yield f"event {row.seq} was recorded before the one ahead of it"
        previous, leaf = row.recorded_at, bytes.fromhex(row.leaf_hash)
        growing.add(leaf)
        yield from _subtree_problems(levels, leaf, growing.size, kept)
        yield from _checkpoint_problems(signed.pop(growing.size, None), growing)
    for level, position in sorted(kept):
        yield f"a subtree is kept at {position} of level {level}, where the ledger has no such leaves"
    for cut in sorted(signed):
        yield f"the checkpoint at {cut} events is of a longer ledger: events were cut off"


def _subtree_problems(
    levels: list[list[bytes]], leaf: bytes, size: int, kept: dict[tuple[int, int], str]
) -> Iterator[str]:
    """Add a leaf to the open subtrees, one a level; where it completes one, compare it and take it off `kept`."""
    node, level = leaf, 0
    levels[0].append(node)
    while len(levels[level]) == TILE:
        node, position = merkle.root(levels[level]), size // TILE ** (level + 1) - 1
        levels[level] = []
        level += 1
        if kept.pop((level, position), None) != node.hex():
            yield f"the kept subtree at {position} of level {level} is missing or not that of its leaves"
        if level == len(levels):
            levels.append([])
        levels[level].append(node)


def _checkpoint_problems(signed: dict[str, Any] | None, growing: merkle.GrowingTree) -> Iterator[str]:
    if signed and signed["root"] != growing.root().hex():
        yield f"the checkpoint at {growing.size} events has another root: the ledger was rewritten"
    if signed and not checkpoint_holds(signed, bytes.fromhex(signed["public_key"])):
        yield f"the checkpoint at {growing.size} events is not signed by its key"


def _erasure_problems(connection: sa.Connection) -> Iterator[str]:
    """Every entry has its event or a declared erasure, and none has both."""
    both = sa.select(events.c.seq).join(erasures, erasures.c.seq == events.c.seq).order_by(events.c.seq)
    for row in connection.execute(both):
        yield f"event {row.seq} is declared erased and still there"
    for row in connection.execute(bodiless().order_by(leaves.c.seq)):
        yield f"event {row.seq} is gone without a declared erasure"


# -- the entries -----------------------------------------------------------------------------------------------------

_engine: sa.Engine | None = None  # of a worker process


def _connect(url: str) -> None:
    global _engine
    _engine = open_engine(url)


def _chunk_in_worker(chunk: tuple[int, int]) -> list[str]:
    assert _engine is not None
    return list(chunk_problems(_engine, *chunk))


def chunk_problems(engine: sa.Engine, start: int, end: int) -> Iterator[str]:
    """What is wrong with the entries in [start, end), each judged on those before it."""
    entries = (
        sa.select(leaves.c.leaf_hash, leaves.c.recorded_at, leaves.c.seq.label("place"), events, erasures.c.erased_at)
        .outerjoin(events, events.c.seq == leaves.c.seq)
        .outerjoin(erasures, erasures.c.seq == leaves.c.seq)
        .where(leaves.c.seq >= start, leaves.c.seq < end)
        .order_by(leaves.c.seq)
    )
    with engine.connect() as connection:
        rows, readable = connection.execute(entries).all(), []
        for row in rows:
            if row.envelope is not None and not row.erased_at:
                try:
                    readable.append((row, parse_strictly(row.envelope)))
                except ValueError as error:
                    yield f"event {row.place} cannot be read: {error}"
        try:
            register = register_for(connection, needs(envelope for _, envelope in readable), before=start)
        except (ValueError, KeyError, TypeError) as error:
            yield f"what events {start} to {end} rest on cannot be read: {error!r}"
            return
    for row, envelope in readable:
        try:
            yield from _entry_problems(row, envelope, register)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"event {row.place} cannot be read: {error!r}"


def _entry_problems(row: Any, envelope: Any, register: Register) -> Iterator[str]:
    if refusal := judge(register, envelope, parse_time(row.recorded_at)):
        yield f"event {row.place} should not have been admitted: {refusal.rule} ({refusal.detail})"
        return
    register.record(envelope)
    line = canonical(envelope)
    if leaf_of(row.salt, row.recorded_at, envelope).hex() != row.leaf_hash:
        yield f"event {row.place} is not what its leaf commits to"
    if row.envelope.encode() != line or row.envelope_sha256 != sha256_hex(line):
        yield f"event {row.place} is not kept in canonical form under its digest"
    for name, value in search_columns(envelope).items():
        if getattr(row, name) != value:
            yield f"event {row.place} is filed under {name} {getattr(row, name)!r}, but says {value!r}"
