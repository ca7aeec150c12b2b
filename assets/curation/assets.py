"""What Dagster sees of curation: clips, what is measured on them, what is decided about them, and how they are told."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.curation import checks, day_report
from assets.curation.captioning.embeddings import embedding_rows
from assets.curation.captioning.structured import Facts, caption_rows
from assets.curation.captioning.vlm import LocalCaptioner, visual_caption_rows, visual_rows
from assets.curation.dedup.groups import resolve
from assets.curation.policy.policy_overrides import policy_of
from assets.curation.policy.verdicts import NOT_MEASURED, Key, by_clip, decide, read_evidence, rows_by_clip
from assets.home import Home
from assets.ingestion.progress import finish
from assets.lake import Written
from assets.pages.metadata import definition_metadata, run_of, table_metadata
from assets.pages.plots import markdown_table
from assets.partitions import received_days
from assets.signals import files as clips
from assets.withheld import withheld

SHOWN = 200  # rows of a table for people


def _measured(
    context: dg.AssetExecutionContext, home: Home, media: Sequence[Mapping[str, Any]]
) -> dict[str, clips.Measured]:
    context.log.info(f"{len(clips.accepted(media))} files; those that are not known are measured now")
    measured = clips.measure_files(home, media, context.log.info)
    context.log.info(
        f"{len(measured)} files; {sum(file.decoded for file in measured.values())} decoded now, the others known"
    )
    return measured


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
    code_version="2",
    metadata=definition_metadata("shots"),
)
def shots(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Clips: the shots of every accepted file of the day, each with the identity that everything downstream uses.

    Shots and signals come from one pass over a file, which is remembered by content: it ran when `media` took the file
    in, on the same decode. What was not measured there, or by another version, is decoded and measured here. A file
    that cannot be measured stays one clip, and is never eligible.
    """
    day = context.partition_key
    media = home.lake.rows("media", day)
    measured = _measured(context, home, media)
    rows = clips.shot_rows(media, measured)
    written = home.lake.write("shots", rows, day)
    failed = [
        {"file": sha256[:12], "why": file.error} for sha256, file in sorted(measured.items()) if file.error is not None
    ]
    extra = {
        "files": len(measured),
        "files_decoded_now": sum(file.decoded for file in measured.values()),
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
    check_specs=checks.SIGNAL_CHECKS,
)
def signals(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Measured facts about every clip of the day: motion, camera, light, detail, borders, faces, hashes.

    Thresholds are drawn into the histograms; deciding is left to `verdicts`.
    """
    day, policy = context.partition_key, policy_of(home)
    # what `shots` could not measure has no signals: measured now, it might fall into other clips
    failed = {row["item_id"] for row in home.lake.rows("shots", day) if row["not_measured"]}
    media = [row for row in home.lake.rows("media", day) if row["item_id"] not in failed]
    rows = clips.signal_rows(media, _measured(context, home, media))
    written = home.lake.write("signals", rows, day)
    extra = {
        "camera_motion": dict(Counter(row["camera_motion"] for row in rows)),
        "histograms": dg.MetadataValue.md(day_report.distributions(rows, policy)),
    }
    steady = checks.signals_steady(home, day, policy)
    return _result(home, "signals", day, written, extra, check_results=[steady])


@dg.asset(
    partitions_def=received_days,
    deps=[shots, "deliveries"],
    kinds={"python", "parquet", "transformers"},
    owners=["team:ml"],
    code_version="1",
    metadata=definition_metadata("visual_captions"),
)
def visual_captions(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What a model that looks at a few pictures of each clip says, where RUSHES_CAPTIONER names one; else nothing.

    The same model is not asked twice about the same clip. Clips that stand withdrawn are not shown to it.
    """
    day, held, rows = context.partition_key, withheld(home.database_url), []
    if home.captioner is not None:
        items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
        clips_of_day = [row for row in home.lake.rows("shots", day) if row["clip_id"] not in held]
        earlier = home.lake.rows("visual_captions", day)
        rows = visual_rows(home, clips_of_day, items, LocalCaptioner(home.captioner), earlier, context.log.info)
    written = home.lake.write("visual_captions", rows, day)
    examples = [{key: row[key] for key in ("clip_id", "frame", "text", "likeness")} for row in rows[:12]]
    extra = {
        "captioner": rows[0]["captioner"] if rows else "nothing was said" if home.captioner else "none is set",
        "examples": dg.MetadataValue.md(markdown_table(examples)),
    }
    return _result(home, "visual_captions", day, written, extra)


@dg.asset(
    partitions_def=received_days,
    deps=[shots, signals, visual_captions, "deliveries", "media"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("verdicts"),
    check_specs=checks.VERDICT_CHECKS,
)
def verdicts(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Every check of the policy on every clip: declared against measured, quality, origin.

    A clip counts as good when no fatal or quality check failed or was left undecided; unmeasurable never passes, and what
    the platform failed to measure waits without a reason against it.
    Decided from stored values alone, by the thresholds of this home: `rushes curate replay` tries others.
    """
    day, policy = context.partition_key, policy_of(home)
    shots_of_day = home.lake.rows("shots", day)
    context.log.info(f"deciding {len(policy.checks)} checks on {len(shots_of_day)} clips by {policy.name}")
    rows = [row for evidence in read_evidence(home, day) for row in decide(evidence, policy)]
    written = home.lake.write("verdicts", rows, day)
    names = {row["item_id"]: row["file_name"] for row in home.lake.rows("delivery_items", day)}
    decided = day_report.Day(rows, policy, names)
    results = [
        checks.every_check_decided(home, day, shots_of_day, policy),
        checks.one_policy(home, policy),
        checks.all_measured(names, rows),
        checks.refusals_steady(home, day, rows),
    ]
    return _result(
        home, "verdicts", day, written, _verdict_metadata(home, day, decided, shots_of_day), check_results=results
    )


def _verdict_metadata(
    home: Home, day: str, decided: day_report.Day, shots_of_day: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    against = decided.against
    shown = {
        "verdicts_by_check": day_report.verdict_table(decided),
        "histograms": day_report.distributions(home.lake.rows("signals", day), decided.policy),
        **day_report.narrow_sheets(home, decided, shots_of_day),
        "refused": day_report.refused_table(decided),
    }
    counts = {
        "policy": decided.policy.name,
        "clips_good": sum(not failed for failed in against.values()),
        "clips_refused": sum(any(row["verdict"] != NOT_MEASURED for row in failed) for failed in against.values()),
        "clips_not_measured": sum(any(row["verdict"] == NOT_MEASURED for row in failed) for failed in against.values()),
    }
    return counts | {title: dg.MetadataValue.md(text) for title, text in shown.items()}


@dg.asset(
    deps=[signals, "consent_ledger"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="2",
    metadata=definition_metadata("duplicates", "near_pairs"),
)
def duplicates(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Which clips of all days show the same footage, and which is the original: the earliest verified owner's.

    Equal decoded frames are exact duplicates; hashes of frames find what was coded again, resized, cropped, turned,
    trimmed, played at another speed, letterboxed or marked with a logo. Only what is new is compared with everything.
    Who is verified comes from the ledger and from the reviews that the refresh before this one counted.
    """
    resolved = resolve(home)
    written = home.lake.write("duplicates", resolved.rows)
    kinds = Counter(row["kind"] for row in resolved.rows)
    context.log.info(f"{len(resolved.rows)} clips: {dict(kinds)}; {resolved.compared} pairs compared in full")
    refused = [
        {key: str(row[key])[:16] for key in ("clip_id", "item_id", "dup_group", "original_item_id", "kind", "distance")}
        for row in resolved.rows
        if row["verdict"] == "fail"
    ]
    extra = {
        "kinds": dict(kinds),
        "near_pairs": len(resolved.pairs),
        "pairs_compared": resolved.compared,
        "clips_in_crowds_not_searched_to_the_end": resolved.unfinished,
        "duplicates": dg.MetadataValue.md(markdown_table(refused[:SHOWN])),
    }
    return _result(home, "duplicates", None, written, extra)


@dg.asset(
    partitions_def=received_days,
    deps=[signals, verdicts, visual_captions, "deliveries"],
    kinds={"python", "parquet"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("captions"),
)
def captions(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Short and long captions of every clip, from declared facts that no check contradicts and measured signals.

    There are several phrasings of each, so that a model does not learn one template. Each clause names its
    source. What a captioner saw stands beside them, and is refused where it contradicts what is declared. Clips that
    stand withdrawn are left out, and so have no embedding either.
    """
    day, held = context.partition_key, withheld(home.database_url)
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
    measured = by_clip(home.lake.rows("signals", day))
    decided: dict[Key, dict[str, str]] = defaultdict(dict)
    for row in home.lake.rows("verdicts", day):
        decided[row["item_id"], row["shot_index"]][row["check"]] = row["verdict"]
    least = policy_of(home).check("subject").low or 0.0
    visual = rows_by_clip(home.lake.rows("visual_captions", day))
    rows, shots = [], home.lake.rows("shots", day)
    for shot in (row for row in shots if row["clip_id"] not in held):
        key = (shot["item_id"], shot["shot_index"])
        facts = Facts(shot, items[shot["item_id"]], measured.get(key), decided[key])
        rows += [*caption_rows(facts), *visual_caption_rows(facts, visual[key], least)]
    written = home.lake.write("captions", rows, day)
    longest = [
        {"caption": row["text"], "sources": len(json.loads(row["sources_json"]))}
        for row in rows
        if row["kind"] == "long"
    ][:12]
    extra = {
        "captions": len(rows),
        "refused": sum(bool(row["refused"]) for row in rows),
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
    finish(home, day, run_of(context))  # nothing of the day's intake comes after this
    return _result(home, "embeddings", day, written, {"encoder": rows[0]["model"] if rows else "not needed"})
