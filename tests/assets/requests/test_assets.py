"""The requests stage through Dagster: inbox files and database rows in, a typed table with checks out."""

from __future__ import annotations

import datetime as dt
import json

import dagster as dg
import pytest
import sqlalchemy as sa

from assets.home import Home
from assets.requests.assets import footage_requests
from assets.requests.parse import parse_line
from assets.requests.store import add_request

NOW = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def run(home: Home) -> tuple[dg.ExecuteInProcessResult, dict[str, dg.AssetCheckEvaluation]]:
    result = dg.materialize([footage_requests], resources={"home": home}, raise_on_error=False)
    return result, {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_requests_come_from_the_database_and_from_the_inbox_and_bad_files_stop_nobody(home: Home) -> None:
    add_request(home.database_url, parse_line("fog over Paris, slow motion"), NOW)
    home.store.put("inbox/requests/bread.yaml", b"request_id: r-bread\nsubject: bread\nopens_at: 2026-11-01\n")
    home.store.put("inbox/requests/bad.yaml", b"\xff\xfe not text")
    home.store.put("inbox/requests/nothing.yaml", b"count: 3\n")
    result, checks = run(home)
    assert result.success
    rows = {row["request_id"]: row for row in home.lake.rows("requests")}
    assert len(rows) == 2
    assert rows["r-bread"]["opens_at"] == "2026-11-01T00:00:00Z"
    assert {tuple(row["not_understood"]) for row in rows.values()} == {(), ("slow motion",)}
    assert checks["spec_valid"].passed
    assert checks["budget_in_whole_minor_units"].passed
    assert not checks["every_file_read"].passed
    assert "bad.yaml" in checks["every_file_read"].metadata["files"].value
    assert "nothing.yaml" in checks["every_file_read"].metadata["files"].value


def test_a_second_run_writes_the_same_bytes(home: Home) -> None:
    home.store.put("inbox/requests/bread.yaml", b"subject: bread\n")
    run(home)
    before = home.store.get("lake/requests/part.parquet")
    run(home)
    assert home.store.get("lake/requests/part.parquet") == before


@pytest.mark.parametrize(
    ("change", "check"),
    [({"target_units": 0}, "spec_valid"), ({"price_minor": -5}, "budget_in_whole_minor_units")],
)
def test_a_row_that_somebody_broke_in_the_database_blocks(home: Home, change: dict[str, int], check: str) -> None:
    row, _ = add_request(home.database_url, parse_line("fog"), NOW)
    broken = json.dumps({name: value for name, value in (row | change).items() if name != "status"})
    with sa.create_engine(home.database_url).begin() as connection:
        connection.execute(sa.text("update footage_request set row_json = :row"), {"row": broken})
    _, checks = run(home)
    assert not checks[check].passed
    assert checks[check].severity == dg.AssetCheckSeverity.ERROR
    assert checks[check].blocking
