"""All that is known of a clip besides the ledger, as the eligibility rule takes it. Data, no rule.

A snapshot carries the facts of its members, so that the ledger alone can decide again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Person:
    """Somebody in the picture, as the delivery declares."""

    person_id: str
    identifiable: bool = True
    minor: bool = False


@dataclass(frozen=True)
class ClipFacts:
    """All that is known of a clip besides the ledger; a snapshot carries it, so that the ledger alone can decide again.

    `persons_counted` is the most identifiable people that a valid review counted, None without a review;
    `faces_max` the most faces in one frame, None where no detector was there; `non_identifiable` how many of the people
    or detections at least two reviewers marked as not identifiable. `objections` are codes of checks that failed.
    """

    clip_id: str
    item_id: str
    shot_index: int
    bytes_sha256: str
    frames: tuple[str, ...]  # further digests that a consent may name: of the clip's and of the file's frames
    contributor_id: str | None
    persons: tuple[Person, ...] = ()
    faces_max: int | None = None
    persons_counted: int | None = None
    non_identifiable: int = 0
    approvals: int = 0
    rejections: int = 0
    duplicate_ok: bool = False
    verdicts_ok: bool = False
    dup_group: str = ""
    objections: tuple[str, ...] = ()
    properties: tuple[str, ...] = ()  # owners of recognisable property in the picture

    @property
    def parties(self) -> frozenset[str]:
        """Everybody whose events this clip's eligibility can depend on."""
        people = (person.person_id for person in self.persons)
        return frozenset({self.contributor_id or "", *people, *self.properties} - {""})

    @property
    def assets(self) -> frozenset[str]:
        """The digests by which a consent can cover this clip."""
        return frozenset({self.clip_id, self.bytes_sha256, *self.frames})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; `from_dict` reads them back."""
        return asdict(self) | {
            "frames": list(self.frames),
            "persons": [asdict(person) for person in self.persons],
            "objections": list(self.objections),
            "properties": list(self.properties),
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> ClipFacts:
        """Raises TypeError for unknown or missing fields."""
        return cls(
            **value
            | {
                "frames": tuple(value["frames"]),
                "persons": tuple(Person(**person) for person in value["persons"]),
                "objections": tuple(value["objections"]),
                "properties": tuple(value["properties"]),
            }
        )
