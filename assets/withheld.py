"""Clips that stand withdrawn: no stage makes anything of them.

The two tables are written by `assets.consent.withdrawal_log`; the stages before consent read them here.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from assets.database import append_only, engine_with
from training.consent.database import BigId, portions

WITHDRAWAL, RESTORATION = "withdrawal", "restoration"  # kinds

metadata = sa.MetaData()

withdrawal_rows = sa.Table(
    "withdrawal",
    metadata,
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("ledger_size", BigId, nullable=False),
    sa.Column("opened_at", sa.String(20), nullable=False),
    sa.Column("causes", sa.Text, nullable=False),
    sa.UniqueConstraint("id"),
)
reach_rows = sa.Table(
    "withdrawal_reach",
    metadata,
    sa.Column("number", BigId, sa.ForeignKey(withdrawal_rows.c.number), primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), primary_key=True),  # "" for what is restored to use, not to old snapshots
    sa.Column("clip_id", sa.String(64), primary_key=True, index=True),
    sa.Column("reasons", sa.Text, nullable=False),
)
append_only(withdrawal_rows)
append_only(reach_rows)


def withheld(database_url: str, clip_ids: Iterable[str] | None = None) -> dict[str, str]:
    """Clips (of these, or of all) that must not be used now, each with the withdrawal that says so.

    The last word on a clip counts: a withdrawal, or the restoration that undid it.
    """
    query = (
        sa.select(reach_rows.c.clip_id, withdrawal_rows.c.kind, withdrawal_rows.c.id)
        .join(withdrawal_rows, withdrawal_rows.c.number == reach_rows.c.number)
        .order_by(reach_rows.c.number)
    )
    queries = [query] if clip_ids is None else [query.where(reach_rows.c.clip_id.in_(p)) for p in portions(clip_ids)]
    last: dict[str, tuple[str, str]] = {}
    with engine_with(database_url, metadata).connect() as connection:
        for each in queries:
            last |= {row.clip_id: (row.kind, row.id) for row in connection.execute(each)}
    return {clip_id: name for clip_id, (kind, name) in last.items() if kind == WITHDRAWAL}
