"""Dagster asset of the requests stage: what companies ask for."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.home import Home
from assets.pages.metadata import definition_metadata, table_metadata
from assets.pages.plots import markdown_table
from assets.requests.document import take_in
from assets.requests.spec import Spec, money_problems, problems
from assets.requests.store import list_requests

SPEC, BUDGET, READ = "spec_valid", "budget_in_whole_minor_units", "every_file_read"
CHECKS = {
    SPEC: "Every request can be ordered.",
    BUDGET: "Prices and budgets are whole minor units of a known currency, and a budget pays for a clip.",
    READ: "Every file in inbox/requests gave a request.",
}


@dg.asset(
    kinds={"parquet", "sqlalchemy"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("requests"),
    check_specs=[
        dg.AssetCheckSpec(name, asset="footage_requests", blocking=name != READ, description=text)
        for name, text in CHECKS.items()
    ],
)
def footage_requests(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What companies ask for: typed specs, from request lines and from YAML files in the inbox."""
    new, unread = take_in(home, dt.datetime.now(dt.UTC))
    rows = list_requests(home.database_url)
    written = home.lake.write("requests", rows)
    files = dg.MetadataValue.md(markdown_table([{"file": file.key, "why": file.why} for file in unread]))
    extra = {"new_from_inbox": new, "requests": dg.MetadataValue.md(_requests_table(rows)), "files_not_read": files}
    return dg.MaterializeResult(
        metadata=table_metadata(home, "requests", extra=extra),
        data_version=dg.DataVersion(written.sha256),
        check_results=_check_results(rows, files, not unread),
    )


def _check_results(
    rows: Sequence[Mapping[str, Any]], files: dg.MetadataValue, all_read: bool
) -> list[dg.AssetCheckResult]:
    invalid = {row["request_id"]: why for row in rows if (why := _spec_problems(row))}
    unpayable = {
        row["request_id"]: why
        for row in rows
        if (why := money_problems(row["price_minor"], row["budget_minor"], row["currency"]))
    }
    return [
        dg.AssetCheckResult(check_name=SPEC, passed=not invalid, metadata={"invalid": json.dumps(invalid)}),
        dg.AssetCheckResult(check_name=BUDGET, passed=not unpayable, metadata={"unpayable": json.dumps(unpayable)}),
        # one bad file must not stop the night
        dg.AssetCheckResult(
            check_name=READ, passed=all_read, severity=dg.AssetCheckSeverity.WARN, metadata={"files": files}
        ),
    ]


def _spec_problems(row: Mapping[str, Any]) -> list[str]:
    """The rules again, on what the database holds now: somebody may have edited it."""
    try:
        return problems(Spec(**{name: row[name] for name in Spec.__dataclass_fields__}))
    except (KeyError, TypeError) as error:
        return [f"the row does not read as a request: {error!r}"]


def _requests_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return markdown_table(
        [
            {
                "request": row["request_id"],
                "asked for": row["title"],
                "clips": row["target_units"],
                "not understood": "; ".join(row["not_understood"]) or "–",
            }
            for row in rows
        ]
    )
