"""Finding by index what a withdrawal reaches finds the same as reading everything: on random histories of consent."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.consent import standing
from assets.consent.intake import Admitted
from assets.consent.sealed_members import SealedSnapshots, manifest_key, record_snapshot, sealed_snapshots
from assets.consent.withdrawal_log import WithdrawalLog
from assets.home import Home
from assets.withheld import withheld
from tests.assets.withdrawals.histories import (
    CLIPS,
    CONTRIBUTORS,
    History,
    history,
    member_of,
)
from training.consent import events as ev
from training.consent.canonical import canonical
from training.consent.eligibility import eligible
from training.consent.snapshot import seal
from training.consent.state import ConsentState
from training.consent.times import time_text

RANDOMLY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@RANDOMLY
@given(seed=st.integers(0, 1 << 32))
def test_looking_now_and_then_reaches_what_reading_everything_reaches(seed: int) -> None:
    with history(seed) as told:
        for _ in range(40):
            told.step()
        told.arrive()
        told.look()
        told.arrive()
        log = WithdrawalLog(told.home.database_url)
        stands = {(root, clip_id) for root, clips in log.standing().items() for clip_id in clips}
        assert stands == told.reached()
        assert set(withheld(log.url)) == {clip_id for _, clip_id in stands} & told.unusable()


@pytest.mark.slow
@RANDOMLY
@given(seed=st.integers(0, 1 << 32))
def test_asking_what_changed_answers_as_the_training_guard_does(seed: int) -> None:
    with history(seed) as told:
        for _ in range(40):
            told.step()
            if told.chance.random() < 0.4 and told.sealed:
                told.arrive()
                root = told.chance.choice(told.sealed)["root"]
                assert standing.violations(told.home, root, told.now) == told.by_guard(root)
        told.arrive()
        for root in {manifest["root"] for manifest in told.sealed}:
            assert standing.violations(told.home, root, told.now) == told.by_guard(root)


@pytest.fixture
def told(tmp_path: Path) -> History:
    """One snapshot of clips of both contributors, looked at once."""
    made = History(Home.local(tmp_path / "home"), random.Random(7))
    made.seal()
    made.arrive()
    made.look()
    return made


def consent_on(told: History, party: str) -> dict[str, Any]:
    return next(body for body in told.consents if body["party_id"] == party and _sealed_by(told, body))


def _sealed_by(told: History, body: dict[str, Any]) -> bool:
    return any(body["consent_id"] in member["consent_ids"] for member in told.sealed[0]["members"])


def test_each_person_who_withdraws_has_a_withdrawal_of_their_own(told: History) -> None:
    for party in CONTRIBUTORS:
        told.people.revoke(consent_on(told, party))
    told.look()
    assert {one.subject for one in WithdrawalLog(told.home.database_url).withdrawals()} == set(CONTRIBUTORS)


def test_a_revocation_that_reaches_nothing_sealed_still_gets_its_withdrawal(told: History) -> None:
    body = told.people.grant("c-ann", assets=["f" * 64])
    told.people.revoke(body)
    told.look()
    (one,) = WithdrawalLog(told.home.database_url).withdrawals()
    assert (one.subject, dict(one.reach)) == ("c-ann", {})


def test_a_snapshot_recorded_after_the_event_was_read_is_reached_all_the_same(told: History) -> None:
    """Sealed on a ledger that had no revocation yet, put into the store when that had been read."""
    state, head = ConsentState.fold(told.people.ledger.events()), told.people.ledger.head()
    until = told.now + timedelta(days=30)
    decided = [(facts, eligible(facts, "train", told.now, until, state)) for facts in CLIPS[:2]]
    late = seal(
        [member_of(f, d.consent_ids) for f, d in decided], purpose="train", at=told.now, until=until, ledger=head
    )
    told.people.revoke(next(body for body in told.consents if body["consent_id"] in decided[0][1].consent_ids))
    told.look()
    told.home.store.put(manifest_key(late["root"]), canonical(late))
    told.look()
    told.look()
    assert late["root"] in WithdrawalLog(told.home.database_url).standing()


def test_terms_that_come_into_force_later_reach_with_no_event(told: History) -> None:
    body = consent_on(told, "c-ann")
    narrowed = ev.amend(body, told.now, scopes=["eval"], effective_at=time_text(told.now + timedelta(days=3)))
    assert isinstance(told.people.append(narrowed, "c-ann"), Admitted)
    told.look()
    assert WithdrawalLog(told.home.database_url).standing() == {}
    told.people.now += timedelta(days=4)
    told.look()
    (reasons,) = {why for clips in WithdrawalLog(told.home.database_url).standing().values() for why in clips.values()}
    assert reasons == ("consent.scope",)


def test_only_the_members_that_an_event_touches_are_decided(told: History, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    members = SealedSnapshots.members

    def noted(snapshots: SealedSnapshots, numbers: Any) -> Any:
        asked.extend(numbers := list(numbers))
        return members(snapshots, numbers)

    monkeypatch.setattr(SealedSnapshots, "members", noted)
    told.people.revoke(consent_on(told, "c-ben"))
    told.look()
    assert 0 < len(asked) < len(told.sealed[0]["members"])


def test_a_manifest_that_the_database_lacks_is_read_from_the_store(tmp_path: Path) -> None:
    made = History(Home.local(tmp_path / "home"), random.Random(7))
    made.seal()
    manifest = made.sealed[0]
    elsewhere = Home.local(tmp_path / "older")
    elsewhere.store.put(manifest_key(manifest["root"]), canonical(manifest))
    elsewhere.store.put(manifest_key("f" * 64), canonical(manifest))  # says that it is another snapshot
    snapshots = sealed_snapshots(elsewhere)
    assert snapshots.roots() == {manifest["root"]}
    clips = {member.clip_id for member in snapshots.members(snapshots.numbers_in(manifest["root"])).values()}
    assert clips == {member["clip_id"] for member in manifest["members"]}
    assert snapshots.concerned({"c-ann"}, ()) | snapshots.concerned({"c-ben"}, ()) == set(
        snapshots.numbers_in(manifest["root"])
    )


def test_sealing_twice_keeps_each_member_once(told: History) -> None:
    snapshots = SealedSnapshots(told.home.database_url)
    before = snapshots.numbers_in(told.sealed[0]["root"])
    record_snapshot(told.home, told.sealed[0])
    told.people.now += timedelta(days=1)
    again = seal(
        [{k: v for k, v in m.items() if k != "decision_digest"} for m in told.sealed[0]["members"]],
        purpose="train", at=told.now, until=told.now + timedelta(days=30), ledger=told.people.ledger.head(),
    )  # fmt: skip
    record_snapshot(told.home, again)
    assert again["root"] == told.sealed[0]["root"]
    assert snapshots.numbers_in(again["root"]) == before
    assert len(snapshots.sealings()) == 2
