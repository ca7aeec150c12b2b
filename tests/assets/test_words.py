"""The closed lists of words and of reasons: the same wherever they are written down, and nothing else is taken."""

from __future__ import annotations

import json

import pytest
import yaml

from assets.consent.event_schema import body_problem
from assets.coverage.gaps import _PHRASES
from assets.curation.captioning.phrasing import TIME_WORDS
from assets.curation.captioning.structured import CAMERAS, TIMES
from assets.curation.policy.policy import LIGHT, POLICY, SUN
from assets.ingestion.manifests import SCHEMA_FILE
from assets.reasons import REASONS, UnknownReason, closed, fatal, fit_for_catalogue, in_words
from assets.requests.parse import _TIMES
from assets.vocabulary import ASPECTS, CAMERA_MOTIONS, CLOSED, LENGTHS, TIMES_OF_DAY, either
from assets.warehouse.project import PROJECT_DIR
from training.consent.eligibility import APPROVALS_NEEDED
from training.consent.events import dispute
from training.consent.times import parse_time


def test_a_manifest_may_declare_the_times_of_day_that_a_request_may_ask_for() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    assert schema["$defs"]["clip"]["properties"]["time_of_day"]["enum"] == list(TIMES_OF_DAY)
    assert set(_TIMES.values()) == set(TIMES_OF_DAY)


def test_the_warehouse_counts_by_the_words_and_numbers_of_the_rules() -> None:
    settings = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())["vars"]
    assert settings["classes"] == {dimension: list(words) for dimension, words in CLOSED.items()}
    assert settings["approvals_needed"] == APPROVALS_NEEDED
    assert settings["aspect_tolerance"] == POLICY.check("aspect_ratio").high


def test_every_word_has_its_phrases_and_rules_and_no_other_word_has() -> None:
    assert set(TIMES) == set(TIME_WORDS) == set(SUN) == set(TIMES_OF_DAY)
    assert set(LIGHT) <= set(TIMES_OF_DAY)
    assert {name.split(" ")[0] for name in CAMERAS} == set(CAMERA_MOTIONS)
    asked = {dimension: set(phrases) for dimension, phrases in _PHRASES.items()}
    assert asked == {"time_of_day": set(TIMES_OF_DAY), "aspect": set(ASPECTS), "length": set(LENGTHS)}


def test_words_are_listed_as_a_sentence_lists_them() -> None:
    assert either(("pan", "tilt", "roll")) == "pan, tilt or roll"


# -- reasons ---------------------------------------------------------------------------------------------------------


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
