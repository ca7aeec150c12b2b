"""The flow loss of a model on held-out clips, and of references that do not move with where its training started.

    closed_form  the velocity that the covariance of the training clips' tokens decides alone
    untrained    the same architecture with fresh weights under a fixed seed
    base         the base model of the size, where its codec encodes into the same latent space

All meet the same clips, times and noise as the model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training import device
from training.config import EvaluateConfig
from training.data.clips import Encoded, LatentClips
from training.data.packing import Batch, Sample
from training.evaluate.heldout import TIMES, flow_loss
from training.evaluate.rows import Measured, Metric, by_part, key, latent_space
from training.model.config import TransformerConfig
from training.model.diffusers_base import Tuned
from training.model.flow import GaussianVelocity
from training.model.transformer import Transformer, load_transformer

FLOW = Metric("heldout_flow_loss", "squared error", "lower", "rectified flow, 8 fixed times, keyed noise, v2")
BY_TIME = f"{FLOW.name}_by_time"  # values of it by time instead of by clip
STEP = Metric("forward_speed", "tokens/s", "none", "one forward pass over the held-out clips, this machine, v1")
SEED = 0  # of the untrained network
CLOSED_FORM_CLIPS = 2048  # at most; the covariance of their tokens changes no more with further clips
APART = "another latent space"


def flow_losses(model: Transformer, samples: Sequence[Sample], parts: Mapping[str, list[str]]) -> Measured:
    """The loss by clip, as the mean over the eight times, and how fast the model is."""
    started = time.perf_counter()
    by_clip, by_time = _losses(model, samples)
    seconds = time.perf_counter() - started
    tokens = sum(len(s.x_NP) for s in samples) * len(TIMES)
    rows = [*FLOW.slices(by_clip, parts), STEP.exact("all", tokens / seconds, len(samples))]
    return Measured(rows, by_part(FLOW.name, by_clip, parts) | {BY_TIME: by_time})


def reference_losses(
    config: EvaluateConfig,
    model: Transformer,
    stride: int,
    train: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
) -> Measured:
    """The loss of each reference; `train` are the training members, `stride` is the codec's."""
    shape = model.config
    clips = LatentClips(Encoded(config.latents_dir, config.text_dir, shape.patch, stride), spread(train))
    place = device.of(model)
    closed_form = ClosedForm((clips.read(clip_id).x_NP for clip_id in clips.captions), shape.token_values)
    measured = _reference("closed_form", closed_form.to(place), samples)
    measured += _reference("untrained", untrained(shape).to(place), samples)
    if isinstance(model, Tuned):
        with model.untuned() as before:
            return measured + _reference("base", before, samples)
    if not config.base_dir:
        return measured + Measured([FLOW.missing("this size has no base model", "reference=base")])
    base = load_transformer(config.base_dir).to(place)
    if why := apart(config.model_dir, config.base_dir, shape, base.config):
        return measured + Measured([FLOW.missing(why, "reference=base")])
    return measured + _reference("base", base, samples)


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


def spread(members: Sequence[Mapping[str, Any]], most: int = CLOSED_FORM_CLIPS) -> Sequence[Mapping[str, Any]]:
    """At most `most` of the members, evenly over their order."""
    return [members[i * len(members) // most] for i in range(most)] if len(members) > most else members


def apart(model_dir: str | Path, base_dir: str | Path, model: TransformerConfig, base: TransformerConfig) -> str:
    """Why the base's loss on these latents would say nothing; empty where it compares."""
    if latent_space(model_dir) != latent_space(base_dir):
        return f"{APART}: the base model's codec encodes otherwise than this model's"
    for name in ("token_values", "patch", "text_width"):
        if getattr(model, name) != getattr(base, name):
            return f"{APART}: the base model has {name} {getattr(base, name)}, this model {getattr(model, name)}"
    return ""


def _reference(name: str, model: nn.Module, samples: Sequence[Sample]) -> Measured:
    part, (by_clip, by_time) = f"reference={name}", _losses(model, samples)
    values = {key(FLOW.name, part): by_clip, key(BY_TIME, part): by_time}
    return Measured([FLOW.row(part, list(by_clip.values()))], values)


def _losses(model: nn.Module, samples: Sequence[Sample]) -> tuple[dict[str, float], dict[str, float]]:
    """By clip, as the mean over times; and by time, as the mean over clips."""
    losses = flow_loss(model, samples)
    by_clip = {s.clip_id: value for s, value in zip(samples, losses.mean(1).tolist(), strict=True)}
    by_time = {f"t={t:.3f}": value for t, value in zip(TIMES, losses.mean(0).tolist(), strict=True)}
    return by_clip, by_time
