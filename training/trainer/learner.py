"""The two tasks as LightningModules: what a step computes, how it is optimised, and what is measured on held-out clips.

Both share the optimiser, the clipping, the average and the refusal to go on from a broken loss. Reading data belongs to
`data`, the run to `fit` and its callback, the mathematics to `model`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from lightning import LightningModule
from torch import Tensor, nn

from training.config import TrainConfig
from training.data.clips import CaptionedClips, DataError
from training.data.packing import Sample
from training.data.steps import FlowStep
from training.evaluate.heldout import flow_loss
from training.model import flow
from training.model.config import TransformerConfig
from training.model.critic import Critic
from training.model.exposure import Exposure
from training.model.transformer import Transformer, save_transformer, with_all_numbers
from training.trainer.metrics import step_flops
from training.trainer.optimizer import MuonAdamW
from training.trainer.schedule import Schedule
from training.trainer.weights import Ema, anywhere, shard, whole

Module = TypeVar("Module", bound=nn.Module)

DIVERGED = 20.0  # a loss this many times the usual one does not recover
CLIP_DECAY, CLIP_WARMUP = 0.99, 20  # of the gradient norm's running mean; steps before which the threshold is 1


class Divergence(RuntimeError):
    """The loss or its gradient is not finite, or far beyond what it was. Names the step and the batch's clips."""

    def __init__(self, step: int, what: str, clip_ids: Sequence[str]) -> None:
        super().__init__(f"{what} at step {step}, on clips {', '.join(clip_ids)}")
        self.step, self.what, self.clip_ids = step, what, list(clip_ids)


@dataclass
class AdaptiveClip:
    """Gradient clipping at three deviations above the norm's running mean (Open-Sora-Plan 1.5).

    A fixed threshold misses the late spikes of a run whose usual norm has long sunk below it. The fields are the state.
    """

    steps: int = 0
    mean: float = 0.0
    square: float = 0.0

    def threshold(self) -> float:
        if self.steps < CLIP_WARMUP:
            return 1.0
        correction = 1 - CLIP_DECAY**self.steps
        mean, square = self.mean / correction, self.square / correction
        return mean + 3 * math.sqrt(max(0.0, square - mean**2))

    def __call__(self, parameters: Sequence[nn.Parameter]) -> float:
        """Clip the gradients in place and return their norm as it was. Only clipped norms enter the statistics."""
        threshold = self.threshold()
        norm = float(whole(nn.utils.clip_grad_norm_(parameters, threshold)))
        if math.isfinite(norm):
            seen = min(norm, threshold)
            self.steps += 1
            self.mean = CLIP_DECAY * self.mean + (1 - CLIP_DECAY) * seen
            self.square = CLIP_DECAY * self.square + (1 - CLIP_DECAY) * seen**2
        return norm


class Learner(LightningModule, ABC):
    """What both tasks share. `model` is the part that is trained, averaged and saved."""

    model: nn.Module
    learns = True  # False: a model that is measured and taken as it is

    def __init__(self, config: TrainConfig, model: nn.Module) -> None:
        super().__init__()
        self.config, self.model = config, model
        self.average = Ema(model, config.ema_decay)
        self.critic: Critic | None = None  # trained beside the model: in the run's checkpoints, never published
        self.clip = AdaptiveClip()
        self.schedule = Schedule(config)
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

    @abstractmethod
    def heldout(self) -> dict[str, float]:
        """The averaged weights measured on held-out clips."""

    def more_groups(self) -> list[dict[str, Any]]:
        """Groups of the optimiser for what is trained beside `model`."""
        return []

    @abstractmethod
    def save(self, folder: Path, exposure: Exposure) -> None:
        """Write the averaged weights, with what they saw, and their description."""

    def flops(self, step: Any) -> int:
        """Operations of a training step, forward and backward; 0 where they are not counted."""
        return 0

    def training_step(self, step: Any, _: int) -> Tensor:
        self.last = step
        loss = (self.losses(step) * step.weight_S.to(self.device)).sum()
        self.loss = float(loss.detach())
        self.refuse_divergence(self.loss, "loss")
        return loss

    def refuse_divergence(self, value: float, what: str) -> None:
        """Raise Divergence, in every process at once, if the value is not finite or a loss is far beyond the usual.

        What is usual is known after the clipping's warm-up; the first steps of a good start may well lose most of it.
        """
        why = None
        if not math.isfinite(value):
            why = f"{what} is {value}"
        elif what == "loss" and self.clip.steps >= CLIP_WARMUP and value > DIVERGED * self.usual_loss:
            why = f"loss {value:.3g} is more than {DIVERGED:g} times the usual {self.usual_loss:.3g}"
        if anywhere(why is not None, self.device):
            raise Divergence(self.last.step, why or f"{what} of another process diverged", self.last.clip_ids)
        if what == "loss":
            self.usual_loss = value if not self.usual_loss else 0.98 * self.usual_loss + 0.02 * value

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW, or Muon for matrices beside it; no weight decay on vectors (norms, biases, tables). A group's `scale`
        multiplies its rate."""
        c = self.config
        groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue
            muon = bool(c.matrix_lr) and self.is_matrix(name, parameter)
            scale = c.matrix_lr / c.lr if muon else self.rate_scale(name)
            groups.setdefault((scale, c.weight_decay if parameter.ndim >= 2 else 0.0, muon), []).append(parameter)
        listed = [
            {"params": ps, "scale": scale, "weight_decay": decay, "muon": muon}
            for (scale, decay, muon), ps in groups.items()
        ]
        if any(group["muon"] for group in listed):
            return MuonAdamW(listed, c.lr)
        return torch.optim.AdamW([*listed, *self.more_groups()], lr=c.lr, betas=(0.9, 0.99), eps=1e-8, fused=True)

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        """Whether Muon may train the parameter: a linear map between hidden layers."""
        return False

    def rate_scale(self, name: str) -> float:
        """Share of the learning rate for the parameter of this name."""
        return 1.0

    def learning_rate(self, step: int) -> float:
        return self.schedule.learning_rate(step)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["lr"] = group["scale"] * self.learning_rate(self.last.step)

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        self.norm = self.clip(list(self.model.parameters()))
        self.refuse_divergence(self.norm, "gradient norm")

    def to(self, *arguments: Any, **named: Any) -> Self:
        """As a module's, and the average with it."""
        super().to(*arguments, **named)
        self.average.to(self.device)
        return self

    def on_fit_start(self) -> None:
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
            "clip": asdict(self.clip),
            "usual_loss": self.usual_loss,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.clip = AdaptiveClip(**state["clip"])
        self.usual_loss = state["usual_loss"]

    def begin_from(self, weights: dict[str, Tensor]) -> str:
        """Take over a finished model's weights; the average starts from them. Returns how much of them was taken.

        Raises DataError where they do not fit.
        """
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:  # names what is missing, too much, or of another size
            raise DataError(f"the parent's weights are another model's: {' '.join(str(error).split())}") from error
        self.average = Ema(self.model, self.config.ema_decay)
        return "all of them"


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
        self.model.checkpointing = config.activation_checkpointing
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

    def begin_from(self, weights: dict[str, Tensor]) -> str:
        """A parent of another size lends what has the same name and shape: with the same width the blocks that both have,
        of another width next to nothing. The rest begins as in a run from nothing, in the parent's latents."""
        weights = with_all_numbers(weights) if "null_number_Q16" in weights else weights
        own = self.model.state_dict()
        fitting = {name: w for name, w in weights.items() if name in own and own[name].shape == w.shape}
        if len(fitting) == len(own) == len(weights):
            return super().begin_from(weights)
        self.initialise()
        super().begin_from(own | fitting)
        parts = sorted({name.split(".")[0] for name in fitting})
        listed = f" ({', '.join(parts)})" if parts else ""
        return f"{len(fitting)} of {len(own)} tensors{listed}; the rest begins from nothing"

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

    def is_matrix(self, name: str, parameter: nn.Parameter) -> bool:
        return parameter.ndim == 2 and name.endswith(".weight") and name.startswith(("blocks.", "modulation."))

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
