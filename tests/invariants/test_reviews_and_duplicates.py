"""Invariants of judgement: I4 what a review binds and who may give one, I5 what one objection does, I6 whose a duplicate is,
I15 that every refusal says why, in full and again the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from assets.consent.clips import Clip, clip_facts, digest, read_clips
from assets.consent.disputes import adjudicate, open_dispute
from assets.consent.eligibility import decide, objections_to
from assets.consent.review_counting import Judged, count
from assets.consent.review_counting import Review as Given
from assets.consent.reviews import Entry, Register
from assets.curation.dedup.groups import HashedClip as Compared
from assets.curation.dedup.groups import find_duplicates
from assets.signals.phash import HASH_BYTES
from tests.training.consent.people import key_of
from training.consent.eligibility import Person

SHA = "7" * 64


@pytest.fixture
def one_clip(world: Any) -> Any:
    """One consented clip that two reviewers approved; it is eligible."""
    world.deliver("c-1", clips=1)
    world.settle()
    assert world.reasons() == ()
    return world


# -- I4: a review binds what was seen ------------------------------------------------------------------------------------

EDITS: dict[str, Callable[[Clip], Clip]] = {
    "the file": lambda c: replace(c, facts=replace(c.facts, bytes_sha256=SHA)),
    "the frames": lambda c: replace(c, facts=replace(c.facts, clip_id=SHA)),
    "the contributor": lambda c: replace(c, facts=replace(c.facts, contributor_id="c-2")),
    "a person more": lambda c: replace(c, facts=replace(c.facts, persons=(Person("p-bob"),))),
    "what is declared": lambda c: replace(c, declared={**c.declared, "subject": "something else"}),
    "another consent": lambda c: replace(c, consent_ids=("consent-other",)),
    "no consent": lambda c: replace(c, consent_ids=()),
    "a property more": lambda c: replace(c, properties=({"owner_id": "o-own", "what": "a mural"},)),
}


@pytest.mark.parametrize("edit", EDITS)
def test_i04_any_change_of_what_was_judged_gives_another_digest(one_clip: Any, edit: str) -> None:
    (clip,) = read_clips(one_clip.home)
    assert digest(EDITS[edit](clip)) != digest(clip)
    assert digest(replace(clip, reviewable=not clip.reviewable)) == digest(clip)


def test_i04_a_person_declared_after_the_reviews_voids_them_until_both_judge_again(one_clip: Any) -> None:
    one_clip.tables["delivery_items"][0]["persons_json"] = json.dumps(
        [{"person_id": "p-bob", "identifiable": False, "minor": False}]
    )
    one_clip.settle(review=False)
    assert "review.pending" in one_clip.reasons()
    one_clip.settle()
    assert one_clip.reasons() == ()


def test_i04_a_withdrawn_and_renewed_consent_voids_the_reviews(one_clip: Any) -> None:
    (clip_id,) = one_clip.grants
    one_clip.revoke(clip_id)
    one_clip.grant(clip_id, "c-1")
    assert "review.pending" in one_clip.reasons()


REGISTER = Register(
    tuple(
        Entry(name, organisation, True, "2026-11-01T00:00:00Z", "o-ida")
        for name, organisation in {
            "v-1": "org-a",
            "v-2": "org-b",
            "v-3": "org-a",
            "c-1": "org-c",
            "p-bob": "org-d",
            "v-payer": "org-payer",
        }.items()
    )
)


def approvals(*reviewers: str) -> int:
    """How many approvals these reviewers make of a clip by c-1, with p-bob in it, for which org-payer pays."""
    clip = Judged(SHA, "c-1", frozenset({"c-1", "p-bob"}), "org-payer")
    given = [
        Given(
            id=number, reviewer_id=name, round=1, verdict="approve", digest=SHA, persons_counted=1, non_identifiable=0,
            organisation=entry.organisation if (entry := REGISTER.active().get(name)) else "org-x",
            reviewed_at="2026-11-02T09:00:00Z",
        )
        for number, name in enumerate(reviewers, 1)
    ]  # fmt: skip
    return count({"k": clip}, {"k": given}, REGISTER)["k"].approvals


@pytest.mark.parametrize("other", ["v-1", "v-3", "c-1", "p-bob", "v-payer", "v-nobody"])
def test_i04_the_second_approver_is_another_independent_person_of_another_organisation(other: str) -> None:
    assert approvals("v-1", "v-2") == 2
    assert approvals("v-1", other) < 2


# -- I5: one objection blocks --------------------------------------------------------------------------------------------


def test_i05_one_rejection_outweighs_any_number_of_approvals_until_it_is_resolved(one_clip: Any) -> None:
    from tests.worlds import enrol_reviewers

    enrol_reviewers(one_clip.home.database_url, "v-3", "v-4")
    one_clip.review("v-3", "reject", "quality.focus")
    one_clip.review("v-4", "approve")
    assert "review.rejected" in one_clip.reasons()
    one_clip.review("v-3", "approve")
    assert one_clip.reasons() == ()


def test_i05_an_open_dispute_blocks_and_only_its_dismissal_releases(one_clip: Any) -> None:
    (clip,) = read_clips(one_clip.home)
    now = datetime.now(UTC)
    dispute_id = open_dispute(one_clip.home, clip, "c-1", "legal.third_party_ip", key_of("c-1"), now)
    assert one_clip.reasons() == ("dispute.open",)
    adjudicate(one_clip.home, dispute_id, "dismissed", "o-ida", now)
    assert one_clip.reasons() == ()


# -- I6: the earliest owner's, or nobody's -------------------------------------------------------------------------------


def test_i06_of_the_same_footage_only_the_earliest_is_eligible_and_its_owners_withdrawal_blocks_all(world: Any) -> None:
    (original,), (copy,) = world.deliver("c-1", clips=1), world.deliver("c-2", clips=1)
    hashes = random.Random(6).randbytes(12 * HASH_BYTES)  # both show the same pictures
    order = {original: "2026-11-01T08:00:00Z", copy: "2026-11-02T08:00:00Z"}
    shown = [
        Compared(row["clip_id"], row["item_id"], 0, item["contributor_id"], (at[:10], at, row["item_id"], 0), hashes)
        for row, item in zip(world.tables["shots"], world.tables["delivery_items"], strict=True)
        if (at := order[row["clip_id"]])
    ]
    world.tables["duplicates"] = find_duplicates(reversed(shown)).rows
    world.settle()
    decided = {facts.clip_id: decision for facts, decision in decide(world.home, "train", datetime.now(UTC))}
    assert decided[original].eligible
    assert "dup.near" in decided[copy].reasons
    assert len({facts.dup_group for facts in clip_facts(world.home)}) == 1
    world.revoke(original)
    assert not any(decision.eligible for _, decision in decide(world.home, "train", datetime.now(UTC)))


# -- I15: every refusal says why, in full, and again the same ------------------------------------------------------------


def test_i15_all_codes_that_were_found_are_told_and_told_again_the_same(world: Any) -> None:
    (clip_id,) = world.deliver("c-1", clips=1)
    key = {name: world.tables["verdicts"][0][name] for name in ("clip_id", "item_id", "shot_index", "received_day")}
    failed = {"check_version": "1", "verdict": "fail"}
    for check, severity, reason in (
        ("generated", "fatal", "policy.ai_generated"),
        ("text", "fatal", "policy.watermark_or_text"),
        ("sharp", "quality", "quality.focus"),
    ):
        world.tables["verdicts"].append(key | failed | {"check": check, "severity": severity, "reason": reason})
    world.tables["duplicates"][0] |= {"verdict": "fail", "reason": "dup.other_owner", "kind": "near"}
    world.tables["signals"][0]["faces_max"] = 2
    world.settle()
    world.revoke(clip_id)
    expected = {
        *("policy.ai_generated", "policy.watermark_or_text", "quality.focus", "dup.other_owner"),
        *("legal.missing_model_release", "consent.revoked", "review.pending"),
    }
    (clip,) = read_clips(world.home)
    now = datetime.now(UTC)
    objections = objections_to(world.home, clip, now)
    assert {objection.code for objection in objections} == expected
    assert set(world.reasons()) == expected
    assert objections_to(world.home, clip, now) == objections


def test_i15_a_failure_without_a_code_still_gets_one(world: Any) -> None:
    world.deliver("c-1", clips=1)
    world.tables["verdicts"] = []
    world.tables["duplicates"] = []
    world.settle()
    codes = world.reasons()
    assert codes
    assert all("." in code for code in codes)
    assert {"quality.unresolved", "dup.unresolved"} <= set(codes)
