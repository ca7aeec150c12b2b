"""What must hold of the rows of a table, as lists of Great Expectations' expectations by severity.

An expectation is its name there and its arguments; `validate` makes them. The closed lists of words are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

Expected = tuple[str, dict[str, Any]]
Words = Mapping[str, Sequence[str]]  # the words of a dimension, such as `time_of_day`

ACCEPTED = {"row_condition": 'state=="accepted"', "condition_parser": "pandas"}
STATES = ["accepted", "quarantined"]
SHA256 = r"^[0-9a-f]{64}$"
SHARES = (
    *("luma_mean", "luma_p05", "luma_p95", "clipped_fraction", "contrast", "flicker"),
    *("freeze_fraction", "black_fraction", "letterbox_fraction", "technical_quality"),
    *("detail_fraction", "text_fraction", "silence_fraction", "speech_fraction", "nsfw"),  # where they are known
)


@dataclass(frozen=True)
class Suite:
    """`key` names a row in examples; `prepare` adds columns that only the whole table shows."""

    key: tuple[str, ...]
    critical: Sequence[Expected]
    warning: Sequence[Expected]
    info: Sequence[Expected]
    prepare: Callable[[pd.DataFrame], pd.DataFrame] = lambda df: df


def _of_column(expectation: str) -> Callable[..., Expected]:
    return lambda column, **arguments: (expectation, {"column": column} | arguments)


unique = _of_column("ExpectColumnValuesToBeUnique")
not_null = _of_column("ExpectColumnValuesToNotBeNull")
matches = _of_column("ExpectColumnValuesToMatchRegex")
one_of = _of_column("ExpectColumnValuesToBeInSet")
between = _of_column("ExpectColumnValuesToBeBetween")
mean_between = _of_column("ExpectColumnMeanToBeBetween")
lengths_between = _of_column("ExpectColumnValueLengthsToBeBetween")
distinct_values = _of_column("ExpectColumnUniqueValueCountToBeBetween")


def at_least(column: str, other: str) -> Expected:
    return "ExpectColumnPairValuesAToBeGreaterThanB", {"column_A": column, "column_B": other, "or_equal": True}


def deliveries(words: Words) -> Suite:
    """Delivered files: table `delivery_items`."""
    return Suite(
        key=("item_id",),
        critical=[  # identity: without it nothing can be traced
            not_null("item_id"),
            unique("item_id"),
            not_null("delivery_id"),
            matches("received_day", regex=r"^\d{4}-\d{2}-\d{2}$"),
            one_of("state", value_set=STATES),
            not_null("contributor_id", **ACCEPTED),
        ],
        warning=[  # a wrong declaration ends in a verdict, an unusual one deserves a look
            one_of("declared_time_of_day", value_set=list(words["time_of_day"])),
            between("declared_duration_s", min_value=0.1, max_value=3600),
            between("declared_width", min_value=16, max_value=16384),
            between("declared_height", min_value=16, max_value=16384),
            between("latitude", min_value=-90, max_value=90),
            between("longitude", min_value=-180, max_value=180),
            not_null("declared_subject", **ACCEPTED),
        ],
        info=[not_null("captured_at", mostly=0.5), not_null("source_licence", mostly=0.5)],
    )


def media(words: Words) -> Suite:
    """Decoded files: table `media`. An accepted file is identified, was decoded whole and has pictures."""
    return Suite(
        key=("item_id",),
        critical=[
            unique("item_id"),
            one_of("state", value_set=STATES),
            not_null("bytes_sha256", **ACCEPTED),
            matches("bytes_sha256", regex=SHA256),
            not_null("frames_sha256", **ACCEPTED),
            matches("frames_sha256", regex=SHA256),
            not_null("media_key", **ACCEPTED),
            between("frames_decoded", min_value=1, **ACCEPTED),
            between("duration_s", min_value=0, strict_min=True, **ACCEPTED),
            # the probe gives a verdict on every bound that a delivered file could pass: a failure here is our own fault
            between("width", min_value=16, **ACCEPTED),
            between("height", min_value=16, **ACCEPTED),
        ],
        warning=[
            one_of("decode_errors", value_set=[0], **ACCEPTED),
            between("fps", min_value=5, max_value=240, **ACCEPTED),
        ],
        info=[one_of("pixel_format", value_set=["yuv420p", "yuvj420p", "yuv420p10le", "yuv422p10le"])],
    )


def signals(words: Words) -> Suite:
    """Measured signals: table `signals`. A number outside its definition means a broken scorer."""
    key = ("clip_id", "item_id", "shot_index")
    return Suite(
        key=key,
        critical=[
            ("ExpectCompoundColumnsToBeUnique", {"column_list": list(key)}),
            matches("clip_id", regex=SHA256),
            one_of("camera_motion", value_set=list(words["camera_motion"])),
            between("motion_diag_per_s", min_value=0),
            at_least("motion_p90_diag_per_s", "motion_diag_per_s"),
            at_least("luma_p95", "luma_p05"),
            between("duration_s", min_value=0, strict_min=True),
            between("sharpness", min_value=0),
            *(between(name, min_value=0, max_value=1) for name in SHARES),
            between(
                "loudness_lufs", min_value=-70, max_value=6
            ),  # the absolute gate of BS.1770; digital full scale is about +3 LUFS
        ],
        warning=[
            # possible at a thousand frames a second, and a verdict (`motion`) on the clip
            between("motion_diag_per_s", max_value=20),
            # a day without a face detector makes every clip unmeasurable: somebody should know
            not_null("faces_max"),
            # drift of a whole day
            mean_between("luma_mean", min_value=0.05, max_value=0.9),
        ],
        info=[between("freeze_fraction", max_value=0.5, mostly=0.9)],
    )


def snapshot(words: Words) -> Suite:
    """A sealed training snapshot: table `snapshot_members`."""

    def with_sides(df: pd.DataFrame) -> pd.DataFrame:
        """The members, with the number of sides of the split on which each group is."""
        return df.assign(
            consents=df["consent_ids"].map(len),
            splits_of_dup_group=df.groupby("dup_group")["split"].transform("nunique"),
            splits_of_contributor=df.groupby("contributor_id")["split"].transform("nunique"),
        )

    splits = ["train", "heldout"]
    return Suite(
        key=("clip_id",),
        critical=[
            ("ExpectTableRowCountToBeBetween", {"min_value": 1}),
            unique("clip_id"),
            matches("clip_id", regex=SHA256),
            matches("leaf_hash", regex=SHA256),
            distinct_values("snapshot_root", min_value=1, max_value=1),
            not_null("contributor_id"),
            not_null("decision_digest"),
            between("consents", min_value=1),
            one_of("split", value_set=splits),
            # a duplicate group or a contributor on both sides of the split would make the held-out loss a lie
            one_of("splits_of_dup_group", value_set=[1]),
            one_of("splits_of_contributor", value_set=[1]),
        ],
        warning=[
            lengths_between("caption", min_value=3, max_value=2000),
            ("ExpectColumnDistinctValuesToContainSet", {"column": "split", "value_set": splits}),
        ],
        info=[distinct_values("contributor_id", min_value=2)],
        prepare=with_sides,
    )


SUITES: dict[str, Callable[[Words], Suite]] = {
    suite.__name__: suite for suite in (deliveries, media, signals, snapshot)
}
