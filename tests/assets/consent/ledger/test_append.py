"""What append promises: one order, one commit, judgements on the ledger as it stands, and no acknowledged event lost."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.consent import audit, intake
from assets.consent.admission import Register, Rule, judge
from assets.consent.intake import Admitted, Refused
from assets.consent.ledger import Ledger, LedgerBroken
from assets.database import guard_problems
from tests.assets.consent.ledger.conftest import Intruder
from tests.training.consent.people import FILE, NOTICE, NOW, TERMS, People, key_id, key_of
from training.consent import events as ev
from training.consent import merkle
from training.consent.database import open_engine
from training.consent.events import PLATFORM
from training.consent.ledger import LedgerMissing, LedgerReader
from training.consent.tables import metadata


def grants(people: People, count: int, party: str = "c-ann") -> list[ev.Envelope]:
    terms = {"notice_sha256": NOTICE, "terms_sha256": TERMS}
    bodies = [ev.grant(party, "contributor", [FILE], ["train"], people.now, **terms) for _ in range(count)]
    return [ev.sign(body, key_of(party)) for body in bodies]


def test_writers_at_the_same_time_share_one_sequence(people: People) -> None:
    def write(party: str) -> None:
        ledger = Ledger(people.url)
        for envelope in grants(people, 15, party):
            assert isinstance(ledger.append(envelope, people.now), Admitted)
        ledger.engine.dispose()

    start = people.ledger.size()
    threads = [threading.Thread(target=write, args=(party,)) for party in ("c-ann", "p-bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in people.ledger.events()] == list(range(start + 30))
    people.ledger.verify()


def test_what_another_writer_just_admitted_counts_at_once(people: People) -> None:
    """No ledger object remembers what it saw earlier."""
    ours, theirs = people.ledger, Ledger(people.url)
    given_ = people.grant("c-ann")
    assert isinstance(
        theirs.append(ev.sign(ev.revoke_key("c-ann", key_id("c-ann"), people.now), key_of("c-ann")), people.now),
        Admitted,
    )
    outcome = ours.append(ev.sign(ev.amend(given_, people.now, scopes=["eval"]), key_of("c-ann")), people.now)
    assert isinstance(outcome, Refused)
    assert outcome.rule is Rule.KEY_REVOKED
    theirs.engine.dispose()


def test_a_failure_between_any_two_statements_leaves_the_ledger_as_it_was(people: People) -> None:
    """The n-th statement of an append fails, for every n until the append needs fewer."""
    batch: list[Any] = [*grants(people, 3), "no envelope"]
    head, refused = people.ledger.head(), people.ledger.refusals()
    for number in range(1, 200):
        left = number

        def fail(*_: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        ledger = Ledger(people.url)
        sa.event.listen(ledger.engine, "before_cursor_execute", fail)
        sa.event.listen(ledger.engine, "commit", fail)
        try:
            ledger.append_many(batch, people.now)
            break
        except KeyboardInterrupt:
            assert (people.ledger.head(), people.ledger.refusals()) == (head, refused)
        finally:
            ledger.engine.dispose()
    assert number > 8
    assert people.ledger.size() == head.size + 3
    assert all(outcome.already for outcome in people.ledger.append_many(batch[:3], people.now))  # type: ignore[union-attr]
    people.ledger.verify()


def test_a_clock_that_steps_back_never_reorders_the_ledger(people: People) -> None:
    people.grant("c-ann")
    body = ev.grant("c-ann", "contributor", [FILE], ["train"], NOW, notice_sha256=NOTICE, terms_sha256=TERMS)
    people.append(body, "c-ann", now=NOW - timedelta(days=1))
    times = [event.recorded_at for event in people.ledger.events()]
    assert times == sorted(times)
    people.ledger.verify()


def test_a_batch_larger_than_a_chunk_is_judged_in_order(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_CHUNK", 2)
    first = grants(people, 1)[0]
    amended = [first["body"]]
    for _ in range(4):
        amended.append(ev.amend(amended[-1], people.now))
    envelopes = [ev.sign(body, key_of("c-ann")) for body in amended]
    outcomes = people.ledger.append_many([*envelopes, envelopes[0]], people.now)
    assert [isinstance(outcome, Admitted) and outcome.already for outcome in outcomes] == [False] * 5 + [True]
    people.ledger.verify()


def test_every_checkpoint_is_consistent_with_every_later_one(people: People) -> None:
    old = people.ledger.head()
    people.ledger.append_many(grants(people, 300), people.now)
    new = people.ledger.head()
    proof = people.ledger.consistency_proof(old.size, new.size)
    assert merkle.verify_consistency(old.size, new.size, bytes.fromhex(old.root), bytes.fromhex(new.root), proof)
    assert people.ledger.head(upto=old.size) == old
    leaf, proof = people.ledger.leaves()[7], people.ledger.inclusion_proof(7, new.size)
    assert merkle.verify_inclusion(leaf, 7, new.size, proof, bytes.fromhex(new.root))
    people.ledger.verify()


def test_leaves_are_salted(tmp_path: Path) -> None:
    """The same events in two ledgers give different leaves, so that an erased event cannot be guessed from its leaf."""
    roots = {People(f"sqlite:///{tmp_path / name}.db", "c-ann").ledger.head().root for name in ("one", "two")}
    assert len(roots) == 2


def test_two_who_begin_a_ledger_at_once_begin_one(url: str) -> None:
    first, other = Ledger(url), Ledger(url)
    first.found(key_of(PLATFORM), NOW)
    other.found(key_of(PLATFORM), NOW)
    with pytest.raises(ValueError, match="another platform key"):
        other.found(key_of("somebody else"), NOW)
    assert other.size() == 1
    for ledger in (first, other):
        ledger.engine.dispose()


def test_reading_a_ledger_that_is_not_there_makes_none(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(LedgerMissing):
        LedgerReader(f"sqlite:///{path}")
    assert not path.exists()


def test_another_database_is_no_ledger(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE other (x INTEGER)")
    with pytest.raises(LedgerMissing):
        LedgerReader(url)
    engine.dispose()


NAMES = ("c-ann", "p-bob", "x-mal", PLATFORM)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["grant", "amend", "revoke", "join", "revoke_key", "appoint", "dispute", "adjudicate", "forge"]
        ),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.integers(0, 3),
    ),
    max_size=25,
)


def _event(step: tuple[str, str, str, int], now: Any) -> ev.Envelope:
    kind, party, signer, number = step
    name, prev = f"consent-{number}", f"event-{number}"
    officer = {"evidence_sha256": "e" * 64, "officer": "o-ida"}
    grant = ev.grant(party, "contributor", [FILE], ["train"], now, notice_sha256=NOTICE, terms_sha256=TERMS,
                     consent_id=name, event_id=prev if number else None, actor=signer)  # fmt: skip
    body = {
        "grant": lambda: grant,
        "amend": lambda: ev.amend({**grant, "event_id": prev}, now),
        "revoke": lambda: ev.revoke(name, party, "contributor", now, actor=signer),
        "join": lambda: ev.enrol(party, key_id(signer), now, **officer),
        "revoke_key": lambda: ev.revoke_key(party, key_id(signer), now),
        "appoint": lambda: ev.guardian(party, signer, now, ended=number % 2 == 1, **officer),
        "dispute": lambda: ev.dispute(party, [FILE], "legal.privacy", now, dispute_id=name, event_id=prev),
        "adjudicate": lambda: ev.adjudicate(name, "dismissed", now, officer="o-ida", event_id=prev if number else None),
        "forge": lambda: ev.register_key(party, key_of(signer), now),
    }[kind]()
    envelope = ev.sign(body, key_of(signer))
    return ev.endorse(envelope, key_of(party)) if kind == "forge" and number else envelope


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(1, 4))
def test_judging_from_what_concerns_an_event_is_judging_from_everything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str, int]], portion: int
) -> None:
    people = People(f"sqlite:///{tmp_path_factory.mktemp('fold') / 'rushes.db'}", "c-ann", "p-bob")
    whole = Register()
    for event in people.ledger.events():
        whole.record({"body": event.body, "key_id": event.key_id})
    envelopes = [_event(step, people.now) for step in steps]
    for start in range(0, len(envelopes), portion):
        some = envelopes[start : start + portion]
        for envelope, outcome in zip(some, people.ledger.append_many(some, people.now), strict=True):
            if isinstance(outcome, Admitted) and outcome.already:
                continue
            expected = judge(whole, envelope, people.now)
            if expected is None:
                whole.record(envelope)
            assert (expected and expected.rule) == (outcome.rule if isinstance(outcome, Refused) else None)
    people.ledger.verify()
    people.ledger.engine.dispose()


def test_the_audit_says_the_same_with_several_processes(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    people.ledger.append_many(grants(people, 300), people.now)
    monkeypatch.setattr(audit, "_WORTH_A_POOL", 0)
    monkeypatch.setattr(audit, "_CHUNK", 100)
    people.ledger.verify(workers=2)
    intruder = Intruder(people.url)
    with intruder.unguarded():
        intruder.run("UPDATE consent_event SET party_id = 'p-bob' WHERE seq = 250")
        intruder.run("UPDATE consent_event SET salt = (SELECT salt FROM consent_event WHERE seq = 0) WHERE seq = 20")
    intruder.close()
    reports = []
    for workers in (1, 2):
        with pytest.raises(LedgerBroken) as broken:
            people.ledger.verify(workers=workers)
        reports.append(broken.value.problems)
    assert reports[0] == reports[1] == [
        "event 20 is not what its leaf commits to",
        "event 250 is filed under party_id 'p-bob', but says 'c-ann'",
    ]  # fmt: skip


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
    output, _ = process.communicate()
    lines = [line.split() for line in output.splitlines(keepends=True) if line.endswith("\n")]
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
