"""People with keys who sign into a ledger, and a clip against which nothing stands; for tests of consent."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from training.consent import events as ev
from training.consent.eligibility import ClipFacts, Person
from training.consent.events import PLATFORM
from training.consent.keys import key_id_of, public_bytes

NOW = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)
NOTICE, TERMS, EVIDENCE = "a" * 64, "b" * 64, "e" * 64
CLIP, FILE = "c" * 64, "d" * 64


def key_of(name: str) -> Ed25519PrivateKey:
    """The same key for the same name, so that tests can be repeated."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def key_id(name: str) -> str:
    return key_id_of(public_bytes(key_of(name)))


class People:
    """Signs for people and appends to the ledger; the clock goes on by a minute with each append."""

    def __init__(self, url: str, *names: str) -> None:
        self.url, self.ledger, self.now = url, Ledger(url), NOW
        self.ledger.found(key_of(PLATFORM), self.now)
        for name in names:
            assert isinstance(self.join(name), Admitted)

    def join(self, name: str, key: str | None = None) -> Admitted | Refused:
        """An officer enrols a key of this person (the one called `key`, by default their own name), who registers it."""
        key = key or name
        attested = ev.enrol(name, key_id(key), self.now, evidence_sha256=EVIDENCE, officer="o-ida")
        assert isinstance(self.append(attested, PLATFORM), Admitted)
        return self.append(ev.register_key(name, key_of(key), self.now), key)

    def appoint(self, minor: str, guardian: str, *, ended: bool = False) -> None:
        """An officer attests that the guardian may sign for the minor, or no longer may."""
        proof = {"evidence_sha256": EVIDENCE, "officer": "o-ida", "ended": ended}
        assert isinstance(self.append(ev.guardian(minor, guardian, self.now, **proof), PLATFORM), Admitted)

    def append(self, body: ev.Body, signer: str, now: datetime | None = None) -> Admitted | Refused:
        outcome = self.ledger.append(ev.sign(body, key_of(signer)), now or self.now)
        self.now += timedelta(minutes=1)
        return outcome

    def grant(self, party: str, role: str = "contributor", scopes: Any = ("train",), **more: Any) -> ev.Body:
        """Append a grant on the test's file by the party itself (or by `actor`); returns its body."""
        terms = {"notice_sha256": NOTICE, "terms_sha256": TERMS, "assets": [FILE]} | more
        body = ev.grant(party, role, scopes=scopes, issued_at=self.now, **terms)
        outcome = self.append(body, body["actor"])
        assert isinstance(outcome, Admitted), outcome
        return body

    def revoke(self, body: ev.Body, **more: Any) -> Admitted | Refused:
        revocation = ev.revoke(
            body["consent_id"], body["party_id"], body["role"], self.now, actor=body["actor"], **more
        )
        return self.append(revocation, body["actor"])


def clip(**changes: Any) -> ClipFacts:
    """A clip against which nothing stands but the want of consent."""
    facts: dict[str, Any] = {
        "clip_id": CLIP,
        "item_id": "i-1",
        "shot_index": 0,
        "bytes_sha256": FILE,
        "frames": (),
        "contributor_id": "c-ann",
        "faces_max": 0,
        "persons_counted": 0,
        "approvals": 2,
        "duplicate_ok": True,
        "verdicts_ok": True,
        "dup_group": CLIP,
    }
    return ClipFacts(**facts | changes)


def bob(**changes: Any) -> Person:
    return Person("p-bob", **changes)


# `rowid<?` is an index in name only: everything ahead of the newest event
_WHOLE = re.compile(r"SCAN consent_|SEARCH consent_\w+ USING INTEGER PRIMARY KEY \(rowid<\?\)")


def reading_all(url: str, asked: list[tuple[str, Any]]) -> list[tuple[str, str]]:
    """(statement, step of its plan) for each step that costs by the ledger's length. `url` is an SQLite database's."""
    raw = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return [
            (statement, row[3])
            for statement, parameters in asked
            for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            if _WHOLE.match(row[3]) and "LIMIT" not in statement
        ]
    finally:
        raw.close()
