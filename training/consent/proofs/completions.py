"""What a completion receipt shows, `rushes.completion/1`: that the events that caused a withdrawal are in the ledger.

What was done about them (deleted, sealed, taken from service) happened outside the ledger: it is the platform's account,
which its signature makes lasting and no proof can replace.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.consent import merkle
from training.consent.proofs.basics import check_checkpoint, digest, nodes, require, whole_number
from training.consent.statements import statement_holds

COMPLETION = "rushes.completion/1"


def check_completion(statement: Mapping[str, Any], public_key: bytes) -> list[str]:
    """What a completion receipt shows, in sentences. Raises ProofError."""
    require(statement["schema"] == COMPLETION, f"not a {COMPLETION} statement")
    require(statement_holds(statement, public_key), "the completion receipt's signature does not hold")
    checkpoint = statement["checkpoint"]
    check_checkpoint(checkpoint, public_key)
    shown = [_cause(cause, checkpoint) for cause in statement["causes"]]
    require(bool(shown), "a completion receipt names no cause")
    require(statement["left"] == 0, f"{statement['left']} things were left undone")
    clips, models = statement["reached"]["clips"], statement["reached"]["models"]
    return [
        f"The platform signed that {statement['kind']} {statement['withdrawal']} of {statement['subject']}, opened at "
        f"{statement['opened_at']}, was completed at {statement['completed_at']}.",
        *shown,
        f"By its account {len(clips)} clips and {len(models)} model versions were reached, {len(statement['done'])} things "
        "were put away, and reading everything again found nothing left.",
    ]


def _cause(cause: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> str:
    if "seq" not in cause:
        return f"Its cause is {cause['kind']} at {cause['at']}, which is no event of the ledger."
    seq, leaf = whole_number(cause["seq"], "a cause's seq"), digest(cause["leaf_hash"])
    held = merkle.verify_inclusion(leaf, seq, checkpoint["size"], nodes(cause["proof"]), digest(checkpoint["root"]))
    require(held, f"entry {seq}, a cause of the withdrawal, is not in the ledger of {checkpoint['size']} events")
    return f"Its cause is entry {seq} ({cause['kind']}, {cause['at']}), leaf {leaf.hex()}, which the ledger contains."
