"""Who may judge what, which reviews count, what voids them, and the register of reviewers that nobody rewrites."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent.clips import clip_facts
from assets.consent.eligibility import eligible_digest
from assets.consent.review_queue import review_queue
from assets.consent.reviewer_agreement import rows
from assets.consent.reviews import (
    ReviewError,
    enrol_reviewer,
    read_register,
    retire_reviewer,
    reviews_digest,
)
from assets.home import Home
from assets.reasons import UnknownReason
from tests.worlds import enrol_reviewers

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)


@pytest.fixture
def one_clip(world: Any) -> Any:
    """One consented clip with a person in it, not reviewed yet."""
    world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-1", "v-2", "v-3", "v-4")
    return world


def facts(world: Any) -> Any:
    (result,) = clip_facts(world.home)
    return result


def test_the_queue_says_what_a_reviewer_needs(one_clip: Any) -> None:
    (row,) = review_queue(one_clip.home)
    shot = one_clip.tables["shots"][0]
    for name in ("clip_id", "item_id", "shot_index", "bytes_sha256", "media_key", "start_frame", "end_frame"):
        assert row[name] == shot[name]
    assert row["contributor_id"] == "c-1"
    assert row["persons"] == [{"person_id": "p-bob", "identifiable": True, "minor": False}]
    assert row["approvals"] == 0


def test_two_reviewers_approve_and_the_clip_leaves_the_queue(one_clip: Any) -> None:
    one_clip.review("v-1")
    assert [(row["approvals"], row["reviewers"]) for row in review_queue(one_clip.home)] == [(1, ["v-1"])]
    one_clip.review("v-2", persons_counted=3)
    assert review_queue(one_clip.home) == []
    assert (facts(one_clip).approvals, facts(one_clip).persons_counted) == (2, 3)


def test_one_reviewer_twice_is_one_reviewer(one_clip: Any) -> None:
    assert one_clip.review("v-1") == 1
    assert one_clip.review("v-1") == 1  # the same judgement again
    assert one_clip.review("v-1", persons_counted=2) == 2
    assert facts(one_clip).approvals == 1
    assert [row["valid"] for row in rows(one_clip.home)] == [False, True]


@pytest.mark.parametrize("reviewer", ["c-1", "p-bob"])
def test_neither_the_contributor_nor_a_depicted_person_judges_their_clip(one_clip: Any, reviewer: str) -> None:
    enrol_reviewers(one_clip.home.database_url, reviewer)
    one_clip.review(reviewer)
    assert facts(one_clip).approvals == 0
    assert [row["valid"] for row in rows(one_clip.home)] == [False]


def test_a_rejection_stands_beside_approvals_until_it_is_taken_back(one_clip: Any) -> None:
    for reviewer, verdict in (("v-1", "approve"), ("v-2", "approve"), ("v-3", "reject")):
        one_clip.review(reviewer, verdict)
    assert (facts(one_clip).approvals, facts(one_clip).rejections) == (2, 1)
    assert review_queue(one_clip.home) == []
    one_clip.review("v-3", "approve")
    assert (facts(one_clip).approvals, facts(one_clip).rejections) == (3, 0)


@pytest.mark.parametrize(
    "edit", ["persons", "subject", "place", "request", "properties", "consent", "withdrawn consent", "bytes"]
)
def test_an_edit_voids_what_was_judged_before(one_clip: Any, edit: str) -> None:
    one_clip.review("v-1")
    one_clip.review("v-2")
    assert facts(one_clip).approvals == 2
    columns = {"persons": ("persons_json", "[]"), "subject": ("declared_subject", "else"), "place": ("latitude", 1.0)}
    columns |= {"request": ("request_id", "r-1"), "properties": ("properties_json", '[{"owner_id": "o-1"}]')}
    if edit in columns:
        column, value = columns[edit]
        one_clip.tables["delivery_items"][0][column] = value
    elif edit == "bytes":
        one_clip.tables["shots"][0]["bytes_sha256"] = "9" * 64
    elif edit == "consent":
        one_clip.grant(facts(one_clip).clip_id, "c-1")
    else:
        one_clip.revoke(facts(one_clip).clip_id)
    one_clip.settle(review=False)
    assert facts(one_clip).approvals == 0
    assert len(review_queue(one_clip.home)) == 1


def test_what_two_reviewers_marked_as_nobody_counts_as_far_as_they_agree(one_clip: Any) -> None:
    one_clip.review("v-1", non_identifiable=3)
    assert facts(one_clip).non_identifiable == 0
    one_clip.review("v-2", non_identifiable=1)
    assert facts(one_clip).non_identifiable == 1
    one_clip.review("v-3", non_identifiable=5)
    assert facts(one_clip).non_identifiable == 3


def test_somebody_seen_who_gave_no_release_blocks_until_two_organisations_call_them_unrecognisable(world: Any) -> None:
    """Seen by the detector, in a clip whose contributor declares nobody at all."""
    world.deliver("c-1", clips=1)
    world.tables["signals"][0]["faces_max"] = 1
    world.settle(review=False)
    enrol_reviewers(world.home.database_url, "v-4", organisation="org-of-v-1")
    world.review("v-1", persons_counted=0)
    world.review("v-2", persons_counted=0)
    assert world.reasons() == ("legal.missing_model_release",)
    world.review("v-1", persons_counted=0, non_identifiable=1)
    assert world.reasons() == ("legal.missing_model_release",)  # one reviewer's word
    world.review("v-4", persons_counted=0, non_identifiable=1)
    assert world.reasons() == ("legal.missing_model_release",)  # two colleagues' word
    world.review("v-2", persons_counted=0, non_identifiable=1)
    assert world.reasons() == ()


def test_one_reviewer_who_counts_more_people_than_agreed_blocks_whatever_the_detector_saw(world: Any) -> None:
    world.deliver("c-1", clips=1)
    world.settle()
    assert world.reasons() == ()
    enrol_reviewers(world.home.database_url, "v-3")
    world.review("v-3", persons_counted=1)
    assert world.reasons() == ("legal.missing_model_release",)


def test_a_declared_person_counts_as_soon_as_they_have_released_the_clip_and_not_before(world: Any) -> None:
    (clip_id,) = world.deliver("c-1", clips=1)
    person = {"person_id": "p-bob", "identifiable": True, "minor": False}
    world.tables["delivery_items"][0]["persons_json"] = json.dumps([person])
    world.tables["signals"][0]["faces_max"] = 1
    world.settle()
    assert world.reasons() == ("legal.missing_model_release",)
    world.release("p-bob", "depicted", clip_id)
    assert world.reasons() == ("review.pending",)  # a consent came: what was judged before is judged again
    world.settle()
    assert world.reasons() == ()


def test_an_owner_of_property_in_the_picture_has_to_agree_too(world: Any) -> None:
    (clip_id,) = world.deliver("c-1", clips=1)
    world.tables["delivery_items"][0]["properties_json"] = json.dumps([{"owner_id": "o-villa", "what": "a villa"}])
    world.settle()
    assert facts(world).properties == ("o-villa",)
    assert world.reasons() == ("legal.property_release",)
    world.release("o-villa", "property_owner", clip_id)
    world.settle()
    assert world.reasons() == ()


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
def test_an_ill_formed_review_is_refused(one_clip: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises((ReviewError, UnknownReason)):
        one_clip.review(**{"reviewer": "v-1"} | wrong)
    assert rows(one_clip.home) == []


def test_reviews_are_never_changed(one_clip: Any) -> None:
    one_clip.review("v-1")
    raw = sqlite3.connect(one_clip.home.state / "rushes.db", isolation_level=None)
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
    one_clip: Any, table: str, change: dict[str, Any], objection: str
) -> None:
    one_clip.tables[table][0] |= change
    one_clip.settle(review=False)
    assert facts(one_clip).objections == (objection,)
    assert facts(one_clip).verdicts_ok is (table != "verdicts")
    assert facts(one_clip).duplicate_ok is (table != "duplicates")
    assert review_queue(one_clip.home) == []  # nobody is asked about what cannot be used


def test_a_quality_verdict_stands_against_training_but_people_are_asked_for_the_catalogue(one_clip: Any) -> None:
    one_clip.tables["verdicts"][0] |= {"verdict": "fail", "severity": "quality", "reason": "spec.aspect"}
    one_clip.settle(review=False)
    assert facts(one_clip).objections == ("spec.aspect",)
    assert not facts(one_clip).verdicts_ok
    assert len(review_queue(one_clip.home)) == 1


def test_an_informative_verdict_is_no_objection(one_clip: Any) -> None:
    one_clip.tables["verdicts"][0] |= {"verdict": "fail", "severity": "info", "reason": "legal.missing_model_release"}
    one_clip.settle(review=False)
    assert facts(one_clip).objections == ()
    assert facts(one_clip).verdicts_ok


@pytest.mark.parametrize("table", ["verdicts", "duplicates", "signals"])
def test_what_was_not_looked_at_has_not_passed(one_clip: Any, table: str) -> None:
    one_clip.tables[table] = []
    one_clip.settle(review=False)
    result = facts(one_clip)
    assert {"verdicts": result.verdicts_ok, "duplicates": result.duplicate_ok, "signals": result.faces_max}[table] in (
        False,
        None,
    )


def test_digests_tell_whether_anything_changed(one_clip: Any) -> None:
    home: Home = one_clip.home
    now = datetime.now(UTC)
    before = reviews_digest(home.database_url), eligible_digest(home, now)
    one_clip.review("v-1")
    assert reviews_digest(home.database_url) != before[0]
    assert eligible_digest(home, now) == before[1]


def test_the_digest_of_what_is_eligible_changes_when_a_consent_lapses_with_no_event(world: Any) -> None:
    (clip,) = world.deliver("c-1", clips=1, consent=False)
    now = datetime.now(UTC)
    world.grant(clip, "c-1", expires_at=now + timedelta(days=40))
    world.settle()
    assert eligible_digest(world.home, now) != eligible_digest(world.home, now + timedelta(days=20))


def test_a_reviewer_is_enrolled_once_moves_and_retires(home: Home) -> None:
    url = home.database_url
    assert enrol_reviewer(url, "v-1", "org-a", by="o-ida", now=NOW)
    assert not enrol_reviewer(url, "v-1", "org-a", by="o-ida", now=NOW + timedelta(days=1))
    assert enrol_reviewer(url, "v-1", "org-b", by="o-ida", now=NOW + timedelta(days=2))
    assert read_register(url).judge("v-1").organisation == "org-b"
    assert retire_reviewer(url, "v-1", by="o-ida", now=NOW + timedelta(days=3))
    assert not retire_reviewer(url, "v-1", by="o-ida", now=NOW + timedelta(days=4))
    with pytest.raises(ReviewError, match="retired"):
        read_register(url).judge("v-1")
    assert enrol_reviewer(url, "v-1", "org-b", by="o-ida", now=NOW + timedelta(days=5))
    register = read_register(url)
    assert [(entry.organisation, entry.active) for entry in register.entries] == [
        *(("org-a", True), ("org-b", True), ("org-b", False), ("org-b", True))
    ]
    assert register.knows("v-1", "org-a")  # what they judged for it stands
    assert register.knows("v-1", "ORG-B ")
    assert not register.knows("v-1", "org-c")


def test_who_was_active_is_known_for_every_moment(home: Home) -> None:
    url = home.database_url
    enrol_reviewer(url, "v-1", "org-a", by="o-ida", now=NOW)
    enrol_reviewer(url, "v-2", "org-b", by="o-ida", now=NOW + timedelta(hours=1))
    retire_reviewer(url, "v-1", by="o-ida", now=NOW + timedelta(hours=2))
    register = read_register(url)
    at = ["2026-11-02T08:59:59Z", "2026-11-02T09:00:00Z", "2026-11-02T10:00:00Z", "2026-11-02T11:00:00Z"]
    assert [sorted(register.active(moment)) for moment in at] == [[], ["v-1"], ["v-1", "v-2"], ["v-2"]]


def test_a_clock_that_was_set_back_does_not_undo_what_was_recorded(home: Home) -> None:
    url = home.database_url
    enrol_reviewer(url, "v-1", "org-a", by="o-ida", now=NOW)
    retire_reviewer(url, "v-1", by="o-ida", now=NOW - timedelta(days=9))
    assert read_register(url).active("2026-11-02T09:00:00Z") == {}


@pytest.mark.parametrize("name", ["", " ", "v 1", "v-1\n", "-v", "<script>", "v" * 129, "vé"])
def test_a_name_that_is_none_is_refused(home: Home, name: str) -> None:
    for values in ((name, "org-a"), ("v-1", name)):
        with pytest.raises(ReviewError, match="no name"):
            enrol_reviewer(home.database_url, *values, by="o-ida", now=NOW)
    assert read_register(home.database_url).entries == ()


def test_a_second_spelling_of_a_reviewer_is_not_a_second_reviewer(home: Home) -> None:
    enrol_reviewer(home.database_url, "v-1", "org-a", by="o-ida", now=NOW)
    with pytest.raises(ReviewError, match="'v-1'"):
        enrol_reviewer(home.database_url, "V-1", "org-b", by="o-ida", now=NOW)


def test_somebody_unknown_cannot_retire_and_is_told_how_to_register(home: Home) -> None:
    with pytest.raises(ReviewError, match="rushes review reviewers"):
        retire_reviewer(home.database_url, "v-9", by="o-ida", now=NOW)
    with pytest.raises(ReviewError, match="rushes review enrol"):
        read_register(home.database_url).judge("v-9")


def test_rows_of_the_register_are_never_changed(home: Home) -> None:
    enrol_reviewer(home.database_url, "v-1", "org-a", by="o-ida", now=NOW)
    raw = sqlite3.connect(home.state / "rushes.db", isolation_level=None)
    for statement in (
        "UPDATE reviewer SET organisation = 'org-b'",
        "DELETE FROM reviewer",
        "INSERT OR REPLACE INTO reviewer SELECT id, reviewer_id, 'org-b', active, recorded_at, by FROM reviewer",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="reviewer"):
            raw.execute(statement)
