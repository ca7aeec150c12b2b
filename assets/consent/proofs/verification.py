"""Check any file that the platform hands out, with its public checkpoint key and nothing else: no home, no database.

A file holds or it does not. The result says in sentences what the file shows, and what no such file can show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from assets.consent.proofs.models import EXCLUSION, INCLUSION, MODEL, TUNED, check_answer, check_model
from assets.consent.proofs.receipts import RECEIPT, check_receipt
from assets.consent.proofs.statements import (
    ProofError,
    check_checkpoint,
    digest,
    nodes,
    read_file,
    require,
    statement_holds,
    whole_number,
)
from training.consent import merkle
from training.consent.canonical import CanonicalError
from training.consent.keys import CHECKPOINT

COMPLETION = "rushes.completion/1"
MAX_BYTES = 64 << 20
_ON_TRAINING = (
    "That training read only the sets committed to rests on the loader's own record and guard; no file can show it.",
    "That the weights in service are those of the digests above is seen by hashing them.",
)
_NOT_SHOWN: dict[str, tuple[str, ...]] = {
    CHECKPOINT: ("Whether the ledger was shown differently to somebody else: compare this checkpoint with theirs.",),
    MODEL: _ON_TRAINING,
    TUNED: _ON_TRAINING,
    EXCLUSION: (*_ON_TRAINING, "Another cut or re-encoding of the same footage is another clip with another id."),
    INCLUSION: _ON_TRAINING,
    RECEIPT: (
        "Whether the ledger was shown differently to somebody else: compare the checkpoint with theirs.",
        "Aliases, taint, releases and payments are the platform's word, as is that nothing else rests on the consent.",
        "Events that came after the checkpoint.",
    ),
    COMPLETION: ("What was done outside the ledger is the platform's word, which its signature makes lasting.",),
}


@dataclass(frozen=True)
class Verified:
    """`shown` and `not_shown` are sentences."""

    schema: str
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]


def verify_file(content: bytes, public_key: bytes) -> Verified:
    """What the file shows. Raises ProofError with a sentence naming what failed, for any file that does not hold."""
    if len(content) > MAX_BYTES:
        raise ProofError(f"the file is larger than any of ours: {len(content)} bytes")
    try:
        statement = read_file(content, public_key)
        schema = statement["schema"]
        if schema not in _CHECKS:
            raise ProofError(f"a file of kind {schema!r} cannot be checked by this version")
        return Verified(schema, tuple(_CHECKS[schema](statement, public_key)), _NOT_SHOWN[schema])
    except ProofError:
        raise
    except (CanonicalError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ProofError(f"the file does not have the form of its kind ({type(error).__name__}: {error})") from error


def _checkpoint(signed: dict[str, Any], _key: bytes) -> list[str]:
    """Its signature was checked when it was read."""
    ended = f", the last recorded at {signed['recorded_at']}" if signed["recorded_at"] else ""
    return [f"The platform's ledger had {signed['size']} events{ended}; their root is {signed['root']}."]


def check_completion(statement: Mapping[str, Any], public_key: bytes) -> list[str]:
    """What a completion receipt `rushes.completion/1` shows, in sentences: that the ledger holds what caused a withdrawal.

    What was done about it (deleted, sealed, taken from service) happened outside the ledger: it is the platform's account,
    which its signature makes lasting and no proof can replace. Raises ProofError.
    """
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


_CHECKS: dict[str, Callable[[dict[str, Any], bytes], list[str]]] = {
    CHECKPOINT: _checkpoint,
    MODEL: check_model,
    TUNED: check_model,
    EXCLUSION: check_answer,
    INCLUSION: check_answer,
    RECEIPT: check_receipt,
    COMPLETION: check_completion,
}
