"""What holds of every history, whatever goes wrong in it; asked of random ones and of every order of a few events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assets.consent.ledger import Ledger
from tests.training.consent import naive
from tests.training.consent.histories import (
    AT,
    DAY,
    START,
    UNTIL,
    History,
    Submission,
    admit,
    every_order,
    founding,
)
from tests.training.consent.naive import naive_answer
from tests.training.consent.people import key_of
from tests.training.consent.stories import story
from training.consent import events as ev
from training.consent.eligibility import Decision, eligible
from training.consent.events import Event
from training.consent.state import EVERYBODY, Audience, ConsentState
from training.consent.times import time_text

STORIES = st.integers(0, 10**9).map(story)
WINDOWS = ((AT, UNTIL), (AT, AT), (AT + DAY, AT + 2 * DAY), (UNTIL, UNTIL))
LONG_AGO = "1970-01-01T00:00:00Z"


def _decisions(history: History, events: tuple[Event, ...] | None = None) -> list[Decision]:
    """Whether each clip may be trained on, in each window."""
    state = history.state if events is None else ConsentState.fold(events)
    return [eligible(clip, "train", *window, state) for clip in history.clips for window in WINDOWS]


def _no_wider(after: list[Decision], before: list[Decision]) -> bool:
    """Whether nothing is allowed now that was not allowed before."""
    return all(was.eligible or not now.eligible for now, was in zip(after, before, strict=True))


def _questions() -> Iterator[tuple[str, datetime, datetime, Audience]]:
    """(purpose, at, until, audience): every window, and for the first of them every purpose."""
    for audience in (EVERYBODY, Audience("BE", "org-1")):
        for purpose in ("eval", "finetune_client", "synthetic_derivation"):
            yield purpose, AT, UNTIL, audience
        for window in (*WINDOWS, (START + DAY, AT)):
            yield "train", *window, audience


def _disagreement(histories: Iterable[History], answer: Callable[..., Any] = naive_answer) -> str | None:
    """The first answer in which the rules differ from the oracle: other codes, or other consents."""
    for history in histories:
        events = history.events[len(founding()) :]  # who holds which key is no matter here
        for clip in history.clips:
            for purpose, at, until, audience in _questions():
                decision = eligible(clip, purpose, at, until, history.state, audience)
                expected = answer(clip, purpose, at, until, events, audience)
                if expected != (set(decision.reasons), set(decision.consent_ids)):
                    return f"{purpose}, {at} to {until}, {audience}: {decision}, not {expected}\n{history}"
    return None


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_the_rules_and_a_naive_walk_over_time_agree(first: int) -> None:
    assert _disagreement(map(story, range(first, first + 100))) is None


@pytest.mark.slow
def test_the_rules_and_a_naive_walk_over_time_agree_on_thousands_and_on_every_order() -> None:
    histories = [*map(story, range(10_000)), *every_order()]
    assert _disagreement(histories) is None
    assert len(histories) > 20_000
    assert 0.1 < sum(_decisions(history)[0].eligible for history in histories) / len(histories) < 0.9


# one rule taken out of the oracle, or bent: (what it says, what it would say)
WRONG = (
    (' and event.body["party_id"] == party\n', "\n"),
    ('"revoke" and (event.recorded_at <= moment or _claimed(event) <= moment)', '"revoke" and _claimed(event) <= moment'),
    ('"revoke" and event.recorded_at <= moment and', '"revoke" and'),
    ('& set(last["recipients"])', '| set(last["recipients"])'),
    ("minutes=5", "seconds=299"),
    ('moment >= datetime.fromisoformat(last["expires_at"])', 'moment > datetime.fromisoformat(last["expires_at"])'),
    ("last = event.body", "last = last or event.body"),
    ("(person.minor or _guarded(events, person.person_id))", "person.minor"),
    ("person.identifiable and (", "("),
    ('if not _digests(clip) & set(last["assets"])', "if False"),
    ('return "guardian" in about.values()', 'return bool(about)'),
    ('if outcome != "dismissed"', "if True"),
    ("> len(released) +", "> 1 + len(released) +"),
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "bent"), WRONG)
def test_any_rule_bent_in_the_oracle_is_noticed(rule: str, bent: str) -> None:
    source = Path(naive.__file__).read_text()
    assert source.count(rule) == 1
    wrong: dict[str, Any] = {"__name__": naive.__name__}
    exec(compile(source.replace(rule, bent), naive.__file__, "exec"), wrong)
    assert _disagreement(map(story, range(2000)), wrong["naive_answer"])


def test_a_real_ledger_admits_what_the_histories_say(tmp_path: Path) -> None:
    for number in range(8):
        history = story(number)
        ledger = Ledger(f"sqlite:///{tmp_path / f'{number}.db'}")
        ledger.append_many(founding(), START - DAY)
        for submission in history.submissions:
            ledger.append(submission.envelope, submission.clock)
        kept = [(event.seq, event.recorded_at, event.body) for event in ledger.events()]
        assert kept == [(event.seq, event.recorded_at, event.body) for event in history.events], str(history)


def test_most_rules_of_admission_are_broken_by_some_history() -> None:
    broken = {rule for number in range(300) for rule in story(number).outcome[1]}
    assert len(broken) >= 12


@given(STORIES, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_one_more_revocation_allows_nothing_more(history: History, random: Random) -> None:
    granted = [s for s in history.submissions if s.envelope["body"]["type"] == "grant"]
    body = random.choice(granted).envelope["body"]
    # what was refused could be admitted where the revocation has what it clashed with refused: an event_id, a consent_id
    admitted = [event.body for event in history.events]
    history = replace(history, submissions=tuple(s for s in history.submissions if s.envelope["body"] in admitted))
    assume(history.submissions)
    place = random.randrange(len(history.submissions) + 1)
    clock = history.submissions[min(place, len(history.submissions) - 1)].clock
    revocation = ev.revoke(body["consent_id"], body["party_id"], body["role"], AT - 20 * DAY, event_id="extra")
    extra = Submission(ev.sign(revocation, key_of(body["party_id"])), clock)
    more = replace(history, submissions=(*history.submissions[:place], extra, *history.submissions[place:]))
    assert _no_wider(_decisions(more), _decisions(history)), f"{history}\n{more}"


@given(STORIES)
@settings(max_examples=100, deadline=None)
def test_without_the_consents_of_one_who_has_to_consent_nothing_is_allowed(history: History) -> None:
    for clip in history.clips:
        asked = {clip.contributor_id, *(p.person_id for p in clip.persons if p.identifiable), *clip.properties}
        for party in asked:
            rest = [
                event
                for event in history.events
                if event.type not in ("grant", "amend") or event.body["party_id"] != party
            ]
            assert not eligible(clip, "train", AT, UNTIL, ConsentState.fold(rest)).eligible, f"{party}: {history}"


def _claiming(event: Event, effective_at: str) -> Event:
    return replace(event, body={**event.body, "effective_at": effective_at})


@given(STORIES)
@settings(max_examples=100, deadline=None)
def test_terms_that_are_backdated_allow_nothing_more_than_from_their_record_on(history: History) -> None:
    at_record, backdated = (
        tuple(
            _claiming(e, claim or time_text(e.recorded_at)) if e.type in ("grant", "amend") else e
            for e in history.events
        )
        for claim in (None, LONG_AGO)
    )
    assert _decisions(history, backdated) == _decisions(history, at_record)


@given(STORIES)
@settings(max_examples=100, deadline=None)
def test_revocations_and_disputes_with_an_earlier_claim_allow_nothing_more(history: History) -> None:
    ending = ("revoke", "dispute")
    earlier = tuple(_claiming(event, LONG_AGO) if event.type in ending else event for event in history.events)
    assert _no_wider(_decisions(history, earlier), _decisions(history))


@given(STORIES)
@settings(max_examples=100, deadline=None)
def test_a_platform_clock_that_steps_back_is_as_good_as_one_that_stands_still(history: History) -> None:
    latest, standing = datetime.min.replace(tzinfo=AT.tzinfo), []
    for submission in history.submissions:
        latest = max(latest, submission.clock)
        standing.append(Submission(submission.envelope, latest))
    assert admit(standing) == history.outcome


@given(STORIES)
@settings(max_examples=50, deadline=None)
def test_what_was_delivered_once_more_changes_nothing(history: History) -> None:
    last = history.submissions[-1].clock
    again = (
        *history.submissions,
        *(Submission(s.envelope, last) for s in history.submissions if _admitted(s, history)),
    )
    assert admit(again)[0] == history.events


def _admitted(submission: Submission, history: History) -> bool:
    return any(event.body == submission.envelope["body"] for event in history.events)


def test_every_order_of_delivery_ends_in_a_no_once_the_revocation_has_arrived() -> None:
    """Whether it came before or after its grant and its amendments, and whatever else was said."""
    asked = 0
    for history in every_order():
        names = history.name.split()
        of_first = {"grant", "replay", "narrow", "widen", "restore", "revoke-later", "stranger-revokes"}
        if "revoke-later" in names and set(names) <= of_first:
            assert not any(decision.eligible for decision in _decisions(history)), str(history)
            asked += 1
    assert asked > 500


def test_another_consent_survives_the_revocation_of_the_first_in_every_order() -> None:
    asked = 0
    for history in every_order(3):
        if set(history.name.split()) == {"grant", "grant-again", "revoke-later"}:
            assert all(decision.consent_ids == ("k-2",) for decision in _decisions(history)), str(history)
            asked += 1
    assert asked == 6
