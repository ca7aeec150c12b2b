"""What the command line reads: where everything stands, from the lake, the warehouse, the ledger and the registry.

Read-only. A part that does not exist yet reads as nothing, so that `rushes status` works on an empty home.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assets.home import Home
from assets.warehouse.opening import opened


@dataclass(frozen=True)
class Model:
    """The newest registered version."""

    version: str
    aliases: tuple[str, ...]
    model_key: str
    snapshot_root: str
    taint: str | None
    url: str


@dataclass(frozen=True)
class Standing:
    """Everything that the summary shows."""

    requests: Sequence[Mapping[str, Any]] = ()
    received: int = 0
    quarantined: Sequence[Mapping[str, Any]] = ()
    clips: int = 0
    eligible: int = 0
    not_eligible: Mapping[str, int] = field(default_factory=dict)
    snapshot: Mapping[str, Any] | None = None
    losses: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scorecard: Sequence[Mapping[str, Any]] = ()
    model: Model | None = None
    champion: str | None = None
    ledger_size: int = 0
    ledger_root: str = ""


def mart(home: Home, name: str) -> list[dict[str, Any]]:
    """All rows of a mart; none when the warehouse was never built."""
    try:
        with opened(home) as connection:
            if name not in {row[0] for row in connection.execute("show tables").fetchall()}:
                return []
            return connection.table(name).to_arrow_table().to_pylist()
    except FileNotFoundError:
        return []


def fulfilment(home: Home) -> dict[str, dict[str, Any]]:
    """How far each request is filled, by request."""
    return {row["request_id"]: row for row in mart(home, "fct_request_fulfilment")}


def standing(home: Home) -> Standing:
    """Read everything once."""
    from assets.consent.ledger import Ledger

    head = Ledger(home.database_url).head()
    items = home.lake.rows("delivery_items")
    decoded = {row["item_id"]: row for row in home.lake.rows("media")}  # the later word on a file
    refused = [row for item in items if (row := decoded.get(item["item_id"], item))["state"] == "quarantined"]
    names = {row["item_id"]: f"{row['delivery_id']}/{row['file_name']}" for row in items}
    eligibility = mart(home, "mart_training_eligibility")
    members = home.lake.rows("snapshot_members")
    record = latest_result(home)
    model, champion = newest_model(home)
    return Standing(
        requests=mart(home, "fct_request_fulfilment"),
        received=len(items),
        quarantined=[{"file": names.get(row["item_id"], row["item_id"]), "reasons": row["reasons"]} for row in refused],
        clips=home.lake.read("shots").num_rows,
        eligible=sum(row["eligible"] for row in eligibility),
        not_eligible=Counter(code for row in eligibility if not row["eligible"] for code in row["reasons"]),
        snapshot=_snapshot(members),
        losses=_losses(record),
        scorecard=home.lake.rows("scorecard"),
        model=model,
        champion=champion,
        ledger_size=head.size,
        ledger_root=head.root,
    )


def latest_result(home: Home) -> dict[str, Any]:
    """The record of the model that was trained last."""
    from assets.model import published

    key = published.latest(home)
    return (published.pair(home, key) if key else None) or {}


def newest_model(home: Home) -> tuple[Model | None, str | None]:
    """The newest registered version, and the champion's number."""
    from assets.model import published
    from assets.registry.versions import CHAMPION, Registry

    if published.latest(home) is None:
        return None, None  # nothing was trained yet; asking would make a registry, which takes seconds
    registry = Registry(home)
    versions = registry.versions()
    champion = next((v.number for v in versions if CHAMPION in v.aliases), None)
    if not versions:
        return None, champion
    new = versions[0]
    model = Model(
        new.number, new.aliases, new.model_key, new.snapshot_root, new.taint, registry.version_url(new.number)
    )
    return model, champion


def _snapshot(members: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    if not members:
        return None
    splits = Counter(row["split"] for row in members)
    return {"root": members[0]["snapshot_root"], "members": len(members), **splits}


def _losses(record: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Start and end of every held-out number that both ends know."""
    found = {}
    for task in ("codec", "transformer"):
        result = record.get(task, {}).get("result", record.get(task, {}))
        start, end = result.get("start", {}), result.get("end", {})
        for name in sorted(set(start) & set(end)):
            if name.startswith("heldout/"):
                found[f"{task} {name.removeprefix('heldout/')}"] = (float(start[name]), float(end[name]))
    return found


def find_snapshot(home: Home, root: str) -> dict[str, Any]:
    """The sealed manifest of a root. Raises FileNotFoundError."""
    return json.loads(home.store.get(f"snapshots/{root}/manifest.json"))
