"""What Dagster sees of the consent stage: the ledger, the reviews and eligibility, each with its checks."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.consent import eligibility as deciding
from assets.consent import platform, reviewer_agreement
from assets.consent.audit import audit, structure_problems
from assets.consent.disputes import disputes
from assets.consent.ledger import Ledger
from assets.consent.review_queue import review_queue
from assets.consent.withdrawal_log import WithdrawalLog
from assets.home import Home
from assets.pages.metadata import definition_metadata, picture, table_metadata
from assets.pages.plots import markdown_table, outlook_plot
from training.consent.eligibility import PURPOSE


@dg.asset(
    deps=["deliveries"],
    kinds={"sqlalchemy", "parquet"},
    owners=["team:consent"],
    code_version="1",
    metadata=definition_metadata("consent_events", "consent_refusals"),
)
def consent_ledger(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult[Any]:
    """Signed consent events in one order under a Merkle root: those that came with deliveries are offered to it here."""
    intake = platform.take_in(home, datetime.now(UTC))
    events, refusals = platform.export(home)
    context.log.info(f"{intake.admitted} events admitted, {intake.already} known, {intake.refused.total()} refused")
    refused = [{"rule": rule, "events": count} for rule, count in sorted(intake.refused.items())]
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "consent_events",
            extra={
                "ledger_size": intake.checkpoint["size"],
                "ledger_root": intake.checkpoint["root"],
                "checkpoint": dg.MetadataValue.json(intake.checkpoint),
                "admitted_now": intake.admitted,
                "refused_by_rule": dg.MetadataValue.md(markdown_table(refused)),
                "refusals": dg.MetadataValue.md(markdown_table(home.lake.rows("consent_refusals")[:20])),
            },
        ),
        data_version=dg.DataVersion(f"{events[:32]}{refusals[:32]}"),
    )


@dg.asset_check(
    asset=consent_ledger,
    blocking=True,
    description="Every leaf, signature and rule of admission again, and every kept checkpoint.",
)
def ledger_root_recomputes(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    ledger = Ledger(home.database_url)
    return _whole(ledger, list(audit(ledger)))


def _whole(ledger: Ledger, problems: list[str]) -> dg.AssetCheckResult:
    head = ledger.head()
    return dg.AssetCheckResult(
        passed=not problems,
        metadata={"size": head.size, "root": head.root, "problems": dg.MetadataValue.json(problems[:50])},
    )


@dg.asset_check(
    asset=consent_ledger, blocking=True, description="The table's leaves give the root that the ledger's head has."
)
def table_agrees_with_ledger(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    ledger = Ledger(home.database_url)
    exported = [(row["seq"], row["leaf_hash"]) for row in home.lake.rows("consent_events")]
    upto = exported[-1][0] + 1 if exported else 0
    kept = [(event.seq, event.leaf_hash) for event in ledger.events(upto=upto)]
    return dg.AssetCheckResult(passed=exported == kept, metadata={"exported": len(exported), "in_ledger": len(kept)})


@dg.asset_check(
    asset=consent_ledger,  # not blocking: what cannot be acted on holds up nothing else
    description="Withdrawals and disputes act: nothing in the ledger failed at the last look.",
)
def every_event_is_acted_on(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    failing = [{"what": f"{k} {n}", "why": why} for (k, n), why in WithdrawalLog(home.database_url).failing().items()]
    return dg.AssetCheckResult(
        passed=not failing, metadata={"failing": dg.MetadataValue.md(markdown_table(failing[:50]))}
    )


@dg.asset(
    deps=["verdicts", "signals", "duplicates", "deliveries", "media", "consent_ledger"],
    kinds={"sqlalchemy", "parquet"},
    owners=["team:consent"],
    code_version="3",
    metadata=definition_metadata("reviews"),
)
def reviews(home: dg.ResourceParam[Home]) -> dg.MaterializeResult[Any]:
    """What reviewers decided, and which of it still counts; the queue says what is left for them to do."""
    written = home.lake.write("reviews", reviewer_agreement.rows(home))
    rows, queue = home.lake.rows("reviews"), review_queue(home)
    pairs = reviewer_agreement.pairs(rows)
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "reviews",
            extra={
                "queue_length": len(queue),
                "overdue": sum(row["overdue"] for row in queue),
                "queue": dg.MetadataValue.md(markdown_table([_waiting(row) for row in queue[:30]])),
                **reviewer_agreement.agreement(rows),
                "pairs": dg.MetadataValue.md(markdown_table(pairs[:30])),
                "pairs_that_always_agree": sum(bool(pair["note"]) for pair in pairs),
                "do_not_count": dg.MetadataValue.md(markdown_table(reviewer_agreement.void_reviews(rows))),
                "open_disputes": dg.MetadataValue.md(markdown_table(_open_disputes(home))),
            },
        ),
        data_version=dg.DataVersion(written.sha256),
    )


@dg.asset_check(
    asset=reviews,  # not blocking: a review may be given between the table and its check
    description="The table has every review that was kept, as it was kept; none counts that is void or not independent.",
)
def reviews_are_counted_by_the_rule(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    differing = reviewer_agreement.differences(home)
    return dg.AssetCheckResult(passed=not differing, metadata={"differing": dg.MetadataValue.json(differing[:50])})


def _open_disputes(home: Home) -> list[dict[str, Any]]:
    now = datetime.now(UTC)
    return [
        {
            "dispute": dispute.dispute_id,
            "because": dispute.reason,
            "clips": len(dispute.clips),
            "open for": f"{dispute.age_hours(now):.0f} h" + (", overdue" if dispute.overdue(now) else ""),
        }
        for dispute in disputes(home)
        if dispute.outcome is None
    ]


def _waiting(row: dict[str, Any]) -> dict[str, Any]:
    """A clip of the queue in a line."""
    return {
        "clip": row["clip_id"][:16],
        "subject": row["declared"]["subject"],
        "approvals": row["approvals"],
        "waits": f"{row['age_hours']:.0f} h" + (", overdue" if row["overdue"] else ""),
        "asked": ", ".join(row["offered"]) or "nobody: enrol a reviewer who may judge it",
        "because": ", ".join([*row["codes"], *(["appeal"] if row["appealed"] else [])]),
    }


@dg.asset(
    deps=["consent_ledger", "reviews", "duplicates", "verdicts"],
    kinds={"parquet"},
    owners=["team:consent"],
    code_version="2",
    metadata=definition_metadata("eligibility", "eligibility_history"),
)
def eligibility(home: dg.ResourceParam[Home]) -> dg.MaterializeResult[Any]:
    """Which clips may be trained on over the whole horizon, and every reason against the others. Default is no."""
    now = datetime.now(UTC)
    written = deciding.write(home, now)
    rows = home.lake.rows("eligibility")
    deciding.record_counts(home, rows, PURPOSE, now)
    ahead = deciding.outlook(home, PURPOSE, now)
    yes = sum(row["eligible"] for row in rows)
    extra: dict[str, Any] = {
        "eligible": yes,
        "not_eligible": len(rows) - yes,
        "reasons": dg.MetadataValue.md(markdown_table(deciding.reason_table(rows))),
        "ahead": dg.MetadataValue.md(markdown_table(deciding.turning_points(ahead.future))),
    }
    if rows:
        drawn = outlook_plot(
            ahead.past,
            ahead.future,
            deciding.ELIGIBLE,
            "Clips that may be trained on, and what keeps others out",
            "clips",
        )
        extra["plot"] = picture(drawn, "image/png", "eligible clips over time")
    return dg.MaterializeResult(
        metadata=table_metadata(home, "eligibility", extra=extra), data_version=dg.DataVersion(written.sha256)
    )


@dg.asset_check(
    asset=eligibility, blocking=True, description="Every clip is decided, no yes without ground, no no without reason."
)
def default_deny_holds(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    problems = deciding.default_deny_problems(home, datetime.now(UTC))
    return dg.AssetCheckResult(passed=not problems, metadata={"problems": dg.MetadataValue.json(problems[:50])})


@dg.asset_check(
    asset=eligibility,
    blocking=True,
    description="The ledger that was decided on is still the one that was audited: guards, leaves, checkpoints, bodies.",
)
def decided_on_a_whole_ledger(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    ledger = Ledger(home.database_url)
    return _whole(ledger, list(structure_problems(ledger)))
