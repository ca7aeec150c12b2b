"""Rows of the stages before curation: an honest street by day."""

from __future__ import annotations

from typing import Any

import pytest

DAY = "2026-11-02"


@pytest.fixture
def shot() -> dict[str, Any]:
    return {"clip_id": "c" * 64, "item_id": "i-1", "shot_index": 0, "received_day": DAY}


@pytest.fixture
def item() -> dict[str, Any]:
    return {
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
        "source_name": None,
        "persons_json": "[]",
    }


@pytest.fixture
def media() -> dict[str, Any]:
    return {
        "item_id": "i-1",
        "width": 1280,
        "height": 720,
        "duration_s": 5.0,
        "position": None,
        "c2pa_state": "absent",
        "c2pa_source_type": None,
        "c2pa_detail": None,
        "watermark_log10_p": 0.0,
        "watermark_payload": None,
        "spectral_peak_db": 9.0,
    }


@pytest.fixture
def signals() -> dict[str, Any]:
    """A well-lit, sharp day shot that pans slowly to the right."""
    return {
        "duration_s": 5.0,
        "motion_diag_per_s": 0.05,
        "motion_p90_diag_per_s": 0.06,
        "camera_motion": "pan",
        "camera_pan_diag_per_s": 0.05,
        "sharpness": 400.0,
        "luma_p05": 0.1,
        "luma_p50": 0.45,
        "luma_p95": 0.8,
        "shadow_saturation": 0.1,
        "black_fraction": 0.0,
        "freeze_fraction": 0.0,
        "letterbox_fraction": 0.0,
        "faces_max": 0,
        "detail_fraction": 1.0,
        "text_fraction": 0.0,
        "flicker": 0.002,
        "technical_quality": 0.9,
    }
