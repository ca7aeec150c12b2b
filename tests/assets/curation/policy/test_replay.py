"""The corpus decided again: without opening a film, and to the byte as before when the policy is."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import Any

import pytest

from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import tuned
from assets.curation.policy.replay import replay
from assets.curation.policy.verdicts import blocks
from assets.home import Home
from assets.store import LocalStore
from tests.assets.curation.corpus import write_corpus

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
    moved = {one.check: one for one in replay(corpus, STRICTER).checks}
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
    found = replay(corpus, POLICY, write=True)
    assert (found.checks, found.days_written) == ([], {})
    assert found.policies_before == {POLICY.name: 120}


def test_an_interrupted_replay_is_finished_by_doing_it_again(corpus: Home) -> None:
    first, *_ = corpus.lake.partitions("shots")
    replay(corpus, STRICTER, [first], write=True)
    seen = replay(corpus, STRICTER, write=True)
    assert first not in seen.days_written
    assert len(seen.days_written) == 2
    assert seen.policies_before == {POLICY.name: 80, STRICTER.name: 40}
