"""Names of classes, subjects by meaning, and the measures of imbalance against what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.coverage.classes import DIMENSIONS, POLICY, UNKNOWN, classes_of, leaders, place_and_country, subjects, words
from assets.coverage.measures import coded, effective_number, gini, imbalance

FILMED = {"device": "phone", "source_name": None}
counts = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Brussels, Belgium", ("brussels", "belgium")),
        ("Rue Haute,  BRUSSELS, Belgium.", ("rue haute, brussels", "belgium")),
        ("Kyōto", ("kyōto", UNKNOWN)),
        ("50.85, 4.35", (UNKNOWN, UNKNOWN)),
        (" , ,", (UNKNOWN, UNKNOWN)),
        ("", (UNKNOWN, UNKNOWN)),
        (None, (UNKNOWN, UNKNOWN)),
    ],
)
def test_a_declared_place_gives_a_place_and_a_country(text: str | None, expected: tuple[str, str]) -> None:
    assert place_and_country(text) == expected


@given(st.text(max_size=40))
def test_words_that_look_alike_are_one_name(text: str) -> None:
    assert words(words(text)) == words(text)
    assert words(f"  {text}\n") == words(text)
    assert words(text) != ""


@pytest.mark.parametrize(
    ("tiers", "value", "name"),
    [
        ("motion", 0.0, "still"),
        ("motion", 0.02, "moderate"),
        ("motion", 9.0, "fast"),
        ("motion", float("nan"), UNKNOWN),
        ("motion", None, UNKNOWN),
        ("aspect", 9 / 16, "portrait"),
        ("aspect", 1.0, "square"),
        ("aspect", 16 / 9, "landscape"),
        ("aspect", 2.39, "wide"),
        ("length", 2.999, "under 3 s"),
        ("length", 10.0, "over 10 s"),
    ],
)
def test_a_value_on_an_edge_is_of_the_class_above_it(tiers: str, value: float | None, name: str) -> None:
    assert getattr(POLICY, tiers).of(value) == name


def test_what_a_check_found_false_or_nobody_measured_is_of_no_class() -> None:
    item = FILMED | {"declared_location": "Oslo, Norway", "declared_time_of_day": "night", "contributor_id": "c"}
    found = classes_of(item, {}, 2.0, {"location": "fail", "time_of_day": "fail"}, "a fjord")
    assert set(found) == set(DIMENSIONS)
    assert {name for name, value in found.items() if value == UNKNOWN} == {
        *("place", "country", "time_of_day", "motion", "camera_motion", "aspect"),
    }
    kept = classes_of(item, {"width": 1080, "height": 1920}, 2.0, {"location": "not_yet"}, "a fjord")
    assert (kept["country"], kept["time_of_day"], kept["aspect"]) == ("norway", "night", "portrait")


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_near_texts_are_one_subject_and_bear_the_first_ones_words() -> None:
    vectors = {"harbour": (1, 0, 0), "boats in a harbour": (0.9, 0.3, 0), "forest": (0, 0, 1), "a forest": (0, 0.1, 1)}
    texts = [*vectors, "harbour", UNKNOWN]
    named = subjects(texts, lambda asked: unit(*(vectors[text] for text in asked)))
    assert named == {
        "harbour": "harbour",
        "boats in a harbour": "harbour",
        "forest": "forest",
        "a forest": "forest",
        UNKNOWN: UNKNOWN,
    }
    assert subjects(texts, None)["a forest"] == "a forest"


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 8))
def test_later_texts_never_move_earlier_ones_and_subjects_are_bounded(size: int, seed: int, most: int) -> None:
    vectors = unit(*np.random.default_rng(seed).normal(size=(size, 5)))
    found = leaders(vectors, most=most)
    assert (leaders(vectors[: size // 2 + 1], most=most) == found[: size // 2 + 1]).all()
    assert len(set(found)) <= most
    assert all(found[leader] == leader for leader in set(found))
    unbounded = leaders(vectors)
    assert ((vectors * vectors[unbounded]).sum(axis=1) >= 0.55 - 1e-5).all()


def test_subjects_do_not_depend_on_where_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(*np.random.default_rng(1).normal(size=(200, 6)))
    whole = leaders(vectors)
    monkeypatch.setattr("assets.coverage.classes._BLOCK", 7)
    assert (leaders(vectors) == whole).all()


def test_the_measures_of_worked_examples() -> None:
    assert effective_number([5, 5, 5, 5]) == pytest.approx(4)
    assert effective_number([10, 0, 0]) == pytest.approx(1)
    assert effective_number([3, 1]) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([1, 2, 3]) == pytest.approx(2 / 9)
    assert effective_number([]) == gini([]) == effective_number([0]) == 0


@given(counts)
def test_imbalance_stays_within_its_ranges_and_ignores_order_and_scale(values: list[int]) -> None:
    found = imbalance(values)
    assert 0 <= found.gini < 1
    assert 0 <= found.effective <= len(values) + 1e-9
    assert found.effective_low - 1e-9 <= found.effective_high
    assert effective_number(values[::-1]) == pytest.approx(found.effective)
    assert gini([7 * value for value in values]) == pytest.approx(found.gini)
    assert imbalance(values) == found


def test_listed_classes_are_counted_when_empty() -> None:
    one = coded(["b", "x", "b"], ("a", "b"))
    assert one.names == ("a", "b", "x")
    assert one.sums().tolist() == [0, 2, 1]
    assert one.sums(np.array([1.0, 2.0, 3.0])).tolist() == [0, 4, 2]


@pytest.mark.parametrize("told", [{"device": "simulator"}, {"source_name": "simulated scene 7"}])
def test_a_rendered_scene_is_nowhere_whatever_place_it_declares(told: dict[str, str]) -> None:
    item = FILMED | {"declared_location": "Ghent, Belgium", "contributor_id": "c-ann"}
    found = [classes_of(item | more, {}, 2.0, {"location": "not_yet"}, "a red circle") for more in ({}, told)]
    assert [(one["place"], one["country"]) for one in found] == [("ghent", "belgium"), (UNKNOWN, UNKNOWN)]
