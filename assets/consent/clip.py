"""A clip as people judge it: its facts, what is declared of it, and the judgements that were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from assets.consent.review_counting import Appeal, Count, Judged, Review
from training.consent.canonical import sha256_hex
from training.consent.eligibility import ClipFacts

ClipKey = tuple[str, str, int]  # clip_id, item_id, shot_index


def clip_key(row: Mapping[str, Any]) -> ClipKey:
    """The clip that a row of the lake is about."""
    return row["clip_id"], row["item_id"], row["shot_index"]


@dataclass(frozen=True)
class Clip:
    """A clip's facts with what a reviewer is shown beside them."""

    facts: ClipFacts
    media_key: str
    start_frame: int
    end_frame: int
    declared: dict[str, Any]
    consent_ids: tuple[str, ...]  # standing consents of its parties that ever spoke of it
    received_at: str = ""
    properties: tuple[dict[str, str], ...] = ()  # {owner_id, what} as declared
    guardians: tuple[str, ...] = ()  # of the minors in it
    payer: str | None = None  # the organisation whose request it answers
    reviewable: bool = False  # every check ran and no fatal one stands against it: people may look at it
    reviews: tuple[Review, ...] = ()
    appeals: tuple[Appeal, ...] = ()
    count: Count = field(default_factory=Count)

    @property
    def key(self) -> ClipKey:
        return self.facts.clip_id, self.facts.item_id, self.facts.shot_index

    @property
    def concerned(self) -> frozenset[str]:
        """Everybody whom the clip concerns: nobody of them judges it."""
        return self.facts.parties | set(self.guardians)

    def judged(self) -> Judged:
        """The clip as the counting rule takes it."""
        return Judged(digest(self), self.facts.contributor_id, self.concerned, self.payer, self.appeals)


def digest(clip: Clip) -> str:
    """What a reviewer judges, as one digest: the pictures, who and whose property is said to be in them, everything
    that is declared, and the consents that stand. A consent that is withdrawn or given anew is another digest."""
    return sha256_hex(
        {
            "clip_id": clip.facts.clip_id,
            "bytes_sha256": clip.facts.bytes_sha256,
            "contributor_id": clip.facts.contributor_id,
            "persons": clip.facts.to_dict()["persons"],
            "properties": clip.properties,
            "declared": clip.declared,
            "consent_ids": list(clip.consent_ids),
        }
    )
