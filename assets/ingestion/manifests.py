"""What a delivery manifest must be: strict JSON, the schema in `delivery.schema.json`, and rules that no schema says.

Knows documents only, not folders: which files came, and what becomes of them, is in `deliveries`.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from assets.ingestion.inbox import MANIFEST
from assets.reasons import Code

SCHEMA_FILE = Path(__file__).with_name("delivery.schema.json")
MAX_MANIFEST_BYTES = 1 << 20
MAX_SCHEMA_ERRORS = 50
MAX_DEPTH = 32  # the schema needs 5; a bound of our own, because Python's depends on who calls
CONSENT_FOLDER = "consent/"


class NotJson(ValueError):
    """A document that is not JSON as we take it: strict, finite, each key once."""


def strict_json(data: bytes) -> Any:
    """Parse JSON without its loopholes: no NaN or infinity, no repeated keys, no depths. Raises NotJson."""

    def refuse(constant: str) -> None:
        raise NotJson(f"{constant} is not JSON")

    def finite(text: str) -> float:
        if not math.isfinite(value := float(text)):
            raise NotJson(f"{text} is too large a number")
        return value

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(values := dict(pairs)) < len(pairs):
            names = [name for name, _ in pairs]
            raise NotJson(f"repeated key {next(name for name in names if names.count(name) > 1)!r}")
        return values

    try:
        text = data.decode("utf-8-sig")
        document = json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=once)
        if _deeper_than(document, MAX_DEPTH):
            raise NotJson("nested too deeply")
        return document
    except NotJson:
        raise
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, integers of too many digits
        raise NotJson(str(error)) from None


def _deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
        ]
    return bool(level)


def strings(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """(JSON pointer, text) of every string in a document, keys included."""
    waiting = [(pointer, value)]
    while waiting:
        where, node = waiting.pop()
        if isinstance(node, str):
            yield where, node
        elif isinstance(node, dict):
            for key, child in node.items():
                below = f"{where}/{key.replace('~', '~0').replace('/', '~1')}"
                yield below, key
                waiting.append((below, child))
        elif isinstance(node, list):
            waiting.extend((f"{where}/{index}", child) for index, child in enumerate(node))


def is_unicode(text: str) -> bool:
    """JSON escapes can spell halves of characters, which no table can hold."""
    return not any(unicodedata.category(c) == "Cs" for c in text)


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def manifest_reasons(document: Any) -> list[str]:
    """Everything that is wrong with a parsed manifest, each with the JSON pointer of its place."""
    reasons = []
    for error in sorted(_validator().iter_errors(document), key=lambda e: (e.json_path, e.message)):
        pointer = "".join(f"/{part}" for part in error.absolute_path) or "/"
        reasons.append(Code.MANIFEST_SCHEMA.because(f"{pointer}: {error.message}"))
        if len(reasons) == MAX_SCHEMA_ERRORS:
            reasons.append(Code.MANIFEST_SCHEMA.because(f"and more; the first {MAX_SCHEMA_ERRORS} are listed"))
            break
    for pointer, text in strings(document):
        if pointer.endswith("/file") and pointer.startswith("/clips/"):
            continue  # a bad file name costs its item only
        if not is_unicode(text):
            reasons.append(Code.MANIFEST_NOT_UNICODE.because(f"{pointer}: {text!r} is not valid Unicode"))
        elif any(unicodedata.category(c) == "Cc" for c in text):
            reasons.append(Code.MANIFEST_CONTROL_CHARACTER.because(f"{pointer}: {text!r}"))
    if not reasons:
        reasons.extend(_impossible_times(document))
    return reasons


def _impossible_times(document: dict[str, Any]) -> Iterator[str]:
    """Times that have the right form and are none, such as 30 February."""
    times = {"/received_at": document["received_at"]}
    for index, clip in enumerate(document["clips"]):
        if clip.get("captured_at"):
            times[f"/clips/{index}/captured_at"] = clip["captured_at"]
    for pointer, text in times.items():
        try:
            dt.datetime.fromisoformat(text[:19] + "+00:00")
        except ValueError:
            yield Code.MANIFEST_SCHEMA.because(f"{pointer}: {text!r} is not a time")


def unsafe_name(name: str) -> str | None:
    """Why `name` cannot be a file of its delivery folder; None where it can."""
    parts = name.split("/")
    if not name or not name.strip():
        return "the name is empty"
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in name):
        return f"{name!r} carries control characters"
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":"):
        return f"{name!r} is not a relative path with forward slashes"
    if ".." in parts or "." in parts or "" in parts:
        return f"{name!r} leaves its folder or is not in its plainest form"
    if any(part.startswith(".") for part in parts):
        return f"{name!r} is a hidden name"
    if name == MANIFEST or name.startswith(CONSENT_FOLDER):
        return f"{name!r} is not a clip but a part of the delivery's papers"
    return None
