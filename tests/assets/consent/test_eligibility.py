"""Eligible clips over time: what was recorded stays, what is to come follows from the consents that end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assets.consent import eligibility as deciding
from assets.consent.eligibility import changes_after, counts, outlook, project, record_counts, turning_points
from assets.home import Home
from assets.pages.plots import outlook_plot
from training.consent.eligibility import eligible
from training.consent.state import ConsentState
from training.consent.times import HORIZON

NOW = datetime.now(UTC)
TODAY = NOW.date()


def row(eligible: bool, *reasons: str) -> dict[str, Any]:
    return {"clip_id": "a" * 64, "eligible": eligible, "reasons": list(reasons)}


def test_a_clip_counts_as_out_once_and_under_each_of_its_reasons() -> None:
    result = counts([(True, []), (False, ["a", "b"]), (False, ["b"])])
    assert result == {"eligible": 1, "not_eligible": 2, "a": 1, "b": 2}
    assert counts([]) == {"eligible": 0, "not_eligible": 0}


def test_today_is_replaced_and_earlier_days_stay(home: Home) -> None:
    yesterday = NOW - timedelta(days=1)
    record_counts(home, [row(True), row(True)], "train", yesterday)
    record_counts(home, [row(True)], "train", NOW)
    record_counts(home, [row(False, "consent.revoked")], "train", NOW)
    record_counts(home, [row(True)], "eval", NOW)
    past = outlook(home, "train", NOW).past
    assert past == {
        yesterday.date(): {"eligible": 2, "not_eligible": 0},
        TODAY: {"eligible": 0, "not_eligible": 1, "consent.revoked": 1},
    }
    key = home.lake.key("eligibility_history", TODAY.isoformat())
    before = home.store.get(key)
    record_counts(home, [row(False, "consent.revoked")], "train", NOW + timedelta(seconds=1))
    assert home.store.get(key) == before


@pytest.fixture
def ending(world: Any) -> Any:
    """Three eligible clips; consent to one of them ends in a hundred days, and begins anew never."""
    world.deliver("c-1", clips=2)
    (last,) = world.deliver("c-2", clips=1, consent=False)
    world.grant(last, "c-2", expires_at=NOW + timedelta(days=100))
    world.settle()
    return world


def test_clips_leave_on_the_day_on_which_training_would_outlast_their_consent(ending: Any) -> None:
    future = outlook(ending.home, "train", NOW).future
    days = list(future)
    assert (days[0], days[-1]) == (TODAY, TODAY + timedelta(weeks=26))
    for day, counted in future.items():
        expected = 3 if day + HORIZON < TODAY + timedelta(days=100) else 2
        assert counted["eligible"] == expected, day
        assert counted["eligible"] + counted["not_eligible"] == 3
    assert future[days[-1]]["consent.expires"] == 1
    ((turn),) = turning_points(future)
    assert (turn["eligible"], turn["change"]) == (2, "-1")


def test_clips_whose_consents_do_not_end_are_asked_about_once_and_counted_all_the_same(ending: Any) -> None:
    from assets.consent.clips import clip_facts
    from assets.consent.ledger import Ledger

    state = ConsentState.fold(Ledger(ending.home.database_url).events())
    facts = clip_facts(ending.home)
    at = datetime.now(UTC)
    assert [changes_after(each, state, at) for each in facts].count(True) == 1
    for day, counted in project(facts, state, "train", at).items():
        moment = at + (day - at.date())
        asked = [eligible(each, "train", moment, moment + HORIZON, state) for each in facts]
        assert counted == counts((decision.eligible, decision.reasons) for decision in asked)


def test_a_consent_that_begins_later_is_seen_coming(world: Any) -> None:
    (clip,) = world.deliver("c-1", clips=1, consent=False)
    world.grant(clip, "c-1", effective_at=NOW + timedelta(days=60))
    world.settle()
    result = [counted["eligible"] for counted in outlook(world.home, "train", NOW).future.values()]
    assert (result[0], result[-1]) == (0, 1)


def test_the_table_of_reasons_gives_shares_and_examples_most_frequent_first(ending: Any) -> None:
    rows = [row(True), row(False, "consent.revoked", "review.pending"), row(False, "review.pending"), row(True)]
    assert deciding.reason_table(rows) == [
        {
            "reason": "review.pending",
            "clips": 2,
            "share": "50.0%",
            "says": "reviewers of two organisations have not approved it yet",
            "examples": "aaaaaaaaaaaa, aaaaaaaaaaaa",
        },
        {
            "reason": "consent.revoked",
            "clips": 1,
            "share": "25.0%",
            "says": "consent was withdrawn",
            "examples": "aaaaaaaaaaaa",
        },
    ]
    assert deciding.reason_table([]) == []


@pytest.mark.parametrize("days", [0, 1, 40])
def test_the_picture_is_drawn_with_any_amount_of_past(days: int) -> None:
    past = {TODAY - timedelta(days=day): {"eligible": day, "not_eligible": 2, "a.b": 1} for day in range(days)}
    future = {TODAY + timedelta(weeks=week): {"eligible": 5, "not_eligible": 0} for week in range(5)}
    assert outlook_plot(past, future, "eligible", "title", "clips").startswith(b"\x89PNG")
    assert outlook_plot({}, {}, "eligible").startswith(b"\x89PNG")
