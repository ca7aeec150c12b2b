"""Killed between any two writes and run again, a withdrawal ends the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.withdrawal_log import WithdrawalLog
from assets.home import Home
from assets.registry.versions import CHAMPION
from assets.store import LocalStore
from assets.withdrawals.plan import act_on_ledger
from tests.assets.withdrawals.conftest import Copy, Reached
from tests.assets.withdrawals.states import NOW, end_state


class Killed(BaseException):
    """As a process ends that is killed: nothing catches it."""


@contextmanager
def killed_at(moment: int | None) -> Iterator[Callable[[], int]]:
    """Ends the process, so to say, at that write: before or after an object of the store, before a row or a commit.

    Yields how many moments there were so far.
    """
    count = 0

    def passes() -> None:
        nonlocal count
        count += 1
        if count == moment:
            raise Killed

    def statement(_connection: Any, _cursor: Any, text: str, *_: Any) -> None:
        if text.lstrip().upper().startswith(("INSERT", "UPDATE", "DELETE")):
            passes()

    def commit(_connection: Any) -> None:
        passes()

    put, delete = LocalStore.put, LocalStore.delete
    with pytest.MonkeyPatch.context() as patch:
        for name, act in (("put", put), ("delete", delete)):
            patch.setattr(LocalStore, name, _around(act, passes))
        sa.event.listen(sa.Engine, "before_cursor_execute", statement)
        sa.event.listen(sa.Engine, "commit", commit)
        try:
            yield lambda: count
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", statement)
            sa.event.remove(sa.Engine, "commit", commit)


def _around(act: Callable[..., Any], passes: Callable[[], None]) -> Callable[..., Any]:
    def acted(*args: Any, **options: Any) -> None:
        passes()
        act(*args, **options)
        passes()

    return acted


def killed_and_run_again(at: Reached, moment: int) -> dict[str, Any]:
    with killed_at(moment), pytest.raises(Killed):
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return end_state(at.home)


@pytest.fixture(scope="session")
def revoked(template: Reached, tmp_path_factory: pytest.TempPathFactory) -> Reached:
    """The template with its clip revoked and nothing done about it yet."""
    import shutil

    folder = tmp_path_factory.mktemp("revoked") / "home"
    shutil.copytree(template.home.state, folder)
    home = Home.local(folder, vendor=template.home.vendor)
    from tests.assets.conftest import World

    world = World(home, dict(template.world.keys), template.world.tables, dict(template.world.grants))
    world.revoke(template.clip)
    world.ledger.engine.dispose()
    return Reached(world, home, template.clip, template.root, template.size)


@pytest.fixture
def again(revoked: Reached, tmp_path: Any) -> Copy:
    import shutil

    made: list[int] = []

    def one() -> Reached:
        folder = tmp_path / f"home-{len(made)}"
        made.append(1)
        shutil.copytree(revoked.home.state, folder)
        return Reached(
            revoked.world, Home.local(folder, vendor=revoked.home.vendor), revoked.clip, revoked.root, revoked.size
        )

    return one


def moments_of(at: Reached) -> tuple[int, dict[str, Any]]:
    with killed_at(None) as count:
        act_on_ledger(at.home, at.size, NOW, budget_s=600.0)
    return count(), end_state(at.home)


PARTS = 12


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_between_any_two_writes_and_run_again_it_ends_the_same(again: Copy, part: int) -> None:
    moments, undisturbed = moments_of(again())
    assert moments > 60
    for moment in range(1 + part, moments + 1, PARTS):
        assert killed_and_run_again(again(), moment) == undisturbed, f"killed at write {moment} of {moments}"


def test_killed_at_some_writes_and_run_again_it_ends_the_same(again: Copy) -> None:
    moments, undisturbed = moments_of(again())
    for moment in range(5, moments, moments // 6):
        assert killed_and_run_again(again(), moment) == undisturbed, f"killed at write {moment} of {moments}"


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
