"""Stores requests and the platform's own proposals in the transactional database.

Writes are idempotent: the same request of the same organisation has the same identity, and adding it again changes nothing.
Reading text is in `parse`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from assets.database import engine_with, writing
from assets.requests.parse import Parsed
from training.consent.times import time_text

STATES: dict[str, tuple[str, ...]] = {  # state -> the states that may follow
    "draft": ("open", "cancelled"),
    "open": ("paused", "filled", "closed_deadline", "closed_budget", "cancelled"),
    "paused": ("open", "closed_deadline", "cancelled"),
    "filled": (),
    "closed_deadline": (),
    "closed_budget": (),
    "cancelled": (),
}
ORIGINS = ("human", "eval_failure", "bias_gap", "revocation_backfill")

_metadata = sa.MetaData()
_requests = sa.Table(
    "footage_request",
    _metadata,
    sa.Column("request_id", sa.String(80), primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("row_json", sa.Text, nullable=False),  # the lake row without its status
)
_proposals = sa.Table(
    "request_proposal",
    _metadata,
    sa.Column("proposal_id", sa.String(80), primary_key=True),
    sa.Column("origin", sa.String(30), nullable=False),
    sa.Column("origin_ref", sa.String(400), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("target_units", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Header:
    """What a request line does not say: who asks, under which name, from when and why."""

    request_id: str | None = None  # derived from what is asked for, unless it is set
    org_id: str = "org-local"
    title: str | None = None  # the request's text, unless it is set
    status: str = "open"
    opens_at: str | None = None  # when it is stored, unless it is set
    origin: str = "human"
    origin_ref: str | None = None


class UnknownRequest(KeyError):
    """No request has this identity."""


class IllegalTransition(ValueError):
    """A request cannot go from its state to that one."""


def _engine(database_url: str) -> sa.Engine:
    return engine_with(database_url, _metadata)


def request_row(parsed: Parsed, header: Header) -> dict[str, Any]:
    """The row of table `requests` for a parsed request. Its identity derives from what is asked for, not from when."""
    if header.status not in STATES or header.origin not in ORIGINS:
        raise ValueError(f"unknown status {header.status!r} or origin {header.origin!r}")
    spec = parsed.checked().spec
    title = " ".join((header.title or parsed.text).split())
    identity = [header.org_id, title, vars(spec), header.origin, header.origin_ref]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return {
        **vars(header),
        **vars(spec),
        "request_id": header.request_id or f"r-{digest[:12]}",
        "title": title,
        "criteria_json": json.dumps(spec.criteria(), sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        "not_understood": list(parsed.not_understood),
    }


def add_request(
    database_url: str, parsed: Parsed, now: dt.datetime, header: Header = Header()
) -> tuple[dict[str, Any], bool]:
    """Store a request. Returns its row and whether it is new.

    Raises RequestError if it cannot be ordered, and ValueError if another request has this `request_id`.
    """
    fresh = request_row(parsed, replace(header, opens_at=header.opens_at or time_text(now)))
    with writing(_engine(database_url)) as connection:
        kept = _find(connection, fresh["request_id"])
        if kept is None:
            stored = {k: v for k, v in fresh.items() if k != "status"}
            values = {"request_id": fresh["request_id"], "status": fresh["status"], "row_json": json.dumps(stored)}
            connection.execute(sa.insert(_requests).values(values))
            return fresh, True
    # time and state stay as first stored; all else must be the same
    if {**fresh, "opens_at": kept["opens_at"], "status": kept["status"]} != kept:
        raise ValueError(f"request {fresh['request_id']} is already there and asks for something else")
    return kept, False


def list_requests(database_url: str) -> list[dict[str, Any]]:
    """All requests as rows of table `requests`, by identity."""
    with _engine(database_url).connect() as connection:
        return [_row(stored) for stored in connection.execute(sa.select(_requests).order_by(_requests.c.request_id))]


def requests_digest(database_url: str) -> str:
    """One digest over all requests and their states: equal digests mean that nothing new is requested."""
    return hashlib.sha256(json.dumps(list_requests(database_url), sort_keys=True).encode()).hexdigest()


def get_request(database_url: str, request_id: str) -> dict[str, Any]:
    """One request. Raises UnknownRequest."""
    with _engine(database_url).connect() as connection:
        row = _find(connection, request_id)
    if row is None:
        raise UnknownRequest(f"no request {request_id!r}; `rushes request list` shows them all")
    return row


def set_status(database_url: str, request_id: str, status: str) -> dict[str, Any]:
    """Move a request to another state; the same state changes nothing. Raises UnknownRequest and IllegalTransition."""
    current = get_request(database_url, request_id)
    if status == current["status"]:
        return current
    if status not in STATES[current["status"]]:
        allowed = ", ".join(STATES[current["status"]]) or "nothing: it is closed"
        raise IllegalTransition(f"{request_id} is {current['status']} and may become {allowed}, not {status!r}")
    unmoved = (_requests.c.request_id == request_id) & (_requests.c.status == current["status"])
    with writing(_engine(database_url)) as connection:
        moved = connection.execute(sa.update(_requests).where(unmoved).values(status=status)).rowcount
    if not moved:
        raise IllegalTransition(f"{request_id} was moved by somebody else in the meantime; look again")
    return current | {"status": status}


def proposal(origin: str, origin_ref: str, text: str, reason: str, target_units: int) -> dict[str, Any]:
    """The row of table `request_proposals` for a cause. The identity derives from the cause."""
    if origin not in ORIGINS[1:]:
        raise ValueError(f"the platform proposes for {', '.join(ORIGINS[1:])}, not for {origin!r}")
    digest = hashlib.sha256(f"{origin}\n{origin_ref}".encode()).hexdigest()[:12]
    return {
        "proposal_id": f"p-{digest}",
        "origin": origin,
        "origin_ref": origin_ref,
        "text": text,
        "reason": reason,
        "target_units": target_units,
    }


def propose(
    database_url: str, *, origin: str, origin_ref: str, text: str, reason: str, target_units: int = 1
) -> dict[str, Any]:
    """Store a proposal; the same cause again changes nothing. Returns the stored row."""
    row = proposal(origin, origin_ref, text, reason, target_units)
    same = _proposals.c.proposal_id == row["proposal_id"]
    with writing(_engine(database_url)) as connection:
        kept = connection.execute(sa.select(_proposals).where(same)).mappings().first()
        if kept is not None:
            return dict(kept)
        connection.execute(sa.insert(_proposals).values(row))
    return row


def list_proposals(database_url: str) -> list[dict[str, Any]]:
    """All stored proposals as rows of table `request_proposals`, by identity."""
    with _engine(database_url).connect() as connection:
        rows = connection.execute(sa.select(_proposals).order_by(_proposals.c.proposal_id)).mappings()
        return [dict(row) for row in rows]


def _find(connection: sa.Connection, request_id: str) -> dict[str, Any] | None:
    stored = connection.execute(sa.select(_requests).where(_requests.c.request_id == request_id)).first()
    return None if stored is None else _row(stored)


def _row(stored: sa.Row[Any]) -> dict[str, Any]:
    return json.loads(stored.row_json) | {"status": stored.status}
