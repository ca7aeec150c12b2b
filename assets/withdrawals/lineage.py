"""Models downstream of withdrawn clips: which there are, what their weights saw, and what a withdrawal writes on a version.

Belongs here: published records and registry tags, the models that a withdrawal reaches, and the tags, description and
aliases of one version. When which is written is `execute`'s.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from assets.consent.reach import Reached
from assets.consent.withdrawal_log import Withdrawal
from assets.evaluation.promotion import reconcile_champion
from assets.home import Home
from assets.model import published
from assets.registry import CHAMPION, Registry, Version

TAINT, CLIPS, LEDGER, BY = "taint", "taint_clips", "taint_ledger_size", "taint_withdrawal"
LONGEST = 5000  # characters that a tag of MLflow takes


@dataclass(frozen=True)
class Model:
    """A trained model: its snapshot, the model whose weights it started from, every snapshot its weights ever saw."""

    key: str
    snapshot_root: str
    parent: str | None = None
    exposure: Collection[str] = ()

    @property
    def roots(self) -> frozenset[str]:
        return frozenset({self.snapshot_root, *self.exposure} - {""})


def known_models(home: Home, versions: Iterable[Version]) -> list[Model]:
    """Models as the store and the registry know them; one that only its children name is known by nothing else."""
    models = {}
    for key in home.store.folders("models"):
        try:
            record = json.loads(home.store.get(f"models/{key}/result.json"))
        except FileNotFoundError:
            continue  # still in training: nothing of it serves
        models[key] = Model(
            key, record["snapshot_root"], record.get("parent_model"), tuple(record.get("exposure") or ())
        )
    for version in versions:
        parent, exposure = version.tags.get("parent_model") or None, published.tagged_exposure(version)
        models.setdefault(version.model_key, Model(version.model_key, version.snapshot_root, parent, exposure))
    return list(models.values())


def downstream(reached: Reached, models: Iterable[Model]) -> dict[str, str]:
    """Causes by model key: its weights saw a reached snapshot, or it started, at any distance, from one that did."""
    everything = {model.key: model for model in models}
    causes: dict[str, str] = {}
    for key, model in sorted(everything.items()):
        for root in sorted(model.roots & set(reached), key=lambda root: (root != model.snapshot_root, root)):
            causes.setdefault(key, _cause(root, reached[root]))
    children: dict[str, list[str]] = {}
    for key, model in sorted(everything.items()):
        children.setdefault(model.parent or "", []).append(key)
    frontier = sorted(causes)
    while frontier:
        parent = frontier.pop(0)
        for child in children.get(parent, ()):
            if child not in causes:
                causes[child] = f"started from {parent}, which is tainted"
                frontier.append(child)
    return causes


def _cause(root: str, members: Mapping[str, tuple[str, ...]]) -> str:
    codes = sorted({code for reasons in members.values() for code in reasons})
    shown = ", ".join(clip[:16] for clip in sorted(members)[:10])
    more = f" and {len(members) - 10} more" if len(members) > 10 else ""
    return f"{', '.join(codes)} on {len(members)} clips of snapshot {root[:16]}: {shown}{more}"


# -- what is written on a version ---------------------------------------------------------------------------------------


def taint(registry: Registry, version: Version, cause: str) -> None:
    """The reason, which alone keeps the version from serving. What an earlier withdrawal wrote stays."""
    if version.taint is None:
        registry.tag(version.number, TAINT, cause[:LONGEST])


def detail(registry: Registry, version: Version, withdrawal: Withdrawal) -> None:
    """Beside the reason: which clips, how long the ledger was, which withdrawal; and the version's page."""
    clips = sorted({clip_id for clips in withdrawal.by_root.values() for clip_id in clips})
    for name, value in {CLIPS: ",".join(clips), LEDGER: str(withdrawal.ledger_size), BY: withdrawal.id}.items():
        if version.tags.get(name, "none") == "none":
            registry.tag(version.number, name, value[:LONGEST])
    registry.describe(version.number)


def tainted_here(version: Version) -> bool:
    """Whether a withdrawal wrote the taint, not a person."""
    return version.tags.get(BY, "none") != "none"


def lift(registry: Registry, version: Version, withdrawal: Withdrawal) -> None:
    """No withdrawal reaches it any more: its tags and its page say so. The tag that marks this as pending goes last."""
    if version.taint:
        registry.tag(
            version.number,
            "taint_lifted",
            f"{withdrawal.id} of {withdrawal.opened_at}, from: {version.taint}"[:LONGEST],
        )
    for name in (CLIPS, LEDGER, TAINT):
        registry.tag(version.number, name, "none")
    registry.describe(version.number)
    registry.tag(version.number, BY, "none")


def take_aliases(home: Home, registry: Registry, held: Mapping[str, str]) -> None:
    """No alias stays on a tainted version: `champion` goes to one that may serve or is closed, others are closed.

    `held` are the aliases with the version that had each.
    """

    for name, number in sorted(held.items()):
        if name == CHAMPION:
            reconcile_champion(home, "a withdrawal")
        elif registry.alias(name) == number:
            registry.delete_alias(name)


def became_of(registry: Registry, name: str, before: str) -> str:
    """What became of an alias that a withdrawal took from a version, in words."""
    now = registry.alias(name)
    if now is None:
        return f"version {before} must not serve and no other may, so there is no {name}"
    return f"version {before} must not serve; version {now} is {name}"
