"""What the platform says to outsiders, as files that anybody can check with its public checkpoint key alone.

A statement is a JSON object with a `schema` and a signature over its canonical form. Its file is that canonical form and a
newline, byte for byte, so that no byte of it can change unnoticed. What a statement says is its writer's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from training.consent.canonical import CanonicalError, canonical, parse_strictly
from training.consent.keys import key_id_of, public_bytes, sign_bytes, signature_holds

DOMAIN = b"rushes/statement/1"
SIGNATURE = "signature"

Statement = dict[str, Any]


class StatementError(ValueError):
    """A file that is not a statement of the platform, or no longer the one that was signed."""


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
    """The statement in a file, signature checked. Raises StatementError for anything but what was signed."""
    try:
        statement = parse_strictly(content.decode("utf-8"))
        if not isinstance(statement, dict) or not isinstance(statement.get("schema"), str):
            raise StatementError("this is not a statement: it has no schema")
        if file_bytes(statement) != content:
            raise StatementError("the file was edited: it is not in the canonical form in which it was signed")
    except (UnicodeDecodeError, CanonicalError) as error:
        raise StatementError(f"this is not a statement: {error}") from error
    if not statement_holds(statement, public_key):
        raise StatementError("the signature does not hold: the file was edited, or another key signed it")
    return statement
