"""The closed lists of words are the same wherever they are written down."""

from __future__ import annotations

import json

import great_expectations.expectations as gxe
import yaml

from assets.coverage.gaps import _PHRASES
from assets.curation.captioning.structured import CAMERAS, TIMES
from assets.curation.captioning.text_cleaning import TIME_WORDS
from assets.curation.policy.policy import LIGHT, SUN
from assets.ingestion.manifests import SCHEMA_FILE
from assets.requests.parse import _TIMES
from assets.vocabulary import ASPECTS, CAMERA_MOTIONS, CLOSED, LENGTHS, TIMES_OF_DAY, either
from assets.warehouse.project import PROJECT_DIR
from expectations import deliveries, signals
from training.consent.eligibility import APPROVALS_NEEDED


def test_a_manifest_may_declare_the_times_of_day_that_a_request_may_ask_for() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    assert schema["$defs"]["clip"]["properties"]["time_of_day"]["enum"] == list(TIMES_OF_DAY)
    assert set(_TIMES.values()) == set(TIMES_OF_DAY)


def test_the_warehouse_counts_by_the_words_and_numbers_of_the_rules() -> None:
    settings = yaml.safe_load((PROJECT_DIR / "dbt_project.yml").read_text())["vars"]
    assert settings["classes"] == {dimension: list(words) for dimension, words in CLOSED.items()}
    assert settings["approvals_needed"] == APPROVALS_NEEDED


def test_the_suites_expect_the_words_of_the_vocabulary() -> None:
    expected = {
        item.column: tuple(item.value_set)
        for suite in (deliveries, signals)
        for item in suite.suite(gxe)
        if hasattr(item, "value_set")
    }
    assert expected["declared_time_of_day"] == TIMES_OF_DAY
    assert expected["camera_motion"] == CAMERA_MOTIONS


def test_every_word_has_its_phrases_and_rules_and_no_other_word_has() -> None:
    assert set(TIMES) == set(TIME_WORDS) == set(SUN) == set(TIMES_OF_DAY)
    assert set(LIGHT) <= set(TIMES_OF_DAY)
    assert {name.split(" ")[0] for name in CAMERAS} == set(CAMERA_MOTIONS)
    asked = {dimension: set(phrases) for dimension, phrases in _PHRASES.items()}
    assert asked == {"time_of_day": set(TIMES_OF_DAY), "aspect": set(ASPECTS), "length": set(LENGTHS)}


def test_words_are_listed_as_a_sentence_lists_them() -> None:
    assert either(("pan", "tilt", "roll")) == "pan, tilt or roll"
