"""The graph's second half: which models there are, what their weights saw, and what a withdrawal writes on a version.

Belongs here: reading published records and registry tags, and the tags, description and aliases of one version. Which
models a withdrawal reaches is `closure`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from assets.consent.withdrawal_log_rows import Withdrawal
from assets.home import Home
from assets.model import published
from assets.withdrawals.lineage import Model

if TYPE_CHECKING:
    from assets.registry.versions import Registry, Version

TAINT, CLIPS, LEDGER, BY = "taint", "taint_clips", "taint_ledger_size", "taint_withdrawal"
LONGEST = 5000  # characters that a tag of MLflow takes


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
        parent, exposure = version.tags.get("parent_model") or None, published.tagged_exposure(version)
        found.setdefault(version.model_key, Model(version.model_key, version.snapshot_root, parent, exposure))
    return list(found.values())


def taint(registry: Registry, version: Version, cause: str) -> None:
    """The reason, which alone keeps the version from serving. What an earlier withdrawal wrote stays."""
    if version.taint is None:
        registry.tag(version.number, TAINT, cause[:LONGEST])


def detail(registry: Registry, version: Version, one: Withdrawal) -> None:
    """Beside the reason: which clips, how long the ledger was, which withdrawal; and the version's page."""
    clips = sorted({clip_id for clips in one.by_root.values() for clip_id in clips})
    for name, value in {CLIPS: ",".join(clips), LEDGER: str(one.ledger_size), BY: one.id}.items():
        if version.tags.get(name, "none") == "none":
            registry.tag(version.number, name, value[:LONGEST])
    registry.describe(version.number)


def tainted_here(version: Version) -> bool:
    """Whether a withdrawal wrote the taint, not a person."""
    return version.tags.get(BY, "none") != "none"


def lift(registry: Registry, version: Version, one: Withdrawal) -> None:
    """No withdrawal reaches it any more: its tags and its page say so. What tells that this is due goes last."""
    if version.taint:
        registry.tag(version.number, "taint_lifted", f"{one.id} of {one.opened_at}, from: {version.taint}"[:LONGEST])
    for name in (CLIPS, LEDGER, TAINT):
        registry.tag(version.number, name, "none")
    registry.describe(version.number)
    registry.tag(version.number, BY, "none")


def take_aliases(home: Home, registry: Registry, held: Mapping[str, str]) -> None:
    """No alias stays on a tainted version: `champion` goes to one that may serve or is closed, others are closed.

    `held` are the aliases with the version that had each.
    """
    from assets.evaluation.promotion import reconcile_champion
    from assets.registry.versions import CHAMPION

    for name, number in sorted(held.items()):
        if name == CHAMPION:
            reconcile_champion(home)
        elif registry.alias(name) == number:
            registry.delete_alias(name)


def became_of(registry: Registry, name: str, before: str) -> str:
    """What became of an alias that a withdrawal took from a version, in words."""
    now = registry.alias(name)
    if now is None:
        return f"version {before} must not serve and no other may, so there is no {name}"
    return f"version {before} must not serve; version {now} is {name}"
