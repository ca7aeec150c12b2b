"""Good rows meet every suite, a planted error is found with its severity, and the report stands alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from assets.lake import to_table
from assets.tables import TABLES
from assets.vocabulary import CLOSED
from expectations.validate import ExpectationError, ValidationOutcome, stand_alone, validate
from tests.dbt.small_lake import SmallLake, digest
from tests.rows import Row, blank

ROWS = {
    "deliveries": ("delivery_items", {"captured_at": "2026-11-01T10:00:00Z", "source_licence": "CC0"}),
    "media": (
        "media",
        {"media_key": "media/a.mp4", "frames_decoded": 125, "decode_errors": 0, "pixel_format": "yuv420p"},
    ),
    "signals": ("signals", {"luma_mean": 0.4}),
}
COLUMNS = {column.name: column.doc for column in TABLES["signals"].columns}
REMOTE = re.compile(
    r"(?:src|href)=\"https?://[^\"]+\.(?:js|css|png|svg|ico)|<script[^>]+src=\"https?:|<img[^>]+src=\"https?:"
)


def rows_of(suite: str) -> tuple[str, list[Row]]:
    if suite == "snapshot":
        return "snapshot_members", [member(*names) for names in (("a", "train"), ("b", "train"), ("c", "heldout"))]
    lake, (table, values) = SmallLake(), ROWS[suite]
    lake.clip("one")
    lake.clip("two", contributor="c-2")
    lake.quarantined("broken")
    return table, [row | (values if row.get("state", "accepted") == "accepted" else {}) for row in lake.rows[table]]


def member(name: str, split: str) -> Row:
    digests = {column: digest(f"{column} {name}") for column in ("clip_id", "decision_digest", "leaf_hash")}
    names = {"contributor_id": f"c-{name}", "dup_group": f"g-{name}", "split": split, "consent_ids": ["k-1"]}
    return blank("snapshot_members", **digests, **names, snapshot_root=digest("root"), caption="a city at night")


def outcome_of(suite: str, docs: Path | None = None, **first_row: Any) -> ValidationOutcome:
    """What the suite says of good rows but for what is planted in the first."""
    table, rows = rows_of(suite)
    rows[0] |= first_row
    return validate(suite, to_table(table, rows).to_pandas(), CLOSED, docs)


@pytest.mark.parametrize("suite", ["deliveries", "media", "signals", "snapshot"])
def test_good_rows_meet_every_expectation(suite: str) -> None:
    outcome = outcome_of(suite)
    assert outcome.failures == ()
    assert (outcome.success, outcome.max_severity, outcome.docs_path) == (True, None, None)


@pytest.mark.parametrize(
    ("suite", "planted", "severity"),
    [
        ("deliveries", {"state": "maybe"}, "critical"),
        ("deliveries", {"received_day": "yesterday"}, "critical"),
        ("deliveries", {"contributor_id": None}, "critical"),
        ("deliveries", {"declared_time_of_day": "brunch"}, "warning"),
        ("deliveries", {"latitude": 91.0}, "warning"),
        ("media", {"frames_decoded": 0}, "critical"),
        ("media", {"bytes_sha256": "ABC"}, "critical"),
        ("media", {"duration_s": 0.0}, "critical"),
        ("media", {"fps": 1000.0}, "warning"),
        ("signals", {"luma_mean": 1.5}, "critical"),
        ("signals", {"camera_motion": "teleport"}, "critical"),
        ("signals", {"motion_p90_diag_per_s": 90.0, "motion_diag_per_s": 45.0}, "warning"),
        ("signals", {"motion_p90_diag_per_s": 0.0}, "critical"),
        ("signals", {"faces_max": None}, "warning"),
        ("snapshot", {"consent_ids": []}, "critical"),
        ("snapshot", {"contributor_id": "c-c"}, "critical"),
        ("snapshot", {"dup_group": "g-c"}, "critical"),
        ("snapshot", {"snapshot_root": "another"}, "critical"),
        ("snapshot", {"caption": ""}, "warning"),
    ],
)
def test_a_planted_error_is_found_with_its_severity(suite: str, planted: dict[str, Any], severity: str) -> None:
    outcome = outcome_of(suite, **planted)
    assert not outcome.success
    assert outcome.max_severity == severity


def test_a_failure_counts_the_unexpected_values_and_names_their_rows() -> None:
    (failure,) = outcome_of("deliveries", latitude=91.0).failures
    assert (failure.column, failure.unexpected_count) == ("latitude", 1)
    assert failure.examples == ("item_id i-one, latitude 91.0",)


def test_an_expectation_that_cannot_be_computed_is_an_error_and_no_quiet_failure() -> None:
    with pytest.raises(ExpectationError, match="could not be computed"):
        validate("deliveries", pd.DataFrame({"item_id": ["i-1"], "state": ["accepted"]}), CLOSED)


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(KeyError, match="no suite"):
        validate("nothing", pd.DataFrame(), CLOSED)


def test_the_report_is_written_and_replaced_whole(tmp_path: Path) -> None:
    for _ in range(2):
        outcome = outcome_of("deliveries", tmp_path, state="maybe")
        assert outcome.docs_path == tmp_path / "deliveries" / "index.html"
        assert "deliveries" in outcome.docs_path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "deliveries"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    rows = pd.DataFrame({"clip_id": ["a", "a"]}).reindex(columns=list(COLUMNS))
    validate("signals", rows, CLOSED, folder, COLUMNS)
    return folder / "signals"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 2
    assert {page.name: REMOTE.findall(page.read_text()) for page in pages} == {page.name: [] for page in pages}


def test_the_first_page_leads_to_the_validation_result(site: Path) -> None:
    target = re.search(r"url=([^\"]+)\"", (site / "index.html").read_text())
    assert target
    assert "Expectation" in (site / target.group(1)).read_text()


def test_the_page_of_the_suite_says_what_the_columns_mean(site: Path) -> None:
    assert COLUMNS["sharpness"] in (site / "expectations" / "signals.html").read_text()


def test_making_a_report_stand_alone_twice_changes_no_result(site: Path) -> None:
    assert stand_alone(site) == stand_alone(site)
