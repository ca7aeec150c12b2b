"""What must be true when the demo has ended: every stage did its part, down to a marked video that answers a prompt.

A green run proves less: a gate may refuse a model in a run that succeeds. Everything that goes wrong in the sample world
must end in the verdict of its case. Each further check reads what a stage left behind and says in one sentence what is
missing and where to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.consent.sealed_members import manifest_key
from assets.consent.standing import standing_violations
from assets.home import Home
from assets.ingestion.delivery_items import item_id
from assets.lake import Lake
from assets.marks.marking import read_marks
from assets.model.published import exposure_of
from assets.registry import CHAMPION, Registry
from assets.release import bundle
from assets.release.generation import generate_marked
from assets.serving.answer import GenerationRequest
from assets.serving.serve import NothingToServe
from orchestration.demo.deliveries import CASES, Case
from orchestration.demo.world import World
from orchestration.status import fulfilment

PROMPT = "a red circle moves right"


@dataclass(frozen=True)
class Outcome:
    """How a case ended; `rows` says in words what its rows hold."""

    case: Case
    as_expected: bool
    rows: str


def cases_of(world: World) -> list[Case]:
    """The cases that are among the delivered clips."""
    delivered = {f"{delivery.delivery_id}/{clip.file}" for delivery in world.deliveries for clip in delivery.clips}
    return [case for case in CASES if case.clip in delivered]


def outcome(lake: Lake, case: Case) -> Outcome:
    """What the lake says about a case."""
    table, column, value = case.fate
    rows = [row for row in lake.rows(table) if row["item_id"] == case.item_id]
    matching = [row for row in rows if row[column] == value and case.reason in _codes(row)]
    described = {f"{row[column]} ({', '.join(_codes(row)) or 'no reason'})" for row in matching or rows}
    return Outcome(case, bool(matching), "; ".join(sorted(described)) or f"no row in {table}")


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
    requests = fulfilment(home)
    for request_id in world.requests:
        if request_id not in requests:
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
            yield f"{case.clip} should be {case.reason}, but {case.fate.table} says: {ended.rows}"


def _sealed(home: Home, world: World) -> Iterator[str]:
    roots = {row["snapshot_root"] for row in home.lake.rows("snapshot_members")}
    if not roots:
        yield "no snapshot was sealed (asset training_snapshot)"
    for root in sorted(roots):
        if not home.store.exists(manifest_key(root)):
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
        video = generate_marked(home, GenerationRequest(PROMPT), sample)
    except NothingToServe:
        return None
    return f"version {video['version']}, {video['C2PA']}, {video['watermark']}"
