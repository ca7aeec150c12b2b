"""Which reviews of a clip count, and for what: the rules of independence, as one pure function of facts and records.

A review binds what was seen: it is void once the clip's digest has changed. A reviewer's latest round counts, if they
are on the register and independent: not the contributor, nobody who is in the picture, guards them or owns what is in
it, and nobody of the organisation that pays. Approvals of one organisation are one approval. Where the same two people
have approved nearly all that a contributor delivered, a third has to agree. A rejection stands until its reviewer takes
it back, or until an appeal is decided by people who had not judged the clip before. Nothing counts by time passing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from assets.consent.reviews import Appeal, Register, Review, same
from training.consent.eligibility import APPROVALS_NEEDED

Key = TypeVar("Key", bound=Hashable)

# why a review does not count; the first four void it altogether
UNREGISTERED, NOT_INDEPENDENT = "review.unregistered", "review.not_independent"
SUPERSEDED, OUTDATED = "review.superseded", "review.outdated"
SAME_ORGANISATION, THIRD_NEEDED, APPEALED = "review.same_organisation", "review.third_needed", "review.appealed"
VOID = frozenset({UNREGISTERED, NOT_INDEPENDENT, SUPERSEDED, OUTDATED})


@dataclass(frozen=True)
class ReviewPolicy:
    """The numbers of the review rules, all in one place."""

    approvals: int = APPROVALS_NEEDED  # of as many organisations
    sla_hours: int = 48  # a clip that waits longer is overdue and offered to everybody who may judge it; never accepted
    pair_clips: int = 5  # clips of one contributor that the same two people may approve before they are looked at
    pair_share: float = 0.8  # of all approved clips of that contributor
    pair_reviewers: int = 3  # fewer active reviewers than this leave nobody to ask
    appeals: int = 1  # against the same digest


POLICY = ReviewPolicy()


@dataclass(frozen=True)
class Judged:
    """What the rule has to know of a clip. `concerned` are all parties to it, `payer` the organisation that asked."""

    digest: str
    contributor_id: str | None
    concerned: frozenset[str]
    payer: str | None = None
    appeals: tuple[Appeal, ...] = ()

    def bars(self, reviewer_id: str, organisation: str) -> bool:
        """Whether this person may not judge the clip."""
        concerned = {same(party) for party in self.concerned}
        return same(reviewer_id) in concerned or same(organisation) in concerned | ({same(self.payer)} - {""})


@dataclass(frozen=True)
class Count:
    """The reviews of one clip, counted; see `ClipFacts` for what the numbers mean.

    `codes` say more than pending; `why_not` has, by review id, why a review does not count. `approvers` are all whose
    approval is valid, and `completed` is the review that made the approvals enough.
    """

    approvals: int = 0
    rejections: int = 0
    persons_counted: int | None = None
    non_identifiable: int = 0
    codes: tuple[str, ...] = ()
    why_not: Mapping[int, str] = field(default_factory=dict)
    approvers: frozenset[str] = frozenset()
    completed: Review | None = None

    def valid(self, review_id: int) -> bool:
        """Whether the review is its author's last word on what is there now, and they may judge it."""
        return self.why_not.get(review_id) not in VOID

    def counts(self, review_id: int) -> bool:
        return review_id not in self.why_not


def count(
    clips: Mapping[Key, Judged],
    reviews: Mapping[Key, Sequence[Review]],
    register: Register,
    policy: ReviewPolicy = POLICY,
) -> dict[Key, Count]:
    """Count the reviews of every clip. All clips at once, since who approves what together matters."""
    counts = {key: _count_one(clip, reviews.get(key, ()), register, policy) for key, clip in clips.items()}
    for key in _pairs_in_need_of_a_third(clips, counts, register, policy):
        counts[key] = _until_a_third_agrees(counts[key])
    return counts


def _count_one(clip: Judged, reviews: Sequence[Review], register: Register, policy: ReviewPolicy) -> Count:
    reviews = sorted(reviews, key=lambda review: review.id)
    latest = {review.reviewer_id: review.id for review in sorted(reviews, key=lambda review: review.round)}
    why_not = {review.id: code for review in reviews if (code := _void(review, clip, latest, register))}
    valid = [review for review in reviews if review.id not in why_not]
    approvals = _one_for_each_organisation(valid, why_not)
    rejections = [review for review in valid if review.verdict == "reject"]
    if rejections and _appeal_granted(clip, reviews, valid, policy):
        why_not |= dict.fromkeys((review.id for review in rejections), APPEALED)
        rejections = []
    pending = len(approvals) < policy.approvals
    dependent = {NOT_INDEPENDENT, SAME_ORGANISATION} & set(why_not.values())
    return Count(
        approvals=len(approvals),
        rejections=len(rejections),
        persons_counted=max((review.persons_counted for review in valid), default=None),
        non_identifiable=_agreed_by_two(valid),
        codes=(NOT_INDEPENDENT,) if pending and dependent else (),
        why_not=why_not,
        approvers=frozenset(review.reviewer_id for review in valid if review.verdict == "approve"),
        completed=None if pending else approvals[policy.approvals - 1],
    )


def _void(review: Review, clip: Judged, latest: Mapping[str, int], register: Register) -> str | None:
    if review.id != latest[review.reviewer_id]:
        return SUPERSEDED
    if not register.knows(review.reviewer_id, review.organisation):
        return UNREGISTERED
    if clip.bars(review.reviewer_id, review.organisation):
        return NOT_INDEPENDENT
    return OUTDATED if review.digest != clip.digest else None


def _one_for_each_organisation(valid: Iterable[Review], why_not: dict[int, str]) -> list[Review]:
    """The first approval of each organisation; the others are noted in `why_not`."""
    first: dict[str, Review] = {}
    for review in valid:
        if review.verdict == "approve" and first.setdefault(same(review.organisation), review) is not review:
            why_not[review.id] = SAME_ORGANISATION
    return list(first.values())


def _agreed_by_two(valid: Iterable[Review]) -> int:
    """How many people are not identifiable, as far as two organisations say so."""
    marked: Counter[str] = Counter()
    for review in valid:
        marked[same(review.organisation)] = max(marked[same(review.organisation)], review.non_identifiable)
    most = sorted(marked.values(), reverse=True)
    return most[1] if len(most) > 1 else 0


def _appeal_granted(clip: Judged, reviews: Iterable[Review], valid: Iterable[Review], policy: ReviewPolicy) -> bool:
    """Whether enough people who had not judged this before the appeal approve, and nobody has rejected it since."""
    after = max((appeal.after for appeal in clip.appeals if appeal.digest == clip.digest), default=None)
    if after is None:
        return False
    partial = {review.reviewer_id for review in reviews if review.id <= after and review.digest == clip.digest}
    since = [review for review in valid if review.id > after]
    agreeing = {same(r.organisation) for r in since if r.verdict == "approve" and r.reviewer_id not in partial}
    return len(agreeing) >= policy.approvals and not any(review.verdict == "reject" for review in since)


def _pairs_in_need_of_a_third(
    clips: Mapping[Key, Judged], counts: Mapping[Key, Count], register: Register, policy: ReviewPolicy
) -> list[Key]:
    """Clips that only a pair approved which had approved nearly everything of this contributor before.

    Clips are taken in the order in which their approvals were complete, so that what is decided stays decided; who was
    there to be asked is who was active at that time.
    """
    by_contributor: dict[str, list[tuple[Review, frozenset[str], Key]]] = defaultdict(list)
    for key, counted in counts.items():
        if counted.completed and (contributor := clips[key].contributor_id):
            by_contributor[contributor].append((counted.completed, counted.approvers, key))
    tied = []
    for approved in by_contributor.values():
        together: Counter[frozenset[str]] = Counter()
        for before, (completed, approvers, key) in enumerate(sorted(approved, key=lambda approval: approval[0].id)):
            often = together[approvers] > policy.pair_clips and together[approvers] > policy.pair_share * before
            if len(approvers) == 2:
                if often and len(register.active(completed.reviewed_at)) >= policy.pair_reviewers:
                    tied.append(key)
                together[approvers] += 1
    return tied


def _until_a_third_agrees(counted: Count) -> Count:
    """Two who always agree are one opinion."""
    assert counted.completed is not None
    why_not = {**counted.why_not, counted.completed.id: THIRD_NEEDED}
    return replace(counted, approvals=1, codes=(*counted.codes, THIRD_NEEDED), why_not=why_not, completed=None)
