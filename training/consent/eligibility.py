"""May this clip be used for this purpose? One pure function, used by the mart, the snapshot and the training process.

Default is no: a clip is eligible only when nothing stands against it over the whole of [at, until], on one prefix of
the ledger. Every objection is reported, as codes. The function reads no clock and no database.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from training.consent.canonical import sha256_hex
from training.consent.event_schema import SCOPES
from training.consent.state import ConsentState
from training.consent.times import HORIZON, instant

if TYPE_CHECKING:
    from training.consent.checkpoint import Checkpoint

__all__ = ["POLICY_VERSION", "ClipFacts", "ConsentState", "Decision", "Person", "decision_window", "eligible"]

POLICY_VERSION = "rushes.consent-policy/1"
APPROVALS_NEEDED = 2
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
            }
        )


@dataclass(frozen=True)
class Decision:
    """`reasons` are all codes that stand against the use, sorted; `consent_ids` what a yes rests on."""

    eligible: bool
    reasons: tuple[str, ...]
    consent_ids: tuple[str, ...]


@dataclass(frozen=True)
class _Question:
    assets: frozenset[str]
    purpose: str
    at: datetime
    until: datetime
    territory: str
    state: ConsentState

    def ask(self, party_id: str, role: str, *more_scopes: str) -> tuple[set[str], list[str]]:
        """(codes against, consents that cover): consent of this party in this role to the purpose and `more_scopes`."""
        against: set[str] = set()
        covering: list[str] = []
        for scope in (self.purpose, *more_scopes):
            candidates = [c for c in self.state.consents(party_id, role) if c.concerns(self.assets)]
            found = {
                c.consent_id: c.objections(self.assets, scope, self.at, self.until, self.territory) for c in candidates
            }
            if good := [consent_id for consent_id, codes in found.items() if not codes]:
                covering += good
            else:
                against |= set().union(*found.values()) if found else {"consent.none"}
        return against, covering


def eligible(
    clip: ClipFacts,
    purpose: str,
    at: datetime | str,
    until: datetime | str,
    state: ConsentState,
    territory: str = "*",
) -> Decision:
    """Whether `clip` may be used for `purpose` throughout [at, until], on the ledger prefix folded into `state`.

    `territory` "*" asks for use anywhere. Raises ValueError for an unknown purpose or a window that ends too early.
    """
    at, until = instant(at), instant(until)
    if purpose not in SCOPES:
        raise ValueError(f"no such purpose: {purpose!r}; the closed list is {', '.join(SCOPES)}")
    if until < at:
        raise ValueError(f"the window ends before it starts: {at} .. {until}")
    question = _Question(clip.assets, purpose, at, until, territory, state)
    reasons, consent_ids = question.ask(clip.contributor_id or "", "contributor")
    people_reasons, people_consents = _people(clip, question)
    reasons |= people_reasons | _reviews(clip) | _checks(clip)
    covering = tuple(sorted({*consent_ids, *people_consents}))
    return Decision(not reasons, tuple(sorted(reasons)), covering if not reasons else ())


def _people(clip: ClipFacts, question: _Question) -> tuple[set[str], list[str]]:
    """Invariants 2 and 3: every identifiable person is released, and nobody is seen beyond those."""
    reasons: set[str] = set()
    consents: list[str] = []
    released: set[str] = set()
    for person in clip.persons:
        if not person.identifiable:
            continue  # a contributor's word is not enough: two reviewers have to mark them, see below
        if person.minor or question.state.has_guardian(person.person_id):
            extra = [scope] if (scope := _MINOR_SCOPE.get(question.purpose)) else []
            against, covering = question.ask(person.person_id, "guardian", *extra)
            missing = "legal.minor_no_guardian"
        else:
            against, covering = question.ask(person.person_id, "depicted")
            missing = "legal.missing_model_release"
        if against:
            reasons |= {missing, *against - {"consent.none"}}
        else:
            released.add(person.person_id)
            consents += covering
    if clip.faces_max is None:
        reasons.add("legal.persons_unmeasurable")  # unmeasurable never passes, however many reviewers looked
    if max(clip.persons_counted or 0, clip.faces_max or 0) > len(released) + clip.non_identifiable:
        reasons.add("legal.missing_model_release")
    return reasons, consents


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


def decision_digest(facts: ClipFacts, purpose: str, territory: str, consent_ids: tuple[str, ...] | list[str]) -> str:
    """What a decision rests on, as one digest; it holds no time, so the same ground gives the same digest again."""
    return sha256_hex(
        {
            "policy_version": POLICY_VERSION,
            "purpose": purpose,
            "territory": territory,
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
    return at, at + horizon
