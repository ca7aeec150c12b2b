"""What each command of this package takes: the JSON of `fit`, `encode`, `sample` and `evaluate`, typed. Needs no torch.

A configuration is a JSON object whose keys are the fields of a class below. An unknown key, a missing one or a value
that does not fit is a ConfigError that names it. Shapes of models are in `model.config`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from training.model.config import (
    LADDER,
    MODES,
    STRICT,
    CodecConfig,
    Config,
    ConfigError,
    NotNegative,
    Positive,
    SamplingConfig,
    TransformerConfig,
    build,
)

# What base, benchmark and nights have in common. What a clip shows is decided at more noise than its few tokens say, and
# words are learned where most steps give nothing but the caption.
RECIPE: dict[str, dict[str, Any]] = {
    "codec": {},
    "transformer": {"noise_shift": 1.3, "text_mode": 2.0, "numeric_dropout": 0.3},
}

# by task: what its weights are judged by on held-out clips, and whether more of it is better
HELD_OUT: dict[str, tuple[str, bool]] = {
    "codec": ("heldout/psnr_db", True),
    "transformer": ("heldout/flow_loss", False),
}
Frequency = Annotated[float, Field(ge=0)]
Pair = Field(min_length=2, max_length=2)
# a snapshot that the parent, the codec or a checkpoint to go on from ever saw: its root, and its manifest's file
Ancestor = Annotated[dict[Literal["root", "manifest"], str], Field(min_length=2)]


@dataclass(frozen=True, config=STRICT)
class TrainConfig:
    """`python -m training.fit`: one task, from a sealed snapshot to weights in `run_dir`."""

    task: Literal["codec", "transformer"]
    run_dir: str
    manifest: str  # the sealed snapshot's manifest.json
    snapshot_root: str  # the root it must have
    database_url: str  # of the consent ledger
    frames_dir: str = ""  # codec: <clip_id>.safetensors with `frames`
    latents_dir: str = ""  # transformer: <clip_id>.safetensors with `latent`
    left_out: list[str] = field(default_factory=list)  # transformer: clips of the manifest that have no latent
    codec_dir: str = ""  # transformer: codec.safetensors and codec.json
    text_dir: str = ""  # transformer: <sha256 of text>.safetensors with `tokens`
    text_encoder: str = ""  # folder of the text encoder; named in the transformer's description
    parent_dir: str = ""  # a finished model's folder to start from: its weights, and what they saw
    ancestors: list[Ancestor] = field(default_factory=list)  # every other snapshot that the weights to start from saw
    repetition: str = ""  # file that says how often each training clip is seen (data/repeats.py); empty: equally
    repetition_sha256: str = ""  # its digest
    # where the checkpoints saw another snapshot: begin anew, or continue from them
    other_snapshot: Literal["restart", "continue"] = "restart"
    size: str = "nano"
    codec_shape: dict[str, Any] = field(default_factory=dict)  # CodecConfig's fields in which this run leaves its size
    transformer_shape: dict[str, Any] = field(default_factory=dict)  # TransformerConfig's, likewise
    sampling_shape: dict[str, Any] = field(default_factory=dict)  # SamplingConfig's, likewise; not noise_shift
    numbers: str = ""  # transformer: file of what was measured of the clips, see conditioning.read_numbers
    # Share of each step's clips that are rendered scenes (simulate/supply.py), which nobody's consent is needed for, and how
    # many different ones there are. 1: nothing else, and no snapshot is named.
    rendered_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    rendered_clips: Positive = 4096
    seed: int = 0
    steps: Positive = 800
    eval_every: Positive = 100
    checkpoint_every: Positive = 100
    patience: NotNegative = 0  # held-out measurements in a row without improvement that end the run; 0: none do
    lr: Annotated[float, Field(gt=0)] = 2e-3
    batch_tokens: Positive = 1280  # codec: latent cells; transformer: tokens
    batch_squares: NotNegative = 0  # transformer: most that a step's squared lengths sum to; 0: no bound
    warmup: int = 30
    decay: float = 0.4  # share of the steps, at the end, over which the rate falls to a twentieth
    weight_decay: float = 0.01
    train_encoder: bool = True  # codec: a run from a parent never does, so that its latents stay the parent's
    ema_decay: float = 0.995
    caption_dropout: float = 0.1
    numeric_dropout: float = 0.1
    noise_shift: float = 0.0  # transformer: added to the mean of logit(t), see flow.draw_timestep
    text_mode: Frequency = 0.7  # relative frequencies of the conditioning modes, see conditioning.drawn_frames
    first_mode: Frequency = 0.1
    last_mode: Frequency = 0.02
    ends_mode: Frequency = 0.04
    prefix_mode: Frequency = 0.05
    suffix_mode: Frequency = 0.03
    between_mode: Frequency = 0.03
    keyframes_mode: Frequency = 0.03
    resume: bool = True
    # of several processes: each has the whole model (ddp), or a shard of it (fsdp; transformer)
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = True  # the transformer's blocks, on a GPU

    def __post_init__(self) -> None:
        if self.size not in LADDER:
            raise ConfigError(f"size must be one of {', '.join(LADDER)}, got {self.size!r}")
        if self.strategy == "fsdp" and self.task == "codec":
            raise ConfigError("strategy fsdp is for the transformer: a codec fits into every process")
        if bool(self.repetition) != bool(self.repetition_sha256):
            raise ConfigError("repetition and repetition_sha256 go together: the file and its digest, or neither")
        if not self.modes:
            raise ConfigError("of the frequencies of the conditioning modes (text_mode, ...) one must be positive")
        if self.rendered_only == bool(self.manifest):
            raise ConfigError("a run names a manifest, or takes rendered clips alone (rendered_share 1); not both")
        needed = ["frames_dir"] if self.task == "codec" else ["latents_dir", "codec_dir", "text_dir"]
        if self.rendered_only:
            needed = ["codec_dir"] if self.task == "transformer" else []
        if self.rendered_share and self.task == "transformer":
            needed.append("text_encoder")
        if absent := [name for name in needed if not getattr(self, name)]:
            raise ConfigError(f"task {self.task} needs {', '.join(absent)}")
        _ = self.codec, self.transformer, self.sampling  # raises where a shape does not fit

    @property
    def rendered_only(self) -> bool:
        return self.rendered_share == 1

    @property
    def packing(self) -> dict[str, Any]:
        """How `packing.plan` packs for this task: the codec stacks clips of one shape, attention has its own budget."""
        return {"by_shape": True} if self.task == "codec" else {"attention_budget": self.batch_squares or None}

    @property
    def codec(self) -> CodecConfig:
        """The size's, with what `codec_shape` changes."""
        return _shaped("codec_shape", LADDER[self.size].codec, self.codec_shape)

    @property
    def transformer(self) -> TransformerConfig:
        """The size's, with what `transformer_shape` changes."""
        return _shaped("transformer_shape", LADDER[self.size].transformer, self.transformer_shape)

    @property
    def sampling(self) -> SamplingConfig:
        """The size's, with what `sampling_shape` changes and this run's `noise_shift`."""
        if "noise_shift" in self.sampling_shape:
            raise ConfigError("sampling_shape: noise_shift is that of training; set noise_shift itself")
        changed = _shaped("sampling_shape", LADDER[self.size].sampling, self.sampling_shape)
        return replace(changed, noise_shift=self.noise_shift)

    @property
    def modes(self) -> dict[str, float]:
        """Relative frequency of each of MODES that is trained."""
        return {name: weight for name in MODES if (weight := getattr(self, f"{name}_mode"))}


@dataclass(frozen=True, config=STRICT)
class EncodeConfig:
    """`python -m training.encode`: latents and caption tokens of a snapshot's members, where they are missing."""

    manifest: str
    snapshot_root: str
    database_url: str
    frames_dir: str
    codec_dir: str
    latents_dir: str
    text_dir: str
    text_encoder: str
    ancestors: list[Ancestor] = field(default_factory=list)  # of the codec, as TrainConfig has them


@dataclass(frozen=True, config=STRICT)
class GenerateConfig:
    """`python -m training.sample`: one mp4 for each prompt, and samples.json, in `out`."""

    model_dir: str
    text_encoder: str
    prompts: list[str]
    out: str
    seeds: list[int] | None = None  # one for each prompt; None: 0, 1, 2, ...
    negative_prompt: str = ""
    # None, and a frame rate that is not in `numbers`: the model's own, see SamplingConfig
    steps: int | None = None
    guidance: float | None = None
    frames: int | None = None
    size: Annotated[list[int], Pair] | None = None  # width and height in pixels
    method: str = "euler"
    # times at which guidance acts; 1 is noise
    guidance_interval: Annotated[list[float], Pair] = field(default_factory=lambda: [0.0, 1.0])
    guidance_rescale: float = 0.0
    numbers: dict[str, Any] = field(default_factory=dict)  # by conditioning.NUMERIC; absent: the model's choice
    # {"role", "path", "seconds"}, see sampling/references.py
    references: list[dict[Literal["role", "path", "seconds"], Any]] = field(default_factory=list)
    strength: float = 0.7  # video-to-video: how much of the source goes, from 0 (nothing) to 1 (all)

    def __post_init__(self) -> None:
        for entry in self.references:
            if not {"role", "path"} <= set(entry):
                raise ConfigError(f'references must hold {{"role", "path"}} and perhaps "seconds", got {entry!r}')


@dataclass(frozen=True, config=STRICT)
class EvaluateConfig:
    """`python -m training.evaluate`: a model measured on a snapshot's held-out clips, as JSON in the file `out`."""

    model_dir: str
    manifest: str
    snapshot_root: str
    frames_dir: str
    latents_dir: str
    text_dir: str
    text_encoder: str
    out: str
    numbers: str = ""  # file of what was measured of the clips, as TrainConfig has it
    samples: list[dict[str, Any]] | None = None  # {"path", "prompt"} of videos that this model generated
    scenes: int = 24  # simulated prompts whose colour is checked; 0: not measured
    # held-out trials for each question (evaluate/adherence.py): this many pairs, and as many that move; 0: not measured
    trials: int = 0
    base_dir: str = ""  # the base model of the size, to be compared with; empty: the size has none
    base_scores: str = ""  # file with the base's answers on the trials: read if it is about these, written if not
    seed: int = 0


def read_config(kind: type[Config], path: str | Path) -> Config:
    """The configuration in a JSON file. Raises ConfigError, which names the file."""
    try:
        values = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold a JSON object, not {type(values).__name__}")
    try:
        return build(kind, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _shaped(what: str, shape: Config, changes: Mapping[str, Any]) -> Config:
    try:
        return build(type(shape), {**vars(shape), **changes})
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error
