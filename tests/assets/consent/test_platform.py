"""From deliveries to the ledger and back to the lake: hostile texts, any order of rows, every type of event."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from assets.consent.ledger import Ledger
from assets.consent.platform import enrol, event_row, export, platform_key, take_in
from assets.home import Home
from assets.lake import to_table
from tests.training.consent.histories import AT, DAY, PEOPLE, START, History, every_order, founding
from tests.training.consent.people import EVIDENCE, key_id
from tests.training.consent.stories import story
from training.consent import events as ev
from training.consent.canonical import sha256_hex
from training.consent.events import PLATFORM, TYPES


def _submit(home: Home, texts: list[str], day: str = "2026-11-02") -> None:
    rows = [
        {
            "delivery_id": "d-1",
            "received_day": day,
            "event_sha256": sha256_hex(text.encode("utf-8", "surrogatepass")),
            "envelope_json": text,
        }
        for text in dict.fromkeys(texts)
    ]
    home.lake.write("consent_submissions", rows, day)


def _texts(history: History) -> list[str]:
    return [json.dumps(submission.envelope) for submission in history.submissions]


HOSTILE = {
    "not JSON": "{broken",
    "not an object": "[1, 2]",
    "a body that is a list": '{"body": [], "key_id": "k", "sig": "s"}',
    "nested too deeply": "[" * 60_000,
    "a number without end": '{"body": {"type": "grant", "issued_at": ' + "9" * 5000 + "}}",
    "half a character": '{"body": {"type": "\\ud800", "issued_at": "\\udfff"}, "key_id": "k", "sig": "s"}',
    "a key twice": '{"body": {"type": "grant", "type": "revoke", "issued_at": 1}}',
    "a zero byte": '{"body": {"type": "grant\\u0000", "issued_at": "\\u0000"}, "key_id": "k", "sig": "s"}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_submission_is_refused_with_a_rule_and_holds_nothing_up(home: Home, text: str) -> None:
    opening = ev.dispute(PLATFORM, ["a" * 64], "legal.privacy", AT)
    founded = take_in(home, AT).checkpoint["size"]
    _submit(home, [text, json.dumps(ev.sign(opening, platform_key(home)))])
    taken = take_in(home, AT)
    assert taken.admitted == 1
    assert set(taken.refused) <= {"malformed", "schema", "size"}
    assert taken.refused.total() == 1
    assert Ledger(home.database_url).size() == founded + 1


def _enrolled(home: Home) -> list[str]:
    """Officers have verified everybody's key; the registrations are still to be submitted."""
    for name in PEOPLE:
        enrol(home, name, key_id(name), officer="o-ida", evidence_sha256=EVIDENCE, now=START - DAY)
    return [json.dumps(envelope) for envelope in founding() if envelope["body"]["actor"] in PEOPLE]


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    kept = []
    for name in ("one", "two"):
        home = Home.local(tmp_path / name)
        texts = [*_enrolled(home), *(text for number in range(6) for text in _texts(story(number)))]
        Random(name).shuffle(texts)
        _submit(home, texts)
        take_in(home, AT)
        kept.append([event.body for event in Ledger(home.database_url).events()][1:])
    assert kept[0] == kept[1]
    assert sum(body["type"] == "grant" for body in kept[0]) > 3


def test_every_type_of_event_fits_the_table() -> None:
    histories = [*map(story, range(200)), *every_order(2)]
    events = {event.type: event for history in histories for event in history.events}
    assert set(events) == set(TYPES)
    rows = [{**event_row(event), "seq": seq} for seq, event in enumerate(events.values())]
    assert to_table("consent_events", rows).num_rows == len(TYPES)


def test_the_table_has_every_event_of_the_ledger_in_order(home: Home) -> None:
    _submit(home, [*_enrolled(home), *_texts(story(3))])
    take_in(home, AT)
    export(home)
    events = Ledger(home.database_url).events()
    assert len(events) > 2 * len(PEOPLE) + 1
    assert home.lake.rows("consent_events") == [event_row(event) for event in events]
