"""Whatever is offered, append answers; what it refuses it keeps, once, and changes nothing else."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.consent.admission import Rule
from assets.consent.event_schema import MAX_ENVELOPE_BYTES
from assets.consent.intake import Admitted, Refused
from tests.training.consent.people import FILE, NOTICE, TERMS, People, key_of
from training.consent import events as ev
from training.consent.canonical import CanonicalError, canonical, sha256_hex


class Endless:
    def __repr__(self) -> str:
        raise RecursionError


def _circular() -> list[Any]:
    around: list[Any] = []
    around.append(around)
    return around


HOSTILE: dict[str, tuple[Any, Rule]] = {
    "no JSON": ("{", Rule.MALFORMED),
    "nothing": ("", Rule.MALFORMED),
    "nothing in bytes": (b"", Rule.MALFORMED),
    "bytes that are no UTF-8": (b'{"body": "\xff\xfe"}', Rule.MALFORMED),
    "a lone surrogate": ('{"body": "\ud800"}', Rule.MALFORMED),
    "an escaped lone surrogate": ('{"body": "\\ud800"}', Rule.MALFORMED),
    "a zero byte": ('{"body\x00": 1}', Rule.MALFORMED),
    "an escaped zero": ('{"body": {"event_id": "\\u0000"}, "key_id": "\\u0000", "sig": "\\u0000"}', Rule.SCHEMA),
    "a key twice": ('{"body": 1, "body": 2}', Rule.MALFORMED),
    "keys that look alike": ('{"\u00e9": 1, "e\u0301": 2}', Rule.MALFORMED),
    "not a number": ('{"body": NaN}', Rule.MALFORMED),
    "a huge integer": ('{"body": ' + "9" * 5000 + "}", Rule.MALFORMED),
    "an integer beyond 2^53": ('{"body": 9007199254740993}', Rule.MALFORMED),
    "an infinite float": ('{"body": 1e999}', Rule.MALFORMED),
    "deep nesting": ("[" * 30_000 + "]" * 30_000, Rule.MALFORMED),
    "a byte order mark": ("\ufeff{}", Rule.MALFORMED),
    "ten megabytes": ("x" * 10_000_000, Rule.SIZE),
    "ten megabytes of an object": ({"body": "x" * 10_000_000}, Rule.SIZE),
    "text": ('"hello"', Rule.SCHEMA),
    "null": ("null", Rule.SCHEMA),
    "a list": ([1, 2], Rule.SCHEMA),
    "an empty object": ({}, Rule.SCHEMA),
    "an object with bytes": ({"body": b"x"}, Rule.MALFORMED),
    "an object with a numbered key": ({1: 2}, Rule.MALFORMED),
    "an object that never ends": (_circular(), Rule.MALFORMED),
    "an object that cannot be shown": ({"body": Endless()}, Rule.MALFORMED),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_refused_by_name_and_changes_nothing(people: People, name: str) -> None:
    received, rule = HOSTILE[name]
    head = people.ledger.head()
    for _ in range(2):
        outcome = people.ledger.append(received, people.now)
        assert isinstance(outcome, Refused)
        assert outcome.rule is rule
    assert people.ledger.head() == head
    [kept] = people.ledger.refusals()
    assert (kept["rule"], kept["event_sha256"]) == (rule.value, outcome.event_sha256)
    assert len(kept["received"].encode()) <= 3 * MAX_ENVELOPE_BYTES  # a replacement character has three bytes
    people.ledger.verify()


def test_oversized_input_is_kept_by_its_beginning_length_and_digest(people: People) -> None:
    text = "\N{SNOWMAN}" * 1_000_000
    people.ledger.append(text, people.now)
    [kept] = people.ledger.refusals()
    assert kept["received_bytes"] == 3_000_000
    assert kept["event_sha256"] == sha256_hex(text.encode())
    assert text.startswith(kept["received"][:-1])
    assert str(3_000_000) in kept["detail"]


def test_a_long_detail_is_cut(people: People) -> None:
    people.ledger.append(
        {"body": {"x" * 5000: 1, "type": "revoke"}, "key_id": "k" * 5000, "sig": "0" * 128}, people.now
    )
    assert len(people.ledger.refusals()[0]["detail"]) <= 1000


def test_what_was_refused_for_want_of_another_event_stands_no_longer_once_it_is_admitted(people: People) -> None:
    granted = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, notice_sha256=NOTICE, terms_sha256=TERMS)
    grant, amend = (ev.sign(body, key_of("c-ann")) for body in (granted, ev.amend(granted, people.now)))
    early = json.dumps(amend, indent=1)  # another spelling of the same envelope
    assert isinstance(people.ledger.append(early, people.now), Refused)
    assert isinstance(people.ledger.append("{", people.now), Refused)
    assert len(people.ledger.standing_refusals()) == 2
    assert all(isinstance(outcome, Admitted) for outcome in people.ledger.append_many([grant, amend], people.now))
    assert [row["received"] for row in people.ledger.standing_refusals()] == ["{"]
    assert len(people.ledger.refusals()) == 2


NAMES = st.sampled_from(["body", "key_id", "sig", "endorsement", "type", "event_id", "grant"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner),
    max_leaves=12,
)
IN_BATCHES = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@IN_BATCHES
@given(st.lists(JSON | st.binary(max_size=50) | st.text(max_size=50), min_size=20, max_size=30))
def test_arbitrary_input_is_answered(people: People, received: list[Any]) -> None:
    head = people.ledger.head()
    outcomes = people.ledger.append_many(received, people.now)
    assert [type(outcome) for outcome in outcomes] == [Refused] * len(received)
    assert people.ledger.head() == head


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in _paths(item, (*path, key)))]


@IN_BATCHES
@given(st.data())
def test_a_mutated_envelope_is_refused(people: People, data: st.DataObject) -> None:
    """One value anywhere in a signed envelope is replaced or taken out; what was signed is no longer what is said."""
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], people.now, notice_sha256=NOTICE, terms_sha256=TERMS,
                    consent_id="consent-1", event_id="event-1", expires_at=people.now + timedelta(days=9))  # fmt: skip
    signed = ev.sign(body, key_of("c-ann"))
    mutated = [_mutated(deepcopy(signed), data) for _ in range(20)]  # a change reaches no other envelope
    head = people.ledger.head()
    outcomes = people.ledger.append_many([envelope for envelope in mutated if envelope is not None], people.now)
    assert {type(outcome) for outcome in outcomes} <= {Refused}
    assert people.ledger.head() == head


def _mutated(envelope: Any, data: st.DataObject) -> Any:
    """None where the change happens to change nothing."""
    before = canonical(envelope)
    *path, last = data.draw(st.sampled_from([path for path in _paths(envelope) if path]))
    place = envelope
    for key in path:
        place = place[key]
    if data.draw(st.booleans()):
        del place[last]
    else:
        place[last] = data.draw(JSON | st.just("c-ann") | st.just("*") | st.just("2026-11-02T08:00:00Z"))
    try:
        return None if canonical(envelope) == before else envelope
    except CanonicalError:
        return envelope
