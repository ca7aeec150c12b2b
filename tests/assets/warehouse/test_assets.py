"""The warehouse through Dagster: models with checks, counts and lineage; expectations as checks."""

from __future__ import annotations

import os
from dataclasses import replace

import dagster as dg
import pytest
import yaml

from assets.coverage.assets import coverage_gaps, request_proposals
from assets.home import Home
from assets.requests.store import propose
from assets.tables import TABLES
from assets.warehouse import checks
from assets.warehouse.assets import WRITERS, manifest, warehouse
from assets.warehouse.opening import mart_rows
from assets.warehouse.project import PROJECT_DIR, dbt_resource
from tests.dbt.small_lake import DAY, SmallLake

UPSTREAM = {
    *("footage_requests", "deliveries", "media", "shots", "signals", "duplicates"),
    *("captions", "clip_classes", "verdicts", "consent_ledger", "reviews", "eligibility"),
}


def test_the_warehouse_hangs_on_the_assets_that_write_the_lake_and_on_nothing_behind_it() -> None:
    outside = {dep.asset_key.to_user_string() for spec in warehouse.specs for dep in spec.deps} - {
        key.to_user_string() for key in warehouse.keys
    }
    assert outside == UPSTREAM


def test_every_model_has_a_group_an_owner_and_a_code_version() -> None:
    assert {spec.group_name for spec in warehouse.specs} == {"warehouse"}
    assert all(spec.owners and spec.code_version for spec in warehouse.specs)


def test_every_column_of_staging_and_marts_is_described_and_none_twice() -> None:
    models = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    text = {node["name"]: {c["name"]: c["description"] for c in node["columns"].values()} for node in models}
    assert all(node["description"] for node in models)
    assert [(model, name) for model, columns in text.items() for name, meaning in columns.items() if not meaning] == []
    assert text["stg_signals"]["sharpness"] == text["fct_clips"]["sharpness"] == described_in("signals", "sharpness")
    assert text["fct_clips"]["width"] == described_in("media", "width")
    in_lake = {column.doc.casefold() for table in TABLES.values() for column in table.columns}
    files = (PROJECT_DIR / "models").glob("*/schema.yml")
    written = [model for file in files for model in yaml.safe_load(file.read_text())["models"]]
    columns = [(model["name"], column) for model in written for column in model.get("columns", ())]
    assert len(columns) > 100
    assert [
        (model, column["name"])
        for model, column in columns
        if column.get("description", "").rstrip(".").casefold() in in_lake
    ] == []


def described_in(table: str, column: str) -> str:
    return next(c.doc for c in TABLES[table].columns if c.name == column)


def test_tables_with_another_name_than_their_asset_are_mapped() -> None:
    assert WRITERS["delivery_items"] == "deliveries"


def test_reading_a_mart_before_the_warehouse_was_built_says_what_to_do(home: Home) -> None:
    with pytest.raises(FileNotFoundError, match="materialise the warehouse"):
        mart_rows(home, "fct_clips")


@pytest.mark.slow
def test_the_marts_are_materialised_with_checks_row_counts_and_column_lineage(home: Home) -> None:
    lake = SmallLake()
    lake.request("r-1", target_units=3)
    lake.clip("one", request="r-1")
    lake.write(home.lake)
    propose(
        home.database_url, origin="revocation_backfill", origin_ref="clip-1", text="fog, 1 clip", reason="withdrawn"
    )
    before = {name for name in os.environ if name.startswith("RUSHES_")}

    result = dg.materialize(
        [warehouse, coverage_gaps, request_proposals], resources={"home": home, "dbt": dbt_resource()}
    )

    assert result.success
    assert not (home.state / "building").exists()
    assert {name for name in os.environ if name.startswith("RUSHES_")} == before
    assert [row["item_id"] for row in mart_rows(home, "fct_clips")] == ["i-one"]
    materializations = {event.asset_key.to_user_string(): event for event in result.get_asset_materialization_events()}
    metadata = materializations["fct_clips"].materialization.metadata
    assert metadata["dagster/row_count"].value == 1
    lineage = metadata["dagster/column_lineage"].value.deps_by_column
    assert [(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage["outcome"]] == [
        ("int_clip_acceptance", "outcome")
    ]
    columns = {column.name: column for column in metadata["dagster/column_schema"].value.columns}
    assert columns["luma_mean"].description == described_in("signals", "luma_mean")
    assert columns["outcome"].description
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert checks["eligible_means_every_witness_agrees"].passed
    assert checks["no_delivered_file_is_lost"].passed
    assert all(check.passed or check.severity == dg.AssetCheckSeverity.WARN for check in checks.values())
    # the ledger of this home is empty, so Python would have refused: a yes written into the lake stays without effect
    gaps = {(row["dimension"], row["cell"]): row for row in home.lake.rows("coverage_gaps")}
    assert gaps["request", "r-1"]["missing_units"] == 2
    assert gaps["time_of_day", "night"]["asked_units"] == 1, "the request asks for nights already"
    assert gaps["contributor", "c-1"]["reason"] == "share.over_cap"
    proposed = {row["origin_ref"] for row in home.lake.rows("request_proposals")}
    assert {"clip-1", "time_of_day=dusk", "contributor=c-1"} <= proposed
    assert "time_of_day=night" not in proposed
    assert materializations["coverage_gaps"].materialization.metadata["coverage"].value.startswith("![share")


# -- expectations as checks --------------------------------------------------------------------------------------------


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
    suites = [getattr(checks, name) for name in dir(checks) if name.endswith("_expectations")]
    assert {spec.name: spec.blocking for check in suites for spec in check.check_specs} == {
        "deliveries_meet_expectations": True,
        "media_meet_expectations": True,
        "signals_meet_expectations": False,
        "snapshot_meets_expectations": False,
    }
