"""Where a run begins: its own last checkpoint, a parent's weights, or nothing; and what those weights already saw.

Decided from descriptions alone, before any weight is loaded, so that the guard can hold everything that the run would
rest on to the ledger first. Loading is the course's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training import base
from training.config import TrainConfig
from training.consent.canonical import file_sha256
from training.consent.guard import ConsentViolation
from training.model.conditioning import NUMERIC
from training.model.exposure import CHECKPOINTS, TAINTED, Exposure, joined, of_checkpoint, of_parent, of_weights
from training.trainer import checkpoint as checkpoints


@dataclass(frozen=True)
class Start:
    """`exposure` is what the weights saw before this run; at most one of `checkpoint` and `parent` is there."""

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


def find_start(config: TrainConfig) -> Start:
    """Raises ConsentViolation for weights that do not say what they saw, and for tainted ones it was told to use."""
    run_dir, parent = Path(config.run_dir), Path(config.parent_dir) if config.parent_dir else None
    parents = _seen_by(parent, config) if parent else {}
    codecs = of_weights(Path(config.codec_dir) / "codec.safetensors") if config.task == "transformer" else {}
    parent_sha256 = file_sha256(parent / f"{config.task}.safetensors") if parent else ""
    found, why = checkpoints.checkpoints(run_dir / CHECKPOINTS), ""
    if found and not config.resume:
        why = "told not to resume"
    elif found:
        last, state = found[-1], checkpoints.read_state(found[-1])
        seen = of_checkpoint(last, state)
        changed = _changed(config, state, parent_sha256)
        if not (why := _obstacle(config, run_dir, changed)):
            same = not {"snapshot_root", "repetition_sha256"} & set(changed)
            return Start(joined(seen, codecs), last, state, same, None, parent_sha256)
    return Start(joined(parents, codecs), parent=parent, parent_sha256=parent_sha256, anew=why)


def _seen_by(parent: Path, config: TrainConfig) -> dict[str, str]:
    """What the parent's weights saw. Only the repository's own base may say that it saw nothing: it saw no footage."""
    said, name = of_parent(parent, config.task), f"{config.task}.safetensors"
    known = base.folder(config.size)
    if said or (known and file_sha256(parent / name) == file_sha256(known / name)):
        return said
    raise ConsentViolation.of_all("exposure.unknown", f"{parent / name} says it saw nothing, and is not the base")


def _changed(config: TrainConfig, state: Mapping[str, Any], parent_sha256: str) -> list[str]:
    """Which of the things that make a run this run are not those of the checkpoint."""
    now = {"size": config.size, "seed": config.seed, "snapshot_root": config.snapshot_root, "parent": parent_sha256}
    now |= {"repetition_sha256": config.repetition_sha256}
    now |= described(config)
    return [name for name, value in now.items() if state.get(name) != value]


def described(config: TrainConfig) -> dict[str, Any]:
    """What a checkpoint says of its run's shape: weights of another one are no start, whatever they are called."""
    shape = config.codec if config.task == "codec" else config.transformer
    told = file_sha256(Path(config.numbers)) if config.numbers and Path(config.numbers).is_file() else ""
    whole = vars(shape) | ({"numbers": list(NUMERIC)} if config.task == "transformer" else {})
    packing = {"batch_tokens": config.batch_tokens, **config.packing}
    return {"shape": whole, "packing": packing, "numbers_sha256": told}


def _obstacle(config: TrainConfig, run_dir: Path, changed: list[str]) -> str:
    """Why the checkpoints are left and the run begins anew; empty where it goes on from them."""
    carries_on = config.other_snapshot == "continue"
    if (run_dir / TAINTED).exists():
        if carries_on:
            raise ConsentViolation.of_all("exposure.tainted", f"{run_dir}: consent was withdrawn from what it saw")
        return "the checkpoints are tainted"
    if changed and not (carries_on and set(changed) <= {"snapshot_root", "repetition_sha256", "parent"}):
        return f"{changed[0]} has changed"
    return ""
