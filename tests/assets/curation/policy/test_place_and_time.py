"""Positions as files word them, and declared places held against them by an offline gazetteer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.curation.policy.gazetteer import Gazetteer, Position, distance_km, fold, gazetteer, nearest
from assets.curation.policy.place_and_time import location, read_position

# -- positions -------------------------------------------------------------------------------------------------------


LATITUDES = st.floats(-90, 90, allow_nan=False).map(lambda degrees: round(degrees, 4))
LONGITUDES = st.floats(-180, 180, allow_nan=False).map(lambda degrees: round(degrees, 4))


@pytest.mark.parametrize(
    ("text", "latitude", "longitude", "altitude"),
    [
        ("+50.8503+004.3517/", 50.8503, 4.3517, None),
        ("+50.8503+004.3517", 50.8503, 4.3517, None),
        ("-33.8568+151.2153+012.5/", -33.8568, 151.2153, 12.5),
        ("+27.5916+086.5640+8850CRSWGS_84/", 27.5916, 86.564, 8850.0),
        ("+27.5916+086.5640+8850CRSEPSG:4979/", 27.5916, 86.564, 8850.0),
        ("+4012.22-07500.25/", 40 + 12.22 / 60, -(75 + 0.25 / 60), None),
        ("+401213.1-0750015.1/", 40 + 12 / 60 + 13.1 / 3600, -(75 + 15.1 / 3600), None),
        ("+401213-0750015-5.5CRSWGS_84/", 40 + 12 / 60 + 13 / 3600, -(75 + 15 / 3600), -5.5),
        ("+40-075CRSWGS_84/", 40.0, -75.0, None),
        ("+40,20-075,00/", 40.2, -75.0, None),
        ("+4.35+50.85/", 4.35, 50.85, None),  # degrees without leading zeros
        ("+90+000/", 90.0, 0.0, None),
        ("+00-025/", 0.0, -25.0, None),
        ("\u221233.8568+151.2153/", -33.8568, 151.2153, None),
        ("50°40′46.461″N 95°48′26.533″W 123.45m", 50 + 40 / 60 + 46.461 / 3600, -(95 + 48 / 60 + 26.533 / 3600), 123.45),
        ("50°51'N, 4°21'E", 50.85, 4.35, None),
        ("50.85° N 4.35° e", 50.85, 4.35, None),
    ],
)  # fmt: skip
def test_every_form_of_iso_6709_is_read(text: str, latitude: float, longitude: float, altitude: float | None) -> None:
    position = read_position(text)
    assert position is not None
    assert (position.latitude, position.longitude) == pytest.approx((latitude, longitude), abs=1e-9)
    assert position.altitude_m == altitude


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "Brussels",
        "50.85 4.35",
        "+50.85/",
        "+91.0+004.0/",
        "+50.0+181.0/",
        "+5070.0+00400.0/",  # 70 minutes
        "+505960+0040000/",  # 60 seconds
        "+50850+004350/",  # five digits are neither degrees nor minutes
        "+00.0000+000.0000/",  # no fix
        "+0-000+000/",
        "+50.85+004.35+10CRSEPSG:31370/",  # metres of another system
        "+50.85+004.35/\x00",
        "+50.85+004.35/ and more",
        "61°75'N 4°21'E",
        "+" * 200,
        "+1e3+004/",
    ],
)
def test_what_is_no_position_is_none(text: str | None) -> None:
    assert read_position(text) is None


@given(latitude=LATITUDES, longitude=LONGITUDES, altitude=st.none() | st.integers(-400, 9000))
def test_what_a_phone_writes_is_read_back(latitude: float, longitude: float, altitude: int | None) -> None:
    height = "" if altitude is None else f"{altitude:+08.3f}"
    position = read_position(f"{latitude:+08.4f}{longitude:+09.4f}{height}/")
    if latitude == longitude == 0:
        assert position is None
    else:
        assert position == Position(latitude, longitude, altitude)


@given(
    st.integers(0, 89), st.integers(0, 59), st.integers(0, 59), st.integers(0, 179), st.integers(0, 59), st.integers(0, 59),
    st.sampled_from("+-"), st.sampled_from("+-"),
)  # fmt: skip
def test_degrees_minutes_and_seconds_are_one_number(
    d: int, m: int, s: int, D: int, M: int, S: int, north: str, east: str
):
    position = read_position(f"{north}{d:02}{m:02}{s:02}{east}{D:03}{M:02}{S:02}/")
    if d == m == s == D == M == S == 0:
        assert position is None
        return
    assert position is not None
    assert abs(position.latitude) == pytest.approx(d + m / 60 + s / 3600)
    assert abs(position.longitude) == pytest.approx(D + M / 60 + S / 3600)
    assert (position.latitude < 0) == (north == "-" and (d, m, s) != (0, 0, 0))
    assert (position.longitude < 0) == (east == "-" and (D, M, S) != (0, 0, 0))


@given(st.text(max_size=80) | st.from_regex(r"[+-][0-9.,]{0,9}[+-][0-9.,]{0,9}(CRS\w*)?/?", fullmatch=True))
def test_any_text_is_a_position_on_earth_or_none(text: str) -> None:
    position = read_position(text)
    assert position is None or (abs(position.latitude) <= 90 and abs(position.longitude) <= 180)


def test_distances_are_those_of_the_globe() -> None:
    brussels, tokyo = Position(50.8503, 4.3517), Position(35.6895, 139.6917)
    assert distance_km(brussels, tokyo) == pytest.approx(9450, abs=15)
    assert distance_km(Position(0, 179.9), Position(0, -179.9)) == pytest.approx(22.2, abs=0.1)  # across the date line
    assert distance_km(Position(90, 0), Position(90, 120)) == pytest.approx(0, abs=1e-6)
    assert distance_km(Position(0, 0), Position(0, 180)) == pytest.approx(20015, abs=1)


@given(st.builds(Position, LATITUDES, LONGITUDES), st.builds(Position, LATITUDES, LONGITUDES))
def test_distance_is_symmetric_and_never_beyond_the_antipode(first: Position, other: Position) -> None:
    assert distance_km(first, other) == pytest.approx(distance_km(other, first))
    assert 0 <= distance_km(first, other) <= 20016


# -- declared places -------------------------------------------------------------------------------------------------


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
    finding = location(ITEM | changes, own, 50.0)
    assert finding[0] == verdict, finding
    assert all(word in finding[3] for word in words), finding[3]
    assert verdict == "unmeasurable" or finding[1]
