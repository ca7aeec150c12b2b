"""Requests and proposals in the database, and through Dagster: identities, states, a typed table with checks."""

from __future__ import annotations

import datetime as dt
import json

import dagster as dg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from assets.home import Home
from assets.lake import to_table
from assets.requests.assets import footage_requests
from assets.requests.parse import RequestError, parse_line
from assets.requests.store import (
    STATES,
    Header,
    IllegalTransition,
    UnknownRequest,
    add_request,
    get_request,
    list_proposals,
    list_requests,
    propose,
    request_row,
    requests_digest,
    set_status,
)

NOW = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
FOG = parse_line("fog over Paris, 3 clips, EUR 5 per clip")


def test_adding_the_same_request_again_changes_nothing(home: Home) -> None:
    first, new = add_request(home.database_url, FOG, NOW, Header(org_id="org-1"))
    again, newer = add_request(home.database_url, FOG, NOW + dt.timedelta(days=3), Header(org_id="org-1"))
    assert (new, newer) == (True, False)
    assert again == first
    assert list_requests(home.database_url) == [first]


def test_another_organisation_asking_the_same_is_another_request(home: Home) -> None:
    add_request(home.database_url, FOG, NOW, Header(org_id="org-1"))
    add_request(home.database_url, FOG, NOW, Header(org_id="org-2"))
    assert len(list_requests(home.database_url)) == 2


def test_a_row_fits_the_lake_table(home: Home) -> None:
    row, _ = add_request(home.database_url, FOG, NOW)
    assert to_table("requests", [row]).num_rows == 1
    assert (row["opens_at"], row["status"], row["budget_minor"]) == ("2026-11-20T12:00:00Z", "open", 1500)


def test_a_taken_identity_cannot_come_to_mean_something_else(home: Home) -> None:
    add_request(home.database_url, FOG, NOW, Header(request_id="r-1"))
    with pytest.raises(ValueError, match="asks for something else"):
        add_request(home.database_url, parse_line("snow"), NOW, Header(request_id="r-1"))
    assert get_request(home.database_url, "r-1")["subject"] == "fog"


def test_what_cannot_be_ordered_is_not_kept(home: Home) -> None:
    with pytest.raises(RequestError):
        add_request(home.database_url, parse_line("20 clips"), NOW)
    assert list_requests(home.database_url) == []


def test_an_unknown_request_is_a_typed_error(home: Home) -> None:
    with pytest.raises(UnknownRequest, match="rushes request list"):
        set_status(home.database_url, "r-none", "paused")


def test_a_closed_request_stays_closed_and_a_paused_one_reopens(home: Home) -> None:
    url, request_id = home.database_url, add_request(home.database_url, FOG, NOW)[0]["request_id"]
    assert set_status(url, request_id, "paused")["status"] == "paused"
    assert set_status(url, request_id, "paused")["status"] == "paused"
    assert set_status(url, request_id, "open")["status"] == "open"
    assert set_status(url, request_id, "filled")["status"] == "filled"
    with pytest.raises(IllegalTransition, match="closed"):
        set_status(url, request_id, "open")
    assert get_request(url, request_id)["status"] == "filled"


def test_every_state_leads_only_to_known_states_and_closed_ones_lead_nowhere() -> None:
    assert {following for states in STATES.values() for following in states} <= set(STATES)
    assert {state for state, following in STATES.items() if not following} == {
        *("filled", "closed_deadline", "closed_budget", "cancelled")
    }


def test_the_digest_moves_with_requests_and_their_states(home: Home) -> None:
    empty = requests_digest(home.database_url)
    row, _ = add_request(home.database_url, FOG, NOW)
    digest = requests_digest(home.database_url)
    add_request(home.database_url, FOG, NOW)
    assert digest == requests_digest(home.database_url) != empty
    set_status(home.database_url, row["request_id"], "paused")
    assert requests_digest(home.database_url) != digest


def test_one_cause_makes_one_proposal(home: Home) -> None:
    cause = {"origin": "revocation_backfill", "origin_ref": "clip-1"}
    first = propose(home.database_url, **cause, text="fog, 1 clip", reason="withdrawn")
    again = propose(home.database_url, **cause, text="fog, 9 clips", reason="withdrawn twice")
    assert again == first
    assert list_proposals(home.database_url) == [first]
    assert to_table("request_proposals", [first]).num_rows == 1


def test_people_do_not_propose_they_ask(home: Home) -> None:
    with pytest.raises(ValueError, match="proposes for"):
        propose(home.database_url, origin="human", origin_ref="x", text="fog", reason="")


@given(st.datetimes(min_value=dt.datetime(2026, 1, 1), max_value=dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC)))
def test_an_identity_does_not_depend_on_when_it_was_asked(moment: dt.datetime) -> None:
    fixed = request_row(FOG, Header(opens_at="2026-01-01T00:00:00Z"))["request_id"]
    assert request_row(FOG, Header(opens_at=moment.isoformat()))["request_id"] == fixed


# -- the asset ---------------------------------------------------------------------------------------------------------


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
