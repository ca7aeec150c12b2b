"""What cannot be done, or not yet, stays open, is named, and holds up nothing else."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from assets.consent import intake, reach
from assets.consent.assets import every_event_is_acted_on
from assets.home import Home
from assets.registry import CANDIDATE, CHAMPION, Registry, RegistryLost
from assets.store import LocalStore
from assets.withdrawals import receipt
from assets.withdrawals.plan import Actions, act_on_ledger
from tests.assets.withdrawals.states import NOW
from tests.rows import DAY
from tests.training.consent.people import key_of
from tests.worlds import Copy, Reached, register
from training.consent import events as ev

FAR = "9999-12-31T23:59:59.5Z"


def contributor_of(reached: Reached, clip: str) -> str:
    return reached.world.grants[clip][1]


def act(home: Home) -> Actions:
    return act_on_ledger(home, 0, datetime.now(UTC) + timedelta(seconds=2))


def receipts(home: Home, actions: Actions) -> int:
    return sum(home.store.exists(receipt.key(withdrawal_id)) for withdrawal_id in actions.withdrawals)


def acted_on(home: Home) -> bool:
    """What the asset check on the ledger says."""
    return every_event_is_acted_on.node_def.compute_fn.decorated_fn(home=home).passed  # type: ignore[union-attr]


def test_a_time_at_the_end_of_the_calendar_stops_no_withdrawal(copied: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an event is refused now; a ledger may hold one from before."""
    reached = copied()
    monkeypatch.setattr(intake, "judge_times", lambda body, now: None)
    terms = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}
    body = ev.grant("c-1", "contributor", ["d" * 64], ["train"], datetime.now(UTC), **terms)
    reached.world._append("c-1", body | {"effective_at": FAR}, datetime.now(UTC))
    reached.world.revoke(reached.clip)
    actions = act(reached.home)
    assert actions.failing == ()
    assert reached.clip in actions.affected_clips
    assert actions.unfinished == ()


def test_a_clock_that_leapt_to_the_calendars_end_stops_no_withdrawal(copied: Copy) -> None:
    reached = copied()
    terms = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}
    body = ev.grant("c-1", "contributor", ["d" * 64], ["train"], datetime.now(UTC), **terms)
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    reached.world.ledger.append(ev.sign(body, key_of("c-1")), last)
    reached.world.revoke(reached.clip)
    actions = act(reached.home)
    assert actions.failing == ()
    assert reached.clip in actions.affected_clips
    assert actions.unfinished == ()


def test_one_persons_event_that_fails_waits_and_the_others_act(copied: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    reached, causes_of = copied(), reach.causes_of
    stuck = contributor_of(reached, reached.clip)
    other = next(clip for clip, (_, name) in reached.world.grants.items() if name != stuck)

    def failing(facts: Any, *rest: Any) -> Any:
        if facts.contributor_id == stuck:
            raise OverflowError("nobody thought of this")
        return causes_of(facts, *rest)

    monkeypatch.setattr(reach, "causes_of", failing)
    reached.world.revoke(reached.clip)
    reached.world.revoke(other)
    actions = act(reached.home)
    assert actions.affected_clips == (other,)
    assert receipts(reached.home, actions) == len(actions.withdrawals) == 1
    assert any("nobody thought of this" in message for message in actions.failing)
    assert "could not be acted on" in actions.summary
    assert not acted_on(reached.home)

    monkeypatch.setattr(reach, "causes_of", causes_of)
    later = act(reached.home)
    assert reached.clip in later.affected_clips
    assert (later.failing, later.unfinished) == ((), ())
    assert receipts(reached.home, later) == 2
    assert acted_on(reached.home)


def test_a_registry_that_cannot_be_reached_leaves_the_withdrawal_open_without_a_receipt(
    copied: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "2")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    reached = copied()
    reached.world.revoke(reached.clip)
    away = act(replace(reached.home, mlflow_uri="http://ann:secret@127.0.0.1:9"))
    assert away.unfinished == away.withdrawals != ()
    assert receipts(reached.home, away) == 0
    assert away.failing
    assert "secret" not in away.summary

    back = act(reached.home)
    assert (back.failing, back.unfinished) == ((), ())
    assert back.tainted_versions
    assert receipts(reached.home, back) == 1


@pytest.mark.parametrize("form", ["{folder}/mlflow.db?timeout=60", "mlflow.db", "{folder}/a b/100 %25 %.db"])
def test_whatever_address_mlflow_accepts_leads_to_the_models(
    copied: Copy, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    reached = copied()
    folder = reached.home.state
    monkeypatch.chdir(folder)
    home = replace(reached.home, mlflow_uri=f"sqlite:///{form.format(folder=folder)}")
    file = Path(make_url(home.mlflow_uri).database or "")
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        shutil.move(folder / "mlflow.db", file)
    before = Registry(home).alias(CHAMPION)
    reached.world.revoke(reached.clip)
    actions = act(home)
    assert before in actions.tainted_versions
    assert Registry(home).alias(CHAMPION) != before


def test_an_empty_registry_is_not_taken_for_this_homes(copied: Copy, tmp_path: Path) -> None:
    """As MLflow makes one wherever an address leads that is wrong."""
    reached = copied()
    Registry(reached.home).remember()
    elsewhere = replace(reached.home, mlflow_uri=f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(RegistryLost, match="RUSHES_MLFLOW_URI"):
        Registry(elsewhere).versions()
    reached.world.revoke(reached.clip)
    actions = act(elsewhere)
    assert actions.unfinished
    assert receipts(reached.home, actions) == 0


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
