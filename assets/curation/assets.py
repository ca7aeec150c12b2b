"""What Dagster sees of curation: clips, what is measured on them, what is decided about them, and how they are told."""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.consent.withdrawals.journal import withheld
from assets.curation import clips
from assets.curation.captions import Facts, caption_rows
from assets.curation.duplicates import Clip, find_duplicates
from assets.curation.embeddings import embedding_rows
from assets.curation.evidence import Key, by_clip, read_evidence
from assets.curation.policy import POLICY
from assets.curation.verdicts import blocks, decide, missing_verdicts
from assets.home import Home
from assets.lake import Written
from assets.metadata import definition_metadata, picture, table_metadata
from assets.partitions import received_days
from assets.pictures import contact_sheet, histogram, markdown_table

SHEET_CLIPS = 24


def _measured(
    context: dg.AssetExecutionContext, home: Home, media: Sequence[Mapping[str, Any]]
) -> dict[str, clips.Measured]:
    found = clips.measure_files(home, media, context.log.info)
    context.log.info(f"{len(found)} files; {sum(one.decoded for one in found.values())} decoded now, the others known")
    return found


def _result(
    home: Home, name: str, day: str | None, written: Written, extra: Mapping[str, Any], **more: Any
) -> dg.MaterializeResult:
    return dg.MaterializeResult(
        metadata=table_metadata(home, name, day, extra), data_version=dg.DataVersion(written.sha256), **more
    )


@dg.asset(
    partitions_def=received_days,
    deps=["media"],
    kinds={"python", "parquet", "opencv"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("shots"),
)
def shots(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Clips: the shots of every accepted file of the day, each with the identity that everything downstream uses.

    This is where files are decoded for curation, once: shots and signals come from the same pass, which is remembered
    by content. A file that cannot be measured stays one clip, and is never eligible.
    """
    day = context.partition_key
    media = home.lake.rows("media", day)
    measured = _measured(context, home, media)
    rows = clips.shot_rows(media, measured)
    written = home.lake.write("shots", rows, day)
    failed = [
        {"file": sha256[:12], "why": one.error} for sha256, one in sorted(measured.items()) if one.error is not None
    ]
    extra = {
        "files": len(measured),
        "files_decoded_now": sum(one.decoded for one in measured.values()),
        "clips": len(rows),
        "boundaries": dict(Counter(row["boundary"] for row in rows)),
        "not_measured": dg.MetadataValue.md(markdown_table(failed)),
    }
    return _result(home, "shots", day, written, extra)


@dg.asset(
    partitions_def=received_days,
    deps=[shots],
    kinds={"python", "parquet", "opencv"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("signals"),
)
def signals(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Measured facts about every clip of the day: motion, camera, light, detail, borders, faces, hashes.

    Thresholds are drawn into the histograms; deciding is left to `verdicts`.
    """
    day = context.partition_key
    media = home.lake.rows("media", day)
    rows = clips.signal_rows(media, _measured(context, home, media))
    written = home.lake.write("signals", rows, day)
    extra: dict[str, Any] = {"camera_motion": dict(Counter(row["camera_motion"] for row in rows))}
    for check in ("motion", "duration", "sharpness"):
        asked = POLICY.check(check)
        values = [row[asked.column] for row in rows if asked.column]
        extra[f"{check}_histogram"] = picture(
            histogram(values, asked.low, title=f"{check} of {len(values)} clips", unit=asked.unit or ""),
            "image/png",
            alt=check,
        )
    return _result(home, "signals", day, written, extra)


@dg.asset(
    partitions_def=received_days,
    deps=[shots, signals, "deliveries", "media"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("verdicts"),
    check_specs=[
        dg.AssetCheckSpec(
            "every_check_decided",
            asset="verdicts",
            blocking=True,
            description="Every clip of the day has a typed verdict for every check of the policy.",
        )
    ],
)
def verdicts(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Every check of the policy on every clip: declared against measured, quality, origin.

    A clip counts as good when no fatal or quality check failed or was left undecided; unmeasurable never passes.
    """
    day = context.partition_key
    found = home.lake.rows("shots", day)
    rows = [row for evidence in read_evidence(home, day) for row in decide(evidence)]
    written = home.lake.write("verdicts", rows, day)
    missing = missing_verdicts(found, home.lake.rows("verdicts", day))
    check = dg.AssetCheckResult(
        check_name="every_check_decided",
        passed=not missing,
        metadata={"clips": len(found), "checks": len(POLICY.checks), "missing": missing[:20]},
    )
    return _result(home, "verdicts", day, written, _verdict_metadata(context, home, day, rows), check_results=[check])


def _verdict_metadata(
    context: dg.AssetExecutionContext, home: Home, day: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    blocked: dict[Key, list[str]] = defaultdict(list)
    for row in rows:
        blocked[row["item_id"], row["shot_index"]] += [row["reason"]] if blocks(row) else []
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", day)}
    refused = [
        {"clip": f"`{names[item_id]}` shot {index}", "reasons": ", ".join(sorted(set(reasons)))}
        for (item_id, index), reasons in sorted(blocked.items())
        if reasons
    ]
    extra: dict[str, Any] = {
        "policy": POLICY.version,
        "clips_good": sum(not reasons for reasons in blocked.values()),
        "clips_refused": len(refused),
        "verdicts_by_check": dg.MetadataValue.md(_verdict_table(rows)),
        "refused": dg.MetadataValue.md(markdown_table(refused)),
    }
    media = home.lake.rows("media", day)
    pictures = clips.thumbnails(media, _measured(context, home, media))
    for title, wanted in (("accepted_clips", False), ("refused_clips", True)):
        chosen = [key for key, reasons in sorted(blocked.items()) if bool(reasons) is wanted and key in pictures]
        labels = [", ".join(blocked[key]) or names[key[0]] for key in chosen]
        if chosen:
            extra[title] = _sheet([pictures[key] for key in chosen[:SHEET_CLIPS]], labels, title.replace("_", " "))
    return extra


def _verdict_table(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter((row["check"], row["verdict"]) for row in rows)
    return markdown_table(
        [
            {"check": check.name, "severity": check.severity, "threshold": check.threshold or ""}
            | {verdict: counts[check.name, verdict] for verdict in ("pass", "fail", "unmeasurable", "not_yet")}
            for check in POLICY.checks
        ]
    )


def _sheet(jpegs: Sequence[str], labels: Sequence[str], alt: str) -> dg.MarkdownMetadataValue:
    import cv2
    import numpy as np

    frames = []
    for jpeg in jpegs:
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(jpeg), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None, "thumbnails are JPEG by construction"
        frames.append(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
    return picture(contact_sheet(frames, labels), alt=alt)


@dg.asset(
    deps=[signals],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("duplicates"),
)
def duplicates(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Which clips of all days show the same footage, and which is the original: the earliest owner's.

    Equal decoded frames are exact duplicates; perceptual hashes find what was re-encoded, resized or trimmed.
    """
    rows = find_duplicates(_clips(home))
    written = home.lake.write("duplicates", rows)
    kinds = Counter(row["kind"] for row in rows)
    context.log.info(f"{len(rows)} clips: {dict(kinds)}")
    refused = [
        {key: str(row[key])[:16] for key in ("clip_id", "item_id", "dup_group", "original_item_id", "kind", "distance")}
        for row in rows
        if row["verdict"] == "fail"
    ]
    extra = {"kinds": dict(kinds), "duplicates": dg.MetadataValue.md(markdown_table(refused))}
    return _result(home, "duplicates", None, written, extra)


def _clips(home: Home) -> list[Clip]:
    arrived = {row["delivery_id"]: row["received_at"] for row in home.lake.rows("deliveries")}
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    hashes = {key: row["frame_phashes"] for key, row in by_clip(home.lake.rows("signals")).items()}
    found = []
    for shot in home.lake.rows("shots"):
        item = items[shot["item_id"]]
        order = (item["received_day"], arrived[item["delivery_id"]], item["delivery_id"], item["position"])
        found.append(
            Clip(
                clip_id=shot["clip_id"],
                item_id=shot["item_id"],
                shot_index=shot["shot_index"],
                contributor_id=item["contributor_id"],
                order=order,
                hashes=tuple(hashes.get((shot["item_id"], shot["shot_index"]), ())),
            )
        )
    return found


@dg.asset(
    partitions_def=received_days,
    deps=[signals, verdicts, "deliveries"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("captions"),
)
def captions(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Short and long captions of every clip, from declared facts that no check contradicts and measured signals.

    There are several phrasings of each, so that a model does not learn one template. Each clause names its
    source. Clips that stand withdrawn are left out, and so have no embedding either.
    """
    day, held = context.partition_key, withheld(home)
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
    measured = by_clip(home.lake.rows("signals", day))
    decided: dict[Key, dict[str, str]] = defaultdict(dict)
    for row in home.lake.rows("verdicts", day):
        decided[row["item_id"], row["shot_index"]][row["check"]] = row["verdict"]
    rows, shots = [], home.lake.rows("shots", day)
    for shot in (one for one in shots if one["clip_id"] not in held):
        key = (shot["item_id"], shot["shot_index"])
        rows += caption_rows(Facts(shot, items[shot["item_id"]], measured.get(key), decided[key]))
    written = home.lake.write("captions", rows, day)
    longest = [
        {"caption": row["text"], "sources": len(json.loads(row["sources_json"]))}
        for row in rows
        if row["kind"] == "long"
    ][:12]
    extra = {
        "captions": len(rows),
        "examples": dg.MetadataValue.md(markdown_table(longest)),
        "withheld": sum(shot["clip_id"] in held for shot in shots),
    }
    return _result(home, "captions", day, written, extra)


@dg.asset(
    partitions_def=received_days,
    deps=[captions],
    kinds={"python", "parquet", "transformers"},
    owners=["team:ml"],
    code_version="1",
    metadata=definition_metadata("embeddings"),
)
def embeddings(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Unit vectors of the long captions, by the offline sentence encoder; a caption is encoded once, ever."""
    day = context.partition_key
    rows = embedding_rows(home, home.lake.rows("captions", day))
    written = home.lake.write("embeddings", rows, day)
    return _result(home, "embeddings", day, written, {"encoder": rows[0]["model"] if rows else "not needed"})
