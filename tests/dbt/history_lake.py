"""Many histories in one lake: everything in a history is renamed by its name, so that no two of them meet."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from assets.consent.submissions import event_row
from assets.lake import to_table
from tests.dbt.small_lake import DAY, duplicate_row, review_row, signals_row, verdict_row
from tests.training.consent.histories import History, founding
from training.consent.eligibility import ClipFacts


def lake_of(histories: Iterable[History]) -> dict[str, pa.Table]:
    """The lake's tables by name."""
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for history in histories:
        for event in history.events[len(founding()) :]:  # who holds which key is the same in all, and no model reads it
            row = event_row(replace(event, seq=len(rows["consent_events"])))
            rows["consent_events"].append(_renamed(row, history.name))
        _add_item(rows, history)
        for clip in history.clips:
            _add_shot(rows, history, clip)
    return {name: to_table(name, listed) for name, listed in rows.items()}


def renamed(name: str, value: str) -> str:
    """An identifier of a history as the lake has it."""
    return f"{name}/{value}"


def _renamed(row: dict[str, Any], name: str) -> dict[str, Any]:
    changed = {field: renamed(name, row[field]) for field in ("event_id", "consent_id", "party_id", "actor")}
    changed |= {field: row[field] and renamed(name, row[field]) for field in ("guardian_id", "dispute_id")}
    return {**row, **changed, "assets": [renamed(name, digest) for digest in row["assets"]]}


def _add_item(rows: dict[str, list[dict[str, Any]]], history: History) -> None:
    name, clip = history.name, history.clips[0]
    key = {"item_id": renamed(name, clip.item_id), "received_day": DAY, "state": "accepted", "reasons": []}
    people = [{**vars(person), "person_id": renamed(name, person.person_id)} for person in clip.persons]
    rows["delivery_items"].append(
        key
        | {"delivery_id": name, "position": 0, "file_name": "video.mp4"}
        | {"contributor_id": clip.contributor_id and renamed(name, clip.contributor_id)}
        | {"persons_json": json.dumps(people)}
        | {
            "properties_json": json.dumps(
                [{"owner_id": renamed(name, owner), "what": "-"} for owner in clip.properties]
            )
        }
    )
    frames = renamed(name, clip.frames[0]) if clip.frames else None
    rows["media"].append(
        key
        | {"size_bytes": 1, "bytes_sha256": renamed(name, clip.bytes_sha256), "frames_sha256": frames}
        | {"probe_version": "1"}
    )


def _add_shot(rows: dict[str, list[dict[str, Any]]], history: History, clip: ClipFacts) -> None:
    name = history.name
    key = {
        "clip_id": renamed(name, clip.clip_id),
        "item_id": renamed(name, clip.item_id),
        "shot_index": clip.shot_index,
    }
    rows["shots"].append(
        {**key, "received_day": DAY, "bytes_sha256": renamed(name, clip.bytes_sha256), "media_key": "-"}
        | {"start_frame": 0, "end_frame": 1, "start_s": 0.0, "end_s": 1.0, "boundary": "end", "detector_version": "1"}
    )
    rows["signals"].append({**key, "received_day": DAY, **signals_row(1.0, clip.faces_max)})
    rows["duplicates"].append(key | duplicate_row(key["clip_id"], key["item_id"]) | _failed(clip.duplicate_ok))
    rows["verdicts"].append({**key, "received_day": DAY, **verdict_row("focus"), **_failed(clip.verdicts_ok)})
    for number in range(clip.approvals + clip.rejections):
        said = review_row(f"v-{number}", "approve" if number < clip.approvals else "reject", True)
        seen = {"persons_counted": clip.persons_counted, "non_identifiable": clip.non_identifiable}
        rows["reviews"].append(key | said | seen)


def _failed(passed: bool) -> dict[str, Any]:
    return {} if passed else {"verdict": "fail"}
