"""Where everything stands, from the lake, the warehouse, the ledger and the registry, and how `rushes status` shows it.

Read-only. A part that does not exist yet reads as nothing, so that `rushes status` works on an empty home.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from assets.consent.ledger import Ledger
from assets.evaluation.report import headline, not_measured
from assets.home import Home
from assets.model import published
from assets.registry import CHAMPION, Registry, Version
from assets.warehouse.opening import mart_rows
from orchestration.commands.shared import facts, short, table

LISTED = 25  # quarantined files that the status names
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Status:
    """Everything that `rushes status` shows; `model` is the newest registered version."""

    requests: Sequence[Row] = ()
    received: int = 0
    quarantined: Sequence[Row] = ()
    clips: int = 0
    eligible: int = 0
    not_eligible: Mapping[str, int] = field(default_factory=dict)
    snapshot: Row | None = None
    losses: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    scorecard: Sequence[Row] = ()
    model: Version | None = None
    champion: str | None = None
    ledger_size: int = 0
    ledger_root: str = ""


def mart(home: Home, name: str) -> list[dict[str, Any]]:
    """All rows of a mart; none where it or the warehouse was never built."""
    try:
        return mart_rows(home, name)
    except (FileNotFoundError, duckdb.CatalogException):
        return []


def fulfilment(home: Home) -> dict[str, dict[str, Any]]:
    """How far each request is filled, by request."""
    return {row["request_id"]: row for row in mart(home, "fct_request_fulfilment")}


def read_status(home: Home) -> Status:
    """Read everything once."""
    head = Ledger(home.database_url).head()
    items = home.lake.rows("delivery_items")
    decoded = {row["item_id"]: row for row in home.lake.rows("media")}  # the later word on a file
    refused = [row for item in items if (row := decoded.get(item["item_id"], item))["state"] == "quarantined"]
    names = {row["item_id"]: f"{row['delivery_id']}/{row['file_name']}" for row in items}
    eligibility = mart(home, "mart_training_eligibility")
    model, champion = _newest_model(home)
    return Status(
        requests=mart(home, "fct_request_fulfilment"),
        received=len(items),
        quarantined=[{"file": names.get(row["item_id"], row["item_id"]), "reasons": row["reasons"]} for row in refused],
        clips=home.lake.read("shots").num_rows,
        eligible=sum(row["eligible"] for row in eligibility),
        not_eligible=Counter(code for row in eligibility if not row["eligible"] for code in row["reasons"]),
        snapshot=_snapshot(home.lake.rows("snapshot_members")),
        losses=_losses(home),
        scorecard=home.lake.rows("scorecard"),
        model=model,
        champion=champion,
        ledger_size=head.size,
        ledger_root=head.root,
    )


def _newest_model(home: Home) -> tuple[Version | None, str | None]:
    """The newest registered version, and the champion's number."""
    if published.latest(home) is None:
        return None, None  # nothing was trained yet; asking would make a registry, which takes seconds
    versions = Registry(home).versions()
    champion = next((version.number for version in versions if CHAMPION in version.aliases), None)
    return next(iter(versions), None), champion


def _snapshot(members: Sequence[Row]) -> Row | None:
    if not members:
        return None
    splits = Counter(row["split"] for row in members)
    return {"root": members[0]["snapshot_root"], "members": len(members), **splits}


def _losses(home: Home) -> dict[str, tuple[float, float]]:
    """Start and end of every held-out number of the model that was trained last, where both are known."""
    key = published.latest(home)
    record = (published.pair(home, key) if key else None) or {}
    losses = {}
    for task in ("codec", "transformer"):
        result = record.get(task, {}).get("result", record.get(task, {}))
        start, end = result.get("start", {}), result.get("end", {})
        for name in sorted(set(start) & set(end)):
            if name.startswith("heldout/"):
                losses[f"{task} {name.removeprefix('heldout/')}"] = (float(start[name]), float(end[name]))
    return losses


def render_status(status: Status) -> RenderableType:
    return Group(_requests(status), "", _clips(status), "", _model(status))


def _requests(status: Status) -> RenderableType:
    if not status.requests:
        return Text("No request is in the warehouse yet: rushes request add …, then rushes run refresh")
    rows = [
        (
            row["request_id"],
            row.get("title"),
            f"{row['accepted_units']} of {row['target_units']}",
            row["eligible_units"],
            _bar(row["accepted_units"], row["target_units"]),
        )
        for row in status.requests
    ]
    return table("Requests", ("request", "asked for", "accepted", "eligible", "filled"), rows)


def _bar(done: int, wanted: int, width: int = 12) -> str:
    filled = min(width, round(width * done / wanted)) if wanted else 0
    return "█" * filled + "░" * (width - filled)


def _clips(status: Status) -> RenderableType:
    counts = {
        "files received": status.received,
        "files quarantined": len(status.quarantined),
        "clips found": status.clips,
        "clips eligible": status.eligible,
        "ledger": f"{status.ledger_size} events, root {short(status.ledger_root)}",
    }
    parts: list[RenderableType] = [facts(counts)]
    if status.quarantined:
        rows = [(row["file"], ", ".join(row["reasons"])) for row in status.quarantined[:LISTED]]
        parts += ["", table("Quarantined files", ("file", "reasons"), rows)]
        if (more := len(status.quarantined) - LISTED) > 0:
            parts.append(Text(f"and {more} more; the asset `media` lists each day's in the Dagster UI"))
    if status.not_eligible:
        ranked = sorted(status.not_eligible.items(), key=lambda pair: (-pair[1], pair[0]))
        parts += ["", table("Why clips are not eligible (a clip has every reason)", ("reason", "clips"), ranked)]
    return Group(*parts)


def _model(status: Status) -> RenderableType:
    if status.snapshot is None:
        return Text("No training snapshot was sealed yet: rushes run nightly")
    snapshot, model = status.snapshot, status.model
    lines = {
        "snapshot root": snapshot["root"],
        "clips in it": f"{snapshot['members']} ({snapshot.get('train', 0)} train, {snapshot.get('heldout', 0)} held out)",
    }
    lines |= {name: f"{start:.3f} → {end:.3f}" for name, (start, end) in status.losses.items()}
    if model:
        lines["registered"] = f"video-transformer version {model.number} ({', '.join(model.aliases) or 'no alias'})"
        lines["champion"] = f"version {status.champion}" if status.champion else "none"
        lines["taint"] = model.taint or "none"
    scores = headline(status.scorecard)
    columns = [name for name in (scores[0] if scores else ()) if name != "metric"]
    title = "Scorecard (every slice and method: asset `scorecard`)"
    return Group(
        Panel(facts(lines), title="Model", title_align="left"),
        "",
        table(title, columns, ([line[column] for column in columns] for line in scores)),
        *map(Text, not_measured(status.scorecard)),
    )
