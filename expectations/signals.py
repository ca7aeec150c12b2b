"""What must hold of measured signals: table `signals`. Numbers outside their definition mean a broken scorer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

KEY = ("clip_id", "item_id", "shot_index")  # names a row in examples
_SHARES = (
    *("luma_mean", "luma_p05", "luma_p95", "clipped_fraction", "contrast", "flicker"),
    *("freeze_fraction", "black_fraction", "letterbox_fraction", "technical_quality"),
    *("detail_fraction", "text_fraction", "silence_fraction", "speech_fraction", "nsfw"),  # where they are known
)


def suite(gxe: Any) -> list[Expectation]:
    motions = ["static", "pan", "tilt", "zoom", "roll", "handheld"]
    shares = [
        gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=1, severity="critical")
        for name in _SHARES
    ]
    return [
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["clip_id", "item_id", "shot_index"], severity="critical"),
        gxe.ExpectColumnValuesToMatchRegex(column="clip_id", regex=r"^[0-9a-f]{64}$", severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column="camera_motion", value_set=motions, severity="critical"),
        gxe.ExpectColumnValuesToBeBetween(column="motion_diag_per_s", min_value=0, severity="critical"),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="motion_p90_diag_per_s", column_B="motion_diag_per_s", or_equal=True, severity="critical"
        ),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="luma_p95", column_B="luma_p05", or_equal=True, severity="critical"
        ),
        gxe.ExpectColumnValuesToBeBetween(column="duration_s", min_value=0, strict_min=True, severity="critical"),
        gxe.ExpectColumnValuesToBeBetween(column="sharpness", min_value=0, severity="critical"),
        *shares,
        # digital full scale is about +3 LUFS; -70 is the absolute gate of BS.1770
        gxe.ExpectColumnValuesToBeBetween(column="loudness_lufs", min_value=-70, max_value=6, severity="critical"),
        # possible at a thousand frames a second, and a verdict (`motion`) on the clip
        gxe.ExpectColumnValuesToBeBetween(column="motion_diag_per_s", max_value=20, severity="warning"),
        # a day without a face detector makes every clip unmeasurable: somebody should know
        gxe.ExpectColumnValuesToNotBeNull(column="faces_max", severity="warning"),
        # drift of a whole day
        gxe.ExpectColumnMeanToBeBetween(column="luma_mean", min_value=0.05, max_value=0.9, severity="warning"),
        gxe.ExpectColumnValuesToBeBetween(column="freeze_fraction", max_value=0.5, mostly=0.9, severity="info"),
    ]
