"""Events to be judged, and which rule they broke."""

from __future__ import annotations

from typing import Any

from assets.consent.admission import Rule
from assets.consent.intake import Admitted, Refused
from tests.training.consent.people import EVIDENCE, FILE, NOTICE, TERMS, People, key_id
from training.consent import events as ev


def a_grant(people: People, party: str = "c-ann", role: str = "contributor", **more: Any) -> ev.Body:
    terms = {"assets": [FILE], "scopes": ["train"], "notice_sha256": NOTICE, "terms_sha256": TERMS} | more
    return ev.grant(party, role, issued_at=people.now, **terms)


def an_enrolment(people: People, party: str, key: str | None = None) -> ev.Body:
    return ev.enrol(party, key_id(key or party), people.now, evidence_sha256=EVIDENCE, officer="o-ida")


def a_decision(people: People, dispute_id: str, officer: str = "o-ida") -> ev.Body:
    return ev.adjudicate(dispute_id, "dismissed", people.now, officer=officer)


def rule_of(outcome: Admitted | Refused) -> Rule | None:
    return outcome.rule if isinstance(outcome, Refused) else None


def refusal_of(people: People, body: ev.Body, signer: str) -> Rule | None:
    """The rule that the event broke; the refusal must be on record, and the ledger unchanged."""
    before, refusals = people.ledger.head(), len(people.ledger.refusals())
    rule = rule_of(people.append(body, signer))
    assert people.ledger.head() == before
    assert len(people.ledger.refusals()) == refusals + 1
    assert people.ledger.refusals()[-1]["rule"] == rule
    return rule
