"""Who speaks for whom, and who may grant, amend, revoke and dispute what: every rule, broken alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from assets.consent.admission import Rule
from assets.consent.intake import Admitted
from tests.assets.consent.admitting import a_decision, a_grant, an_enrolment, refusal_of, rule_of
from tests.training.consent.people import EVIDENCE, FILE, People, key_id, key_of
from training.consent import events as ev
from training.consent.events import PLATFORM

REFUSED = {
    "a key that nobody registered": (lambda p: a_grant(p, "c-new"), "c-new", Rule.UNKNOWN_KEY),
    "somebody else's key": (a_grant, "x-mal", Rule.KEY_OWNER),
    "the end of another's key": (lambda p: ev.revoke_key("x-mal", key_id("c-ann"), p.now), "x-mal", Rule.KEY_OWNER),
    **{
        f"a grant for another as {role}": (
            lambda p, r=role: a_grant(p, "c-ann", r, actor="x-mal"),
            "x-mal",
            Rule.ACTING_FOR,
        )
        for role in ("contributor", "depicted", "guardian")
    },
    "one's own guardian": (lambda p: a_grant(p, "m-kid", "guardian"), "m-kid", Rule.ACTING_FOR),
    "a dispute about nothing": (lambda p: ev.dispute("p-bob", [], "legal.privacy", p.now), "p-bob", Rule.SCHEMA),
    "an amendment without a grant": (lambda p: ev.amend(a_grant(p), p.now), "c-ann", Rule.PREV),
}


@pytest.mark.parametrize(("body", "signer", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_what_its_signer_may_not_say_is_refused_by_name(
    people: People, body: Callable[[People], ev.Body], signer: str, rule: Rule
) -> None:
    assert refusal_of(people, body(people), signer) is rule


def test_a_revoked_key_signs_nothing_more_but_what_it_signed_stands(people: People) -> None:
    people.grant("c-ann")
    key_id = ev.sign({}, key_of("c-ann"))["key_id"]
    assert isinstance(people.append(ev.revoke_key("c-ann", key_id, people.now), "c-ann"), Admitted)
    assert refusal_of(people, a_grant(people), "c-ann") is Rule.KEY_REVOKED
    people.ledger.verify()


def test_an_intruder_cannot_register_a_further_key_for_somebody(people: People) -> None:
    body = ev.register_key("c-ann", key_of("intruder"), people.now)
    assert refusal_of(people, body, "intruder") is Rule.KEY_NOT_ENROLLED
    endorsed = ev.endorse(ev.sign(body, key_of("intruder")), key_of("x-mal"))
    assert rule_of(people.ledger.append(endorsed, people.now)) is Rule.KEY_NOT_ENROLLED


def test_a_key_is_rotated_with_the_endorsement_of_the_one_before(people: People) -> None:
    envelope = ev.sign(ev.register_key("c-ann", key_of("ann-new"), people.now), key_of("ann-new"))
    assert isinstance(people.ledger.append(ev.endorse(envelope, key_of("c-ann")), people.now), Admitted)
    assert isinstance(people.append(a_grant(people), "ann-new"), Admitted)
    people.ledger.verify()


def test_nobody_registers_the_first_key_of_somebody_else(people: People) -> None:
    """Whoever comes first with a key is not thereby the person: an officer has to have verified who holds it."""
    body = ev.register_key("p-luc", key_of("forger"), people.now)
    assert refusal_of(people, body, "forger") is Rule.KEY_NOT_ENROLLED
    assert isinstance(people.join("p-luc"), Admitted)
    later = ev.register_key("p-luc", key_of("forger"), people.now)
    assert refusal_of(people, later, "forger") is Rule.KEY_NOT_ENROLLED


def test_a_registration_refused_for_want_of_enrolment_is_admitted_once_an_officer_enrolled_the_key(
    people: People,
) -> None:
    registration = ev.sign(ev.register_key("p-luc", key_of("p-luc"), people.now), key_of("p-luc"))
    assert rule_of(people.ledger.append(registration, people.now)) is Rule.KEY_NOT_ENROLLED
    people.append(an_enrolment(people, "p-luc"), PLATFORM)
    assert isinstance(people.ledger.append(registration, people.now), Admitted)


def test_who_lost_all_keys_is_enrolled_again_and_the_platform_ends_the_lost_ones(people: People) -> None:
    lost = ev.revoke_key("c-ann", key_id("c-ann"), people.now, actor=PLATFORM)
    assert isinstance(people.append(lost, PLATFORM), Admitted)
    assert isinstance(people.join("c-ann", "ann-new"), Admitted)
    assert refusal_of(people, a_grant(people), "c-ann") is Rule.KEY_REVOKED
    assert isinstance(people.append(a_grant(people), "ann-new"), Admitted)
    people.ledger.verify()


def test_only_the_platform_attests_and_never_to_itself(people: People) -> None:
    forged = an_enrolment(people, "p-luc") | {"actor": "x-mal"}
    assert refusal_of(people, forged, "x-mal") is Rule.ACTING_FOR
    assert refusal_of(people, an_enrolment(people, "p-luc"), "x-mal") is Rule.KEY_OWNER
    assert refusal_of(people, an_enrolment(people, PLATFORM), PLATFORM) is Rule.ACTING_FOR
    assert refusal_of(people, an_enrolment(people, "p-luc", "c-ann"), PLATFORM) is Rule.KEY_OWNER
    for guardian in ("m-kid", PLATFORM):
        body = ev.guardian("m-kid", guardian, people.now, evidence_sha256=EVIDENCE, officer="o-ida")
        assert refusal_of(people, body, PLATFORM) is Rule.ACTING_FOR


def test_a_key_is_registered_once_and_by_itself(people: People) -> None:
    assert refusal_of(people, ev.register_key("c-two", key_of("c-ann"), people.now), "c-ann") is Rule.KEY_REUSED
    assert refusal_of(people, ev.register_key("c-two", key_of("one"), people.now), "two") is Rule.KEY_NAME


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
