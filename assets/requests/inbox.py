"""Requests that were dropped as YAML files into `inbox/requests/`: read, keep, and say which could not be read."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from assets.home import Home
from assets.requests.document import MAX_BYTES, parse_document
from assets.requests.parse import RequestError
from assets.requests.store import add_request

FOLDER = "inbox/requests"


@dataclass(frozen=True)
class Unread:
    """A file that gave no request, and why. It stays where it is, so that it can be corrected."""

    key: str
    why: str


def take_in(home: Home, now: dt.datetime) -> tuple[int, list[Unread]]:
    """Keep every readable request of the folder; returns how many are new, and the files that could not be read."""
    new, unread = 0, []
    for key in home.store.list(FOLDER):
        if not key.endswith((".yaml", ".yml")):
            unread.append(Unread(key, "not a .yaml file"))
            continue
        try:
            new += _take(home, key, now)
        except (RequestError, ValueError) as error:
            unread.append(Unread(key, str(error)))
    return new, unread


def _take(home: Home, key: str, now: dt.datetime) -> bool:
    data = home.store.get(key)
    if len(data) > MAX_BYTES:
        raise RequestError(f"a request document is at most {MAX_BYTES} bytes, this has {len(data)}")
    document = parse_document(data.decode("utf-8"))
    _, new = add_request(
        home.database_url,
        document.parsed,
        now,
        request_id=document.request_id,
        org_id=document.org_id,
        title=document.title,
        status=document.status,
        opens_at=document.opens_at,
    )
    return new
