"""A home's own thresholds: what is taken, what is refused, and that they come back as they were."""

from __future__ import annotations

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
from assets.home import Home


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
    ("changes", "said"),
    [
        ({"sharpnes": {"low": 8}}, "did you mean sharpness?"),
        ({"sharpness": {"high": 8}}, "no such setting"),
        ({"sharpness": {"threshold": 8}}, "no such setting"),
        ({"synthetic_origin": {"low": 1}}, "nothing that can be changed"),
        ({"sharpness": {"low": "eight"}}, "no number"),
        ({"sharpness": {"low": True}}, "no number"),
        ({"sharpness": {"low": float("nan")}}, "no number"),
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
def test_what_makes_no_sense_is_refused_with_what_would(home: Home, changes: dict, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
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
