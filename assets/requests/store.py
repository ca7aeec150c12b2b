"""Keeps requests and the platform's own proposals in the transactional database.

Rows only: reading text is `parse`'s work, showing them to Dagster `assets`'. Writes are idempotent: the same request
of the same organisation has the same identity, and adding it again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
from typing import Any

import sqlalchemy as sa

from assets.requests.parse import Parsed

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


class UnknownRequest(KeyError):
    """No request has this identity."""


class IllegalTransition(ValueError):
    """A request cannot go from its state to that one."""


@functools.lru_cache(maxsize=8)
def _engine(database_url: str) -> sa.Engine:
    engine = sa.create_engine(database_url, connect_args={"timeout": 30} if database_url.startswith("sqlite") else {})
    _metadata.create_all(engine)
    return engine


def utc(moment: dt.datetime) -> str:
    """RFC 3339 in UTC to the second. Raises ValueError for a moment without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def request_row(
    parsed: Parsed,
    *,
    opens_at: str,
    org_id: str = "org-local",
    request_id: str | None = None,
    title: str | None = None,
    status: str = "open",
    origin: str = "human",
    origin_ref: str | None = None,
) -> dict[str, Any]:
    """The row of table `requests` for a parsed request; its identity is derived from what is asked, not from when."""
    if status not in STATES or origin not in ORIGINS:
        raise ValueError(f"unknown status {status!r} or origin {origin!r}")
    spec = parsed.checked().spec
    title = " ".join((title or parsed.text).split())
    asked = json.dumps([org_id, title, vars(spec), origin, origin_ref], sort_keys=True, ensure_ascii=False)
    return {
        "request_id": request_id or "r-" + hashlib.sha256(asked.encode()).hexdigest()[:12],
        "org_id": org_id,
        "title": title,
        "status": status,
        **vars(spec),
        "opens_at": opens_at,
        "origin": origin,
        "origin_ref": origin_ref,
        "criteria_json": json.dumps(spec.criteria(), sort_keys=True, separators=(",", ":"), ensure_ascii=False),
        "not_understood": list(parsed.not_understood),
    }


def add_request(database_url: str, parsed: Parsed, now: dt.datetime, **row: Any) -> tuple[dict[str, Any], bool]:
    """Keep a request (options as in `request_row`); returns its row and whether it is new.

    Raises RequestError where it cannot be ordered, and ValueError where `request_id` is taken by another request.
    """
    fresh = request_row(parsed, **{"opens_at": utc(now)} | {k: v for k, v in row.items() if v is not None})
    with _engine(database_url).begin() as connection:
        kept = _one(connection, fresh["request_id"])
        if kept is None:
            stored = {k: v for k, v in fresh.items() if k != "status"}
            values = {"request_id": fresh["request_id"], "status": fresh["status"], "row_json": json.dumps(stored)}
            connection.execute(sa.insert(_requests).values(values))
            return fresh, True
    # the time and the state it was first kept with stand; all else must be the same request
    if {**fresh, "opens_at": kept["opens_at"], "status": kept["status"]} != kept:
        raise ValueError(f"request {fresh['request_id']} is already there and asks for something else")
    return kept, False


def list_requests(database_url: str) -> list[dict[str, Any]]:
    """All requests as rows of table `requests`, by identity."""
    with _engine(database_url).connect() as connection:
        return [_row(found) for found in connection.execute(sa.select(_requests).order_by(_requests.c.request_id))]


def requests_digest(database_url: str) -> str:
    """One digest over all requests and their states: equal digests mean that nothing new is asked for."""
    return hashlib.sha256(json.dumps(list_requests(database_url), sort_keys=True).encode()).hexdigest()


def get_request(database_url: str, request_id: str) -> dict[str, Any]:
    """One request. Raises UnknownRequest."""
    with _engine(database_url).connect() as connection:
        found = _one(connection, request_id)
    if found is None:
        raise UnknownRequest(f"no request {request_id!r}; `rushes request list` shows them all")
    return found


def set_status(database_url: str, request_id: str, status: str) -> dict[str, Any]:
    """Move a request along its states. Raises UnknownRequest and IllegalTransition; the same state is no move."""
    current = get_request(database_url, request_id)
    if status == current["status"]:
        return current
    if status not in STATES[current["status"]]:
        allowed = ", ".join(STATES[current["status"]]) or "nothing: it is closed"
        raise IllegalTransition(f"{request_id} is {current['status']} and may become {allowed}, not {status!r}")
    unmoved = (_requests.c.request_id == request_id) & (_requests.c.status == current["status"])
    with _engine(database_url).begin() as connection:
        moved = connection.execute(sa.update(_requests).where(unmoved).values(status=status)).rowcount
    if not moved:
        raise IllegalTransition(f"{request_id} was moved by somebody else in the meantime; look again")
    return current | {"status": status}


def proposal(origin: str, origin_ref: str, text: str, reason: str, target_units: int) -> dict[str, Any]:
    """The row of table `request_proposals` for a cause; one cause has one identity."""
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
    """Keep a proposal; the same cause again changes nothing. Returns the row that stands."""
    row = proposal(origin, origin_ref, text, reason, target_units)
    same = _proposals.c.proposal_id == row["proposal_id"]
    with _engine(database_url).begin() as connection:
        kept = connection.execute(sa.select(_proposals).where(same)).mappings().first()
        if kept is not None:
            return dict(kept)
        connection.execute(sa.insert(_proposals).values(row))
    return row


def list_proposals(database_url: str) -> list[dict[str, Any]]:
    """All kept proposals as rows of table `request_proposals`, by identity."""
    with _engine(database_url).connect() as connection:
        found = connection.execute(sa.select(_proposals).order_by(_proposals.c.proposal_id))
        return [dict(row) for row in found.mappings()]


def _one(connection: sa.Connection, request_id: str) -> dict[str, Any] | None:
    found = connection.execute(sa.select(_requests).where(_requests.c.request_id == request_id)).first()
    return None if found is None else _row(found)


def _row(found: sa.Row[Any]) -> dict[str, Any]:
    return json.loads(found.row_json) | {"status": found.status}
