"""What is erased is gone, changes no root, and does not come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.admission import Rule
from assets.consent.erasure import ErasureError
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger
from tests.training.consent.people import People, key_of
from training.consent import events as ev
from training.consent import merkle
from training.consent.canonical import canonical
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
