"""What the ledger's events mean over time: a fold from events to consents, guardians and holds.

Order is the ledger's, never a claimed clock. What begins a use (grant, amendment) acts from the later of its claimed and
its recorded time, so that nothing is backdated. What ends one (revocation, dispute) acts from the earlier, so that nothing
is postponed; a revocation is absorbing, and a dispute stands until it is dismissed. Expiry is exclusive and comes earlier
by the clocks' allowance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from training.consent.events import Event
from training.consent.times import SKEW, parse_time, shifted


@dataclass(frozen=True)
class Terms:
    """What a grant or an amendment says, from `acts_from` on; it has lapsed at `ends_at`."""

    acts_from: datetime
    ends_at: datetime | None
    scopes: frozenset[str]
    territories: frozenset[str]
    recipients: frozenset[str]
    assets: frozenset[str]

    @classmethod
    def of(cls, event: Event) -> Terms:
        body = event.body
        return cls(
            acts_from=max(parse_time(body["effective_at"]), event.recorded_at),
            ends_at=shifted(parse_time(body["expires_at"]), -SKEW) if body["expires_at"] else None,
            scopes=frozenset(body["scopes"]),
            territories=frozenset(body["territories"]),
            recipients=frozenset(body["recipients"]),
            assets=frozenset(body["assets"]),
        )


@dataclass
class Dispute:
    """Somebody's objection to footage; `outcome` is None while no officer has decided it."""

    dispute_id: str
    holds_from: datetime
    outcome: str | None = None


class Audience(NamedTuple):
    """Where footage is used, and by whom; "*" stands for anywhere and anybody."""

    territory: str = "*"
    recipient: str = "*"


EVERYBODY = Audience()


@dataclass(frozen=True)
class Use:
    """What somebody asks for: these digests, for this purpose, over all of [at, until], by this audience."""

    assets: frozenset[str]
    purpose: str
    at: datetime
    until: datetime
    audience: Audience = EVERYBODY


@dataclass
class Consent:
    """One consent of one party: its terms in ledger order, and from when it is revoked."""

    consent_id: str
    party_id: str
    role: str | None = None  # None while only its revocation has arrived
    terms: list[Terms] = field(default_factory=list)
    revoked_from: datetime | None = None

    def in_force(self, at: datetime) -> Terms | None:
        """The latest terms, by ledger order, that act at `at`."""
        return next((terms for terms in reversed(self.terms) if terms.acts_from <= at), None)

    def objections(self, use: Use) -> set[str]:
        """Codes of everything that keeps it from covering the whole of [at, until]; empty when it covers.

        Terms may change inside the window; each version is asked for the part of the window in which it is in force.
        """
        codes = {"consent.revoked"} if self.revoked_from is not None and self.revoked_from <= use.until else set()
        changes = sorted({use.at, *(terms.acts_from for terms in self.terms if use.at < terms.acts_from <= use.until)})
        for start, replaced in zip(changes, [*changes[1:], None], strict=True):
            terms = self.in_force(start)
            codes |= _lacks(terms, use) | _lapses(terms, replaced, use.until) if terms else {"consent.not_yet"}
        return codes


def _lacks(terms: Terms, use: Use) -> set[str]:
    """Codes of what the terms do not extend to."""
    extends = {
        "consent.none": bool(terms.assets & use.assets),
        "consent.scope": use.purpose in terms.scopes,
        "consent.territory": bool({"*", use.audience.territory} & terms.territories),
        "consent.recipient": bool({"*", use.audience.recipient} & terms.recipients),
    }
    return {code for code, covered in extends.items() if not covered}


def _lapses(terms: Terms, replaced: datetime | None, until: datetime) -> set[str]:
    """Whether the terms end before their part of the window does: when others replace them, or with `until` itself."""
    ends = terms.ends_at
    too_early = ends is not None and (ends <= until if replaced is None else ends < replaced)
    return {"consent.expires"} if too_early else set()


@dataclass
class ConsentState:
    """Every consent, guardianship and dispute of a ledger prefix."""

    by_party: dict[str, dict[str, Consent]] = field(default_factory=lambda: defaultdict(dict))
    guardians: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # minor -> standing guardians
    speaking_of: dict[tuple[str, str], dict[str, Consent]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # party, digest
    disputes: dict[str, Dispute] = field(default_factory=dict)
    disputes_by_digest: dict[str, list[Dispute]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def fold(cls, events: Iterable[Event]) -> ConsentState:
        """The state after these events, which come in ledger order. Keys mean nothing here: admission saw to them."""
        state = cls()
        for event in events:
            state._apply(event)
        return state

    def _apply(self, event: Event) -> None:
        body = event.body
        match event.type:
            case "grant" | "amend" | "revoke":
                self._apply_consent(event)
            case "guardian":
                self.guardians[body["party_id"]].add(body["guardian_id"])
            case "end_guardian":
                self.guardians[body["party_id"]].discard(body["guardian_id"])
            case "dispute":
                holds_from = min(parse_time(body["effective_at"]), event.recorded_at)
                dispute = self.disputes[body["dispute_id"]] = Dispute(body["dispute_id"], holds_from)
                for digest in body["assets"]:
                    self.disputes_by_digest[digest].append(dispute)
            case "adjudicate":
                self.disputes[body["dispute_id"]].outcome = body["outcome"]

    def _apply_consent(self, event: Event) -> None:
        body = event.body
        party, consent_id = body["party_id"], body["consent_id"]
        consent = self.by_party[party].setdefault(consent_id, Consent(consent_id, party))
        if event.type == "revoke":
            acts_from = min(parse_time(body["effective_at"]), event.recorded_at)
            consent.revoked_from = min(acts_from, consent.revoked_from or acts_from)
        else:
            consent.role = body["role"]
            consent.terms.append(Terms.of(event))
            for digest in body["assets"]:
                self.speaking_of[party, digest][consent_id] = consent

    def consents(self, party_id: str, assets: frozenset[str], role: str | None = None) -> list[Consent]:
        """A party's consents that ever spoke of any of these digests, in a role or in all, by consent_id."""
        speaking: dict[str, Consent] = {}
        for digest in assets:
            speaking |= self.speaking_of.get((party_id, digest), {})
        return [speaking[consent_id] for consent_id in sorted(speaking) if role in (None, speaking[consent_id].role)]

    def is_guarded(self, party_id: str) -> bool:
        """Whether somebody signs for this party: then the party is a minor, whatever a delivery declares."""
        return bool(self.guardians.get(party_id))

    def holds(self, assets: frozenset[str], until: datetime) -> set[str]:
        """Codes of disputes about any of these digests that hold it at or before `until`."""
        disputes = (dispute for digest in assets for dispute in self.disputes_by_digest.get(digest, ()))
        standing = (d for d in disputes if d.outcome != "dismissed" and d.holds_from <= until)
        return {"dispute.upheld" if dispute.outcome else "dispute.open" for dispute in standing}
