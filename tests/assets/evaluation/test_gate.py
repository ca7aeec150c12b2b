"""The promotion gate's rules, for every pair of models and not for examples only."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf, sqrt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.evaluation.decisions import Paired, as_rows, holm, paired
from assets.evaluation.gate import (
    BY_TIME,
    FLOORS,
    OBEDIENCE,
    Contender,
    decide,
    good_enough,
    hard_rules,
    may_serve,
    obedience,
)
from assets.model.published import PRIMARY, Scorecard
from tests.assets.evaluation.scores import CLIPS, by_time, losses, trials, values


def good(version: str = "2", level: float = 0.6, **changes: Any) -> Contender:
    facts: dict[str, Any] = {
        "version": version,
        "heldout": "same",
        "latents": "one",
        "values": values(level),
        "base": "base-1",
        "psnr_db": 25.0,
        "copies": 0,
    }
    return Contender(**(facts | changes))


def failed(candidate: Contender, champion: Contender | None = None) -> list[str]:
    return [reason.rule for reason in decide(candidate, champion).reasons if not reason.passed]


contenders = st.builds(
    good,
    version=st.sampled_from(["1", "2", "3"]),
    level=st.floats(0.1, 3),
    heldout=st.sampled_from(["same", "other", None]),
    latents=st.sampled_from(["one", "two", None]),
    values=st.builds(values, st.floats(0.1, 3), st.floats(0.5, 1), st.floats(15, 30)) | st.just({}),
    base=st.none() | st.just("base-1"),
    psnr_db=st.none() | st.floats(0, 60),
    copies=st.none() | st.integers(0, 3),
    taint=st.none() | st.just("revoked: c-1"),
    consent=st.lists(st.text("ab", min_size=1), max_size=5).map(tuple),
)


def test_the_first_model_that_beats_the_references_and_obeys_becomes_champion_wherever_it_started():
    assert decide(good(level=0.85), None).promote


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"values": values(0.95)}, "learned"),  # better than the closed form, not than the base
        ({"values": values(1.2)}, "learned"),
        ({"values": values(heldout_flow_loss={})}, "learned"),
        ({"values": values(**{f"{PRIMARY}@closed_form": {}})}, "learned"),
        ({"values": values(**{f"{PRIMARY}@untrained": {}})}, "learned"),
        ({"values": values(**{f"{PRIMARY}@base": {}})}, "learned"),
        ({"values": values(**trials(colour=0.7))}, "obeys"),
        ({"values": values(**trials(direction=0.8))}, "obeys"),
        ({"values": values(**trials(side=0.7))}, "obeys"),
        ({"values": values(obeys=0.86)}, "obeys"),  # above every floor, far below its base
        ({"values": values(trial_side={})}, "obeys"),
        ({"values": values(**{"trial_side@base": {}})}, "obeys"),
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
    assert failed(good(**changes)) == [rule]
    assert rule in decision.summary


def test_a_refusal_says_the_difference_its_interval_the_number_of_clips_and_what_it_could_find():
    worse = values(1.0)
    worse[PRIMARY] = losses(1.0, spread=0.05)
    summary = decide(good(values=worse), None).summary
    assert "of the closed form: " in summary
    assert ", n 12, finds 0." in summary
    assert "of the base model: " in summary


def met_base(ratio: dict[str, float], jitter: float = 0.0) -> dict[str, dict[str, float]]:
    """Values of a model whose loss is so many times the base's by clip, and accordingly by time, with noise of its own."""
    base = losses(0.9)
    ours = {clip: loss * ratio.get(clip, 1.0) for clip, loss in base.items()}
    total = sum(ours.values()) / sum(base.values())
    times = by_time(0.9)
    noisy = {t: loss * total * (1 + jitter * (-1) ** place) for place, (t, loss) in enumerate(times.items())}
    return values(**{PRIMARY: ours, f"{PRIMARY}@base": base, BY_TIME: noisy, f"{BY_TIME}@base": times})


def test_a_model_that_learned_the_few_clips_that_the_base_did_not_know_is_better_than_the_base():
    assert decide(good(values=met_base({CLIPS[-1]: 0.6, CLIPS[-2]: 0.6})), None).promote


def test_a_model_no_better_than_the_base_beyond_the_noise_of_measuring_is_refused():
    assert failed(good(values=met_base({CLIPS[-1]: 0.97}, jitter=0.05))) == ["learned"]


def test_a_gain_on_one_clip_does_not_pay_for_a_loss_on_the_others():
    gained = dict.fromkeys(CLIPS[:-1], 1.15) | {CLIPS[-1]: 0.05}
    assert failed(good(values=met_base(gained))) == ["learned"]


def test_a_size_without_a_base_is_judged_without_one_and_the_verdict_says_so():
    alone = {key: verdicts for key, verdicts in values(obeys=0.3).items() if not key.endswith("@base")}
    decision = decide(good(values=alone, base=None), None)
    assert decision.promote
    (obeyed,) = [reason for reason in decision.reasons if reason.rule == "obeys"]
    assert "this size has no base model" in obeyed.detail
    assert failed(good(values=alone | {"trial_side": {}}, base=None)) == ["obeys"]


def test_a_base_in_another_latent_space_is_no_reference_for_the_loss_but_stays_one_for_obedience():
    apart = {key: verdicts for key, verdicts in values().items() if key != f"{PRIMARY}@base"}
    assert decide(good(values=apart, base_apart="another latent space: ..."), None).promote
    assert failed(good(values=apart | trials(0.5, 0.5, 0.5), base_apart="another latent space: ...")) == ["obeys"]


def test_a_floor_that_the_base_itself_does_not_reach_is_not_asked_for():
    low = trials(direction=0.6) | trials(direction=0.6, at="@base")
    assert decide(good(values=values() | low), None).promote


def test_a_model_better_beyond_noise_replaces_the_champion():
    assert decide(good("2", 0.5), good("1", 0.6)).promote


@pytest.mark.parametrize("level", [0.6, 0.61, 0.8])
def test_a_model_that_is_equal_or_worse_does_not(level: float):
    decision = decide(good("2", level), good("1", 0.6))
    assert not decision.promote
    assert "no improvement beyond noise" in decision.summary or "worse beyond noise" in decision.summary


def test_a_lower_loss_does_not_pay_for_obedience_that_was_lost_beyond_noise_so_models_do_not_take_turns():
    first = good("1", values=values(0.6, 1.0))
    other = good("2", values=values(0.58, **trials(0.96, 0.96, 0.96)))  # each within the other's margins
    assert failed(other, first) == ["better"]
    assert "worse beyond noise in obedience" in decide(other, first).summary
    assert failed(first, other) == ["better"]


def test_a_model_that_obeys_better_and_is_no_worse_elsewhere_replaces_the_champion():
    poor = values(**trials(0.82, 0.86, 0.82), **trials(0.82, 0.86, 0.82, at="@base"))
    better = values(**trials(1.0, 1.0, 1.0), **trials(0.82, 0.86, 0.82, at="@base"))
    assert decide(good("2", values=better), good("1", values=poor)).promote


@pytest.mark.parametrize(
    ("changes", "rule"),
    [({"heldout": "new"}, "comparable"), ({"latents": "two"}, "comparable"), ({"latents": None}, "comparable")],
)
def test_losses_on_other_clips_or_in_another_latent_space_are_not_compared(changes: dict, rule: str):
    assert failed(good("2", 0.3, **changes), good("1", 0.6)) == [rule]


@pytest.mark.parametrize("metric", [PRIMARY, "reconstruction_psnr", "reconstruction_ssim", "trial_side"])
def test_a_metric_that_the_champion_was_not_measured_in_promotes_nobody(metric: str):
    champion = good("1", 0.6, values=values(0.6, **{metric: {}}))
    assert not decide(good("2", 0.3), champion).promote


@pytest.mark.parametrize(("lost_db", "promoted"), [(0.026, True), (0.079, True), (0.3, False)])
def test_a_codec_that_comes_out_a_little_different_stops_no_night_and_one_that_lost_does(
    lost_db: float, promoted: bool
):
    assert decide(good("2", values=values(0.5, psnr=25 - lost_db)), good("1", 0.6)).promote is promoted


@pytest.mark.parametrize(("worse_by", "promoted"), [(0.05, True), (0.3, False)])
def test_a_slice_may_be_a_little_worse_but_not_much(worse_by: float, promoted: bool):
    part = f"{PRIMARY}@time_of_day=night"
    ours = values(0.5, **{part: losses(0.6 * (1 + worse_by), 0.01)})
    assert (
        decide(good("2", values=ours), good("1", values=values(0.6, **{part: losses(0.6, 0.01)}))).promote is promoted
    )


def test_a_champion_that_must_not_serve_protects_nobody():
    decision = decide(good("2", 0.7), good("1", 0.1, taint="consent k-1 revoked"))
    assert decision.promote
    assert decision.against is None


@given(contenders, st.none() | contenders)
def test_nothing_that_breaks_a_rule_of_its_own_is_ever_promoted(candidate: Contender, champion: Contender | None):
    if decide(candidate, champion).promote:
        assert all(reason.passed for reason in hard_rules(candidate) + good_enough(candidate))


@given(contenders, contenders)
def test_two_models_never_replace_each_other_in_turn(first: Contender, other: Contender):
    if may_serve(first) and may_serve(other):
        assert not (decide(first, other).promote and decide(other, first).promote)


@given(contenders)
def test_a_model_never_replaces_its_own_equal(first: Contender):
    if may_serve(first):
        assert not decide(replace(first, version="9"), first).promote


@given(contenders, st.none() | contenders)
def test_a_refusal_names_at_least_one_rule(candidate: Contender, champion: Contender | None):
    decision = decide(candidate, champion)
    assert decision.promote == (decision.summary == "every rule passed")


MANY = tuple(f"clip-{i}" for i in range(200))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["loss", "obedience", "psnr"]), st.floats(1.5, 5), st.integers(0, 1000))
def test_with_many_clips_a_model_worse_by_more_than_a_margin_is_never_promoted(metric: str, times: float, seed: int):
    def facts(level: float, psnr: float, obeys: float, seed: int) -> dict[str, dict[str, float]]:
        return values(obeys=obeys, **{f"{PRIMARY}@{name}": losses(2, 0, 0, MANY) for name in ("closed_form", "untrained")},
                      **{PRIMARY: losses(level, 0.05, seed, MANY), f"{PRIMARY}@base": losses(2, 0, 0, MANY),
                         "reconstruction_psnr": dict.fromkeys(MANY, psnr)})  # fmt: skip

    better = {
        "loss": (0.6 * (1 + 0.05 * times), 26.0, 1.0),
        "obedience": (0.4, 25.0, 1 - 0.1 * times),
        "psnr": (0.4, 25 - 0.25 * times, 1.0),
    }
    candidate, champion = facts(*better[metric], seed), facts(0.6, 25.0, 1.0, seed + 1)
    assert not decide(good("2", values=candidate), good("1", values=champion)).promote


@settings(max_examples=40, deadline=None)
@given(st.floats(0.3, 0.88), st.integers(0, 1000))
def test_a_clear_improvement_is_always_promoted(share: float, seed: int):
    ours = values(**{PRIMARY: losses(0.6 * share, 0.02, seed)})
    theirs = values(**{PRIMARY: losses(0.6, 0.02, seed + 1)})
    assert decide(good("2", values=ours), good("1", values=theirs)).promote


@settings(max_examples=40, deadline=None)
@given(contenders, contenders, st.randoms())
def test_the_order_of_the_clips_changes_nothing(first: Contender, other: Contender, rng: random.Random):
    def shuffled(contender: Contender) -> Contender:
        mixed = {key: dict(rng.sample(list(v.items()), len(v))) for key, v in contender.values.items()}
        return replace(contender, values=dict(rng.sample(list(mixed.items()), len(mixed))))

    assert decide(shuffled(first), shuffled(other)) == decide(first, other)


@settings(max_examples=40, deadline=None)
@given(contenders, contenders, st.floats(0, 1))
def test_a_metric_that_the_gate_does_not_know_never_turns_a_refusal_into_a_promotion(first, other, level: float):
    if not decide(first, other).promote:
        more = replace(first, values={**first.values, "aesthetics": losses(level)})
        less = replace(other, values={**other.values, "aesthetics": losses(1.0)})
        assert not decide(more, less).promote


def simulated(share: float, nights: int = 400) -> float:
    """Share of nights in which a candidate with `share` of the champion's loss is promoted: twelve clips, losses from 0.3
    to 1.0, differences that spread by 5 % of the loss, obedience and codec with noise of their own."""
    promoted = 0
    for night in range(nights):
        rng = random.Random(night)

        def noisy(level: float, rng: random.Random = rng) -> dict[str, dict[str, float]]:
            asked = {name: {t: float(rng.random() < 0.95) for t in verdicts} for name, verdicts in trials().items()}
            jitter = {clip: value * (1 + rng.gauss(0, 0.05 / 2**0.5)) for clip, value in losses(level).items()}
            psnr = {clip: 25 + rng.gauss(0, 0.1) for clip in CLIPS}
            return values(**{PRIMARY: jitter}, reconstruction_psnr=psnr, **asked)

        candidate, champion = noisy(0.6 * share), noisy(0.6)
        promoted += decide(good("2", values=candidate), good("1", values=champion)).promote
    return promoted / nights


def test_an_equal_model_is_promoted_in_at_most_one_night_of_twenty():
    assert simulated(1.0) <= 0.05


def test_twelve_clips_find_a_loss_that_is_8_percent_lower():
    assert simulated(0.92, nights=200) >= 0.8


def test_students_t_and_holms_correction_are_what_their_tables_say():
    twelve = Paired(12, 1.0, 1.0, difference=2.20099, sd=sqrt(12))  # a standard error of 1
    assert twelve.interval == pytest.approx((0.0, 2 * 2.20099), abs=1e-5)
    assert twelve.p_value("higher") == pytest.approx(0.025, abs=1e-6)
    assert Paired(48, 1.0, 1.0, 0.0, sqrt(48)).detectable == pytest.approx(2.01174 + 0.84941, abs=1e-3)
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})


def test_too_few_pairs_other_items_and_numbers_that_are_none_are_no_comparison():
    whole = losses(1.0)
    assert paired(whole, losses(0.9)) is not None
    for other in ({}, dict(list(whole.items())[:11]), whole | {CLIPS[0]: inf}):
        assert paired(whole, other) is None
    few = dict(list(whole.items())[:4])
    assert paired(few, few) is None


def test_obedience_is_the_share_of_a_trials_questions_that_are_answered_right():
    asked = {"trial_colour": {"t-0": 1.0, "t-1": 0.0}, "trial_side": {"t-0": 0.0}, "trial_direction": {"t-1": 0.0}}
    assert obedience(asked) == {"t-0": 0.5, "t-1": 0.0}
    assert obedience(asked | {"trial_side": {}}) == {}


def test_the_table_has_a_row_for_every_comparison_with_its_figures():
    shown = as_rows(decide(good("2", 0.5), good("1", 0.6)).reasons)
    (better,) = [row for row in shown if row["rule"] == "better" and row["compared"].startswith(PRIMARY)]
    assert (better["n"], better["verdict"]) == ("12", "pass")
    assert better["difference [95 %]"].startswith("-0.065 [-0.0")
    assert {row["compared"] for row in shown} >= {*FLOORS, f"{OBEDIENCE} against the base model"}
    assert len({frozenset(row) for row in shown}) == 1


def test_a_number_that_was_not_measured_is_no_value():
    row = {"metric": "fvd", "slice": "all", "value": None, "state": "not_measured"}
    assert Scorecard("m-1", "clips", [row]).value("fvd") is None
    assert Scorecard("m-1", "clips", [row | {"state": "measured", "value": 2.0}]).value("fvd") == 2.0


def test_a_model_of_a_pretrained_base_is_held_to_everything_but_the_trials() -> None:
    def tuned(version: str, level: float, **changes: Any) -> Contender:
        plain = {name: numbers for name, numbers in values(level).items() if not name.startswith("trial_")}
        return good(version, level, values=plain, base="pretrained-1", pretrained=True, **changes)

    assert failed(tuned("2", 0.6)) == []
    obeys = next(reason for reason in good_enough(tuned("2", 0.6)) if reason.rule == "obeys")
    assert obeys.detail.startswith("not measured")
    assert failed(tuned("2", 3.0)) == ["learned"]
    assert failed(tuned("2", 0.5), tuned("1", 0.6)) == []
    assert "better" in failed(tuned("2", 0.6), tuned("1", 0.6))
    assert failed(tuned("2", 0.5), good("1", 0.6)) == ["comparable"]
    assert failed(good("2", 0.5), tuned("1", 0.6)) == ["comparable"]
    unmeasured = replace(good(), values={name: v for name, v in values(0.6).items() if not name.startswith("trial_")})
    assert "obeys" in failed(unmeasured), "any other model is not excused"
