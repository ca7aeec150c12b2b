"""What is short, of what, by how many: and that nothing is asked for twice or in words that nobody can order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.coverage.classes import POLICY
from assets.coverage.gaps import PAIRS, clips_to_reach, gap_rows, proposals
from assets.coverage.measures import coded
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
    found = {row["origin_ref"]: row for row in proposals(gap_rows([], [], times(day=60, night=10)))}
    assert set(found) == {f"time_of_day={name}" for name in ("dawn", "morning", "evening", "sunset", "dusk")}
    for row in found.values():
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
    found = [row for row in gap_rows([], [], coverage) if row["dimension"] == PAIRS]
    assert {row["cell"] for row in found} == {f"harbour | {time}" for time in TIMES if time != "day"}
    line = next(row["text"] for row in proposals(found) if "dusk" in row["text"])
    spec = parse_line(line).checked().spec
    assert (spec.subject, spec.time_of_day, spec.target_units) == ("harbour", "dusk", 3)


def test_the_pairs_named_are_bounded() -> None:
    subjects = {f"subject {number}": 70 for number in range(10)}
    pairs = {f"{subject} | {time}": 0 for subject in subjects for time in TIMES}
    found = gap_rows([], [], slices("subject", subjects) + slices(PAIRS, pairs))
    assert sum(row["dimension"] == PAIRS for row in found) == 20


def test_beside_one_contributor_with_nearly_all_clips_of_others_are_asked_for() -> None:
    found = gap_rows([], [], slices("contributor", {"c-big": 990, "c-small": 10}))
    (row,) = found
    assert (row["cell"], row["have_units"], row["reason"]) == ("c-big", 10, "share.over_cap")
    assert row["missing_units"] == clips_to_reach(0.25, 4.0, [990, 10])
    (proposed,) = proposals(found)
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
        one = coded(people)
        seen = one.sums(balance({"contributor": one}, policy).ratios) / len(people)
        return bool(seen.max() <= 0.25 + 1e-4)

    assert reached(more)
    assert more == 0 or not reached(more - 1)
