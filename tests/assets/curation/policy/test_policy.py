"""A home's own thresholds, and the corpus decided again by them: no film is opened, and the bytes are those of before."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import (
    KEY,
    PolicyError,
    policy_of,
    read_changes,
    tuned,
    with_settings,
    write_changes,
)
from assets.curation.policy.replay import replay
from assets.curation.policy.verdicts import blocks
from assets.home import Home
from assets.store import LocalStore
from tests.assets.curation.corpus import write_corpus

# -- a home's own thresholds -----------------------------------------------------------------------------------------


def test_a_home_without_a_file_decides_by_the_policy_of_the_code(home: Home) -> None:
    assert policy_of(home) == POLICY


def test_a_changed_number_is_another_policy_with_another_name(home: Home) -> None:
    write_changes(home, {"sharpness": {"low": 8}})
    ours = policy_of(home)
    assert (ours.check("sharpness").low, ours.check("motion")) == (8.0, POLICY.check("motion"))
    assert ours.name != POLICY.name
    assert ours.name.startswith(POLICY.version)


def test_taking_every_change_back_removes_the_file_and_gives_the_first_name(home: Home) -> None:
    write_changes(home, {"sharpness": {"low": 8}})
    write_changes(home, with_settings(read_changes(home), ["sharpness.low=default"]))
    assert not home.store.exists(KEY)
    assert policy_of(home).name == POLICY.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sharpnes": {"low": 8}}, "did you mean sharpness?"),
        ({"sharpness": {"high": 8}}, "no such setting"),
        ({"sharpness": {"threshold": 8}}, "no such setting"),
        ({"synthetic_origin": {"low": 1}}, "nothing that can be changed"),
        ({"sharpness": {"low": "eight"}}, "not a number"),
        ({"sharpness": {"low": True}}, "not a number"),
        ({"sharpness": {"low": float("nan")}}, "not a number"),
        ({"sharpness": {"low": -1}}, "below 0"),
        ({"black": {"high": 50}}, "write 0.5 for 50 %"),
        ({"motion": {"low": 3}}, "above high"),
        ({"motion": {"unit": "px"}}, "not the unit"),
        ({"detail": {"severity": "fatal"}}, "neither quality nor info"),
        ({"nsfw": {"severity": "info"}}, "no such setting"),
        ({"nsfw": {"high": 0.9}}, "more lenient"),
        ({"own_watermark": {"low": -30}}, "more lenient"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(home: Home, changes: dict, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        tuned(changes)
    with pytest.raises(PolicyError):
        write_changes(home, changes)
    assert not home.store.exists(KEY)


def test_what_is_fatal_can_be_made_stricter() -> None:
    assert tuned({"nsfw": {"high": 0.2}}).check("nsfw").high == 0.2


@pytest.mark.parametrize(
    "text",
    ["sharpness: 8", "- sharpness", "{", "sharpness: {low: 1}\nsharpness: {low: 2}", "sharpness: !!python/object:x {}"],
)
def test_a_file_that_is_none_is_refused_and_named(home: Home, text: str) -> None:
    home.store.put(KEY, text.encode())
    with pytest.raises(PolicyError, match=KEY):
        policy_of(home)


@pytest.mark.parametrize("setting", ["sharpness", "sharpness.low", "sharpness.low=", "=8", "low=8"])
def test_a_setting_that_sets_nothing_says_how_to_write_one(setting: str) -> None:
    with pytest.raises(PolicyError, match=r"sharpness.low=8"):
        with_settings({}, [setting])


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_bounds_are_taken_as_given_or_refused_together(low: float, high: float) -> None:
    changes = {"motion": {"low": low, "high": high}}
    if low > high:
        with pytest.raises(PolicyError):
            tuned(changes)
    else:
        check = tuned(changes).check("motion")
        assert (check.low, check.high) == (low, high)


# -- the corpus decided again ----------------------------------------------------------------------------------------


STRICTER = tuned({"sharpness": {"low": 30}, "detail": {"severity": "quality"}})


@pytest.fixture
def corpus(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Three decided days of a home in which nothing can be decoded and no film can be read."""
    write_corpus(home, days=3, clips_a_day=40)
    replay(home, POLICY, write=True)

    def refuse(*given: Any, **named: Any) -> Any:
        raise AssertionError("a replay must not open films or start processes")

    monkeypatch.setattr("av.open", refuse)
    monkeypatch.setattr("cv2.VideoCapture", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(LocalStore, "fetch", refuse)
    return home


def tables(home: Home) -> dict[str, bytes]:
    return {key: home.store.get(key) for key in home.store.list("lake/verdicts")}


def good(home: Home) -> int:
    against = Counter({(row["item_id"], row["shot_index"]): 0 for row in home.lake.rows("verdicts")})
    against.update((row["item_id"], row["shot_index"]) for row in home.lake.rows("verdicts") if blocks(row))
    return sum(not count for count in against.values())


def test_looking_writes_nothing_and_says_what_writing_would_do(corpus: Home) -> None:
    before, was_good = tables(corpus), good(corpus)
    seen = replay(corpus, STRICTER)
    assert tables(corpus) == before
    assert replay(corpus, STRICTER, write=True).good_after == seen.good_after == good(corpus)
    assert (seen.clips, seen.days, seen.good_before) == (120, 3, was_good)
    assert seen.good_after == was_good + seen.newly_good - seen.newly_refused
    assert seen.newly_refused > 0


def test_each_check_counts_the_clips_that_change_sides(corpus: Home) -> None:
    moved = {check.check: check for check in replay(corpus, STRICTER).checks}
    sharpness = [row["sharpness"] for row in corpus.lake.rows("signals")]
    assert moved.keys() == {"sharpness", "detail"}
    assert moved["sharpness"].newly_failing == sum(6 <= value < 30 for value in sharpness)
    assert (moved["sharpness"].threshold_before, moved["sharpness"].threshold) == ("at least 6", "at least 30")
    failed = sum(row["detail_fraction"] < 0.7 for row in corpus.lake.rows("signals"))
    assert (moved["detail"].newly_failing, moved["detail"].newly_blocking) == (0, failed)


def test_the_policy_of_before_gives_the_tables_of_before_to_the_byte(corpus: Home) -> None:
    before = tables(corpus)
    changed = replay(corpus, STRICTER, write=True)
    assert len(changed.days_written) == 3
    assert tables(corpus) != before
    assert all(row["check_version"].startswith(STRICTER.name) for row in corpus.lake.rows("verdicts"))
    replay(corpus, POLICY, write=True)
    assert tables(corpus) == before


def test_a_replay_by_the_same_policy_changes_and_writes_nothing(corpus: Home) -> None:
    result = replay(corpus, POLICY, write=True)
    assert (result.checks, result.days_written) == ([], {})
    assert result.policies_before == {POLICY.name: 120}


def test_an_interrupted_replay_is_finished_by_doing_it_again(corpus: Home) -> None:
    first, *_ = corpus.lake.partitions("shots")
    replay(corpus, STRICTER, [first], write=True)
    seen = replay(corpus, STRICTER, write=True)
    assert first not in seen.days_written
    assert len(seen.days_written) == 2
    assert seen.policies_before == {POLICY.name: 80, STRICTER.name: 40}
