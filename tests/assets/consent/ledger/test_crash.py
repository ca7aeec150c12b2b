"""Real processes append at the same time and are killed at any moment: what was acknowledged is there, and all of it holds."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from assets.database import guard_problems
from tests.training.consent.people import NOW, People
from training.consent.tables import metadata

ROOT = Path(__file__).parents[4]
WRITER = """
import random, sys
from tests.training.consent.people import FILE, NOTICE, NOW, TERMS, key_of
from training.consent import events as ev
from assets.consent.ledger import Ledger

url, party = sys.argv[1:]
ledger = Ledger(url)
print("ready", flush=True)
while True:
    terms = {"notice_sha256": NOTICE, "terms_sha256": TERMS}
    bodies = [ev.grant(party, "contributor", [FILE], ["train"], NOW, **terms) for _ in range(random.choice([1, 2, 40, 300]))]
    outcomes = ledger.append_many([ev.sign(body, key_of(party)) for body in bodies] + ["no envelope"], NOW)
    for body, outcome in zip(bodies, outcomes):
        print(outcome.seq, outcome.leaf_hash, body["event_id"], flush=True)
    if random.random() < 0.3:
        revoked = ev.revoke(bodies[0]["consent_id"], party, "contributor", NOW)
        ledger.append(ev.sign(revoked, key_of(party)), NOW)
        ledger.erase(bodies[0]["consent_id"], "asked for", NOW)
"""


def _start(url: str, party: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, url, party]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def _kill(process: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """What it had acknowledged."""
    process.send_signal(signal.SIGKILL)
    said, _ = process.communicate()
    lines = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [(int(words[0]), words[1], words[2]) for words in lines if len(words) == 3]


@pytest.mark.slow
def test_killed_writers_lose_nothing_that_they_acknowledged(people: People, url: str) -> None:
    moments, acknowledged = random.Random(7), list[tuple[int, str, str]]()
    for _ in range(8):
        writers = [_start(url, party) for party in ("c-ann", "p-bob")]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0.05, 1.0))
        for writer in writers:
            acknowledged += _kill(writer)
        people.ledger.verify(workers=1)
    assert acknowledged
    places = [seq for seq, _, _ in acknowledged]
    assert len(set(places)) == len(places)
    leaves = people.ledger.leaves()
    kept = {event.seq: event for event in people.ledger.events()}
    for seq, leaf, event_id in acknowledged:
        assert leaves[seq].hex() == leaf
        assert seq not in kept or kept[seq].body["event_id"] == event_id
    assert sum(seq in kept for seq in places) > len(places) // 2  # few were erased


@pytest.mark.slow
def test_processes_that_make_the_same_ledger_at_once_make_one(url: str) -> None:
    """Each finds tables and guards whole, whoever made them."""
    code = f"from assets.consent.ledger import Ledger; Ledger({url!r}).size()"
    makers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(4)]
    assert [maker.wait(120) for maker in makers] == [0] * 4
    ledger = People(url, "c-ann").ledger
    with ledger.engine.connect() as connection:
        assert list(guard_problems(connection, metadata.sorted_tables)) == []
        assert (
            connection.execute(sa.text("SELECT MAX(recorded_at) FROM consent_leaf")).scalar_one()
            >= NOW.isoformat()[:10]
        )
    ledger.engine.dispose()
