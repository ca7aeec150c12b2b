"""What a person chooses of a training run in the launchpad: a typed resource of the jobs that train, with its own help.

The choices are laid over what the installation trains by default (RUSHES_TRAINING) in one place, where a run opens its
home: so all assets of a run see the same ones. What they become is `assets.model.config`'s, which also checks the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from assets.model.config import PARENT, preset_of

NIGHT = "night"
Preset = Literal["night", "nano", "micro", "S", "B", "L", "XL", "2B"]
# by field: the name of the choice in RUSHES_TRAINING
_TASK_NAMES = {"steps": "steps", "batch_tokens": "batch_tokens", "learning_rate": "lr", "patience": "patience"}


class TaskChoices(dg.Config):
    """Choices of one of the two models. What is not set is the preset's."""

    steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps. Takes the place of a budget in minutes."
    )
    minutes: float | None = Field(
        default=None, gt=0, description="This model's own budget of time, instead of its share of the run's `minutes`."
    )
    batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Tokens of a step over all processes together: latent cells for the autoencoder, patches for the "
        "transformer. On a GPU as many as its memory holds; a clip that is larger gets a step of its own.",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="The highest rate; it rises over the first steps and falls over the last 40 % of the run.",
    )
    patience: int | None = Field(
        default=None,
        ge=0,
        description="Held-out measurements in a row without improvement that end the run; 0: none do.",
    )


class CaptionMix(dg.Config):
    """With which of its captions a clip is seen how often. Relative frequencies of three kinds, and the share of none."""

    structured: float | None = Field(
        default=None, ge=0, description="The clip's own first caption, which facts alone have worded."
    )
    long: float | None = Field(
        default=None, ge=0, description="All long captions, that one and every captioner's among them."
    )
    short: float | None = Field(
        default=None, ge=0, description="All short captions: what is to be seen, and little else."
    )
    empty: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of clips seen without any caption, which guidance needs; usually 0.1.",
    )


class TrainingChoices(dg.ConfigurableResource):
    """What the jobs `retrain` and `nightly` train, and how long. Every value is a parameter of the MLflow run."""

    preset: Preset = Field(
        default="night",
        description="`night`: what RUSHES_TRAINING says, with the choices below laid over it. A size: its preset alone, "
        "whatever RUSHES_TRAINING says. nano: two cores, minutes. micro: eight cores or any GPU. S: a GPU of 24 GB. "
        "B: one of 80 GB. L, XL: eight of those. 2B: several machines.",
    )
    minutes: float | None = Field(
        default=None,
        gt=0,
        description="Budget of time for training instead of steps; a quarter is the autoencoder's. Training ends with the "
        "last step that fits, and the learning rate falls with the share that is spent. A killed run goes on with what is "
        "left. How many steps fit depends on the machine, so such a model is not reproducible bit by bit.",
    )
    seed: int | None = Field(
        default=None, ge=0, description="Of every random choice: same seed, data and code, same weights."
    )
    start: str | None = Field(
        default=None,
        description="What training starts from: `best` (the best clean version, else the base), `base`, `none`, or the key "
        "of a published model, as MLflow shows it in the tag `model_key`.",
    )
    pretrained: str | None = Field(
        default=None,
        description="Folder of a pretrained base as diffusers saves a pipeline (LTX, Wan), tuned instead of a model of a size. "
        "Its licence is read there; where it says none, name it as `base_licence` in `more`.",
    )
    tuning: Literal["night", "lora", "full"] = Field(
        default="night",
        description="How the pretrained base is tuned: by an adapter (`lora`; its rank, alpha and targets are `lora` in "
        "`more`) or whole (`full`). `night`: what RUSHES_TRAINING says, else lora.",
    )
    rendered_share: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Share of each step's clips that are rendered scenes with exact captions. They need nobody's consent.",
    )
    captions: CaptionMix = Field(
        default=CaptionMix(), description="How often a clip is seen with which of its captions."
    )
    transformer: TaskChoices = Field(
        default=TaskChoices(), description="The diffusion transformer, which answers prompts."
    )
    autoencoder: TaskChoices = Field(default=TaskChoices(), description="The autoencoder, in whose latents it works.")
    strategy: Literal["night", "ddp", "fsdp"] = Field(
        default="night",
        description="`night`: what RUSHES_TRAINING says, else ddp. Of several processes, each has the whole model (ddp), "
        "or a shard of it (fsdp; the autoencoder is small and always whole). The steps are the same; only sums are rounded "
        "differently.",
    )
    nodes: int | None = Field(
        default=None, ge=1, description="Machines, where RUSHES_TRAINING_LAUNCHER is ray or k8s; 1 without it."
    )
    processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes on each of them, one a GPU; 1 without it. `torchrun:N` has its own number.",
    )
    more: dict[str, Any] = Field(
        default={},
        description="Any other choice, as in RUSHES_TRAINING: the fields of TrainConfig in training/config.py for both "
        "models, or below `codec` and `transformer` for one of them.",
    )

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration of this resource that trains what these settings say, whatever the night's are."""
        more = {name: value for name, value in settings.items() if name != "preset"}
        return {"preset": preset_of(settings), **({"more": more} if more else {})}

    def over(self, night: Mapping[str, Any]) -> dict[str, Any]:
        """`Home.training` of a run: these choices over those of the night, or over the preset that they name.

        A budget in minutes takes the place of steps that were chosen below it, and steps that of minutes.
        """
        lower = _joined(night if self.preset == NIGHT else {"preset": self.preset}, self.more)
        if self.minutes:
            lower = _without(lower, "steps", "minutes")
        tasks = {"codec": self._task(self.autoencoder), "transformer": self._task(self.transformer)}
        mix = self.captions
        tasks["transformer"] |= _set(
            structured_caption=mix.structured,
            long_captions=mix.long,
            short_captions=mix.short,
            caption_dropout=mix.empty,
        )
        common = _set(minutes=self.minutes, seed=self.seed, rendered_share=self.rendered_share)
        common |= _set(nodes=self.nodes, processes=self.processes)
        common |= _set(strategy=None if self.strategy == NIGHT else self.strategy, **{PARENT: self.start})
        common |= _set(base=self.pretrained, tuning=None if self.tuning == NIGHT else self.tuning)
        return _joined(lower, common | {task: own for task, own in tasks.items() if own})

    def _task(self, chosen: TaskChoices) -> dict[str, Any]:
        own = _set(**{name: getattr(chosen, field) for field, name in _TASK_NAMES.items()}, minutes=chosen.minutes)
        if chosen.steps and not chosen.minutes:
            own["minutes"] = 0
        if chosen.minutes and not chosen.steps:
            own["steps"] = 0
        return own


def _set(**values: Any) -> dict[str, Any]:
    """What of the values somebody set."""
    return {name: value for name, value in values.items() if value is not None}


def _joined(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The upper settings over the lower ones; what both say of one task is joined in the same way."""
    both = {name: {**lower[name], **upper[name]} for name in upper if isinstance(lower.get(name), Mapping)}
    return {**lower, **upper, **both}


def _without(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The settings and those of each task, without these names."""
    return {
        key: _without(value, *names) if isinstance(value, Mapping) else value
        for key, value in settings.items()
        if key not in names
    }
