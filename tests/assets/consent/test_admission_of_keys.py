"""Who speaks for whom: every rule about keys, their owners and officers, broken alone."""

from __future__ import annotations

from assets.consent.admission import Rule
from assets.consent.intake import Admitted
from tests.assets.consent.admitting import a_grant, an_enrolment, refusal_of, rule_of
from tests.training.consent.people import EVIDENCE, People, key_id, key_of
from training.consent import events as ev
from training.consent.events import PLATFORM


def test_a_key_that_nobody_registered_is_refused(people: People) -> None:
    assert refusal_of(people, a_grant(people, "c-new"), "c-new") is Rule.UNKNOWN_KEY


def test_somebody_elses_key_is_refused(people: People) -> None:
    assert refusal_of(people, a_grant(people), "x-mal") is Rule.KEY_OWNER


def test_a_revoked_key_signs_nothing_more_but_what_it_signed_stands(people: People) -> None:
    people.grant("c-ann")
    key_id = ev.sign({}, key_of("c-ann"))["key_id"]
    assert isinstance(people.append(ev.revoke_key("c-ann", key_id, people.now), "c-ann"), Admitted)
    assert refusal_of(people, a_grant(people), "c-ann") is Rule.KEY_REVOKED
    people.ledger.verify()


def test_nobody_revokes_anothers_key(people: People) -> None:
    key_id = ev.sign({}, key_of("c-ann"))["key_id"]
    assert refusal_of(people, ev.revoke_key("x-mal", key_id, people.now), "x-mal") is Rule.KEY_OWNER


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
