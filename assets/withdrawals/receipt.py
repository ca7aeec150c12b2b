"""The receipt of a withdrawal: one signed file that says what reached what, and what was done where and when.

Written once, from the log alone, after everything was read again and nothing was left. It names pseudonyms and
digests, nothing else. Anybody with the platform's public checkpoint key can check it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assets.consent.ledger import Ledger
from assets.consent.platform import checkpoint_key
from assets.consent.proofs.statements import file_bytes, sign_statement
from assets.consent.proofs.verification import COMPLETION
from assets.consent.withdrawal_log import DONE, Withdrawal, WithdrawalLog
from assets.home import Home
from assets.withheld import RESTORATION
from training.consent.canonical import sha256_hex


def key(withdrawal_id: str) -> str:
    return f"receipts/withdrawals/{withdrawal_id}.json"


def checkpoint(home: Home, withdrawal: Withdrawal) -> dict[str, Any]:
    """A signed head of the ledger, and for each causing event the proof that it is in there."""
    ledger = Ledger(home.database_url)
    signed = ledger.checkpoint_signed(checkpoint_key(home))
    places = sorted({cause.seq for cause in withdrawal.causes if cause.seq is not None})
    proofs = {str(seq): [step.hex() for step in ledger.inclusion_proof(seq, signed["size"])] for seq in places}
    return {"checkpoint": signed, "proofs": proofs}


def body(log: WithdrawalLog, withdrawal: Withdrawal, policy: Mapping[str, str]) -> dict[str, Any]:
    """What the receipt says; the same log gives the same receipt."""
    steps = log.steps(withdrawal.number)
    held, proofs = steps["checkpoint"]["checkpoint"], steps["checkpoint"]["proofs"]
    clips: dict[str, dict[str, Any]] = {}
    for (root, clip_id), reasons in sorted(withdrawal.reach.items()):
        clip = clips.setdefault(clip_id, {"clip_id": clip_id, "reasons": list(reasons), "snapshots": []})
        clip["snapshots"] += [root] if root else []
    return {
        "schema": COMPLETION,
        "withdrawal": withdrawal.id,
        "kind": withdrawal.kind,
        "subject": withdrawal.subject,
        "opened_at": withdrawal.opened_at,
        "completed_at": steps["reread"]["done_at"],
        "causes": [
            {"kind": c.kind, "at": c.at, "seq": c.seq, "leaf_hash": c.identity, "proof": proofs[str(c.seq)]}
            if c.seq is not None
            else {"kind": c.kind, "at": c.at, "named": c.identity}
            for c in withdrawal.causes
        ],
        "checkpoint": held,
        "reached": {"clips": list(clips.values()), "models": steps["serving"]["versions"]},
        "done": [
            {"what": item.item, "kind": item.kind, "act": item.action, "before": item.before, "at": item.planned_at}
            for item in log.items(withdrawal.number)
        ],
        "steps": {name: step["done_at"] for name, step in steps.items() if name != DONE},
        "aliases": steps["serving"]["aliases"],
        "restored": steps["restored"]["items"] if withdrawal.kind == RESTORATION else [],
        "proposals": steps.get("replacement", {}).get("proposals", []),
        "policy": dict(policy),
        "left": 0,
    }


def issue(home: Home, log: WithdrawalLog, withdrawal: Withdrawal, policy: Mapping[str, str]) -> dict[str, Any]:
    """Sign and keep it; a receipt that was kept before a crash is the one that stands."""
    where = key(withdrawal.id)
    if not home.store.exists(where):
        home.store.put(where, file_bytes(sign_statement(body(log, withdrawal, policy), checkpoint_key(home))))
    return {"receipt": where, "sha256": sha256_hex(home.store.get(where))}
