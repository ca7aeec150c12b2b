"""One byte string for one value: RFC 8785 canonical JSON over NFC-normalised text, and its SHA-256.

Everything that is signed, hashed or committed to passes through here. What does not belong here: what the values mean.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any, NoReturn

import rfc8785


class CanonicalError(ValueError):
    """A value that has no canonical form: NaN, an integer beyond 2^53, bytes, keys that collide under NFC."""


def nfc(value: Any) -> Any:
    """`value` with every string (keys too) in Unicode normal form C, so that equal-looking names are equal bytes."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, dict):
        normal = {nfc(key): nfc(item) for key, item in value.items()}
        if len(normal) != len(value):
            raise CanonicalError("two keys of one object are the same after Unicode normalisation")
        return normal
    if isinstance(value, list | tuple):
        return [nfc(item) for item in value]
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 (JCS) bytes of the NFC-normalised value; raises CanonicalError."""
    try:
        if _is_plain(value) and (text := _PLAIN.encode(value)).isascii():
            return text.encode("ascii")
        return rfc8785.dumps(nfc(value))
    except (rfc8785.CanonicalizationError, RecursionError, UnicodeError) as error:
        raise CanonicalError(f"not canonical JSON: {error}") from error


# What json writes for plain ASCII values is what RFC 8785 asks for, several times as fast as the reference implementation.
_PLAIN = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False)
_PLAIN_INTEGER = 2**53


def _is_plain(value: Any) -> bool:
    """Whether both spell `value` alike if it is ASCII: floats they do not, nor what is no JSON at all."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return -_PLAIN_INTEGER < value < _PLAIN_INTEGER
    if kind is list:
        return all(map(_is_plain, value))
    return kind is dict and all(type(key) is str for key in value) and all(map(_is_plain, value.values()))


def sha256_hex(value: bytes | Any) -> str:
    """SHA-256 of the bytes, or of the canonical form of any other value."""
    return hashlib.sha256(value if isinstance(value, bytes) else canonical(value)).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_strictly(text: str) -> Any:
    """JSON as I-JSON has it: no repeated keys, no NaN or Infinity. Raises CanonicalError."""
    try:
        return _STRICT.decode(text)
    except CanonicalError:
        raise
    except (ValueError, RecursionError) as error:
        raise CanonicalError(f"not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise CanonicalError("an object repeats a key")
    return made


def _refuse(name: str) -> NoReturn:
    raise CanonicalError(f"{name} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)
