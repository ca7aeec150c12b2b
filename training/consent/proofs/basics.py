"""What every check of a proof uses: the error, signed checkpoints, the way from one checkpoint to a later one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.consent import merkle
from training.consent.checkpoint import SCHEMA as CHECKPOINT
from training.consent.checkpoint import checkpoint_holds
from training.consent.keys import key_id_of

_CHECKPOINT_FIELDS = {"schema", "size", "root", "recorded_at", "key_id", "public_key", "sig"}


class ProofError(ValueError):
    """A proof that does not hold; the message is a sentence that names what failed."""


def require(holds: bool, sentence: str) -> None:
    """Raise ProofError(sentence) unless it holds."""
    if not holds:
        raise ProofError(sentence)


def require_fields(value: Any, fields: set[str], what: str) -> None:
    require(isinstance(value, dict), f"{what} is not an object")
    odd = sorted(set(value) ^ fields)
    require(not odd, f"{what} lacks or adds {', '.join(odd)}")


def nodes(path: Any) -> list[bytes]:
    """The nodes of a proof; raises ProofError unless each is 64 lower-case hexadecimal digits."""
    require(isinstance(path, list), "a proof is not a list of nodes")
    return [digest(node) for node in path]


def digest(value: Any) -> bytes:
    """32 bytes from their one accepted spelling."""
    spelled = isinstance(value, str) and len(value) == 64 and not set(value) - set("0123456789abcdef")
    require(spelled, f"not a SHA-256 digest in lower-case hexadecimal: {str(value)[:80]!r}")
    return bytes.fromhex(value)


def whole_number(value: Any, what: str) -> int:
    require(isinstance(value, int) and not isinstance(value, bool) and value >= 0, f"{what} is not a whole number")
    return value


def check_checkpoint(signed: Any, public_key: bytes) -> None:
    """A ledger's signed head. Every field is bound: those that are not signed have to be the key's."""
    require_fields(signed, _CHECKPOINT_FIELDS, "a checkpoint")
    require(signed["schema"] == CHECKPOINT, f"not a {CHECKPOINT} checkpoint")
    digest(signed["root"])
    size = whole_number(signed["size"], "a checkpoint's size")
    own = signed["public_key"] == public_key.hex() and signed["key_id"] == key_id_of(public_key)
    require(own, "a checkpoint names another key than the one it is checked with")
    require(checkpoint_holds(signed, public_key), f"the signature of the checkpoint at {size} events does not hold")


def check_growth(first: Mapping[str, Any], second: Mapping[str, Any], proof: Any) -> None:
    """The ledger of the second checkpoint begins with that of the first (both checked already)."""
    ends = (digest(first["root"]), digest(second["root"]))
    require(
        merkle.verify_consistency(first["size"], second["size"], *ends, nodes(proof)),
        f"the ledger at {second['size']} events does not continue the one at {first['size']} events: history was rewritten",
    )
