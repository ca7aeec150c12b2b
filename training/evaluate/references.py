"""What a model's held-out flow loss is compared with: references that do not move with where its training started.

    closed_form  the velocity that the covariance of the training clips' tokens decides alone (gaussian.py)
    untrained    the same architecture with fresh weights under a fixed seed
    base         the base model of the size, where its codec encodes into the same latent space

All meet the same clips, times and noise as the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from training.config import TransformerConfig
from training.data.packing import Batch
from training.evaluate.latent_space import latent_space
from training.model.gaussian import GaussianVelocity
from training.model.transformer import Transformer

SEED = 0  # of the untrained network
CLOSED_FORM_CLIPS = 2048  # at most; a covariance of so many clips' tokens changes no more
APART = "another latent space"


class ClosedForm(nn.Module):
    """The closed-form velocity under a transformer's interface."""

    def __init__(self, tokens: Iterable[Tensor], values: int) -> None:
        super().__init__()
        self.gaussian = GaussianVelocity(values)
        self.gaussian.fit(tokens)

    def forward(self, x_NP: Tensor, t_F: Tensor, given_N: Tensor, batch: Batch) -> Tensor:
        return self.gaussian(x_NP, t_F.index_select(0, batch.frame_N))


def untrained(config: TransformerConfig) -> Transformer:
    """The same network every time; the process's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return Transformer(config).eval().requires_grad_(False)


def spread(clip_ids: Sequence[str], most: int = CLOSED_FORM_CLIPS) -> list[str]:
    """At most so many of the clips, evenly over their order."""
    return [clip_ids[i * len(clip_ids) // most] for i in range(most)] if len(clip_ids) > most else list(clip_ids)


def apart(model_dir: str | Path, base_dir: str | Path, model: TransformerConfig, base: TransformerConfig) -> str:
    """Why the base's loss on these latents would say nothing; empty where it compares."""
    if latent_space(model_dir) != latent_space(base_dir):
        return f"{APART}: the base model's codec encodes otherwise than this model's"
    for name in ("token_values", "patch", "text_width"):
        if getattr(model, name) != getattr(base, name):
            return f"{APART}: the base model has {name} {getattr(base, name)}, this model {getattr(model, name)}"
    return ""
