"""What Dagster sees of the requests: what is asked for, what is short, and what the platform itself proposes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.home import Home
from assets.metadata import definition_metadata, picture, table_metadata
from assets.requests.gaps import eligible_counts, gap_rows
from assets.requests.inbox import Unread, take_in
from assets.requests.proposing import proposals
from assets.requests.spec import Spec, money_problems, problems
from assets.requests.store import list_proposals, list_requests

_SPEC_FIELDS = tuple(Spec.__dataclass_fields__)


@dg.asset(
    group_name="requests",
    kinds={"parquet", "sqlalchemy"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("requests"),
    check_specs=[
        dg.AssetCheckSpec(
            "spec_valid", asset="footage_requests", blocking=True, description="Every request can be ordered."
        ),
        dg.AssetCheckSpec(
            "budget_in_whole_minor_units",
            asset="footage_requests",
            blocking=True,
            description="Prices and budgets are whole minor units of a known currency, and a budget pays for a clip.",
        ),
        dg.AssetCheckSpec(
            "every_file_read", asset="footage_requests", description="Every file in inbox/requests gave a request."
        ),
    ],
)
def footage_requests(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What companies ask for: typed specs, from request lines and from YAML files in the inbox."""
    new, unread = take_in(home, dt.datetime.now(dt.UTC))
    rows = list_requests(home.database_url)
    written = home.lake.write("requests", rows)
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "requests",
            extra={
                "new_from_inbox": new,
                "requests": dg.MetadataValue.md(_requests_markdown(rows)),
                "files_not_read": dg.MetadataValue.md(_unread_markdown(unread)),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
        check_results=_check_results(rows, unread),
    )


@dg.asset(
    group_name="coverage",
    deps=["fct_request_fulfilment", "mart_coverage", "footage_requests"],
    kinds={"parquet"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("coverage_gaps"),
)
def coverage_gaps(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What is short: of each open request, of classes that have too little to train on, and beside who has too much."""
    from assets.diversity.page import coverage_plot, measures_table
    from assets.warehouse.project import mart_rows

    coverage = mart_rows(home, "mart_coverage")
    rows = gap_rows(mart_rows(home, "fct_request_fulfilment"), home.lake.rows("requests"), coverage)
    written = home.lake.write("coverage_gaps", rows)
    counts = eligible_counts(coverage)
    told = ("dimension", "cell", "have_units", "want_units", "missing_units", "asked_units", "reason", "detail")
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "coverage_gaps",
            extra={
                "missing_units": sum(row["missing_units"] for row in rows if row["dimension"] == "request"),
                "short_classes": sum(row["dimension"] != "request" for row in rows),
                "gaps": dg.MetadataValue.md(_markdown(told, [[row[name] for name in told] for row in rows])),
                "imbalance": dg.MetadataValue.md(measures_table(counts)),
                "coverage": picture(coverage_plot(counts), "image/png", "share of the eligible clips by class"),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


@dg.asset(
    group_name="coverage",
    deps=["coverage_gaps"],
    kinds={"parquet", "sqlalchemy"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("request_proposals"),
)
def request_proposals(home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Requests the platform proposes: after a withdrawal, a failed evaluation, or where a class lacks footage."""
    kept = list_proposals(home.database_url)
    gaps = proposals(home.lake.rows("coverage_gaps"))
    known = {row["proposal_id"] for row in kept}
    rows = kept + [row for row in gaps if row["proposal_id"] not in known]
    written = home.lake.write("request_proposals", rows)
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "request_proposals",
            extra={
                "kept_proposals": len(kept),
                "bias_gaps": len(gaps),
                "proposals": dg.MetadataValue.md(
                    _markdown(("ask for", "why"), [(row["text"], row["reason"]) for row in rows])
                ),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


def _check_results(rows: Sequence[Mapping[str, Any]], unread: Sequence[Unread]) -> list[dg.AssetCheckResult]:
    invalid = {row["request_id"]: why for row in rows if (why := _spec_problems(row))}
    unpayable = {
        row["request_id"]: why
        for row in rows
        if (why := money_problems(row["price_minor"], row["budget_minor"], row["currency"]))
    }
    return [
        dg.AssetCheckResult(check_name="spec_valid", passed=not invalid, metadata={"invalid": json.dumps(invalid)}),
        dg.AssetCheckResult(
            check_name="budget_in_whole_minor_units",
            passed=not unpayable,
            metadata={"unpayable": json.dumps(unpayable)},
        ),
        dg.AssetCheckResult(
            check_name="every_file_read",
            passed=not unread,
            severity=dg.AssetCheckSeverity.WARN,  # one bad file must not stop the night
            metadata={"files": dg.MetadataValue.md(_unread_markdown(unread))},
        ),
    ]


def _spec_problems(row: Mapping[str, Any]) -> list[str]:
    """The rules again, on what is really in the database: somebody may have edited it."""
    try:
        return problems(Spec(**{name: row[name] for name in _SPEC_FIELDS}))
    except (KeyError, TypeError) as error:
        return [f"the row does not read as a request: {error!r}"]


def _requests_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    return _markdown(
        ("request", "asked for", "clips", "not understood"),
        [(r["request_id"], r["title"], r["target_units"], "; ".join(r["not_understood"]) or "–") for r in rows],
    )


def _unread_markdown(unread: Sequence[Unread]) -> str:
    return _markdown(("file", "why"), [(item.key, item.why) for item in unread]) if unread else "none"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])
