"""What happens on the way of a run, as a Lightning callback: measuring, consent, checkpoints, and when it ends.

Consent is read again at each checkpoint, before the checkpoint is written: nothing trained beyond a revocation is kept.
The best weights so far are part of the checkpoint and of nothing else, so the same holds for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from safetensors.torch import load_file

from training.config import TrainConfig
from training.consent.guard import ConsentViolation, Guard
from training.model.exposure import CHECKPOINTS
from training.process import Bar
from training.trainer.checkpoint import Best, Start, clear, described, load_optimizer, load_weights, save_checkpoint
from training.trainer.learner import Learner
from training.trainer.metrics import Meter, RunLogger
from training.trainer.weights import anywhere

LINES, POINTS = 20, 400  # progress lines a run, and points of the training curve, where there are as many steps


class RunCallback(Callback):
    """Follows one run from its `start`. `done` is the last finished step; `until` interrupts the run after a step."""

    def __init__(
        self, config: TrainConfig, logger: RunLogger, guard: Guard, start: Start, until: int | None = None
    ) -> None:
        self.config, self.logger, self.guard, self.start, self.until = config, logger, guard, start, until
        self.folder = Path(config.run_dir) / CHECKPOINTS
        self.done = start.done
        self.measured: dict[str, float] = {}  # on held-out clips, where the run began
        self.last: dict[str, Any] = {}  # the latest measurement: its `step`, and what was `measured`
        self.best = Best(config.task)
        self.fresh = start.checkpoint is None  # nothing of this run is saved yet
        self.interrupted = False
        self.losses: list[float] = []  # of the steps since the last point of the training curve

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` measurements in a row have not improved."""
        return 0 < self.config.patience <= self.best.since

    @property
    def complete(self) -> bool:
        """Whether the steps are done, or the minutes used up."""
        return self.done >= self.config.last_step or self.schedule.over

    @property
    def finished(self) -> bool:
        return self.complete or self.out_of_patience

    def begin(self, learner: Learner) -> None:
        """Load what the run starts from, and measure it unless its checkpoint did."""
        start, task = self.start, self.config.task
        self.schedule = learner.schedule
        if start.anew:
            self.logger.say(f"{task}: {start.anew}: starting anew, the checkpoints that are there go")
        if start.checkpoint is not None:
            load_weights(start.checkpoint, learner, start.state)
            self.schedule.load(start.state)
            self.logger.say(f"{task}: resumed after step {self.done}")
        elif start.parent is not None:
            taken = learner.begin_from(load_file(start.parent / f"{task}.safetensors"))
            self.logger.say(f"{task}: starts from the weights in {start.parent.name}: {taken}")
        else:
            learner.initialise()
        if start.checkpoint is not None and start.same_data and "best" in start.state:
            self.measured, self.last = start.state["start"], start.state["last"]
            self.best.load(start.state["best"], start.checkpoint, self.logger.rank == 0)
        else:  # other clips may be held out now, so a best of other data cannot be compared with
            self.measured = self.measure(learner, self.done)
            self.logger.say(f"{task}: {learner.parameter_count:,} parameters, start {shown(self.measured)}")

    def measure(self, learner: Learner, step: int) -> dict[str, float]:
        """Measure the averaged weights on held-out clips, and keep them if they are the best so far."""
        with self.schedule.closing("measuring"):
            values = learner.heldout()
        self.logger.log_metrics(values, step)
        self.last = {"step": step, "measured": values}
        self.best.offer(step, values, learner, self.logger.rank == 0)
        return values

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        if self.start.checkpoint is not None:
            assert isinstance(learner, Learner)
            load_optimizer(self.start.checkpoint, learner, trainer.optimizers[0])
        self.meter = Meter(learner.device, self.config.batch_tokens)
        if self.logger.rank == 0:
            self.logger.bar = Bar(self.config.task, self.config.steps or None, self.done)
        self.schedule.begins()

    def on_train_batch_start(self, *_: Any) -> None:
        self.meter.begins()

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(learner, Learner)
        c, step = self.config, learner.last.step
        self.meter.ends(learner.last.tokens, learner.flops(learner.last))
        if self.logger.bar is not None:
            self.logger.bar(loss=f"{learner.loss:.4f}")
        before = [self.schedule.marks(self.done, parts) for parts in (POINTS, LINES)]
        self.done = step
        self.schedule.ends(learner.device)
        if step % c.eval_every == 0 or self.complete:
            self.measure(learner, step)
        self.losses.append(learner.loss)
        point, line = (
            self.finished or self.schedule.marks(step, parts) > mark
            for parts, mark in zip((POINTS, LINES), before, strict=True)
        )
        if point:
            self._report(learner, step, line)
        if step % c.checkpoint_every == 0 or self.finished or step == self.until:
            self.ask_consent(learner)
            self._save(learner, trainer.optimizers[0])
        self.interrupted = step == self.until and not self.finished
        trainer.should_stop = trainer.should_stop or self.finished or self.interrupted
        self.meter.pause()
        self.schedule.begins()

    def ask_consent(self, learner: Learner) -> None:
        """The guard's check by the first process, for all of them: they stop together or go on together."""
        violation = None
        if self.logger.rank == 0:
            try:
                self.guard.check()
            except ConsentViolation as error:
                violation = error
        if anywhere(violation is not None, learner.device):
            raise violation or ConsentViolation.of_all("consent.stopped", "the first process's result.json says why")

    def _save(self, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
        """A checkpoint. With the first one of a run that began anew, what other runs left in the folder goes."""
        if self.fresh and self.logger.rank == 0:
            clear(self.folder)
        self.fresh = False
        state = {
            **described(self.config, self.start.parent_sha256),
            "manifest_sha256": self.guard.manifest_sha256,
            "start": self.measured,
            "last": self.last,
            **self.schedule.state(),
        }
        with self.schedule.closing("saving"):
            save_checkpoint(self.folder, learner, optimizer, self.guard.exposure, state, self.best)

    def _report(self, learner: Learner, step: int, in_words: bool) -> None:
        """A point of the training curve: the mean loss since the last one. In words, also the meter's figures since then."""
        values = {
            "train/loss": sum(self.losses) / len(self.losses),
            "train/grad_norm": learner.norm,
            "train/lr": learner.learning_rate(step),
            **(self.meter.read() if in_words else {}),
        }
        self.losses = []
        self.logger.log_metrics(values, step)
        if in_words:
            share = f", {values['train/mfu']:.0%} of the machine" if "train/mfu" in values else ""
            of = f"/{self.config.steps}" if self.config.steps else f" ({self.schedule.spent:.0%} of the time)"
            self.logger.say(
                f"{self.config.task}: step {step}{of}, loss {learner.loss:.4f}, "
                f"{values['train/tokens_per_s']:,.0f} tokens/s{share}",
                {"step": step, **values},
            )


def shown(values: Mapping[str, float]) -> str:
    """Metrics on one line."""
    return ", ".join(f"{name.split('/')[-1]} {value:.4g}" for name, value in values.items())
