"""The promotion gate's rules, for every pair of models and not for examples only."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.evaluation.gate import (
    OVERALL,
    PRIMARY,
    Contender,
    Score,
    decide,
    good_enough,
    hard_rules,
    may_serve,
    scores,
)


def loss(value: float, noise: float = 0.01) -> Score:
    return Score(value, value - noise, value + noise, "lower")


def good(version: str = "2", flow: float = 0.4, **changes: object) -> Contender:
    facts: dict = {
        "version": version,
        "heldout": "same",
        "scores": {(PRIMARY, OVERALL): loss(flow)},
        "improvement": 0.4,
        "psnr_db": 25.0,
        "copies": 0,
    }
    return Contender(**(facts | changes))


numbers = st.floats(0.01, 10)
contenders = st.builds(
    good,
    version=st.sampled_from(["1", "2", "3"]),
    flow=numbers,
    heldout=st.sampled_from(["same", "other", None]),
    improvement=st.none() | st.floats(0, 2),
    psnr_db=st.none() | st.floats(0, 60),
    copies=st.none() | st.integers(0, 3),
    taint=st.none() | st.just("revoked: c-1"),
    consent=st.lists(st.text("ab", min_size=1), max_size=5).map(tuple),
)


def test_the_first_good_model_becomes_champion():
    assert decide(good(), None).promote


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"improvement": 0.51}, "learned"),
        ({"improvement": None}, "learned"),
        ({"psnr_db": 22.0}, "reconstruction"),
        ({"psnr_db": None}, "reconstruction"),
        ({"copies": 1}, "copies"),
        ({"copies": None}, "copies"),
        ({"taint": "consent k-1 revoked"}, "taint"),
        ({"consent": ("clip-1: consent.revoked",)}, "consent"),
    ],
)
def test_a_first_model_that_breaks_one_rule_stays_candidate_and_is_told_which(changes: dict, rule: str):
    decision = decide(good(**changes), None)
    assert not decision.promote
    assert [reason.rule for reason in decision.reasons if not reason.passed] == [rule]
    assert rule in decision.summary


def test_a_model_better_beyond_noise_replaces_the_champion():
    assert decide(good("2", flow=0.3), good("1", flow=0.4)).promote


@pytest.mark.parametrize("flow", [0.395, 0.4, 0.5])
def test_a_model_that_is_worse_or_better_within_noise_does_not(flow: float):
    assert not decide(good("2", flow=flow), good("1", flow=0.4)).promote


def test_scores_on_other_held_out_clips_are_not_compared():
    decision = decide(good("2", flow=0.1, heldout="new"), good("1", flow=0.4))
    assert not decision.promote
    assert "comparable" in decision.summary


def test_one_other_metric_worse_beyond_noise_stops_a_promotion():
    sharp, dull = Score(30, 29, 31, "higher"), Score(20, 19, 21, "higher")
    ours = {(PRIMARY, OVERALL): loss(0.3), ("psnr", OVERALL): dull}
    theirs = {(PRIMARY, OVERALL): loss(0.4), ("psnr", OVERALL): sharp}
    assert "psnr" in decide(good("2", scores=ours), good("1", scores=theirs)).summary


@pytest.mark.parametrize(("worse_by", "promoted"), [(0.02, True), (0.3, False)])
def test_a_slice_may_be_a_little_worse_but_not_much(worse_by: float, promoted: bool):
    ours = {(PRIMARY, OVERALL): loss(0.3), (PRIMARY, "time_of_day=night"): loss(0.5 * (1 + worse_by), 0.001)}
    theirs = {(PRIMARY, OVERALL): loss(0.4), (PRIMARY, "time_of_day=night"): loss(0.5, 0.001)}
    assert decide(good("2", scores=ours), good("1", scores=theirs)).promote is promoted


def test_a_champion_that_must_not_serve_protects_nobody():
    champion = good("1", flow=0.1, taint="consent k-1 revoked")
    decision = decide(good("2", flow=0.4), champion)
    assert decision.promote
    assert decision.against is None


@given(contenders, st.none() | contenders)
def test_nothing_that_breaks_a_hard_rule_is_ever_promoted(candidate: Contender, champion: Contender | None):
    if decide(candidate, champion).promote:
        assert all(reason.passed for reason in hard_rules(candidate) + good_enough(candidate))


@given(contenders, contenders)
def test_two_models_never_replace_each_other_in_turn(one: Contender, other: Contender):
    if may_serve(one) and may_serve(other):
        assert not (decide(one, other).promote and decide(other, one).promote)


@given(contenders)
def test_a_model_never_replaces_its_own_equal(one: Contender):
    if may_serve(one):
        assert not decide(replace(one, version="9"), one).promote


@given(contenders, st.none() | contenders)
def test_a_refusal_names_at_least_one_rule(candidate: Contender, champion: Contender | None):
    decision = decide(candidate, champion)
    assert decision.promote == (decision.summary == "every rule passed")


def test_a_number_that_was_not_measured_is_no_score_and_one_without_interval_proves_nothing():
    row = {"metric": "fvd", "slice": "all", "value": None, "ci_low": None, "ci_high": None, "better": "lower"}
    assert scores([row | {"state": "not_measured"}]) == {}
    assert scores([row | {"state": "measured", "value": 2.0}])["fvd", "all"] == Score(2.0, -inf, inf, "lower")
    assert not Score(2.0, -inf, inf, "lower").beats(Score(9.0, 9.0, 9.0, "lower"))
