"""What the codec learns, as a LightningModule: frames to latents to frames, and what a critic makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.config import TrainConfig
from training.data.clips import DataError, Pictures
from training.data.steps import CodecStep
from training.evaluate.heldout import CodecGoal, codec_measures
from training.model import flow
from training.model.codec import Codec, build_codec, save_codec, to_unit
from training.model.critic import Critic
from training.model.exposure import Exposure
from training.model.patches import PatchCodec
from training.networks.lpips import Lpips
from training.trainer.learner import Learner, seeded
from training.trainer.weights import Ema


class CodecLearner(Learner):
    """Frames to latents to frames by mean squared error, of which the PCA start is the optimum among linear maps; what
    remains is for the residual path. Noise on the latent, up to LATENT_NOISE of its deviation, teaches the decoder to bear
    the transformer's errors, and to hide the seams between patches that these cause.

    Squared error alone answers doubt with blur. LPIPS of a few frames a clip (`perceptual`) and, for latents that keep too
    little to know better, a critic (`adversarial`, critic.py) prefer what looks filmed.

    A run from a parent trains the decoder alone: encoder and latent statistics stay, so that a transformer of the parent's
    latents goes on with this codec, and latents that exist stay valid.
    """

    model: PatchCodec
    LATENT_NOISE = 0.2
    # The linear path starts where it should be; at full rate it first loses a fifth of a decibel. A step of Adam's moves its
    # outputs by as much as it has inputs, so larger patches take a smaller share.
    LINEAR_RATE, INPUTS = 0.02, 768
    LOOKED_AT = 2  # frames of a clip that LPIPS sees in a step
    CRITIC_ALONE = 0.1  # share of the steps in which the critic learns and the codec does not yet listen

    def __init__(self, config: TrainConfig, clips: Pictures, heldout: Pictures, lpips: Lpips | None = None) -> None:
        super().__init__(config, seeded(lambda: build_codec(config.codec), config.seed))
        self.clips, self.heldout_clips = clips, heldout
        self.goal = CodecGoal(config.codec.patch, config.borders, config.perceptual, lpips)
        if config.adversarial:
            self.critic = seeded(Critic, config.seed)
        self.encoder_frozen = bool(config.parent_dir) or not config.train_encoder
        if self.encoder_frozen and isinstance(self.model, Codec):
            for part in self.model.encoding_parts():
                part.requires_grad_(False)

    def initialise(self) -> None:
        """The linear path by PCA of the training clips. A codec without parameters has nothing to learn: DataError."""
        if not isinstance(self.model, Codec):
            raise DataError(f"a codec of kind {self.config.codec.kind} has no parameters to train")
        self.model.initialise([to_unit(self.clips.read(clip_id)[0]) for clip_id in self.clips.clip_ids])
        self.average = Ema(self.model, self.config.ema_decay)

    def begin_from(self, weights: dict[str, Tensor]) -> str:
        """A parent from before there was a smoother starts with one that does nothing."""
        smoother = {name: x for name, x in self.model.state_dict().items() if name.startswith("smoother.")}
        return super().begin_from(smoother | weights)

    def losses(self, step: CodecStep) -> Tensor:
        x_BCTHW = step.x_BCTHW.to(self.device)
        z_BCthw = self.model.encode(x_BCTHW)
        generators = [flow.keyed("codec", self.config.seed, clip_id, step.step) for clip_id in step.clip_ids]
        noise = [torch.rand((), generator=g) * torch.randn(z_BCthw.shape[1:], generator=g) for g in generators]
        z_BCthw = z_BCthw + self.LATENT_NOISE * torch.stack(noise).to(z_BCthw)
        self.remade_BCTHW = self.model.decode(z_BCthw)
        frames = [torch.randint(x_BCTHW.shape[2], (self.LOOKED_AT,), generator=g) for g in generators]
        return self.goal(x_BCTHW, self.remade_BCTHW, frames)

    def training_step(self, step: CodecStep, index: int) -> Tensor:
        """The codec's loss, by which divergence is judged, and, where there is a critic, what both make of each other."""
        loss = super().training_step(step, index)
        if self.critic is None:
            return loss
        fooled_B, critic_B = self.critic.judge(step.x_BCTHW.to(self.device), self.remade_BCTHW)
        heard = self.config.adversarial if step.step > self.CRITIC_ALONE * self.config.steps else 0.0
        return loss + ((heard * fooled_B + critic_B) * step.weight_S.to(self.device)).sum()

    def more_groups(self) -> list[dict[str, Any]]:
        """The critic's, without momentum: what it learns to tell apart moves on."""
        if self.critic is None:
            return []
        return [{"params": list(self.critic.parameters()), "scale": 1.0, "weight_decay": 0.0, "betas": (0.0, 0.99)}]

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        super().configure_gradient_clipping(optimizer)
        if self.critic is not None:
            nn.utils.clip_grad_norm_(self.critic.parameters(), 1.0)

    def rate_scale(self, name: str) -> float:
        share = self.LINEAR_RATE * min(1.0, self.INPUTS / self.config.codec.tube_values)
        return share if name.startswith(("stem.", "head.")) else 1.0

    def heldout(self) -> dict[str, float]:
        clips = [self.heldout_clips.read(clip_id)[0] for clip_id in self.heldout_clips.clip_ids]
        with self.average.swapped():
            return codec_measures(self.model, clips, self.goal)

    def save(self, folder: Path, exposure: Exposure) -> None:
        """The averaged weights, with the latents' statistics measured anew under them unless the encoder is frozen."""
        with self.average.swapped():
            if not self.encoder_frozen:
                self.model.set_statistics(to_unit(self.clips.read(clip_id)[0]) for clip_id in self.clips.clip_ids)
            save_codec(self.model, folder, exposure)
