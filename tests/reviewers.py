"""Reviewers for tests: each works for an organisation of their own, unless a test says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

from assets.consent.reviewers import enrol

ENROLLED_AT = datetime(2026, 11, 1, 9, tzinfo=UTC)


def enrol_reviewers(database_url: str, *names: str, organisation: str | None = None) -> None:
    """Put these names on the register of reviewers; again changes nothing."""
    for name in names:
        enrol(database_url, name, organisation or f"org-of-{name}", by="o-ida", now=ENROLLED_AT)
