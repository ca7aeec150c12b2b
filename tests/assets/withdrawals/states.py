"""What a withdrawal finds and leaves behind: everything in a home that it may touch, and disputes about its clip."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from assets.consent.intake import Admitted
from assets.consent.platform import platform_key
from assets.consent.withdrawal_log import WithdrawalLog
from assets.home import Home
from assets.requests.store import list_proposals
from tests.worlds import Reached
from training.consent import events

NOW = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)


def everything(home: Home) -> dict[str, bytes]:
    """The store's objects that a withdrawal may touch."""
    parts = ("frames", "latents", "samples", "release", "media", "sealed", "receipts", "lake")
    return {key: home.store.get(key) for part in parts for key in home.store.list(part)}


def end_state(home: Home) -> dict[str, Any]:
    """All that a withdrawal leaves behind."""
    from assets.registry import MODEL, Registry

    registry, log = Registry(home), WithdrawalLog(home.database_url)
    pages = {v.number: registry.client.get_model_version(MODEL, v.number).description for v in registry.versions()}
    return {
        "store": everything(home),
        "versions": [(v.number, dict(v.tags), v.aliases, pages[v.number]) for v in registry.versions()],
        "proposals": list_proposals(home.database_url),
        "withdrawals": log.withdrawals(),
        "items": [log.items(withdrawal.number) for withdrawal in log.withdrawals()],
        "steps": [log.steps(withdrawal.number) for withdrawal in log.withdrawals()],
        "mark": log.mark(),
    }


def disputed(at: Reached) -> str:
    body = events.dispute("platform", [at.clip], "legal.privacy", datetime.now(UTC), dispute_id="d-1")
    assert isinstance(at.world.ledger.append(events.sign(body, platform_key(at.home)), datetime.now(UTC)), Admitted)
    return "d-1"


def decided(at: Reached, dispute_id: str, outcome: str) -> None:
    body = events.adjudicate(dispute_id, outcome, datetime.now(UTC), officer="o-ida")
    assert isinstance(at.world.ledger.append(events.sign(body, platform_key(at.home)), datetime.now(UTC)), Admitted)
