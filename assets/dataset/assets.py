"""Dagster assets of the dataset stage: the sealed snapshot and its renditions, and their checks."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.consent.sealed_members import manifest_key
from assets.dataset import renditions as rendering
from assets.dataset import sampling_weights
from assets.dataset import sealed as sealing
from assets.dataset.snapshot import UNSHOWN, Built, build
from assets.home import Home
from assets.pages.metadata import definition_metadata, picture, table_metadata
from assets.pages.plots import contact_sheet, markdown_table

MART_CHECK = "mart_agrees_with_the_ledger"
SHOWN_CHECK, RENDITION_CHECK = "every_eligible_clip_can_be_shown", "every_member_has_a_rendition"


@dg.asset(
    deps=["mart_training_eligibility", "captions", "consent_ledger", "clip_classes"],
    check_specs=[
        dg.AssetCheckSpec(
            MART_CHECK,
            asset="training_snapshot",
            description="Nothing that the mart offers is refused by the ledger. A refused clip is left out either way.",
        ),
        dg.AssetCheckSpec(
            SHOWN_CHECK,
            asset="training_snapshot",
            description="The pictures of every eligible clip can be made. A clip that fails is left out with the reason.",
        ),
    ],
    kinds={"parquet"},
    owners=["team:ml"],
    code_version="1",
    metadata=definition_metadata("snapshot_members", "clip_weights", "diversity"),
)
def training_snapshot(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """What may be trained on: every clip that both the mart and the ledger, asked again, allow; split and sealed.

    How often training sees each clip is sealed beside it, so that no subject, place or contributor outweighs the rest.
    """
    try:
        built = build(home, datetime.now(UTC))
    except sealing.SnapshotError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info(f"sealed {built.sealed.manifest['n']} clips under {built.sealed.root}")
    weighed = sampling_weights.weigh(home, built.sealed)
    context.log.info(sampling_weights.held_back(weighed))
    refused = [exclusion for exclusion in built.excluded if exclusion.by == "ledger"]
    unshown = {e.clip_id: e.reasons[0] for e in built.excluded if e.reasons[0].startswith(UNSHOWN)}
    left_out = dg.MetadataValue.md(markdown_table([exclusion.row() for exclusion in built.excluded]))
    return dg.MaterializeResult(
        metadata=table_metadata(
            home,
            "snapshot_members",
            extra=_summary(home, built) | {"left_out": left_out} | _diversity(home, built, weighed),
        ),
        data_version=dg.DataVersion(f"{built.sealed.root}/{weighed.sha256}"),
        check_results=[
            dg.AssetCheckResult(
                check_name=MART_CHECK,
                passed=not refused,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={
                    "refused": len(refused),
                    "clips": dg.MetadataValue.md(markdown_table([r.row() for r in refused])),
                },
            ),
            left_out_check(SHOWN_CHECK, unshown),
        ],
    )


def left_out_check(check: str, why: Mapping[str, str], all_of: Collection[str] = ()) -> dg.AssetCheckResult:
    """A warning that names the clips that the night went on without; an error if those are all."""
    rows = [{"clip": clip_id, "why": reason} for clip_id, reason in sorted(why.items())]
    return dg.AssetCheckResult(
        check_name=check,
        passed=not rows,
        severity=dg.AssetCheckSeverity.ERROR if all_of and len(rows) == len(all_of) else dg.AssetCheckSeverity.WARN,
        description=f"{len(rows)} clips are left out" if rows else None,
        metadata={"left_out": len(rows), "clips": dg.MetadataValue.md(markdown_table(rows[:50]))},
    )


def _summary(home: Home, built: Built) -> dict[str, Any]:
    manifest = built.sealed.manifest
    sides = Counter(member["split"] for member in manifest["members"])
    return {
        "snapshot_root": built.sealed.root,
        "manifest": home.store.uri(manifest_key(built.sealed.root)),
        "train": sides["train"],
        "heldout": sides["heldout"],
        "contributors": len({member["contributor_id"] for member in manifest["members"]}),
        "ledger": f"{manifest['ledger']['size']} events, root {manifest['ledger']['root']}",
        "consent_until": manifest["until"],
        "decoded_now": built.rendered,
        "outcome": "sealed" if built.new else "nothing new: the same members as before",
    }


def _diversity(home: Home, built: Built, weighed: sampling_weights.Weighed) -> dict[str, Any]:
    """How uneven the training clips are, and how weights correct it."""
    return {
        "how_often_clips_are_seen": sampling_weights.held_back(weighed),
        "diversity": dg.MetadataValue.md(sampling_weights.effect_table(weighed)),
        "shares_as_they_are_and_as_seen": picture(
            sampling_weights.effect_plot(weighed), "image/png", "shares of the clips and of what training sees"
        ),
        "repetition_sha256": weighed.sha256,
    }


@dg.asset_check(asset=training_snapshot, blocking=True, description="Every member, asked of the ledger at this moment.")
def contains_eligible_clips_only(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    violation = sealing.consent_violation(home, sealing.current(home))
    rows = [{"clip": clip_id, "reasons": ", ".join(why)} for clip_id, why in sorted(violation.items())]
    return dg.AssetCheckResult(
        passed=not violation,
        metadata={"not_eligible": len(rows), "clips": dg.MetadataValue.md(markdown_table(rows))},
    )


@dg.asset_check(asset=training_snapshot, blocking=True, description="The Merkle root, recomputed from the members.")
def members_root_recomputes(home: dg.ResourceParam[Home]) -> dg.AssetCheckResult:
    defects = sealing.defects(home, sealing.current(home))
    return dg.AssetCheckResult(passed=not defects, metadata={"defects": dg.MetadataValue.json(defects)})


@dg.asset(
    deps=["training_snapshot", "media"],
    check_specs=[
        dg.AssetCheckSpec(
            RENDITION_CHECK,
            asset="renditions",
            description="No member lost its pictures since it was sealed. The next snapshot leaves out what cannot be made.",
        )
    ],
    kinds={"safetensors"},
    owners=["team:ml"],
    code_version="1",
)
def renditions(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The members as the model sees them, made once for a clip: for nano 17 frames at 8 a second of about 64 pixels a side.

    Of sizes from S upwards it is the squares that the autoencoder trains on; their latents are made straight from the files.
    """
    policy = rendering.rung(home).pictures
    members = sealing.current(home).members
    rendered = rendering.render_all(home, members)
    context.log.info(f"decoded {rendered.made} clips, {len(rendered.keys) - rendered.made} were there")
    shown = [member for member in members if member["clip_id"] not in rendered.failed][:24]
    frames = [rendering.middle_frame(home, member["clip_id"]) for member in shown]
    sheet = contact_sheet(frames, [f"{member['split']} {member['clip_id'][:8]}" for member in shown])
    return dg.MaterializeResult(
        metadata={
            "clips": len(rendered.keys),
            "decoded_now": rendered.made,
            "version": policy.name,
            "dagster/uri": home.store.uri(f"frames/{policy.name}"),
            "contact_sheet": picture(sheet, alt="members of the snapshot"),
        },
        check_results=[left_out_check(RENDITION_CHECK, rendered.failed)],
    )
