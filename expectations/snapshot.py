"""What must hold of a sealed training snapshot: table `snapshot_members`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations import Expectation

KEY = ("clip_id",)  # names a row in examples


def prepare(df: pd.DataFrame) -> pd.DataFrame:
    """The members with what only the whole snapshot shows: on how many sides of the split each group stands."""
    return df.assign(
        consents=df["consent_ids"].map(len),
        splits_of_dup_group=df.groupby("dup_group")["split"].transform("nunique"),
        splits_of_contributor=df.groupby("contributor_id")["split"].transform("nunique"),
    )


def suite(gxe: Any) -> list[Expectation]:
    sha256 = r"^[0-9a-f]{64}$"
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical"),
        gxe.ExpectColumnValuesToBeUnique(column="clip_id", severity="critical"),
        gxe.ExpectColumnValuesToMatchRegex(column="clip_id", regex=sha256, severity="critical"),
        gxe.ExpectColumnValuesToMatchRegex(column="leaf_hash", regex=sha256, severity="critical"),
        gxe.ExpectColumnUniqueValueCountToBeBetween(
            column="snapshot_root", min_value=1, max_value=1, severity="critical"
        ),
        gxe.ExpectColumnValuesToNotBeNull(column="contributor_id", severity="critical"),
        gxe.ExpectColumnValuesToNotBeNull(column="decision_digest", severity="critical"),
        gxe.ExpectColumnValuesToBeBetween(column="consents", min_value=1, severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column="split", value_set=["train", "heldout"], severity="critical"),
        # a duplicate group or a contributor on both sides of the split would make the held-out loss a lie
        gxe.ExpectColumnValuesToBeInSet(column="splits_of_dup_group", value_set=[1], severity="critical"),
        gxe.ExpectColumnValuesToBeInSet(column="splits_of_contributor", value_set=[1], severity="critical"),
        gxe.ExpectColumnValueLengthsToBeBetween(column="caption", min_value=3, max_value=2000, severity="warning"),
        gxe.ExpectColumnDistinctValuesToContainSet(column="split", value_set=["train", "heldout"], severity="warning"),
        gxe.ExpectColumnUniqueValueCountToBeBetween(column="contributor_id", min_value=2, severity="info"),
    ]
