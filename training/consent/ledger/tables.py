"""The ledger's database tables and their guards.

`consent_leaf` and `consent_subtree` hold hashes and are never erased; `consent_event` holds what is personal and can be
erased, but only once `consent_erasure` says so. Order is `seq`, without gaps. The columns of an event beside its envelope
repeat what is signed, so that it can be found; the audit compares them.
"""

from __future__ import annotations

import sqlalchemy as sa

from training.consent.database import BigId, append_only

metadata = sa.MetaData()
_Digest, _Name, _Time = sa.String(64), sa.String(128), sa.String(20)

TILE = 256  # children of a stored subtree: leaves on level 1, subtrees of the level below above that (as in C2SP tiles)

leaves = sa.Table(
    "consent_leaf",
    metadata,
    sa.Column("seq", BigId, primary_key=True, autoincrement=False),
    sa.Column("leaf_hash", _Digest, nullable=False),
    sa.Column("recorded_at", _Time, nullable=False),
)
append_only(leaves, inserts_if="NEW.seq = (SELECT COALESCE(MAX(seq) + 1, 0) FROM consent_leaf)")

subtrees = sa.Table(
    "consent_subtree",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("position", BigId, primary_key=True, autoincrement=False),
    sa.Column("hash", _Digest, nullable=False),
)
append_only(
    subtrees,  # none before its last child, none twice, none left out
    inserts_if=(
        "NEW.position = (SELECT COALESCE(MAX(position) + 1, 0) FROM consent_subtree WHERE level = NEW.level) AND ("  # noqa: S608
        f"EXISTS (SELECT 1 FROM consent_leaf WHERE NEW.level = 1 AND seq = NEW.position * {TILE} + {TILE - 1}) OR "
        "EXISTS (SELECT 1 FROM consent_subtree "
        f"WHERE level = NEW.level - 1 AND position = NEW.position * {TILE} + {TILE - 1}))"
    ),
)

events = sa.Table(
    "consent_event",
    metadata,
    sa.Column("seq", BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("event_id", _Name, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("party_id", _Name, nullable=False),
    sa.Column("consent_id", _Name),
    sa.Column("dispute_id", _Name),
    sa.Column("key_id", _Name),  # the key that is registered, attested to or revoked
    sa.Column("expires_at", sa.String(27)),  # with microseconds always, so that text sorts as time
    sa.Column("envelope_sha256", _Digest, nullable=False),
    sa.Column("salt", sa.LargeBinary(32), nullable=False),
    sa.Column("envelope", sa.Text, nullable=False),
    sa.UniqueConstraint("event_id"),
    sa.UniqueConstraint("envelope_sha256"),
    sa.Index("consent_event_by_party", "party_id", "type"),
    info={"erasable": True},
)
for _column in ("consent_id", "dispute_id", "key_id", "expires_at"):
    _present = events.c[_column].is_not(None)
    sa.Index(f"consent_event_by_{_column}", _column, _table=events, sqlite_where=_present, postgresql_where=_present)
append_only(
    events,  # a leaf comes first, nothing is slipped in behind, and what was erased stays so
    inserts_if=(
        "EXISTS (SELECT 1 FROM consent_leaf WHERE seq = NEW.seq) "
        "AND NEW.seq > (SELECT COALESCE(MAX(seq), -1) FROM consent_event) "
        "AND NOT EXISTS (SELECT 1 FROM consent_erasure WHERE seq = NEW.seq)"
    ),
    deletes_if=(  # a consent goes whole: without its revocation a grant would come back to life
        "EXISTS (SELECT 1 FROM consent_erasure WHERE seq = OLD.seq) AND NOT EXISTS (SELECT 1 FROM consent_event kept "
        "WHERE kept.consent_id = OLD.consent_id "
        "AND NOT EXISTS (SELECT 1 FROM consent_erasure WHERE seq = kept.seq))"
    ),
)

erasures = sa.Table(
    "consent_erasure",
    metadata,
    sa.Column("seq", BigId, sa.ForeignKey(leaves.c.seq), primary_key=True, autoincrement=False),
    sa.Column("erased_at", _Time, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("party_id", _Name, nullable=False),  # as identity events have it, which stay
    sa.Column("envelope_sha256", _Digest, nullable=False, index=True),
    sa.Column("event_id_sha256", _Digest, nullable=False, index=True),
    sa.Column("consent_id_sha256", _Digest, nullable=False, index=True),
)
append_only(
    erasures,  # only events of a consent that its party has revoked, and no identity and no dispute
    inserts_if=(
        "EXISTS (SELECT 1 FROM consent_event e JOIN consent_event r ON r.consent_id = e.consent_id "
        "AND r.party_id = e.party_id AND r.type = 'revoke' "
        "WHERE e.seq = NEW.seq AND e.party_id = NEW.party_id AND e.envelope_sha256 = NEW.envelope_sha256)"
    ),
)

refusals = sa.Table(
    "consent_refusal",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("event_sha256", _Digest, nullable=False),  # of what was received, byte for byte
    sa.Column("rule", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("refused_at", _Time, nullable=False),
    sa.Column("received", sa.Text, nullable=False),  # its beginning, where it was too long
    sa.Column("received_bytes", BigId, nullable=False),  # its whole length
    sa.Column("envelope_sha256", _Digest, index=True),  # null for what has no canonical form
    sa.Column("consent_id_sha256", _Digest, index=True),  # null for what names no consent
    sa.UniqueConstraint("event_sha256", "rule"),
    info={"erasable": True},
)
append_only(
    refusals,
    deletes_if="EXISTS (SELECT 1 FROM consent_erasure WHERE consent_id_sha256 = OLD.consent_id_sha256)",
)

checkpoints = sa.Table(
    "consent_checkpoint",
    metadata,
    sa.Column("size", BigId, primary_key=True, autoincrement=False),
    sa.Column("root", _Digest, nullable=False),
    sa.Column("recorded_at", _Time),
    sa.Column("key_id", _Digest, nullable=False),
    sa.Column("public_key", _Digest, nullable=False),
    sa.Column("sig", sa.String(128), nullable=False),
)
append_only(checkpoints)
