"""What must hold of decoded files: table `media`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

KEY = ("item_id",)  # names a row in examples


def suite(gxe: Any) -> list[Expectation]:
    accepted = {"row_condition": 'state=="accepted"', "condition_parser": "pandas"}
    sha256 = r"^[0-9a-f]{64}$"
    return [
        gxe.ExpectColumnValuesToBeUnique(column="item_id", severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column="state", value_set=["accepted", "quarantined"], severity="critical"),
        # an accepted file is identified, was decoded whole and has pictures
        gxe.ExpectColumnValuesToNotBeNull(column="bytes_sha256", severity="critical", **accepted),
        gxe.ExpectColumnValuesToMatchRegex(column="bytes_sha256", regex=sha256, severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column="frames_sha256", severity="critical", **accepted),
        gxe.ExpectColumnValuesToMatchRegex(column="frames_sha256", regex=sha256, severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column="media_key", severity="critical", **accepted),
        gxe.ExpectColumnValuesToBeBetween(column="frames_decoded", min_value=1, severity="critical", **accepted),
        gxe.ExpectColumnValuesToBeBetween(
            column="duration_s", min_value=0, strict_min=True, severity="critical", **accepted
        ),
        # every bound that a delivered file could pass is a verdict of the probe: what fails here is our own fault
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=16, severity="critical", **accepted),
        gxe.ExpectColumnValuesToBeBetween(column="height", min_value=16, severity="critical", **accepted),
        gxe.ExpectColumnValuesToBeInSet(column="decode_errors", value_set=[0], severity="warning", **accepted),
        # unusual, not wrong
        gxe.ExpectColumnValuesToBeBetween(column="fps", min_value=5, max_value=240, severity="warning", **accepted),
        gxe.ExpectColumnValuesToBeInSet(
            column="pixel_format", value_set=["yuv420p", "yuvj420p", "yuv420p10le", "yuv422p10le"], severity="info"
        ),
    ]
