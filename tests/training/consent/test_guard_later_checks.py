"""Later checks of the guard read little and answer as a first one would; and neither believes a ledger that was edited."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from assets.consent.ledger import Ledger
from tests.training.consent.histories import AT, START, TURNS, UNTIL, History, admit, founding
from tests.training.consent.people import NOTICE, TERMS, People, key_of, reading_all
from tests.training.consent.stories import story
from tests.training.consent.test_guard import OTHER_CLIP, Sealed, member
from training.consent import events as ev
from training.consent.eligibility import ClipFacts, eligible
from training.consent.guard import ConsentGuard, ConsentViolation
from training.consent.snapshot import seal
from training.consent.state import Audience, ConsentState

Reasons = dict[str, tuple[str, ...]]


@pytest.fixture
def sealed(people: People, tmp_path: Path) -> Sealed:
    return Sealed(people, tmp_path)


def answer(guard: ConsentGuard, now: datetime) -> Reasons:
    try:
        guard.check(now)
    except ConsentViolation as violation:
        return violation.reasons
    return {}


def sealed_facts(facts: ClipFacts) -> dict[str, Any]:
    shown = {name: getattr(facts, name) for name in ("clip_id", "item_id", "shot_index", "bytes_sha256")}
    whose = {"contributor_id": facts.contributor_id, "dup_group": facts.dup_group, "facts": facts.to_dict()}
    return {**member([]), **shown, **whose}


def turning_point(past: History) -> int | None:
    """How many submissions until every clip may be used, with some still to come; None where that never happens."""
    for count in range(1, len(past.submissions)):
        state = ConsentState.fold(admit(past.submissions[:count])[0])
        if all(eligible(facts, "train", AT, UNTIL, state).eligible for facts in past.clips):
            return count
    return None


class Told:
    """A history written into a real ledger, as far as a snapshot of all its clips could be sealed; the rest is to come."""

    def __init__(self, past: History, begun: int, folder: Path) -> None:
        folder.mkdir()
        self.path, self.url, self.random = folder / "manifest.json", f"sqlite:///{folder / 'rushes.db'}", Random(begun)
        self.ledger, self.submissions = Ledger(self.url), list(past.submissions)
        self.ledger.append_many(founding(), START - timedelta(days=1))
        self.append(begun)
        members = map(sealed_facts, past.clips)
        manifest = seal(members, purpose="train", at=AT, until=UNTIL, ledger=self.ledger.head())
        self.root = manifest["root"]
        self.path.write_text(json.dumps(manifest))

    def append(self, count: int) -> None:
        for submission in self.submissions[:count]:
            self.ledger.append(submission.envelope, submission.clock)
        del self.submissions[:count]

    def guard(self) -> ConsentGuard:
        return ConsentGuard(self.path, self.root, self.url)

    def checks(self) -> Iterator[tuple[Reasons, Reasons, datetime]]:
        """What a watching guard and a new one say, at times that mostly go on, while the rest of the history happens."""
        watching, latest = self.guard(), AT
        times = [*TURNS, *(UNTIL + timedelta(days=days) for days in (1, 30, 299, 301))]
        while True:
            ahead = sorted(time for time in times if time >= latest)
            now = self.random.choice(
                (latest, latest, ahead[0], ahead[min(2, len(ahead) - 1)], self.random.choice(times))
            )
            latest = max(latest, now)
            yield answer(watching, now), answer(self.guard(), latest), latest
            if not self.submissions and self.random.random() < 0.5:
                return
            self.append(self.random.choice((0, 1, 1, 2)))


@pytest.mark.parametrize("numbers", [range(50), pytest.param(range(50, 600), marks=pytest.mark.slow)])
def test_a_later_check_says_what_a_first_one_would_on_random_histories(tmp_path: Path, numbers: range) -> None:
    passed = stopped = 0  # later checks that found nothing, and histories in which one did
    for number in numbers:
        past = story(number)
        if begun := turning_point(past):
            before: Reasons | None = None
            for answers, anew, at in Told(past, begun, tmp_path / str(number)).checks():
                assert answers == anew, f"{past}\nat {at}"
                passed, stopped = passed + (before == answers == {}), stopped + (before == {} and answers != {})
                before = answers
    assert min(passed, stopped) >= len(numbers) // 25, "the histories no longer put the guard to the test"


def test_a_later_check_asks_only_about_those_whom_something_happened_to(
    sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[str]] = []
    from training.consent import guard as module

    real = module.proven_events

    def counted(connection: Any, parties: set[str], upto: int) -> Any:
        asked.append(set(parties))
        return real(connection, parties, upto)

    monkeypatch.setattr(module, "proven_events", counted)
    guard, people = sealed.guard(), sealed.people
    guard.check(people.now)
    people.grant("x-mal", assets=["8" * 64])
    guard.check(people.now)
    people.grant("c-ann", assets=["8" * 64])
    guard.check(people.now)
    assert asked == [{"c-ann"}, {"c-ann"}]


def test_terms_that_end_while_a_run_goes_on_past_its_horizon_stop_it_without_any_new_event(
    people: People, tmp_path: Path
) -> None:
    people.grant("c-ann", expires_at=people.now + timedelta(days=50))
    sealed = Sealed.__new__(Sealed)
    sealed.people, sealed.path = people, tmp_path / "m.json"
    consent = people.ledger.entry(people.ledger.size() - 1)
    assert consent is not None
    _seal(sealed, [member([consent.body["consent_id"]])])
    guard = sealed.guard()
    guard.check(people.now)
    guard.check(people.now + timedelta(days=49))
    with pytest.raises(ConsentViolation, match=r"consent\.expires"):
        guard.check(people.now + timedelta(days=51))


def test_an_amendment_that_acts_only_later_stops_a_run_when_its_time_has_come(sealed: Sealed) -> None:
    guard, people = sealed.guard(), sealed.people
    later = (people.now + timedelta(days=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    people.append(ev.amend(sealed.consents[0], people.now, scopes=["eval"], effective_at=later), "c-ann")
    guard.check(people.now)
    with pytest.raises(ConsentViolation, match=r"consent\.scope"):
        guard.check(people.now + timedelta(days=61))


def test_a_dispute_holds_a_run_by_any_digest_of_a_clip(sealed: Sealed) -> None:
    guard, people = sealed.guard(), sealed.people
    guard.check(people.now)
    people.append(ev.dispute("p-bob", [OTHER_CLIP], "legal.privacy", people.now), "p-bob")
    assert answer(guard, people.now) == {OTHER_CLIP: ("dispute.open",)}


def test_a_snapshot_for_a_recipient_or_a_territory_is_held_to_it(people: People, tmp_path: Path) -> None:
    body = people.grant("c-ann", territories=["BE"], recipients=["r-lab"])
    sealed = Sealed.__new__(Sealed)
    sealed.people, sealed.path = people, tmp_path / "m.json"
    _seal(sealed, [member([body["consent_id"]])], audience=Audience("BE", "r-lab"))
    guard = sealed.guard()
    guard.check(people.now)
    people.append(ev.amend(body, people.now, recipients=["r-other"]), "c-ann")
    with pytest.raises(ConsentViolation, match=r"consent\.recipient"):
        guard.check(people.now)
    _seal(sealed, [member([body["consent_id"]])], audience=Audience("FR"))
    assert set(sealed.violation().values()) == {("consent.recipient", "consent.territory")}


def _seal(sealed: Sealed, members: list[dict[str, Any]], **where: str) -> None:
    head = sealed.people.ledger.head()
    at = head.recorded_at
    assert at is not None
    sealed.manifest = seal(members, purpose="train", at=at, until=at + timedelta(days=30), ledger=head, **where)
    sealed.root = sealed.manifest["root"]
    sealed.write()


# -- a ledger that was edited behind its guards --------------------------------------------------------------------------


@contextmanager
def unguarded(url: str) -> Iterator[sqlite3.Connection]:
    """The ledger's file without its triggers: what somebody with the disk can do."""
    raw = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        raw.execute(f'DROP TRIGGER "{name}"')
    yield raw
    raw.close()


def last_seq(sealed: Sealed) -> int:
    return sealed.people.ledger.size() - 1


@pytest.mark.parametrize("later", [False, True])
def test_a_revocation_whose_body_is_gone_still_stops_training(sealed: Sealed, later: bool) -> None:
    guard = sealed.guard()
    if later:
        guard.check(sealed.people.now)
    sealed.people.revoke(sealed.consents[0])
    with unguarded(sealed.people.url) as raw:
        raw.execute("DELETE FROM consent_event WHERE seq = ?", (last_seq(sealed),))
    assert answer(guard, sealed.people.now) == {"*": ("ledger.broken",)}


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE consent_event SET envelope = replace(envelope, '\"train\"', '\"eval\"') WHERE seq = :seq",
        "UPDATE consent_event SET envelope = '{}' WHERE seq = :seq",
        "UPDATE consent_event SET envelope = 'no json' WHERE seq = :seq",
        "UPDATE consent_event SET salt = zeroblob(32) WHERE seq = :seq",
        "UPDATE consent_leaf SET recorded_at = '2020-01-01T00:00:00Z' WHERE seq = :seq",
        "UPDATE consent_leaf SET leaf_hash = 'zz' WHERE seq = :seq",
    ],
)
def test_an_event_that_is_not_what_its_leaf_commits_to_is_not_believed(sealed: Sealed, edit: str) -> None:
    with unguarded(sealed.people.url) as raw:
        raw.execute(edit, {"seq": last_seq(sealed)})
    assert sealed.violation() == {"*": ("ledger.broken",)}


def test_an_event_and_its_leaf_edited_together_are_found_by_the_kept_hashes_above_them(sealed: Sealed) -> None:
    """Beyond a full tile of leaves the root is made of kept hashes, which do not change when a leaf is edited."""
    people, consent = sealed.people, sealed.consents[1]
    terms = {"notice_sha256": NOTICE, "terms_sha256": TERMS}
    grants = [ev.grant("x-mal", "contributor", ["8" * 64], ["train"], people.now, **terms) for _ in range(300)]
    people.ledger.append_many([ev.sign(body, key_of("x-mal")) for body in grants], people.now)
    _seal(sealed, sealed.manifest["members"])
    seq = next(event.seq for event in people.ledger.events() if event.body.get("consent_id") == consent["consent_id"])
    with unguarded(people.url) as raw:
        envelope, salt = raw.execute("SELECT envelope, salt FROM consent_event WHERE seq = ?", (seq,)).fetchone()
        forged = envelope.replace(consent["assets"][0], "7" * 64)
        assert forged != envelope
        leaf = _leaf(forged, salt, raw.execute("SELECT recorded_at FROM consent_leaf WHERE seq = ?", (seq,)).fetchone())
        raw.execute("UPDATE consent_event SET envelope = ? WHERE seq = ?", (forged, seq))
        raw.execute("UPDATE consent_leaf SET leaf_hash = ? WHERE seq = ?", (leaf, seq))
    assert sealed.violation() == {"*": ("ledger.broken",)}


def _leaf(envelope: str, salt: bytes, recorded: tuple[str]) -> str:
    from training.consent.tables import leaf_of

    parsed = json.loads(envelope)
    return leaf_of(salt, recorded[0], parsed).hex()


def test_a_ledger_rewritten_since_the_last_check_is_refused(sealed: Sealed, tmp_path: Path) -> None:
    guard = sealed.guard()
    sealed.people.grant("x-mal", assets=["8" * 64])
    guard.check(sealed.people.now)
    with unguarded(sealed.people.url) as raw:
        seq = last_seq(sealed)
        raw.execute("DELETE FROM consent_event WHERE seq = ?", (seq,))
        raw.execute("DELETE FROM consent_leaf WHERE seq = ?", (seq,))
    assert answer(guard, sealed.people.now) == {"*": ("ledger.rewritten",)}


def test_the_guard_reads_by_index_alone(sealed: Sealed) -> None:
    """A question that scans the ledger would grow with it: the query planner must name an index for every table."""
    statements: list[tuple[str, Any]] = []
    guard = sealed.guard()
    guard.check(sealed.people.now)
    sealed.people.grant("c-ann", assets=["8" * 64])

    def note(_: Any, __: Any, statement: str, parameters: Any, ___: Any, ____: Any) -> None:
        if statement.startswith("SELECT"):
            statements.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    try:
        guard.check(sealed.people.now)
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)
    assert reading_all(sealed.people.url, statements) == []
    assert len(statements) > 5
