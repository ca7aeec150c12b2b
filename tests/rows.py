"""Rows of the lake's tables. A test names what is special about its own; the rest is that of an honest street by day."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from assets.tables import TABLES

Row = dict[str, Any]
DAY = "2026-11-02"
_EMPTY: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0, pa.bool_(): False}
STREET: dict[str, Row] = {
    "delivery_items": {
        "item_id": "i-1",
        "declared_subject": "a bicycle at a wall",
        "declared_location": "Brussels",
        "declared_time_of_day": "day",
        "declared_width": 1280,
        "declared_height": 720,
        "declared_aspect_ratio": "16:9",
        "declared_duration_s": 5.0,
        "captured_at": "2026-09-18T11:00:00Z",
        "latitude": 50.85,
        "longitude": 4.35,
        "device": "a camera",
        "persons_json": "[]",
        "state": "accepted",
    },
    "media": {
        "item_id": "i-1",
        "width": 1280,
        "height": 720,
        "fps": 25.0,
        "duration_s": 5.0,
        "c2pa_state": "absent",
        "watermark_log10_p": 0.0,
        "spectral_peak_db": 9.0,
        "state": "accepted",
    },
    "shots": {"clip_id": "c" * 64, "item_id": "i-1", "end_frame": 125, "end_s": 5.0, "boundary": "end"},
    "signals": {  # well lit and sharp, a slow pan to the right
        "width": 1280,
        "height": 720,
        "duration_s": 5.0,
        "fps": 25.0,
        "motion_diag_per_s": 0.05,
        "motion_p90_diag_per_s": 0.06,
        "camera_motion": "pan",
        "camera_pan_diag_per_s": 0.05,
        "sharpness": 400.0,
        "luma_p05": 0.1,
        "luma_p50": 0.45,
        "luma_p95": 0.8,
        "shadow_saturation": 0.1,
        "faces_max": 0,
        "detail_fraction": 1.0,
        "text_fraction": 0.0,
        "flicker": 0.002,
        "technical_quality": 0.9,
    },
    "captions": {"captioner": "structured/1", "sources_json": "[]"},
    "verdicts": {"check": "decodes", "check_version": "1", "verdict": "pass", "severity": "fatal"},
    "duplicates": {"kind": "unique", "verdict": "pass"},
}


def blank(table: str, **values: Any) -> Row:
    """A row with something in every column that may not be null, and nothing in the others."""
    columns = (column for column in TABLES[table].columns if not column.nullable)
    empty = {column.name: _EMPTY.get(column.type, []) for column in columns}
    return empty | ({"received_day": DAY} if "received_day" in empty else {}) | values


def row(table: str, **values: Any) -> Row:
    """A row of the honest street, with all columns."""
    every = {column.name: None for column in TABLES[table].columns}
    return every | blank(table) | STREET.get(table, {}) | values


def media_key(digest: str) -> str:
    """Where the store has a file of this SHA-256."""
    return f"media/{digest[:2]}/{digest[2:4]}/{digest}.mp4"
