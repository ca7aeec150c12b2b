"""What the marts say about a lake in which each clip has one thing wrong, and that building again changes nothing."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import duckdb
import pytest

from assets.coverage.classes import DIMENSIONS, POLICY
from assets.lake import Lake
from assets.store import LocalStore
from tests.dbt.models import PROJECT, rebuild, rows_of
from tests.dbt.small_lake import cases


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["item_id"].removeprefix("i-"): row for row in rows}


@pytest.fixture(scope="module")
def eligibility(marts) -> dict[str, dict[str, Any]]:
    return by_name(marts("mart_training_eligibility"))


@pytest.fixture(scope="module")
def clips(marts) -> dict[str, dict[str, Any]]:
    return by_name(marts("fct_clips"))


def test_a_clip_on_which_every_witness_agrees_is_eligible(eligibility) -> None:
    assert eligibility["good"]["eligible"]
    assert eligibility["good"]["reasons"] == []


@pytest.mark.parametrize(
    ("clip", "reasons"),
    [
        ("no-decision", "decision.missing"),
        ("decided-no", "consent.expires dispute.open"),
        ("no-verdicts", "verdict.missing"),
        ("no-duplicate-row", "dup.unresolved"),
        ("no-reviews", "review.pending"),
        ("no-consent", "consent.none"),
        ("revoked", "consent.revoked"),
        ("eval-only", "consent.scope"),
        ("unmeasurable", "quality.check-1_unmeasurable"),
        ("not-measured", "platform.not_measured"),
        ("no-signals", "platform.not_measured"),
        ("generated", "policy.ai_generated"),
        ("copy", "dup.other_owner"),
        ("void-review", "review.pending"),
        ("rejected", "review.rejected"),
        ("rejected-for-good", "review.rejected"),
        ("one-organisation", "review.pending"),
        ("payer-judges", "review.pending"),
        ("failed-quality", "quality.focus"),
        ("unreleased", "legal.missing_model_release"),
    ],
)
def test_one_thing_wrong_makes_a_clip_ineligible_and_says_why(eligibility, clip: str, reasons: str) -> None:
    assert eligibility[clip]["eligible"] is False
    assert eligibility[clip]["reasons"] == reasons.split()


def test_the_mart_allows_what_was_decided_so_and_denies_all_else(eligibility, marts) -> None:
    decisions = by_name(marts("stg_eligibility"))
    for name, row in eligibility.items():
        decision = decisions.get(name)
        assert row["decision_agrees"] is bool(decision and decision["eligible"])
        assert row["consent_ids"] == (decision["consent_ids"] if decision else [])
        assert row["decision_digest"] == (decision["decision_digest"] if decision else None)
        assert set(decision["reasons"] if decision else ["decision.missing"]) <= set(row["reasons"])
    disagreeing = {name for name, row in eligibility.items() if not row["consent_agrees"]}
    assert disagreeing == {"no-decision", "decided-no", "no-consent", "revoked", "eval-only", "unreleased"}


def test_what_merely_misses_a_brief_is_eligible(eligibility) -> None:
    assert eligibility["too-long"]["eligible"]


def test_every_clip_has_one_row_and_eligible_is_never_null(eligibility, clips, marts) -> None:
    assert len(eligibility) == len(clips) == len(marts("stg_shots"))
    assert {row["eligible"] for row in eligibility.values()} == {True, False}


def test_slots_go_to_the_first_who_came_until_target_or_budget_is_reached(clips) -> None:
    assert clips["good"]["outcome"] == clips["second"]["outcome"] == "accepted_request"
    assert clips["too-late-for-a-slot"]["outcome"] == "accepted_catalogue"
    assert clips["too-late-for-a-slot"]["outcome_reasons"] == ["capacity.request_filled"]


def test_one_contributor_fills_no_more_than_the_request_allows(clips) -> None:
    assert clips["quota-1"]["outcome"] == "accepted_request"
    assert clips["quota-2"]["outcome_reasons"] == ["capacity.over_quota"]


def test_good_footage_that_misses_its_brief_goes_to_the_catalogue_with_the_reason(clips) -> None:
    assert clips["too-long"]["outcome"] == "accepted_catalogue"
    assert clips["too-long"]["outcome_reasons"] == ["spec.duration"]


def test_what_reviewers_find_not_good_enough_goes_to_the_catalogue_and_what_is_unlawful_nowhere(clips) -> None:
    assert clips["rejected"]["outcome"] == "accepted_catalogue"
    assert clips["rejected"]["outcome_reasons"] == ["quality.focus", "request.none"]
    assert clips["rejected-for-good"]["outcome"] == "rejected"
    assert clips["rejected-for-good"]["outcome_reasons"] == [
        "legal.privacy",
        "quality.focus",
        "request.none",
        "review.rejected",
    ]


def test_a_fatal_verdict_rejects_and_silence_never_accepts(clips) -> None:
    assert clips["generated"]["outcome"] == "rejected"
    assert clips["no-reviews"]["outcome"] == "waiting"
    assert clips["eval-only"]["outcome"] == "waiting"
    assert "consent.never_granted" in clips["eval-only"]["outcome_reasons"]


def test_what_the_platform_failed_to_measure_waits_and_has_missed_nothing(clips) -> None:
    assert clips["not-measured"]["outcome"] == "waiting"
    assert clips["not-measured"]["outcome_reasons"] == ["platform.not_measured"]


def test_fulfilment_counts_accepted_and_eligible_apart(marts) -> None:
    requests = {row["request_id"]: row for row in marts("fct_request_fulfilment")}
    assert (requests["r-night"]["fulfilment"], requests["r-night"]["missing_units"]) == ("filled", 0)
    assert requests["r-night"]["committed_minor"] == requests["r-night"]["budget_minor"] == 1000
    assert (requests["r-quota"]["accepted_units"], requests["r-quota"]["eligible_units"]) == (2, 1)  # one was revoked
    assert requests["r-quota"]["fulfilment"] == "partially_filled"
    assert (requests["r-empty"]["fulfilment"], requests["r-empty"]["missing_units"]) == ("unfilled", 2)


def test_payouts_are_whole_balanced_pairs(marts) -> None:
    payouts = marts("fct_payouts")
    assert sorted(row["amount_minor"] for row in payouts) == [-500, -500, 500, 500]
    assert sum(row["amount_minor"] for row in payouts) == 0
    assert Counter(row["account"] for row in payouts) == {
        "requester:org-1": 2,
        "contributor:c-1": 1,
        "contributor:c-2": 1,
    }


def test_nothing_delivered_is_lost(marts) -> None:
    items = by_name(marts("fct_items"))
    assert set(items) == set(by_name(marts("stg_delivery_items")))
    assert items["broken"]["item_state"] == "quarantined_by_probe"
    assert items["broken"]["reasons"] == ["media.truncated: the file ends early"]


def test_coverage_lists_slices_that_nobody_shot(marts) -> None:
    coverage = {(row["dimension"], row["slice"]): row for row in marts("mart_coverage")}
    assert coverage["time_of_day", "dawn"]["clips"] == 0
    assert coverage["time_of_day", "night"]["eligible_share"] == 1
    assert coverage["place", "brussels"]["clips"] == len(marts("fct_clips"))
    assert coverage["subject x time_of_day", "city | dawn"]["clips"] == 0


def test_the_closed_lists_of_the_marts_are_those_of_the_policy(marts) -> None:
    listed = defaultdict(set)
    for row in marts("mart_coverage"):
        listed[row["dimension"]].add(row["slice"])
    closed = {name: set(classes) for name, classes in POLICY.closed().items()}
    assert {name: listed[name] for name in closed} == closed
    assert set(listed) == {*DIMENSIONS, "subject x time_of_day"}


def test_one_missing_value_in_any_column_fails_the_test_of_all_columns() -> None:
    macros = (PROJECT / "macros" / "generic_tests.sql").read_text()
    test = macros.split("{% test no_nulls(model) %}")[1].split("{% endtest %}")[0]
    rows = "(values (1, 'a'), (2, null), (null, null)) as rows (number, name)"
    assert duckdb.sql(test.replace("{{ model }}", rows)).order("number").fetchall() == [(2, None), (None, None)]


# -- building again ----------------------------------------------------------------------------------------------------


MARTS = (
    "fct_clips",
    "fct_items",
    "fct_request_fulfilment",
    "fct_payouts",
    "mart_training_eligibility",
    "mart_coverage",
)


@pytest.mark.slow
def test_building_again_changes_nothing_and_a_lost_acceptance_keeps_its_payout(built: Path, tmp_path: Path) -> None:
    root = tmp_path / "again"
    shutil.copytree(built, root)
    read = rows_of(root)
    before = {name: read(name) for name in MARTS}

    rebuild(root)
    assert {name: read(name) for name in MARTS} == before

    # the reviewers change their minds about a clip that was accepted and paid
    changed = cases()
    for row in changed.rows["reviews"]:
        if row["item_id"] == "i-good":
            row |= {"verdict": "reject", "reasons": ["legal.privacy"], "fit_for_catalogue": False}
    changed.write(Lake(LocalStore(root)))
    rebuild(root)
    outcomes = {row["item_id"]: row["outcome"] for row in read("fct_clips")}
    assert outcomes["i-good"] == "rejected"
    assert {row["entry_id"] for row in before["fct_payouts"]} <= {row["entry_id"] for row in read("fct_payouts")}
