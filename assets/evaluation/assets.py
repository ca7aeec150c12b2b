"""Dagster assets of the evaluation stage: samples, scorecard, registered version and the gate to champion."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.consent.standing import standing_violations
from assets.evaluation import commitments, comparison, measuring, promotion, report, tracking
from assets.evaluation.decisions import Decision, as_rows
from assets.home import Home
from assets.model import published
from assets.model.assets import execute
from assets.model.launch import alone
from assets.model.published import COPIES, CurrentModel, NoModel, Scorecard, current_model, exposure_of
from assets.pages.metadata import definition_metadata, picture, table_metadata
from assets.pages.plots import markdown_table
from assets.registry import CANDIDATE, CHAMPION, Registry, Version
from assets.serving import serve

COMPARED = "compared"  # the tag with the verdict after which a version was shown beside the champion
NO_COPIES, CONSENT, SERVES = "no_memorised_clip", "consent_valid_at_the_head", promotion.CHECK


def _current(home: Home) -> CurrentModel:
    try:
        return current_model(home)
    except NoModel as error:
        raise dg.Failure(str(error), allow_retries=False) from error


@dg.asset(
    deps=["video_transformer"],
    kinds={"pytorch", "parquet"},
    owners=["team:ml"],
    code_version="1",
    metadata=definition_metadata("samples"),
    pool="training",
)
def samples(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Videos that the newest model makes of held-out captions and of simulated scenes; the same every night."""
    model = _current(home)
    prompts = measuring.prompts(model.sealed)
    stored = {row["sample_id"] for row in model.samples(home) if home.store.exists(row["media_key"])}
    if reused := stored == {prompt.sample_id for prompt in prompts}:
        context.log.info("nothing new: these samples of this model exist")
    else:
        with alone(home):
            started = measuring.prepare_samples(home, model.model_key, prompts)
            execute(context, started)
        rows = measuring.keep_samples(home, model.model_key, prompts, started.run_dir / "videos")
        home.lake.write("samples", rows)
    videos = report.load_videos(home, model)
    real = [video for video in videos if video.truth_is == report.HELD_OUT]
    rendered = [video for video in videos if video.truth_is != report.HELD_OUT]
    extra = {
        "outcome": "nothing new: reused" if reused else "generated",
        "model_key": model.model_key,
        "beside_real_clips": dg.MetadataValue.md(report.moving(real)),
        "beside_rendered_scenes": dg.MetadataValue.md(report.moving(rendered)),
        "grid": picture(report.grid(videos), alt="first, middle and last frames, generated and real"),
    }
    return dg.MaterializeResult(metadata=table_metadata(home, "samples", extra=extra))


@dg.asset(
    deps=["samples", "video_transformer", "training_snapshot"],
    check_specs=[
        dg.AssetCheckSpec(
            NO_COPIES,
            asset="scorecard",
            blocking=True,
            description="No sample repeats a training clip. What was not measured does not pass.",
        )
    ],
    kinds={"pytorch", "parquet"},
    owners=["team:ml"],
    code_version="1",
    metadata=definition_metadata("scorecard"),
    pool="training",
)
def scorecard(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """Measured quality of the newest model, each number with its slice, interval, sample count and method."""
    model = _current(home)
    card = published.stored_scorecard(home, model.model_key, published.heldout_digest(model.sealed))
    if reused := card is not None and bool(card.values):
        context.log.info("nothing new: this model was measured on these clips")
    else:
        with alone(home):
            started = measuring.prepare_scorecard(home, model.model_key, model.sealed, model.samples(home))
            execute(context, started)
        card = measuring.read_scorecard(home, model.model_key, model.sealed, started.run_dir)
        published.store_scorecard(home, card)
    assert card is not None
    home.lake.write("scorecard", card.rows)
    extra = {
        "outcome": "nothing new: reused" if reused else "measured",
        "model_key": model.model_key,
        "heldout": card.heldout,
        "scores": dg.MetadataValue.md(report.scores_page(card.rows)),
        "all_scores": dg.MetadataValue.md(report.all_scores(card.rows)),
    }
    return dg.MaterializeResult(
        metadata=table_metadata(home, "scorecard", extra=extra), check_results=[_no_copies(card)]
    )


def _no_copies(card: Scorecard) -> dg.AssetCheckResult:
    copies = card.value(COPIES)
    why = "not measured" if copies is None else f"{copies:.0f} samples repeat a training clip"
    return dg.AssetCheckResult(check_name=NO_COPIES, passed=copies is not None and copies == 0, description=why)


Yields = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


@dg.asset(
    deps=["scorecard"],
    check_specs=[
        dg.AssetCheckSpec(
            CONSENT,
            asset="registered_model",
            blocking=True,
            description="Every clip that the model's weights ever saw is still allowed at the head of the ledger.",
        )
    ],
    kinds={"mlflow"},
    owners=["team:ml"],
    code_version="1",
)
def registered_model(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Yields:
    """The newest model as a version in MLflow, with its origin as tags, its samples and scores in its run: candidate."""
    model = _current(home)
    seen = {model.sealed.root, *(model.record.get("exposure") or ())}
    violations = standing_violations(home, *sorted(seen))
    held = _consent(violations)
    if violations:
        yield held
        raise dg.Failure(f"not registered: consent does not hold for {violations[0]}", allow_retries=False)
    registry = Registry(home)
    commitment = _committed(home, model)
    registry.log_params(model.run_id, tracking.parameters(home, model))  # first: the version's page repeats them
    version = serve.register(registry, model.run_id, model.folder(home), _tags(context, model) | commitment.tags)
    if registry.alias(CANDIDATE) != version:
        tracking.log_model(home, registry, model, version)  # first: the alias means that the run is complete
        registry.set_alias(CANDIDATE, version)
    yield dg.MaterializeResult(
        metadata={
            "version": version,
            "model_key": model.model_key,
            "mlflow_version": dg.MetadataValue.url(registry.version_url(version)),
            "mlflow_run": dg.MetadataValue.url(registry.run_url(model.run_id)),
            "commitment": home.store.uri(commitments.key(model.model_key)),
            "tags": dg.MetadataValue.json(dict(registry.version(version).tags)),
        },
        data_version=dg.DataVersion(model.model_key),
        check_results=[held],
    )


def _committed(home: Home, model: CurrentModel) -> commitments.Commitment:
    try:
        return commitments.commit(home, model)
    except commitments.CommitmentError as error:
        raise dg.Failure(f"not registered: {error}", allow_retries=False) from error


def _tags(context: dg.AssetExecutionContext, model: CurrentModel) -> dict[str, Any]:
    return {
        "model_key": model.model_key,
        "snapshot_root": model.sealed.root,
        "ledger_checkpoint": model.ledger_checkpoint,
        "code_version": model.record["code_version"],
        "dagster_run_id": context.run.run_id,
        "parent_model": model.record.get("parent_model"),
        "origin_model": model.record.get("origin"),
        **{f"base_{name}": value for name, value in model.pretrained.items()},
    }


@dg.asset(
    deps=["registered_model", "scorecard"],
    check_specs=[
        dg.AssetCheckSpec(
            CONSENT,
            asset="champion",
            blocking=True,
            description="Whatever is champion now rests on consent that stands at the head of the ledger.",
        ),
        dg.AssetCheckSpec(
            SERVES,
            asset="champion",
            description="Some version is champion and may be, and, if nights are watched, the last night that ended well is "
            "less than 26 hours ago. Without a champion, prompts go unanswered and nothing is released.",
        ),
    ],
    kinds={"mlflow"},
    owners=["team:ml"],
    code_version="1",
)
def champion(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The version that serves: the candidate, if it passes the gate against the version that serves today."""
    model, registry = _current(home), Registry(home)
    by = f"run {context.run.run_id}"
    before = promotion.reconcile_champion(home, by)
    candidate, number = model.registered(registry), registry.alias(CHAMPION)
    rival = registry.version(number) if number else None
    decision = promotion.decide_and_move(home, candidate, _rescored(context, home, registry, model), by)
    shown = _compare(context, home, registry.version(candidate), rival)
    serving = registry.alias(CHAMPION)
    seen = exposure_of(home, registry.version(serving)) if serving is not None else []
    context.log.info(f"version {candidate}: {decision.summary}; champion is {serving or 'none'}")
    return dg.MaterializeResult(
        metadata={
            "candidate": candidate,
            "champion": serving or "none",
            "outcome": _became(registry, model, candidate, serving),
            "decision": decision.summary,
            "before": before,
            "rules": dg.MetadataValue.md(markdown_table(as_rows(decision.reasons))),
            "comparison": shown,
            "mlflow_version": dg.MetadataValue.url(registry.version_url(serving or candidate)),
        },
        data_version=dg.DataVersion(serving or "none"),
        check_results=[_consent(standing_violations(home, *seen)), _serves(home, candidate, decision)],
    )


def _compare(context: dg.AssetExecutionContext, home: Home, candidate: Version, rival: Version | None) -> str:
    """Put the candidate beside the champion that it was judged against, into its run, once for each verdict.

    Returns where, or why not: a page that cannot be made stops no promotion.
    """
    verdict = candidate.tags.get(promotion.VERDICT, "none")
    if rival == candidate or candidate.tags.get(COMPARED) == verdict:
        return "nothing new"
    registry = Registry(home)
    try:
        compared = comparison.Comparison.of(home, candidate, rival)
        compared.fill(lambda started: execute(context, started))
        comparison.log_page(registry, compared)
    except Exception as error:
        context.log.warning(f"version {candidate.number} is not shown beside the champion: {error!r}")
        return f"not written: {error}"
    registry.tag(candidate.number, COMPARED, verdict)
    return f"{comparison.PAGE} in the run of version {candidate.number}"


def _serves(home: Home, candidate: str, decision: Decision) -> dg.AssetCheckResult:
    """A warning only: the night did its work, and the gate may be right to refuse. But somebody has to know."""
    status = promotion.standing_of(home, datetime.now(UTC))
    refused = (
        f": the gate refused version {candidate} ({decision.summary})" if promotion.NOTHING in status.wrong else ""
    )
    return dg.AssetCheckResult(
        check_name=SERVES,
        passed=not status.wrong,
        severity=dg.AssetCheckSeverity.ERROR if status.serious else dg.AssetCheckSeverity.WARN,
        description=f"{status}{refused}",
    )


def _consent(violations: list[str]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=CONSENT, passed=not violations, metadata={"not_allowed": dg.MetadataValue.json(violations)}
    )


def _became(registry: Registry, model: CurrentModel, candidate: str, serving: str | None) -> str:
    """How the night ended, for people: which version serves, and whether training improved on its start."""
    if serving == candidate:
        return f"version {candidate} is the champion"
    stays = "there is no champion" if serving is None else f"version {serving} stays champion"
    if not published.unchanged(model.record):
        return f"version {candidate} was refused: {stays}"
    parent = model.record.get("parent_model")
    if serving is not None and registry.version(serving).model_key == parent:
        return f"no improvement: the champion stays (version {serving})"
    return f"no improvement on {parent or 'the start'}, whose weights version {candidate} has: {stays}"


def _rescored(
    context: dg.AssetExecutionContext, home: Home, registry: Registry, model: CurrentModel
) -> Scorecard | None:
    """The champion's scorecard on the candidate's held-out clips and trials, measured now if it was not yet.

    None if there is no other champion. A card from other trials or by another method is measured anew.
    """
    serving = registry.alias(CHAMPION)
    rival = registry.version(serving).model_key if serving else None
    if rival is None or rival == model.model_key:
        return None
    heldout = published.heldout_digest(model.sealed)
    own, card = (published.stored_scorecard(home, key, heldout) for key in (model.model_key, rival))
    if card and own and own.comparable(card):
        return card
    context.log.info(f"measuring the champion, version {serving}, on the candidate's held-out clips")
    with alone(home):
        for started in measuring.rescoring(home, rival, model.sealed):
            execute(context, started)
    card = measuring.read_scorecard(home, rival, model.sealed, started.run_dir)
    published.store_scorecard(home, card)
    return card
