"""The journal of withdrawals: what each one reached, and every step that was taken, kept before and after it is taken.

Rows only (`journal_rows`), append-only but for the one that says how far the ledger was read. A withdrawal is planned in
one transaction with that mark, so a process killed at any moment has either not begun or finds its plan here. What the
steps do is `desk`'s business.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from assets.consent.sealed_member_rows import chunks
from assets.consent.withdrawal_log_rows import (
    DONE,
    METADATA,
    RESTORATION,
    WITHDRAWAL,
    Failing,
    Item,
    Mark,
    Plan,
    Withdrawal,
    coming_rows,
    failing_rows,
    item_of,
    item_rows,
    keep,
    mark_row,
    reach_rows,
    read,
    step_rows,
    withdrawal_rows,
)
from assets.home import Home
from assets.withdrawals.lineage import Pair
from training.consent.database import engine_with, writing
from training.consent.times import instant, time_text


class Journal:
    """The withdrawals of one database."""

    def __init__(self, database_url: str) -> None:
        self.engine = engine_with(database_url, METADATA)

    # -- how far ------------------------------------------------------------------------------------------------------

    def mark(self) -> Mark:
        with self.engine.connect() as connection:
            row = connection.execute(sa.select(mark_row)).first()
        return Mark(row.ledger_size, instant(row.read_at) if row.read_at else None, row.sealing) if row else Mark()

    def audited(self) -> datetime | None:
        """When everything that was withdrawn was read again last."""
        with self.engine.connect() as connection:
            at = connection.execute(sa.select(mark_row.c.audited_at)).scalar()
        return instant(at) if at else None

    def set_audited(self, now: datetime) -> None:
        with writing(self.engine) as connection:
            connection.execute(sa.update(mark_row).values(audited_at=time_text(now)))

    def coming(self, after: datetime | None, upto: datetime) -> set[str]:
        """Parties with terms that come into force in (after, upto]."""
        query = sa.select(coming_rows.c.party_id).where(coming_rows.c.acts_from <= time_text(upto))
        if after is not None:
            query = query.where(coming_rows.c.acts_from > time_text(after))
        with self.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def failing(self) -> Failing:
        """What could not be acted on at the last look."""
        with self.engine.connect() as connection:
            return {(row.kind, row.number): row.why for row in connection.execute(sa.select(failing_rows))}

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
                keep(connection, plan, mark.ledger_size, time_text(now))
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

    def withdrawals(self, after: int = -1, ledger_after: int = -1) -> list[Withdrawal]:
        """In order, those with a greater number and a greater ledger size."""
        query = sa.select(withdrawal_rows).where(
            withdrawal_rows.c.number > after, withdrawal_rows.c.ledger_size > ledger_after
        )
        with self.engine.connect() as connection:
            return read(connection, query)

    def last(self) -> int:
        """The number of the last withdrawal that was kept; 0 before the first."""
        with self.engine.connect() as connection:
            return connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(withdrawal_rows.c.number), 0))
            ).scalar_one()

    def unfinished(self) -> list[Withdrawal]:
        done = sa.select(step_rows.c.number).where(step_rows.c.step == DONE)
        with self.engine.connect() as connection:
            return read(connection, sa.select(withdrawal_rows).where(withdrawal_rows.c.number.not_in(done)))

    def find(self, text: str) -> list[Withdrawal]:
        """Withdrawals whose id or subject begins with `text`, or one of whose causes names it."""
        named = withdrawal_rows.c.causes.contains(text, autoescape=True)
        begins = withdrawal_rows.c.id.startswith(text, autoescape=True) | (withdrawal_rows.c.subject == text)
        with self.engine.connect() as connection:
            return read(connection, sa.select(withdrawal_rows).where(begins | named))

    def of_clip(self, clip_id: str) -> list[Withdrawal]:
        numbers = sa.select(reach_rows.c.number).where(reach_rows.c.clip_id == clip_id)
        with self.engine.connect() as connection:
            return read(connection, sa.select(withdrawal_rows).where(withdrawal_rows.c.number.in_(numbers)))

    def handled(self, clip_ids: Iterable[str]) -> dict[Pair, set[str]]:
        """By pair of these clips that a standing withdrawal reached: the identities of the causes."""
        asked, numbers = set(clip_ids), set[int]()
        found: dict[Pair, set[str]] = defaultdict(set)
        with self.engine.connect() as connection:
            for some in chunks(asked):
                query = sa.select(reach_rows.c.number).where(reach_rows.c.clip_id.in_(some)).distinct()
                numbers.update(connection.execute(query).scalars())
            concerned = [past for some in chunks(numbers) for past in read(connection, _numbered(some))]
        for past in sorted(concerned, key=lambda past: past.number):
            identities = {cause.identity for cause in past.causes}
            for pair in (pair for pair in past.reach if pair[1] in asked):
                if past.kind == RESTORATION:
                    found.pop(pair, None)
                else:
                    found[pair] |= identities
        return dict(found)

    def standing(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Everything that stands withdrawn: reasons by clip, by snapshot root."""
        query = (
            sa.select(reach_rows, withdrawal_rows.c.kind)
            .join(withdrawal_rows, withdrawal_rows.c.number == reach_rows.c.number)
            .order_by(reach_rows.c.number)
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
            sa.select(reach_rows.c.clip_id, withdrawal_rows.c.kind, withdrawal_rows.c.id)
            .join(withdrawal_rows, withdrawal_rows.c.number == reach_rows.c.number)
            .order_by(reach_rows.c.number)
        )
        last: dict[str, tuple[str, str]] = {}
        with self.engine.connect() as connection:
            if clip_ids is None:
                last = {row.clip_id: (row.kind, row.id) for row in connection.execute(query)}
            for clip_id in clip_ids or ():
                for row in connection.execute(query.where(reach_rows.c.clip_id == clip_id)):
                    last[clip_id] = (row.kind, row.id)
        return {clip_id: name for clip_id, (kind, name) in last.items() if kind == WITHDRAWAL}

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
        with self.engine.connect() as connection:
            return [item_of(row) for row in connection.execute(query)]

    def sealed(self) -> list[Item]:
        """Everything that any withdrawal sealed."""
        query = sa.select(item_rows).where(item_rows.c.action == "seal").order_by(item_rows.c.number, item_rows.c.item)
        with self.engine.connect() as connection:
            return [item_of(row) for row in connection.execute(query)]

    def sealed_as(self, item: str) -> list[str]:
        """Ids of the withdrawals that sealed this thing."""
        query = (
            sa.select(withdrawal_rows.c.id)
            .join(item_rows, item_rows.c.number == withdrawal_rows.c.number)
            .where(item_rows.c.item == item, item_rows.c.action == "seal")
            .order_by(withdrawal_rows.c.number)
        )
        with self.engine.connect() as connection:
            return [row.id for row in connection.execute(query)]

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
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {row.step: {"done_at": row.done_at, **json.loads(row.detail)} for row in rows}


def _numbered(numbers: list[int]) -> sa.Select[Any]:
    return sa.select(withdrawal_rows).where(withdrawal_rows.c.number.in_(numbers))


def _keep_failing(connection: sa.Connection, failing: Failing, now: str) -> None:
    since = {(row.kind, row.number): row.since for row in connection.execute(sa.select(failing_rows))}
    connection.execute(sa.delete(failing_rows))
    rows = [
        {"kind": kind, "number": number, "why": why, "since": since.get((kind, number), now)}
        for (kind, number), why in sorted(failing.items())
    ]
    if rows:
        connection.execute(sa.insert(failing_rows), rows)


def withheld(home: Home) -> frozenset[str]:
    """Clips that stand withdrawn: no stage makes anything of them."""
    return frozenset(Journal(home.database_url).withheld())
