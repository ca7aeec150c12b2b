"""What is short, of what, by how many: and that nothing is asked for twice or in words that nobody can order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.coverage.classes import DIMENSIONS, POLICY, UNKNOWN, classes_of, leaders, place_and_country, subjects, words
from assets.coverage.gaps import PAIRS, clips_to_reach, gap_rows, proposals
from assets.coverage.measures import coded, effective_number, gini, imbalance
from assets.coverage.sampling_weights import WeightPolicy, balance
from assets.requests.parse import parse_line

TIMES = POLICY.times


def slices(dimension: str, counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{"dimension": dimension, "slice": name, "clips": 0, "eligible_clips": n} for name, n in counts.items()]


def times(**counts: int) -> list[dict[str, Any]]:
    return slices("time_of_day", {name: counts.get(name, 0) for name in TIMES})


def open_request(request_id: str, missing: int, **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its rows of `fct_request_fulfilment` and `requests`."""
    named = dict.fromkeys(("time_of_day", "aspect_ratio", "duration_min_s", "duration_max_s"))
    units = {"target_units": missing + 1, "accepted_units": 1, "eligible_units": 0, "missing_units": missing}
    return units | {"request_id": request_id, "request_status": "open"}, named | {"request_id": request_id} | asked


def test_a_class_far_below_its_even_share_is_proposed_as_a_line_that_can_be_asked() -> None:
    gaps = {row["origin_ref"]: row for row in proposals(gap_rows([], [], times(day=60, night=10)))}
    assert set(gaps) == {f"time_of_day={name}" for name in ("dawn", "morning", "evening", "sunset", "dusk")}
    for row in gaps.values():
        parsed = parse_line(row["text"]).checked()
        assert parsed.not_understood == ()
        assert parsed.spec.time_of_day == row["origin_ref"].partition("=")[2]
        assert parsed.spec.target_units == row["target_units"] == 3


def test_nothing_is_short_where_nothing_is_eligible_or_all_is_even() -> None:
    assert gap_rows([], [], times()) == []
    assert gap_rows([], [], times(**dict.fromkeys(TIMES, 4))) == []


def test_only_open_requests_are_short() -> None:
    filled, asked = open_request("r", 1)
    assert gap_rows([filled | {"request_status": "paused"}], [asked], []) == []
    (row,) = gap_rows([filled], [asked], [])
    assert (row["dimension"], row["cell"], row["reason"]) == ("request", "r", "request.unfilled")
    assert (row["have_units"], row["want_units"], row["missing_units"]) == (1, 2, 1)
    assert proposals([row]) == [], "a request is asked for already"


@pytest.mark.parametrize(
    ("dimension", "cell", "asked"),
    [
        ("time_of_day", "dusk", {"time_of_day": "dusk"}),
        ("aspect", "portrait", {"aspect_ratio": "9:16"}),
        ("length", "3 to 10 s", {"duration_min_s": 3.0, "duration_max_s": 10.0}),
    ],
)
def test_what_an_open_request_asks_for_is_not_proposed_again(dimension: str, cell: str, asked: dict) -> None:
    counts = dict.fromkeys(POLICY.closed()[dimension], 40) | {cell: 0}
    coverage = slices(dimension, counts)

    def proposed(missing: int) -> list[int]:
        filled, request = open_request("r", missing, **asked)
        return [row["target_units"] for row in proposals(gap_rows([filled], [request], coverage))]

    (all_of_it,) = proposed(0)
    assert proposed(3) == [all_of_it - 3]
    assert proposed(all_of_it) == proposed(all_of_it + 9) == []


@pytest.mark.parametrize("dimension", ["aspect", "length"])
def test_every_class_that_can_be_ordered_reads_back_as_itself(dimension: str) -> None:
    for empty in POLICY.closed()[dimension]:
        counts = dict.fromkeys(POLICY.closed()[dimension], 50) | {empty: 0}
        ((row,),) = [proposals(gap_rows([], [], slices(dimension, counts)))]
        spec = parse_line(row["text"]).checked().spec
        filled, request = open_request(
            "r", 99, **{n: getattr(spec, n) for n in open_request("", 0)[1] if hasattr(spec, n)}
        )
        assert proposals(gap_rows([filled], [request | {"request_id": "r"}], slices(dimension, counts))) == []


def test_a_common_subject_that_was_never_shot_at_a_time_is_asked_for_and_a_rare_one_is_not() -> None:
    pairs = {f"{subject} | {time}": 0 for subject in ("harbour", "sundial") for time in TIMES}
    pairs |= {"harbour | day": 70, "sundial | day": 5}
    coverage = slices("subject", {"harbour": 70, "sundial": 5}) + slices(PAIRS, pairs)
    gaps = [row for row in gap_rows([], [], coverage) if row["dimension"] == PAIRS]
    assert {row["cell"] for row in gaps} == {f"harbour | {time}" for time in TIMES if time != "day"}
    line = next(row["text"] for row in proposals(gaps) if "dusk" in row["text"])
    spec = parse_line(line).checked().spec
    assert (spec.subject, spec.time_of_day, spec.target_units) == ("harbour", "dusk", 3)


def test_the_pairs_named_are_bounded() -> None:
    subjects = {f"subject {number}": 70 for number in range(10)}
    pairs = {f"{subject} | {time}": 0 for subject in subjects for time in TIMES}
    gaps = gap_rows([], [], slices("subject", subjects) + slices(PAIRS, pairs))
    assert sum(row["dimension"] == PAIRS for row in gaps) == 20


def test_beside_one_contributor_with_nearly_all_clips_of_others_are_asked_for() -> None:
    gaps = gap_rows([], [], slices("contributor", {"c-big": 990, "c-small": 10}))
    (row,) = gaps
    assert (row["cell"], row["have_units"], row["reason"]) == ("c-big", 10, "share.over_cap")
    assert row["missing_units"] == clips_to_reach(0.25, 4.0, [990, 10])
    (proposed,) = proposals(gaps)
    spec = parse_line(proposed["text"]).checked().spec
    assert (spec.target_units, spec.max_per_contributor) == (20, 5)


def test_four_equal_contributors_keep_the_cap_and_three_need_another() -> None:
    assert clips_to_reach(0.25, 4.0, [10] * 4) == 0
    assert clips_to_reach(0.25, 4.0, [10] * 3) > 0


@settings(deadline=None)
@given(st.lists(st.integers(1, 90), min_size=1, max_size=6))
def test_as_many_clips_as_are_asked_for_bring_the_cap_within_reach_and_one_less_does_not(sizes: list[int]) -> None:
    policy = WeightPolicy(temper={}, caps={"contributor": 0.25}, least=0.01)
    more = clips_to_reach(0.25, policy.most, sizes)

    def reached(extra: int) -> bool:
        people = [f"c-{i}" for i, size in enumerate(sizes) for _ in range(size)] + [f"new-{i}" for i in range(extra)]
        codes = coded(people)
        seen = codes.sums(balance({"contributor": codes}, policy).ratios) / len(people)
        return bool(seen.max() <= 0.25 + 1e-4)

    assert reached(more)
    assert more == 0 or not reached(more - 1)


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
    classes = classes_of(item, {}, 2.0, {"location": "fail", "time_of_day": "fail"}, "a fjord")
    assert set(classes) == set(DIMENSIONS)
    assert {name for name, value in classes.items() if value == UNKNOWN} == {
        *("place", "country", "time_of_day", "motion", "camera_motion", "aspect")
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
    heads = leaders(vectors, most=most)
    assert (leaders(vectors[: size // 2 + 1], most=most) == heads[: size // 2 + 1]).all()
    assert len(set(heads)) <= most
    assert all(heads[leader] == leader for leader in set(heads))
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
    measures = imbalance(values)
    assert 0 <= measures.gini < 1
    assert 0 <= measures.effective <= len(values) + 1e-9
    assert measures.effective_low - 1e-9 <= measures.effective_high
    assert effective_number(values[::-1]) == pytest.approx(measures.effective)
    assert gini([7 * value for value in values]) == pytest.approx(measures.gini)
    assert imbalance(values) == measures


def test_listed_classes_are_counted_when_empty() -> None:
    codes = coded(["b", "x", "b"], ("a", "b"))
    assert codes.names == ("a", "b", "x")
    assert codes.sums().tolist() == [0, 2, 1]
    assert codes.sums(np.array([1.0, 2.0, 3.0])).tolist() == [0, 4, 2]


@pytest.mark.parametrize("declared", [{"device": "simulator"}, {"source_name": "simulated scene 7"}])
def test_a_rendered_scene_is_nowhere_whatever_place_it_declares(declared: dict[str, str]) -> None:
    item = FILMED | {"declared_location": "Ghent, Belgium", "contributor_id": "c-ann"}
    classes = [classes_of(item | more, {}, 2.0, {"location": "not_yet"}, "a red circle") for more in ({}, declared)]
    assert [(row["place"], row["country"]) for row in classes] == [("ghent", "belgium"), (UNKNOWN, UNKNOWN)]
