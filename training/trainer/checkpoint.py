"""Checkpoints: whole folders that appear at once, so that a kill at any moment leaves the last whole one.

    checkpoints/step-00000120/  weights.safetensors  ema.safetensors  best.safetensors  optimizer.pt  state.json

`ema` is the average after that step, `best` the best average until then. Weights are safetensors. Optimiser and random
state are tensors and plain containers, read with `weights_only=True`, so nothing in them can run. Every checkpoint says,
in `state.json` and inside each weight file, what it ever saw. Lightning's ModelCheckpoint is not used: its file is one
pickle, is not asked for consent first, and does not know where in the data a run stands.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.config import HELD_OUT
from training.data.clips import DataError
from training.model.exposure import TAINTED, Exposure, fields, header
from training.trainer.fsdp import first_process, gathered, gathered_state, load_state
from training.trainer.learner import Learner, anywhere

KEEP = 2  # the newest checkpoints that stay
BEST = "best.safetensors"  # in a checkpoint


class Best:
    """The best averaged weights of a run so far, judged on held-out clips: these are published, not the last.

    Held-out loss can rise again while the training loss still falls. `since` counts the measurements in a row that did
    not improve on the best. `weights` are whole, in main memory, and held by the first process alone.
    """

    def __init__(self, task: str) -> None:
        self.name, self.higher = HELD_OUT[task]
        self.step, self.since = 0, 0
        self.measured: dict[str, float] = {}
        self.weights: dict[str, Tensor] = {}

    def offer(self, step: int, measured: dict[str, float], learner: Learner, first: bool) -> None:
        """Keep the averaged weights if they measure better than all before. Every process calls it; the first decides."""
        if self.measured and not anywhere(first and self._beaten_by(measured), learner.device):
            self.since += 1
            return
        self.step, self.measured, self.since = step, measured, 0
        weights = learner.average.weights()  # gathered by all processes
        if first:
            self.weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}

    def _beaten_by(self, measured: dict[str, float]) -> bool:
        """Equal is not better, and what is not a number is never better."""
        value, best = measured[self.name], self.measured[self.name]
        if math.isnan(value) or math.isnan(best):
            return not math.isnan(value)
        return value > best if self.higher else value < best

    def state(self) -> dict[str, Any]:
        """For a checkpoint's state.json."""
        return {"step": self.step, "measured": self.measured, "since": self.since}

    def load(self, state: dict[str, Any], checkpoint: Path, first: bool) -> None:
        """Restore what `state` gave, and the weights from the checkpoint."""
        self.step, self.measured, self.since = state["step"], dict(state["measured"]), state["since"]
        self.weights = load_file(checkpoint / BEST) if first else {}


def save_checkpoint(
    folder: Path,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    exposure: Exposure,
    described: Mapping[str, Any],
    best: Best,
) -> None:
    """Write the learner after its last step, durably and at once, and remove what is older than the newest KEEP.

    `described` is what else state.json says of the run. Every process of a run calls it, for each may hold a part; the
    first one writes.
    """
    weights, average = gathered(learner.model.state_dict()), learner.average.weights()
    moments = gathered_state(optimizer)
    if not first_process():
        return
    step = learner.last.step
    target = folder / f"step-{step:08d}"
    partial = folder / f".{target.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    state = {**learner.state(), **described, **fields(exposure), "best": best.state()}
    for name, tensors in (("weights.safetensors", weights), ("ema.safetensors", average), (BEST, best.weights)):
        plain = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(plain, partial / name, header(exposure))
    torch.save({"optimizer": moments, "random": {"cpu": torch.get_rng_state()}}, partial / "optimizer.pt")
    (partial / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))
    for path in partial.iterdir():
        _sync(path)
    _sync(partial)
    _remove(target)  # a run that was set back meets its own step again
    os.replace(partial, target)
    _sync(folder)
    for old in checkpoints(folder)[:-KEEP]:
        _remove(old)


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first. Anything a kill left half written has another name and is not among them."""
    return sorted(folder.glob("step-*"))


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's state.json. Raises DataError where it cannot be read."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{checkpoint}: cannot be resumed from, remove it: {error}") from error
    if not isinstance(state, dict):
        raise DataError(f"{checkpoint}: cannot be resumed from, remove it: state.json holds no object")
    return state


def clear(folder: Path) -> None:
    """Remove all checkpoints, whole or not, and then the mark that says what they saw."""
    for path in checkpoints(folder):
        _remove(path)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left)
    (folder.parent / TAINTED).unlink(missing_ok=True)


def load_weights(checkpoint: Path, learner: Learner, state: Mapping[str, Any]) -> None:
    """Put weights, average and counters back."""
    learner.model.load_state_dict(load_file(checkpoint / "weights.safetensors"))
    learner.average.load(load_file(checkpoint / "ema.safetensors"), state["ema_updates"])
    learner.load_state(state)


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimiser's moments and the process's random state back."""
    saved = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu")
    load_state(optimizer, saved["optimizer"])
    torch.set_rng_state(saved["random"]["cpu"])


def _remove(checkpoint: Path) -> None:
    """Take a checkpoint away at once, by its name, before its files go one by one."""
    if checkpoint.exists():
        going = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.gone")
        os.replace(checkpoint, going)
        shutil.rmtree(going)


def _sync(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
