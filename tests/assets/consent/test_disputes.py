"""Disputes: who may open one, what it holds, and who may decide it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.disputes import DisputeError, adjudicate, disputes, open_dispute
from assets.reasons import UnknownReason
from tests.training.consent.people import key_of
from training.consent.keys import load_or_create

NOW = datetime.now(UTC)
SHA = "0" * 64


@pytest.fixture
def one_clip(world: Any) -> Any:
    """One clip by c-1 with a released person in it, approved by v-1 and v-2."""
    (clip_id,) = world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    world.release("p-bob", "depicted", clip_id)
    world.settle()
    return world


def opened(world: Any, party: str = "p-bob", reason: str = "legal.privacy") -> str:
    return open_dispute(world.home, world.clip(), party, reason, key_of(party), datetime.now(UTC))


def test_the_clip_is_eligible_before_anybody_objects(one_clip: Any) -> None:
    assert one_clip.reasons() == ()


@pytest.mark.parametrize("party", ["p-bob", "c-1"])
def test_somebody_concerned_holds_a_clip_with_their_own_key_and_an_officer_releases_it(
    one_clip: Any, party: str
) -> None:
    dispute_id = opened(one_clip, party)
    assert one_clip.reasons() == ("dispute.open",)
    (kept,) = disputes(one_clip.home)
    assert (kept.dispute_id, kept.party_id, kept.opened_by, kept.reason) == (
        dispute_id,
        party,
        party,
        "legal.privacy",
    )
    assert [held.facts.clip_id for held in kept.clips] == [one_clip.clip().facts.clip_id]
    adjudicate(one_clip.home, dispute_id, "dismissed", "o-ida", datetime.now(UTC))
    assert one_clip.reasons() == ()
    assert [(d.outcome, d.officer) for d in disputes(one_clip.home)] == [("dismissed", "o-ida")]


def test_an_upheld_dispute_holds_for_good_and_a_decision_is_final(one_clip: Any) -> None:
    dispute_id = opened(one_clip)
    adjudicate(one_clip.home, dispute_id, "upheld", "o-ida", datetime.now(UTC))
    assert one_clip.reasons() == ("dispute.upheld",)
    with pytest.raises(DisputeError, match="final"):
        adjudicate(one_clip.home, dispute_id, "dismissed", "o-eli", datetime.now(UTC))


def test_the_platform_opens_a_dispute_for_somebody_without_a_key(one_clip: Any) -> None:
    dispute_id = open_dispute(
        one_clip.home, one_clip.clip(), "p-passer-by", "legal.privacy", "o-ida", datetime.now(UTC)
    )
    assert one_clip.reasons() == ("dispute.open",)
    with pytest.raises(DisputeError, match="opened the dispute"):
        adjudicate(one_clip.home, dispute_id, "dismissed", "O-Ida", datetime.now(UTC))
    adjudicate(one_clip.home, dispute_id, "dismissed", "o-eli", datetime.now(UTC))
    assert one_clip.reasons() == ()


@pytest.mark.parametrize("officer", ["v-1", "V-2", "c-1", "p-bob", " p-bob "])
def test_nobody_decides_who_reviewed_delivered_is_seen_or_objected(one_clip: Any, officer: str) -> None:
    dispute_id = opened(one_clip)
    with pytest.raises(DisputeError, match="cannot decide"):
        adjudicate(one_clip.home, dispute_id, "dismissed", officer, datetime.now(UTC))
    assert one_clip.reasons() == ("dispute.open",)


def test_a_stranger_and_a_foreign_key_hold_nothing(one_clip: Any) -> None:
    one_clip.grant("a" * 64, "c-9")
    with pytest.raises(DisputeError, match="--platform"):
        opened(one_clip, "c-9")
    with pytest.raises(DisputeError, match="key_owner"):
        open_dispute(one_clip.home, one_clip.clip(), "p-bob", "legal.privacy", key_of("c-9"), datetime.now(UTC))
    unknown = load_or_create(one_clip.home.state / "unknown.pem")
    with pytest.raises(DisputeError, match="unknown_key"):
        open_dispute(one_clip.home, one_clip.clip(), "p-bob", "legal.privacy", unknown, datetime.now(UTC))
    assert one_clip.reasons() == ()


@pytest.mark.parametrize("reason", ["legal.privcy", "because", ""])
def test_a_dispute_names_a_reason_from_the_list(one_clip: Any, reason: str) -> None:
    with pytest.raises((UnknownReason, DisputeError)):
        opened(one_clip, reason=reason)


def test_the_same_dispute_again_is_the_one_that_is_open(one_clip: Any) -> None:
    assert opened(one_clip) == opened(one_clip)
    assert opened(one_clip) != opened(one_clip, reason="fraud.stolen")
    assert len(disputes(one_clip.home)) == 2


def test_an_unknown_dispute_and_an_unknown_outcome_are_named(one_clip: Any) -> None:
    with pytest.raises(LookupError, match="rushes review disputes"):
        adjudicate(one_clip.home, "dispute-none", "dismissed", "o-ida", datetime.now(UTC))
    with pytest.raises(DisputeError, match="dismissed or upheld"):
        adjudicate(one_clip.home, opened(one_clip), "ignored", "o-ida", datetime.now(UTC))


def test_time_decides_nothing_it_only_makes_a_dispute_overdue(one_clip: Any) -> None:
    opened(one_clip)
    later = datetime.now(UTC) + timedelta(days=30)
    (kept,) = disputes(one_clip.home)
    assert not kept.overdue(datetime.now(UTC))
    assert kept.overdue(later)
    assert "dispute.open" in one_clip.reasons(later)
