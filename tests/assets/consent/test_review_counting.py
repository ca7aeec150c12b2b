"""The counting rule, on random reviews: who counts, who does not, and what no number of reviews can do."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.consent.review_counting import (
    NOT_INDEPENDENT,
    OUTDATED,
    POLICY,
    SAME_ORGANISATION,
    SUPERSEDED,
    THIRD_NEEDED,
    UNREGISTERED,
    Appeal,
    Count,
    Judged,
    Review,
    count,
)
from assets.consent.reviews import Entry, Register, same

AT = "2026-11-02T09:00:00Z"
SEEN, OLD = "d" * 64, "0" * 64
PEOPLE = {"v-1": "org-a", "v-2": "org-b", "v-3": "org-c", "v-4": "org-a", "c-1": "org-d", "v-5": "org-payer"}
CLIP = Judged(SEEN, "c-1", frozenset({"c-1", "p-bob", "g-eve", "o-owner"}), "org-payer")


def register(people: dict[str, str] = PEOPLE) -> Register:
    return Register(tuple(Entry(name, org, True, "2026-11-01T00:00:00Z", "o-ida") for name, org in people.items()))


def review(id_: int, reviewer: str, verdict: str = "approve", **more: object) -> Review:
    fields = {"organisation": PEOPLE.get(reviewer, "org-x"), "round": id_, "digest": SEEN, "persons_counted": 1}
    return Review(
        id=id_, reviewer_id=reviewer, verdict=verdict, **fields | {"non_identifiable": 0, "reviewed_at": AT} | more
    )


def count_one(*reviews: Review, clip: Judged = CLIP, people: dict[str, str] = PEOPLE) -> Count:
    return count({"k": clip}, {"k": reviews}, register(people))["k"]


@st.composite
def histories(draw: st.DrawFn) -> list[Review]:
    """Reviews in order, by anybody, of what is there now or of something older; strangers among them."""
    names = draw(st.lists(st.sampled_from([*PEOPLE, "p-bob", "g-eve", "o-owner", "v-stranger"]), max_size=10))
    return [
        review(
            number,
            name,
            draw(st.sampled_from(["approve", "approve", "reject"])),
            digest=draw(st.sampled_from([SEEN, SEEN, OLD])),
            persons_counted=draw(st.integers(0, 4)),
            non_identifiable=draw(st.integers(0, 4)),
        )
        for number, name in enumerate(names, 1)
    ]


def test_two_people_of_two_organisations_approve() -> None:
    assert count_one(review(1, "v-1"), review(2, "v-2")).approvals == 2


def test_two_people_of_one_organisation_are_one_approval_and_the_count_says_so() -> None:
    result = count_one(review(1, "v-1"), review(2, "v-4"))
    assert (result.approvals, result.codes) == (1, (NOT_INDEPENDENT,))
    assert result.why_not == {2: SAME_ORGANISATION}
    assert result.valid(2)  # what they saw and counted is still evidence


def test_spelling_an_organisation_differently_does_not_make_it_another() -> None:
    people = PEOPLE | {"v-2": "ORG-A"}
    result = count_one(review(1, "v-1"), review(2, "v-2", organisation="ORG-A"), people=people)
    assert result.approvals == 1


@pytest.mark.parametrize("reviewer", ["c-1", "p-bob", "g-eve", "o-owner", "v-5"])
def test_nobody_judges_what_concerns_them_or_their_employer_pays_for(reviewer: str) -> None:
    people = PEOPLE | {"p-bob": "org-x", "g-eve": "org-x", "o-owner": "org-x"}
    result = count_one(review(1, reviewer), people=people)
    assert (result.approvals, result.why_not) == (0, {1: NOT_INDEPENDENT})


def test_without_a_paying_organisation_everybody_else_may_judge() -> None:
    assert count_one(review(1, "v-5"), review(2, "v-1"), clip=replace(CLIP, payer=None)).approvals == 2


def test_somebody_who_is_not_on_the_register_or_claims_another_organisation_does_not_count() -> None:
    result = count_one(review(1, "v-stranger"), review(2, "v-1", organisation="org-b"))
    assert (result.approvals, result.why_not) == (0, {1: UNREGISTERED, 2: UNREGISTERED})


def test_a_retired_reviewers_judgements_stay() -> None:
    entries = (*register().entries, Entry("v-1", "org-a", False, AT, "o-ida"))
    result = count({"k": CLIP}, {"k": [review(1, "v-1"), review(2, "v-2")]}, Register(entries))["k"]
    assert result.approvals == 2


def test_the_latest_round_counts_and_a_review_of_something_else_does_not() -> None:
    result = count_one(review(1, "v-1", "reject"), review(2, "v-1"), review(3, "v-2", digest=OLD))
    assert (result.approvals, result.rejections) == (1, 0)
    assert result.why_not == {1: SUPERSEDED, 3: OUTDATED}


def test_people_marked_as_nobody_count_as_far_as_two_organisations_agree() -> None:
    assert count_one(review(1, "v-1", non_identifiable=3), review(2, "v-4", non_identifiable=3)).non_identifiable == 0
    assert count_one(review(1, "v-1", non_identifiable=3), review(2, "v-2", non_identifiable=2)).non_identifiable == 2


@given(histories())
def test_approvals_never_exceed_the_organisations_that_approve_independently(history: list[Review]) -> None:
    result = count_one(*history)
    latest = {r.reviewer_id: r for r in history}
    independent = {
        same(r.organisation)
        for r in latest.values()
        if r.reviewer_id in {"v-1", "v-2", "v-3", "v-4"} and r.verdict == "approve" and r.digest == SEEN
    }
    assert result.approvals == len(independent)
    assert result.approvals + result.rejections == sum(result.counts(r.id) for r in history)


@given(histories(), st.sampled_from(["v-1", "v-2", "v-3", "v-4"]))
def test_any_registered_independent_rejection_stands_against_the_clip(history: list[Review], who: str) -> None:
    assert count_one(*history, review(99, who, "reject")).rejections >= 1


@given(histories(), st.sampled_from(["c-1", "p-bob", "g-eve", "o-owner", "v-5", "v-stranger"]))
def test_what_somebody_says_who_may_not_judge_changes_no_number(history: list[Review], who: str) -> None:
    without = [r for r in history if r.reviewer_id != who]
    own = review(99, who, persons_counted=9, non_identifiable=9)
    before, after = count_one(*without), count_one(*without, own)
    assert replace(after, why_not={}, codes=()) == replace(before, why_not={}, codes=())


@given(histories())
def test_the_highest_count_of_people_by_anybody_who_may_judge_stands(history: list[Review]) -> None:
    assert count_one(*history, review(99, "v-3", "reject", persons_counted=7)).persons_counted == 7


@given(histories())
def test_the_order_in_which_reviews_are_read_does_not_matter(history: list[Review]) -> None:
    assert count_one(*history) == count_one(*reversed(history))


# -- appeals ---------------------------------------------------------------------------------------------------------

APPEALED = replace(CLIP, appeals=(Appeal(SEEN, 2),))


def test_an_appeal_is_granted_by_people_who_had_not_judged_before() -> None:
    rejected = [review(1, "v-1", "reject"), review(2, "v-4")]
    assert count_one(*rejected, clip=APPEALED).rejections == 1
    assert count_one(*rejected, review(3, "v-2"), clip=APPEALED).rejections == 1
    result = count_one(*rejected, review(3, "v-2"), review(4, "v-3"), clip=APPEALED)
    assert (result.rejections, result.approvals) == (0, 3)


@pytest.mark.parametrize("third", [review(5, "v-1", "reject"), review(5, "v-3", "reject")])
def test_a_rejection_after_the_appeal_keeps_the_first_one_alive(third: Review) -> None:
    history = [review(1, "v-1", "reject"), review(3, "v-2"), review(4, "v-3"), third]
    assert count_one(*history, clip=APPEALED).rejections >= 1


def test_approvals_given_before_the_appeal_do_not_decide_it() -> None:
    history = [review(1, "v-1", "reject"), review(2, "v-2"), review(3, "v-2", round=9), review(4, "v-3")]
    assert count_one(*history, clip=APPEALED).rejections == 1


def test_an_appeal_about_something_else_than_what_is_there_now_decides_nothing() -> None:
    history = [review(1, "v-1", "reject"), review(3, "v-2"), review(4, "v-3")]
    assert count_one(*history, clip=replace(CLIP, appeals=(Appeal(OLD, 2),))).rejections == 1


# -- collusion -------------------------------------------------------------------------------------------------------


def of_one_contributor(approvers: list[tuple[str, ...]], people: dict[str, str] = PEOPLE) -> list[Count]:
    """The counts of as many clips of one contributor, each approved by these people in this order."""
    reviews, number = {}, 0
    for clip, names in enumerate(approvers):
        reviews[clip] = []
        for name in names:
            number += 1
            reviews[clip].append(review(number, name))
    result = count(dict.fromkeys(reviews, CLIP), reviews, register(people))
    return [result[clip] for clip in reviews]


def test_from_the_seventh_clip_on_a_pair_that_approves_everything_needs_a_third() -> None:
    result = of_one_contributor([("v-1", "v-2")] * 9)
    assert [c.approvals for c in result] == [2] * 6 + [1] * 3
    assert [c.codes for c in result[6:]] == [(THIRD_NEEDED,)] * 3


def test_a_third_who_agrees_is_enough_and_the_pair_in_the_other_order_is_the_same_pair() -> None:
    result = of_one_contributor([("v-1", "v-2"), ("v-2", "v-1")] * 3 + [("v-2", "v-1", "v-4")])
    assert result[-1].approvals == 2
    assert result[-1].codes == ()
    assert of_one_contributor([("v-1", "v-2"), ("v-2", "v-1")] * 4)[-1].codes == (THIRD_NEEDED,)


def test_with_fewer_than_three_reviewers_there_is_nobody_to_ask() -> None:
    two = {"v-1": "org-a", "v-2": "org-b"}
    assert [c.approvals for c in of_one_contributor([("v-1", "v-2")] * 12, two)] == [2] * 12


def test_a_reviewer_who_joined_later_undoes_nothing() -> None:
    late = Entry("v-3", "org-c", True, "2026-11-09T00:00:00Z", "o-ida")
    two = register({"v-1": "org-a", "v-2": "org-b"})
    clips = dict.fromkeys(range(12), CLIP)
    reviews = {n: [review(2 * n + 1, "v-1"), review(2 * n + 2, "v-2")] for n in range(12)}
    assert {c.approvals for c in count(clips, reviews, Register((*two.entries, late))).values()} == {2}


def test_pairs_that_change_are_left_alone() -> None:
    mixed = [("v-1", "v-2"), ("v-2", "v-3"), ("v-1", "v-3")] * 6
    assert [c.approvals for c in of_one_contributor(mixed)] == [2] * 18


@given(st.lists(st.sampled_from([*permutations(["v-1", "v-2", "v-3"], 2), ("v-1", "v-2", "v-3")]), max_size=24))
def test_no_pair_alone_ever_carries_more_than_its_share_past_the_first_clips(approvers: list[tuple[str, ...]]) -> None:
    for index, result in enumerate(of_one_contributor(approvers)):
        pair = frozenset(approvers[index])
        before = sum(frozenset(earlier) == pair for earlier in approvers[:index])
        excessive = len(pair) == 2 and before > POLICY.pair_clips and before > POLICY.pair_share * index
        assert (THIRD_NEEDED in result.codes) is excessive
        assert (result.approvals < 2) is excessive
