"""Dagster assets of the model stage: the autoencoder, the latents, and the transformer.

Each is trained in a process of its own. A run that consent does not cover, that diverges or that learns nothing publishes no
weights: its check says why and the asset fails. A model that was trained already is reused, and the metadata says so.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterPipesExecutionError  # has no public name

from assets.dataset import renditions
from assets.dataset.assets import left_out_check
from assets.dataset.sampling_weights import effect
from assets.dataset.sealed import Sealed, SnapshotError, consent_violation, current
from assets.home import Home
from assets.model import config, launch, on_kubernetes, on_ray, published, warm
from assets.model import latents as latent_store
from assets.model.config import Plan, Task
from assets.model.launcher import Group, parse
from assets.model.mirror import PIPES, Mirror
from assets.model.node import Job
from assets.model.outcome import TRAIN_LOSS, MetricsRelay, Outcome, read_outcome
from assets.model.published import heldout_digest
from assets.pages.metadata import picture
from assets.pages.plots import contact_sheet, line_plot, markdown_table
from assets.registry import Registry
from training.config import HELD_OUT
from training.consent.guard import WHOLE

SHOWN = 6  # held-out clips in the picture of reconstructions
LATENT_CHECK = "every_member_has_a_finite_latent"
CONSENT, FINITE, IMPROVED = "consent_held_for_the_planned_run", "loss_finite", "improved_on_the_start"
Yields = Iterator[dg.MaterializeResult | dg.AssetCheckResult]


class TrainingLost(RuntimeError):
    """The machines that trained are gone, or were never there."""


def _checks(asset: str) -> list[dg.AssetCheckSpec]:
    descriptions = {
        CONSENT: "Consent covered every clip before the first step, at each checkpoint, and to the horizon.",
        FINITE: "Every loss is a finite number.",
        IMPROVED: "No worse on held-out clips than its start: the best weights are kept, if need be those of the start.",
    }
    return [
        dg.AssetCheckSpec(name, asset=asset, description=text, blocking=True) for name, text in descriptions.items()
    ]


@dg.asset(
    deps=["training_snapshot", "renditions"],
    check_specs=_checks("video_autoencoder"),
    kinds={"pytorch", "lightning"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def video_autoencoder(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Yields:
    """A causal video autoencoder, trained on the sealed snapshot in a subprocess that checks consent by itself."""
    yield from _train(context, home, "codec")


@dg.asset(
    deps=["renditions", "video_autoencoder"],
    check_specs=[
        dg.AssetCheckSpec(
            LATENT_CHECK,
            asset="latents",
            blocking=True,
            description="None missing, unreadable or not finite. Training goes on without those; without any it does not.",
        )
    ],
    kinds={"pytorch", "safetensors"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def latents(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> dg.MaterializeResult:
    """The members encoded by the autoencoder, and their captions by the text encoder. Kept by the weights' digest."""
    sealed = current(home)
    plan = warm.plan(home, sealed.root)
    codec_dir = published.local_folder(home, plan.model_key, ("codec",))
    prefix = latent_store.prefix(home, codec_dir)
    missing = latent_store.missing(home, sealed, codec_dir)
    work = home.scratch(f"encoding/{prefix.rpartition('/')[2]}")
    for settings in latent_store.encodings(home, sealed, codec_dir, work / "latents"):
        with launch.alone(home):
            execute(context, launch.prepare(home, "training.encode", work, settings))
    unfit = latent_store.unfit(home, codec_dir, sealed.clip_ids)
    return dg.MaterializeResult(
        metadata={
            "clips": len(sealed.clip_ids),
            "encoded_now": len(missing.clip_ids),
            "captions_encoded_now": len(missing.texts),
            "outcome": "encoded" if missing.clip_ids else "nothing new: reused",
            "dagster/uri": home.store.uri(prefix),
        },
        data_version=dg.DataVersion(f"{sealed.root}/{prefix}"),
        check_results=[left_out_check(LATENT_CHECK, unfit, all_of=sealed.clip_ids)],
    )


@dg.asset(
    deps=["training_snapshot", "latents", "video_autoencoder"],
    check_specs=_checks("video_transformer"),
    kinds={"pytorch", "lightning"},
    owners=["team:ml"],
    code_version="1",
    pool="training",
)
def video_transformer(context: dg.AssetExecutionContext, home: dg.ResourceParam[Home]) -> Yields:
    """A latent diffusion transformer with text conditioning, trained on the snapshot's latents under its consent."""
    yield from _train(context, home, "transformer")


def _train(context: dg.AssetExecutionContext, home: Home, task: Task) -> Yields:
    try:
        sealed = current(home)
    except SnapshotError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    if task == "codec":  # the first of the pair decides what both start from
        context.log.info(f"training starts {_decide_start(home, sealed)}")
    plan = warm.plan(home, sealed.root)
    record = published.result(home, plan.model_key, task)
    if violation := consent_violation(home, sealed, published.seen(record) if record else {}):
        yield from _refuse(violation)
    reused = record is not None
    if record is None:
        context.log.info(f"training {task} for model {plan.model_key} on snapshot {sealed.root[:12]}")
        with launch.alone(home):
            record = yield from _run(context, home, plan, sealed, task)
    else:
        context.log.info(f"nothing new: reused the {task} of model {plan.model_key}")
    outcome = Outcome(task, record["result"], record["metrics"])
    if task == "transformer":
        published.publish_pair(home, plan)
    yield dg.MaterializeResult(
        metadata=_metadata(home, plan, sealed, task, record, reused),
        data_version=dg.DataVersion(record["weights_sha256"]),
        check_results=[_held(sealed), *_learned(outcome)],
    )


def _decide_start(home: Home, sealed: Sealed) -> str:
    """Decide what the plan for this snapshot starts from. Returns what and why."""
    cold, setting = config.cold_plan(home, sealed.root), config.parent_setting(home.training)
    try:
        return warm.decide(home, cold, setting, heldout_digest(sealed))
    except config.ConfigError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def _run(
    context: dg.AssetExecutionContext, home: Home, plan: Plan, sealed: Sealed, task: Task
) -> Generator[dg.AssetCheckResult, None, dict[str, Any]]:
    """Train in a subprocess, judge and publish. The generator's value is the published record."""
    registry, started = Registry(home), launch.prepare_fit(home, plan, sealed, task)
    mirror = Mirror(home.store, plan.run_name(task), started.run_dir)
    run_id = registry.start_run(
        plan.model_key, f"{plan.model_key[:8]} on {sealed.root[:8]}", _tags(context, home, plan, sealed)
    )
    registry.log_params(run_id, {f"{task}.{name}": value for name, value in parameters(home, plan, task).items()})
    if task == "codec":
        registry.log_params(run_id, {f"diversity.{name}": value for name, value in effect(home).items()})
        registry.log_snapshot_input(run_id, sealed.manifest)

    def log(step: int, metrics: Mapping[str, float]) -> None:
        registry.log_metrics(run_id, step, {f"{task}/{name}": value for name, value in metrics.items()})

    status = "KILLED"
    try:
        with MetricsRelay(started.run_dir / "metrics.jsonl", log) as relay:
            try:
                job = Job.of(home, plan, task, config.spread(home.training, task))
                _launch(context, home, job, started, mirror)
            except (DagsterPipesExecutionError, TrainingLost) as error:  # how it ended is read from its result
                context.log.warning(f"{error}; see {started.run_dir}")
        if relay.error:
            context.log.warning(f"MLflow did not take every metric at once: {relay.error}")
        outcome = read_outcome(task, started.run_dir)
        if outcome.violation:
            mirror.clear()
        yield from _judge(home, sealed, outcome)
        if saved := warm.saving(home, plan, task, outcome):
            context.log.info(saved.summary)
            log(saved.steps, saved.metrics)
        record = published.publish_task(home, plan, task, started.run_dir, outcome, run_id)
        mirror.clear()
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        registry.end_run(run_id, status)
    return record


def _launch(context: dg.AssetExecutionContext, home: Home, job: Job, started: launch.Launch, mirror: Mirror) -> None:
    """Run the training to its end wherever the home's launcher has its processes.

    Where the store is a bucket, or the processes are elsewhere, checkpoints go to the store while it runs.
    """
    launcher = parse(home.launcher)
    if launcher.elsewhere:
        return _launch_elsewhere(context, home, job, mirror)
    started = replace(started, command=Group(launcher.processes).command(started.command))
    if not home.store.address.remote:
        return execute(context, started)
    if went_on := mirror.fetch():
        context.log.info(f"goes on from {went_on}, which another machine left in the store")
    with mirror.following():
        return execute(context, started)


def _launch_elsewhere(context: dg.AssetExecutionContext, home: Home, job: Job, mirror: Mirror) -> None:
    """Ask a cluster for nodes, follow what they put into the store, and take their result. Raises TrainingLost."""
    launcher, spread = parse(home.launcher), job.spread
    group = Group(processes=int(spread.get("processes", 1)), nodes=int(spread.get("nodes", 1)))
    mirror.forget_result()
    messages = dg.PipesFileMessageReader(str(mirror.run_dir / PIPES))
    injector = dg.PipesEnvContextInjector()
    try:
        with (
            dg.open_pipes_session(context=context, context_injector=injector, message_reader=messages) as session,
            mirror.followed(),
        ):
            job = replace(job, pipes=session.get_bootstrap_env_vars())
            on_ray.run(launcher.address, job, group) if launcher.kind == "ray" else on_kubernetes.run(home, job, group)
    except config.ConfigError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except Exception as error:  # whatever a cluster throws; how the run ended is read from its result
        raise TrainingLost(f"{launcher.kind}: {type(error).__name__}: {error}") from error
    finally:
        mirror.fetch_results(job.task)


def execute(context: dg.AssetExecutionContext, started: launch.Launch) -> None:
    """Run the command to its end as a part of the asset's step. Its metrics and lines reach Dagster through Pipes."""
    dg.PipesSubprocessClient().run(command=started.command, context=context, env=started.env, cwd=str(started.cwd))


def _judge(home: Home, sealed: Sealed, outcome: Outcome) -> Iterator[dg.AssetCheckResult]:
    """Raise dg.Failure, after the failing check, if the run's weights must not be published."""
    if outcome.finished and sealed.root not in outcome.seen:
        yield from _refuse({WHOLE: ["exposure.unknown"]})
    if violation := outcome.violation or consent_violation(home, sealed, outcome.seen):
        yield from _refuse(violation)
    learned = _learned(outcome)
    if not outcome.finished or not all(result.passed for result in learned):
        yield _held(sealed)
        if outcome.records:
            yield from learned
        raise dg.Failure(
            f"no weights are published: {outcome.stopped or outcome.change}",
            allow_retries=not outcome.result,  # a killed process resumes from its checkpoint
        )


def _refuse(violation: dict[str, list[str]]) -> Iterator[dg.AssetCheckResult]:
    """Yield the failing consent check with every clip's reasons, then end the run."""
    reasons = [{"clip": clip_id, "reasons": ", ".join(why)} for clip_id, why in sorted(violation.items())]
    yield dg.AssetCheckResult(
        check_name=CONSENT,
        passed=False,
        description=f"{len(reasons)} clips may not be trained on",
        metadata={"clips": len(reasons), "reasons": dg.MetadataValue.md(markdown_table(reasons))},
    )
    first = reasons[0]
    raise dg.Failure(
        f"consent does not cover this run: {first['clip'][:12]} ({first['reasons']})"
        + (f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""),
        allow_retries=False,
    )


def _held(sealed: Sealed) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=CONSENT, passed=True, metadata={"clips": sealed.manifest["n"], "until": sealed.manifest["until"]}
    )


def _learned(outcome: Outcome) -> list[dg.AssetCheckResult]:
    return [
        dg.AssetCheckResult(
            check_name=FINITE, passed=outcome.finite, metadata={"losses": len(outcome.curve(TRAIN_LOSS))}
        ),
        dg.AssetCheckResult(check_name=IMPROVED, passed=outcome.good_enough, description=outcome.change),
    ]


def parameters(home: Home, plan: Plan, task: Task) -> dict[str, Any]:
    """Everything that was chosen for a task's run, by name: what MLflow shows and compares."""
    chosen = {"preset": config.preset_of(home.training), config.PARENT: config.parent_setting(home.training)}
    started = {"started_from": plan.parent_model or config.NOTHING}
    return chosen | started | config.every_choice(plan.choices(task)) | config.spread(home.training, task)


def _tags(context: dg.AssetExecutionContext, home: Home, plan: Plan, sealed: Sealed) -> dict[str, Any]:
    return {
        "dagster_run_id": context.run.run_id,
        "snapshot_root": sealed.root,
        "repetition_sha256": plan.repetition_sha256 or "evenly",
        "ledger_checkpoint": f"{sealed.manifest['ledger']['size']}:{sealed.manifest['ledger']['root']}",
        "code_version": plan.code_version,
        "parent_model": plan.parent_model,
        "origin_model": published.origin(home, plan.parent_model) if plan.parent_model else plan.model_key,
    }


def _metadata(
    home: Home, plan: Plan, sealed: Sealed, task: Task, record: dict[str, Any], reused: bool
) -> dict[str, Any]:
    outcome, setting = Outcome(task, record["result"], record["metrics"]), config.parent_setting(home.training)
    metadata: dict[str, Any] = {
        "outcome": "nothing new: reused" if reused else "trained",
        "learned": outcome.change,
        "over_fitting": outcome.over_fitting or "none seen",
        "model_key": plan.model_key,
        "snapshot_root": sealed.root,
        "exposure": dg.MetadataValue.json(sorted(outcome.seen)),
        "seconds": float(record["result"].get("seconds", 0.0)),
        "steps": int(record["result"].get("steps", 0)),
        "clips_seen": dg.MetadataValue.json(record["result"].get("clips_seen", {})),
        "parameters": int(record["parameters"]),
        "choices": dg.MetadataValue.json(dict(plan.choices(task))),
        "code_version": plan.code_version,
        "mlflow_run": dg.MetadataValue.url(Registry(home).run_url(record["mlflow_run_id"])),
        "loss_curve": picture(_curves(outcome), "image/png", "losses over steps"),
        "dagster/uri": home.store.uri(f"{published.folder(plan.model_key)}/{task}.safetensors"),
        "parent_model": plan.parent_model or f"none: trained {warm.source(None, plan)}",
        "started_there_because": warm.reason(home, config.cold_plan(home, sealed.root), setting),
        **({"warm_start": saved.summary, **saved.metrics} if (saved := warm.saving(home, plan, task, outcome)) else {}),
    }
    if task == "codec":
        sheet = _reconstruction(home, plan.model_key, sealed.members)
        metadata["reconstruction"] = picture(sheet, alt="originals over reconstructions")
    return metadata


def _curves(outcome: Outcome) -> bytes:
    """A PNG of the training loss and the held-out measure over steps."""
    names = (TRAIN_LOSS, HELD_OUT[outcome.task])
    series = {name: points for name in names if (points := outcome.curve(name))}
    return line_plot(series, title=outcome.change, xlabel="step", log=outcome.task == "codec")


def _reconstruction(home: Home, model_key: str, members: Sequence[Mapping[str, Any]]) -> bytes:
    """A WebP with the middle frames of some held-out clips in the first row and their reconstructions in the second."""
    import torch
    from safetensors.numpy import load

    from training import device
    from training.evaluate.heldout import reconstruct
    from training.model.codec import load_codec

    codec = load_codec(published.local_folder(home, model_key, ("codec",))).to(device.chosen())
    members = [member for member in members if member["split"] == "heldout"][:SHOWN]
    originals, decoded = [], []
    for member in members:
        frames = torch.from_numpy(load(home.store.get(*renditions.keys(home, [member["clip_id"]])))["frames"])
        remade = reconstruct(codec, frames)
        originals.append(frames[len(frames) // 2].numpy())
        decoded.append(remade[len(frames) // 2].numpy())
    captions = ["original"] * len(members) + ["reconstruction"] * len(members)
    return contact_sheet(originals + decoded, captions, len(members))
