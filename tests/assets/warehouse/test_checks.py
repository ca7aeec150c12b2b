"""Expectations as Dagster checks: severity, blocking, examples and the link to the report."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg

from assets.home import Home
from assets.warehouse import checks
from tests.dbt.small_lake import DAY, SmallLake


def evaluate(home: Home, check: dg.AssetChecksDefinition) -> dg.AssetCheckResult:
    return check.node_def.compute_fn.decorated_fn(home=home)  # type: ignore[union-attr]


def write(home: Home, **first_item: object) -> None:
    lake = SmallLake()
    lake.clip("one")
    lake.rows["delivery_items"][0] |= first_item
    home.lake.write("delivery_items", lake.rows["delivery_items"], DAY)


def test_an_empty_lake_has_nothing_against_it(home: Home) -> None:
    assert evaluate(home, checks.deliveries_meet_expectations).passed


def test_a_critical_failure_is_an_error_with_counts_examples_and_a_report(
    home: Home,
) -> None:
    home = replace(home, docs_url="http://127.0.0.1:3002/")
    write(home, state="maybe")
    result = evaluate(home, checks.deliveries_meet_expectations)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert result.metadata["unexpected_values"].value >= 1
    examples = {record.data["column"]: record.data["examples"] for record in result.metadata["failures"].records}
    assert "maybe" in examples["state"]
    assert result.metadata["report"].path == str(home.data_docs / "deliveries" / "index.html")
    assert result.metadata["data_docs"].url == "http://127.0.0.1:3002/deliveries/index.html"


def test_what_is_merely_unusual_is_a_warning(home: Home) -> None:
    write(home, latitude=91.0, captured_at="2026-11-01T10:00:00Z", source_licence="CC0")
    result = evaluate(home, checks.deliveries_meet_expectations)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)


def test_what_is_good_to_know_is_listed_and_fails_nothing(home: Home) -> None:
    write(home, captured_at=None, source_licence="CC0")
    result = evaluate(home, checks.deliveries_meet_expectations)
    assert result.passed
    assert result.description == "info: expect_column_values_to_not_be_null on captured_at"


def test_only_what_would_travel_on_blocks() -> None:
    blocking = {
        spec.name: spec.blocking
        for check in (
            checks.deliveries_meet_expectations,
            checks.media_meet_expectations,
            checks.signals_meet_expectations,
            checks.snapshot_meets_expectations,
        )
        for spec in check.check_specs
    }
    assert blocking == {
        "deliveries_meet_expectations": True,
        "media_meet_expectations": True,
        "signals_meet_expectations": False,
        "snapshot_meets_expectations": False,
    }
