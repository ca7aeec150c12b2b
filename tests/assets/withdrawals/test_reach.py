"""What an event reaches, found by index, is what reading everything finds, and stays fast with many snapshots."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from assets.consent import standing
from assets.consent.intake import Admitted
from assets.consent.sealed_members import SealedSnapshots, manifest_key, record_snapshot, sealed_snapshots
from assets.consent.withdrawal_log import Cause, Mark, Plan, WithdrawalLog
from assets.home import Home
from assets.withheld import WITHDRAWAL, withheld
from tests.assets.withdrawals.histories import (
    CLIPS,
    CONTRIBUTORS,
    History,
    history,
    member_of,
)
from tests.benchmarks.closure import closure
from training.consent import events as ev
from training.consent.canonical import canonical
from training.consent.eligibility import eligible
from training.consent.snapshot import seal
from training.consent.state import ConsentState
from training.consent.times import time_text

RANDOMLY = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@RANDOMLY
@example(seed=121503323)  # a snapshot arrives after a clip was restored, and nothing is new in the ledger
@given(seed=st.integers(0, 1 << 32))
def test_looking_now_and_then_reaches_what_reading_everything_reaches(seed: int) -> None:
    with history(seed) as story:
        for _ in range(40):
            story.step()
        story.arrive()
        story.look()
        story.arrive()
        log = WithdrawalLog(story.home.database_url)
        stands = {(root, clip_id) for root, clips in log.standing().items() for clip_id in clips}
        assert stands == story.reached()
        assert set(withheld(log.url)) == {clip_id for _, clip_id in stands} & story.unusable()


@pytest.mark.slow
@RANDOMLY
@given(seed=st.integers(0, 1 << 32))
def test_asking_what_changed_answers_as_the_training_guard_does(seed: int) -> None:
    with history(seed) as story:
        for _ in range(40):
            story.step()
            if story.chance.random() < 0.4 and story.sealed:
                story.arrive()
                root = story.chance.choice(story.sealed)["root"]
                assert standing.violations(story.home, root, story.now) == story.by_guard(root)
        story.arrive()
        for root in {manifest["root"] for manifest in story.sealed}:
            assert standing.violations(story.home, root, story.now) == story.by_guard(root)


@pytest.fixture
def story(tmp_path: Path) -> History:
    """One snapshot of clips of both contributors, looked at once."""
    made = History(Home.local(tmp_path / "home"), random.Random(7))
    made.seal()
    made.arrive()
    made.look()
    return made


def consent_on(story: History, party: str) -> dict[str, Any]:
    return next(body for body in story.consents if body["party_id"] == party and _sealed_by(story, body))


def _sealed_by(story: History, body: dict[str, Any]) -> bool:
    return any(body["consent_id"] in member["consent_ids"] for member in story.sealed[0]["members"])


def test_each_person_who_withdraws_has_a_withdrawal_of_their_own(story: History) -> None:
    for party in CONTRIBUTORS:
        story.people.revoke(consent_on(story, party))
    story.look()
    assert {withdrawal.subject for withdrawal in WithdrawalLog(story.home.database_url).withdrawals()} == set(
        CONTRIBUTORS
    )


def test_a_revocation_that_reaches_nothing_sealed_still_gets_its_withdrawal(story: History) -> None:
    body = story.people.grant("c-ann", assets=["f" * 64])
    story.people.revoke(body)
    story.look()
    (withdrawal,) = WithdrawalLog(story.home.database_url).withdrawals()
    assert (withdrawal.subject, dict(withdrawal.reach)) == ("c-ann", {})


def test_a_snapshot_recorded_after_the_event_was_read_is_reached_all_the_same(story: History) -> None:
    """Sealed on a ledger that had no revocation yet, put into the store when that had been read."""
    state, head = ConsentState.fold(story.people.ledger.events()), story.people.ledger.head()
    until = story.now + timedelta(days=30)
    decided = [(facts, eligible(facts, "train", story.now, until, state)) for facts in CLIPS[:2]]
    late = seal(
        [member_of(f, d.consent_ids) for f, d in decided], purpose="train", at=story.now, until=until, ledger=head
    )
    story.people.revoke(next(body for body in story.consents if body["consent_id"] in decided[0][1].consent_ids))
    story.look()
    story.home.store.put(manifest_key(late["root"]), canonical(late))
    story.look()
    story.look()
    assert late["root"] in WithdrawalLog(story.home.database_url).standing()


def test_terms_that_come_into_force_later_reach_with_no_event(story: History) -> None:
    body = consent_on(story, "c-ann")
    narrowed = ev.amend(body, story.now, scopes=["eval"], effective_at=time_text(story.now + timedelta(days=3)))
    assert isinstance(story.people.append(narrowed, "c-ann"), Admitted)
    story.look()
    assert WithdrawalLog(story.home.database_url).standing() == {}
    story.people.now += timedelta(days=4)
    story.look()
    (reasons,) = {why for clips in WithdrawalLog(story.home.database_url).standing().values() for why in clips.values()}
    assert reasons == ("consent.scope",)


def test_only_the_members_that_an_event_touches_are_decided(story: History, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    members = SealedSnapshots.members

    def noted(snapshots: SealedSnapshots, numbers: Any) -> Any:
        asked.extend(numbers := list(numbers))
        return members(snapshots, numbers)

    monkeypatch.setattr(SealedSnapshots, "members", noted)
    story.people.revoke(consent_on(story, "c-ben"))
    story.look()
    assert 0 < len(asked) < len(story.sealed[0]["members"])


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


def test_sealing_twice_keeps_each_member_once(story: History) -> None:
    snapshots = SealedSnapshots(story.home.database_url)
    before = snapshots.numbers_in(story.sealed[0]["root"])
    record_snapshot(story.home, story.sealed[0])
    story.people.now += timedelta(days=1)
    again = seal(
        [{k: v for k, v in m.items() if k != "decision_digest"} for m in story.sealed[0]["members"]],
        purpose="train", at=story.now, until=story.now + timedelta(days=30), ledger=story.people.ledger.head(),
    )  # fmt: skip
    record_snapshot(story.home, again)
    assert again["root"] == story.sealed[0]["root"]
    assert snapshots.numbers_in(again["root"]) == before
    assert len(snapshots.sealings()) == 2


NOW = datetime(2026, 11, 20, tzinfo=UTC)


def statements(home: Home, clips: int) -> int:
    """How often the database is asked what was done before about so many clips of one withdrawal."""
    log = WithdrawalLog(f"sqlite:///{home.state / f'{clips}.db'}")
    cause = Cause("c-1", "revoke", "leaf", "2026-11-20T00:00:00Z", 1)
    reach = {("root", f"{n:064x}"): ("consent.revoked",) for n in range(clips)}
    log.plan([Plan(WITHDRAWAL, "c-1", (cause,), reach)], Mark(2), (), NOW)
    asked: list[str] = []
    sa.event.listen(log.engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
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
