"""The log of withdrawals: what each one reached, and every step that was taken, kept before and after it is taken.

Append-only but for the rows that say how far the ledger was read and what failed. A withdrawal is planned in one
transaction with that mark, so a process killed at any moment has either not begun or finds its plan here. What the steps
do is `assets.withdrawals.execute`'s.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import sqlalchemy as sa

from assets import withheld
from assets.database import append_only, engine_with, writing
from assets.withheld import RESTORATION, WITHDRAWAL, reach_rows, withdrawal_rows
from training.consent.canonical import sha256_hex
from training.consent.database import BigId, portions
from training.consent.times import instant, time_text

DONE = "receipt"  # the last step

metadata = sa.MetaData()

item_rows = sa.Table(
    "withdrawal_item",
    metadata,
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
    metadata,
    sa.Column("number", BigId, sa.ForeignKey(withdrawal_rows.c.number), primary_key=True, autoincrement=False),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("done_at", sa.String(20), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
coming_rows = sa.Table(
    "coming_terms",
    metadata,
    sa.Column("acts_from", sa.String(20), primary_key=True),
    sa.Column("party_id", sa.String(128), primary_key=True),
)
for _table in (item_rows, step_rows, coming_rows):
    append_only(_table)

mark_row = sa.Table(
    "withdrawal_mark",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ledger_size", BigId, nullable=False),
    sa.Column("read_at", sa.String(20)),
    sa.Column("sealing", BigId, nullable=False),
    sa.Column("audited_at", sa.String(20)),
)


# what of the ledger could not be acted on and is tried again with every look; the only rows that go
failing_rows = sa.Table(
    "withdrawal_failing",
    metadata,
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("number", BigId, primary_key=True, autoincrement=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.String(20), nullable=False),
)

Pair = tuple[str, str]  # snapshot root, clip_id
EVENT, MEMBER = "event", "member"
Failing = dict[tuple[str, int], str]  # an event's place in the ledger, or a sealed member's number: why it failed


@dataclass(frozen=True, order=True)
class Cause:
    """Why a clip is reached: an event of the ledger (`seq`, `identity` is its leaf) or terms that ended (no `seq`).

    `subject` is whose withdrawal it is: a party, or the dispute.
    """

    subject: str
    kind: str
    identity: str
    at: str
    seq: int | None = None


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
        """As lineage takes it: reasons by clip, by snapshot."""
        by_root: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
        for (root, clip_id), reasons in self.reach.items():
            if root:
                by_root[root][clip_id] = reasons
        return dict(by_root)


class WithdrawalLog:
    """The withdrawals of one database."""

    def __init__(self, database_url: str) -> None:
        self.url = database_url
        engine_with(database_url, withheld.metadata)
        self.engine = engine_with(database_url, metadata)

    # -- how far ------------------------------------------------------------------------------------------------------

    def mark(self) -> Mark:
        row = next(iter(self._rows(sa.select(mark_row))), None)
        return Mark(row.ledger_size, instant(row.read_at) if row.read_at else None, row.sealing) if row else Mark()

    def audited(self) -> datetime | None:
        """When everything that was withdrawn was read again last."""
        return next((instant(row.audited_at) for row in self._rows(sa.select(mark_row)) if row.audited_at), None)

    def set_audited(self, now: datetime) -> None:
        with writing(self.engine) as connection:
            connection.execute(sa.update(mark_row).values(audited_at=time_text(now)))

    def coming(self, after: datetime | None, upto: datetime) -> set[str]:
        """Parties with terms that come into force in (after, upto]."""
        query = sa.select(coming_rows.c.party_id).where(coming_rows.c.acts_from <= time_text(upto))
        if after is not None:
            query = query.where(coming_rows.c.acts_from > time_text(after))
        return {row.party_id for row in self._rows(query)}

    def failing(self) -> Failing:
        """What could not be acted on at the last look."""
        return {(row.kind, row.number): row.why for row in self._rows(sa.select(failing_rows))}

    def plan(
        self,
        plans: Sequence[Plan],
        mark: Mark,
        coming: Iterable[tuple[datetime, str]],
        now: datetime,
        failing: Failing | None = None,
    ) -> None:
        """Keep new plans and what failed, and move the mark, all or nothing. A plan that was kept before stays as it is."""
        with writing(self.engine) as connection:
            _keep_failing(connection, failing or {}, time_text(now))
            for plan in plans:
                _keep(connection, plan, mark.ledger_size, time_text(now))
            for acts_from, party_id in sorted({(time_text(at), party) for at, party in coming}):
                same = (coming_rows.c.acts_from == acts_from) & (coming_rows.c.party_id == party_id)
                if connection.execute(sa.select(coming_rows.c.party_id).where(same)).first() is None:
                    connection.execute(sa.insert(coming_rows).values(acts_from=acts_from, party_id=party_id))
            row = {
                "ledger_size": mark.ledger_size,
                "read_at": time_text(mark.at) if mark.at else None,
                "sealing": mark.sealing,
            }
            if connection.execute(sa.update(mark_row).values(row)).rowcount == 0:
                connection.execute(sa.insert(mark_row).values(id=0, **row))

    # -- what was planned ---------------------------------------------------------------------------------------------

    def withdrawals(self, after: int = -1) -> list[Withdrawal]:
        """In order, those with a greater number."""
        return self._withdrawals(withdrawal_rows.c.number > after)

    def last(self) -> int:
        """The number of the last withdrawal that was kept; 0 before the first."""
        with self.engine.connect() as connection:
            return connection.execute(_last).scalar_one()

    def unfinished(self) -> list[Withdrawal]:
        done = sa.select(step_rows.c.number).where(step_rows.c.step == DONE)
        return self._withdrawals(withdrawal_rows.c.number.not_in(done))

    def find(self, text: str) -> list[Withdrawal]:
        """Withdrawals whose id or subject begins with `text`, or one of whose causes names it."""
        named = withdrawal_rows.c.causes.contains(text, autoescape=True)
        begins = withdrawal_rows.c.id.startswith(text, autoescape=True) | (withdrawal_rows.c.subject == text)
        return self._withdrawals(begins | named)

    def of_clip(self, clip_id: str) -> list[Withdrawal]:
        numbers = sa.select(reach_rows.c.number).where(reach_rows.c.clip_id == clip_id)
        return self._withdrawals(withdrawal_rows.c.number.in_(numbers))

    def handled(self, clip_ids: Iterable[str]) -> dict[Pair, set[str]]:
        """By pair of these clips that a standing withdrawal reached: the identities of the causes."""
        asked, numbers = set(clip_ids), set[int]()
        handled: dict[Pair, set[str]] = defaultdict(set)
        for some in portions(asked):
            query = sa.select(reach_rows.c.number).where(reach_rows.c.clip_id.in_(some)).distinct()
            numbers.update(row.number for row in self._rows(query))
        concerned = (self._withdrawals(withdrawal_rows.c.number.in_(some)) for some in portions(numbers))
        for past in chain.from_iterable(concerned):  # in order, as portions are
            identities = {cause.identity for cause in past.causes}
            for pair in (pair for pair in past.reach if pair[1] in asked):
                if past.kind == RESTORATION:
                    handled.pop(pair, None)
                else:
                    handled[pair] |= identities
        return dict(handled)

    def standing(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Everything that stands withdrawn: reasons by clip, by snapshot root."""
        query = (
            sa.select(reach_rows, withdrawal_rows.c.kind)
            .join(withdrawal_rows, withdrawal_rows.c.number == reach_rows.c.number)
            .order_by(reach_rows.c.number)
        )
        standing: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
        for row in self._rows(query):
            if row.kind == WITHDRAWAL:
                standing[row.root][row.clip_id] = tuple(json.loads(row.reasons))
            else:
                standing[row.root].pop(row.clip_id, None)
        return {root: clips for root, clips in standing.items() if root and clips}

    # -- what was done ------------------------------------------------------------------------------------------------

    def intend(self, number: int, items: Iterable[Item], now: datetime) -> None:
        """Keep what is about to be acted on, before it is; what is kept already stays as it was found first."""
        with writing(self.engine) as connection:
            kept: set[str] = set(
                connection.execute(sa.select(item_rows.c.item).where(item_rows.c.number == number)).scalars()
            )
            rows = {item.item: asdict(item) | {"number": number, "planned_at": time_text(now)} for item in items}
            if fresh := [row for name, row in rows.items() if name not in kept]:
                connection.execute(sa.insert(item_rows), fresh)

    def items(self, number: int) -> list[Item]:
        query = sa.select(item_rows).where(item_rows.c.number == number).order_by(item_rows.c.kind, item_rows.c.item)
        return [_item(row) for row in self._rows(query)]

    def sealed(self) -> list[Item]:
        """Everything that any withdrawal sealed."""
        query = sa.select(item_rows).where(item_rows.c.action == "seal").order_by(item_rows.c.number, item_rows.c.item)
        return [_item(row) for row in self._rows(query)]

    def sealed_as(self, item: str) -> list[str]:
        """Ids of the withdrawals that sealed this thing."""
        query = (
            sa.select(withdrawal_rows.c.id)
            .join(item_rows, item_rows.c.number == withdrawal_rows.c.number)
            .where(item_rows.c.item == item, item_rows.c.action == "seal")
            .order_by(withdrawal_rows.c.number)
        )
        return [row.id for row in self._rows(query)]

    def step_done(self, number: int, step: str, detail: Mapping[str, Any], now: datetime) -> None:
        """Keep that a step was taken; what was kept first stays."""
        with writing(self.engine) as connection:
            same = (step_rows.c.number == number) & (step_rows.c.step == step)
            if connection.execute(sa.select(step_rows.c.step).where(same)).first() is None:
                row = {"number": number, "step": step, "done_at": time_text(now), "detail": json.dumps(dict(detail))}
                connection.execute(sa.insert(step_rows), row)

    def steps(self, number: int) -> dict[str, dict[str, Any]]:
        """Steps taken, each with `done_at` and its detail."""
        query = sa.select(step_rows).where(step_rows.c.number == number).order_by(step_rows.c.done_at)
        return {row.step: {"done_at": row.done_at, **json.loads(row.detail)} for row in self._rows(query)}

    # -- rows ---------------------------------------------------------------------------------------------------------

    def _rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def _withdrawals(self, where: sa.ColumnElement[bool]) -> list[Withdrawal]:
        rows = self._rows(sa.select(withdrawal_rows).where(where).order_by(withdrawal_rows.c.number))
        reach: dict[int, dict[Pair, tuple[str, ...]]] = {row.number: {} for row in rows}
        for some in portions(reach):
            for r in self._rows(sa.select(reach_rows).where(reach_rows.c.number.in_(some))):
                reach[r.number][r.root, r.clip_id] = tuple(json.loads(r.reasons))
        return [
            Withdrawal(
                **dict(row._mapping)
                | {"causes": tuple(Cause(**c) for c in json.loads(row.causes)), "reach": reach[row.number]}
            )
            for row in rows
        ]


_last = sa.select(sa.func.coalesce(sa.func.max(withdrawal_rows.c.number), 0))


def _keep_failing(connection: sa.Connection, failing: Failing, now: str) -> None:
    since = {(row.kind, row.number): row.since for row in connection.execute(sa.select(failing_rows))}
    connection.execute(sa.delete(failing_rows))
    rows = [
        {"kind": kind, "number": number, "why": why, "since": since.get((kind, number), now)}
        for (kind, number), why in sorted(failing.items())
    ]
    if rows:
        connection.execute(sa.insert(failing_rows), rows)


def _keep(connection: sa.Connection, plan: Plan, ledger_size: int, opened_at: str) -> None:
    if connection.execute(sa.select(withdrawal_rows.c.id).where(withdrawal_rows.c.id == plan.id)).first():
        return
    number = connection.execute(_last).scalar_one() + 1
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


def _item(row: Any) -> Item:
    return Item(**{name: value for name, value in row._mapping.items() if name != "number"})
