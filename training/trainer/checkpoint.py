"""Checkpoints, and where a run begins: from its own last one, from a parent's weights, or from nothing.

    checkpoints/step-00000120/  weights.safetensors  ema.safetensors  best.safetensors  optimizer.pt  state.json

A checkpoint is a whole folder that appears at once, so a kill at any moment leaves the last whole one. `ema` is the average
after that step, `best` the best average until then. Optimiser and random state are tensors and plain containers, read with
`weights_only=True`, so nothing in them can run. Every checkpoint says, in `state.json` and inside each weight file, what it
ever saw. Lightning's ModelCheckpoint writes one pickle, does not ask for consent first, and does not know where in the data
a run stands.

`find_start` decides from descriptions alone, before any weight is loaded, so that the guard can first hold everything that
the run would rest on to the ledger.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training import base
from training.config import HELD_OUT, TrainConfig
from training.consent.canonical import file_sha256
from training.consent.guard import ConsentViolation
from training.data.clips import DataError
from training.data.packing import Cursor
from training.model.conditioning import NUMERIC
from training.model.exposure import (
    CHECKPOINTS,
    TAINTED,
    Exposure,
    fields,
    header,
    joined,
    of_checkpoint,
    of_parent,
    of_weights,
)
from training.trainer.learner import Learner
from training.trainer.weights import anywhere, first_process, gathered, gathered_state, load_state

KEEP = 2  # the newest checkpoints that stay
BEST = "best.safetensors"  # in a checkpoint
OTHER_DATA = {"snapshot_root", "repetition_sha256"}  # what of a run's description says which clips it sees how often


class Best:
    """The best averaged weights of a run so far, judged on held-out clips: these are published, not the last.

    Held-out loss can rise again while the training loss still falls. `since` counts the measurements in a row that did
    not improve on the best. `weights` are whole, in main memory, and held by the first process alone.
    """

    def __init__(self, task: str) -> None:
        self.name = HELD_OUT[task]
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
        return value < best

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
    state: Mapping[str, Any],
    best: Best,
) -> None:
    """Write the learner after its last step, durably and at once, and remove what is older than the newest KEEP.

    `state` is what else state.json says of the run. Every process calls it, for each may hold a part; the first one writes.
    """
    weights, average = gathered(learner.model.state_dict()), learner.average.weights()
    moments = gathered_state(optimizer)
    if not first_process():
        return
    target = folder / f"step-{learner.last.step:08d}"
    partial = folder / f".{target.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, tensors in (("weights.safetensors", weights), ("ema.safetensors", average), (BEST, best.weights)):
        plain = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(plain, partial / name, header(exposure))
    critic = learner.critic.state_dict() if learner.critic else {}
    random = {"cpu": torch.get_rng_state()}
    torch.save({"optimizer": moments, "critic": critic, "random": random}, partial / "optimizer.pt")
    state = {**learner.state(), **state, **fields(exposure), "best": best.state()}
    (partial / "state.json").write_text(json.dumps(state, indent=1, sort_keys=True))
    for path in (*partial.iterdir(), partial):
        _sync(path)
    _remove(target)  # a run that was set back meets its own step again
    os.replace(partial, target)
    _sync(folder)
    for old in checkpoints(folder)[:-KEEP]:
        _remove(old)


def load_weights(checkpoint: Path, learner: Learner, state: Mapping[str, Any]) -> None:
    """Put weights, average and counters back."""
    learner.model.load_state_dict(load_file(checkpoint / "weights.safetensors"))
    learner.average.load(load_file(checkpoint / "ema.safetensors"), state["ema_updates"])
    learner.load_state(state)


def load_optimizer(checkpoint: Path, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
    """Put the optimiser's moments, the critic's weights and the process's random state back."""
    saved = torch.load(checkpoint / "optimizer.pt", weights_only=True, map_location="cpu")
    load_state(optimizer, saved["optimizer"])
    if learner.critic is not None:
        learner.critic.load_state_dict(saved["critic"])
    torch.set_rng_state(saved["random"]["cpu"])


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first. Anything a kill left half written has another name and is not among them."""
    return sorted(folder.glob("step-*"))


def clear(folder: Path) -> None:
    """Remove all checkpoints, whole or not, and then the mark that says what they saw."""
    for path in checkpoints(folder):
        _remove(path)
    for left in folder.glob(".step-*"):
        shutil.rmtree(left)
    (folder.parent / TAINTED).unlink(missing_ok=True)


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


@dataclass(frozen=True)
class Start:
    """Where a run begins. `exposure` is what the weights saw before; at most one of `checkpoint` and `parent` is there."""

    exposure: Exposure
    checkpoint: Path | None = None
    state: Mapping[str, Any] = field(default_factory=dict)  # the checkpoint's
    same_data: bool = True  # whether the checkpoint saw this very snapshot last, and its clips as often
    parent: Path | None = None
    parent_sha256: str = ""  # digest of the parent's weights, kept in checkpoints
    anew: str = ""  # why checkpoints that are there are left

    @property
    def done(self) -> int:
        """The last finished step."""
        return self.state["step"] if self.checkpoint else 0

    @property
    def cursor(self) -> Cursor:
        """Where the data go on; another snapshot has other packs, so it begins with an epoch of its own."""
        if not self.state:
            return Cursor()
        return Cursor(self.state["epoch"], self.state["pack"]) if self.same_data else Cursor(self.state["epoch"] + 1)


def find_start(config: TrainConfig) -> Start:
    """Raises ConsentViolation for weights that do not say what they saw, and for tainted ones that it is asked to use."""
    run_dir, parent = Path(config.run_dir), Path(config.parent_dir) if config.parent_dir else None
    parents = _seen_by(parent, config) if parent else {}
    codecs = of_weights(Path(config.codec_dir) / "codec.safetensors") if config.task == "transformer" else {}
    parent_sha256 = file_sha256(parent / f"{config.task}.safetensors") if parent else ""
    existing, why = checkpoints(run_dir / CHECKPOINTS), ""
    if existing and not config.resume:
        why = "the configuration says not to resume"
    elif existing:
        last, state = existing[-1], read_state(existing[-1])
        seen = of_checkpoint(last, state)
        changed = [name for name, value in described(config, parent_sha256).items() if state.get(name) != value]
        if not (why := _obstacle(config, run_dir, changed)):
            same_data = not OTHER_DATA & set(changed)
            return Start(joined(seen, codecs), last, state, same_data, None, parent_sha256)
    return Start(joined(parents, codecs), parent=parent, parent_sha256=parent_sha256, anew=why)


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The checkpoint's state.json. Raises DataError where it cannot be read."""
    try:
        state = json.loads((checkpoint / "state.json").read_text())
        if not isinstance(state, dict):
            raise ValueError("state.json holds no object")
    except (OSError, ValueError) as error:
        raise DataError(f"{checkpoint}: cannot be resumed from, remove it: {error}") from error
    return state


def described(config: TrainConfig, parent_sha256: str) -> dict[str, Any]:
    """What a checkpoint says of its run. Where any of it differs, the checkpoint is another run's."""
    shape = config.codec if config.task == "codec" else config.transformer
    numbers = file_sha256(Path(config.numbers)) if config.numbers and Path(config.numbers).is_file() else ""
    return {
        "size": config.size,
        "seed": config.seed,
        "snapshot_root": config.snapshot_root,
        "parent": parent_sha256,
        "repetition_sha256": config.repetition_sha256,
        "shape": vars(shape) | ({"numbers": list(NUMERIC)} if config.task == "transformer" else {}),
        "packing": {"batch_tokens": config.batch_tokens, **config.packing},
        "numbers_sha256": numbers,
        "critic": config.adversarial > 0,
        # its moments are others than AdamW's
        **({"optimizer": "muon"} if config.matrix_lr and config.task == "transformer" else {}),
        **({"base": [config.base_sha256, config.tuning, config.lora]} if config.base else {}),
    }


def _seen_by(parent: Path, config: TrainConfig) -> dict[str, str]:
    """What the parent's weights saw. Only the repository's own base may say that it saw nothing: it saw no footage."""
    seen, name = of_parent(parent, config.task), f"{config.task}.safetensors"
    own = base.folder(config.size)
    if seen or (own and file_sha256(parent / name) == file_sha256(own / name)):
        return seen
    raise ConsentViolation.of_all("exposure.unknown", f"{parent / name} says it saw nothing, and is not the base")


def _obstacle(config: TrainConfig, run_dir: Path, changed: list[str]) -> str:
    """Why the run begins anew; empty where it resumes from the checkpoints."""
    carries_on = config.other_snapshot == "continue"
    if (run_dir / TAINTED).exists():
        if carries_on:
            raise ConsentViolation.of_all("exposure.tainted", f"{run_dir}: consent was withdrawn from what it saw")
        return "the checkpoints are tainted"
    if changed and not (carries_on and set(changed) <= OTHER_DATA | {"parent"}):
        return f"{changed[0]} has changed"
    return ""
