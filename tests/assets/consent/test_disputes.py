"""Disputes: who may open one, what it holds, and who may decide it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.clip import Clip
from assets.consent.clip_facts import read_clips
from assets.consent.disputes import DisputeError, adjudicate, disputes, open_dispute, open_for
from assets.consent.eligibility import decide
from assets.reasons import UnknownReason
from tests.training.consent.people import key_of
from training.consent import events
from training.consent.keys import load_or_create

NOW = datetime.now(UTC)
SHA = "0" * 64


@pytest.fixture
def one(world: Any) -> Any:
    """One clip by c-1 with a released person in it, approved by v-1 and v-2."""
    (clip_id,) = world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    release = events.grant("p-bob", "depicted", [clip_id], ["train"], NOW, notice_sha256=SHA, terms_sha256=SHA)
    world._append("p-bob", release, NOW)
    world.settle()
    return world


def clip(world: Any) -> Clip:
    (found,) = read_clips(world.home)
    return found


def reasons(world: Any) -> tuple[str, ...]:
    ((_, decision),) = decide(world.home, "train", datetime.now(UTC))
    return decision.reasons


def opened(world: Any, party: str = "p-bob", reason: str = "legal.privacy") -> str:
    return open_dispute(world.home, clip(world), party, reason, key_of(party), datetime.now(UTC))


def test_the_clip_is_eligible_before_anybody_objects(one: Any) -> None:
    assert reasons(one) == ()


@pytest.mark.parametrize("party", ["p-bob", "c-1"])
def test_somebody_concerned_holds_a_clip_with_their_own_key_and_an_officer_releases_it(one: Any, party: str) -> None:
    dispute_id = opened(one, party)
    assert reasons(one) == ("dispute.open",)
    (found,) = disputes(one.home)
    assert (found.dispute_id, found.party_id, found.opened_by, found.reason) == (
        dispute_id,
        party,
        party,
        "legal.privacy",
    )
    assert [held.facts.clip_id for held in found.clips] == [clip(one).facts.clip_id]
    adjudicate(one.home, dispute_id, "dismissed", "o-ida", datetime.now(UTC))
    assert reasons(one) == ()
    assert [(d.outcome, d.officer) for d in disputes(one.home)] == [("dismissed", "o-ida")]


def test_an_upheld_dispute_holds_for_good_and_a_decision_is_final(one: Any) -> None:
    dispute_id = opened(one)
    adjudicate(one.home, dispute_id, "upheld", "o-ida", datetime.now(UTC))
    assert reasons(one) == ("dispute.upheld",)
    with pytest.raises(DisputeError, match="final"):
        adjudicate(one.home, dispute_id, "dismissed", "o-eli", datetime.now(UTC))


def test_the_platform_opens_a_dispute_for_somebody_without_a_key(one: Any) -> None:
    dispute_id = open_for(one.home, clip(one), "p-passer-by", "legal.privacy", "o-ida", datetime.now(UTC))
    assert reasons(one) == ("dispute.open",)
    with pytest.raises(DisputeError, match="opened the dispute"):
        adjudicate(one.home, dispute_id, "dismissed", "O-Ida", datetime.now(UTC))
    adjudicate(one.home, dispute_id, "dismissed", "o-eli", datetime.now(UTC))
    assert reasons(one) == ()


@pytest.mark.parametrize("officer", ["v-1", "V-2", "c-1", "p-bob", " p-bob "])
def test_nobody_decides_who_reviewed_delivered_is_seen_or_objected(one: Any, officer: str) -> None:
    dispute_id = opened(one)
    with pytest.raises(DisputeError, match="cannot decide"):
        adjudicate(one.home, dispute_id, "dismissed", officer, datetime.now(UTC))
    assert reasons(one) == ("dispute.open",)


def test_a_stranger_and_a_foreign_key_hold_nothing(one: Any) -> None:
    one.grant("a" * 64, "c-9")
    with pytest.raises(DisputeError, match="--platform"):
        opened(one, "c-9")
    with pytest.raises(DisputeError, match="key_owner"):
        open_dispute(one.home, clip(one), "p-bob", "legal.privacy", key_of("c-9"), datetime.now(UTC))
    unknown = load_or_create(one.home.state / "unknown.pem")
    with pytest.raises(DisputeError, match="unknown_key"):
        open_dispute(one.home, clip(one), "p-bob", "legal.privacy", unknown, datetime.now(UTC))
    assert reasons(one) == ()


@pytest.mark.parametrize("reason", ["legal.privcy", "because", ""])
def test_a_dispute_names_a_reason_from_the_list(one: Any, reason: str) -> None:
    with pytest.raises((UnknownReason, DisputeError)):
        opened(one, reason=reason)


def test_the_same_dispute_again_is_the_one_that_is_open(one: Any) -> None:
    assert opened(one) == opened(one)
    assert opened(one) != opened(one, reason="fraud.stolen")
    assert len(disputes(one.home)) == 2


def test_an_unknown_dispute_and_an_unknown_outcome_are_named(one: Any) -> None:
    with pytest.raises(LookupError, match="rushes review disputes"):
        adjudicate(one.home, "dispute-none", "dismissed", "o-ida", datetime.now(UTC))
    with pytest.raises(DisputeError, match="dismissed or upheld"):
        adjudicate(one.home, opened(one), "ignored", "o-ida", datetime.now(UTC))


def test_time_decides_nothing_it_only_makes_a_dispute_overdue(one: Any) -> None:
    opened(one)
    later = datetime.now(UTC) + timedelta(days=30)
    (found,) = disputes(one.home)
    assert not found.overdue(datetime.now(UTC))
    assert found.overdue(later)
    ((_, decision),) = decide(one.home, "train", later)
    assert "dispute.open" in decision.reasons
