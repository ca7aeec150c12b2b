"""Odd clocks, odd spellings and keys that change: the ledger takes them as one thing or not at all."""

from __future__ import annotations

import json
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from assets.consent.admission import Rule
from assets.consent.intake import Admitted, Refused
from tests.training.consent.people import FILE, People, clip, key_id, key_of
from training.consent import events as ev
from training.consent.eligibility import eligible
from training.consent.state import ConsentState
from training.consent.times import instant, time_text

TERMS: dict[str, Any] = {"notice_sha256": "a" * 64, "terms_sha256": "b" * 64}


def allowed(people: People, at: datetime | None = None) -> bool:
    moment = at or people.now
    return eligible(clip(), "train", moment, moment, ConsentState.fold(people.ledger.events())).eligible


def test_a_revocation_recorded_by_a_clock_that_stepped_back_acts_after_the_grant_it_ends(people: People) -> None:
    body = people.grant("c-ann")
    assert allowed(people)
    before = people.now - timedelta(days=3)
    revocation = ev.revoke(body["consent_id"], "c-ann", "contributor", before)
    outcome = people.append(revocation, "c-ann", now=before)
    assert isinstance(outcome, Admitted)
    assert outcome.recorded_at >= people.ledger.events()[-2].recorded_at
    assert not allowed(people)
    assert not allowed(people, people.now + timedelta(days=400))
    people.ledger.verify(workers=1)


@pytest.mark.parametrize(
    "text",
    [
        "2016-12-31T23:59:60Z",  # a leap second that was, which no calendar here can hold
        "2026-11-02T24:00:00Z",
        "2026-11-02T08:00:00",  # naive
        "2026-11-02T08:00:00+02:00",  # local
        "2026-11-02T08:00:00.1234567Z",
        "2026-02-29T08:00:00Z",
    ],
)
@pytest.mark.parametrize("field", ["issued_at", "effective_at", "expires_at"])
def test_a_time_that_is_not_one_instant_of_utc_is_refused_by_name(people: People, field: str, text: str) -> None:
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS) | {field: text}
    size = people.ledger.size()
    outcome = people.append(body, "c-ann")
    assert isinstance(outcome, Refused)
    assert outcome.rule is Rule.SCHEMA
    assert people.ledger.size() == size


def test_the_hour_that_happens_twice_is_two_hours() -> None:
    """Brussels, 25 October 2026: 02:30 in summer time, and an hour later 02:30 again."""
    summer = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Brussels"), fold=0)
    winter = summer.replace(fold=1)
    assert (time_text(summer), time_text(winter)) == ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z")
    assert instant(winter) - instant(summer) == timedelta(hours=1)


def test_nobody_signs_or_asks_with_a_clock_that_has_no_zone(people: People) -> None:
    naive = datetime(2026, 11, 2, 8, 0)
    with pytest.raises(ValueError, match="zone"):
        ev.grant("c-ann", "contributor", [FILE], ["train"], naive, **TERMS)
    with pytest.raises(ValueError, match="zone"):
        eligible(clip(), "train", naive, naive, ConsentState())
    with pytest.raises(ValueError, match="zone"):
        eligible(clip(), "train", datetime.now(UTC), datetime.now(), ConsentState())


@pytest.mark.parametrize(("granted", "withdrawn"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_the_same_person_however_its_accents_are_spelled(
    people: People, granted: str, withdrawn: str
) -> None:
    name = "c-amélie-ångström"
    spelled = {form: unicodedata.normalize(form, name) for form in ("NFC", "NFD")}  # type: ignore[arg-type]
    assert spelled["NFC"] != spelled["NFD"]
    key = key_of("amelie")
    attested = ev.enrol(spelled[granted], key_id("amelie"), people.now, evidence_sha256="e" * 64, officer="o-ida")
    assert isinstance(people.append(attested, "platform"), Admitted)
    registration = ev.register_key(spelled[withdrawn], key, people.now)
    assert isinstance(people.append(registration, "amelie"), Admitted)
    body = ev.grant(spelled[granted], "contributor", [FILE], ["train"], people.now, **TERMS)
    assert isinstance(people.append(body, "amelie"), Admitted)
    facts = clip(contributor_id=spelled["NFC"])
    state = ConsentState.fold(people.ledger.events())
    assert eligible(facts, "train", people.now, people.now, state).eligible
    revocation = ev.revoke(body["consent_id"], spelled[withdrawn], "contributor", people.now)
    assert isinstance(people.append(revocation, "amelie"), Admitted)
    state = ConsentState.fold(people.ledger.events())
    assert not eligible(facts, "train", people.now, people.now, state).eligible


def test_two_spellings_of_one_field_in_one_event_are_refused(people: People) -> None:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS), key_of("c-ann"))
    twice = json.dumps(envelope)[:-1] + ', "é": 1, "é": 2}'
    outcome = people.ledger.append(twice, people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule is Rule.MALFORMED


@pytest.mark.parametrize("number", ["9007199254740993", "1" + "0" * 400, "1e400", "-1e999", "NaN", "-0"])
def test_a_number_that_readers_disagree_about_never_enters(people: People, number: str) -> None:
    envelope = ev.sign(ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, **TERMS), key_of("c-ann"))
    text = json.dumps(envelope).replace('"prev": null', f'"prev": {number}')
    assert number in text
    size = people.ledger.size()
    outcome = people.ledger.append(text, people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule in (Rule.MALFORMED, Rule.SCHEMA)
    assert people.ledger.size() == size


def test_a_key_that_is_rotated_mid_stream_hands_its_consents_to_the_next_and_keeps_none(people: People) -> None:
    granted = people.grant("c-ann")
    registration = ev.sign(ev.register_key("c-ann", key_of("ann-2"), people.now), key_of("ann-2"))
    assert isinstance(people.ledger.append(ev.endorse(registration, key_of("c-ann")), people.now), Admitted)
    people.append(ev.revoke_key("c-ann", key_id("c-ann"), people.now), "ann-2")
    assert allowed(people)  # what the old key signed stands
    stolen = people.append(ev.amend(granted, people.now, recipients=["x-mal"]), "c-ann")
    assert isinstance(stolen, Refused)
    assert stolen.rule is Rule.KEY_REVOKED
    narrowed = ev.amend(granted, people.now, scopes=["eval"])
    assert isinstance(people.append(narrowed, "ann-2"), Admitted)
    assert not allowed(people)
    revocation = ev.revoke(granted["consent_id"], "c-ann", "contributor", people.now)
    assert isinstance(people.append(revocation, "c-ann"), Refused)
    assert isinstance(people.append(revocation, "ann-2"), Admitted)
    people.ledger.verify(workers=1)
