"""The ledger's database tables and their guards.

`consent_leaf` holds commitments and is never erased; `consent_event` holds what is personal and can be erased, but only
after `consent_erasure` says so. Order is `seq`, without gaps.
"""

from __future__ import annotations

import sqlalchemy as sa

from training.consent.database import append_only

metadata = sa.MetaData()
_BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

leaves = sa.Table(
    "consent_leaf",
    metadata,
    sa.Column("seq", _BigId, primary_key=True, autoincrement=False),
    sa.Column("leaf_hash", sa.String(64), nullable=False),
    sa.Column("recorded_at", sa.String(20), nullable=False),
)
append_only(leaves, inserts_if="NEW.seq = (SELECT COALESCE(MAX(seq) + 1, 0) FROM consent_leaf)")

erasures = sa.Table(
    "consent_erasure",
    metadata,
    sa.Column("seq", _BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("erased_at", sa.String(20), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)
append_only(erasures)

events = sa.Table(
    "consent_event",
    metadata,
    sa.Column("seq", _BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.String(128), nullable=False),
    sa.Column("consent_id", sa.String(128)),
    sa.Column("party_id", sa.String(128), nullable=False, index=True),
    sa.Column("envelope_sha256", sa.String(64), nullable=False),
    sa.Column("salt", sa.LargeBinary(32), nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.UniqueConstraint("event_id"),
    sa.UniqueConstraint("envelope_sha256"),
)
append_only(
    events,
    inserts_if="NEW.seq = (SELECT MAX(seq) FROM consent_leaf)",
    deletes_if="EXISTS (SELECT 1 FROM consent_erasure WHERE seq = OLD.seq)",
)

refusals = sa.Table(
    "consent_refusal",
    metadata,
    sa.Column("id", _BigId, primary_key=True),
    sa.Column("event_sha256", sa.String(64), nullable=False),
    sa.Column("rule", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("refused_at", sa.String(20), nullable=False),
    sa.Column("received", sa.Text, nullable=False),
    sa.UniqueConstraint("event_sha256", "rule"),
)
append_only(refusals)

checkpoints = sa.Table(
    "consent_checkpoint",
    metadata,
    sa.Column("size", _BigId, primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), nullable=False),
    sa.Column("recorded_at", sa.String(20)),
    sa.Column("key_id", sa.String(64), nullable=False),
    sa.Column("public_key", sa.String(64), nullable=False),
    sa.Column("sig", sa.String(128), nullable=False),
)
append_only(checkpoints)

guardians = sa.Table(
    "consent_guardian",
    metadata,
    sa.Column("id", _BigId, primary_key=True),
    sa.Column("minor_id", sa.String(128), nullable=False),
    sa.Column("guardian_id", sa.String(128), nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("evidence_sha256", sa.String(64), nullable=False),
    sa.Column("recorded_at", sa.String(20), nullable=False),
)
append_only(guardians)
