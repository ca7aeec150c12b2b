"""The summary a person reads at the end of the demo, and for `rushes status`."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from assets.evaluation.report import headline, not_measured
from orchestration.commands.shared import facts, short, table
from orchestration.reading import Standing

LISTED = 25  # quarantined files that a summary names


def show(standing: Standing, console: Console) -> None:
    console.print(Group(_requests(standing), "", _clips(standing), "", _model(standing)))


def _requests(standing: Standing) -> RenderableType:
    if not standing.requests:
        return Text("No request stands in the warehouse yet: rushes request add …, then rushes run refresh")
    rows = [
        (
            row["request_id"],
            row.get("title"),
            f"{row['accepted_units']} of {row['target_units']}",
            row["eligible_units"],
            _bar(row["accepted_units"], row["target_units"]),
        )
        for row in standing.requests
    ]
    return table("Requests", ("request", "asked for", "accepted", "eligible", "filled"), rows)


def _bar(done: int, wanted: int, width: int = 12) -> str:
    filled = min(width, round(width * done / wanted)) if wanted else 0
    return "█" * filled + "░" * (width - filled)


def _clips(standing: Standing) -> RenderableType:
    counts = facts(
        {
            "files received": standing.received,
            "files quarantined": len(standing.quarantined),
            "clips found": standing.clips,
            "clips eligible": standing.eligible,
            "ledger": f"{standing.ledger_size} events, root {short(standing.ledger_root)}",
        }
    )
    shown: list[RenderableType] = [counts]
    if standing.quarantined:
        rows = [(row["file"], ", ".join(row["reasons"])) for row in standing.quarantined[:LISTED]]
        shown += ["", table("Quarantined files", ("file", "reasons"), rows)]
        if (more := len(standing.quarantined) - LISTED) > 0:
            shown.append(Text(f"and {more} more; the asset `media` lists each day's in the Dagster UI"))
    if standing.not_eligible:
        ranked = sorted(standing.not_eligible.items(), key=lambda pair: (-pair[1], pair[0]))
        shown += ["", table("Why clips are not eligible (a clip has every reason)", ("reason", "clips"), ranked)]
    return Group(*shown)


def _model(standing: Standing) -> RenderableType:
    if standing.snapshot is None:
        return Text("No training snapshot was sealed yet: rushes run nightly")
    snapshot = standing.snapshot
    found = {
        "snapshot root": snapshot["root"],
        "clips in it": f"{snapshot['members']} ({snapshot.get('train', 0)} train, {snapshot.get('heldout', 0)} held out)",
    }
    for name, (start, end) in standing.losses.items():
        found[name] = f"{start:.3f} → {end:.3f}"
    if standing.model:
        model = standing.model
        found["registered"] = f"video-transformer version {model.version} ({', '.join(model.aliases) or 'no alias'})"
        found["champion"] = f"version {standing.champion}" if standing.champion else "none"
        found["taint"] = model.taint or "none"
    return Group(Panel(facts(found), title="Model", title_align="left"), "", *_scores(standing))


def _scores(standing: Standing) -> list[RenderableType]:
    lines = headline(standing.scorecard)
    columns = [name for name in (lines[0] if lines else ()) if name != "metric"]
    shown = table(
        "Scorecard (every slice and method: asset `scorecard`)", columns, ([line[c] for c in columns] for line in lines)
    )
    return [shown, *map(Text, not_measured(standing.scorecard))]
