"""The journal of withdrawals: what each one reached, and every step that was taken, kept before and after it is taken.

Rows only, append-only but for the one that says how far the ledger was read. A withdrawal is planned in one transaction
with that mark, so a process killed at any moment has either not begun or finds its plan here. What the steps do is
`desk`'s business.
"""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from assets.consent.withdrawals.closure import Cause, Pair
from assets.home import Home
from training.consent.canonical import sha256_hex
from training.consent.database import create_tables, open_engine, writing
from training.consent.guards import append_only
from training.consent.times import instant, time_text

WITHDRAWAL, RESTORATION = "withdrawal", "restoration"
DONE = "receipt"  # the last step

_metadata = sa.MetaData()
_BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_withdrawals = sa.Table(
    "withdrawal",
    _metadata,
    sa.Column("number", _BigId, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(128), nullable=False),
    sa.Column("ledger_size", _BigId, nullable=False),
    sa.Column("opened_at", sa.String(20), nullable=False),
    sa.Column("causes", sa.Text, nullable=False),
    sa.UniqueConstraint("id"),
)
_reaches = sa.Table(
    "withdrawal_reach",
    _metadata,
    sa.Column("number", _BigId, sa.ForeignKey(_withdrawals.c.number), primary_key=True, autoincrement=False),
    sa.Column("root", sa.String(64), primary_key=True),  # "" for what is restored to use, not to old snapshots
    sa.Column("clip_id", sa.String(64), primary_key=True, index=True),
    sa.Column("reasons", sa.Text, nullable=False),
)
_items = sa.Table(
    "withdrawal_item",
    _metadata,
    sa.Column("number", _BigId, sa.ForeignKey(_withdrawals.c.number), primary_key=True, autoincrement=False),
    sa.Column("item", sa.String(512), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("clip_id", sa.String(64), nullable=False),  # "" where it is no single clip's
    sa.Column("before", sa.Text, nullable=False),
    sa.Column("planned_at", sa.String(20), nullable=False),
)
_steps = sa.Table(
    "withdrawal_step",
    _metadata,
    sa.Column("number", _BigId, sa.ForeignKey(_withdrawals.c.number), primary_key=True, autoincrement=False),
    sa.Column("step", sa.String(32), primary_key=True),
    sa.Column("done_at", sa.String(20), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
)
for _table in (_withdrawals, _reaches, _items, _steps):
    append_only(_table)

_coming = sa.Table(
    "coming_terms",
    _metadata,
    sa.Column("acts_from", sa.String(20), primary_key=True),
    sa.Column("party_id", sa.String(128), primary_key=True),
)
append_only(_coming)
_mark = sa.Table(
    "withdrawal_mark",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("ledger_size", _BigId, nullable=False),
    sa.Column("read_at", sa.String(20)),
    sa.Column("sealing", _BigId, nullable=False),
    sa.Column("audited_at", sa.String(20)),
)


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


class Journal:
    """The withdrawals of one database."""

    def __init__(self, database_url: str) -> None:
        self.engine = _engine(database_url)

    # -- how far ------------------------------------------------------------------------------------------------------

    def mark(self) -> Mark:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(_mark)).first()
        return Mark(row.ledger_size, instant(row.read_at) if row.read_at else None, row.sealing) if row else Mark()

    def audited(self) -> datetime | None:
        """When everything that was withdrawn was read again last."""
        with self.engine.connect() as connection:
            at = connection.execute(sa.select(_mark.c.audited_at)).scalar()
        return instant(at) if at else None

    def set_audited(self, now: datetime) -> None:
        with writing(self.engine) as connection:
            connection.execute(sa.update(_mark).values(audited_at=time_text(now)))

    def coming(self, after: datetime | None, upto: datetime) -> set[str]:
        """Parties with terms that come into force in (after, upto]."""
        query = sa.select(_coming.c.party_id).where(_coming.c.acts_from <= time_text(upto))
        if after is not None:
            query = query.where(_coming.c.acts_from > time_text(after))
        with self.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def plan(self, plans: Sequence[Plan], mark: Mark, coming: Iterable[tuple[datetime, str]], now: datetime) -> None:
        """Keep new plans and move the mark, all or nothing. A plan that was kept before stays as it is."""
        with writing(self.engine) as connection:
            for plan in plans:
                _keep(connection, plan, mark.ledger_size, time_text(now))
            for acts_from, party_id in sorted({(time_text(at), party) for at, party in coming}):
                same = (_coming.c.acts_from == acts_from) & (_coming.c.party_id == party_id)
                if connection.execute(sa.select(_coming.c.party_id).where(same)).first() is None:
                    connection.execute(sa.insert(_coming).values(acts_from=acts_from, party_id=party_id))
            row = {
                "ledger_size": mark.ledger_size,
                "read_at": time_text(mark.at) if mark.at else None,
                "sealing": mark.sealing,
            }
            if connection.execute(sa.update(_mark).values(row)).rowcount == 0:
                connection.execute(sa.insert(_mark).values(id=0, **row))

    # -- what was planned ---------------------------------------------------------------------------------------------

    def withdrawals(self, after: int = -1, ledger_after: int = -1) -> list[Withdrawal]:
        """In order, those with a greater number and a greater ledger size."""
        query = sa.select(_withdrawals).where(_withdrawals.c.number > after, _withdrawals.c.ledger_size > ledger_after)
        with self.engine.connect() as connection:
            return _read(connection, query)

    def last(self) -> int:
        """The number of the last withdrawal that was kept; 0 before the first."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(sa.func.coalesce(sa.func.max(_withdrawals.c.number), 0))).scalar_one()

    def unfinished(self) -> list[Withdrawal]:
        done = sa.select(_steps.c.number).where(_steps.c.step == DONE)
        with self.engine.connect() as connection:
            return _read(connection, sa.select(_withdrawals).where(_withdrawals.c.number.not_in(done)))

    def find(self, text: str) -> list[Withdrawal]:
        """Withdrawals whose id or subject begins with `text`, or one of whose causes names it."""
        named = _withdrawals.c.causes.contains(text, autoescape=True)
        begins = _withdrawals.c.id.startswith(text, autoescape=True) | (_withdrawals.c.subject == text)
        with self.engine.connect() as connection:
            return _read(connection, sa.select(_withdrawals).where(begins | named))

    def of_clip(self, clip_id: str) -> list[Withdrawal]:
        numbers = sa.select(_reaches.c.number).where(_reaches.c.clip_id == clip_id)
        with self.engine.connect() as connection:
            return _read(connection, sa.select(_withdrawals).where(_withdrawals.c.number.in_(numbers)))

    def handled(self, clip_ids: Iterable[str]) -> dict[Pair, set[str]]:
        """By pair of these clips that a standing withdrawal reached: the identities of the causes."""
        found: dict[Pair, set[str]] = defaultdict(set)
        for clip_id in clip_ids:
            for past in self.of_clip(clip_id):
                for pair in past.reach:
                    if pair[1] != clip_id:
                        continue
                    if past.kind == RESTORATION:
                        found.pop(pair, None)
                    else:
                        found[pair] |= {cause.identity for cause in past.causes}
        return dict(found)

    def standing(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Everything that stands withdrawn: reasons by clip, by snapshot root."""
        query = (
            sa.select(_reaches, _withdrawals.c.kind)
            .join(_withdrawals, _withdrawals.c.number == _reaches.c.number)
            .order_by(_reaches.c.number)
        )
        found: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                if row.kind == WITHDRAWAL:
                    found[row.root][row.clip_id] = tuple(json.loads(row.reasons))
                else:
                    found[row.root].pop(row.clip_id, None)
        return {root: clips for root, clips in found.items() if root and clips}

    def withheld(self, clip_ids: Iterable[str] | None = None) -> dict[str, str]:
        """Clips that must not be used now, each with the withdrawal that says so: the last word on a clip counts."""
        query = (
            sa.select(_reaches.c.clip_id, _withdrawals.c.kind, _withdrawals.c.id)
            .join(_withdrawals, _withdrawals.c.number == _reaches.c.number)
            .order_by(_reaches.c.number)
        )
        last: dict[str, tuple[str, str]] = {}
        with self.engine.connect() as connection:
            if clip_ids is None:
                last = {row.clip_id: (row.kind, row.id) for row in connection.execute(query)}
            for clip_id in clip_ids or ():
                for row in connection.execute(query.where(_reaches.c.clip_id == clip_id)):
                    last[clip_id] = (row.kind, row.id)
        return {clip_id: name for clip_id, (kind, name) in last.items() if kind == WITHDRAWAL}

    # -- what was done ------------------------------------------------------------------------------------------------

    def intend(self, number: int, items: Iterable[Item], now: datetime) -> None:
        """Keep what is about to be acted on, before it is; what is kept already stays as it was found first."""
        with writing(self.engine) as connection:
            kept: set[str] = set(
                connection.execute(sa.select(_items.c.item).where(_items.c.number == number)).scalars()
            )
            rows = {item.item: asdict(item) | {"number": number, "planned_at": time_text(now)} for item in items}
            if fresh := [row for name, row in rows.items() if name not in kept]:
                connection.execute(sa.insert(_items), fresh)

    def items(self, number: int) -> list[Item]:
        query = sa.select(_items).where(_items.c.number == number).order_by(_items.c.kind, _items.c.item)
        with self.engine.connect() as connection:
            return [_item(row) for row in connection.execute(query)]

    def sealed_as(self, item: str) -> list[str]:
        """Ids of the withdrawals that sealed this thing."""
        query = (
            sa.select(_withdrawals.c.id)
            .join(_items, _items.c.number == _withdrawals.c.number)
            .where(_items.c.item == item, _items.c.action == "seal")
            .order_by(_withdrawals.c.number)
        )
        with self.engine.connect() as connection:
            return [row.id for row in connection.execute(query)]

    def step_done(self, number: int, step: str, detail: Mapping[str, Any], now: datetime) -> None:
        """Keep that a step was taken; what was kept first stays."""
        with writing(self.engine) as connection:
            same = (_steps.c.number == number) & (_steps.c.step == step)
            if connection.execute(sa.select(_steps.c.step).where(same)).first() is None:
                row = {"number": number, "step": step, "done_at": time_text(now), "detail": json.dumps(dict(detail))}
                connection.execute(sa.insert(_steps), row)

    def steps(self, number: int) -> dict[str, dict[str, Any]]:
        """Steps taken, each with `done_at` and its detail."""
        query = sa.select(_steps).where(_steps.c.number == number).order_by(_steps.c.done_at)
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {row.step: {"done_at": row.done_at, **json.loads(row.detail)} for row in rows}


def withheld(home: Home) -> frozenset[str]:
    """Clips that stand withdrawn: no stage makes anything of them."""
    return frozenset(Journal(home.database_url).withheld())


def _keep(connection: sa.Connection, plan: Plan, ledger_size: int, opened_at: str) -> None:
    if connection.execute(sa.select(_withdrawals.c.id).where(_withdrawals.c.id == plan.id)).first():
        return
    latest = sa.select(sa.func.coalesce(sa.func.max(_withdrawals.c.number), 0))
    number = connection.execute(latest).scalar_one() + 1
    connection.execute(
        sa.insert(_withdrawals).values(
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
        connection.execute(sa.insert(_reaches), rows)


def _read(connection: sa.Connection, query: sa.Select[Any]) -> list[Withdrawal]:
    rows = connection.execute(query.order_by(_withdrawals.c.number)).all()
    found = []
    for row in rows:
        reach = connection.execute(sa.select(_reaches).where(_reaches.c.number == row.number)).all()
        fields = dict(row._mapping) | {
            "causes": tuple(Cause(**cause) for cause in json.loads(row.causes)),
            "reach": {(r.root, r.clip_id): tuple(json.loads(r.reasons)) for r in reach},
        }
        found.append(Withdrawal(**fields))
    return found


def _item(row: Any) -> Item:
    return Item(**{name: value for name, value in row._mapping.items() if name != "number"})


@functools.lru_cache(maxsize=8)
def _engine(database_url: str) -> sa.Engine:
    engine = open_engine(database_url)
    create_tables(engine, _metadata)
    return engine
