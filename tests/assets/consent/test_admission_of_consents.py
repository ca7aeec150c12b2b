"""Who may grant, amend, revoke and dispute what, and when: every rule of it, broken alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assets.consent.admission import Rule
from assets.consent.intake import Admitted
from tests.assets.consent.admitting import a_decision, a_grant, refusal_of
from tests.training.consent.people import FILE, People
from training.consent import events as ev
from training.consent.events import PLATFORM


def test_the_platform_may_end_a_consent_and_never_begin_one(people: People) -> None:
    body = people.grant("c-ann")
    assert refusal_of(people, a_grant(people, actor=PLATFORM), PLATFORM) is Rule.ACTING_FOR
    revocation = ev.revoke(body["consent_id"], "c-ann", "contributor", people.now, actor=PLATFORM)
    assert isinstance(people.append(revocation, PLATFORM), Admitted)


def test_anyone_with_a_key_may_dispute_footage_and_only_an_officer_decides_once(people: People) -> None:
    opened = ev.dispute("p-bob", [FILE], "legal.privacy", people.now, dispute_id="dispute-1")
    assert isinstance(people.append(opened, "p-bob"), Admitted)
    again = ev.dispute("p-bob", [FILE], "legal.privacy", people.now, dispute_id="dispute-1")
    assert refusal_of(people, again, "p-bob") is Rule.DISPUTE_EXISTS
    assert refusal_of(people, a_decision(people, "dispute-1") | {"actor": "p-bob"}, "p-bob") is Rule.ACTING_FOR
    assert refusal_of(people, a_decision(people, "dispute-1", "p-bob"), PLATFORM) is Rule.OWN_DISPUTE
    assert refusal_of(people, a_decision(people, "dispute-2"), PLATFORM) is Rule.DISPUTE_UNKNOWN
    assert isinstance(people.append(a_decision(people, "dispute-1"), PLATFORM), Admitted)
    assert refusal_of(people, a_decision(people, "dispute-1"), PLATFORM) is Rule.DISPUTE_DECIDED


def test_nobody_opens_a_dispute_in_anothers_name_but_the_platform(people: People) -> None:
    for actor, allowed in (("x-mal", False), (PLATFORM, True)):
        body = ev.dispute("p-passer-by", [FILE], "legal.privacy", people.now, actor=actor)
        assert isinstance(people.append(body, actor), Admitted) is allowed


def test_a_dispute_names_the_footage_that_it_is_about(people: People) -> None:
    assert refusal_of(people, ev.dispute("p-bob", [], "legal.privacy", people.now), "p-bob") is Rule.SCHEMA


@pytest.mark.parametrize("role", ["contributor", "depicted", "guardian"])
def test_nobody_grants_for_another(people: People, role: str) -> None:
    assert refusal_of(people, a_grant(people, "c-ann", role, actor="x-mal"), "x-mal") is Rule.ACTING_FOR


def test_nobody_is_their_own_guardian(people: People) -> None:
    assert refusal_of(people, a_grant(people, "m-kid", "guardian"), "m-kid") is Rule.ACTING_FOR


def test_only_a_guardian_on_the_register_signs_for_a_minor(people: People) -> None:
    body = a_grant(people, "m-kid", "guardian", actor="g-eve")
    assert refusal_of(people, body, "g-eve") is Rule.ACTING_FOR
    people.appoint("m-kid", "g-eve")
    assert isinstance(people.append(body, "g-eve"), Admitted)
    people.appoint("m-kid", "g-eve", ended=True)
    people.now += timedelta(minutes=1)
    assert refusal_of(people, a_grant(people, "m-kid", "guardian", actor="g-eve"), "g-eve") is Rule.ACTING_FOR
    people.ledger.verify()


def test_a_third_party_cannot_revoke(people: People) -> None:
    body = people.grant("c-ann")
    for party, rule in (("c-ann", Rule.ACTING_FOR), ("x-mal", Rule.FOREIGN_CONSENT)):
        revocation = ev.revoke(body["consent_id"], party, "contributor", people.now, actor="x-mal")
        assert refusal_of(people, revocation, "x-mal") is rule


def test_a_minor_may_withdraw_what_a_guardian_granted(people: People) -> None:
    people.appoint("m-kid", "g-eve")
    body = people.grant("m-kid", "guardian", actor="g-eve")
    assert isinstance(people.append(ev.revoke(body["consent_id"], "m-kid", "depicted", people.now), "m-kid"), Admitted)


def test_a_consent_is_granted_once_and_never_by_another_party(people: People) -> None:
    body = people.grant("c-ann")
    assert refusal_of(people, a_grant(people, consent_id=body["consent_id"]), "c-ann") is Rule.GRANT_EXISTS
    stolen = a_grant(people, "x-mal", consent_id=body["consent_id"])
    assert refusal_of(people, stolen, "x-mal") is Rule.FOREIGN_CONSENT


def test_an_amendment_names_the_latest_event(people: People) -> None:
    grant = people.grant("c-ann")
    first = ev.amend(grant, people.now, scopes=["train", "eval"])
    assert isinstance(people.append(first, "c-ann"), Admitted)
    assert refusal_of(people, ev.amend(grant, people.now, scopes=["eval"]), "c-ann") is Rule.PREV
    assert isinstance(people.append(ev.amend(first, people.now, scopes=["eval"]), "c-ann"), Admitted)


def test_an_amendment_without_a_grant_is_refused(people: People) -> None:
    assert refusal_of(people, ev.amend(a_grant(people), people.now), "c-ann") is Rule.PREV


def test_an_amendment_cannot_change_the_role(people: People) -> None:
    grant = people.grant("c-ann")
    assert refusal_of(people, ev.amend(grant, people.now, role="depicted"), "c-ann") is Rule.FOREIGN_CONSENT


def test_nothing_revives_a_revoked_consent(people: People) -> None:
    grant = people.grant("c-ann")
    people.revoke(grant)
    assert refusal_of(people, ev.amend(grant, people.now), "c-ann") is Rule.CONSENT_REVOKED
    assert refusal_of(people, a_grant(people, consent_id=grant["consent_id"]), "c-ann") is Rule.CONSENT_REVOKED


def test_a_revocation_is_admitted_before_its_grant(people: People) -> None:
    early = ev.revoke("consent-later", "c-ann", "contributor", people.now)
    assert isinstance(people.append(early, "c-ann"), Admitted)
    assert refusal_of(people, a_grant(people, consent_id="consent-later"), "c-ann") is Rule.CONSENT_REVOKED


def test_a_squatted_revocation_does_not_stop_anothers_grant(people: People) -> None:
    assert isinstance(people.append(ev.revoke("consent-x", "x-mal", "contributor", people.now), "x-mal"), Admitted)
    assert isinstance(people.append(a_grant(people, consent_id="consent-x"), "c-ann"), Admitted)
