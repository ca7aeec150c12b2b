"""Acting on a withdrawal: tag the model versions that it reaches, take the alias from them, ask for new footage.

The closure is computed in `closure`; here it is carried out, in an order in which a crash leaves nothing serving
unnoticed: tags come first, then aliases, then proposals. Doing it again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.consent.closure import Closure, Model, closure, concerns, touched_parties, withdrawn
from assets.consent.facts import clip_facts
from assets.home import Home
from training.consent.canonical import parse_strictly
from training.consent.eligibility import ConsentState
from training.consent.events import Event
from training.consent.ledger import Ledger
from training.consent.times import instant, now_utc

if TYPE_CHECKING:
    from assets.evaluation.registry import Registry, Version

TAINT, TAINT_CLIPS, TAINT_LEDGER = "taint", "taint_clips", "taint_ledger_size"


@dataclass(frozen=True)
class Actions:
    """What withdrawals reached and what was done about it.

    `affected_clips` are clips of sealed snapshots, and of the lake where a new event withdrew consent to them;
    `tainted_versions` the registered versions reached by new events or tagged in this call; `champion` says what became
    of the alias, None where it was not touched; `proposals` are the requests for replacement that now stand.
    """

    ledger_size: int
    affected_clips: tuple[str, ...] = ()
    affected_snapshots: tuple[str, ...] = ()
    tainted_versions: tuple[str, ...] = ()
    champion: str | None = None
    proposals: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        parts = [
            f"{len(self.affected_clips)} clips",
            f"{len(self.affected_snapshots)} snapshots",
            f"model versions {', '.join(self.tainted_versions)}" if self.tainted_versions else "no model version",
        ]
        reached = f"withdrawn consent reaches {', '.join(parts)}"
        asked = f"{len(self.proposals)} replacements proposed" if self.proposals else ""
        return "; ".join(part for part in (reached, self.champion, asked) if part)


def act_on_ledger(home: Home, since_seq: int, now: datetime | None = None) -> Actions:
    """Draw the consequences of ledger events from `since_seq` on, and of consents that have ended by `now`."""
    ledger = Ledger(home.database_url)
    head = ledger.head()
    events = ledger.events(upto=head.size)
    new = [event for event in events if event.seq >= since_seq]
    now = max([instant(now or now_utc()), *([head.recorded_at] if head.recorded_at else [])])
    state = ConsentState.fold(events)
    parties = touched_parties(new, state, now)
    manifests = _manifests(home) if parties else {}
    reached = withdrawn(manifests, state, parties, now)
    in_lake = _withdrawn_in_lake(home, new, state)
    if not reached:
        return Actions(head.size, affected_clips=in_lake)
    moved = withdrawn(manifests, state, touched_parties(new, ConsentState(), now), now)
    registry, versions = _registered(home)
    models = _models(home, versions)
    whole = closure(reached, models)
    tagged = _tag(registry, versions, whole, head.size) if registry else []
    due = {*tagged, *(v.number for v in versions if v.model_key in closure(moved, models).models)}
    return Actions(
        ledger_size=head.size,
        affected_clips=tuple(sorted({*whole.clips, *in_lake})),
        affected_snapshots=tuple(whole.snapshots),
        tainted_versions=tuple(sorted(due, key=int)),
        champion=_release_aliases(home, registry, versions, whole) if registry else None,
        proposals=_propose(home, manifests, whole),
    )


def _manifests(home: Home) -> dict[str, dict[str, Any]]:
    """Every sealed snapshot in the store, by root."""
    keys = [key for key in home.store.list("snapshots") if key.endswith("/manifest.json")]
    return {key.split("/")[1]: parse_strictly(home.store.get(key).decode()) for key in keys}


def _registered(home: Home) -> tuple[Registry | None, list[Version]]:
    """The registry and its versions; None where nothing was ever registered."""
    local = home.mlflow_uri.removeprefix("sqlite:///")
    if local != home.mlflow_uri and not Path(local).is_file():
        return None, []
    from assets.evaluation.registry import Registry

    registry = Registry(home)
    return registry, registry.versions()


def _models(home: Home, versions: Iterable[Version]) -> list[Model]:
    """Trained models as the store and the registry know them; a parent may never have been registered."""
    keys = [key for key in home.store.list("models") if key.count("/") == 2 and key.endswith("/result.json")]
    records = [json.loads(home.store.get(key)) for key in keys]
    found = {r["model_key"]: Model(r["model_key"], r["snapshot_root"], r.get("parent_model")) for r in records}
    for version in versions:
        parent = version.tags.get("parent_model") or None
        found.setdefault(version.model_key, Model(version.model_key, version.snapshot_root, parent))
    return list(found.values())


def _tag(registry: Registry, versions: Iterable[Version], reached: Closure, ledger_size: int) -> list[str]:
    """Tag reached versions that no withdrawal had reached before; a first cause is never overwritten."""
    tagged = []
    for version in versions:
        if version.model_key in reached.models and version.taint is None:
            registry.tag(version.number, TAINT_CLIPS, ",".join(reached.snapshots.get(version.snapshot_root, ()))[:5000])
            registry.tag(version.number, TAINT_LEDGER, ledger_size)
            registry.tag(version.number, TAINT, reached.models[version.model_key][:5000])
            tagged.append(version.number)
    return tagged


def _release_aliases(home: Home, registry: Registry, versions: Iterable[Version], reached: Closure) -> str | None:
    """No alias stays on a reached version: `champion` goes to one that may serve or is closed, `candidate` is closed."""
    from assets.evaluation.promotion import reconcile_champion
    from assets.evaluation.registry import CANDIDATE, CHAMPION

    held = {alias for version in versions if version.model_key in reached.models for alias in version.aliases}
    if CANDIDATE in held:
        registry.delete_alias(CANDIDATE)
    return reconcile_champion(home) if CHAMPION in held else None


def _withdrawn_in_lake(home: Home, new: Iterable[Event], state: ConsentState) -> tuple[str, ...]:
    """Clips in the lake that a consent revoked by a new event had covered."""
    revoked = [event.body for event in new if event.type == "revoke"]
    if not revoked:
        return ()
    consents = [state.by_party[body["party_id"]][body["consent_id"]] for body in revoked]
    parties = {consent.party_id for consent in consents}
    known = [facts for facts in clip_facts(home) if concerns(facts, parties)]
    return tuple(sorted({f.clip_id for f in known if any(consent.concerns(f.assets) for consent in consents)}))


def _propose(home: Home, manifests: Mapping[str, Mapping[str, Any]], reached: Closure) -> tuple[str, ...]:
    """Ask for footage like the clips that left; a clip is asked for once."""
    from assets.requests.store import propose

    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    members = {m["clip_id"]: m for root in reached.snapshots for m in manifests[root]["members"]}
    proposals = []
    for clip_id, reasons in reached.clips.items():
        row = propose(
            home.database_url,
            origin="revocation_backfill",
            origin_ref=clip_id,
            text=_request_line(items.get(members[clip_id]["item_id"], {})),
            reason=f"clip {clip_id[:16]} left the training set: {', '.join(reasons)}",
            target_units=1,
        )
        proposals.append(str(row["proposal_id"]))
    return tuple(proposals)


def _request_line(item: Mapping[str, Any]) -> str:
    """A line that asks for what was declared of the lost footage."""
    subject, place = item.get("declared_subject") or "footage", item.get("declared_location")
    parts = [
        f"{subject} in {place}" if place else subject,
        item.get("declared_time_of_day"),
        item.get("declared_aspect_ratio"),
        f"{item['declared_duration_s']:g} seconds" if item.get("declared_duration_s") else None,
        "1 clip",
    ]
    return ", ".join(part for part in parts if part)
