"""The benchmark of a withdrawal, at a size that a test can afford: it reaches what it should and holds its promise."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from assets.consent.withdrawal_log import Cause, Mark, Plan, WithdrawalLog
from assets.home import Home
from assets.withheld import WITHDRAWAL
from tests.benchmarks.closure import closure

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def statements(home: Home, clips: int) -> int:
    """How often the database is asked what was done before about so many clips of one withdrawal."""
    log = WithdrawalLog(f"sqlite:///{home.state / f'{clips}.db'}")
    cause = Cause("c-1", "revoke", "leaf", "2026-11-20T00:00:00Z", 1)
    reach = {("root", f"{n:064x}"): ("consent.revoked",) for n in range(clips)}
    log.plan([Plan(WITHDRAWAL, "c-1", (cause,), reach)], Mark(2), (), NOW)
    asked: list[str] = []
    sa.event.listen(log.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    assert log.handled(clip_id for _, clip_id in reach) == {pair: {"leaf"} for pair in reach}
    log.sealed()
    return len(asked)


def test_a_withdrawal_of_many_clips_is_not_read_again_for_each_of_them(home: Home) -> None:
    assert statements(home, 200) == statements(home, 20)


@pytest.mark.slow
def test_a_revocation_reaches_the_alias_within_the_time_that_is_promised() -> None:
    figures = closure(clips=100, snapshots=10, events=600)
    assert figures["reached"] == {"clips": 10, "snapshots": 6, "versions": 8}
    assert figures["champion_before_and_after"] == ["6", "10"]
    assert figures["append_to_alias_moved_s"] <= figures["append_to_receipt_signed_s"]
    assert figures["holds"]
