"""What a release consists of: a model's marked sample videos in `release/<model_key>/`, and the documents beside them.

A bundle has checksums and a manifest, and every file of it is read again; `assets.marks.marking` marks a file. The model card
says what a version is, what it learned from and with whose consent, how good it is and what it cannot do. The public summary
of the training data adds up the snapshot's own rows: counts and ranges, no person. Its headings follow the template for
general-purpose models under Article 53(1)(d) of the AI Act: general information, sources, processing. Legal judgement is
people's.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.home import Home
from assets.marks.marking import mark_video, read_marks
from assets.model.config import TASKS
from assets.model.published import BASE_KEY, pretrained_base
from assets.pages.plots import markdown_table
from assets.pages.render import render
from training.consent.canonical import file_sha256

SCHEMA = "rushes.release/1"


@dataclass(frozen=True)
class Bundle:
    """`files` are the manifest's entries; `marked_now` of them were new."""

    model_key: str
    files: list[dict[str, Any]]
    marked_now: int


def folder(model_key: str) -> str:
    return f"release/{model_key}"


def build(home: Home, claims: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> Bundle:
    """Mark every sample (a row of the table `samples`) that was not marked before, and describe them all.

    `claims`: model_id, snapshot_root, ledger_checkpoint. Signing anew would change the bytes of the same video, so an
    existing file of the same sample that still carries both marks is kept.
    """
    model_key = str(claims["model_id"])
    before = {entry["name"]: entry for entry in read_manifest(home, model_key).get("files", [])}
    files, marked = [], 0
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        for row in sorted(samples, key=lambda row: row["sample_id"]):
            name = f"{row['sample_id']}.mp4"
            source = file_sha256(home.store.fetch(row["media_key"]))
            kept = before.get(name)
            if kept is None or kept["sample_sha256"] != source or problems(home, model_key, kept):
                target = Path(scratch) / name
                mark_video(home.store.fetch(row["media_key"]), target, claims, home.signing)
                home.store.put(f"{folder(model_key)}/{name}", target)
                digest, marked = file_sha256(target), marked + 1
                kept = {"name": name, "sha256": digest, "sample_sha256": source}
            files.append(kept | {"prompt": row["prompt"], "seed": row["seed"]})
    _describe(home, claims, files)
    return Bundle(model_key, files, marked)


def _describe(home: Home, claims: Mapping[str, Any], files: list[dict[str, Any]]) -> None:
    below = folder(str(claims["model_id"]))
    wanted = {f"{below}/{entry['name']}" for entry in files}
    for key in home.store.list(below):
        if key.endswith(".mp4") and key not in wanted:
            home.store.delete(key)  # a sample of an earlier list of prompts
    sums = "".join(f"{entry['sha256']}  {entry['name']}\n" for entry in files)
    home.store.put(f"{below}/SHA256SUMS", sums.encode())
    manifest = {"schema": SCHEMA, **claims, "files": files}
    home.store.put(f"{below}/manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode())


def read_manifest(home: Home, model_key: str) -> dict[str, Any]:
    """The bundle's manifest; empty if nothing was released."""
    key = f"{folder(model_key)}/manifest.json"
    return json.loads(home.store.get(key)) if home.store.exists(key) else {}


def problems(home: Home, model_key: str, entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with one stored file of the bundle, its bytes or its marks; empty if it may leave."""
    try:
        path = home.store.fetch(f"{folder(model_key)}/{entry['name']}")
    except FileNotFoundError:
        return ["missing"]
    intact = file_sha256(path) == entry["sha256"]
    return ([] if intact else ["not the bytes in the manifest"]) + list(read_marks(path, home.signing).problems)


def unmarked(home: Home, model_key: str) -> dict[str, list[str]]:
    """Every video in the bundle's folder with a problem, including those that the manifest does not name."""
    entries = {entry["name"]: entry for entry in read_manifest(home, model_key).get("files", [])}
    present = {key.rsplit("/", 1)[-1] for key in home.store.list(folder(model_key)) if key.endswith(".mp4")}
    faults = {}
    for name in sorted(entries.keys() | present):
        if why := problems(home, model_key, entries[name]) if name in entries else ["not in the manifest"]:
            faults[name] = why
    return faults


SUMMARY_SCHEMA = "rushes.data_summary/1"
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
        parent=_descent(facts.tags.get("parent_model"), facts.record),
        base=pretrained_base(facts.record),
        general=facts.summary["general"],
        consent=facts.summary["consent"],
        training=markdown_table([_training(task, facts.record.get(task, {})) for task in TASKS]),
        scores=markdown_table(facts.scores),
    )


def _descent(parent: str | None, record: Mapping[str, Any]) -> str:
    """What the weights were before training, and at the root of their ancestry."""
    origin = record.get("origin")
    if parent is None and (base := pretrained_base(record)):
        return f"none: tuned from pretrained base {base['name']}"
    if parent is None:
        return "none: trained from random weights"
    if parent.startswith(BASE_KEY):
        return f"trained from base {parent}, which saw rendered scenes only"
    if origin and origin.startswith(BASE_KEY):
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
        "schema": SUMMARY_SCHEMA,
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
