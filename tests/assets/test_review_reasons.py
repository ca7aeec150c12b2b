"""The closed list of reasons: nothing else is taken, and what a code costs is known."""

from __future__ import annotations

import pytest

from assets.consent.event_schema import body_problem
from assets.curation.policy.policy import POLICY
from assets.reasons import REASONS, UnknownReason, closed, fatal, fit_for_catalogue, in_words
from training.consent.events import dispute
from training.consent.times import parse_time


def test_codes_come_sorted_and_once() -> None:
    assert closed([" quality.focus", "legal.privacy", "quality.focus", ""]) == ("legal.privacy", "quality.focus")


@pytest.mark.parametrize(
    ("code", "near"), [("quality.focuss", "quality.focus"), ("legal.xyzzy", "legal.privacy"), ("zzz", "quality")]
)
def test_an_unknown_code_is_refused_with_the_ones_near_it(code: str, near: str) -> None:
    with pytest.raises(UnknownReason, match=near):
        closed(["quality.focus", code])


@pytest.mark.parametrize(
    ("codes", "is_fatal", "for_catalogue"),
    [
        (["quality.focus", "spec.aspect"], False, True),
        (["quality.focus", "legal.privacy"], True, False),
        (["policy.nsfw"], True, False),
        (["fraud.stolen"], True, False),
        (["metadata.subject_mismatch"], False, False),
        (["dup.other_owner"], False, False),
        (["capacity.late"], False, True),
    ],
)
def test_what_a_rejection_costs(codes: list[str], is_fatal: bool, for_catalogue: bool) -> None:
    assert fatal(codes) is is_fatal
    assert fit_for_catalogue(codes) is for_catalogue


def test_every_code_of_a_machine_check_that_can_reject_is_on_the_list() -> None:
    assert {check.reason for check in POLICY.checks if check.severity != "info"} <= REASONS.keys()


def test_every_code_can_stand_in_a_dispute_and_says_something_to_people() -> None:
    for code in REASONS:
        assert body_problem(dispute("p-bob", ["a" * 64], code, parse_time("2026-11-02T09:00:00Z"))) is None
        assert len(in_words(code)) > 10
    assert in_words("quality.check_not_yet") == "check not yet"
