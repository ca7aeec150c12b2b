"""The platform's side of the ledger: its two keys, the ledger founded with them, and what officers attest.

People sign for themselves with keys that the platform never has. What the platform signs is who they are.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent.admission import Rule
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from assets.home import Home
from training.consent import events
from training.consent.canonical import parse_strictly, sha256_hex
from training.consent.keys import CHECKPOINT_KEY, PLATFORM_KEY, load_or_create
from training.consent.times import now_utc


class AttestationRefused(ValueError):
    """The ledger did not take what an officer attested; the message names the rule."""


def platform_key(home: Home) -> Ed25519PrivateKey:
    """Signs what officers verified: who holds a key, who guards a minor, how a dispute ended."""
    return load_or_create(home.signing / PLATFORM_KEY)


def checkpoint_key(home: Home) -> Ed25519PrivateKey:
    """Signs checkpoints and statements; its public half is all that a stranger needs."""
    return load_or_create(home.signing / CHECKPOINT_KEY)


def platform_ledger(home: Home, now: datetime | None = None) -> Ledger:
    """The home's ledger, founded with the platform's key on first use."""
    ledger = Ledger(home.database_url)
    if ledger.size() == 0:
        ledger.found(platform_key(home), now or now_utc())
    return ledger


def enrol(
    home: Home, party_id: str, key_id: str, *, officer: str, evidence_sha256: str, now: datetime | None = None
) -> bool:
    """Attest that an officer verified who holds a key. Whether that is new; raises AttestationRefused."""
    event_id = _name("enrol", party_id, key_id)
    attested = {"officer": officer, "evidence_sha256": evidence_sha256, "event_id": event_id}
    return _attest(home, event_id, now, lambda moment: events.enrol(party_id, key_id, moment, **attested))


def appoint_guardian(
    home: Home,
    minor_id: str,
    guardian_id: str,
    *,
    officer: str,
    evidence_sha256: str,
    ended: bool = False,
    now: datetime | None = None,
) -> bool:
    """Attest that a guardian may sign for a minor, or (`ended`) no longer may. Whether that is new.

    One proof is attested once: appointing the same guardian again later takes new evidence.
    """
    event_id = _name("end_guardian" if ended else "guardian", minor_id, guardian_id, evidence_sha256)

    def body(moment: datetime) -> events.Body:
        return events.guardian(
            minor_id,
            guardian_id,
            moment,
            evidence_sha256=evidence_sha256,
            officer=officer,
            ended=ended,
            event_id=event_id,
        )

    return _attest(home, event_id, now, body)


def offer_again(home: Home, key_id: str, now: datetime | None = None) -> int:
    """Offer the registrations of a key again that were refused because nobody had enrolled it; how many are taken now."""
    ledger = platform_ledger(home, now)
    waiting = [row["received"] for row in ledger.standing_refusals() if row["rule"] == Rule.KEY_NOT_ENROLLED]
    named = [text for text in waiting if parse_strictly(text)["key_id"] == key_id]
    return sum(isinstance(outcome, Admitted) for outcome in ledger.append_many(named, now or now_utc()))


def _name(*parts: str) -> str:
    """The same attestation has the same identity, so that making it twice changes nothing."""
    return f"{parts[0]}-{sha256_hex(list(parts))[:32]}"


def _attest(home: Home, event_id: str, now: datetime | None, body: Callable[[datetime], events.Body]) -> bool:
    ledger, moment = platform_ledger(home, now), now or now_utc()
    if ledger.find(event_id) is not None:
        return False
    outcome = ledger.append(events.sign(body(moment), platform_key(home)), moment)
    if isinstance(outcome, Refused):
        raise AttestationRefused(f"the ledger refused the attestation: {outcome.rule.value}: {outcome.detail}")
    return True
