"""Great Expectations as Dagster checks, beside the assets they look at: deliveries, media, signals, the snapshot.

A suite looks at all days of its table, because what is unique must be unique over all of them. What is critical is an
error (and blocks, where bad rows would travel on); anything else is a warning that somebody should look at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.home import Home
from assets.tables import TABLES
from assets.vocabulary import CLOSED
from expectations.validate import validate

if TYPE_CHECKING:
    from expectations.validate import ValidationOutcome


def _holds(name: str, asset: str, table: str, blocking: bool = False) -> dg.AssetChecksDefinition:
    """The check on an asset that the suite with which the check's name begins holds of all rows of a table."""
    suite = name.partition("_")[0]
    says = f"The suite `{suite}` holds."

    @dg.asset_check(name=name, asset=asset, blocking=blocking, pool="data_docs", description=says)
    def check(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
        return _check(home, suite, table)

    return check


deliveries_meet_expectations = _holds("deliveries_meet_expectations", "deliveries", "delivery_items", blocking=True)
media_meet_expectations = _holds("media_meet_expectations", "media", "media", blocking=True)
signals_meet_expectations = _holds("signals_meet_expectations", "signals", "signals")
snapshot_meets_expectations = _holds("snapshot_meets_expectations", "training_snapshot", "snapshot_members")


def _check(home: Home, suite: str, table: str) -> dg.AssetCheckResult:
    rows = home.lake.read(table)
    if not rows.num_rows:
        return dg.AssetCheckResult(passed=True, description=f"nothing is in {table} yet")
    columns = {column.name: column.doc for column in TABLES[table].columns}
    outcome = validate(suite, rows.to_pandas(), CLOSED, home.data_docs, columns)
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
