"""Who may judge what, which reviews count, and what voids them."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.clip import digest
from assets.consent.clip_facts import clip_facts, read_clips
from assets.consent.eligibility import decide, eligible_digest
from assets.consent.review_queue import review_queue
from assets.consent.reviewer_agreement import rows
from assets.consent.reviews import ReviewError, reviews_digest, submit_review
from assets.home import Home
from assets.reasons import UnknownReason
from tests.worlds import enrol_reviewers
from training.consent import events

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.fixture
def one(world: Any) -> Any:
    """One consented clip with a person in it, not reviewed yet."""
    world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-1", "v-2", "v-3", "v-4")
    return world


def review(world: Any, reviewer: str, verdict: str = "approve", **more: Any) -> int:
    (clip,) = read_clips(world.home)
    said = {
        "clip_id": clip.facts.clip_id,
        "item_id": clip.facts.item_id,
        "shot_index": 0,
        "digest": digest(clip),
        "verdict": verdict,
        "persons_counted": 1,
        "reasons": ["quality.focus"] if verdict == "reject" else [],
        "now": NOW,
    }
    return submit_review(world.home.database_url, reviewer_id=reviewer, **said | more)


def facts(world: Any) -> Any:
    (found,) = clip_facts(world.home)
    return found


def test_the_queue_says_what_a_reviewer_needs(one: Any) -> None:
    (row,) = review_queue(one.home)
    shot = one.tables["shots"][0]
    for name in ("clip_id", "item_id", "shot_index", "bytes_sha256", "media_key", "start_frame", "end_frame"):
        assert row[name] == shot[name]
    assert row["contributor_id"] == "c-1"
    assert row["persons"] == [{"person_id": "p-bob", "identifiable": True, "minor": False}]
    assert row["approvals"] == 0


def test_two_reviewers_approve_and_the_clip_leaves_the_queue(one: Any) -> None:
    review(one, "v-1")
    assert [(row["approvals"], row["reviewers"]) for row in review_queue(one.home)] == [(1, ["v-1"])]
    review(one, "v-2", persons_counted=3)
    assert review_queue(one.home) == []
    assert (facts(one).approvals, facts(one).persons_counted) == (2, 3)


def test_one_reviewer_twice_is_one_reviewer(one: Any) -> None:
    assert review(one, "v-1") == 1
    assert review(one, "v-1") == 1  # the same judgement again
    assert review(one, "v-1", persons_counted=2) == 2
    assert facts(one).approvals == 1
    assert [row["valid"] for row in rows(one.home)] == [False, True]


@pytest.mark.parametrize("reviewer", ["c-1", "p-bob"])
def test_neither_the_contributor_nor_a_depicted_person_judges_their_clip(one: Any, reviewer: str) -> None:
    enrol_reviewers(one.home.database_url, reviewer)
    review(one, reviewer)
    assert facts(one).approvals == 0
    assert [row["valid"] for row in rows(one.home)] == [False]


def test_a_rejection_stands_beside_approvals_until_it_is_taken_back(one: Any) -> None:
    for reviewer, verdict in (("v-1", "approve"), ("v-2", "approve"), ("v-3", "reject")):
        review(one, reviewer, verdict)
    assert (facts(one).approvals, facts(one).rejections) == (2, 1)
    assert review_queue(one.home) == []
    review(one, "v-3", "approve")
    assert (facts(one).approvals, facts(one).rejections) == (3, 0)


@pytest.mark.parametrize(
    "edit", ["persons", "subject", "place", "request", "properties", "consent", "withdrawn consent", "bytes"]
)
def test_an_edit_voids_what_was_judged_before(one: Any, edit: str) -> None:
    review(one, "v-1")
    review(one, "v-2")
    assert facts(one).approvals == 2
    columns = {"persons": ("persons_json", "[]"), "subject": ("declared_subject", "else"), "place": ("latitude", 1.0)}
    columns |= {"request": ("request_id", "r-1"), "properties": ("properties_json", '[{"owner_id": "o-1"}]')}
    if edit in columns:
        column, value = columns[edit]
        one.tables["delivery_items"][0][column] = value
    elif edit == "bytes":
        one.tables["shots"][0]["bytes_sha256"] = "9" * 64
    elif edit == "consent":
        one.grant(facts(one).clip_id, "c-1")
    else:
        one.revoke(facts(one).clip_id)
    one.settle(review=False)
    assert facts(one).approvals == 0
    assert len(review_queue(one.home)) == 1


def test_what_two_reviewers_marked_as_nobody_counts_as_far_as_they_agree(one: Any) -> None:
    review(one, "v-1", non_identifiable=3)
    assert facts(one).non_identifiable == 0
    review(one, "v-2", non_identifiable=1)
    assert facts(one).non_identifiable == 1
    review(one, "v-3", non_identifiable=5)
    assert facts(one).non_identifiable == 3


def judgement(world: Any) -> tuple[str, ...]:
    ((_, decision),) = decide(world.home, "train", datetime.now(UTC))
    return decision.reasons


def test_somebody_seen_who_gave_no_release_blocks_until_two_organisations_call_them_unrecognisable(world: Any) -> None:
    """Seen by the detector, in a clip whose contributor declares nobody at all."""
    world.deliver("c-1", clips=1)
    world.tables["signals"][0]["faces_max"] = 1
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-4", organisation="org-of-v-1")
    review(world, "v-1", persons_counted=0)
    review(world, "v-2", persons_counted=0)
    assert judgement(world) == ("legal.missing_model_release",)
    review(world, "v-1", persons_counted=0, non_identifiable=1)
    assert judgement(world) == ("legal.missing_model_release",)  # one reviewer's word
    review(world, "v-4", persons_counted=0, non_identifiable=1)
    assert judgement(world) == ("legal.missing_model_release",)  # two colleagues' word
    review(world, "v-2", persons_counted=0, non_identifiable=1)
    assert judgement(world) == ()


def test_one_reviewer_who_counts_more_people_than_agreed_blocks_whatever_the_detector_saw(world: Any) -> None:
    world.deliver("c-1", clips=1)
    world.settle()
    assert judgement(world) == ()
    enrol_reviewers(world.home.database_url, "v-3")
    review(world, "v-3", persons_counted=1)
    assert judgement(world) == ("legal.missing_model_release",)


def test_a_declared_person_counts_as_soon_as_they_have_released_the_clip_and_not_before(world: Any) -> None:
    (clip_id,) = world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    world.tables["signals"][0]["faces_max"] = 1
    world.settle()
    assert judgement(world) == ("legal.missing_model_release",)
    now, sha = datetime.now(UTC), "0" * 64
    release = events.grant("p-bob", "depicted", [clip_id], ["train"], now, notice_sha256=sha, terms_sha256=sha)
    world._append("p-bob", release, now)
    assert judgement(world) == ("review.pending",)  # a consent came: what was judged before is judged again
    world.settle()
    assert judgement(world) == ()


def test_an_owner_of_property_in_the_picture_has_to_agree_too(world: Any) -> None:
    (clip_id,) = world.deliver("c-1", clips=1)
    world.tables["delivery_items"][0]["properties_json"] = json.dumps([{"owner_id": "o-villa", "what": "a villa"}])
    world.settle()
    assert facts(world).properties == ("o-villa",)
    assert judgement(world) == ("legal.property_release",)
    now, sha = datetime.now(UTC), "0" * 64
    release = events.grant("o-villa", "property_owner", [clip_id], ["train"], now, notice_sha256=sha, terms_sha256=sha)
    world._append("o-villa", release, now)
    world.settle()
    assert judgement(world) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "maybe"},
        {"verdict": "reject", "reasons": []},
        {"verdict": "reject", "reasons": ["", " "]},
        {"verdict": "reject", "reasons": ["quality.focus", "quality.bad"]},
        {"verdict": "approve", "reasons": ["quality.focus"]},
        {"reviewer": "v-unknown"},
        {"persons_counted": -1},
        {"persons_counted": 10**30},
        {"non_identifiable": -1},
    ],
)
def test_an_ill_formed_review_is_refused(one: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises((ReviewError, UnknownReason)):
        review(one, **{"reviewer": "v-1"} | wrong)
    assert rows(one.home) == []


def test_reviews_are_never_changed(one: Any) -> None:
    review(one, "v-1")
    raw = sqlite3.connect(one.home.state / "rushes.db", isolation_level=None)
    row = raw.execute("SELECT * FROM clip_review").fetchone()
    for statement, values in (
        ("UPDATE clip_review SET verdict = 'reject'", ()),
        ("DELETE FROM clip_review", ()),
        (f"INSERT OR REPLACE INTO clip_review VALUES ({','.join('?' * len(row))})", (None, *row[1:])),
    ):
        with pytest.raises(sqlite3.IntegrityError, match="clip_review"):
            raw.execute(statement, values)


@pytest.mark.parametrize(
    ("table", "change", "objection"),
    [
        ("verdicts", {"verdict": "fail", "reason": "policy.ai_generated"}, "policy.ai_generated"),
        ("verdicts", {"verdict": "unmeasurable"}, "quality.decodes_unmeasurable"),
        ("verdicts", {"verdict": "not_yet"}, "quality.decodes_not_yet"),
        ("duplicates", {"verdict": "fail", "reason": "dup.other_owner"}, "dup.other_owner"),
        ("duplicates", {"verdict": "fail"}, "dup.unresolved"),
    ],
)
def test_what_a_fatal_check_or_a_duplicate_says_stands_against_the_clip(
    one: Any, table: str, change: dict[str, Any], objection: str
) -> None:
    one.tables[table][0] |= change
    one.settle(review=False)
    assert facts(one).objections == (objection,)
    assert facts(one).verdicts_ok is (table != "verdicts")
    assert facts(one).duplicate_ok is (table != "duplicates")
    assert review_queue(one.home) == []  # nobody is asked about what cannot be used


def test_a_quality_verdict_stands_against_training_but_people_are_asked_for_the_catalogue(one: Any) -> None:
    one.tables["verdicts"][0] |= {"verdict": "fail", "severity": "quality", "reason": "spec.aspect"}
    one.settle(review=False)
    assert facts(one).objections == ("spec.aspect",)
    assert not facts(one).verdicts_ok
    assert len(review_queue(one.home)) == 1


def test_an_informative_verdict_is_no_objection(one: Any) -> None:
    one.tables["verdicts"][0] |= {"verdict": "fail", "severity": "info", "reason": "legal.missing_model_release"}
    one.settle(review=False)
    assert facts(one).objections == ()
    assert facts(one).verdicts_ok


@pytest.mark.parametrize("table", ["verdicts", "duplicates", "signals"])
def test_what_was_not_looked_at_has_not_passed(one: Any, table: str) -> None:
    one.tables[table] = []
    one.settle(review=False)
    found = facts(one)
    assert {"verdicts": found.verdicts_ok, "duplicates": found.duplicate_ok, "signals": found.faces_max}[table] in (
        False,
        None,
    )


def test_digests_tell_whether_anything_changed(one: Any) -> None:
    home: Home = one.home
    now = datetime.now(UTC)
    before = reviews_digest(home.database_url), eligible_digest(home, now)
    review(one, "v-1")
    assert reviews_digest(home.database_url) != before[0]
    assert eligible_digest(home, now) == before[1]


def test_the_digest_of_what_is_eligible_changes_when_a_consent_lapses_with_no_event(world: Any) -> None:
    (clip,) = world.deliver("c-1", clips=1, consent=False)
    now = datetime.now(UTC)
    world.grant(clip, "c-1", expires_at=now + timedelta(days=40))
    world.settle()
    assert eligible_digest(world.home, now) != eligible_digest(world.home, now + timedelta(days=20))
