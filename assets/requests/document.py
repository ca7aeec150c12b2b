"""Requests as YAML documents: the same fields as a request line, named. Files are dropped into `inbox/requests/`.

Values are text and go through the rules of `parse`, so `resolution: 4K` and `price: EUR 5` mean what they mean in a
line; `request:` holds a whole line. A key that no field has, and a value that no rule reads, come back in
`not_understood`.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from assets.home import Home
from assets.requests.parse import Parsed, RequestError, complete, parse_line, read_terms
from assets.requests.store import Header, add_request
from assets.vocabulary import TIMES_OF_DAY
from training.consent.times import time_text

INBOX = "inbox/requests"
MAX_BYTES = 64 * 1024

# key -> the words that make its value a phrase of a request line
_PHRASES = {
    "resolution": "{}",
    "aspect_ratio": "{}",
    "duration": "{}",
    "count": "{} clips",
    "max_per_contributor": "max {} per contributor",
    "price": "{} per clip",
    "budget": "budget {}",
    "deadline": "by {}",
}
_EXACT: dict[str, type] = {
    **dict.fromkeys(("min_width", "min_height", "target_units", "price_minor", "budget_minor"), int),
    **dict.fromkeys(("duration_min_s", "duration_max_s"), float),
    **dict.fromkeys(("currency", "subject", "location"), str),
}
_HEADER = ("request_id", "org_id", "title", "status")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True)
class Document:
    """A parsed request with what a line cannot say: who asks, under which name, from when."""

    parsed: Parsed
    header: Header


def parse_document(text: str) -> Document:
    """Read one YAML mapping. Raises RequestError if it is not a mapping of plain values, or cannot be ordered."""
    keys = _mapping(text)
    line = keys.pop("request", keys.pop("text", ""))
    header = {name: value for name in _HEADER if (value := keys.pop(name, None)) is not None}
    if (request_id := header.get("request_id")) and not _REQUEST_ID.fullmatch(request_id):
        raise RequestError(f"request_id {request_id!r}: use letters, digits, dots, dashes and underscores")
    opens_at = _time("opens_at", keys.pop("opens_at", None))
    parsed = parse_line(line)
    values, understood, lost = _fields(keys)
    values = parsed.values | values
    spec, assumed = complete(values)
    title = header.get("title") or line or ", ".join(f"{key} {value}" for key, value in keys.items())
    whole = replace(
        parsed,
        text=title,
        spec=spec,
        values=values,
        understood=parsed.understood | understood,
        not_understood=parsed.not_understood + tuple(lost),
        assumed=assumed,
    )
    return Document(whole.checked(), Header(**header | {"title": title}, opens_at=opens_at))


def _mapping(text: str) -> dict[str, str]:
    """The document as text values. The base loader builds nothing but text, so `16:9` stays and no tag is obeyed."""
    if (size := len(text.encode())) > MAX_BYTES:
        raise RequestError(f"a request document is at most {MAX_BYTES} bytes, this has {size}")
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise RequestError(f"not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or not document:
        raise RequestError("a request document is a mapping of fields, for instance `subject: fog`")
    flat = {}
    for key, value in document.items():
        if isinstance(value, list) and key in ("duration", "duration_s") and len(value) == 2:
            value = f"{value[0]} to {value[1]}"
        if not isinstance(key, str) or not isinstance(value, str):
            raise RequestError(f"{key!r} must have one plain value, not a list or a mapping")
        flat[key] = value.strip()
    return flat


def _fields(keys: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values by field of `Spec`, the words they came from, and the pairs that were not understood."""
    values: dict[str, Any] = {}
    understood: dict[str, str] = {}
    lost: list[str] = []
    for key, value in keys.items():
        fields = _read(key, value) if value else None
        if fields is None:
            lost.append(f"{key}: {value}")
        else:
            values |= fields
            understood[key] = value
    return values, understood, lost


def _read(key: str, value: str) -> dict[str, Any] | None:
    """The fields of one pair, or None. A phrase must be read whole: half of it would be a guess."""
    if key == "deadline_at":
        return {"deadline_at": _time(key, value)}
    if key == "time_of_day":
        return {"time_of_day": value.lower()} if value.lower() in TIMES_OF_DAY else None
    if key in _EXACT:
        try:
            return {key: _EXACT[key](value)}
        except ValueError:
            raise RequestError(f"{key}: {value!r} is no {_EXACT[key].__name__}") from None
    if key in ("duration", "duration_s") and re.search(r"\d$", value):
        key, value = "duration", f"{value} seconds"
    if key not in _PHRASES:
        return None
    fields, claims, rest = read_terms(_PHRASES[key].format(value))
    return None if rest or len(claims) != 1 else fields


def _time(key: str, value: str | None) -> str | None:
    """RFC 3339 in UTC. A date alone means its first second, or its last if it is a deadline."""
    if value is None:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
            dt.date.fromisoformat(value)
            return f"{value}T23:59:59Z" if key == "deadline_at" else f"{value}T00:00:00Z"
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        raise RequestError(f"{key}: {value!r} is no date or RFC 3339 time") from None
    if moment.tzinfo is None:
        raise RequestError(f"{key}: {value!r} has no time zone; write it in UTC, ending in Z")
    return time_text(moment)


@dataclass(frozen=True)
class Unread:
    """A file that could not be read as a request, and why. It stays in the inbox, so that it can be corrected."""

    key: str
    why: str


def take_in(home: Home, now: dt.datetime) -> tuple[int, list[Unread]]:
    """Store every readable request of the inbox. Returns how many are new, and the files that could not be read."""
    new, unread = 0, []
    for key in home.store.list(INBOX):
        if not key.endswith((".yaml", ".yml")):
            unread.append(Unread(key, "not a .yaml file"))
            continue
        try:
            document = parse_document(home.store.get(key).decode("utf-8"))
            new += add_request(home.database_url, document.parsed, now, document.header)[1]
        except ValueError as error:
            unread.append(Unread(key, str(error)))
    return new, unread
