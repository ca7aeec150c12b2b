"""What Dagster sees of ingestion: `deliveries` (what was declared) and `media` (what the files really are)."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import dagster as dg

from assets.decode.probe_pool import ProbePool
from assets.home import Home
from assets.ingestion.deliveries import Day, read_day
from assets.ingestion.inbox import list_deliveries
from assets.ingestion.intake import Intake, TakenIn, digest_of, lost, take_in, workroom
from assets.ingestion.origin import MarkReader, trusted_devices
from assets.ingestion.progress import OURS, Recount, begin, recount
from assets.marks.c2pa import type_name
from assets.pages.metadata import check_specs, definition_metadata, picture, run_of, table_metadata, warning
from assets.pages.plots import contact_sheet, decoded, markdown_table
from assets.partitions import received_days
from assets.reasons import TEMPORARY, advice_on, code_of, printable
from assets.signals.files import beside_probe

REFUSALS_SHOWN = 100


@dg.asset(
    deps=["footage_requests"],
    partitions_def=received_days,
    kinds={"python", "parquet", "json"},
    owners=["team:data"],
    code_version="1",
    metadata=definition_metadata("deliveries", "delivery_items", "consent_submissions"),
    check_specs=check_specs(
        "deliveries",
        blocking={"manifest_schema", "nothing_lost"},
        manifest_schema="Every delivery folder of the day has a verdict on its manifest: accepted, or all its errors.",
        manifests_valid="No manifest of the day was refused (a warning).",
        requests_known="Every delivery answers a known request, or none (a warning: good footage goes to the catalogue).",
        nothing_lost="Received = accepted + quarantined: the inbox, counted again, agrees with the tables.",
    ),
)
def deliveries(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Delivery manifests as received on a day: every folder, every file, every consent event that came with them.

    A broken delivery is quarantined with all its reasons and never stops the others.
    """
    day = context.partition_key
    begin(home, day, run_of(context))
    folders = [folder for _, folder in list_deliveries(home.store, day)]
    day_read = read_day(home.store, home.lake, day)
    rows = [delivery.row for delivery in day_read.deliveries]
    items = [item.row for item in day_read.items]
    consents = [consent for delivery in day_read.deliveries for consent in delivery.consents]
    written = [
        home.lake.write("deliveries", rows, day),
        home.lake.write("delivery_items", items, day),
        home.lake.write("consent_submissions", consents, day),
    ]
    extra = {
        "deliveries": len(rows),
        "files_declared": sum(row["items_declared"] for row in rows),
        "files_accepted": sum(item["state"] == "accepted" for item in items),
        "files_quarantined": sum(item["state"] != "accepted" for item in items),
        "consent_events": len(consents),
        "requests_answered": dg.MetadataValue.md(markdown_table(_answered(home, items))),
        "quarantined": dg.MetadataValue.md(_refusals(items)),
        "unfinished_folders": dg.MetadataValue.md(
            ", ".join(f"`{printable(n)}`" for n in day_read.unfinished) or "*none*"
        ),
    }
    return dg.MaterializeResult(
        metadata=table_metadata(home, "deliveries", day, extra),
        data_version=dg.DataVersion(digest_of(*(table.sha256 for table in written))),
        check_results=[
            _manifest_schema(home, day, folders),
            _manifests_valid(day_read),
            _requests_known(home, rows),
            _nothing_lost("deliveries", recount(home, day, home.lake.rows("delivery_items", day))),
        ],
    )


@dg.asset(
    partitions_def=received_days,
    deps=[deliveries],
    kinds={"python", "parquet", "ffmpeg"},
    owners=["team:data"],
    code_version="3",
    metadata=definition_metadata("media"),
    check_specs=check_specs(
        "media",
        blocking={"nothing_lost"},
        nothing_lost="Every received file is accepted or quarantined, and its bytes are where its row says.",
        all_taken_in="Every file could be read, stored and decoded to an end (a warning: the next look at the inbox, or"
        " the next version of the decoder, tries the others again).",
    ),
)
def media(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What the files of a day really are: each decoded in full, in a bounded process, and kept by its content.

    The same decode feeds what curation measures, which is remembered for `shots` and `signals`: they open no file again.
    A corrupt, hostile or over-declared file becomes a row with its reasons; content that was seen before is not
    decoded again.
    """
    day = context.partition_key
    items = sorted(home.lake.rows("delivery_items", day), key=lambda row: (row["delivery_id"], row["position"]))
    entries = {item.row["item_id"]: item.entry for item in read_day(home.store, home.lake, day).items}
    with ProbePool(anchors=trusted_devices(home), beside=beside_probe(home)) as pool:
        marks = MarkReader.of(home)
        scratch = workroom(home.scratch("intake"), day)
        taken = take_in(Intake(home.store, pool, scratch, marks), items, entries, context.log.info)
        context.log.info(f"{len(taken)} files taken in; {pool.probed} decoded, the others were known")
    written = home.lake.write("media", [file.row for file in taken], day)
    return dg.MaterializeResult(
        metadata=table_metadata(home, "media", day, _media_metadata(items, taken, pool.probed)),
        data_version=dg.DataVersion(written.sha256),
        check_results=[_media_check(home, day), _all_taken_in(items, taken)],
    )


def _manifest_schema(home: Home, day: str, folders: list[str]) -> dg.AssetCheckResult:
    """Fails only where a folder was there before and has no verdict now."""
    rows = home.lake.rows("deliveries", day)
    judged = {row["folder"] for row in rows if row["state"] == "accepted" or row["reasons"]}
    missing = [name for name in map(printable, folders) if name not in judged]
    return dg.AssetCheckResult(
        check_name="manifest_schema",
        passed=not missing,
        metadata={
            "manifests": len(rows),
            "accepted": sum(row["state"] == "accepted" for row in rows),
            "quarantined": sum(row["state"] != "accepted" for row in rows),
            "without_verdict": missing,
        },
    )


def _manifests_valid(day_read: Day) -> dg.AssetCheckResult:
    refused = [d.row for d in day_read.deliveries if d.row["state"] != "accepted"]
    doubted = [d for d in day_read.deliveries if d.received_claim]
    table = [{"folder": row["folder"], "reasons": "; ".join(row["reasons"])} for row in refused]
    table += [
        {"folder": d.row["folder"], "reasons": f"received_at {d.received_claim} is not on the day of its folder"}
        for d in doubted
    ]
    return warning("manifests_valid", table, "findings", refused=len(refused), doubtful_arrival_times=len(doubted))


def _answered(home: Home, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that the day's files answer, with how many."""
    titles = {row["request_id"]: row["title"] for row in home.lake.rows("requests")}
    counts = Counter(item["request_id"] for item in items if item["request_id"])
    return [{"request": key, "asked for": titles.get(key, "unknown"), "files": counts[key]} for key in sorted(counts)]


def _requests_known(home: Home, rows: list[dict[str, Any]]) -> dg.AssetCheckResult:
    requests = {row["request_id"] for row in home.lake.rows("requests")}
    unknown = {
        row["delivery_id"]: row["request_id"] for row in rows if row["request_id"] and row["request_id"] not in requests
    }
    return dg.AssetCheckResult(
        check_name="requests_known",
        asset_key="deliveries",
        passed=not unknown,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"unknown_requests": dg.MetadataValue.json(unknown)},
    )


def _nothing_lost(asset: str, count: Recount, **more: list[str]) -> dg.AssetCheckResult:
    """`more` are further lists of what is missing, each of which must be empty."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name="nothing_lost",
        passed=count.balanced and not any(more.values()),
        metadata={
            "received": count.received,
            "accepted": count.accepted,
            "quarantined": count.quarantined,
            "consent_files": count.consent_files,
            "differences": count.differences,
            **more,
        },
    )


def _media_check(home: Home, day: str) -> dg.AssetCheckResult:
    """The table against the inbox, against the items it must cover, and against the store."""
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
    rows = home.lake.rows("media", day)
    judged = [items[row["item_id"]] | {"state": row["state"]} for row in rows if row["item_id"] in items]
    return _nothing_lost(
        "media",
        recount(home, day, judged),
        items_without_row=sorted(set(items) - {row["item_id"] for row in rows}),
        rows_without_item=sorted({row["item_id"] for row in rows} - set(items)),
        rows_without_bytes=lost(home.store, rows),
    )


def _all_taken_in(items: list[dict[str, Any]], taken: list[TakenIn]) -> dg.AssetCheckResult:
    names = {item["item_id"]: item["file_name"] for item in items}
    wrong = [
        {"file": f"`{names[file.row['item_id']]}`", "why": reason}
        for file in taken
        for reason in file.row["reasons"]
        if code_of(reason) in TEMPORARY | OURS
    ]
    return warning("all_taken_in", wrong, files=len(wrong))


def _media_metadata(items: list[dict[str, Any]], taken: list[TakenIn], decoded: int) -> dict[str, Any]:
    names = {item["item_id"]: item["file_name"] for item in items}
    accepted = [file for file in taken if file.row["state"] == "accepted"]
    refused = [file for file in taken if file.row["state"] != "accepted"]
    metadata: dict[str, Any] = {
        "files_accepted": len(accepted),
        "files_quarantined": len(refused),
        "files_decoded_now": decoded,
        "seconds_of_footage": round(sum(file.row["duration_s"] or 0.0 for file in accepted), 2),
        "refused_for": dg.MetadataValue.md(_counted(reason for file in refused for reason in file.row["reasons"])),
        "noted": dg.MetadataValue.md(_counted(note for file in accepted for note in file.row["notes"])),
        "origin": dg.MetadataValue.md(_origins(accepted)),
        "quarantined": dg.MetadataValue.md(
            _refusals([file.row | {"file_name": names[file.row["item_id"]]} for file in refused])
        ),
    }
    for title, files in (("accepted_pictures", accepted), ("refused_pictures", refused)):
        if image := sheet([(names[file.row["item_id"]], file.thumbnails) for file in files]):
            metadata[title] = picture(image, alt=title.replace("_", " "))
    return metadata


def _counted(reasons: Iterable[str]) -> str:
    """How many files each code was said of, and what it means, as Markdown."""
    counts: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for reason in reasons:
        counts[code_of(reason)] += 1
        examples.setdefault(code_of(reason), reason)
    return markdown_table(
        [
            {"code": f"`{code}`", "files": count, "what it means": advice_on(examples[code])}
            for code, count in counts.most_common()
        ]
    )


def _origins(accepted: list[TakenIn]) -> str:
    """What the day's accepted files say of where they come from, as Markdown."""
    counts = Counter((file.row["c2pa_state"], type_name(file.row["c2pa_source_type"] or "")) for file in accepted)
    return markdown_table(
        [
            {"signed provenance": state or "not read", "source type": kind or "none", "files": count}
            for (state, kind), count in counts.most_common()
        ]
    )


def _refusals(rows: list[dict[str, Any]]) -> str:
    """Quarantined files with all their reasons, the last ones of the day first, as Markdown."""
    refused = [
        {"file": f"`{row['file_name']}`", "reasons": "; ".join(row["reasons"])}
        for row in reversed(rows)
        if row["state"] != "accepted"
    ]
    more = len(refused) - REFUSALS_SHOWN
    rest = f"\n\n*and {more} more, in the table*" if more > 0 else ""
    return markdown_table(refused[:REFUSALS_SHOWN]) + rest


MAX_PICTURES = 36


def sheet(files: list[tuple[str, tuple[str, ...]]]) -> bytes | None:
    """A WebP sheet of `files`, each (name, base64 thumbnails); None where no file has a picture."""
    shown = [(name, picture) for name, pictures in files for picture in pictures][:MAX_PICTURES]
    if not shown:
        return None
    return contact_sheet([decoded(data) for _, data in shown], [name for name, _ in shown])
