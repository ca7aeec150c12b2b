"""The queue: what waits, for how long, who is asked, and that nothing is ever accepted because nobody looked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.clip import digest
from assets.consent.clip_facts import clip_facts, read_clips
from assets.consent.eligibility import decide
from assets.consent.review_queue import review_queue
from assets.consent.reviewers import retire
from assets.consent.reviews import ReviewError, appeal, submit_review
from tests.worlds import enrol_reviewers

ARRIVED = datetime(2026, 11, 2, tzinfo=UTC)


@pytest.fixture
def one(world: Any) -> Any:
    """One consented clip; four reviewers, two of them colleagues."""
    world.deliver("c-1", clips=1)
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-3")
    enrol_reviewers(world.home.database_url, "v-4", organisation="org-of-v-1")
    return world


def review(world: Any, reviewer: str, verdict: str = "approve", *reasons: str, now: datetime = ARRIVED) -> None:
    (clip,) = read_clips(world.home)
    clip_id, item_id, shot = clip.key
    submit_review(
        world.home.database_url, clip_id=clip_id, item_id=item_id, shot_index=shot, reviewer_id=reviewer,
        digest=digest(clip), verdict=verdict, persons_counted=0, reasons=reasons, now=now,
    )  # fmt: skip


def waiting(world: Any, now: datetime = ARRIVED) -> dict[str, Any]:
    (row,) = review_queue(world.home, now)
    return row


def test_a_clip_is_offered_to_two_reviewers_of_different_organisations(one: Any) -> None:
    row = waiting(one)
    assert row["may_judge"] == ["v-1", "v-2", "v-3", "v-4"]
    assert len(row["offered"]) == 2
    assert set(row["offered"]) != {"v-1", "v-4"}


def test_a_colleague_of_who_approved_is_not_asked(one: Any) -> None:
    review(one, "v-1")
    row = waiting(one)
    assert row["reviewers"] == ["v-1"]
    assert row["may_judge"] == ["v-2", "v-3", "v-4"]
    assert len(row["offered"]) == 1
    assert "v-4" not in row["offered"]


def test_two_colleagues_who_approve_leave_the_clip_waiting_and_the_row_says_why(one: Any) -> None:
    review(one, "v-1")
    review(one, "v-4")
    assert waiting(one)["codes"] == ["review.not_independent"]
    ((_, decision),) = decide(one.home, "train", datetime.now(UTC))
    assert decision.reasons == ("review.not_independent", "review.pending")


def test_what_waits_too_long_is_overdue_and_offered_to_everybody_but_never_accepted(one: Any) -> None:
    review(one, "v-1")
    on_time, late = waiting(one, ARRIVED + timedelta(hours=48)), waiting(one, ARRIVED + timedelta(hours=48.2))
    assert (on_time["age_hours"], on_time["overdue"]) == (48.0, False)
    assert late["overdue"]
    assert late["offered"] == late["may_judge"] == ["v-2", "v-3", "v-4"]
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    assert review_queue(one.home, in_a_year)
    assert "review.pending" in decide(one.home, "train", in_a_year)[0][1].reasons


def test_a_retired_reviewer_is_not_asked_and_cannot_judge(one: Any) -> None:
    retire(one.home.database_url, "v-3", by="o-ida", now=ARRIVED)
    assert "v-3" not in waiting(one)["may_judge"]
    with pytest.raises(ReviewError, match="retired"):
        review(one, "v-3")


def test_whoever_works_for_the_paying_organisation_is_barred(one: Any) -> None:
    one.tables["delivery_items"][0]["request_id"] = "r-1"
    one.settle(review=False)
    wanted = {"request_id": "r-1", "org_id": "Org-Of-V-1", "title": "t", "status": "open", "target_units": 1}
    wanted |= {"price_minor": 0, "budget_minor": 0, "currency": "EUR", "opens_at": "2026-11-01T00:00:00Z"}
    wanted |= {"origin": "human", "criteria_json": "[]", "not_understood": []}
    one.home.lake.write("requests", [wanted])
    row = waiting(one)
    assert row["may_judge"] == ["v-2", "v-3"]
    assert {"v-1", "v-4"} <= set(row["barred"])
    review(one, "v-1")
    review(one, "v-2")
    assert clip_facts(one.home)[0].approvals == 1


def test_owners_and_guardians_are_barred_like_everybody_in_the_picture(one: Any) -> None:
    from assets.consent.platform import appoint_guardian

    item = one.tables["delivery_items"][0]
    item["persons_json"] = json.dumps([{"person_id": "p-kid", "identifiable": True, "minor": True}])
    item["properties_json"] = json.dumps([{"owner_id": "v-2", "what": "a house"}])
    one.settle(review=False)
    appoint_guardian(one.home, "p-kid", "v-3", officer="o-ida", evidence_sha256="e" * 64)
    assert waiting(one)["may_judge"] == ["v-1", "v-4"]
    assert {"c-1", "p-kid", "v-2", "v-3"} <= set(waiting(one)["barred"])


# -- rejections and appeals ------------------------------------------------------------------------------------------


def test_a_clip_rejected_for_good_leaves_the_queue_until_its_contributor_appeals(one: Any) -> None:
    review(one, "v-1", "reject", "legal.privacy", "quality.focus")
    assert review_queue(one.home) == []
    (clip,) = read_clips(one.home)
    assert appeal(one.home.database_url, clip, "c-1", ARRIVED)
    row = waiting(one)
    assert row["appealed"]
    assert row["may_judge"] == ["v-2", "v-3", "v-4"]


def test_an_appeal_is_won_when_two_others_approve_and_lost_when_one_rejects(one: Any) -> None:
    review(one, "v-1", "reject", "legal.privacy")
    appeal(one.home.database_url, read_clips(one.home)[0], "c-1", ARRIVED)
    review(one, "v-2")
    assert clip_facts(one.home)[0].rejections == 1  # one opinion decides nothing
    review(one, "v-3")
    assert (clip_facts(one.home)[0].approvals, clip_facts(one.home)[0].rejections) == (2, 0)
    assert review_queue(one.home) == []
    review(one, "v-4", "reject", "legal.privacy")
    assert clip_facts(one.home)[0].rejections == 2


def test_a_lost_appeal_is_the_end_of_it_until_something_about_the_clip_changes(one: Any) -> None:
    review(one, "v-1", "reject", "legal.privacy")
    url = one.home.database_url
    assert appeal(url, read_clips(one.home)[0], "c-1", ARRIVED)
    assert not appeal(url, read_clips(one.home)[0], "c-1", ARRIVED)  # asked already
    review(one, "v-2", "reject", "legal.privacy")
    assert review_queue(one.home) == []
    with pytest.raises(ReviewError, match="decided"):
        appeal(url, read_clips(one.home)[0], "c-1", ARRIVED)


def test_only_the_contributor_of_a_rejected_clip_appeals(one: Any) -> None:
    url = one.home.database_url
    with pytest.raises(ReviewError, match="not rejected"):
        appeal(url, read_clips(one.home)[0], "c-1", ARRIVED)
    review(one, "v-1", "reject", "quality.focus")
    with pytest.raises(ReviewError, match="c-1"):
        appeal(url, read_clips(one.home)[0], "c-2", ARRIVED)


def test_one_who_finds_it_not_good_enough_is_asked_after_by_another_for_the_catalogue(one: Any) -> None:
    review(one, "v-1", "reject", "quality.focus", "spec.aspect")
    assert waiting(one)["reviewers"] == ["v-1"]
    review(one, "v-4", "reject", "quality.focus")
    assert len(review_queue(one.home)) == 1  # a colleague's is the same opinion
    review(one, "v-2")
    assert review_queue(one.home) == []
    assert clip_facts(one.home)[0].rejections == 2  # for training it stays rejected
