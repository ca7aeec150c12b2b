"""The graph's second half: which models there are, what their weights saw, and what a withdrawal writes on a version.

Belongs here: reading published records and registry tags, and the tags, description and aliases of one version. Which
models a withdrawal reaches is `closure`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from assets.consent.closure import Model
from assets.consent.journal import Withdrawal
from assets.home import Home

if TYPE_CHECKING:
    from assets.evaluation.registry import Registry, Version

TAINT, CLIPS, LEDGER, BY = "taint", "taint_clips", "taint_ledger_size", "taint_withdrawal"
LONGEST = 5000  # characters that a tag of MLflow takes
_NOTE, _END = "<!-- taint -->", "<!-- /taint -->"


def known(home: Home, versions: Iterable[Version]) -> list[Model]:
    """Models as the store and the registry know them; one that only its children name is known by nothing else."""
    found = {}
    for key in home.store.folders("models"):
        try:
            record = json.loads(home.store.get(f"models/{key}/result.json"))
        except FileNotFoundError:
            continue  # still in training: nothing of it serves
        found[key] = Model(
            key, record["snapshot_root"], record.get("parent_model"), tuple(record.get("exposure") or ())
        )
    for version in versions:
        parent, exposure = version.tags.get("parent_model") or None, _listed(version.tags.get("exposure", ""))
        found.setdefault(version.model_key, Model(version.model_key, version.snapshot_root, parent, exposure))
    return list(found.values())


def exposure_of(home: Home, version: Version) -> list[str]:
    """Roots of every snapshot that the version's weights ever saw, its own first."""
    (own,) = [m for m in known_of(home, version) if m.key == version.model_key]
    return sorted(own.roots, key=lambda root: (root != own.snapshot_root, root)) or [""]


def known_of(home: Home, version: Version) -> list[Model]:
    """The version's own model, without reading every other one's record."""
    where = f"models/{version.model_key}/result.json"
    record = json.loads(home.store.get(where)) if version.model_key and home.store.exists(where) else {}
    exposure = tuple(record.get("exposure") or ()) or _listed(version.tags.get("exposure", ""))
    return [Model(version.model_key, version.snapshot_root, record.get("parent_model"), exposure)]


def _listed(tag: str) -> tuple[str, ...]:
    return tuple(part for part in tag.replace(",", " ").split() if part)


def taint(registry: Registry, version: Version, one: Withdrawal, cause: str) -> None:
    """The reason first, since that alone keeps it from serving. What an earlier withdrawal wrote stays."""
    clips = sorted({clip_id for clips in one.by_root.values() for clip_id in clips})
    wanted = {TAINT: cause, CLIPS: ",".join(clips), LEDGER: str(one.ledger_size), BY: one.id}
    for name, value in wanted.items():
        if version.tags.get(name, "none") == "none":
            registry.tag(version.number, name, value[:LONGEST])


def describe(registry: Registry, version: Version, one: Withdrawal, cause: str) -> None:
    """What a person reads on the version's page, above what was written at its registration."""
    before = registry.description(version.number)
    if _NOTE in before:
        return
    note = (
        f"{_NOTE}\n**Withdrawn from service.** {cause}\n\n| | |\n|---|---|\n"
        f"| Withdrawal | `{one.id}` of {one.opened_at} |\n| Snapshot | `{version.snapshot_root}` |\n"
        f"| Sealed on checkpoint | `{version.tags.get('ledger_checkpoint', 'unknown')}` |\n"
        f"| Ledger at the withdrawal | {one.ledger_size} events |\n{_END}\n\n"
    )
    registry.describe(version.number, note + before)


def tainted_here(version: Version) -> bool:
    """Whether a withdrawal wrote the taint, not a person."""
    return BY in version.tags


def lift(registry: Registry, version: Version, one: Withdrawal) -> None:
    """No withdrawal reaches it any more: the tags say so, and the note leaves its description."""
    head, found, tail = registry.description(version.number).partition(_NOTE)
    if found:
        registry.describe(version.number, head + tail.partition(_END)[2].lstrip())
    registry.tag(version.number, "taint_lifted", f"{one.id} of {one.opened_at}, from: {version.taint}"[:LONGEST])
    for name in (CLIPS, LEDGER, BY, TAINT):
        registry.tag(version.number, name, "none")


def take_aliases(home: Home, registry: Registry, held: Mapping[str, str]) -> dict[str, Any]:
    """No alias stays on a tainted version: `champion` goes to one that may serve or is closed, others are closed.

    `held` are the aliases with the version that had each; returns what became of them.
    """
    from assets.evaluation.promotion import reconcile_champion
    from assets.evaluation.registry import CHAMPION

    found: dict[str, Any] = {}
    for name, number in sorted(held.items()):
        if name == CHAMPION:
            found[name] = reconcile_champion(home)
        elif registry.alias(name) == number:
            registry.delete_alias(name)
            found[name] = f"taken from version {number} and closed"
    return found
