"""`python -m training.fit --config run.json`: one training run, from a sealed snapshot to published weights.

What is published are the averaged weights of the step that measured best on held-out clips, which may be the run's start.
The same command runs under `torchrun`, each process with the whole model or, as the configuration's `strategy` says, with
a shard of it. The run holds itself to consent: before its first step it recomputes the root of every snapshot that its
weights ever saw and asks the ledger about every clip, and again at each checkpoint. Killed at any moment, the same command
resumes from the last whole checkpoint, bit for bit on the CPU. A run that consent stops leaves no weights to use: its
folder is marked `tainted`.

Exit codes: 0 done, 1 the configuration or the data do not fit, 3 consent does not hold, 4 diverged. `result.json`
says why. In `run_dir`: metrics.jsonl, result.json, checkpoints/, and the weights with their description.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy

from training import device, process
from training.config import TrainConfig, read_config
from training.consent.guard import ConsentGuard, ConsentViolation, Guard, RenderedOnly
from training.data.clips import DataError
from training.data.packing import PackingError, plan
from training.data.packing import report as packing_report
from training.data.repeats import RepetitionError
from training.data.steps import Share, ahead
from training.model import exposure
from training.model.config import ConfigError
from training.trainer.callback import RunCallback, shown
from training.trainer.checkpoint import Start, find_start
from training.trainer.learner import Divergence, Learner
from training.trainer.metrics import RunLogger, run_logger
from training.trainer.tasks import Task, open_task

DONE, UNFIT, REFUSED, DIVERGED = 0, 1, 3, 4


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.fit", description="Train the codec or the transformer.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: TrainConfig")
    path = parser.parse_args(arguments).config
    try:
        config = read_config(TrainConfig, path)
    except ConfigError as error:
        print(f"configuration: {error}", file=sys.stderr)
        return UNFIT
    process.keep_freed_memory()
    with run_logger(Path(config.run_dir), int(os.environ.get("RANK", 0))) as logger:
        return fit(config, logger)


def fit(config: TrainConfig, logger: RunLogger, until: int | None = None) -> int:
    """Run or resume, and return the exit code. `until` ends the process early, after a checkpoint at that step."""
    result: dict[str, Any] = {"task": config.task, "snapshot_root": config.snapshot_root, "stopped": None}
    result["warm_start"] = bool(config.parent_dir)
    try:
        start = find_start(config)
        guard = _guard(config, start)
        result |= exposure.fields(guard.exposure) | {"manifest_sha256": guard.manifest_sha256}
        _run_guarded(RunCallback(config, logger, guard, start, until), result)
    except ConsentViolation as error:
        result |= {"stopped": f"consent: {error}", "reasons": {clip: list(why) for clip, why in error.reasons.items()}}
        code = REFUSED
    except Divergence as error:
        result |= {"stopped": f"diverged: {error}", "step": error.step, "clip_ids": error.clip_ids}
        code = DIVERGED
    except (DataError, PackingError, RepetitionError) as error:
        result |= {"stopped": f"data: {error}"}
        code = UNFIT
    except ConfigError as error:
        result |= {"stopped": f"configuration: {error}"}
        code = UNFIT
    else:
        code = DONE
    result["seconds"] = round(logger.seconds, 2)
    logger.result(result)
    if result["stopped"]:
        logger.say(f"{config.task}: stopped, {result['stopped']}")
    return code


def _guard(config: TrainConfig, start: Start) -> Guard:
    """Holds this run's snapshot to the ledger, and every snapshot that the weights it starts from ever saw."""
    if config.rendered_only:
        return RenderedOnly(start.exposure)
    manifests = {ancestor["root"]: ancestor["manifest"] for ancestor in config.ancestors}
    return ConsentGuard(
        config.manifest, config.snapshot_root, config.database_url, seen=start.exposure, ancestors=manifests
    )


def _run_guarded(run: RunCallback, result: dict[str, Any]) -> None:
    """The run as long as consent holds; what it leaves behind is marked when consent is gone."""
    try:
        run.guard.check()
        _run(run, result)
    except ConsentViolation as violation:
        if violation.names_clips and run.logger.rank == 0:
            exposure.mark_tainted(Path(run.config.run_dir), violation, run.guard.exposure)
        raise


def _run(run: RunCallback, result: dict[str, Any]) -> None:
    config, logger, place = run.config, run.logger, device.chosen(run.config.device)
    task = open_task(config, place)
    learner = task.learner
    result["packing"] = packing_report(plan(task.items, config.batch_tokens, config.seed, 0, **config.packing))
    if alone := result["packing"]["over_budget"]:
        logger.say(
            f"{config.task}: {len(alone)} clips exceed a step's budget and get steps of their own, as {alone[0]}"
        )
    run.begin(learner)
    if run.start.checkpoint is not None:
        result["resumed_from_step"] = run.done
    result |= {"start": run.measured, "parameters": learner.parameter_count}
    share = Share(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    if not run.finished and learner.learns:
        with closing(ahead(task.steps(run.start.cursor, run.done + 1, share))) as steps:
            _trainer(run, share.world, place).fit(learner, train_dataloaders=steps)
    if run.interrupted:
        result["stopped"] = f"interrupted after step {run.until}"
        return
    if run.last["step"] != run.done:  # fewer steps are asked for than a checkpoint has, where none was due
        run.measure(learner, run.done)
    run.guard.check()
    result |= {"end": run.best.measured, "best_step": run.best.step, "last": run.last["measured"]}
    result |= {"steps": run.done, "early_stop": learner.learns and not run.complete}
    result["clips_seen"] = _clips_seen(run, task)
    learner.average.gather()
    if logger.rank == 0:
        learner.average.load(run.best.weights, learner.average.updates)
        _publish(learner, Path(config.run_dir), run.guard)
    result["weights"] = str(Path(config.run_dir) / f"{config.task}.safetensors")
    logger.say(f"{config.task}: {_summary(result)} in {logger.seconds:.0f} s", {"end": result["end"]})


def _summary(result: Mapping[str, Any]) -> str:
    """How a run ended, in words: also where it stopped early, and where an earlier step was better than its last."""
    steps, best = result["steps"], result["best_step"]
    early = f" after step {steps}, as nothing improved any more" if result["early_stop"] else ""
    summary = f"done{early}, {shown(result['start'])} -> {shown(result['end'])}"
    return summary if best == steps else f"{summary} at step {best}, the best (step {steps}: {shown(result['last'])}),"


def _publish(learner: Learner, run_dir: Path, guard: Guard) -> None:
    """The averaged weights and their description, each whole or not there."""
    partial = run_dir / f".weights.{os.getpid()}.partial"
    learner.save(partial, guard.exposure)
    for path in sorted(partial.iterdir()):
        os.replace(path, run_dir / path.name)
    partial.rmdir()


def _clips_seen(run: RunCallback, task: Task) -> dict[str, Any]:
    """How often the training clips were seen; clips that the run never reached are counted.

    A run that went on from another snapshot's checkpoint counts that one's epochs too.
    """
    config, last = run.config, task.learner.last
    cursor = last.cursor if last else run.start.cursor
    counts = cursor.seen(task.items, config.batch_tokens, config.seed, **config.packing)
    return {
        "repetition_sha256": config.repetition_sha256,
        "epochs": cursor.epoch,
        "fewest": min(counts.values()),
        "most": max(counts.values()),
        "never": sum(count == 0 for count in counts.values()),
    }


def _trainer(run: RunCallback, world: int, place: torch.device) -> Trainer:
    """Lightning's loop, devices and strategies, with this package's logger and callback."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning", message=r".*(does not have many workers|GPU available).*")
    warnings.filterwarnings("ignore", module="lightning", message=r".*(LeafSpec|in eval mode).*")
    local = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return Trainer(
        accelerator=place.type,
        devices=[place.index] if world == 1 and place.index is not None else local,
        num_nodes=max(1, world // local),
        strategy=_strategy(run.config, world),
        precision="bf16-mixed" if place.type == "cuda" else "32-true",
        max_epochs=1,  # the steps decide: an epoch of the data is not an epoch of this iterable
        callbacks=[run],
        logger=run.logger,
        enable_checkpointing=False,  # see trainer/checkpoint.py
        enable_progress_bar=False,  # see process.Bar
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.config.run_dir,
    )


def _strategy(config: TrainConfig, world: int) -> str | Strategy:
    """How processes share the work, where `torchrun` started several; one alone has nothing to share."""
    if world == 1:
        return "auto"
    if config.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=world, tensor_parallel_size=1)
    return "ddp"


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())
