"""Where a run begins: its own last checkpoint, a parent's weights, or nothing; and what those weights already saw.

Decided from descriptions alone, before any weight is loaded, so that the guard can hold everything that the run would
rest on to the ledger first. Loading is the callback's business.
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
from training.data.packing import Cursor
from training.model.conditioning import NUMERIC
from training.model.exposure import CHECKPOINTS, TAINTED, Exposure, joined, of_checkpoint, of_parent, of_weights
from training.trainer import checkpoint as checkpoints

OTHER_DATA = {"snapshot_root", "repetition_sha256"}  # what of a run's description says which clips it sees how often


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
    existing, why = checkpoints.checkpoints(run_dir / CHECKPOINTS), ""
    if existing and not config.resume:
        why = "the configuration says not to resume"
    elif existing:
        last, state = existing[-1], checkpoints.read_state(existing[-1])
        seen = of_checkpoint(last, state)
        changed = [name for name, value in described(config, parent_sha256).items() if state.get(name) != value]
        if not (why := _obstacle(config, run_dir, changed)):
            same_data = not OTHER_DATA & set(changed)
            return Start(joined(seen, codecs), last, state, same_data, None, parent_sha256)
    return Start(joined(parents, codecs), parent=parent, parent_sha256=parent_sha256, anew=why)


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
