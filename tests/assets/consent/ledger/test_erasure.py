"""What is erased is gone and changes no root; what was refused is kept, whatever it was."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.consent.admission import Rule
from assets.consent.erasure import ErasureError
from assets.consent.event_schema import MAX_ENVELOPE_BYTES
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from tests.training.consent.people import FILE, NOTICE, TERMS, People, key_of
from training.consent import events as ev
from training.consent import merkle
from training.consent.canonical import CanonicalError, canonical, sha256_hex
from training.consent.keys import public_bytes
from training.consent.state import ConsentState

WORDS = "call the number on the yellow card"


def _history(people: People) -> list[ev.Envelope]:
    """A grant, an amendment and a revocation of one consent, admitted, with others before and after."""
    people.grant("p-bob", "depicted")
    granted = ev.grant("c-ann", "contributor", ["9" * 64], ["train"], people.now, notice_sha256="a" * 64,
                       terms_sha256="b" * 64, consent_id="consent-to-forget", withdrawal_method=WORDS)  # fmt: skip
    amended = ev.amend(granted, people.now, scopes=["eval"])
    revoked = ev.revoke("consent-to-forget", "c-ann", "contributor", people.now)
    envelopes = [ev.sign(body, key_of("c-ann")) for body in (granted, amended, revoked)]
    for envelope in envelopes:
        assert isinstance(people.ledger.append(envelope, people.now), Admitted)
        people.grant("p-bob", "depicted")
    return envelopes


def test_an_erased_consent_changes_no_root_and_no_proof(people: People) -> None:
    _history(people)
    signed = people.ledger.checkpoint_signed(key_of("platform"))
    proofs = [people.ledger.inclusion_proof(seq, signed["size"]) for seq in range(signed["size"])]
    leaves = people.ledger.leaves()
    places = people.ledger.erase("consent-to-forget", "asked for by the party", people.now)
    assert len(places) == 3
    assert people.ledger.checkpoint_signed(key_of("platform")) == signed
    assert [people.ledger.inclusion_proof(seq, signed["size"]) for seq in range(signed["size"])] == proofs
    root = bytes.fromhex(signed["root"])
    assert all(merkle.verify_inclusion(leaves[seq], seq, signed["size"], proofs[seq], root) for seq in places)
    people.grant("c-ann")
    old, new = signed["size"], people.ledger.head()
    proof = people.ledger.consistency_proof(old, new.size)
    assert merkle.verify_consistency(old, new.size, root, bytes.fromhex(new.root), proof)
    people.ledger.verify()


def test_an_erased_consent_is_read_nowhere_and_its_party_is_named_to_who_watches(people: People) -> None:
    envelopes = _history(people)
    since = next(e.seq for e in people.ledger.events() if e.body["event_id"] == envelopes[2]["body"]["event_id"])
    places = people.ledger.erase("consent-to-forget", "asked for", people.now)
    assert not {event.seq for event in people.ledger.events()} & set(places)
    assert not {event.seq for event in people.ledger.events(parties=["c-ann"])} & set(places)
    assert all(people.ledger.entry(place) is None for place in places)
    assert people.ledger.find(envelopes[0]["body"]["event_id"]) is None
    assert "consent-to-forget" not in ConsentState.fold(people.ledger.events()).by_party["c-ann"]
    assert people.ledger.parties_since(since) == {"c-ann", "p-bob"}  # the revocation may not have been seen yet


def test_erasing_twice_erases_once(people: People) -> None:
    _history(people)
    first = people.ledger.erase("consent-to-forget", "asked for", people.now)
    assert people.ledger.erase("consent-to-forget", "asked for again", people.now) == first
    people.ledger.verify()


def test_nothing_of_what_was_erased_is_admitted_again(people: People) -> None:
    envelopes = _history(people)
    people.ledger.erase("consent-to-forget", "asked for", people.now)
    body = envelopes[0]["body"]
    again = {**body, "event_id": "another-event"}
    same_event = {**body, "consent_id": "another-consent"}
    attempts = [*envelopes, *(ev.sign(forged, key_of("c-ann")) for forged in (again, same_event))]
    attempts.append(ev.sign(ev.revoke("consent-to-forget", "p-bob", "depicted", people.now), key_of("p-bob")))
    for attempt in [*attempts, *(canonical(attempt).decode() for attempt in attempts)]:
        outcome = people.ledger.append(attempt, people.now)
        assert isinstance(outcome, Refused)
        assert outcome.rule is Rule.ERASED
    kept = [row for row in people.ledger.refusals() if row["rule"] == "erased"]
    assert len(kept) == len(attempts)
    assert all(row["received"] == "" and "forget" not in row["detail"] for row in kept)
    people.ledger.verify()


def test_a_standing_consent_is_revoked_before_it_is_erased(people: People) -> None:
    granted = people.grant("c-ann")
    before = people.ledger.events()
    with pytest.raises(ErasureError, match="revoke it, then erase it"):
        people.ledger.erase(granted["consent_id"], "asked for", people.now)
    with pytest.raises(ErasureError, match="no consent"):
        people.ledger.erase("consent-of-nobody", "asked for", people.now)
    assert people.ledger.events() == before


def test_a_strangers_revocation_of_the_same_name_erases_nothing(people: People) -> None:
    """Names are chosen by people: a revocation counts for its own party alone."""
    early = ev.revoke("consent-shared", "p-bob", "depicted", people.now)
    assert isinstance(people.append(early, "p-bob"), Admitted)
    people.grant("c-ann", consent_id="consent-shared")
    with pytest.raises(ErasureError, match="c-ann is not revoked"):
        people.ledger.erase("consent-shared", "asked for", people.now)


def test_identity_and_disputes_are_never_erased(people: People) -> None:
    people.append(ev.dispute("c-ann", ["9" * 64], "legal.privacy", people.now, dispute_id="dispute-1"), "c-ann")
    for name in ("dispute-1", "genesis", "c-ann", "platform"):
        with pytest.raises(ErasureError):
            people.ledger.erase(name, "asked for", people.now)


@pytest.mark.parametrize("statement", range(2, 12, 3))
def test_an_erasure_that_fails_in_between_erases_nothing(people: People, statement: int) -> None:
    _history(people)
    before, left = people.ledger.events(), statement
    ledger = Ledger(people.url)

    def fail(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    sa.event.listen(ledger.engine, "commit", fail)
    sa.event.listen(ledger.engine, "before_cursor_execute", fail)
    try:
        ledger.erase("consent-to-forget", "asked for", people.now)
    except KeyboardInterrupt:
        assert len(people.ledger.events()) in (len(before), len(before) - 3)
    ledger.engine.dispose()
    people.ledger.verify()
    assert len(people.ledger.erase("consent-to-forget", "asked for", people.now)) == 3
    people.ledger.verify()


def _file_of(people: People, tmp_path: Path) -> bytes:
    if people.ledger.engine.dialect.name == "sqlite":
        return b"".join(path.read_bytes() for path in tmp_path.glob("rushes.db*"))
    with people.ledger.engine.connect() as connection:  # what the server still shows; its files are not ours to read
        tables = [f"SELECT t::text FROM {name} t" for name in ("consent_event", "consent_refusal", "consent_erasure")]
        return "\n".join(row[0] for row in connection.execute(sa.text(" UNION ALL ".join(tables)))).encode()


def test_the_text_is_gone_from_the_file(people: People, tmp_path: Path) -> None:
    """Also where it stood in a refusal, and in the write-ahead log."""
    envelopes = _history(people)
    stale = ev.sign(ev.amend(envelopes[0]["body"], people.now, scopes=["review"]), key_of("c-ann"))
    assert isinstance(people.ledger.append(stale, people.now), Refused)
    traces = [WORDS, "9" * 64, "consent-to-forget", *(envelope["sig"] for envelope in (*envelopes, stale))]
    before = _file_of(people, tmp_path)
    assert all(trace.encode() in before for trace in traces)
    people.ledger.erase("consent-to-forget", "asked for", people.now)
    for envelope in (*envelopes, stale):
        people.ledger.append(envelope, people.now)
    after = _file_of(people, tmp_path)
    assert not [trace for trace in traces if trace.encode() in after]
    assert public_bytes(key_of("c-ann")).hex().encode() in after  # keys stay


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
    return [path, *(deeper for key, item in inner for deeper in _paths(item, (*path, key)))]


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
