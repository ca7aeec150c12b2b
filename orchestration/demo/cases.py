"""Everything that goes wrong in the sample world, and the verdict that each case must end in.

One row a case: what was delivered, what is wrong with it, and which row of which table has to say so. The summary and
the end-to-end test read the same rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from assets.ingestion.delivery_items import item_id
from assets.lake import Lake


@dataclass(frozen=True)
class Case:
    """A delivered clip and its expected fate: `table.column` is `value` and `reason` is among its reasons."""

    name: str
    delivery_id: str
    position: int  # of the clip in its delivery, from 0
    file: str
    wrong: str
    table: str
    column: str
    value: str | bool
    reason: str


@dataclass(frozen=True)
class Outcome:
    """How a case ended; `found` says in words what its rows hold."""

    case: Case
    as_expected: bool
    found: str


def _quarantined(name: str, position: int, file: str, wrong: str, reason: str) -> Case:
    return Case(name, "d-broken", position, file, wrong, "media", "state", "quarantined", reason)


def _ineligible(name: str, delivery_id: str, position: int, file: str, wrong: str, reason: str) -> Case:
    return Case(name, delivery_id, position, file, wrong, "eligibility", "eligible", False, reason)


def _failed(name: str, delivery_id: str, position: int, file: str, wrong: str, reason: str) -> Case:
    return Case(name, delivery_id, position, file, wrong, "verdicts", "verdict", "fail", reason)


CASES: tuple[Case, ...] = (
    _quarantined("truncated", 0, "crossing.mp4", "the upload broke off at 60 % of the file", "media.truncated"),
    _quarantined(
        "overdeclared", 1, "ride.mp4", "its header promises twice the frames it has", "media.overdeclared_frames"
    ),
    _quarantined("empty", 2, "empty.mp4", "the file has no bytes", "media.empty"),
    _quarantined("not-video", 3, "notes.mp4", "a text file with a video's name", "media.not_video"),
    Case(
        "copied",
        "d-copies",
        0,
        "holiday-in-iceland.mp4",
        "another contributor's clip under another name, smaller and encoded again",
        "duplicates",
        "verdict",
        "fail",
        "dup.near",
    ),
    _failed(
        "ai-generated",
        "d-copies",
        1,
        "dream.mp4",
        "its C2PA manifest says that a generator made it",
        "policy.ai_generated",
    ),
    _failed("false-aspect", "d-careless", 0, "ridge.mp4", "declared 4:3, measured 16:9", "spec.aspect"),
    _failed("false-length", "d-careless", 0, "ridge.mp4", "declared 6 s, measured 2.5 s", "spec.duration"),
    _failed(
        "false-time",
        "d-careless",
        1,
        "edge.mp4",
        "declared by day, and the pictures show night",
        "metadata.time_mismatch",
    ),
    _ineligible("no-consent", "d-careless", 2, "ash.mp4", "no consent came with it", "consent.none"),
    _ineligible(
        "no-training", "d-careless", 3, "lodge.mp4", "the consent covers review and evaluation only", "consent.scope"
    ),
    _ineligible(
        "expires", "d-careless", 4, "hedge.mp4", "the consent ends before the training horizon", "consent.expires"
    ),
    _ineligible(
        "revoked", "d-eruption", 7, "slope.mp4", "consent was withdrawn two days after delivery", "consent.revoked"
    ),
    _ineligible(
        "no-release",
        "d-newsroom",
        1,
        "interview.mp4",
        "the release of the person in it is forged: nobody enrolled that key",
        "legal.missing_model_release",
    ),
)


def outcome(lake: Lake, case: Case) -> Outcome:
    """What the lake says about a case."""
    item = item_id(case.delivery_id, case.position)
    rows = [row for row in lake.rows(case.table) if row["item_id"] == item]
    matching = [row for row in rows if row[case.column] == case.value and case.reason in _codes(row)]
    if not rows:
        found = f"no row in {case.table}"
    else:
        found = "; ".join(
            sorted({f"{row[case.column]} ({', '.join(_codes(row)) or 'no reason'})" for row in matching or rows})
        )
    return Outcome(case, bool(matching), found)


def _codes(row: dict) -> list[str]:
    """Reason codes without their sentences."""
    reasons = row.get("reasons") or ([row["reason"]] if row.get("reason") else [])
    return [reason.split(":", 1)[0] for reason in reasons]
