"""The shapes of models: the codec's, the transformer's, how it is sampled, and the ladder of sizes. Needs no torch.

`build` makes a configuration of any kind from plain values. Pydantic checks every key and type; a ConfigError says what
is wrong. The fields are the keys of `codec.json` and `transformer.json`, so they keep their names.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat, ValidationError
from pydantic.dataclasses import dataclass

from training.data.policy import DataPolicy

STRICT = ConfigDict(strict=True, extra="forbid")  # no "5" for 5, no unknown key
Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]

MODES = ("text", "first", "last", "ends", "prefix", "suffix", "between", "keyframes")  # see conditioning.drawn_frames

Config = TypeVar("Config")


class ConfigError(ValueError):
    """A configuration that cannot be used. Says which key and what is allowed."""


def build(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration of this kind from plain values. Raises ConfigError, which names everything that is wrong."""
    try:
        return kind(**values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explained(kind, problem) for problem in error.errors())) from error


def _explained(kind: Any, problem: Mapping[str, Any]) -> str:
    """One of pydantic's findings as a message."""
    what, name = problem["type"], ".".join(map(str, problem["loc"]))
    if what == "value_error":
        return str(problem["ctx"]["error"])
    if what == "missing":
        return f"missing key {name}"
    if what == "unexpected_keyword_argument":
        names = [item.name for item in dataclasses.fields(kind)]
        close = difflib.get_close_matches(name, names, n=1)
        return f"unknown key {name!r}; " + (
            f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(names)}"
        )
    message = problem["msg"].removeprefix("Input ")
    return f"{name} {message}, got {problem['input']!r}"


@dataclass(frozen=True, config=STRICT)
class CodecConfig:
    """The video autoencoder: `patch` pixels a side and `stride` frames become one cell of `channels` values.

    Kinds: "learned"; "haar", which has no parameters and loses nothing (`channels` must then be `tube_values`); and
    "pretrained", which others made (pretrained.py). With a `knee`, a learned codec's start holds down components whose
    variance is beyond so many times the mean component's (codec.py); 0: none is, and latents keep the metric of pixels.
    """

    channels: Positive = 16
    patch: Positive = 8
    stride: Positive = 4
    width: Positive = 64
    encoder_blocks: int = 1
    decoder_blocks: int = 3
    kind: Literal["learned", "haar", "pretrained"] = "learned"
    knee: Annotated[float, Field(ge=0)] = 0.0
    smoothing: NotNegative = 0  # width of the network that takes patches' borders out of the pixels; 0: none

    def __post_init__(self) -> None:
        if self.kind == "haar" and self.channels != self.tube_values:
            raise ConfigError(f"a Haar codec of this patch and stride has {self.tube_values} channels")

    @property
    def image_values(self) -> int:
        return 3 * self.patch * self.patch

    @property
    def tube_values(self) -> int:
        return self.image_values * self.stride


@dataclass(frozen=True, config=STRICT)
class TransformerConfig:
    """The diffusion transformer. Parameters are about 16 `width`^2 a layer (attention 4, cross-attention 4, MLP 8).

    `adaln`: how a block gets its six rows of modulation. "single": one map for all blocks and a learned table for each
    (PixArt-alpha, Wan). "zero": each block has its own map, which starts at zero (DiT); 6 `width`^2 more a layer.
    Without `cross_attention` the caption's mean is the only text condition, as the class is DiT's.
    """

    width: int
    layers: int
    heads: Positive
    patch: int = 2  # latent cells a side that make one token
    channels: int = 16  # of the codec's latent
    text_width: int = 384  # of the text encoder's tokens
    mlp_ratio: int = 4
    rope_theta: float = 256.0
    # or, where tokens hold more values than a narrow width can pass:
    # "correction" (flow.GaussianVelocity) or "clip" (Transformer.forward)
    predicts: Literal["velocity", "correction", "clip"] = "velocity"
    adaln: Literal["single", "zero"] = "single"
    cross_attention: bool = True

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ConfigError(f"width {self.width} must be an even number of values for each of {self.heads} heads")

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def token_values(self) -> int:
        return self.channels * self.patch * self.patch


@dataclass(frozen=True, config=STRICT)
class SamplingConfig:
    """How a model is sampled unless the caller says otherwise. It is part of the model, in transformer.json.

    Results depend on all of it: a model that was trained on noisier times must be sampled there (`noise_shift`), and one
    that was trained on one size and frame rate is at its best there.
    """

    noise_shift: FiniteFloat = 0.0  # of training, see TrainConfig
    guidance: FiniteFloat = 3.0  # 1: none
    steps: Positive = 24
    width: Positive = 64  # pixels
    height: Positive = 64
    frames: Positive = 17
    fps: Annotated[float, Field(ge=1, le=120)] = 8.0
    deblock: bool = False  # even out small steps between neighbouring tokens, see patches.deblock

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@dataclasses.dataclass(frozen=True)
class Size:
    """One rung of the ladder. A model is sampled, unless the caller says otherwise, as its clips are cut."""

    transformer: TransformerConfig
    codec: CodecConfig
    parameters: int  # of the transformer; tests count them
    data: DataPolicy  # what the transformer is trained on, as latents
    # what the codec is trained on and measured by where not the same: pictures that lie on disk. Latents are then made
    # straight from the delivered files
    crops: DataPolicy | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @property
    def pictures(self) -> DataPolicy:
        """The policy of the pictures that lie on disk."""
        return self.crops or self.data


def _streamed(data: DataPolicy, crop: int) -> dict[str, Any]:
    """A policy whose pictures never lie on disk whole. 17 frames of a square are enough for a codec, which sees no further
    than a few cells and frames: 3 MB a clip where 121 frames of 720p have 335."""
    width, height = data.size(16, 9) if data.side >= 480 else data.size(1, 1)
    sampling = SamplingConfig(width=width, height=height, frames=data.frames, fps=data.fps)
    return {"data": data, "crops": dataclasses.replace(data, frames=17, crop=crop), "sampling": sampling}


# Head width 128 from S upwards: GPU attention kernels reach a third more of their rate than at 64.
LADDER: dict[str, Size] = {
    # One value in 24 is kept, and the encoder is linear, so that all models of a line share one latent space. Tokens hold as
    # many values as the transformer is wide; it predicts the clip, which lies in few of their directions.
    "nano": Size(
        TransformerConfig(128, 6, 2, patch=1, channels=128, predicts="clip"),
        CodecConfig(channels=128, patch=16, encoder_blocks=0, knee=0.3, smoothing=16),
        1_873_120,
        DataPolicy(64, 17, 8.0, slack=0.3, aspects=()),
        sampling=SamplingConfig(guidance=1.5, deblock=True),
    ),
    "micro": Size(
        TransformerConfig(256, 6, 4),
        CodecConfig(width=128, encoder_blocks=2, decoder_blocks=4, smoothing=32),
        7_085_984,
        DataPolicy(128, 17, 8.0, slack=0.15),
        sampling=SamplingConfig(width=128, height=128),
    ),
    "S": Size(
        TransformerConfig(384, 12, 3),
        CodecConfig(width=256, encoder_blocks=3, decoder_blocks=6, smoothing=32),
        29_896_864,
        **_streamed(DataPolicy(256, 33, 12.0, slack=0.1), crop=160),
    ),
    "B": Size(
        TransformerConfig(768, 12, 6),
        CodecConfig(width=256, encoder_blocks=3, decoder_blocks=6, smoothing=32),
        118_474_144,
        **_streamed(DataPolicy(640, 49, 16.0), crop=256),  # 480p
    ),
    "L": Size(
        TransformerConfig(1024, 24, 8),
        CodecConfig(width=384, encoder_blocks=4, decoder_blocks=8, smoothing=32),
        411_708_320,
        **_streamed(DataPolicy(640, 81, 16.0), crop=256),
    ),
    "XL": Size(
        TransformerConfig(1152, 28, 9),
        CodecConfig(width=384, encoder_blocks=4, decoder_blocks=8, smoothing=32),
        605_854_368,
        **_streamed(DataPolicy(960, 81, 16.0), crop=256),  # 720p
    ),
    "2B": Size(
        TransformerConfig(2048, 28, 16),
        CodecConfig(width=512, encoder_blocks=4, decoder_blocks=8, smoothing=32),
        1_911_991_200,
        **_streamed(DataPolicy(960, 121, 24.0), crop=256),
    ),
}


def read_sampling(folder: str | Path) -> SamplingConfig:
    """How the model in a folder is sampled: what its transformer.json says, or the defaults where it says nothing."""
    path = Path(folder) / "transformer.json"
    try:
        return build(SamplingConfig, dict(json.loads(path.read_text()).get("sampling", {})))
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: it does not say how the model is sampled: {error}") from error
