"""Declared places against positions, by an offline gazetteer; nearest candidates count in favour."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.curation.policy.gazetteer import Gazetteer, Position, fold, gazetteer, nearest
from assets.curation.policy.location import location

BRUSSELS = Position(50.85, 4.35)


@pytest.fixture(scope="module")
def world() -> Gazetteer:
    return gazetteer()


@pytest.mark.parametrize(
    ("declared", "country", "at_least_km", "at_most_km"),
    [
        ("Brussels", "BE", 0, 5),
        ("BRUSSEL.", "BE", 0, 5),
        ("Brussels, Belgium", "BE", 0, 5),
        ("in downtown Brussels", "BE", 0, 5),
        ("a park in Ghent", "BE", 40, 60),
        ("Ghent (Belgium)", "BE", 40, 60),
        ("Sao Paulo", "BR", 9000, 11000),
        ("São Paulo", "BR", 9000, 11000),
        ("東京", "JP", 9300, 9600),
        ("Paris", "FR", 250, 280),  # not the one in Texas, which is farther
        ("Paris, Texas", "US", 7600, 8000),
        ("Paris, TX, USA", "US", 7600, 8000),
        ("Belgium", "BE", 0, 0),
        ("Texas", "US", 7000, 8500),
        ("Atlantis, Japan", "JP", 8000, 10000),  # what is known of it
    ],
)
def test_names_are_found_as_people_write_them(
    world: Gazetteer, declared: str, country: str, at_least_km: float, at_most_km: float
) -> None:
    candidates = world.find(declared)
    assert candidates, declared
    place, away = nearest(candidates, BRUSSELS)
    assert place.country == country
    assert at_least_km <= away <= at_most_km


@pytest.mark.parametrize(
    "declared", ["", "my garden", "home", "the beach", "Golden Gate Park", "12", "BE", ",,;", "in"]
)
def test_what_is_no_name_of_a_place_is_unknown(world: Gazetteer, declared: str) -> None:
    assert world.find(declared) == ()


@given(st.text(max_size=60))
def test_any_words_have_candidates_on_earth_or_none(words: str) -> None:
    for place in gazetteer().find(words)[:3]:
        assert abs(place.position.latitude) <= 90


@given(st.text(max_size=40))
def test_folding_twice_changes_nothing(name: str) -> None:
    assert fold(fold(name)) == fold(name)


ITEM = {"declared_location": "Brussels", "latitude": 50.85, "longitude": 4.35}
IN_BRUSSELS, IN_TOKYO, IN_LEUVEN = "+50.8466+004.3528/", "+35.6895+139.6917+040.0CRSWGS_84/", "+50.8796+004.7009/"


@pytest.mark.parametrize(
    ("changes", "own", "verdict", "words"),
    [
        ({}, IN_BRUSSELS, "pass", ["Brussels declared", "the file's position 50.8466, 4.3528 is 0 km away"]),
        ({}, IN_LEUVEN, "pass", ["25 km away"]),
        ({}, IN_TOKYO, "fail", ["Brussels declared", "35.6895, 139.6917", "9448 km away", "50 km allowed"]),
        ({"declared_location": "Tokyo"}, IN_BRUSSELS, "fail", ["Tokyo declared (Tokyo, JP at 35.6895, 139.6917)"]),
        ({"latitude": None}, IN_TOKYO, "fail", ["Brussels declared"]),
        ({"latitude": 35.0, "longitude": 139.0}, IN_BRUSSELS, "fail", ["35.0000, 139.0000 declared"]),
        ({"declared_location": None}, IN_BRUSSELS, "pass", ["no place is declared", "50.8500, 4.3500 declared"]),
        ({"declared_location": "my garden"}, IN_BRUSSELS, "pass", ["which the gazetteer does not know"]),
        ({"declared_location": "my garden", "latitude": None}, IN_BRUSSELS, "unmeasurable", ["does not know"]),
        ({"declared_location": "Belgium"}, IN_BRUSSELS, "pass", ["Belgium declared (Belgium, BE)"]),
        ({"declared_location": "Belgium", "latitude": None}, IN_TOKYO, "fail", ["Belgium declared"]),
        # two declarations alone: they may contradict each other, and prove nothing where they do not
        ({}, None, "unmeasurable", ["the declared position", "0 km away", "the file carries no position"]),
        ({"declared_location": "Tokyo"}, None, "fail", ["Tokyo declared", "the declared position 50.8500, 4.3500"]),
        ({"latitude": None}, None, "unmeasurable", ["Brussels declared", "the file carries no position"]),
        ({"latitude": 99.0}, None, "unmeasurable", ["Brussels declared"]),
        ({}, "somewhere", "unmeasurable", ["'somewhere' is not understood"]),
        ({}, "+00.0000+000.0000/", "unmeasurable", ["is not understood"]),
    ],
)
def test_a_declared_place_is_held_against_the_files_own_position(
    changes: dict[str, Any], own: str | None, verdict: str, words: list[str]
) -> None:
    found = location(ITEM | changes, own, 50.0)
    assert found[0] == verdict, found
    assert all(word in found[3] for word in words), found[3]
    assert verdict == "unmeasurable" or found[1]
