"""May this clip be used for this purpose? One pure function, used by the mart, the snapshot and the training process.

Default is no: a clip is eligible only when nothing stands against it over the whole of [at, until], on one prefix of
the ledger. Every objection is reported, as codes. The function reads no clock and no database.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from training.consent.canonical import sha256_hex
from training.consent.events import SCOPES
from training.consent.state import ConsentState, Use
from training.consent.times import HORIZON, instant, shifted

if TYPE_CHECKING:
    from training.consent.checkpoint import Checkpoint

POLICY_VERSION = "rushes.consent-policy/2"
PURPOSE, TERRITORY = "train", "*"  # what the platform decides on unless it is asked otherwise
APPROVALS_NEEDED = 2
NOT_MEASURED = "platform.not_measured"  # the objection to a clip whose signals the platform failed to measure
# purposes that put pictures of a minor into a model need a guardian's separate scope
_MINOR_SCOPE = dict.fromkeys(("train", "finetune_client", "synthetic_derivation"), "train_minor")


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
    territory: str = "*",
    recipient: str = "*",
) -> Decision:
    """Whether `clip` may be used for `purpose` throughout [at, until], on the ledger prefix folded into `state`.

    `territory` and `recipient` "*" ask for use anywhere, by anybody. Raises ValueError for an unknown purpose or a window
    that ends before it starts.
    """
    at, until = instant(at), instant(until)
    if purpose not in SCOPES:
        raise ValueError(f"no such purpose: {purpose!r}; the closed list is {', '.join(SCOPES)}")
    if until < at:
        raise ValueError(f"the window ends before it starts: {at} .. {until}")
    question = _Question(Use(clip.assets, purpose, at, until, territory, recipient), state)
    contributor = question.ask(clip.contributor_id or "", "contributor")
    people, released = _people(clip, question)
    owners = _properties(clip, question)
    reasons = (
        contributor.against
        | people.against
        | owners.against
        | _unreleased(clip, released)
        | _reviews(clip)
        | _checks(clip)
        | state.holds(clip.assets, until)
    )
    covering = tuple(sorted(contributor.covering | people.covering | owners.covering))
    return Decision(not reasons, tuple(sorted(reasons)), covering if not reasons else ())


@dataclass(frozen=True)
class _Answer:
    """Codes against a use, and the consents that cover it."""

    against: frozenset[str] = frozenset()
    covering: frozenset[str] = frozenset()

    def __or__(self, other: _Answer) -> _Answer:
        return _Answer(self.against | other.against, self.covering | other.covering)


@dataclass(frozen=True)
class _Question:
    use: Use
    state: ConsentState

    def ask(self, party_id: str, role: str, *more_scopes: str) -> _Answer:
        """Does this party consent in this role, to the purpose and to each of `more_scopes`? One consent has to cover a
        scope over the whole window by itself; scopes may be covered by different ones."""
        answer = _Answer()
        for scope in (self.use.purpose, *more_scopes):
            use = replace(self.use, purpose=scope)
            candidates = self.state.consents(party_id, use.assets, role)
            found = {consent.consent_id: consent.objections(use) for consent in candidates}
            if covering := frozenset(consent_id for consent_id, codes in found.items() if not codes):
                answer |= _Answer(covering=covering)
            else:
                answer |= _Answer(against=frozenset().union(*found.values()) if found else frozenset({"consent.none"}))
        return answer


def _people(clip: ClipFacts, question: _Question) -> tuple[_Answer, set[str]]:
    """Every identifiable person is released, a minor by a guardian and for that purpose by name; and who is."""
    answer, released = _Answer(), set[str]()
    for person in clip.persons:
        if not person.identifiable:
            continue  # a contributor's word is not enough: two reviewers have to mark them, see `_unreleased`
        if person.minor or question.state.is_guarded(person.person_id):
            extra = [scope] if (scope := _MINOR_SCOPE.get(question.use.purpose)) else []
            given = question.ask(person.person_id, "guardian", *extra)
            missing = "legal.minor_no_guardian"
        else:
            given = question.ask(person.person_id, "depicted")
            missing = "legal.missing_model_release"
        answer |= _lacking(given, missing)
        if not given.against:
            released.add(person.person_id)
    return answer, released


def _properties(clip: ClipFacts, question: _Question) -> _Answer:
    """Every owner of recognisable property has released it."""
    answer = _Answer()
    for owner in clip.properties:
        answer |= _lacking(question.ask(owner, "property_owner"), "legal.property_release")
    return answer


def _lacking(given: _Answer, code: str) -> _Answer:
    """What was given, or, where it does not cover, that a release is missing and why."""
    return _Answer(against=(given.against - {"consent.none"}) | {code}) if given.against else given


def _unreleased(clip: ClipFacts, released: set[str]) -> set[str]:
    """Nobody is seen, by detector or reviewer, beyond the released and those whom two reviewers call unidentifiable."""
    reasons = set()
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


def decision_digest(
    facts: ClipFacts, purpose: str, territory: str, consent_ids: tuple[str, ...] | list[str], recipient: str = "*"
) -> str:
    """What a decision rests on, as one digest; it holds no time, so the same ground gives the same digest again."""
    return sha256_hex(
        {
            "policy_version": POLICY_VERSION,
            "purpose": purpose,
            "territory": territory,
            "recipient": recipient,
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
