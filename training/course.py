"""The course of a run as a Lightning callback: where it starts, what it measures on the way, when it saves and stops.

Consent is read again at each checkpoint, before the checkpoint is written: nothing trained beyond a revocation is kept.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from training import checkpoint as checkpoints
from training.config import TrainConfig
from training.consent.guard import ConsentGuard
from training.module import CodecLearner, Learner
from training.reporting import Reporter

LINES = 20  # progress lines a run


class Course(Callback):
    """Follows one run. `done` is the last finished step, `state` the resumed checkpoint's."""

    def __init__(
        self, config: TrainConfig, report: Reporter, guard: ConsentGuard, result: dict[str, Any], until: int | None
    ) -> None:
        self.config, self.report, self.guard, self.result, self.until = config, report, guard, result, until
        self.folder = Path(config.run_dir) / "checkpoints"
        self.state: dict[str, Any] = {}
        self.done = 0
        self.resumed_from: Path | None = None
        self.interrupted = False
        self.tokens = 0
        self.clock = time.monotonic()

    def resume_or_start(self, learner: Learner) -> None:
        """Load the last whole checkpoint of this snapshot, or begin, and measure the beginning."""
        latest = self._latest() if self.config.resume else None
        if latest is not None:
            self.state = checkpoints.read_state(latest)
            checkpoints.load_weights(latest, learner, self.state)
            self.resumed_from, self.done = latest, self.state["step"]
            self.result["resumed_from_step"] = self.done
            self.report.say(f"{self.config.task}: resumed after step {self.done}")
        else:
            if isinstance(learner, CodecLearner):
                learner.initialise()
            self.state = {"start": learner.heldout()}
            self.report.metrics(0, self.state["start"])
            self.report.say(
                f"{self.config.task}: {_parameters(learner):,} parameters, start {shown(self.state['start'])}"
            )
        self.result["start"] = self.state["start"]
        self.result["parameters"] = _parameters(learner)

    def _latest(self) -> Path | None:
        """The newest checkpoint, unless another snapshot or size made it: then the run starts anew, and says so."""
        found = checkpoints.checkpoints(self.folder)
        if not found:
            return None
        state = checkpoints.read_state(found[-1])
        for name in ("snapshot_root", "size", "seed"):
            if state[name] != getattr(self.config, name):
                self.report.say(f"{self.config.task}: {name} has changed since {found[-1].name}: starting anew")
                return None
        return found[-1]

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        if self.resumed_from is not None:
            checkpoints.load_optimizer(self.resumed_from, trainer.optimizers[0])
        self.clock = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(learner, Learner)
        c, step = self.config, learner.last.step
        self.tokens += learner.last.tokens
        last = step == c.steps
        if step % c.eval_every == 0 and not last:
            self.report.metrics(step, learner.heldout())
        if step % max(1, c.steps // LINES) == 0 or last:
            self._progress(learner, step)
        if step % c.checkpoint_every == 0 or last or step == self.until:
            self.guard.check()
            if trainer.is_global_zero:
                kept = {name: getattr(c, name) for name in ("snapshot_root", "size", "seed")}
                extra = {**kept, "start": self.state["start"]}
                checkpoints.save_checkpoint(self.folder, learner, trainer.optimizers[0], extra)
        if step == self.until and not last:
            self.interrupted = trainer.should_stop = True

    def _progress(self, learner: Learner, step: int) -> None:
        """One line for people, one record for machines: loss, gradient norm, rate and speed since the last."""
        seconds, self.clock = time.monotonic() - self.clock, time.monotonic()
        values = {
            "train/loss": learner.loss,
            "train/grad_norm": learner.norm,
            "train/lr": learner.learning_rate(step),
            "train/tokens_per_s": self.tokens / max(seconds, 1e-9),
        }
        self.tokens = 0
        if learner.device.type == "cuda":
            values["train/memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        self.report.metrics(step, values)
        self.report.say(
            f"{self.config.task}: step {step}/{self.config.steps}, loss {learner.loss:.4f}, "
            f"{values['train/tokens_per_s']:,.0f} tokens/s",
            {"step": step, **values},
        )


def _parameters(learner: Learner) -> int:
    return sum(p.numel() for p in learner.model.parameters())


def shown(values: dict[str, float]) -> str:
    """Metrics on one line."""
    return ", ".join(f"{name.split('/')[-1]} {value:.4g}" for name, value in values.items())
