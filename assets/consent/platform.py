"""The platform's side of the ledger: its two keys, what officers attest, and the events of deliveries on their way in.

People sign for themselves with keys that the platform never has. What the platform signs is who they are.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent.admission import Rule
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from assets.home import Home
from training.consent import events
from training.consent.canonical import parse_strictly, sha256_hex
from training.consent.events import Event
from training.consent.keys import CHECKPOINT_KEY, PLATFORM_KEY, load_or_create
from training.consent.times import now_utc, time_text


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


class Proof(TypedDict):
    """Which officer verified something, and the digest of what they saw; the evidence itself stays outside."""

    officer: str
    evidence_sha256: str


def enrol(home: Home, party_id: str, key_id: str, *, now: datetime | None = None, **proof: Unpack[Proof]) -> bool:
    """Attest that an officer verified who holds a key. Whether that is new; raises AttestationRefused."""
    moment, event_id = now or now_utc(), _name("enrol", party_id, key_id)
    return _attest(home, events.enrol(party_id, key_id, moment, event_id=event_id, **proof), moment)


def appoint_guardian(
    home: Home,
    minor_id: str,
    guardian_id: str,
    *,
    ended: bool = False,
    now: datetime | None = None,
    **proof: Unpack[Proof],
) -> bool:
    """Attest that a guardian may sign for a minor, or (`ended`) no longer may. Whether that is new.

    One proof is attested once: appointing the same guardian again later takes new evidence.
    """
    moment, type_ = now or now_utc(), "end_guardian" if ended else "guardian"
    event_id = _name(type_, minor_id, guardian_id, proof["evidence_sha256"])
    body = events.guardian(minor_id, guardian_id, moment, ended=ended, event_id=event_id, **proof)
    return _attest(home, body, moment)


def offer_again(home: Home, key_id: str, now: datetime | None = None) -> int:
    """Offer the registrations of a key again that were refused because nobody had enrolled it; how many are taken now."""
    ledger = platform_ledger(home, now)
    waiting = [row["received"] for row in ledger.standing_refusals() if row["rule"] == Rule.KEY_NOT_ENROLLED]
    named = [text for text in waiting if parse_strictly(text)["key_id"] == key_id]
    return sum(isinstance(outcome, Admitted) for outcome in ledger.append_many(named, now or now_utc()))


def _name(*parts: str) -> str:
    """The same attestation has the same identity, so that making it twice changes nothing."""
    return f"{parts[0]}-{sha256_hex(list(parts))[:32]}"


def _attest(home: Home, body: events.Body, now: datetime) -> bool:
    ledger = platform_ledger(home, now)
    if ledger.find(body["event_id"]) is not None:
        return False
    outcome = ledger.append(events.sign(body, platform_key(home)), now)
    if isinstance(outcome, Refused):
        raise AttestationRefused(f"the ledger refused the attestation: {outcome.rule.value}: {outcome.detail}")
    return True


# -- from deliveries to the ledger, and from the ledger to the lake -----------------------------------------------------
# Appending is idempotent: everything that was ever submitted is offered again, and an event refused for want of another
# (a key, a grant) is admitted once that has come.

_FIRST = {"register_key": 0, "grant": 1, "amend": 2, "revoke": 3, "revoke_key": 4, "dispute": 5}


@dataclass(frozen=True)
class Intake:
    """What one intake did. `checkpoint` is the signed head after it."""

    admitted: int
    already: int
    refused: Counter[str]
    checkpoint: dict[str, Any]


def take_in(home: Home, now: datetime) -> Intake:
    """Offer every submission to the ledger, in an order that depends on the submissions alone, and sign the head."""
    ledger = platform_ledger(home, now)
    texts = [row["envelope_json"] for row in sorted(home.lake.rows("consent_submissions"), key=_order)]
    outcomes = ledger.append_many(texts, now) if texts else []
    admitted = [outcome for outcome in outcomes if isinstance(outcome, Admitted)]
    already = sum(outcome.already for outcome in admitted)
    return Intake(
        admitted=len(admitted) - already,
        already=already,
        refused=Counter(str(row["rule"]) for row in ledger.standing_refusals()),
        checkpoint=ledger.checkpoint_signed(checkpoint_key(home)),
    )


def _order(row: dict[str, Any]) -> tuple[Any, ...]:
    """Keys come first; then day by day, as issued; one's own events in the order in which they build on each other."""
    try:
        body = json.loads(row["envelope_json"])["body"]
        kind, issued = _FIRST.get(str(body["type"]), 9), str(body["issued_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        kind, issued = 9, ""
    return (kind > 0, row["received_day"], issued, kind, row["delivery_id"], row["event_sha256"])


def event_row(event: Event) -> dict[str, Any]:
    """A row of table `consent_events`. Lists that an event lacks are empty."""
    body = event.body
    return {
        "seq": event.seq,
        "event_id": body["event_id"],
        "consent_id": body.get("consent_id", ""),
        "type": body["type"],
        "party_id": body["party_id"],
        "role": body.get("role", ""),
        "actor": body["actor"],
        "issued_at": body["issued_at"],
        "effective_at": body["effective_at"],
        "recorded_at": time_text(event.recorded_at),
        "expires_at": body.get("expires_at"),
        **{name: body.get(name, []) for name in ("scopes", "territories", "recipients", "assets")},
        **{name: body.get(name) for name in ("guardian_id", "dispute_id", "outcome")},
        "leaf_hash": event.leaf_hash,
    }


def export(home: Home) -> tuple[str, str]:
    """Write `consent_events` and `consent_refusals`; returns the digests of both files."""
    ledger = Ledger(home.database_url)
    events = home.lake.write("consent_events", [event_row(event) for event in ledger.events()])
    wanted = ("event_sha256", "rule", "detail", "refused_at")
    refusals = [{name: row[name] for name in wanted} for row in ledger.standing_refusals()]
    return events.sha256, home.lake.write("consent_refusals", refusals).sha256
