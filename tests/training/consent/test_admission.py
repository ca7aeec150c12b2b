"""Every rule of admission, broken alone."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.training.consent.people import EVIDENCE, FILE, NOTICE, TERMS, People, key_id, key_of
from training.consent import events as ev
from training.consent.admission import Rule, judge
from training.consent.canonical import CanonicalError
from training.consent.event_schema import PLATFORM
from training.consent.ledger import Admitted, Ledger, Refused
from training.consent.register import Register
from training.consent.state import ConsentState


def _grant(people: People, party: str = "c-ann", role: str = "contributor", **more: Any) -> ev.Body:
    given = {"assets": [FILE], "scopes": ["train"], "notice_sha256": NOTICE, "terms_sha256": TERMS} | more
    return ev.grant(party, role, issued_at=people.now, **given)


def _enrolment(people: People, party: str, key: str | None = None) -> ev.Body:
    return ev.enrol(party, key_id(key or party), people.now, evidence_sha256=EVIDENCE, officer="o-ida")


def _decision(people: People, dispute_id: str, officer: str = "o-ida") -> ev.Body:
    return ev.adjudicate(dispute_id, "dismissed", people.now, officer=officer)


def _rule(outcome: Admitted | Refused) -> Rule | None:
    return outcome.rule if isinstance(outcome, Refused) else None


def _refused(people: People, body: ev.Body, signer: str) -> Rule | None:
    """The rule that the event broke; the refusal must be on record, and the ledger unchanged."""
    before, refusals = people.ledger.head(), len(people.ledger.refusals())
    rule = _rule(people.append(body, signer))
    assert people.ledger.head() == before
    assert len(people.ledger.refusals()) == refusals + 1
    assert people.ledger.refusals()[-1]["rule"] == rule
    return rule


def test_a_well_signed_grant_is_admitted(people: People) -> None:
    assert isinstance(people.append(_grant(people), "c-ann"), Admitted)
    people.ledger.verify()


def test_the_same_envelope_again_is_admitted_already_and_writes_nothing(people: People) -> None:
    envelope = ev.sign(_grant(people), key_of("c-ann"))
    first = people.ledger.append(envelope, people.now)
    head = people.ledger.head()
    again = people.ledger.append(json.dumps(envelope, indent=3), people.now)
    assert isinstance(first, Admitted)
    assert isinstance(again, Admitted)
    assert (again.seq, again.already, first.already) == (first.seq, True, False)
    assert people.ledger.head() == head


def test_another_event_under_a_known_event_id_is_refused(people: People) -> None:
    body = people.grant("c-ann")
    forged = _grant(people, event_id=body["event_id"])
    assert _refused(people, forged, "c-ann") is Rule.EVENT_ID_REUSED


def test_a_body_edited_after_signing_is_refused(people: People) -> None:
    envelope = ev.sign(_grant(people), key_of("c-ann"))
    envelope["body"]["scopes"] = ["likeness_generation", "train"]
    assert _rule(people.ledger.append(envelope, people.now)) is Rule.SIGNATURE


def test_a_signature_under_another_domain_is_refused(people: People) -> None:
    body = _grant(people)
    envelope = ev.endorse(ev.sign(body, key_of("c-ann")), key_of("c-ann"))
    envelope["sig"] = envelope.pop("endorsement")["sig"]
    assert _rule(people.ledger.append(envelope, people.now)) is Rule.SIGNATURE


def test_a_key_that_nobody_registered_is_refused(people: People) -> None:
    assert _refused(people, _grant(people, "c-new"), "c-new") is Rule.UNKNOWN_KEY


def test_somebody_elses_key_is_refused(people: People) -> None:
    assert _refused(people, _grant(people), "x-mal") is Rule.KEY_OWNER


def test_a_revoked_key_signs_nothing_more_but_what_it_signed_stands(people: People) -> None:
    people.grant("c-ann")
    key_id = ev.sign({}, key_of("c-ann"))["key_id"]
    assert isinstance(people.append(ev.revoke_key("c-ann", key_id, people.now), "c-ann"), Admitted)
    assert _refused(people, _grant(people), "c-ann") is Rule.KEY_REVOKED
    people.ledger.verify()


def test_nobody_revokes_anothers_key(people: People) -> None:
    key_id = ev.sign({}, key_of("c-ann"))["key_id"]
    assert _refused(people, ev.revoke_key("x-mal", key_id, people.now), "x-mal") is Rule.KEY_OWNER


def test_an_intruder_cannot_register_a_further_key_for_somebody(people: People) -> None:
    body = ev.register_key("c-ann", key_of("intruder"), people.now)
    assert _refused(people, body, "intruder") is Rule.KEY_NOT_ENROLLED
    endorsed = ev.endorse(ev.sign(body, key_of("intruder")), key_of("x-mal"))
    assert _rule(people.ledger.append(endorsed, people.now)) is Rule.KEY_NOT_ENROLLED


def test_a_key_is_rotated_with_the_endorsement_of_the_one_before(people: People) -> None:
    envelope = ev.sign(ev.register_key("c-ann", key_of("ann-new"), people.now), key_of("ann-new"))
    assert isinstance(people.ledger.append(ev.endorse(envelope, key_of("c-ann")), people.now), Admitted)
    assert isinstance(people.append(_grant(people), "ann-new"), Admitted)
    people.ledger.verify()


def test_nobody_registers_the_first_key_of_somebody_else(people: People) -> None:
    """Whoever comes first with a key is not thereby the person: an officer has to have verified who holds it."""
    body = ev.register_key("p-luc", key_of("forger"), people.now)
    assert _refused(people, body, "forger") is Rule.KEY_NOT_ENROLLED
    assert isinstance(people.join("p-luc"), Admitted)
    later = ev.register_key("p-luc", key_of("forger"), people.now)
    assert _refused(people, later, "forger") is Rule.KEY_NOT_ENROLLED


def test_a_registration_refused_for_want_of_enrolment_is_admitted_once_an_officer_enrolled_the_key(
    people: People,
) -> None:
    registration = ev.sign(ev.register_key("p-luc", key_of("p-luc"), people.now), key_of("p-luc"))
    assert _rule(people.ledger.append(registration, people.now)) is Rule.KEY_NOT_ENROLLED
    people.append(_enrolment(people, "p-luc"), PLATFORM)
    assert isinstance(people.ledger.append(registration, people.now), Admitted)


def test_who_lost_all_keys_is_enrolled_again_and_the_platform_ends_the_lost_ones(people: People) -> None:
    lost = ev.revoke_key("c-ann", key_id("c-ann"), people.now, actor=PLATFORM)
    assert isinstance(people.append(lost, PLATFORM), Admitted)
    assert isinstance(people.join("c-ann", "ann-new"), Admitted)
    assert _refused(people, _grant(people), "c-ann") is Rule.KEY_REVOKED
    assert isinstance(people.append(_grant(people), "ann-new"), Admitted)
    people.ledger.verify()


def test_only_the_platform_attests_and_never_to_itself(people: People) -> None:
    forged = _enrolment(people, "p-luc") | {"actor": "x-mal"}
    assert _refused(people, forged, "x-mal") is Rule.ACTING_FOR
    assert _refused(people, _enrolment(people, "p-luc"), "x-mal") is Rule.KEY_OWNER
    assert _refused(people, _enrolment(people, PLATFORM), PLATFORM) is Rule.ACTING_FOR
    assert _refused(people, _enrolment(people, "p-luc", "c-ann"), PLATFORM) is Rule.KEY_OWNER
    for guardian in ("m-kid", PLATFORM):
        body = ev.guardian("m-kid", guardian, people.now, evidence_sha256=EVIDENCE, officer="o-ida")
        assert _refused(people, body, PLATFORM) is Rule.ACTING_FOR


def test_a_ledger_begins_with_the_platforms_key(url: str) -> None:
    ledger, now = Ledger(url), NOW
    for body, signer in ((ev.register_key("x-mal", key_of("x-mal"), now), "x-mal"), (BODY, "c-ann")):
        assert _rule(ledger.append(ev.sign(body, key_of(signer)), now)) is Rule.NOT_FOUNDED
    ledger.found(key_of(PLATFORM), now)
    ledger.found(key_of(PLATFORM), now + timedelta(days=1))
    assert ledger.size() == 1
    with pytest.raises(ValueError, match="another platform key"):
        ledger.found(key_of("x-mal"), now)
    usurper = ev.sign(ev.register_key(PLATFORM, key_of("x-mal"), now), key_of("x-mal"))
    assert _rule(ledger.append(usurper, now)) is Rule.KEY_NOT_ENROLLED


def test_the_platform_may_end_a_consent_and_never_begin_one(people: People) -> None:
    body = people.grant("c-ann")
    assert _refused(people, _grant(people, actor=PLATFORM), PLATFORM) is Rule.ACTING_FOR
    revocation = ev.revoke(body["consent_id"], "c-ann", "contributor", people.now, actor=PLATFORM)
    assert isinstance(people.append(revocation, PLATFORM), Admitted)


def test_anyone_with_a_key_may_dispute_footage_and_only_an_officer_decides_once(people: People) -> None:
    opened = ev.dispute("p-bob", [FILE], "legal.privacy", people.now, dispute_id="dispute-1")
    assert isinstance(people.append(opened, "p-bob"), Admitted)
    again = ev.dispute("p-bob", [FILE], "legal.privacy", people.now, dispute_id="dispute-1")
    assert _refused(people, again, "p-bob") is Rule.DISPUTE_EXISTS
    assert _refused(people, _decision(people, "dispute-1") | {"actor": "p-bob"}, "p-bob") is Rule.ACTING_FOR
    assert _refused(people, _decision(people, "dispute-1", "p-bob"), PLATFORM) is Rule.OWN_DISPUTE
    assert _refused(people, _decision(people, "dispute-2"), PLATFORM) is Rule.DISPUTE_UNKNOWN
    assert isinstance(people.append(_decision(people, "dispute-1"), PLATFORM), Admitted)
    assert _refused(people, _decision(people, "dispute-1"), PLATFORM) is Rule.DISPUTE_DECIDED


def test_nobody_opens_a_dispute_in_anothers_name_but_the_platform(people: People) -> None:
    for actor, allowed in (("x-mal", False), (PLATFORM, True)):
        body = ev.dispute("p-passer-by", [FILE], "legal.privacy", people.now, actor=actor)
        assert isinstance(people.append(body, actor), Admitted) is allowed


def test_a_dispute_names_the_footage_that_it_is_about(people: People) -> None:
    assert _refused(people, ev.dispute("p-bob", [], "legal.privacy", people.now), "p-bob") is Rule.SCHEMA


def test_a_key_is_registered_once_and_by_itself(people: People) -> None:
    assert _refused(people, ev.register_key("c-two", key_of("c-ann"), people.now), "c-ann") is Rule.KEY_REUSED
    assert _refused(people, ev.register_key("c-two", key_of("one"), people.now), "two") is Rule.KEY_NAME


@pytest.mark.parametrize("role", ["contributor", "depicted", "guardian"])
def test_nobody_grants_for_another(people: People, role: str) -> None:
    assert _refused(people, _grant(people, "c-ann", role, actor="x-mal"), "x-mal") is Rule.ACTING_FOR


def test_nobody_is_their_own_guardian(people: People) -> None:
    assert _refused(people, _grant(people, "m-kid", "guardian"), "m-kid") is Rule.ACTING_FOR


def test_only_a_guardian_on_the_register_signs_for_a_minor(people: People) -> None:
    body = _grant(people, "m-kid", "guardian", actor="g-eve")
    assert _refused(people, body, "g-eve") is Rule.ACTING_FOR
    people.appoint("m-kid", "g-eve")
    assert isinstance(people.append(body, "g-eve"), Admitted)
    people.appoint("m-kid", "g-eve", ended=True)
    people.now += timedelta(minutes=1)
    assert _refused(people, _grant(people, "m-kid", "guardian", actor="g-eve"), "g-eve") is Rule.ACTING_FOR
    people.ledger.verify()


def test_a_third_party_cannot_revoke(people: People) -> None:
    body = people.grant("c-ann")
    for party, rule in (("c-ann", Rule.ACTING_FOR), ("x-mal", Rule.FOREIGN_CONSENT)):
        revocation = ev.revoke(body["consent_id"], party, "contributor", people.now, actor="x-mal")
        assert _refused(people, revocation, "x-mal") is rule


def test_a_minor_may_withdraw_what_a_guardian_granted(people: People) -> None:
    people.appoint("m-kid", "g-eve")
    body = people.grant("m-kid", "guardian", actor="g-eve")
    assert isinstance(people.append(ev.revoke(body["consent_id"], "m-kid", "depicted", people.now), "m-kid"), Admitted)


def test_a_consent_is_granted_once_and_never_by_another_party(people: People) -> None:
    body = people.grant("c-ann")
    assert _refused(people, _grant(people, consent_id=body["consent_id"]), "c-ann") is Rule.GRANT_EXISTS
    stolen = _grant(people, "x-mal", consent_id=body["consent_id"])
    assert _refused(people, stolen, "x-mal") is Rule.FOREIGN_CONSENT


def test_an_amendment_names_the_latest_event(people: People) -> None:
    grant = people.grant("c-ann")
    first = ev.amend(grant, people.now, scopes=["train", "eval"])
    assert isinstance(people.append(first, "c-ann"), Admitted)
    assert _refused(people, ev.amend(grant, people.now, scopes=["eval"]), "c-ann") is Rule.PREV
    assert isinstance(people.append(ev.amend(first, people.now, scopes=["eval"]), "c-ann"), Admitted)


def test_an_amendment_without_a_grant_is_refused(people: People) -> None:
    assert _refused(people, ev.amend(_grant(people), people.now), "c-ann") is Rule.PREV


def test_an_amendment_cannot_change_the_role(people: People) -> None:
    grant = people.grant("c-ann")
    assert _refused(people, ev.amend(grant, people.now, role="depicted"), "c-ann") is Rule.FOREIGN_CONSENT


def test_nothing_revives_a_revoked_consent(people: People) -> None:
    grant = people.grant("c-ann")
    people.revoke(grant)
    assert _refused(people, ev.amend(grant, people.now), "c-ann") is Rule.CONSENT_REVOKED
    assert _refused(people, _grant(people, consent_id=grant["consent_id"]), "c-ann") is Rule.CONSENT_REVOKED


def test_a_revocation_is_admitted_before_its_grant(people: People) -> None:
    early = ev.revoke("consent-later", "c-ann", "contributor", people.now)
    assert isinstance(people.append(early, "c-ann"), Admitted)
    assert _refused(people, _grant(people, consent_id="consent-later"), "c-ann") is Rule.CONSENT_REVOKED


def test_a_squatted_revocation_does_not_stop_anothers_grant(people: People) -> None:
    assert isinstance(people.append(ev.revoke("consent-x", "x-mal", "contributor", people.now), "x-mal"), Admitted)
    assert isinstance(people.append(_grant(people, consent_id="consent-x"), "c-ann"), Admitted)


def test_the_future_begins_after_the_clocks_allowance(people: People) -> None:
    for seconds, rule in ((300, None), (301, Rule.FUTURE)):
        body = _grant(people) | {"issued_at": (people.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        assert _rule(people.ledger.append(ev.sign(body, key_of("c-ann")), people.now)) is rule


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"scopes": []}, Rule.SCOPES),
        ({"scopes": ["everything"]}, Rule.SCOPES),
        ({"scopes": "train"}, Rule.SCHEMA),
        ({"schema": "rushes.consent/2"}, Rule.SCHEMA),
        ({"type": "bless"}, Rule.SCHEMA),
        ({"assets": ["*"]}, Rule.SCHEMA),
        ({"territories": ["Belgium"]}, Rule.SCHEMA),
        ({"effective_at": "2026-11-02T08:00:00"}, Rule.SCHEMA),
        ({"issued_at": "2026-11-02T08:00:60Z"}, Rule.SCHEMA),
        ({"expires_at": 1762070400}, Rule.SCHEMA),
        ({"expires_at": float("nan")}, Rule.MALFORMED),
        ({"expires_at": 2**60}, Rule.MALFORMED),
        ({"party_id": "c-\x00ann"}, Rule.SCHEMA),
        ({"notice_sha256": ""}, Rule.SCHEMA),
        ({"withdrawal_method": ""}, Rule.SCHEMA),
        ({"mood": "good"}, Rule.SCHEMA),
        ({"withdrawal_method": "x" * 70_000}, Rule.SIZE),
    ],
)
def test_an_ill_formed_event_is_refused_by_name(people: People, change: dict[str, Any], rule: Rule) -> None:
    envelope = ev.sign(_grant(people), key_of("c-ann"))
    envelope["body"] |= change
    head = people.ledger.head()
    assert _rule(people.ledger.append(envelope, people.now)) is rule
    assert people.ledger.head() == head
    assert people.ledger.refusals()[-1]["rule"] == rule


@pytest.mark.parametrize(
    "received", ["", "{", "null", "[]", '"text"', '{"body":1,"key_id":"k","sig":"s"}', '{"a":1,"a":2}']
)
def test_text_that_is_no_envelope_is_refused_and_kept(people: People, received: str) -> None:
    assert _rule(people.ledger.append(received, people.now)) in (Rule.MALFORMED, Rule.SCHEMA)
    assert people.ledger.refusals()[-1]["received"] == received


@pytest.mark.parametrize("field", ["notice_sha256", "notice_lang", "recipients", "withdrawal_method", "prev", "actor"])
def test_no_field_of_a_grant_may_be_left_out(people: People, field: str) -> None:
    body = _grant(people)
    del body[field]
    assert _refused(people, body, "c-ann") is Rule.SCHEMA


def test_withdrawing_takes_no_more_fields_than_granting(people: People) -> None:
    grant = _grant(people)
    assert set(ev.revoke("consent-1", "c-ann", "contributor", people.now)) < set(grant)


def test_an_event_refused_for_want_of_a_key_is_admitted_once_the_key_has_come(people: People) -> None:
    late = ev.sign(_grant(people, "c-late"), key_of("c-late"))
    assert _rule(people.ledger.append(late, people.now)) is Rule.UNKNOWN_KEY
    assert len(people.ledger.standing_refusals()) == 1
    people.join("c-late")
    assert isinstance(people.ledger.append(late, people.now), Admitted)
    assert people.ledger.standing_refusals() == []


def test_a_naive_clock_is_refused(people: People) -> None:
    with pytest.raises(ValueError, match="zone"):
        people.ledger.append(ev.sign(_grant(people), key_of("c-ann")), datetime(2026, 11, 2))


TIMES = st.sampled_from(
    ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text() | TIMES
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6)
NOW = datetime.fromisoformat("2026-11-02T08:15:00Z")
BODY = ev.grant("c-ann", "contributor", [FILE], ["train"], NOW, notice_sha256=NOTICE, terms_sha256=TERMS)


def _founded() -> Register:
    """A register that knows the platform's key, and nobody else's."""
    register, key = Register(), key_of(PLATFORM)
    register.record(ev.sign(ev.register_key(PLATFORM, key, NOW), key))
    return register


@example(field="type", value=["grant"])
@example(field="expires_at", value="0001-01-01T00:00:00Z")
@given(field=st.sampled_from([*BODY, "public_key", "key_id", "anything"]), value=JSON)
def test_whatever_a_field_holds_the_event_is_judged_and_one_that_enters_can_be_folded(field: str, value: Any) -> None:
    key, register = key_of("c-ann"), _founded()
    register.record(ev.sign(ev.register_key("c-ann", key, NOW), key))
    try:
        envelope = ev.sign(BODY | {field: value}, key)
    except CanonicalError:
        return  # the ledger refuses such a text before it is judged
    if judge(register, envelope, NOW) is None:
        ConsentState.fold([ev.Event(0, NOW, envelope["body"], envelope["key_id"], "")])


@given(JSON)
def test_whatever_stands_in_for_an_envelope_is_judged(document: Any) -> None:
    judged = [
        document,
        {"body": document, "key_id": "k", "sig": "0" * 128},
        ev.sign(BODY, key_of("c-ann")) | {"endorsement": document},
    ]
    for envelope in judged:
        assert judge(_founded(), envelope, NOW) is not None
