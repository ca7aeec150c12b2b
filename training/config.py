"""Typed configurations: the ladder of model sizes, and the JSON that each command of this package takes.

A configuration is a JSON object whose keys are the fields of a dataclass below. An unknown key, a missing one or a value
of the wrong type is a ConfigError that names it.
"""

from __future__ import annotations

import difflib
import json
import math
import types
import typing
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar


class ConfigError(ValueError):
    """A configuration that cannot be used. Says which key and what is allowed."""


def _one_of(name: str, value: str, allowed: typing.Iterable[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


@dataclass(frozen=True)
class CodecConfig:
    """The video autoencoder: `patch` pixels a side and `stride` frames become one cell of `channels` values.

    Kinds: "learned"; "haar", which has no parameters and loses nothing (`channels` must then be `tube_values`); and
    "pretrained", which others made (pretrained.py). With a `knee`, a learned codec's start holds down components whose
    variance is beyond so many times the mean component's (codec.py); 0: none is, and latents keep the metric of pixels.
    """

    channels: int = 16
    patch: int = 8
    stride: int = 4
    width: int = 64
    encoder_blocks: int = 1
    decoder_blocks: int = 3
    kind: str = "learned"
    knee: float = 0.0

    def __post_init__(self) -> None:
        if self.knee < 0:
            raise ConfigError(f"the codec's knee must be at least 0, got {self.knee}")
        for name in ("channels", "patch", "stride", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"the codec's {name} must be at least 1, got {getattr(self, name)}")
        _one_of("the codec's kind", self.kind, ("learned", "haar", "pretrained"))
        if self.kind == "haar" and self.channels != self.tube_values:
            raise ConfigError(f"a Haar codec of this patch and stride has {self.tube_values} channels")

    @property
    def image_values(self) -> int:
        return 3 * self.patch * self.patch

    @property
    def tube_values(self) -> int:
        return self.image_values * self.stride


@dataclass(frozen=True)
class TransformerConfig:
    """The diffusion transformer. Parameters are about 16 `width`^2 a layer (attention 4, cross-attention 4, MLP 8).

    `adaln`: how a block gets its six rows of modulation. "single": one map for all blocks and a learned table for each
    (PixArt-alpha, Wan). "zero": each block has its own map, which starts at zero (DiT); 6 `width`^2 more a layer.
    Without `cross_attention` the caption's mean alone is told, as DiT is told its class.
    """

    width: int
    layers: int
    heads: int
    patch: int = 2  # latent cells a side that make one token
    channels: int = 16  # of the codec's latent
    text_width: int = 384  # of the text encoder's tokens
    mlp_ratio: int = 4
    rope_theta: float = 256.0
    # or, where tokens hold more values than a narrow width can pass: "correction" (gaussian.py), "clip" (Transformer.forward)
    predicts: str = "velocity"
    adaln: str = "single"
    cross_attention: bool = True

    def __post_init__(self) -> None:
        _one_of("adaln", self.adaln, ("single", "zero"))
        if self.heads < 1 or self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} must be an even number of values for each of {self.heads} heads")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def token_values(self) -> int:
        return self.channels * self.patch * self.patch


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is sampled unless the caller says otherwise. It is part of the model, in transformer.json.

    Results depend on all of it: a model that was trained on noisier times must be sampled there (`noise_shift`), and one
    that was trained on one size and frame rate is at its best there.
    """

    noise_shift: float = 0.0  # of training, see TrainConfig
    guidance: float = 3.0  # 1: none
    steps: int = 24
    width: int = 64  # pixels
    height: int = 64
    frames: int = 17
    fps: float = 8.0
    deblock: bool = False  # even out small steps between neighbouring tokens, see patches.deblock

    def __post_init__(self) -> None:
        for name in ("steps", "width", "height", "frames"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 1 <= self.fps <= 120:
            raise ConfigError(f"fps must be from 1 to 120, got {self.fps:g}")
        for name in ("noise_shift", "guidance"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"{name} must be a finite number, got {getattr(self, name)}")

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@dataclass(frozen=True)
class Size:
    """One rung of the ladder."""

    transformer: TransformerConfig
    codec: CodecConfig
    parameters: int  # of the transformer; tests count them
    sampling: SamplingConfig = field(default_factory=SamplingConfig)


# Head width 128 from S upwards: GPU attention kernels reach a third more of their rate than at 64.
LADDER: dict[str, Size] = {
    # One value in 24 is kept, and the encoder is linear, so that all models of a line share one latent space. Tokens hold as
    # many values as the transformer is wide; it predicts the clip, which lies in few of their directions.
    "nano": Size(
        TransformerConfig(128, 6, 2, patch=1, channels=128, predicts="clip"),
        CodecConfig(channels=128, patch=16, encoder_blocks=0, knee=0.3),
        1_873_120,
        SamplingConfig(guidance=1.5, deblock=True),
    ),
    "micro": Size(TransformerConfig(256, 6, 4), CodecConfig(width=128, encoder_blocks=2, decoder_blocks=4), 7_085_984),
    "S": Size(TransformerConfig(384, 12, 3), CodecConfig(width=256, encoder_blocks=3, decoder_blocks=6), 29_896_864),
    "B": Size(TransformerConfig(768, 12, 6), CodecConfig(width=256, encoder_blocks=3, decoder_blocks=6), 118_474_144),
    "L": Size(TransformerConfig(1024, 24, 8), CodecConfig(width=384, encoder_blocks=4, decoder_blocks=8), 411_708_320),
    "XL": Size(TransformerConfig(1152, 28, 9), CodecConfig(width=384, encoder_blocks=4, decoder_blocks=8), 605_854_368),
    "2B": Size(
        TransformerConfig(2048, 28, 16), CodecConfig(width=512, encoder_blocks=4, decoder_blocks=8), 1_911_991_200
    ),
}


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


@dataclass(frozen=True)
class TrainConfig:
    """`python -m training.fit`: one task, from a sealed snapshot to weights in `run_dir`."""

    task: str  # codec or transformer
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
    # {"root", "manifest"} of every other snapshot that the parent, the codec or a checkpoint to go on from ever saw
    ancestors: list[dict[str, str]] = field(default_factory=list)
    repetition: str = ""  # file that says how often each training clip is seen, see repetition.py; empty: all the same
    repetition_sha256: str = ""  # its digest
    other_snapshot: str = "restart"  # where the checkpoints saw another snapshot: begin anew, or continue from them
    size: str = "nano"
    codec_shape: dict[str, Any] = field(default_factory=dict)  # CodecConfig's fields in which this run leaves its size
    transformer_shape: dict[str, Any] = field(default_factory=dict)  # TransformerConfig's, likewise
    sampling_shape: dict[str, Any] = field(default_factory=dict)  # SamplingConfig's, likewise; not noise_shift
    numbers: str = ""  # transformer: file of what was measured of the clips, see conditioning.read_numbers
    # Share of each step's clips that are rendered scenes (simulate/supply.py), which nobody's consent is needed for, and how
    # many different ones there are. 1: nothing else, and no snapshot is named.
    rendered_share: float = 0.0
    rendered_clips: int = 4096
    seed: int = 0
    steps: int = 800
    eval_every: int = 100
    checkpoint_every: int = 100
    patience: int = 0  # held-out measurements in a row without improvement after which the run ends; 0: it never does
    lr: float = 2e-3
    batch_tokens: int = 1280  # codec: latent cells; transformer: tokens
    batch_squares: int = 0  # transformer: most that a step's squared lengths sum to, as attention costs; 0: no bound
    warmup: int = 30
    decay: float = 0.4  # share of the steps, at the end, over which the rate falls to a twentieth
    weight_decay: float = 0.01
    train_encoder: bool = True  # codec: a run from a parent never does, so that its latents stay the parent's
    ema_decay: float = 0.995
    caption_dropout: float = 0.1
    numeric_dropout: float = 0.1
    noise_shift: float = 0.0  # transformer: added to the mean of logit(t), see flow.draw_timestep
    text_mode: float = 0.7  # relative frequencies of the conditioning modes, see conditioning.MODES
    first_mode: float = 0.1
    last_mode: float = 0.02
    ends_mode: float = 0.04
    prefix_mode: float = 0.05
    suffix_mode: float = 0.03
    between_mode: float = 0.03
    keyframes_mode: float = 0.03
    resume: bool = True
    strategy: str = "ddp"  # of several processes: each has the whole model (ddp), or a shard of it (fsdp; transformer)
    compile: bool = True  # the transformer's blocks, on a GPU

    def __post_init__(self) -> None:
        _one_of("task", self.task, ("codec", "transformer"))
        _one_of("size", self.size, LADDER)
        _one_of("strategy", self.strategy, ("ddp", "fsdp"))
        if self.strategy == "fsdp" and self.task == "codec":
            raise ConfigError("strategy fsdp is for the transformer: a codec fits into every process")
        _one_of("other_snapshot", self.other_snapshot, ("restart", "continue"))
        _ancestors(self.ancestors)
        if bool(self.repetition) != bool(self.repetition_sha256):
            raise ConfigError("repetition and repetition_sha256 go together: the file and its digest, or neither")
        for name in ("steps", "eval_every", "checkpoint_every", "batch_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("batch_squares", "patience"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ConfigError(f"lr must be positive, got {self.lr}")
        if not self.modes or any(weight < 0 for weight in self.modes.values()):
            raise ConfigError(f"the modes' frequencies must not be negative, and one must be positive: {self.modes}")
        if not 0 <= self.rendered_share <= 1 or self.rendered_clips < 1:
            raise ConfigError(
                f"rendered_share must be from 0 to 1 and rendered_clips positive, got {self.rendered_share}"
            )
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
        """Relative frequency of each of conditioning.MODES."""
        found = (
            (f.name.removesuffix("_mode"), getattr(self, f.name)) for f in fields(self) if f.name.endswith("_mode")
        )
        return {name: weight for name, weight in found if weight}


@dataclass(frozen=True)
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
    ancestors: list[dict[str, str]] = field(default_factory=list)  # of the codec, as TrainConfig has them

    def __post_init__(self) -> None:
        _ancestors(self.ancestors)


@dataclass(frozen=True)
class GenerateConfig:
    """`python -m training.sample`: one mp4 for each prompt, and samples.json, in `out`."""

    model_dir: str
    text_encoder: str
    prompts: list[str]
    out: str
    seeds: list[int] | None = None  # one for each prompt; None: 0, 1, 2, ...
    negative_prompt: str = ""
    # None, here and of a frame rate in `numbers` that is not told: the model's own, see SamplingConfig
    steps: int | None = None
    guidance: float | None = None
    frames: int | None = None
    size: list[int] | None = None  # width and height in pixels
    method: str = "euler"
    guidance_interval: list[float] = field(
        default_factory=lambda: [0.0, 1.0]
    )  # times at which guidance acts; 1 is noise
    guidance_rescale: float = 0.0
    numbers: dict[str, Any] = field(
        default_factory=dict
    )  # by the names of conditioning.NUMERIC; absent: the model's choice
    references: list[dict[str, Any]] = field(default_factory=list)  # {"role", "path", "seconds"}, see given.py
    strength: float = 0.7  # video-to-video: how much of the source goes, from 0 (nothing) to 1 (all)

    def __post_init__(self) -> None:
        if self.size is not None and len(self.size) != 2:
            raise ConfigError(f"size must be width and height, got {self.size}")
        if len(self.guidance_interval) != 2:
            raise ConfigError(f"guidance_interval must be two times, got {self.guidance_interval}")
        for entry in self.references:
            if not {"role", "path"} <= set(entry) <= {"role", "path", "seconds"}:
                raise ConfigError(f'references must hold {{"role", "path"}} and perhaps "seconds", got {entry!r}')


@dataclass(frozen=True)
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
    # held-out trials for each question (evaluate/trials.py): so many pairs, and as many that move; 0: not measured
    trials: int = 0
    base_dir: str = ""  # the base model of the size, to be compared with; empty: the size has none
    base_scores: str = ""  # file with the base's answers on the trials: read if it is about these, written if not
    seed: int = 0


Config = TypeVar("Config")


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


def build(kind: type[Config], values: dict[str, Any]) -> Config:
    """A configuration of this kind from plain values, every key and type checked. Raises ConfigError."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}"
            raise ConfigError(f"unknown key {name!r}{hint}")
    missing = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING and n not in values]
    if missing:
        raise ConfigError(f"missing key {', '.join(missing)}")
    hints = typing.get_type_hints(kind)
    return kind(**{name: _typed(name, value, hints[name]) for name, value in values.items()})


def read_sampling(folder: str | Path) -> SamplingConfig:
    """How the model in a folder is sampled: what its transformer.json says, or the defaults where it says nothing."""
    path = Path(folder) / "transformer.json"
    try:
        return build(SamplingConfig, dict(json.loads(path.read_text()).get("sampling", {})))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: it does not say how the model is sampled: {error}") from error


def _shaped(what: str, shape: Config, changes: dict[str, Any]) -> Config:
    try:
        return build(type(shape), {**vars(shape), **changes})
    except ConfigError as error:
        raise ConfigError(f"{what}: {error}") from error


def _typed(name: str, value: Any, hint: Any) -> Any:
    """`value` if it fits the annotation; an int where a float is asked becomes one."""
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _typed(name, value, options[0])
    if typing.get_origin(hint) is list:
        if not isinstance(value, list):
            raise ConfigError(f"{name} must be a list, got {value!r}")
        return [_typed(f"{name}[{i}]", item, typing.get_args(hint)[0]) for i, item in enumerate(value)]
    plain = typing.get_origin(hint) or hint
    if plain is float and type(value) is int:
        return float(value)
    if type(value) is not plain:
        raise ConfigError(f"{name} must be {plain.__name__}, got {value!r}")
    return value


def _ancestors(given: list[dict[str, str]]) -> None:
    for ancestor in given:
        if set(ancestor) != {"root", "manifest"} or not all(isinstance(value, str) for value in ancestor.values()):
            raise ConfigError(f'ancestors must hold {{"root", "manifest"}} of strings, got {ancestor!r}')
