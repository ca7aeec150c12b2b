"""May this clip be used for this purpose? One pure function, used by the mart, the snapshot and the training process.

Default is no: a clip is eligible only when nothing stands against it over the whole of [at, until], on one prefix of
the ledger. Every objection is reported, as codes. The function reads no clock and no database.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from training.consent.canonical import sha256_hex
from training.consent.events import SCOPES
from training.consent.keys import Checkpoint
from training.consent.state import EVERYBODY, Audience, ConsentState, Use
from training.consent.times import HORIZON, instant, shifted

POLICY_VERSION = "rushes.consent-policy/2"
PURPOSE = "train"  # what the platform decides on unless it is asked otherwise
APPROVALS_NEEDED = 2
NOT_MEASURED = "platform.not_measured"  # the objection to a clip whose signals the platform failed to measure
# purposes that put pictures of a minor into a model need a guardian's separate scope
_MINOR_SCOPE = dict.fromkeys(("train", "finetune_client", "synthetic_derivation"), "train_minor")
_MISSING = {  # by role, the code where nobody agreed in it
    "depicted": "legal.missing_model_release",
    "guardian": "legal.minor_no_guardian",
    "property_owner": "legal.property_release",
}


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


@dataclass(frozen=True)
class Decision:
    """`reasons` are all codes that stand against the use, sorted; `consent_ids` what a yes rests on."""

    eligible: bool
    reasons: tuple[str, ...]
    consent_ids: tuple[str, ...]


def eligible(
    clip: ClipFacts,
    purpose: str,
    at: datetime | str,
    until: datetime | str,
    state: ConsentState,
    audience: Audience = EVERYBODY,
) -> Decision:
    """Whether `clip` may be used for `purpose` throughout [at, until], on the ledger prefix folded into `state`.

    Raises ValueError for an unknown purpose or a window that ends before it starts.
    """
    at, until = instant(at), instant(until)
    if purpose not in SCOPES:
        raise ValueError(f"no such purpose: {purpose!r}; the closed list is {', '.join(SCOPES)}")
    if until < at:
        raise ValueError(f"the window ends before it starts: {at} .. {until}")
    use = Use(clip.assets, purpose, at, until, audience)
    # that somebody cannot be recognised takes more than a contributor's word: two reviewers mark them, see `_unreleased`
    needed = [release for release in releases(clip, use, state) if release.identifiable]
    reasons = (
        frozenset().union(*(release.against for release in needed))
        | _unreleased(clip, needed)
        | _reviews(clip)
        | _checks(clip)
        | state.holds(clip.assets, until)
    )
    covering = frozenset().union(*(release.covering for release in needed))
    return Decision(not reasons, tuple(sorted(reasons)), () if reasons else tuple(sorted(covering)))


@dataclass(frozen=True)
class Release:
    """Whether somebody whom a clip concerns agrees to a use: codes against it, and the consents that cover it.

    `role` is the one in which they are asked; a minor is asked through a guardian.
    """

    party_id: str
    role: str
    against: frozenset[str]
    covering: frozenset[str]
    identifiable: bool = True


def releases(clip: ClipFacts, use: Use, state: ConsentState) -> list[Release]:
    """The answers of everybody whom a use of the clip needs: its contributor, the people in it, owners of property."""
    people = []
    for person in clip.persons:
        minor = person.minor or state.is_guarded(person.person_id)
        release = _release(person.person_id, "guardian" if minor else "depicted", use, state)
        people.append(replace(release, identifiable=person.identifiable))
    contributor = _release(clip.contributor_id or "", "contributor", use, state)
    return [contributor, *people, *(_release(owner, "property_owner", use, state) for owner in clip.properties)]


def _release(party_id: str, role: str, use: Use, state: ConsentState) -> Release:
    """One consent has to cover a scope over the whole window by itself; scopes may be covered by different ones."""
    scopes = [use.purpose]
    if role == "guardian" and (minor_scope := _MINOR_SCOPE.get(use.purpose)):
        scopes.append(minor_scope)
    against, covering = set[str](), set[str]()
    for scope in scopes:
        asked = replace(use, purpose=scope)
        objections = {c.consent_id: c.objections(asked) for c in state.consents(party_id, use.assets, role)}
        if agreeing := {consent_id for consent_id, codes in objections.items() if not codes}:
            covering |= agreeing
        else:
            against |= set().union(*objections.values()) or {"consent.none"}
    if against and role in _MISSING:
        against = (against - {"consent.none"}) | {_MISSING[role]}
    return Release(party_id, role, frozenset(against), frozenset(covering))


def _unreleased(clip: ClipFacts, needed: Iterable[Release]) -> set[str]:
    """Nobody is seen, by detector or reviewer, beyond the released and those whom two reviewers call unidentifiable."""
    reasons = set()
    released = {r.party_id for r in needed if r.role in ("depicted", "guardian") and not r.against}
    if clip.faces_max is None and NOT_MEASURED not in clip.objections:
        reasons.add("legal.persons_unmeasurable")  # unmeasurable never passes, however many reviewers looked
    if max(clip.persons_counted or 0, clip.faces_max or 0) > len(released) + clip.non_identifiable:
        reasons.add("legal.missing_model_release")
    return reasons


def _reviews(clip: ClipFacts) -> set[str]:
    """Invariants 4 and 5: two approvals, no rejection. Silence never accepts."""
    pending = clip.approvals < APPROVALS_NEEDED or clip.persons_counted is None
    return ({"review.pending"} if pending else set()) | ({"review.rejected"} if clip.rejections else set())


def _checks(clip: ClipFacts) -> set[str]:
    """Fatal verdicts and duplicates, by the codes they gave; a failure without a code still blocks."""
    reasons = set(clip.objections)
    if not clip.duplicate_ok and not any(code.startswith("dup.") for code in reasons):
        reasons.add("dup.unresolved")
    if not clip.verdicts_ok and not any(not code.startswith("dup.") for code in reasons):
        reasons.add("quality.unresolved")
    return reasons


def decision_digest(facts: ClipFacts, purpose: str, consent_ids: Iterable[str], audience: Audience = EVERYBODY) -> str:
    """What a decision rests on, as one digest; it holds no time, so the same ground gives the same digest again."""
    return sha256_hex(
        {
            "policy_version": POLICY_VERSION,
            "purpose": purpose,
            **audience._asdict(),
            "facts": facts.to_dict(),
            "consent_ids": sorted(consent_ids),
        }
    )


def decision_window(head: Checkpoint, now: datetime, horizon: timedelta = HORIZON) -> tuple[datetime, datetime]:
    """(at, until): from the ledger's last event or today's start, whichever is later, over the training horizon.

    Within a UTC day the window depends on the ledger alone, so that a second run decides the same.
    """
    midnight = instant(now).replace(hour=0, minute=0, second=0, microsecond=0)
    at = max(midnight, head.recorded_at or midnight)
    return at, shifted(at, horizon)
