"""From signed events as delivered to the ledger, and from the ledger to the lake.

Appending is idempotent: everything that was ever submitted is offered again, and an event refused for want of another
(a key, a grant) is admitted once that has come.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assets.consent.intake import Admitted
from assets.consent.ledger import Ledger
from assets.consent.platform import checkpoint_key, platform_ledger
from assets.home import Home
from training.consent.events import Event
from training.consent.times import time_text

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
