"""What must be true when the demo has ended: every stage did its part, down to a marked video that answers a prompt.

A green run proves less: a gate may refuse a model in a run that succeeds. `CASES` lists everything that goes wrong in the
sample world and the verdict in which it must end. Each further check reads what a stage left behind and says in one
sentence what is missing and where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.dataset import sealed
from assets.evaluation.promotion import standing_violations
from assets.home import Home
from assets.ingestion.delivery_items import item_id
from assets.lake import Lake
from assets.marks.marking import read_marks
from assets.registry.versions import CHAMPION, Registry
from assets.release import bundle
from assets.release.generation import NothingToServe, generate_marked
from assets.withdrawals.model_taint import exposure_of
from orchestration.demo.world import World
from orchestration.status import fulfilment

PROMPT = "a red circle moves right"


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
    """How a case ended; `rows` says in words what its rows hold."""

    case: Case
    as_expected: bool
    rows: str


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


def cases_of(world: World) -> list[Case]:
    """The cases that are among the delivered clips."""
    delivered = {(delivery.delivery_id, place) for delivery in world.deliveries for place in range(len(delivery.clips))}
    return [case for case in CASES if (case.delivery_id, case.position) in delivered]


def outcome(lake: Lake, case: Case) -> Outcome:
    """What the lake says about a case."""
    item = item_id(case.delivery_id, case.position)
    rows = [row for row in lake.rows(case.table) if row["item_id"] == item]
    matching = [row for row in rows if row[case.column] == case.value and case.reason in _codes(row)]
    described = {f"{row[case.column]} ({', '.join(_codes(row)) or 'no reason'})" for row in matching or rows}
    return Outcome(case, bool(matching), "; ".join(sorted(described)) or f"no row in {case.table}")


def _codes(row: Mapping[str, Any]) -> list[str]:
    """Reason codes without their sentences."""
    reasons = row.get("reasons") or ([row["reason"]] if row.get("reason") else [])
    return [reason.split(":", 1)[0] for reason in reasons]


class DemoFailed(RuntimeError):
    """Part of the demo did not happen; the message lists every part."""


def require(home: Home, world: World, sample: Path) -> None:
    """Raise DemoFailed with everything of the demo's story that did not happen."""
    missing = [problem for check in CHECKS for problem in check(home, world)] + list(_sample(home, sample))
    if missing:
        listed = " ".join(f"({number}) {problem}." for number, problem in enumerate(missing, 1))
        raise DemoFailed(f"the demo did not reach its end; {len(missing)} of its parts did not happen: {listed}")


def _asked(home: Home, world: World) -> Iterator[str]:
    known = fulfilment(home)
    for request_id in world.requests:
        if request_id not in known:
            yield f"request {request_id} is not in the warehouse (asset fct_request_fulfilment)"


def _taken_in(home: Home, world: World) -> Iterator[str]:
    received = Counter(row["delivery_id"] for row in home.lake.rows("delivery_items"))
    decoded = {row["item_id"] for row in home.lake.rows("media")}
    for delivery in world.deliveries:
        name, wanted = delivery.delivery_id, len(delivery.clips)
        if received[name] != wanted:
            yield f"intake of {delivery.day} registered {received[name]} of {wanted} files of {name}"
        elif undecided := wanted - sum(item_id(name, place) in decoded for place in range(wanted)):
            yield f"intake of {delivery.day} has no verdict on {undecided} files of {name} (asset media)"


def _judged(home: Home, world: World) -> Iterator[str]:
    for case in cases_of(world):
        if not (ended := outcome(home.lake, case)).as_expected:
            yield f"{case.delivery_id}/{case.file} should be {case.reason}, but {case.table} says: {ended.rows}"


def _sealed(home: Home, world: World) -> Iterator[str]:
    roots = {row["snapshot_root"] for row in home.lake.rows("snapshot_members")}
    if not roots:
        yield "no snapshot was sealed (asset training_snapshot)"
    for root in sorted(roots):
        if not home.store.exists(sealed.key(root)):
            yield f"the manifest of snapshot {root[:12]} is not in the store"


def _serves(home: Home, world: World) -> Iterator[str]:
    """The champion, its consent and its release."""
    registry = Registry(home)
    number = registry.alias(CHAMPION)
    if number is None:
        newest = next(iter(registry.versions()), None)
        why = newest.tags.get("gate_reasons", "the gate did not judge it") if newest else "no version is registered"
        reason = f"version {newest.number}: {why}" if newest else why
        yield f"no version is champion (asset champion): {reason}"
        return
    version = registry.version(number)
    if version.taint:
        yield f"the champion, version {number}, is tainted: {version.taint}"
    for violation in standing_violations(home, *exposure_of(home, version)):
        yield f"the champion, version {number}, has seen a clip without consent: {violation}"
    if not bundle.read_manifest(home, version.model_key).get("files"):
        yield f"no file of the champion, version {number}, was released (asset release_bundle)"
    for name, problems in bundle.unmarked(home, version.model_key).items():
        yield f"the released file {name} is not marked: {', '.join(problems)}"


CHECKS: tuple[Callable[[Home, World], Iterator[str]], ...] = (_asked, _taken_in, _judged, _sealed, _serves)


def _sample(home: Home, sample: Path) -> Iterator[str]:
    if not sample.is_file():
        yield f'"{PROMPT}" was not answered with a video at {sample}'
    elif problems := read_marks(sample, home.signing).problems:
        yield f"the answer to a prompt, {sample}, is not marked: {', '.join(problems)}"


def answer_prompt(home: Home, sample: Path) -> str | None:
    """Generate the demo's own video, as `rushes generate` does; None where no version serves.

    What an earlier run left there goes first, so that it cannot pass for this run's answer.
    """
    sample.unlink(missing_ok=True)
    try:
        video = generate_marked(home, PROMPT, sample)
    except NothingToServe:
        return None
    return f"version {video['version']}, {video['C2PA']}, {video['watermark']}"
