"""What keeps a withdrawal open, what comes too late, and what is left for the next look."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assets.registry.versions import CANDIDATE, CHAMPION
from assets.store import LocalStore
from assets.withdrawals import receipt
from assets.withdrawals.plan import act_on_ledger
from tests.assets.withdrawals.states import NOW
from tests.rows import DAY
from tests.worlds import Copy, register


def test_what_is_left_keeps_the_withdrawal_open_until_it_is_gone(copied: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    at = copied()
    at.world.revoke(at.clip)
    stubborn = f"latents/codec-b/{at.clip}.safetensors"
    delete = LocalStore.delete
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", lambda store, key: None if key == stubborn else delete(store, key))
        actions = act_on_ledger(at.home, at.size, NOW)
        assert actions.unfinished == actions.withdrawals
        assert not at.home.store.exists(receipt.key(actions.withdrawals[0]))
    actions = act_on_ledger(at.home, at.size, NOW)
    assert actions.unfinished == ()
    assert not at.home.store.exists(stubborn)
    assert at.home.store.exists(receipt.key(actions.withdrawals[0]))


def test_a_version_that_is_registered_too_late_is_tainted_when_it_comes(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    late = register(at.home, "m-late", at.root)
    at.registry.set_alias(CANDIDATE, late)
    actions = act_on_ledger(at.home, at.size + 1, NOW)
    assert actions.tainted_versions == (late,)
    assert "consent.revoked" in (at.registry.version(late).taint or "")
    assert at.registry.alias(CANDIDATE) is None


def test_what_a_run_that_had_begun_before_makes_anew_is_put_away_again(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    things = (f"frames/17f/{at.clip}.safetensors", "samples/m-1/s-9.mp4", at.media_key)
    for key in things:
        at.home.store.put(key, b"made anew")
    at.home.lake.write("captions", at.world.tables["captions"], DAY)
    act_on_ledger(at.home, at.size + 1, NOW + timedelta(minutes=5))
    assert at.home.store.exists(things[0]), "not looked for at every look"
    act_on_ledger(at.home, at.size + 1, NOW + timedelta(hours=2))
    assert not [key for key in things if at.home.store.exists(key)]
    assert at.clip not in {row["clip_id"] for row in at.home.lake.rows("captions", DAY)}


def test_what_does_not_fit_into_one_look_goes_on_with_the_next(copied: Copy) -> None:
    """But for what serves: that is never put off."""
    at = copied()
    at.world.revoke(at.clip)
    actions = act_on_ledger(at.home, at.size, NOW, budget_s=0.0)
    assert actions.unfinished == actions.withdrawals
    assert at.registry.alias(CHAMPION) == "1"
    assert at.home.store.exists(at.media_key)
    assert act_on_ledger(at.home, at.size + 1, NOW).unfinished == ()
