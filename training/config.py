"""What each command of this package takes: the JSON of `fit`, `encode`, `sample` and `evaluate`, typed. Needs no torch.

A configuration is a JSON object whose keys are the fields of a class below. An unknown key, a missing one or a value
that does not fit is a ConfigError that names it. Shapes of models are in `model.config`.
"""

from __future__ import annotations

import json
import sys
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
# words are learned where most steps give nothing but the caption. Steps across patches' borders are what the eye finds first.
RECIPE: dict[str, dict[str, Any]] = {
    "codec": {"borders": 2.0},
    "transformer": {"noise_shift": 1.3, "text_mode": 2.0, "numeric_dropout": 0.3},
}

# by task: what its weights are judged by on held-out clips; less of it is better
HELD_OUT: dict[str, str] = {"codec": "heldout/codec_loss", "transformer": "heldout/flow_loss"}
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
    # A pretrained base to tune in place of a model of `size`: a folder as diffusers saves a pipeline, see model/base_folder.py.
    # `lora`: "rank", "alpha" and "targets", names of the maps that get an adapter. No rendered clips, and text mode alone.
    base: str = ""
    base_sha256: str = ""  # the digest that it must have
    base_licence: str = ""  # under which you have it, where the folder does not say
    tuning: Literal["lora", "full"] = "lora"
    lora: dict[str, Any] = field(default_factory=dict)
    time_mean: float | None = None  # transformer: mean of logit(t); None: it grows with a clip's tokens
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
    steps: NotNegative = 800  # 0: as many as the minutes allow
    # A budget of time: the run ends with the last step that fits, and the rate falls with the share that is spent. What came
    # out of it depends on the machine. With steps too, whichever ends first. 0: the steps decide.
    minutes: Annotated[float, Field(ge=0)] = 0.0
    eval_every: Positive = 100
    checkpoint_every: Positive = 100
    patience: NotNegative = 0  # held-out measurements in a row without improvement that end the run; 0: none do
    lr: Annotated[float, Field(gt=0)] = 2e-3
    matrix_lr: Annotated[float, Field(ge=0)] = 0.0  # transformer: Muon's rate for matrices; 0: AdamW has all
    batch_tokens: Positive = 1280  # codec: latent cells; transformer: tokens
    batch_squares: NotNegative = 0  # transformer: most that a step's squared lengths sum to; 0: no bound
    warmup: int = 30
    decay: float = 0.4  # share of the run, at the end, over which the rate falls to a twentieth
    weight_decay: float = 0.01
    # codec: weight of LPIPS beside the squared error, which needs `networks`; and of a critic that tells filmed from remade
    perceptual: Annotated[float, Field(ge=0)] = 0.0
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    borders: Annotated[float, Field(ge=0)] = 0.0  # codec: weight of the steps across patches' borders
    networks: str = ""  # folder of the pretrained networks that measure
    train_encoder: bool = True  # codec: a run from a parent never does, so that its latents stay the parent's
    ema_decay: float = 0.995
    caption_dropout: float = 0.1
    # relative frequencies of a clip's captions, see data/clips.py: its own first one, all long and all short ones; all 0:
    # each phrasing as often as the next
    structured_caption: Frequency = 0.0
    long_captions: Frequency = 0.0
    short_captions: Frequency = 0.0
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
    # compute a block's activations anew for the backward pass, which takes a third more time and a tenth of the memory
    activation_checkpointing: bool = False
    device: str = ""  # where to compute, see training.device; empty: RUSHES_DEVICE, else a GPU, else the processor

    def __post_init__(self) -> None:
        if self.size not in LADDER:
            raise ConfigError(f"size must be one of {', '.join(LADDER)}, got {self.size!r}")
        if not self.steps and not self.minutes:
            raise ConfigError("a run needs steps or minutes; both are 0")
        if self.strategy == "fsdp" and self.task == "codec":
            raise ConfigError("strategy fsdp is for the transformer: a codec fits into every process")
        if self.matrix_lr and self.strategy == "fsdp":
            raise ConfigError("matrix_lr needs whole matrices in every process: strategy ddp, or matrix_lr 0")
        if self.base:
            self._check_base()
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
        if self.perceptual:
            needed.append("networks")
        if absent := [name for name in needed if not getattr(self, name)]:
            raise ConfigError(f"task {self.task} needs {', '.join(absent)}")
        _ = self.codec, self.transformer, self.sampling  # raises where a shape does not fit

    def _check_base(self) -> None:
        if self.rendered_share:
            raise ConfigError("a base is tuned on the snapshot alone: rendered_share must be 0")
        if self.strategy == "fsdp":
            raise ConfigError("a base is tuned whole in each process: strategy must be ddp")
        if unknown := sorted(self.lora.keys() - {"rank", "alpha", "targets"}):
            raise ConfigError(f"lora has rank, alpha and targets, not {', '.join(unknown)}")
        for name in ("rank", "alpha"):
            if not isinstance(value := self.lora.get(name, 1), int) or value < 1:
                raise ConfigError(f"lora: {name} must be a whole number of at least 1, got {value!r}")
        targets = self.lora.get("targets", ["to_q"])
        if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
            raise ConfigError(f"lora: targets must be a list of names of maps, got {targets!r}")

    @property
    def rendered_only(self) -> bool:
        return self.rendered_share == 1

    @property
    def last_step(self) -> int:
        """The step after which a run ends in any case."""
        return self.steps or sys.maxsize - 1

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
        own = SamplingConfig() if self.base else LADDER[self.size].sampling
        changed = _shaped("sampling_shape", own, self.sampling_shape)
        return replace(changed, noise_shift=self.noise_shift)

    @property
    def modes(self) -> dict[str, float]:
        """Relative frequency of each of MODES that is trained. A pretrained base makes videos from text alone."""
        if self.base:
            return {"text": 1.0}
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
    # where a size's pictures lie in no folder: a JSON list of where each clip is (data/cut.py: SOURCE), of which latents are
    # made in shards
    sources: str = ""
    size: str = "nano"  # of those latents
    ancestors: list[Ancestor] = field(default_factory=list)  # of the codec, as TrainConfig has them
    device: str = ""  # as TrainConfig has it


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
    device: str = ""  # as TrainConfig has it

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
    camera_trials: NotNegative = 0  # held-out trials that ask for a move of the camera; 0: not measured
    networks: str = ""  # folder of pretrained networks (training/networks); empty: what needs them is not measured
    clips: NotNegative = 0  # held-out captions that the model makes videos of, for the networks to look at; 0: none
    twins: NotNegative = (
        0  # clips of each kind whose violated twins must be noticed (evaluate/twins.py); 0: not measured
    )
    classes: str = (
        ""  # file of the clips' classes, {clip_id: {dimension: class}}: slices beside those of aspect and motion
    )
    base_dir: str = ""  # the base model of the size, to be compared with; empty: the size has none
    base_scores: str = ""  # file with the base's answers on the trials: read if it is about these, written if not
    seed: int = 0
    device: str = ""  # as TrainConfig has it


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
