"""How a pretrained base is learned from: its autoencoder is taken as it is, its transformer tuned whole or by LoRA.

Steps, average, checkpoints, resume, best-kept weights and the guard are those of every other run. A run's first measurement is
the base's own, so what is published is never worse on held-out clips than the base.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from training.config import TrainConfig
from training.data.clips import DataError, FrameClips
from training.data.packing import Sample
from training.evaluate.heldout import CodecGoal, codec_measures
from training.model.base_folder import BaseFolder, read_base, require_unchanged
from training.model.config import ConfigError
from training.model.diffusers_base import Tuned, save_tuned
from training.model.exposure import Exposure
from training.model.pretrained import PretrainedCodec, save_pretrained_codec
from training.trainer.learner import Learner, TransformerLearner


def opened(config: TrainConfig) -> BaseFolder:
    """The base of a run, checked against the digest that the run was planned with. Raises DataError."""
    try:
        base = read_base(config.base, config.base_licence)
        if config.base_sha256:
            require_unchanged(config.base, config.base_sha256)
    except ConfigError as error:
        raise DataError(str(error)) from error
    if config.parent_dir and config.task == "transformer":
        described = json.loads((Path(config.parent_dir) / "transformer.json").read_text())
        if described.get("base", {}).get("sha256") != base.sha256:
            raise DataError(f"parent {config.parent_dir} was not tuned from base {config.base}")
        if described["tuning"] != config.tuning:
            raise DataError(
                f"parent {config.parent_dir} was tuned by {described['tuning']}, this run is {config.tuning}"
            )
    return base


class AdoptedCodec(Learner):
    """The base's autoencoder: measured on held-out clips, and published with what it comes from."""

    model: PretrainedCodec
    learns = False

    def __init__(self, config: TrainConfig, codec: PretrainedCodec, base: BaseFolder, heldout: FrameClips) -> None:
        super().__init__(config, codec)
        self.base, self.heldout_clips = base, heldout

    def initialise(self) -> None:
        """It is what it is."""

    def begin_from(self, weights: dict[str, Tensor]) -> str:
        """A parent has the same autoencoder."""
        return "all of them"

    def losses(self, step: Any) -> Tensor:
        raise NotImplementedError("the autoencoder of a base is not trained")

    def heldout(self) -> dict[str, float]:
        clips = [self.heldout_clips.read(clip_id)[0] for clip_id in self.heldout_clips.clip_ids]
        return codec_measures(self.model, clips, CodecGoal(self.model.config.patch))

    def save(self, folder: Path, exposure: Exposure) -> None:
        save_pretrained_codec(self.model, folder, exposure, self.base.facts)


class TuningLearner(TransformerLearner):
    """Rectified flow on the base's own latents and captions. `model` holds what is tuned, the adapter or all."""

    model: Tuned  # type: ignore[assignment]

    def __init__(self, config: TrainConfig, model: Tuned, heldout: Sequence[Sample]) -> None:
        Learner.__init__(self, config, model)
        self.clips, self.heldout_samples = None, list(heldout)

    def initialise(self) -> None:
        """The base is the start; an adapter begins as the identity."""

    def configure_model(self) -> None:
        """Each process has the whole base."""

    def begin_from(self, weights: dict[str, Tensor]) -> str:
        return Learner.begin_from(self, self.model.folded(weights, 1 / self.model.scale))

    def flops(self, step: Any) -> int:
        return 0  # not counted: the formula is our own transformer's

    def save(self, folder: Path, exposure: Exposure) -> None:
        save_tuned(self.model, self.average.weights(), folder, exposure, self.config.sampling)
