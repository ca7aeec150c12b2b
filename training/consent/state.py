"""What the ledger's events mean over time: a fold from events to consents, and whether one covers a use.

Order is the ledger's, never a claimed clock. A grant or amendment acts from the later of its claimed and its recorded
time, so that nothing is backdated; a revocation acts from the earlier, so that nothing is postponed, and it is
absorbing. Expiry is exclusive and comes earlier by the clocks' allowance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from training.consent.event_schema import CONSENT_TYPES
from training.consent.events import Event
from training.consent.times import SKEW, parse_time


@dataclass(frozen=True)
class Terms:
    """What a grant or an amendment says, from `acts_from` on; it has lapsed at `ends_at`."""

    acts_from: datetime
    ends_at: datetime | None
    scopes: frozenset[str]
    territories: frozenset[str]
    assets: frozenset[str]

    @classmethod
    def of(cls, event: Event) -> Terms:
        body = event.body
        return cls(
            acts_from=max(parse_time(body["effective_at"]), event.recorded_at),
            ends_at=parse_time(body["expires_at"]) - SKEW if body["expires_at"] else None,
            scopes=frozenset(body["scopes"]),
            territories=frozenset(body["territories"]),
            assets=frozenset(body["assets"]),
        )


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

    def concerns(self, assets: frozenset[str]) -> bool:
        """Whether it ever spoke of any of these digests."""
        return any(terms.assets & assets for terms in self.terms)

    def objections(
        self, assets: frozenset[str], purpose: str, at: datetime, until: datetime, territory: str
    ) -> set[str]:
        """Codes of everything that keeps it from covering the whole of [at, until]; empty when it covers."""
        codes = {"consent.revoked"} if self.revoked_from is not None and self.revoked_from <= until else set()
        changes = sorted({at, *(terms.acts_from for terms in self.terms if at < terms.acts_from <= until)})
        for start, end in zip(changes, [*changes[1:], until], strict=True):
            terms = self.in_force(start)
            if terms is None:
                codes.add("consent.not_yet")
                continue
            if not terms.assets & assets:
                codes.add("consent.none")
            if purpose not in terms.scopes:
                codes.add("consent.scope")
            if not {"*", territory} & terms.territories:
                codes.add("consent.territory")
            if terms.ends_at is not None and (terms.ends_at <= start or terms.ends_at < end or terms.ends_at == until):
                codes.add("consent.expires")
        return codes


@dataclass
class ConsentState:
    """Every consent of a ledger prefix, by party."""

    by_party: dict[str, dict[str, Consent]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def fold(cls, events: Iterable[Event]) -> ConsentState:
        """The state after these events, which come in ledger order."""
        state = cls()
        for event in events:
            if event.type in CONSENT_TYPES:
                state._apply(event)
        return state

    def _apply(self, event: Event) -> None:
        body = event.body
        party, consent_id = body["party_id"], body["consent_id"]
        consent = self.by_party[party].setdefault(consent_id, Consent(consent_id, party))
        if event.type == "revoke":
            acts_from = min(parse_time(body["effective_at"]), event.recorded_at)
            consent.revoked_from = min(acts_from, consent.revoked_from or acts_from)
        else:
            consent.role = body["role"]
            consent.terms.append(Terms.of(event))

    def consents(self, party_id: str, role: str) -> list[Consent]:
        """A party's consents in a role, by consent_id."""
        mine = self.by_party.get(party_id, {})
        return [mine[consent_id] for consent_id in sorted(mine) if mine[consent_id].role == role]

    def has_guardian(self, party_id: str) -> bool:
        """Whether a guardian ever signed for this party: then the party is a minor, whatever a delivery declares."""
        return bool(self.consents(party_id, "guardian"))
