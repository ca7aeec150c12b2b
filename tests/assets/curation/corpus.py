"""A measured corpus without a single film: rows of `delivery_items`, `media`, `shots` and `signals` for many days."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from assets.home import Home
from tests.rows import Row, media_key, row

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
        clips = zip(*(_clip(drawn, day, at, contributors) for at in range(clips_a_day)), strict=True)
        for table, rows in zip(("delivery_items", "media", "shots", "signals"), clips, strict=True):
            home.lake.write(table, [values | (changes if table == "signals" else {}) for values in rows], day)
    return named


def _clip(drawn: random.Random, day: str, at: int, contributors: int) -> Iterator[Row]:
    item_id = f"i-{day}-{at:06d}"
    digest = hashlib.sha256(item_id.encode()).hexdigest()
    of_clip = {"clip_id": digest, "item_id": item_id, "shot_index": 0, "received_day": day}
    length = drawn.uniform(2, 12)

    def either(usual: float, spread: float, most: float) -> float:
        return drawn.uniform(0, most) if drawn.random() < 0.1 else max(0.0, drawn.gauss(usual, spread))

    where = {"bytes_sha256": digest, "media_key": media_key(digest)}
    yield row(
        "delivery_items", item_id=item_id, delivery_id=f"d-{day}", received_day=day, position=at,
        file_name=f"{at}.mp4", contributor_id=f"c-{at % contributors}", device=None,
        declared_aspect_ratio=drawn.choice(["16:9"] * 9 + ["4:3"]),
        declared_duration_s=round(length + drawn.choice([0] * 9 + [3]), 2),
    )  # fmt: skip
    yield row("media", item_id=item_id, received_day=day, **where, duration_s=length, frames_sha256=digest)
    yield row("shots", **of_clip, **where, end_frame=round(25 * length), end_s=length)
    yield row(
        "signals", **of_clip, duration_s=length, camera_pan_diag_per_s=0.0, shadow_saturation=0.0,
        motion_p90_diag_per_s=10 ** drawn.uniform(-4, 0.4),
        camera_motion=drawn.choice(["static", "pan", "handheld"]),
        sharpness=10 ** drawn.gauss(2, 0.7),
        luma_p50=either(0.45, 0.05, 1),
        luma_p95=either(0.8, 0.05, 1),
        black_fraction=either(0.0, 0.01, 1),
        freeze_fraction=either(0.0, 0.1, 1),
        letterbox_fraction=either(0.0, 0.01, 0.3),
        detail_fraction=min(1.0, either(0.95, 0.05, 1)),
        text_fraction=either(0.0, 0.005, 0.2),
        flicker=either(0.002, 0.002, 0.1),
        technical_quality=min(1.0, either(0.8, 0.1, 1)),
        frame_phashes=[f"{drawn.getrandbits(320):080x}" for _ in range(8)],
    )  # fmt: skip
