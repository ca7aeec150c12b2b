"""Default deny: each thing that can stand against a clip, alone, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.consent.people import CLIP, FILE, NOW, People, bob, clip
from training.consent import events as ev
from training.consent.eligibility import ClipFacts, Decision, Person, decision_digest, decision_window, eligible
from training.consent.events import PLATFORM, SCOPES
from training.consent.state import Audience, ConsentState
from training.consent.times import HORIZON


def _decide(people: People, facts: ClipFacts | None = None, purpose: str = "train", **more: Any) -> Decision:
    state = ConsentState.fold(people.ledger.events())
    return eligible(facts or clip(), purpose, people.now, people.now + HORIZON, state, **more)


NOT_COVERED: dict[str, tuple[list[dict[str, Any]], str, tuple[str, ...]]] = {
    "no consent": ([], "train", ("consent.none",)),
    "other footage": ([{"assets": ["f" * 64]}], "train", ("consent.none",)),
    "another's consent for the file": ([{"party": "x-mal"}], "train", ("consent.none",)),
    "two halves": ([{"territories": ["BE"]}, {"scopes": ["eval"]}], "train", ("consent.scope", "consent.territory")),
    "training implies no likeness": ([{}], "likeness_generation", ("consent.scope",)),
    **{
        f"{scope} implies no training": ([{"scopes": [scope]}], "train", ("consent.scope",))
        for scope in SCOPES
        if scope != "train"
    },
}


@pytest.mark.parametrize(("grants", "purpose", "reasons"), NOT_COVERED.values(), ids=NOT_COVERED.keys())
def test_what_no_consent_covers_as_a_whole_is_denied(
    people: People, grants: list[dict[str, Any]], purpose: str, reasons: tuple[str, ...]
) -> None:
    for grant in grants:
        people.grant(**{"party": "c-ann"} | grant)
    assert _decide(people, purpose=purpose) == Decision(False, reasons, ())


def test_a_contributor_who_is_unknown_consented_to_nothing(people: People) -> None:
    assert _decide(people, clip(contributor_id=None)).reasons == ("consent.none",)


def test_a_consented_reviewed_and_checked_clip_is_eligible(people: People) -> None:
    body = people.grant("c-ann")
    assert _decide(people) == Decision(True, (), (body["consent_id"],))


@pytest.mark.parametrize("digest", [FILE, CLIP, "e" * 64])
def test_consent_may_name_the_file_the_clip_or_the_files_frames(people: People, digest: str) -> None:
    people.grant("c-ann", assets=[digest])
    assert _decide(people, clip(frames=("e" * 64,))).eligible


def test_territory_must_be_covered(people: People) -> None:
    people.grant("c-ann", territories=["BE", "NL"])
    assert _decide(people).reasons == ("consent.territory",)
    assert _decide(people, audience=Audience("US")).reasons == ("consent.territory",)
    assert _decide(people, audience=Audience("BE")).eligible


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"approvals": 1}, ("review.pending",)),
        ({"approvals": 0, "persons_counted": None}, ("review.pending",)),
        ({"rejections": 1}, ("review.rejected",)),
        ({"duplicate_ok": False}, ("dup.unresolved",)),
        ({"duplicate_ok": False, "objections": ("dup.exact",)}, ("dup.exact",)),
        ({"verdicts_ok": False}, ("quality.unresolved",)),
        ({"verdicts_ok": False, "objections": ("policy.ai_generated",)}, ("policy.ai_generated",)),
        ({"faces_max": None}, ("legal.persons_unmeasurable",)),
        ({"faces_max": None, "objections": ("platform.not_measured",)}, ("platform.not_measured",)),
        ({"faces_max": 1}, ("legal.missing_model_release",)),
        ({"persons_counted": 1}, ("legal.missing_model_release",)),
        ({"persons": (bob(),)}, ("legal.missing_model_release",)),
    ],
)
def test_each_objection_blocks_alone_and_is_named(
    people: People, changes: dict[str, Any], reasons: tuple[str, ...]
) -> None:
    people.grant("c-ann")
    assert _decide(people, clip(**changes)).reasons == reasons


def test_all_reasons_are_given_at_once(people: People) -> None:
    facts = clip(approvals=0, persons=(bob(),), duplicate_ok=False, faces_max=3, objections=("dup.near",))
    assert _decide(people, facts).reasons == (
        "consent.none",
        "dup.near",
        "legal.missing_model_release",
        "review.pending",
    )


def test_a_person_with_a_release_is_counted(people: People) -> None:
    contributor, release = people.grant("c-ann"), people.grant("p-bob", "depicted")
    facts = clip(persons=(bob(),), faces_max=1, persons_counted=1)
    assert _decide(people, facts) == Decision(
        True, (), tuple(sorted((contributor["consent_id"], release["consent_id"])))
    )
    assert not _decide(people, clip(persons=(bob(),), faces_max=2, persons_counted=1)).eligible
    assert not _decide(people, clip(persons=(bob(), bob()), faces_max=2, persons_counted=2)).eligible


def test_a_withdrawn_release_blocks_and_says_so(people: People) -> None:
    people.grant("c-ann")
    people.revoke(people.grant("p-bob", "depicted"))
    reasons = _decide(people, clip(persons=(bob(),), faces_max=1, persons_counted=1)).reasons
    assert reasons == ("consent.revoked", "legal.missing_model_release")


def test_filming_oneself_is_no_release_of_ones_likeness(people: People) -> None:
    people.grant("c-ann")
    facts = clip(persons=(Person("c-ann"),), persons_counted=1)
    assert _decide(people, facts).reasons == ("legal.missing_model_release",)
    people.grant("c-ann", "depicted")
    assert _decide(people, facts).eligible


def test_what_reviewers_marked_as_nobody_is_excused_but_a_contributors_word_is_not(people: People) -> None:
    people.grant("c-ann")
    assert _decide(people, clip(faces_max=2, non_identifiable=2)).eligible
    assert not _decide(people, clip(faces_max=2, non_identifiable=1)).eligible
    assert not _decide(people, clip(faces_max=1, persons=(bob(identifiable=False),))).eligible


@pytest.mark.parametrize("minor", [True, False])
def test_a_minor_needs_a_guardian_with_the_separate_scope(people: People, minor: bool) -> None:
    """Also when the delivery does not say that the person is a minor, once somebody stands as their guardian."""
    people.grant("c-ann")
    people.appoint("m-kid", "g-eve")
    facts = clip(persons=(Person("m-kid", minor=minor),), persons_counted=1, faces_max=1)
    people.grant("m-kid", "depicted", scopes=["train", "train_minor"])
    assert not _decide(people, facts).eligible  # a minor's own consent is none
    people.grant("m-kid", "guardian", actor="g-eve")
    missing = ("legal.minor_no_guardian", "legal.missing_model_release")
    assert _decide(people, facts).reasons == ("consent.scope", *missing)
    people.grant("m-kid", "guardian", actor="g-eve", scopes=["train_minor"])
    assert _decide(people, facts).eligible


def test_a_person_listed_twice_releases_one_face(people: People) -> None:
    people.grant("c-ann")
    people.grant("p-bob", "depicted")
    twice = (bob(), bob())
    assert not _decide(people, clip(persons=twice, persons_counted=2, faces_max=2)).eligible
    assert _decide(people, clip(persons=twice, persons_counted=1, faces_max=1)).eligible


def test_a_minor_who_came_of_age_speaks_for_themselves(people: People) -> None:
    people.appoint("m-kid", "g-eve")
    people.grant("c-ann")
    people.grant("m-kid", "guardian", actor="g-eve", scopes=["train", "train_minor"])
    facts = clip(persons=(Person("m-kid"),), persons_counted=1, faces_max=1)
    assert _decide(people, facts).eligible
    people.appoint("m-kid", "g-eve", ended=True)
    assert "legal.missing_model_release" in _decide(people, facts).reasons
    people.grant("m-kid", "depicted")
    assert _decide(people, facts).eligible


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [(["*"], "*", True), (["*"], "org-lab", True), (["org-lab"], "org-lab", True), (["org-lab"], "*", False)],
)
def test_consent_to_some_recipients_is_none_to_others(
    people: People, granted: list[str], asked: str, allowed: bool
) -> None:
    people.grant("c-ann", recipients=granted)
    decision = _decide(people, audience=Audience(recipient=asked))
    assert decision.reasons == (() if allowed else ("consent.recipient",))


def test_every_owner_of_recognisable_property_releases_it(people: People) -> None:
    people.grant("c-ann")
    facts = clip(properties=("p-bob",))
    people.grant("p-bob", "depicted")  # consents as a person, not as an owner
    assert _decide(people, facts).reasons == ("legal.property_release",)
    release = people.grant("p-bob", "property_owner")
    assert release["consent_id"] in _decide(people, facts).consent_ids
    people.revoke(release)
    assert _decide(people, facts).reasons == ("consent.revoked", "legal.property_release")


def _dispute(people: People, *digests: str) -> str:
    body = ev.dispute("p-bob", digests, "legal.privacy", people.now)
    people.append(body, "p-bob")
    return body["dispute_id"]


@pytest.mark.parametrize("digest", [FILE, CLIP, "e" * 64])
def test_a_dispute_holds_every_clip_with_one_of_its_digests_until_it_is_dismissed(people: People, digest: str) -> None:
    people.grant("c-ann")
    facts = clip(frames=("e" * 64,))
    dispute_id = _dispute(people, digest)
    assert _decide(people, facts).reasons == ("dispute.open",)
    people.append(ev.adjudicate(dispute_id, "dismissed", people.now, officer="o-ida"), PLATFORM)
    assert _decide(people, facts).eligible


def test_an_upheld_dispute_is_final_and_others_stand_beside_a_dismissed_one(people: People) -> None:
    people.grant("c-ann")
    first, second = _dispute(people, FILE), _dispute(people, FILE)
    people.append(ev.adjudicate(first, "dismissed", people.now, officer="o-ida"), PLATFORM)
    assert _decide(people).reasons == ("dispute.open",)
    people.append(ev.adjudicate(second, "upheld", people.now, officer="o-ida"), PLATFORM)
    assert _decide(people).reasons == ("dispute.upheld",)


def test_a_dispute_about_other_footage_holds_nothing_here(people: People) -> None:
    people.grant("c-ann")
    _dispute(people, "f" * 64)
    assert _decide(people).eligible


def test_a_purpose_outside_the_closed_list_is_an_error(people: People) -> None:
    with pytest.raises(ValueError, match="closed list"):
        _decide(people, purpose="resale")


def test_a_window_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(ValueError, match="window"):
        eligible(clip(), "train", NOW, NOW - timedelta(seconds=1), ConsentState())


FACTS = st.builds(
    clip,
    persons=st.lists(st.builds(Person, st.sampled_from(["p-bob", "m-kid", "c-ann"]), st.booleans(), st.booleans())).map(
        tuple
    ),
    faces_max=st.none() | st.integers(0, 3),
    persons_counted=st.none() | st.integers(0, 3),
    non_identifiable=st.integers(0, 3),
    approvals=st.integers(0, 3),
    rejections=st.integers(0, 2),
    duplicate_ok=st.booleans(),
    verdicts_ok=st.booleans(),
    objections=st.lists(st.sampled_from(["dup.near", "policy.ai_generated"])).map(tuple),
    frames=st.lists(st.sampled_from(["e" * 64])).map(tuple),
)


@given(FACTS)
def test_no_facts_make_a_clip_eligible_without_consent(facts: ClipFacts) -> None:
    assert not eligible(facts, "train", NOW, NOW, ConsentState()).eligible


@given(FACTS)
def test_facts_read_back_from_their_json(facts: ClipFacts) -> None:
    assert ClipFacts.from_dict(facts.to_dict()) == facts


def test_the_digest_of_a_decision_changes_with_its_ground_only() -> None:
    base = decision_digest(clip(), "train", ("a", "b"))
    assert base == decision_digest(clip(), "train", ["b", "a"])
    others = [
        decision_digest(clip(approvals=3), "train", ("a", "b")),
        decision_digest(clip(), "eval", ("a", "b")),
        decision_digest(clip(), "train", ("a", "b"), Audience("BE")),
        decision_digest(clip(), "train", ("a",)),
        decision_digest(clip(), "train", ("a", "b"), Audience(recipient="org-lab")),
    ]
    assert len({base, *others}) == 6


def test_the_window_depends_on_the_ledger_and_the_day_alone(people: People) -> None:
    head = people.ledger.head()
    morning, evening = NOW + timedelta(hours=1), NOW + timedelta(hours=12)
    assert (
        decision_window(head, morning)
        == decision_window(head, evening)
        == (head.recorded_at, head.recorded_at + HORIZON)
    )
    tomorrow = decision_window(head, NOW + timedelta(days=1))
    assert tomorrow[0] == (NOW + timedelta(days=1)).replace(hour=0)


def test_an_amended_consent_keeps_its_identity(people: People) -> None:
    grant = people.grant("c-ann", scopes=["eval"])
    people.append(ev.amend(grant, people.now, scopes=["train"]), "c-ann")
    assert _decide(people).consent_ids == (grant["consent_id"],)


def test_a_clip_is_decided_by_the_consents_that_speak_of_it_and_not_by_all_of_its_contributors(people: People) -> None:
    """Whoever delivered ten thousand clips has signed as often; each clip asks for its own."""
    wanted = people.grant("c-ann")["consent_id"]
    for number in range(20):
        people.grant("c-ann", assets=[f"{number:064x}"])
    state = ConsentState.fold(people.ledger.events())
    for consent in state.by_party["c-ann"].values():
        if consent.consent_id != wanted:
            consent.terms = None  # type: ignore[assignment]  # whoever reads them fails
    decided = eligible(clip(), "train", people.now, people.now + HORIZON, state)
    assert decided.consent_ids == (wanted,)
