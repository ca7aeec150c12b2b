"""The documents of a release: the model card, and a public summary of the data that the model was trained on.

The card says what a version is, what it learned from and with whose consent, how good it is and what it cannot do. The
summary adds up the snapshot's own rows: counts and ranges, no person. Its headings follow the template for general-purpose
models under Article 53(1)(d) of the AI Act: general information, sources, processing. Legal judgement is people's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.home import Home
from assets.model.config import TASKS
from assets.model.published import BASE
from assets.pages.plots import markdown_table
from assets.pages.render import render

SCHEMA = "rushes.data_summary/1"
CURATION = (
    "Files were decoded whole and probed; broken and duplicate footage was left out; motion, exposure, sharpness and "
    "faces (boxes only) were measured. Captions come from verified metadata and measured signals."
)
OPT_OUT = "A withdrawal in the ledger stops training, tags every model that it reaches and starts a retrain."


@dataclass(frozen=True)
class Facts:
    """Everything that the card says; `record` is the published record of the pair."""

    version: str
    aliases: Sequence[str]
    tags: Mapping[str, str]
    record: Mapping[str, Any]
    summary: Mapping[str, Any]  # of the training data
    scores: Sequence[Mapping[str, str]]  # rows as people read them


def model_card(facts: Facts) -> str:
    """The card in Markdown."""
    return render(
        "model_card.md",
        version=facts.version,
        aliases=facts.aliases,
        tags=facts.tags,
        parent=_descent(facts.tags.get("parent_model"), facts.record.get("origin")),
        general=facts.summary["general"],
        consent=facts.summary["consent"],
        training=markdown_table([_training(task, facts.record.get(task, {})) for task in TASKS]),
        scores=markdown_table(facts.scores),
    )


def _descent(parent: str | None, origin: str | None) -> str:
    """What the weights were before training, and at the root of their ancestry."""
    if parent is None:
        return "none: trained from random weights"
    if parent.startswith(BASE):
        return f"trained from base {parent}, which saw rendered scenes only"
    if origin and origin.startswith(BASE):
        return f"{parent}, which descends from base {origin}; the base saw rendered scenes only"
    return parent


def _training(task: str, record: Mapping[str, Any]) -> dict[str, Any]:
    result = record.get("result", {})
    names = sorted(result.get("start", {}).keys() & result.get("end", {}).keys())
    changes = (f"{name} {result['start'][name]:.4g} → {result['end'][name]:.4g}" for name in names)
    return {
        "part": task,
        "parameters": record.get("parameters", "unknown"),
        "steps": result.get("steps", "unknown"),
        "held out, start → end": ", ".join(changes) or "not measured",
    }


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
        "processing": {"curation": CURATION, "opt_out": OPT_OUT},
    }


def _seconds(shots: Mapping[tuple[str, str, int], Mapping[str, Any]], member: Mapping[str, Any]) -> float:
    shot = shots.get((member["clip_id"], member["item_id"], member["shot_index"]))
    return float(shot["end_s"] - shot["start_s"]) if shot else 0.0


def _sources(
    members: Iterable[Mapping[str, Any]], items: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float]
) -> list[dict[str, Any]]:
    """An entry for each named source and licence, longest first. Footage without one is the contributor's own."""
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


def summary_page(summary: Mapping[str, Any]) -> str:
    """The summary in Markdown."""
    return render("data_summary.md", **summary, sources_table=markdown_table(summary["sources"]))
