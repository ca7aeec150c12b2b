"""Killed between any two writes and run again, a withdrawal ends the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.withdrawal_log import WithdrawalLog
from assets.registry import CHAMPION
from assets.store import LocalStore
from assets.withdrawals.plan import act_on_ledger
from tests.assets.withdrawals.states import NOW, end_state
from tests.worlds import Copy, Reached


class Killed(BaseException):
    """As a process ends that is killed: nothing catches it."""


@contextmanager
def killed_at(moment: int | None) -> Iterator[Callable[[], int]]:
    """Ends the process, so to say, right before that write: an object of the store, or the commit of what wrote rows.

    What is written and not committed is lost either way, and after one write is before the next, so these are all the
    states that a killed process can leave. Yields how many moments there were so far.
    """
    count = 0

    def passes() -> None:
        nonlocal count
        count += 1
        if count == moment:
            raise Killed

    def statement(connection: sa.Connection, _cursor: Any, text: str, *_: Any) -> None:
        if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            connection.info["wrote"] = True

    def commit(connection: sa.Connection) -> None:
        if connection.info.pop("wrote", False):
            passes()

    def rollback(connection: sa.Connection) -> None:
        connection.info.pop("wrote", None)

    def before(act: Callable[..., Any]) -> Callable[..., Any]:
        def acted(*args: Any, **options: Any) -> None:
            passes()
            act(*args, **options)

        return acted

    listening = (("before_cursor_execute", statement), ("commit", commit), ("rollback", rollback))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "delete"):
            patch.setattr(LocalStore, name, before(getattr(LocalStore, name)))
        for event, listener in listening:
            sa.event.listen(sa.Engine, event, listener)
        try:
            yield lambda: count
        finally:
            for event, listener in listening:
                sa.event.remove(sa.Engine, event, listener)


def killed_and_run_again(at: Reached, moment: int) -> dict[str, Any]:
    with killed_at(moment), pytest.raises(Killed):
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return end_state(at.home)


@pytest.fixture(scope="session")
def revoked(template: Reached, tmp_path_factory: pytest.TempPathFactory) -> Reached:
    """A home whose clip is revoked, with nothing done about it yet."""
    at = template.copies(tmp_path_factory.mktemp("revoked"))()
    at.world.revoke(at.clip)
    at.world.ledger.engine.dispose()
    return at


@pytest.fixture
def again(revoked: Reached, tmp_path: Path) -> Copy:
    return revoked.copies(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(revoked: Reached, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any]]:
    """How many moments there are, and the state in which a withdrawal ends that nothing disturbs."""
    at = revoked.copies(tmp_path_factory.mktemp("undisturbed"))()
    with killed_at(None) as count:
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return count(), end_state(at.home)


Undisturbed = tuple[int, dict[str, Any]]
PARTS = 4


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_between_any_two_writes_and_run_again_it_ends_the_same(
    again: Copy, undisturbed: Undisturbed, part: int
) -> None:
    moments, end = undisturbed
    assert moments > 40
    for moment in range(1 + part, moments + 1, PARTS):
        assert killed_and_run_again(again(), moment) == end, f"killed at write {moment} of {moments}"


def test_killed_at_some_writes_and_run_again_it_ends_the_same(again: Copy, undisturbed: Undisturbed) -> None:
    moments, end = undisturbed
    for moment in range(3, moments, moments // 4):
        assert killed_and_run_again(again(), moment) == end, f"killed at write {moment} of {moments}"


def test_killed_again_and_again_nothing_tainted_serves_unnoticed(again: Copy) -> None:
    """From the first write on: as soon as an alias may have been looked at, either the plan or the taint is there."""
    at = again()
    for moment in range(1, 40, 3):
        with killed_at(moment):
            try:
                act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
            except Killed:
                continue
            break
    act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    assert at.registry.alias(CHAMPION) == "1"
    assert WithdrawalLog(at.home.database_url).unfinished() == []


def test_acting_again_writes_nothing(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    before = end_state(at.home)
    act_on_ledger(at.home, 0, NOW)
    assert end_state(at.home) == before
