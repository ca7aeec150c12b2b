"""Every verdict of the gate, kept for good: `gate/<model key>/<time>-<rival>.json` in the store, written once each.

A version's tags show its last verdict. Here are all of them, with the figures, the rival and the ledger that each was
reached on, so a later comparison overwrites nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from assets.evaluation import gate
from assets.evaluation.gate import Contender, Decision, Figure, Reason
from assets.home import Home

NO_RIVAL = "none"


@dataclass(frozen=True)
class Case:
    """What a verdict is about. The same case has the same verdict."""

    model_key: str
    rival: str  # model key of the champion, or NO_RIVAL
    ledger: str  # its head, as size:root
    facts: str  # digest of all that the gate was told and of its rules

    @classmethod
    def of(cls, model_key: str, rival: str | None, ledger: str, *told: Contender | None) -> Case:
        facts = json.dumps([gate.RULES, *(asdict(one) if one else None for one in told)], sort_keys=True)
        return cls(model_key, rival or NO_RIVAL, ledger, hashlib.sha256(facts.encode()).hexdigest())


@dataclass(frozen=True)
class Verdict:
    """A decision as it was recorded. `key` is where."""

    key: str
    at: str
    case: Case
    decision: Decision


def verdicts(home: Home, model_key: str) -> list[Verdict]:
    """All verdicts about a model, oldest first."""
    return [_read(key, json.loads(home.store.get(key))) for key in home.store.list(f"gate/{model_key}/")]


def find(home: Home, case: Case) -> Verdict | None:
    """The verdict that was reached on this case, if any."""
    return next((verdict for verdict in verdicts(home, case.model_key) if verdict.case == case), None)


def record(home: Home, case: Case, decision: Decision) -> Verdict:
    """Add a verdict to the history."""
    now = datetime.now(UTC)
    key = f"gate/{case.model_key}/{now:%Y%m%dT%H%M%S.%fZ}-{case.rival}.json"
    if home.store.exists(key):
        raise FileExistsError(f"{key} is there already: a verdict is never overwritten, decide again")
    at = now.isoformat(timespec="seconds")
    body = {"at": at, "case": asdict(case), "decision": asdict(decision), "summary": decision.summary}
    home.store.put(key, json.dumps(body, indent=1, sort_keys=True).encode())
    return Verdict(key, at, case, decision)


def ever_passed(home: Home, model_key: str) -> bool:
    return any(verdict.decision.promote for verdict in verdicts(home, model_key))


def _read(key: str, body: dict[str, Any]) -> Verdict:
    told = body["decision"]
    reasons = [
        Reason(one["rule"], one["passed"], one["detail"], tuple(Figure(**figure) for figure in one["figures"]))
        for one in told["reasons"]
    ]
    decision = Decision(told["version"], told["against"], told["promote"], tuple(reasons))
    return Verdict(key, body["at"], Case(**body["case"]), decision)
