"""Re-reading the whole ledger with suspicion: every leaf, signature, rule and checkpoint again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from training.consent import merkle
from training.consent.admission import judge
from training.consent.canonical import canonical, parse_strictly
from training.consent.checkpoint import checkpoint_holds
from training.consent.ledger import Ledger, commitment_leaf
from training.consent.ledger_tables import checkpoints, erasures, leaves
from training.consent.register import Register
from training.consent.times import parse_time


def audit(ledger: Ledger) -> Iterator[str]:
    """Every problem of the ledger, in a sentence."""
    register, previous = Register(), ""
    with ledger.engine.connect() as connection:
        erased: set[int] = set(connection.execute(sa.select(erasures.c.seq)).scalars())
        for expected_seq, row in enumerate(list(ledger.rows(connection))):
            if row.seq != expected_seq:
                yield f"event {expected_seq} is missing: the sequence goes on with {row.seq}"
                return
            if row.recorded_at < previous:
                yield f"event {row.seq} was recorded before the one ahead of it"
            previous = row.recorded_at
            if row.envelope is None:
                if row.seq not in erased:
                    yield f"event {row.seq} is gone without a declared erasure"
                continue
            try:
                yield from _audit_entry(row, register)
            except (ValueError, KeyError, TypeError) as error:
                yield f"event {row.seq} cannot be read: {error}"
        yield from _audit_checkpoints(connection)


def _audit_entry(row: Any, register: Register) -> Iterator[str]:
    envelope = parse_strictly(row.envelope)
    signature = bytes.fromhex(envelope["sig"])
    if commitment_leaf(row.salt, row.recorded_at, canonical(envelope["body"]), signature).hex() != row.leaf_hash:
        yield f"event {row.seq} is not what its leaf commits to"
    if refusal := judge(register, envelope, parse_time(row.recorded_at)):
        yield f"event {row.seq} should not have been admitted: {refusal.rule} ({refusal.detail})"
    else:
        register.record(envelope)


def _audit_checkpoints(connection: sa.Connection) -> Iterator[str]:
    kept = {row.size: dict(row._mapping) for row in connection.execute(sa.select(checkpoints))}
    hashes: Any = connection.execute(sa.select(leaves.c.leaf_hash).order_by(leaves.c.seq)).scalars()
    for size, root in enumerate(merkle.prefix_roots(bytes.fromhex(leaf) for leaf in hashes)):
        signed = kept.pop(size, None)
        if signed and signed["root"] != root.hex():
            yield f"the checkpoint at {size} events has another root: the ledger was rewritten"
        if signed and not checkpoint_holds(signed, bytes.fromhex(signed["public_key"])):
            yield f"the checkpoint at {size} events is not signed by its key"
    for size in sorted(kept):
        yield f"the checkpoint at {size} events is of a longer ledger: events were cut off"
