"""Great Expectations as Dagster checks, beside the assets they look at: deliveries, media, signals, the snapshot.

A suite looks at all days of its table, because what is unique must be unique over all of them. What is critical is an
error (and blocks, where bad rows would travel on); anything else is a warning that somebody should look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.home import Home
from assets.tables import TABLES
from expectations.validate import validate

if TYPE_CHECKING:
    from expectations.validate import ValidationOutcome


@dg.asset_check(asset="deliveries", blocking=True, pool="data_docs", description="The suite `deliveries` holds.")
def deliveries_meet_expectations(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    return _check(home, "deliveries", "delivery_items")


@dg.asset_check(asset="media", blocking=True, pool="data_docs", description="The suite `media` holds.")
def media_meet_expectations(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    return _check(home, "media", "media")


@dg.asset_check(asset="signals", pool="data_docs", description="The suite `signals` holds.")
def signals_meet_expectations(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    return _check(home, "signals", "signals")


@dg.asset_check(asset="training_snapshot", pool="data_docs", description="The suite `snapshot` holds.")
def snapshot_meets_expectations(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    return _check(home, "snapshot", "snapshot_members")


def _check(home: Home, suite: str, table: str) -> dg.AssetCheckResult:
    rows = home.lake.read(table)
    if not rows.num_rows:
        return dg.AssetCheckResult(passed=True, description=f"nothing is in {table} yet")
    columns = {column.name: column.doc for column in TABLES[table].columns}
    outcome = validate(suite, rows.to_pandas(), home.data_docs, columns)
    return dg.AssetCheckResult(
        passed=outcome.max_severity in (None, "info"),  # what is merely good to know is listed and fails nothing
        severity=dg.AssetCheckSeverity.ERROR if outcome.critical else dg.AssetCheckSeverity.WARN,
        description="; ".join(f"{f.severity}: {f.expectation} on {f.column}" for f in outcome.failures) or None,
        metadata=_metadata(outcome, home.docs_url),
    )


def _metadata(outcome: ValidationOutcome, docs_url: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "expectations": int(outcome.statistics["evaluated_expectations"]),
        "unexpected_expectations": int(outcome.statistics["unsuccessful_expectations"]),
        "unexpected_values": sum(failure.unexpected_count or 0 for failure in outcome.failures),
    }
    if outcome.failures:
        metadata["failures"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "severity": failure.severity,
                        "expectation": failure.expectation,
                        "column": failure.column,
                        "unexpected": failure.unexpected_count,
                        "examples": " | ".join(failure.examples) or failure.observed,
                    }
                )
                for failure in outcome.failures
            ]
        )
    if outcome.docs_path:
        metadata["report"] = dg.MetadataValue.path(str(outcome.docs_path))
        if docs_url:
            metadata["data_docs"] = dg.MetadataValue.url(f"{docs_url.rstrip('/')}/{outcome.name}/index.html")
    return metadata
