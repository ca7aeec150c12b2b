"""What must hold of a day's delivered files: table `delivery_items` with its deliveries' columns joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

KEY = ("item_id",)  # names a row in examples


def suite(gxe: Any) -> list[Expectation]:
    times = ["night", "dawn", "morning", "day", "evening", "sunset", "dusk"]
    accepted = {"row_condition": 'state=="accepted"', "condition_parser": "pandas"}
    return [
        # identity: without it nothing can be traced
        gxe.ExpectColumnValuesToNotBeNull(column="item_id", severity="critical"),
        gxe.ExpectColumnValuesToBeUnique(column="item_id", severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column="delivery_id", severity="critical"),
        gxe.ExpectColumnValuesToMatchRegex(column="received_day", regex=r"^\d{4}-\d{2}-\d{2}$", severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["accepted", "quarantined"], severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column="contributor_id", severity="critical", **accepted),
        # what is declared: wrong values end in verdicts, unusual ones in a look
        gxe.ExpectColumnValuesToBeInSet(column="declared_time_of_day", value_set=times, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(
            column="declared_duration_s", min_value=0.1, max_value=3600, severity="warning"
        ),
        gxe.ExpectColumnValuesToBeBetween(column="declared_width", min_value=16, max_value=16384, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(column="declared_height", min_value=16, max_value=16384, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(column="latitude", min_value=-90, max_value=90, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(column="longitude", min_value=-180, max_value=180, severity="warning"),
        gxe.ExpectColumnValuesToNotBeNull(column="declared_subject", severity="warning", **accepted),
        # nice to have
        gxe.ExpectColumnValuesToNotBeNull(column="captured_at", mostly=0.5, severity="info"),
        gxe.ExpectColumnValuesToNotBeNull(column="source_licence", mostly=0.5, severity="info"),
    ]
