"""A public summary of the data a model was trained on, from the snapshot's own rows: counts and ranges, no person.

What belongs here: adding up. Its headings follow those of the template for general-purpose models under Article 53(1)(d)
of the AI Act: general information, sources, processing. Wording and legal judgement are people's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from assets.home import Home

SCHEMA = "rushes.data_summary/1"
CURATION = (
    "Files were decoded whole and probed; broken and duplicate footage was left out; motion, exposure, sharpness and "
    "faces (boxes only) were measured. Captions come from verified metadata and measured signals."
)


def summarise(home: Home, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a sealed snapshot: size, sources with licences, territories, dates, processing."""
    members = manifest["members"]
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    shots = {(row["clip_id"], row["item_id"], row["shot_index"]): row for row in home.lake.rows("shots")}
    seconds = {member["clip_id"]: _seconds(shots, member) for member in members}
    days = {items[member["item_id"]]["received_day"] for member in members if member["item_id"] in items}
    return {
        "schema": SCHEMA,
        "snapshot_root": manifest["root"],
        "general": {
            "modality": "video without sound, with text captions in English",
            "clips": len(members),
            "hours": round(sum(seconds.values()) / 3600, 4),
            "held_out_clips": sum(member["split"] == "heldout" for member in members),
            "contributors": len({member["contributor_id"] for member in members}),
            "latest_acquisition": max(days, default=None),
        },
        "sources": _sources(members, items, seconds),
        "consent": {
            "purpose": manifest["purpose"],
            "standing_consents": len({consent for member in members for consent in member["consent_ids"]}),
            "territories": _territories(home, members),
            "ledger_events": manifest["ledger"]["size"],
            "ledger_root": manifest["ledger"]["root"],
            "valid_until": manifest["until"],
            "scraped": False,
        },
        "processing": {
            "curation": CURATION,
            "opt_out": "A withdrawal in the ledger stops training, tags every model that it reaches and starts a retrain.",
        },
    }


def _seconds(shots: Mapping[tuple[str, str, int], Mapping[str, Any]], member: Mapping[str, Any]) -> float:
    shot = shots.get((member["clip_id"], member["item_id"], member["shot_index"]))
    return float(shot["end_s"] - shot["start_s"]) if shot else 0.0


def _sources(
    members: Iterable[Mapping[str, Any]], items: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """One entry a named source and licence, longest first; what names none is footage of the contributor's own."""
    clips: Counter[tuple[str, str]] = Counter()
    length: defaultdict[tuple[str, str], float] = defaultdict(float)
    for member in members:
        item = items.get(member["item_id"], {})
        source = (item.get("source_name") or "contributor's own", item.get("source_licence") or "by consent")
        clips[source] += 1
        length[source] += seconds[member["clip_id"]]
    return [
        {"source": name, "licence": licence, "clips": count, "seconds": round(length[name, licence], 2)}
        for (name, licence), count in sorted(clips.items(), key=lambda entry: (-entry[1], entry[0]))
    ]


def _territories(home: Home, members: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where the consents that the snapshot rests on allow use; `*` is everywhere."""
    used = {consent for member in members for consent in member["consent_ids"]}
    events = home.lake.rows("consent_events")
    return sorted({place for event in events if event["consent_id"] in used for place in event["territories"]})


def markdown(summary: Mapping[str, Any]) -> str:
    """The summary for people."""
    from assets.pages.plots import markdown_table

    general, consent, processing = summary["general"], summary["consent"], summary["processing"]
    return "\n\n".join(
        [
            "# Summary of the training data",
            f"Snapshot `{summary['snapshot_root']}`",
            "## 1. General information",
            _list(general),
            "## 2. Sources",
            "All footage was delivered by contributors under standing consent; nothing was collected from the web.",
            markdown_table(summary["sources"]),
            "## 3. Consent",
            _list(consent),
            "## 4. Processing",
            processing["curation"],
            processing["opt_out"],
        ]
    ) + "\n"  # fmt: skip


def _list(pairs: Mapping[str, Any]) -> str:
    texts = {name: ", ".join(value) if isinstance(value, list) else value for name, value in pairs.items()}
    return "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in texts.items())
