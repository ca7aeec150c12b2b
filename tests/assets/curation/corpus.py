"""A measured corpus without a single film: rows of `delivery_items`, `media`, `shots` and `signals` for many days."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from assets.home import Home
from assets.tables import TABLES

Row = dict[str, Any]
FIRST_DAY = date(2026, 1, 1)


def write_corpus(
    home: Home, days: int, clips_a_day: int, seed: int = 0, contributors: int = 7, **changes: Any
) -> list[str]:
    """Write the tables of as many days, one clip a file, and return the days. `changes` are made to every row of signals.

    Most values are those of honest footage; about one in ten of each measured one is drawn from its whole range.
    """
    named = [(FIRST_DAY + timedelta(days=at)).isoformat() for at in range(days)]
    for day in named:
        drawn = random.Random(f"{seed}/{day}")
        tables: dict[str, list[Row]] = {name: [] for name in ("delivery_items", "media", "shots", "signals")}
        for name, row in (pair for at in range(clips_a_day) for pair in _clip(drawn, day, at, contributors)):
            tables[name].append(row | (changes if name == "signals" else {}))
        for name, rows in tables.items():
            home.lake.write(name, [_filled(name, row) for row in rows], day)
    return named


def _clip(drawn: random.Random, day: str, at: int, contributors: int) -> Iterator[tuple[str, Row]]:
    item_id = f"i-{day}-{at:06d}"
    digest = hashlib.sha256(item_id.encode()).hexdigest()
    of_clip = {"clip_id": digest, "item_id": item_id, "shot_index": 0, "received_day": day}
    length = drawn.uniform(2, 12)

    def either(usual: float, spread: float, most: float) -> float:
        return drawn.uniform(0, most) if drawn.random() < 0.1 else max(0.0, drawn.gauss(usual, spread))

    yield (
        "delivery_items",
        {
            "item_id": item_id,
            "delivery_id": f"d-{day}",
            "received_day": day,
            "position": at,
            "file_name": f"{at}.mp4",
            "contributor_id": f"c-{at % contributors}",
            "declared_subject": "a bicycle at a wall",
            "declared_location": "Brussels",
            "declared_time_of_day": "day",
            "declared_width": 1280,
            "declared_height": 720,
            "declared_aspect_ratio": drawn.choice(["16:9"] * 9 + ["4:3"]),
            "declared_duration_s": round(length + drawn.choice([0] * 9 + [3]), 2),
            "captured_at": "2026-09-18T11:00:00Z",
            "latitude": 50.85,
            "longitude": 4.35,
            "persons_json": "[]",
            "state": "accepted",
        },
    )
    yield (
        "media",
        {
            "item_id": item_id,
            "received_day": day,
            "bytes_sha256": digest,
            "media_key": f"media/{digest[:2]}/{digest[2:4]}/{digest}.mp4",
            "state": "accepted",
            "width": 1280,
            "height": 720,
            "fps": 25.0,
            "duration_s": length,
            "has_audio": False,
            "frames_sha256": digest,
            "c2pa_state": "absent",
            "watermark_log10_p": 0.0,
            "spectral_peak_db": 9.0,
        },
    )
    yield (
        "shots",
        of_clip
        | {
            "bytes_sha256": digest,
            "media_key": f"media/{digest[:2]}/{digest[2:4]}/{digest}.mp4",
            "start_frame": 0,
            "end_frame": round(25 * length),
            "start_s": 0.0,
            "end_s": length,
            "boundary": "end",
        },
    )
    yield (
        "signals",
        of_clip
        | {
            "width": 1280,
            "height": 720,
            "fps": 25.0,
            "duration_s": length,
            "motion_diag_per_s": 0.05,
            "motion_p90_diag_per_s": 10 ** drawn.uniform(-4, 0.4),
            "camera_motion": drawn.choice(["static", "pan", "handheld"]),
            "sharpness": 10 ** drawn.gauss(2, 0.7),
            "luma_p05": 0.1,
            "luma_p50": either(0.45, 0.05, 1),
            "luma_p95": either(0.8, 0.05, 1),
            "black_fraction": either(0.0, 0.01, 1),
            "freeze_fraction": either(0.0, 0.1, 1),
            "letterbox_fraction": either(0.0, 0.01, 0.3),
            "detail_fraction": min(1.0, either(0.95, 0.05, 1)),
            "text_fraction": either(0.0, 0.005, 0.2),
            "flicker": either(0.002, 0.002, 0.1),
            "technical_quality": min(1.0, either(0.8, 0.1, 1)),
            "faces_max": 0,
            "frame_phashes": [f"{drawn.getrandbits(320):080x}" for _ in range(8)],
        },
    )


def _filled(name: str, row: Row) -> Row:
    """The row with something in every column that may not be null."""
    empty: dict[pa.DataType, Any] = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0, pa.bool_(): False}
    rest = {one.name: empty.get(one.type, []) for one in TABLES[name].columns if not one.nullable}
    return rest | row
