"""The queue: what waits, for how long, who is asked, and that nothing is ever accepted because nobody looked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.clips import clip_facts
from assets.consent.disputes import appeal
from assets.consent.review_queue import review_queue
from assets.consent.reviews import ReviewError, retire_reviewer
from tests.worlds import REVIEWED_AT, enrol_reviewers


@pytest.fixture
def one_clip(world: Any) -> Any:
    """One consented clip; four reviewers, two of them colleagues."""
    world.deliver("c-1", clips=1)
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-3")
    enrol_reviewers(world.home.database_url, "v-4", organisation="org-of-v-1")
    return world


def waiting(world: Any, now: datetime = REVIEWED_AT) -> dict[str, Any]:
    (row,) = review_queue(world.home, now)
    return row


def test_a_clip_is_offered_to_two_reviewers_of_different_organisations(one_clip: Any) -> None:
    row = waiting(one_clip)
    assert row["may_judge"] == ["v-1", "v-2", "v-3", "v-4"]
    assert len(row["offered"]) == 2
    assert set(row["offered"]) != {"v-1", "v-4"}


def test_a_colleague_of_who_approved_is_not_asked(one_clip: Any) -> None:
    one_clip.review("v-1")
    row = waiting(one_clip)
    assert row["reviewers"] == ["v-1"]
    assert row["may_judge"] == ["v-2", "v-3", "v-4"]
    assert len(row["offered"]) == 1
    assert "v-4" not in row["offered"]


def test_two_colleagues_who_approve_leave_the_clip_waiting_and_the_row_says_why(one_clip: Any) -> None:
    one_clip.review("v-1")
    one_clip.review("v-4")
    assert waiting(one_clip)["codes"] == ["review.not_independent"]
    assert one_clip.reasons() == ("review.not_independent", "review.pending")


def test_what_waits_too_long_is_overdue_and_offered_to_everybody_but_never_accepted(one_clip: Any) -> None:
    one_clip.review("v-1")
    on_time, late = (
        waiting(one_clip, REVIEWED_AT + timedelta(hours=48)),
        waiting(one_clip, REVIEWED_AT + timedelta(hours=48.2)),
    )
    assert (on_time["age_hours"], on_time["overdue"]) == (48.0, False)
    assert late["overdue"]
    assert late["offered"] == late["may_judge"] == ["v-2", "v-3", "v-4"]
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    assert review_queue(one_clip.home, in_a_year)
    assert "review.pending" in one_clip.reasons(in_a_year)


def test_a_retired_reviewer_is_not_asked_and_cannot_judge(one_clip: Any) -> None:
    retire_reviewer(one_clip.home.database_url, "v-3", by="o-ida", now=REVIEWED_AT)
    assert "v-3" not in waiting(one_clip)["may_judge"]
    with pytest.raises(ReviewError, match="retired"):
        one_clip.review("v-3")


def test_whoever_works_for_the_paying_organisation_is_barred(one_clip: Any) -> None:
    one_clip.tables["delivery_items"][0]["request_id"] = "r-1"
    one_clip.settle(review=False)
    wanted = {"request_id": "r-1", "org_id": "Org-Of-V-1", "title": "t", "status": "open", "target_units": 1}
    wanted |= {"price_minor": 0, "budget_minor": 0, "currency": "EUR", "opens_at": "2026-11-01T00:00:00Z"}
    wanted |= {"origin": "human", "criteria_json": "[]", "not_understood": []}
    one_clip.home.lake.write("requests", [wanted])
    row = waiting(one_clip)
    assert row["may_judge"] == ["v-2", "v-3"]
    assert {"v-1", "v-4"} <= set(row["barred"])
    one_clip.review("v-1")
    one_clip.review("v-2")
    assert clip_facts(one_clip.home)[0].approvals == 1


def test_owners_and_guardians_are_barred_like_everybody_in_the_picture(one_clip: Any) -> None:
    from assets.consent.platform import appoint_guardian

    item = one_clip.tables["delivery_items"][0]
    item["persons_json"] = json.dumps([{"person_id": "p-kid", "identifiable": True, "minor": True}])
    item["properties_json"] = json.dumps([{"owner_id": "v-2", "what": "a house"}])
    one_clip.settle(review=False)
    appoint_guardian(one_clip.home, "p-kid", "v-3", officer="o-ida", evidence_sha256="e" * 64)
    assert waiting(one_clip)["may_judge"] == ["v-1", "v-4"]
    assert {"c-1", "p-kid", "v-2", "v-3"} <= set(waiting(one_clip)["barred"])


# -- rejections and appeals ------------------------------------------------------------------------------------------


def test_a_clip_rejected_for_good_leaves_the_queue_until_its_contributor_appeals(one_clip: Any) -> None:
    one_clip.review("v-1", "reject", "legal.privacy", "quality.focus")
    assert review_queue(one_clip.home) == []
    assert appeal(one_clip.home.database_url, one_clip.clip(), "c-1", REVIEWED_AT)
    row = waiting(one_clip)
    assert row["appealed"]
    assert row["may_judge"] == ["v-2", "v-3", "v-4"]


def test_an_appeal_is_won_when_two_others_approve_and_lost_when_one_rejects(one_clip: Any) -> None:
    one_clip.review("v-1", "reject", "legal.privacy")
    appeal(one_clip.home.database_url, one_clip.clip(), "c-1", REVIEWED_AT)
    one_clip.review("v-2")
    assert clip_facts(one_clip.home)[0].rejections == 1  # one opinion decides nothing
    one_clip.review("v-3")
    assert (clip_facts(one_clip.home)[0].approvals, clip_facts(one_clip.home)[0].rejections) == (2, 0)
    assert review_queue(one_clip.home) == []
    one_clip.review("v-4", "reject", "legal.privacy")
    assert clip_facts(one_clip.home)[0].rejections == 2


def test_a_lost_appeal_is_the_end_of_it_until_something_about_the_clip_changes(one_clip: Any) -> None:
    one_clip.review("v-1", "reject", "legal.privacy")
    url = one_clip.home.database_url
    assert appeal(url, one_clip.clip(), "c-1", REVIEWED_AT)
    assert not appeal(url, one_clip.clip(), "c-1", REVIEWED_AT)  # asked already
    one_clip.review("v-2", "reject", "legal.privacy")
    assert review_queue(one_clip.home) == []
    with pytest.raises(ReviewError, match="decided"):
        appeal(url, one_clip.clip(), "c-1", REVIEWED_AT)


def test_only_the_contributor_of_a_rejected_clip_appeals(one_clip: Any) -> None:
    url = one_clip.home.database_url
    with pytest.raises(ReviewError, match="not rejected"):
        appeal(url, one_clip.clip(), "c-1", REVIEWED_AT)
    one_clip.review("v-1", "reject", "quality.focus")
    with pytest.raises(ReviewError, match="c-1"):
        appeal(url, one_clip.clip(), "c-2", REVIEWED_AT)


def test_one_who_finds_it_not_good_enough_is_asked_after_by_another_for_the_catalogue(one_clip: Any) -> None:
    one_clip.review("v-1", "reject", "quality.focus", "spec.aspect")
    assert waiting(one_clip)["reviewers"] == ["v-1"]
    one_clip.review("v-4", "reject", "quality.focus")
    assert len(review_queue(one_clip.home)) == 1  # a colleague's is the same opinion
    one_clip.review("v-2")
    assert review_queue(one_clip.home) == []
    assert clip_facts(one_clip.home)[0].rejections == 2  # for training it stays rejected
