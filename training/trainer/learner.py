"""The two tasks as LightningModules: what a step computes, how it is optimised, and what is measured on held-out clips.

Both share the optimiser, the clipping, the average and the refusal to go on from a broken loss. Reading data belongs to
`data`, the run to `fit` and its callback, the mathematics to `model`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from lightning import LightningModule
from torch import Tensor, nn

from training.config import TrainConfig
from training.data.clips import CaptionedClips, DataError, Pictures
from training.data.packing import Sample
from training.data.steps import CodecStep, FlowStep
from training.evaluate.heldout import flow_loss, psnr, reconstruct, ssim
from training.model import flow
from training.model.codec import Codec, build_codec, save_codec, to_unit
from training.model.config import TransformerConfig
from training.model.exposure import Exposure
from training.model.patches import PatchCodec
from training.model.transformer import Transformer, save_transformer, with_all_numbers
from training.trainer.ema import Ema
from training.trainer.fsdp import shard, whole
from training.trainer.throughput import step_flops

Module = TypeVar("Module", bound=nn.Module)

DIVERGED = 20.0  # a loss this many times the usual one does not recover


class Divergence(RuntimeError):
    """The loss or its gradient is not finite, or far beyond what it was. Names the step and the batch's clips."""

    def __init__(self, step: int, what: str, clip_ids: Sequence[str]) -> None:
        super().__init__(f"{what} at step {step}, on clips {', '.join(clip_ids)}")
        self.step, self.what, self.clip_ids = step, what, list(clip_ids)


class AdaptiveClip:
    """Gradient clipping at three deviations above the norm's running mean (Open-Sora-Plan 1.5).

    A fixed threshold misses the late spikes of a run whose usual norm has long sunk below it.
    """

    def __init__(self, decay: float = 0.99, warmup: int = 20, start: float = 1.0) -> None:
        self.decay, self.warmup, self.start = decay, warmup, start
        self.steps, self.mean, self.square = 0, 0.0, 0.0

    def threshold(self) -> float:
        if self.steps < self.warmup:
            return self.start
        correction = 1 - self.decay**self.steps
        mean, square = self.mean / correction, self.square / correction
        return mean + 3 * math.sqrt(max(0.0, square - mean**2))

    def __call__(self, parameters: Sequence[nn.Parameter]) -> float:
        """Clip the gradients in place and return their norm as it was. Only clipped norms enter the statistics."""
        threshold = self.threshold()
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, threshold)))
        if math.isfinite(norm):
            seen = min(norm, threshold)
            self.steps += 1
            self.mean = self.decay * self.mean + (1 - self.decay) * seen
            self.square = self.decay * self.square + (1 - self.decay) * seen**2
        return norm

    def state(self) -> dict[str, float]:
        return {"steps": self.steps, "mean": self.mean, "square": self.square}

    def load(self, state: dict[str, float]) -> None:
        self.steps, self.mean, self.square = int(state["steps"]), state["mean"], state["square"]


class Learner(LightningModule, ABC):
    """What both tasks share. `model` is the part that is trained, averaged and saved."""

    model: nn.Module

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        super().__init__()
        self.config, self.model = config, model
        self.average = Ema(model, config.ema_decay)
        self.clip = AdaptiveClip()
        self.usual_loss = 0.0  # running mean over steps, to know a divergence by
        self.last: Any = None  # the step that is being computed

    @property
    def parameter_count(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @abstractmethod
    def initialise(self) -> None:
        """What the training clips say in closed form, for a run that starts from nothing."""

    @abstractmethod
    def losses(self, step: Any) -> Tensor:
        """The loss of each of the step's samples."""

    def flops(self, step: Any) -> int:
        """Operations of a training step, forward and backward; 0 where they are not counted."""
        return 0

    @abstractmethod
    def heldout(self) -> dict[str, float]:
        """The averaged weights measured on held-out clips."""

    @abstractmethod
    def save(self, folder: Path, exposure: Exposure) -> None:
        """Write the averaged weights, with what they saw, and their description."""

    def training_step(self, step: Any, _: int) -> Tensor:
        self.last = step
        loss = (self.losses(step) * step.weight_S.to(self.device)).sum()
        self.refuse_divergence(float(loss.detach()), "loss")
        self.loss = float(loss.detach())
        return loss

    def refuse_divergence(self, value: float, what: str) -> None:
        """Raise Divergence, in every process at once, if the value is not finite or a loss is far beyond the usual.

        What is usual is known after the clipping's warm-up; the first steps of a good start may well lose most of it.
        """
        why = None
        if not math.isfinite(value):
            why = f"{what} is {value}"
        elif what == "loss" and self.clip.steps >= self.clip.warmup and value > DIVERGED * self.usual_loss:
            why = f"loss {value:.3g} is more than {DIVERGED:g} times the usual {self.usual_loss:.3g}"
        if anywhere(why is not None, self.device):
            raise Divergence(self.last.step, why or f"{what} of another process diverged", self.last.clip_ids)
        if what == "loss":
            self.usual_loss = value if not self.usual_loss else 0.98 * self.usual_loss + 0.02 * value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; no weight decay on vectors (norms, biases, tables). A group's `scale` multiplies its rate."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            decay = self.config.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((self.rate_scale(name), decay), []).append(parameter)
        listed = [{"params": ps, "scale": scale, "weight_decay": decay} for (scale, decay), ps in groups.items()]
        return torch.optim.AdamW(listed, lr=self.config.lr, betas=(0.9, 0.99), eps=1e-8, fused=True)

    def rate_scale(self, name: str) -> float:
        """Share of the learning rate for the parameter of this name."""
        return 1.0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then constant, then a linear fall to a twentieth over the last part of the run."""
        c = self.config
        falling = max(1, round(c.steps * c.decay))
        rise = min(1.0, step / max(1, c.warmup))
        return c.lr * rise * max(0.05, min(1.0, (c.steps - step + 1) / falling))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * self.learning_rate(self.last.step)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        self.norm = self.clip(list(self.model.parameters()))
        self.refuse_divergence(self.norm, "gradient norm")

    def on_fit_start(self) -> None:
        self.average.to(self.device)
        if self.device.type == "cuda" and self.config.compile and isinstance(self.model, Transformer):
            compile_blocks(self.model)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """The step, and the average's right after it: a checkpoint at the end of the batch holds both."""
        super().optimizer_step(*arguments, **named)
        self.average.update()

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs besides weights and optimiser: plain numbers."""
        cursor = self.last.cursor
        return {
            "step": self.last.step,
            "epoch": cursor.epoch,
            "pack": cursor.pack,
            "ema_updates": self.average.updates,
            "clip": self.clip.state(),
            "usual_loss": self.usual_loss,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.clip.load(state["clip"])
        self.usual_loss = state["usual_loss"]

    def begin_from(self, weights: dict[str, Tensor]) -> None:
        """Take over a finished model's weights; the average starts from them. Raises DataError where they do not fit."""
        own = self.model.state_dict()
        if unmatched := sorted(weights.keys() ^ own.keys()):
            raise DataError(f"the parent's weights are another model's: {', '.join(unmatched[:3])} is only on one side")
        for name, tensor in own.items():
            if weights[name].shape != tensor.shape:
                shapes = f"{list(weights[name].shape)}, not {list(tensor.shape)}"
                raise DataError(f"the parent's weights have another size: {name} is {shapes}")
        self.model.load_state_dict(weights)
        self.average = Ema(self.model, self.config.ema_decay)


class CodecLearner(Learner):
    """Frames to latents to frames by mean squared error, of which the PCA start is the optimum among linear maps; what
    remains is for the residual path. Noise on the latent, up to LATENT_NOISE of its deviation, teaches the decoder to bear
    the transformer's errors, and to hide the seams between patches that these cause.

    A run from a parent trains the decoder alone: encoder and latent statistics stay, so that a transformer of the parent's
    latents goes on with this codec, and latents that exist stay valid.
    """

    model: PatchCodec
    LATENT_NOISE = 0.2
    # The linear path starts where it should be; at full rate it first loses a fifth of a decibel. A step of Adam's moves its
    # outputs by as much as it has inputs, so larger patches take a smaller share.
    LINEAR_RATE, INPUTS = 0.02, 768

    def __init__(self, config: TrainConfig, clips: Pictures, heldout: Pictures) -> None:
        super().__init__(config, seeded(lambda: build_codec(config.codec), config.seed))
        self.clips, self.heldout_clips = clips, heldout
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

    def losses(self, step: CodecStep) -> Tensor:
        x_BCTHW = step.x_BCTHW.to(self.device)
        z_BCthw = self.model.encode(x_BCTHW)
        generators = [flow.keyed("codec", self.config.seed, clip_id, step.step) for clip_id in step.clip_ids]
        noise = [torch.rand((), generator=g) * torch.randn(z_BCthw.shape[1:], generator=g) for g in generators]
        z_BCthw = z_BCthw + self.LATENT_NOISE * torch.stack(noise).to(z_BCthw)
        return (self.model.decode(z_BCthw) - x_BCTHW).square().mean(dim=(1, 2, 3, 4))

    def rate_scale(self, name: str) -> float:
        share = self.LINEAR_RATE * min(1.0, self.INPUTS / self.config.codec.tube_values)
        return share if name.startswith(("stem.", "head.")) else 1.0

    def heldout(self) -> dict[str, float]:
        clips = [self.heldout_clips.read(clip_id)[0] for clip_id in self.heldout_clips.clip_ids]
        with self.average.swapped():
            pairs = [(frames, reconstruct(self.model, frames)) for frames in clips]
        return {
            "heldout/psnr_db": sum(psnr(*pair) for pair in pairs) / len(pairs),
            "heldout/ssim": sum(ssim(*pair) for pair in pairs) / len(pairs),
        }

    def save(self, folder: Path, exposure: Exposure) -> None:
        """The averaged weights, with the latents' statistics measured anew under them unless the encoder is frozen."""
        with self.average.swapped():
            if not self.encoder_frozen:
                self.model.set_statistics(to_unit(self.clips.read(clip_id)[0]) for clip_id in self.clips.clip_ids)
            save_codec(self.model, folder, exposure)


class TransformerLearner(Learner):
    """Rectified flow on cached latents."""

    model: Transformer
    # below it a predicted clip's loss counts as at it (min-SNR weighting, Hang et al., arXiv 2303.09556)
    CLIP_TIME = 0.2

    def __init__(
        self,
        config: TrainConfig,
        shape: TransformerConfig,
        heldout: Sequence[Sample],
        clips: CaptionedClips | None = None,
    ) -> None:
        super().__init__(config, seeded(lambda: Transformer(shape), config.seed))
        self.clips, self.heldout_samples = clips, list(heldout)

    def initialise(self) -> None:
        """The velocity that the tokens' covariance decides, where the transformer corrects one."""
        if self.model.gaussian is not None and self.clips is not None:
            self.model.gaussian.fit(self.clips.read(clip_id).x_NP for clip_id in self.clips.captions)

    def configure_model(self) -> None:
        """Lightning's hook before the optimiser is made: where the strategy has a mesh, each process keeps its part."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])
            self.average.shard()

    def begin_from(self, weights: dict[str, Tensor]) -> None:
        super().begin_from(with_all_numbers(weights) if "null_number_Q16" in weights else weights)

    def losses(self, step: FlowStep) -> Tensor:
        batch = step.batch.to(self.device)
        e_NP, t_F, given_N = (x.to(self.device) for x in (step.e_NP, step.t_F, step.given_N))
        t_N = t_F[batch.frame_N].masked_fill(given_N, 0)
        v_NP = self.model(flow.interpolate(batch.x_NP, e_NP, t_N), t_F, given_N, batch)
        target_NP = flow.velocity(batch.x_NP, e_NP)
        if self.model.config.predicts == "clip":  # its velocity's error grows as 1/t without meaning more
            scale_N1 = (t_N / self.CLIP_TIME).clamp(max=1)[:, None]
            v_NP, target_NP = v_NP * scale_N1, target_NP * scale_N1
        return flow.loss_per_sample(v_NP, target_NP, given_N, batch.segments)

    def flops(self, step: FlowStep) -> int:
        return step_flops(self.model.config, step.batch)

    def heldout(self) -> dict[str, float]:
        with self.average.swapped():
            return {"heldout/flow_loss": float(flow_loss(self.model, self.heldout_samples).mean())}

    def save(self, folder: Path, exposure: Exposure) -> None:
        save_transformer(self.average.weights(), self.model.config, folder, exposure, self.config.sampling)


def compile_blocks(model: Transformer, backend: str = "inductor") -> None:
    """Compile each block for packs of any length; attention is left out, its kernels are compiled already.

    For GPUs: on a processor minutes of compiling gain a few percent.
    """
    for block in model.blocks:
        block.compile(dynamic=True, backend=backend)


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """What `build` makes under the seed; the process's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def anywhere(condition: bool, device: torch.device) -> bool:
    """Whether the condition holds in any process."""
    if not torch.distributed.is_initialized():
        return condition
    flag = torch.tensor(float(condition), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
