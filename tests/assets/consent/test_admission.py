"""What comes in at all: form, signature and time, each rule broken alone, and anything that generators can think of."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assets.consent.admission import Register, Rule, judge
from assets.consent.intake import Admitted
from assets.consent.ledger import Ledger
from tests.assets.consent.admitting import a_grant, refusal_of, rule_of
from tests.training.consent.people import FILE, NOTICE, TERMS, People, key_of
from training.consent import events as ev
from training.consent.canonical import CanonicalError
from training.consent.events import PLATFORM
from training.consent.state import ConsentState
from training.consent.times import MOST_AHEAD, time_text


def test_a_well_signed_grant_is_admitted(people: People) -> None:
    assert isinstance(people.append(a_grant(people), "c-ann"), Admitted)
    people.ledger.verify()


def test_the_same_envelope_again_is_admitted_already_and_writes_nothing(people: People) -> None:
    envelope = ev.sign(a_grant(people), key_of("c-ann"))
    first = people.ledger.append(envelope, people.now)
    head = people.ledger.head()
    again = people.ledger.append(json.dumps(envelope, indent=3), people.now)
    assert isinstance(first, Admitted)
    assert isinstance(again, Admitted)
    assert (again.seq, again.already, first.already) == (first.seq, True, False)
    assert people.ledger.head() == head


def test_another_event_under_a_known_event_id_is_refused(people: People) -> None:
    body = people.grant("c-ann")
    forged = a_grant(people, event_id=body["event_id"])
    assert refusal_of(people, forged, "c-ann") is Rule.EVENT_ID_REUSED


def test_a_body_edited_after_signing_is_refused(people: People) -> None:
    envelope = ev.sign(a_grant(people), key_of("c-ann"))
    envelope["body"]["scopes"] = ["likeness_generation", "train"]
    assert rule_of(people.ledger.append(envelope, people.now)) is Rule.SIGNATURE


def test_a_signature_under_another_domain_is_refused(people: People) -> None:
    body = a_grant(people)
    envelope = ev.endorse(ev.sign(body, key_of("c-ann")), key_of("c-ann"))
    envelope["sig"] = envelope.pop("endorsement")["sig"]
    assert rule_of(people.ledger.append(envelope, people.now)) is Rule.SIGNATURE


def test_the_future_begins_after_the_clocks_allowance(people: People) -> None:
    for seconds, rule in ((300, None), (301, Rule.FUTURE)):
        body = a_grant(people) | {"issued_at": (people.now + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        assert rule_of(people.ledger.append(ev.sign(body, key_of("c-ann")), people.now)) is rule


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
    envelope = ev.sign(a_grant(people), key_of("c-ann"))
    envelope["body"] |= change
    head = people.ledger.head()
    assert rule_of(people.ledger.append(envelope, people.now)) is rule
    assert people.ledger.head() == head
    assert people.ledger.refusals()[-1]["rule"] == rule


@pytest.mark.parametrize("name", ["effective_at", "expires_at"])
def test_a_time_that_nobody_plans_for_is_refused_and_said(people: People, name: str) -> None:
    furthest = people.now + MOST_AHEAD
    for text, rule in (
        ("9999-12-31T23:59:59Z", Rule.TOO_FAR_AHEAD),
        (time_text(furthest + timedelta(seconds=1)), Rule.TOO_FAR_AHEAD),
        ("1969-12-31T23:59:59Z", Rule.TOO_LONG_AGO),
        ("0001-01-01T00:00:00Z", Rule.TOO_LONG_AGO),
        (time_text(furthest), None),
        ("1970-01-01T00:00:00Z", None),
    ):
        outcome = people.ledger.append(ev.sign(a_grant(people) | {name: text}, key_of("c-ann")), people.now)
        assert rule_of(outcome) is rule, text
        if rule is Rule.TOO_FAR_AHEAD:
            assert f"{name} {text} is after" in outcome.detail


def test_a_clock_that_leapt_once_opens_no_door_to_times_beyond(people: People) -> None:
    """The ledger's own times go no further back than its last entry; what is plausible goes by the clock."""
    ahead = people.now + timedelta(days=365 * 73)
    people.ledger.append(ev.sign(a_grant(people), key_of("c-ann")), ahead)
    late = a_grant(people) | {"effective_at": time_text(ahead + MOST_AHEAD - timedelta(days=1))}
    assert rule_of(people.ledger.append(ev.sign(late, key_of("c-ann")), people.now)) is Rule.TOO_FAR_AHEAD


@pytest.mark.parametrize(
    "received", ["", "{", "null", "[]", '"text"', '{"body":1,"key_id":"k","sig":"s"}', '{"a":1,"a":2}']
)
def test_text_that_is_no_envelope_is_refused_and_kept(people: People, received: str) -> None:
    assert rule_of(people.ledger.append(received, people.now)) in (Rule.MALFORMED, Rule.SCHEMA)
    assert people.ledger.refusals()[-1]["received"] == received


@pytest.mark.parametrize("field", ["notice_sha256", "notice_lang", "recipients", "withdrawal_method", "prev", "actor"])
def test_no_field_of_a_grant_may_be_left_out(people: People, field: str) -> None:
    body = a_grant(people)
    del body[field]
    assert refusal_of(people, body, "c-ann") is Rule.SCHEMA


def test_withdrawing_takes_no_more_fields_than_granting(people: People) -> None:
    grant = a_grant(people)
    assert set(ev.revoke("consent-1", "c-ann", "contributor", people.now)) < set(grant)


def test_an_event_refused_for_want_of_a_key_is_admitted_once_the_key_has_come(people: People) -> None:
    late = ev.sign(a_grant(people, "c-late"), key_of("c-late"))
    assert rule_of(people.ledger.append(late, people.now)) is Rule.UNKNOWN_KEY
    assert len(people.ledger.standing_refusals()) == 1
    people.join("c-late")
    assert isinstance(people.ledger.append(late, people.now), Admitted)
    assert people.ledger.standing_refusals() == []


def test_a_naive_clock_is_refused(people: People) -> None:
    with pytest.raises(ValueError, match="zone"):
        people.ledger.append(ev.sign(a_grant(people), key_of("c-ann")), datetime(2026, 11, 2))


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


def test_a_ledger_begins_with_the_platforms_key(url: str) -> None:
    ledger, now = Ledger(url), NOW
    for body, signer in ((ev.register_key("x-mal", key_of("x-mal"), now), "x-mal"), (BODY, "c-ann")):
        assert rule_of(ledger.append(ev.sign(body, key_of(signer)), now)) is Rule.NOT_FOUNDED
    ledger.found(key_of(PLATFORM), now)
    ledger.found(key_of(PLATFORM), now + timedelta(days=1))
    assert ledger.size() == 1
    with pytest.raises(ValueError, match="another platform key"):
        ledger.found(key_of("x-mal"), now)
    usurper = ev.sign(ev.register_key(PLATFORM, key_of("x-mal"), now), key_of("x-mal"))
    assert rule_of(ledger.append(usurper, now)) is Rule.KEY_NOT_ENROLLED
