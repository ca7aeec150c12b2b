"""What the platform says to outsiders, as files that anybody can check with its public checkpoint key alone, and what every
check of one uses.

A statement is a JSON object with a `schema` and a signature over its canonical form. Its file is that canonical form and a
newline, byte for byte, so that no byte of it can change unnoticed. What a statement says is its writer's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent import merkle
from training.consent.canonical import CanonicalError, canonical, parse_strictly
from training.consent.keys import CHECKPOINT, checkpoint_holds, key_id_of, public_bytes, sign_bytes, signature_holds

DOMAIN = b"rushes/statement/1"
SIGNATURE = "signature"
_CHECKPOINT_FIELDS = {"schema", "size", "root", "recorded_at", "key_id", "public_key", "sig"}

Statement = dict[str, Any]


def sign_statement(body: Mapping[str, Any], key: Ed25519PrivateKey) -> Statement:
    """`body` (with its `schema`) and `signature` {key_id, sig}. Raises CanonicalError for what is not plain JSON."""
    line = canonical(dict(body))
    signature = {"key_id": key_id_of(public_bytes(key)), "sig": sign_bytes(DOMAIN, line, key)}
    return {**parse_strictly(line.decode()), SIGNATURE: signature}


def statement_holds(statement: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether this key signed exactly this statement."""
    body = {name: value for name, value in statement.items() if name != SIGNATURE}
    signature = statement.get(SIGNATURE)
    return (
        isinstance(signature, dict)
        and set(signature) == {"key_id", "sig"}
        and signature["key_id"] == key_id_of(public_key)
        and isinstance(signature["sig"], str)
        and signature_holds(DOMAIN, canonical(body), signature["sig"], public_key)
    )


def file_bytes(statement: Mapping[str, Any]) -> bytes:
    """The one file that says this."""
    return canonical(dict(statement)) + b"\n"


def read_file(content: bytes, public_key: bytes) -> Statement:
    """The statement or checkpoint in a file, signature checked. Raises ProofError for anything but what was signed."""
    try:
        statement = parse_strictly(content.decode("utf-8"))
        require(isinstance(statement, dict) and isinstance(statement.get("schema"), str), "this file has no schema")
        canonical_form = file_bytes(statement) == content
        require(canonical_form, "the file was edited: it is not in the canonical form in which it was signed")
    except (UnicodeDecodeError, CanonicalError) as error:
        raise ProofError(f"this is not a file of the platform: {error}") from error
    if statement["schema"] == CHECKPOINT:  # its signature has a form of its own
        check_checkpoint(statement, public_key)
    else:
        holds = statement_holds(statement, public_key)
        require(holds, "the signature does not hold: the file was edited, or another key signed it")
    return statement


# -- checks ----------------------------------------------------------------------------------------------------------


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
