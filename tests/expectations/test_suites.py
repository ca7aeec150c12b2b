"""Good rows pass every suite; each planted error is found, counted, shown and weighed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from assets.lake import to_table
from expectations.validate import ExpectationError, validate
from tests.dbt.small_lake import SmallLake, digest

TABLES = {"deliveries": "delivery_items", "media": "media", "signals": "signals"}


def rows_of(suite: str) -> list[dict[str, Any]]:
    if suite == "snapshot":
        return [_member(name, split) for name, split in (("a", "train"), ("b", "train"), ("c", "heldout"))]
    lake = SmallLake()
    lake.clip("one")
    lake.clip("two", contributor="c-2")
    lake.quarantined("broken")
    rows = lake.rows[TABLES[suite]]
    for row in rows:
        row |= {"captured_at": "2026-11-01T10:00:00Z", "source_licence": "CC0"} if suite == "deliveries" else {}
        if suite == "media" and row["state"] == "accepted":
            row |= {"media_key": "media/a.mp4", "frames_decoded": 125, "decode_errors": 0, "pixel_format": "yuv420p"}
        if suite == "signals":
            row |= {"luma_p95": 0.9}
    return rows


def _member(name: str, split: str) -> dict[str, Any]:
    hashes = {
        column: digest(f"{column} {name}") for column in ("clip_id", "bytes_sha256", "decision_digest", "leaf_hash")
    }
    return hashes | {
        "snapshot_root": digest("root"),
        "item_id": f"i-{name}",
        "shot_index": 0,
        "contributor_id": f"c-{name}",
        "dup_group": f"g-{name}",
        "split": split,
        "caption": "a city at night",
        "consent_ids": ["k-1"],
    }


def frame(suite: str, **first_row: Any) -> pd.DataFrame:
    rows = rows_of(suite)
    rows[0] |= first_row
    return to_table(TABLES.get(suite, "snapshot_members"), rows).to_pandas()


@pytest.mark.parametrize("suite", ["deliveries", "media", "signals", "snapshot"])
def test_good_rows_meet_every_expectation(suite: str) -> None:
    outcome = validate(suite, frame(suite))
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
    outcome = validate(suite, frame(suite, **planted))
    assert not outcome.success
    assert outcome.max_severity == severity


def test_a_failure_counts_the_unexpected_values_and_names_their_rows() -> None:
    (failure,) = validate("deliveries", frame("deliveries", latitude=91.0)).failures
    assert (failure.column, failure.unexpected_count) == ("latitude", 1)
    assert failure.examples == ("item_id i-one, latitude 91.0",)


def test_an_expectation_that_cannot_be_computed_is_an_error_and_no_quiet_failure() -> None:
    with pytest.raises(ExpectationError, match="could not be computed"):
        validate("deliveries", frame("deliveries").drop(columns="latitude"))


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(KeyError, match="no suite"):
        validate("nothing", pd.DataFrame())


def test_the_report_is_written_and_replaced_whole(tmp_path: Path) -> None:
    for _ in range(2):
        outcome = validate("deliveries", frame("deliveries", state="maybe"), tmp_path)
        assert outcome.docs_path == tmp_path / "deliveries" / "index.html"
        assert "deliveries" in outcome.docs_path.read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "deliveries"]
