"""Pretrained autoencoders as codecs: LTX, Wan, Cosmos and CogVideoX, from a folder as diffusers saves it.

They are read from disk alone and as safetensors alone: nothing is downloaded and nothing unpickled. Each has its own
normalisation of latents, kept in its own place; here it is always applied, so that latents come out as the transformer
wants them. They are for inference: training them needs losses and hardware that are not here. They are encoded and
decoded whole. diffusers is an optional dependency (`pip install "rushes[diffusers]"`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.model.config import CodecConfig
from training.model.exposure import Exposure, header
from training.model.patches import VideoCodec

# The library's class names of what is known here. All take T = sk + 1 frames, and the first is alone in its latent. Only
# CogVideoX's is not exactly that of the frame as an image: its group norms look at all frames that are encoded with it.
KNOWN = ("AutoencoderKLLTXVideo", "AutoencoderKLWan", "AutoencoderKLCosmos", "AutoencoderKLCogVideoX")


class PretrainedError(ValueError):
    """A folder that holds no autoencoder that can be read. Says what is missing and what is known."""


class PretrainedCodec(VideoCodec):
    """One of KNOWN behind the interface of a codec."""

    mean_Ct: Tensor
    std_Ct: Tensor

    def __init__(self, autoencoder: Any) -> None:
        config, name = autoencoder.config, type(autoencoder).__name__
        channels = config.z_dim if name == "AutoencoderKLWan" else config.latent_channels
        patch, stride = _ratios(autoencoder, name)
        super().__init__(CodecConfig(channels=channels, patch=patch, stride=stride, kind="pretrained"))
        self.autoencoder = autoencoder
        # CogVideoX decodes latent frames in pairs, of which the first has a third: an even number loses the image
        self.pairs = 2 if name == "AutoencoderKLCogVideoX" else 1
        mean_Ct, std_Ct = _statistics(autoencoder, channels)
        self.register_buffer("mean_Ct", mean_Ct, persistent=False)
        self.register_buffer("std_Ct", std_Ct, persistent=False)

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """The mode of the posterior, normalised: [B, C, (T - 1)/s + 1, H/p, W/p]. ValueError for other sizes."""
        self.check_size(x_BCTHW)
        self._check_length((x_BCTHW.shape[2] - 1) // self.config.stride + 1)
        z_BCthw = self.autoencoder.encode(x_BCTHW).latent_dist.mode()
        mean, std = self._frames(z_BCthw.shape[2])
        return (z_BCthw - mean) / std

    def decode(self, z_BCthw: Tensor) -> Tensor:
        """Pixels [B, 3, s(t-1)+1, ph, pw]; not clipped. ValueError for numbers of frames that it cannot decode."""
        self._check_length(z_BCthw.shape[2])
        mean, std = self._frames(z_BCthw.shape[2])
        more: dict[str, Any] = {}
        if getattr(self.autoencoder.config, "timestep_conditioning", False):
            more["temb"] = z_BCthw.new_zeros(len(z_BCthw))  # LTX 0.9.1 and later: how noisy the latent still is
        return self.autoencoder.decode(z_BCthw * std + mean, **more).sample

    def _check_length(self, t: int) -> None:
        if (t - 1) % self.pairs:
            step = self.config.stride * self.pairs
            raise ValueError(f"this codec takes {step}k + 1 frames, got {self.config.stride * (t - 1) + 1}")

    def _frames(self, t: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation [1, C, t, 1, 1]; frames beyond those that have their own have the last one's."""
        index_t = torch.arange(t, device=self.mean_Ct.device).clamp_max(self.mean_Ct.shape[1] - 1)
        return self.mean_Ct[None, :, index_t, None, None], self.std_Ct[None, :, index_t, None, None]


def _ratios(autoencoder: Any, name: str) -> tuple[int, int]:
    """Pixels a side and frames of one latent cell."""
    config = autoencoder.config
    if name == "AutoencoderKLCogVideoX":
        return 2 ** (len(config.block_out_channels) - 1), int(config.temporal_compression_ratio)
    if name == "AutoencoderKLWan":
        return int(config.scale_factor_spatial), int(config.scale_factor_temporal)
    holder = config if name == "AutoencoderKLCosmos" else autoencoder
    return int(holder.spatial_compression_ratio), int(holder.temporal_compression_ratio)


def _statistics(autoencoder: Any, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation [C, t] of the latents: t is 1, or as many frames as have their own (Cosmos)."""
    config = autoencoder.config
    own = dict(autoencoder.named_buffers())  # LTX keeps them among its weights
    mean, std = (own.get(name, config.get(name)) for name in ("latents_mean", "latents_std"))
    mean_Ct = torch.zeros(channels, 1) if mean is None else torch.as_tensor(mean).float().reshape(channels, -1)
    std_Ct = torch.ones(channels, 1) if std is None else torch.as_tensor(std).float().reshape(channels, -1)
    return mean_Ct, std_Ct / float(config.get("scaling_factor") or 1.0)


def load_pretrained(folder: str | Path) -> PretrainedCodec:
    """The autoencoder that diffusers saved in a folder, in evaluation mode. Raises PretrainedError."""
    folder = Path(folder)
    try:
        name = json.loads((folder / "config.json").read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PretrainedError(f"{folder}: no config.json that names an autoencoder: {error!r}") from error
    if name not in KNOWN:
        raise PretrainedError(f"{folder}: holds a {name}; known are {', '.join(KNOWN)}")
    if not list(folder.glob("diffusion_pytorch_model*.safetensors")):
        raise PretrainedError(f"{folder}: holds no weights as safetensors; other formats can run code and are not read")
    autoencoder = _kind(name).from_pretrained(
        str(folder), use_safetensors=True, local_files_only=True, low_cpu_mem_usage=False, torch_dtype=torch.float32
    )
    return PretrainedCodec(autoencoder).eval().requires_grad_(False)


def _kind(name: str) -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise PretrainedError('autoencoders of others need diffusers: pip install "rushes[diffusers]"') from error
    return getattr(diffusers, name)


def save_pretrained_codec(codec: PretrainedCodec, folder: Path, exposure: Exposure, base: Mapping[str, str]) -> None:
    """Write codec.safetensors and codec.json, by which the autoencoder stands alone.

    `base` are the facts of the base that it comes from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in codec.autoencoder.state_dict().items()}
    save_file(weights, folder / "codec.safetensors", header(exposure))
    own = {name: value for name, value in codec.autoencoder.config.items() if not name.startswith("_")}
    described = {
        **asdict(codec.config),
        "autoencoder": type(codec.autoencoder).__name__,
        "arguments": own,
        "base": base,
    }
    (folder / "codec.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


def restored(folder: Path, described: Mapping[str, Any]) -> PretrainedCodec:
    """What `save_pretrained_codec` wrote; `described` is its codec.json. Raises PretrainedError."""
    if (name := described.get("autoencoder")) not in KNOWN:
        raise PretrainedError(f"{folder}: codec.json names a {name}; known are {', '.join(KNOWN)}")
    autoencoder = _kind(str(name))(**described["arguments"])
    autoencoder.load_state_dict(load_file(folder / "codec.safetensors"))
    return PretrainedCodec(autoencoder).eval().requires_grad_(False)
