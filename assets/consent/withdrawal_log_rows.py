"""What the journal of withdrawals keeps: its tables, and the plans, items and marks that their rows stand for.

Belongs here: rows and their forms. When they are written is `journal`'s business.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from assets.consent.sealed_member_rows import chunks
from assets.withdrawals.lineage import Cause, Pair
from training.consent.canonical import sha256_hex
from training.consent.database import BigId, append_only

WITHDRAWAL, RESTORATION = "withdrawal", "restoration"
DONE = "receipt"  # the last step

METADATA = sa.MetaData()

withdrawal_rows = sa.Table(
    "withdrawal",
    METADATA,
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
    METADATA,
    sa.Column("number", BigId, sa.ForeignKey(withdrawal_rows.c.number), primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), primary_key=True),  # "" for what is restored to use, not to old snapshots
    sa.Column("clip_id", sa.String(64), primary_key=True, index=True),
    sa.Column("reasons", sa.Text, nullable=False),
)
item_rows = sa.Table(
    "withdrawal_item",
    METADATA,
    sa.Column("number", BigId, sa.ForeignKey(withdrawal_rows.c.number), primary_key=True, autoincrement=False),
    sa.Column("item", sa.String(512), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("clip_id", sa.String(64), nullable=False),  # "" where it is no single clip's
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("planned_at", sa.String(20), nullable=False),
)
step_rows = sa.Table(
    "withdrawal_step",
    METADATA,
    sa.Column("number", BigId, sa.ForeignKey(withdrawal_rows.c.number), primary_key=True, autoincrement=False),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("done_at", sa.String(20), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
coming_rows = sa.Table(
    "coming_terms",
    METADATA,
    sa.Column("acts_from", sa.String(20), primary_key=True),
    sa.Column("party_id", sa.String(128), primary_key=True),
)
for _table in (withdrawal_rows, reach_rows, item_rows, step_rows, coming_rows):
    append_only(_table)

mark_row = sa.Table(
    "withdrawal_mark",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ledger_size", BigId, nullable=False),
    sa.Column("read_at", sa.String(20)),
    sa.Column("sealing", BigId, nullable=False),
    sa.Column("audited_at", sa.String(20)),
)


# what of the ledger could not be acted on and is tried again with every look; the only rows that go
failing_rows = sa.Table(
    "withdrawal_failing",
    METADATA,
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.String(20), nullable=False),
)

EVENT, MEMBER = "event", "member"
Failing = dict[tuple[str, int], str]  # an event's place in the ledger, or a sealed member's number: why it failed


@dataclass(frozen=True)
class Mark:
    """How far consequences were drawn: of the ledger, of time (None: not yet), and of the sealings."""

    ledger_size: int = 0
    at: datetime | None = None
    sealing: int = -1


@dataclass(frozen=True)
class Plan:
    """A withdrawal (or what undoes one) as it is about to be kept."""

    kind: str
    subject: str
    causes: tuple[Cause, ...]
    reach: Mapping[Pair, tuple[str, ...]]

    @property
    def id(self) -> str:
        """The same causes reaching the same clips are the same withdrawal, whenever that is found out."""
        named = [
            self.kind,
            self.subject,
            [c.identity for c in self.causes],
            [list(pair) for pair in sorted(self.reach)],
        ]
        return f"{'w' if self.kind == WITHDRAWAL else 'r'}-{sha256_hex(named)[:16]}"


@dataclass(frozen=True)
class Item:
    """One thing that is acted on: `item` is a store key, a row's name, a version or an alias."""

    item: str
    kind: str
    action: str
    clip_id: str = ""
    before: str = ""
    planned_at: str = ""


@dataclass(frozen=True)
class Withdrawal:
    """A kept plan."""

    number: int
    id: str
    kind: str
    subject: str
    ledger_size: int
    opened_at: str
    causes: tuple[Cause, ...]
    reach: Mapping[Pair, tuple[str, ...]]

    @property
    def clip_ids(self) -> tuple[str, ...]:
        return tuple(sorted({clip_id for _, clip_id in self.reach}))

    @property
    def roots(self) -> tuple[str, ...]:
        return tuple(sorted({root for root, _ in self.reach} - {""}))

    @property
    def only_held(self) -> bool:
        """Whether nothing but open disputes speak against its clips: they may be dismissed."""
        return bool(self.causes) and {cause.kind for cause in self.causes} == {"dispute"}

    @property
    def by_root(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """As the closure takes it: reasons by clip, by snapshot."""
        found: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
        for (root, clip_id), reasons in self.reach.items():
            if root:
                found[root][clip_id] = reasons
        return dict(found)


def keep(connection: sa.Connection, plan: Plan, ledger_size: int, opened_at: str) -> None:
    if connection.execute(sa.select(withdrawal_rows.c.id).where(withdrawal_rows.c.id == plan.id)).first():
        return
    latest = sa.select(sa.func.coalesce(sa.func.max(withdrawal_rows.c.number), 0))
    number = connection.execute(latest).scalar_one() + 1
    connection.execute(
        sa.insert(withdrawal_rows).values(
            number=number,
            id=plan.id,
            kind=plan.kind,
            subject=plan.subject,
            ledger_size=ledger_size,
            opened_at=opened_at,
            causes=json.dumps([asdict(cause) for cause in plan.causes]),
        )
    )
    rows = [
        {"number": number, "root": root, "clip_id": clip_id, "reasons": json.dumps(reasons)}
        for (root, clip_id), reasons in sorted(plan.reach.items())
    ]
    if rows:
        connection.execute(sa.insert(reach_rows), rows)


def read(connection: sa.Connection, query: sa.Select[Any]) -> list[Withdrawal]:
    rows = connection.execute(query.order_by(withdrawal_rows.c.number)).all()
    reach: dict[int, dict[Pair, tuple[str, ...]]] = {row.number: {} for row in rows}
    for some in chunks(reach):
        for r in connection.execute(sa.select(reach_rows).where(reach_rows.c.number.in_(some))):
            reach[r.number][r.root, r.clip_id] = tuple(json.loads(r.reasons))
    found = []
    for row in rows:
        causes = tuple(Cause(**cause) for cause in json.loads(row.causes))
        fields = dict(row._mapping) | {"causes": causes, "reach": reach[row.number]}
        found.append(Withdrawal(**fields))
    return found


def item_of(row: Any) -> Item:
    return Item(**{name: value for name, value in row._mapping.items() if name != "number"})
