"""From accepted files to clips: rows of tables `shots` and `signals`, from one pass a file that is remembered by content.

What belongs here: the cache, and what becomes of a file that could not be measured (it stays one clip, without
signals, so that every check on it is unmeasurable). The pass itself is in `signals`, the processes in `workers`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.curation.plugins import available
from assets.curation.shots import DETECTOR_VERSION
from assets.curation.signals import SIGNALS_VERSION
from assets.curation.workers import Job, Pool
from assets.home import Home

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What the pass over one file found: `shots` as `signals.measure` gives them, or why there are none.

    `decoded` says that this call decoded the file, and did not remember it.
    """

    shots: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    decoded: bool = True


def accepted(media: Iterable[Row]) -> list[Row]:
    return [row for row in media if row["state"] == "accepted"]


def measure_files(
    home: Home, media: Sequence[Row], say: Callable[[str], None] = lambda text: None, pool: Pool | None = None
) -> dict[str, Measured]:
    """The pass over every accepted file of `media`, by `bytes_sha256`; what was measured before is not decoded again.

    Failures are not remembered: another run tries again.
    """
    faces = home.face_detector if home.face_detector.is_file() else None
    plugins = available(home.vendor)
    version = pass_version(faces, plugins)
    found: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    for row in accepted(media):
        sha256 = row["bytes_sha256"]
        if home.store.exists(key := _cache_key(version, sha256)):
            found[sha256] = Measured(tuple(json.loads(home.store.get(key))["shots"]), decoded=False)
        else:
            missing[sha256] = row["media_key"]
    if not missing:
        return found
    jobs = [Job(sha256, home.store.fetch(key), faces, plugins) for sha256, key in sorted(missing.items())]
    with pool or Pool() as workers:
        for done, (sha256, answer) in enumerate(workers.measure_all(jobs), 1):
            found[sha256] = _kept(home, _cache_key(version, sha256), answer)
            say(f"measured {done} of {len(jobs)} files: {sha256[:12]} {found[sha256].error or ''}".rstrip())
    return found


def _kept(home: Home, key: str, answer: Mapping[str, Any]) -> Measured:
    if "error" in answer:
        return Measured(error=answer["error"])
    home.store.put(key, json.dumps(answer, sort_keys=True).encode())
    return Measured(tuple(answer["shots"]))


def pass_version(faces: Path | None, plugins: Mapping[str, Path] | None = None) -> str:
    """Names everything that a stored result depends on besides the file."""
    models = {"faces": faces} | dict(plugins or {})
    named = "_".join(f"{name}-{_digest(model) if model else 'none'}" for name, model in models.items())
    return f"{SIGNALS_VERSION}_{DETECTOR_VERSION}_{named}"


def _digest(model: Path) -> str:
    return hashlib.sha256(model.read_bytes() + _card(model)).hexdigest()[:8]


def _card(model: Path) -> bytes:
    card = model.with_suffix(".json")
    return card.read_bytes() if card.is_file() else b""


def _cache_key(version: str, sha256: str) -> str:
    return f"cache/curation/{version}/{sha256[:2]}/{sha256}.json"


def shot_rows(media: Iterable[Row], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows of table `shots`. A file that could not be measured is one clip over all its frames."""
    rows = []
    for row in accepted(media):
        for index, shot in enumerate(measured[row["bytes_sha256"]].shots or [_whole(row)]):
            named = {key: row[key] for key in ("item_id", "received_day", "bytes_sha256", "media_key")}
            fields = ("clip_id", "start_frame", "end_frame", "start_s", "end_s", "boundary")
            rows.append(
                named | {key: shot[key] for key in fields} | {"shot_index": index, "detector_version": DETECTOR_VERSION}
            )
    return rows


def _whole(media: Row) -> dict[str, Any]:
    return {
        "clip_id": media["frames_sha256"],
        "start_frame": 0,
        "end_frame": media["frames_decoded"],
        "start_s": 0.0,
        "end_s": media["duration_s"],
        "boundary": "end",
    }


def signal_rows(media: Iterable[Row], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows of table `signals`, for the clips that could be measured."""
    rows = []
    for row in accepted(media):
        for index, shot in enumerate(measured[row["bytes_sha256"]].shots):
            rows.append(
                {
                    "clip_id": shot["clip_id"],
                    "item_id": row["item_id"],
                    "shot_index": index,
                    "received_day": row["received_day"],
                    "width": row["width"],
                    "height": row["height"],
                    "duration_s": round(shot["end_s"] - shot["start_s"], 6),
                    "fps": row["fps"],
                    "signals_version": SIGNALS_VERSION,
                }
                | shot["signals"]
            )
    return rows


def thumbnails(media: Iterable[Row], measured: Mapping[str, Measured]) -> dict[tuple[str, int], str]:
    """A JPEG (base64) of the middle of each clip, by (item_id, shot_index)."""
    return {
        (row["item_id"], index): shot["thumbnail"]
        for row in accepted(media)
        for index, shot in enumerate(measured[row["bytes_sha256"]].shots)
    }
