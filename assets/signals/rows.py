"""From accepted files to clips: rows of tables `shots` and `signals`, from one pass a file that is remembered by content.

A file that could not be measured stays one clip, without signals and with the reason, so that no check on it passes or
fails. `task` measures one file, `assets.decode` runs the tasks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.decode.executor import Progress, Report, open_executor, run
from assets.home import Home
from assets.signals.shots import DETECTOR_VERSION
from assets.signals.single_pass import SIGNALS_VERSION
from assets.signals.task import File, Measuring, result_key

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What the pass over one file found: `shots` as `measure` gives them, or why there are none.

    `decoded` says that this call decoded the file, and did not remember it.
    """

    shots: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    decoded: bool = True


def accepted(media: Iterable[Row]) -> list[Row]:
    return [row for row in media if row["state"] == "accepted"]


def measure_files(
    home: Home,
    media: Sequence[Row],
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[Progress], None] = lambda now: None,
) -> dict[str, Measured]:
    """The pass over every accepted file of `media`, by `bytes_sha256`; what was measured before is not decoded again.

    It runs where the home's `executor` says. `progress` hears of every file, `say` from time to time. Failures are not
    remembered: another run tries again. Raises Unfit and Unavailable where it is no file's fault; what was measured
    until then is kept.
    """
    work = Measuring.of(home)
    measured: dict[str, Measured] = {}
    missing: dict[str, Row] = {}
    for row in accepted(media):
        sha256 = row["bytes_sha256"]
        if home.store.exists(result_key(work.version, sha256)):
            measured[sha256] = _stored(home, work, sha256, decoded=False)
        else:
            missing[sha256] = row
    if not missing:
        return measured
    longest_first = sorted(missing, key=lambda sha256: (-(missing[sha256]["duration_s"] or 0), sha256))
    files = [File(sha256, missing[sha256]["media_key"]) for sha256 in longest_first]
    report = Report(len(files), say, progress)
    with open_executor(home.executor, home.store) as executor:
        for file, reason in run(executor, work, files):
            measured[file.sha256] = Measured(error=reason) if reason else _stored(home, work, file.sha256)
            report(failed=bool(reason))
    return measured


def _stored(home: Home, work: Measuring, sha256: str, decoded: bool = True) -> Measured:
    answer = json.loads(home.store.get(result_key(work.version, sha256)))
    return Measured(tuple(answer["shots"]), decoded=decoded)


def shot_rows(media: Iterable[Row], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows of table `shots`. A file that could not be measured is one clip over all its frames."""
    rows = []
    for row in accepted(media):
        file = measured[row["bytes_sha256"]]
        for index, shot in enumerate(file.shots or [_whole(row)]):
            named = {key: row[key] for key in ("item_id", "received_day", "bytes_sha256", "media_key")}
            fields = ("clip_id", "start_frame", "end_frame", "start_s", "end_s", "boundary")
            made_by = {"detector_version": DETECTOR_VERSION, "not_measured": file.error}
            rows.append(named | {key: shot[key] for key in fields} | {"shot_index": index} | made_by)
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
