"""The video autoencoder: pixels to latents and back, causal in time.

Frames come as T = 4k + 1. Frame 0 becomes latent frame 0 on its own; every later group of four frames becomes one latent
frame. So an image is a video of one frame, and its latent is exactly the first latent of any video that starts with it.

Patchify first (LTX-Video, arXiv 2501.00103): one 8x8 patch of frame 0, or one 4x8x8 tube of later frames, is one vector,
and nothing works at full resolution. Two paths run over these vectors and are added:

  linear   one projection in, its transpose out, initialised by PCA of the training patches: a good codec within seconds
  residual causal 3-D convolution blocks between latent cells, whose last layer starts at zero: training starts from the
           linear codec's quality and learns what neighbouring cells say about each other

A convolution remembers the latent frame before a chunk, so a video encoded or decoded in chunks comes out as if whole.
The latent is normalised by per-channel statistics that are part of the weights and are always applied. The image latent
has its own statistics: one frame carries less energy than a tube of four. What does not depend on how patches become latents is
in patches.py; haar.py has a codec that loses nothing.

Shape suffixes: B batch, T frames, H W pixels, t h w latent frames, rows and columns, C latent channels, P patch values,
D features. Pixels are float in [-1, 1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.model.config import CodecConfig, ConfigError, build
from training.model.exposure import Exposure, header
from training.model.haar import HaarCodec
from training.model.patches import Memory, PatchCodec, VideoCodec
from training.model.pretrained import load_pretrained


def to_unit(frames_THWC: Tensor) -> Tensor:
    """uint8 [..., T, H, W, 3] to float [..., 3, T, H, W] in [-1, 1]."""
    return (frames_THWC.float() / 127.5 - 1).movedim(-1, -4)


def to_bytes(x_CTHW: Tensor) -> Tensor:
    """float [..., 3, T, H, W] in [-1, 1] to uint8 [..., T, H, W, 3], clipped."""
    return ((x_CTHW.movedim(-4, -1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class CausalConv3d(nn.Module):
    """3-D convolution whose output at latent frame i sees frames i - 1 and i only; what is before the first is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, kernel_size=(2, 3, 3), padding=(0, 1, 1))

    def forward(self, x_BDthw: Tensor, memory: Memory) -> Tensor:
        past_BD1hw = memory.past.get(self, torch.zeros_like(x_BDthw[:, :, :1]))
        memory.past[self] = x_BDthw[:, :, -1:]
        return self.conv(torch.cat([past_BD1hw, x_BDthw], dim=2))


class ResBlock(nn.Module):
    """x + zero-initialised mixing of a causal convolution. RMSNorm over channels at each position: statistics over time
    would break causality (and GroupNorm made this training unstable elsewhere, Open-Sora-Plan 1.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width)
        self.conv = CausalConv3d(width)
        self.mix = nn.Conv3d(width, width, 1)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)  # type: ignore[arg-type]

    def forward(self, x_BDthw: Tensor, memory: Memory) -> Tensor:
        h_BDthw = self.norm(x_BDthw.movedim(1, -1)).movedim(-1, 1)
        return x_BDthw + self.mix(F.silu(self.conv(h_BDthw, memory)))


class PatchLinear(nn.Module):
    """One linear map for the image patch of frame 0 and one for the tubes after it."""

    def __init__(self, image_in: int, tube_in: int, image_out: int, tube_out: int) -> None:
        super().__init__()
        self.image = nn.Linear(image_in, image_out)
        self.tube = nn.Linear(tube_in, tube_out)

    def zero_(self) -> PatchLinear:
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        return self


class Codec(PatchCodec):
    """The learned codec: a linear path and a residual one. See the module's opening."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        image, tube, c, d = config.image_values, config.tube_values, config.channels, config.width
        self.stem = PatchLinear(image, tube, c, c)
        self.head = PatchLinear(c, c, image, tube)
        self.lift = PatchLinear(image, tube, d, d)
        self.encoder = nn.ModuleList(ResBlock(d) for _ in range(config.encoder_blocks))
        self.refine_latent = PatchLinear(d, d, c, c).zero_()
        self.widen = nn.Conv3d(c, d, 1)
        self.decoder = nn.ModuleList(ResBlock(d) for _ in range(config.decoder_blocks))
        self.refine_pixels = PatchLinear(d, d, image, tube).zero_()

    def encoding_parts(self) -> tuple[nn.Module, ...]:
        """The modules that decide the latents."""
        return self.stem, self.lift, self.encoder, self.refine_latent

    def to_latent(self, image_BfhwP: Tensor, tube_BkhwP: Tensor, memory: Memory) -> Tensor:
        h_BDthw = _per_frame(self.lift, image_BfhwP, tube_BkhwP)
        for block in self.encoder:
            h_BDthw = block(h_BDthw, memory)
        refined_BCthw = _per_frame(self.refine_latent, *_split(h_BDthw, image_BfhwP.shape[1]))
        return _per_frame(self.stem, image_BfhwP, tube_BkhwP) + refined_BCthw

    def to_patches(self, z_BCthw: Tensor, images: int, memory: Memory) -> tuple[Tensor, Tensor]:
        h_BDthw = self.widen(z_BCthw)
        for block in self.decoder:
            h_BDthw = block(h_BDthw, memory)
        z_image, z_tube = _split(z_BCthw, images)
        h_image, h_tube = _split(h_BDthw, images)
        image_BfhwP = self.head.image(z_image) + self.refine_pixels.image(h_image)
        return image_BfhwP, self.head.tube(z_tube) + self.refine_pixels.tube(h_tube)

    @torch.no_grad()
    def initialise(self, clips: Sequence[Tensor]) -> None:
        """Set the linear path to the principal components of these clips ([3, T, H, W] each), then the statistics.

        Image components are put in the order and sign of the tube components that they resemble (the tube of a frame
        that does not move), so that a channel means the same in every latent frame. Then a Hadamard rotation spreads
        the components evenly over the channels. All channels have one variance, so normalising them keeps the metric of
        pixels. Normalised one by one instead, the faintest component would count like the brightness, and the flow
        would spend itself on noise (even half of that normalisation: held-out flow loss 1.47 instead of 0.74 at step 200).

        The other end is what `knee` is for. Where one component, such as the brightness of day and night, has most of
        the variance, noise of that size buries all that a caption names: components beyond the knee are scaled down to
        about its variance, those below it keep their share.
        """
        image_NP, tube_NP = (torch.cat(parts) for parts in zip(*(self._patch_rows(x) for x in clips), strict=True))
        c, s = self.config.channels, self.config.stride
        tube_mean, tube_basis_PC = principal_components(tube_NP, c)
        image_mean, image_basis_PC = principal_components(image_NP, c)
        still_PC = tube_basis_PC.unflatten(0, (3, s, -1)).sum(1).flatten(0, 1)
        image_basis_PC = aligned(image_basis_PC, still_PC)
        mix_CC = hadamard(c)
        for part, x_NP, mean, basis_PC in (
            ("image", image_NP, image_mean, image_basis_PC),
            ("tube", tube_NP, tube_mean, tube_basis_PC),
        ):
            stem, head = getattr(self.stem, part), getattr(self.head, part)
            scale_C = levels(((x_NP - mean) @ basis_PC).square().mean(0), self.config.knee)
            inward_PC = basis_PC * scale_C @ mix_CC
            stem.weight.copy_(inward_PC.T)
            stem.bias.copy_(-inward_PC.T @ mean)
            head.weight.copy_(basis_PC / scale_C @ mix_CC)
            head.bias.copy_(mean)
        self.set_statistics(clips)

    def _patch_rows(self, x_CTHW: Tensor) -> tuple[Tensor, Tensor]:
        image, tube = self.patchify(x_CTHW[None])
        return image.flatten(0, 3), tube.flatten(0, 3)


def principal_components(x_NP: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean [P] and the `count` leading principal directions [P, count] of the rows, each with a fixed sign.

    Where the rows span fewer directions, the rest are any that complete them.
    """
    mean_P = x_NP.mean(0)
    x_NP = (x_NP - mean_P).double()
    if len(x_NP) < x_NP.shape[1]:  # few rows: their own space is found much sooner
        found_PN = torch.linalg.svd(x_NP, full_matrices=False).Vh.T
        axes_PC = torch.eye(x_NP.shape[1], count, dtype=x_NP.dtype)
        basis_PC = torch.linalg.qr(torch.cat([found_PN, axes_PC], dim=1)).Q[:, :count]
    else:
        _, vectors_PP = torch.linalg.eigh(x_NP.T @ x_NP)
        basis_PC = vectors_PP.flip(1)[:, :count]
    largest_C = basis_PC.gather(0, basis_PC.abs().argmax(0, keepdim=True))
    return mean_P, (basis_PC * largest_C.sign()).float()


def levels(variance_C: Tensor, knee: float) -> Tensor:
    """Factor of each component, [C]: 1 far below `knee` times the mean variance, and beyond it such that none has more."""
    if not knee:
        return torch.ones_like(variance_C)
    return (1 + variance_C / (knee * variance_C.mean())).rsqrt()


def hadamard(size: int) -> Tensor:
    """Orthonormal matrix [size, size] whose entries are all alike but for their sign. ValueError unless a power of two."""
    if size < 1 or size & (size - 1):
        raise ValueError(f"the codec's channels must be a power of two, got {size}")
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.kron(matrix, torch.tensor([[1.0, 1.0], [1.0, -1.0]])) / math.sqrt(2)
    return matrix


def aligned(basis_PC: Tensor, target_PC: Tensor) -> Tensor:
    """The columns of `basis` reordered and signed to resemble those of `target`, best match first (greedy)."""
    overlap_CC = basis_PC.T @ target_PC
    result_PC = torch.empty_like(basis_PC)
    remaining = overlap_CC.abs().clone()
    for _ in range(basis_PC.shape[1]):
        source, slot = divmod(int(remaining.argmax()), basis_PC.shape[1])
        sign = 1.0 if overlap_CC[source, slot] >= 0 else -1.0
        result_PC[:, slot] = basis_PC[:, source] * sign
        remaining[source, :] = -1
        remaining[:, slot] = -1
    return result_PC


def build_codec(config: CodecConfig) -> PatchCodec:
    """An untrained codec of the configuration's kind."""
    if config.kind == "pretrained":
        raise ConfigError("a pretrained codec is read from its folder, not built")
    return HaarCodec(config) if config.kind == "haar" else Codec(config)


def save_codec(codec: PatchCodec, folder: Path, exposure: Exposure | None = None) -> None:
    """Write codec.safetensors, with what it saw, and codec.json. The caller makes them appear atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in codec.state_dict().items()}
    save_file(weights, folder / "codec.safetensors", header(exposure))
    (folder / "codec.json").write_text(json.dumps(asdict(codec.config), indent=1, sort_keys=True) + "\n")


def load_codec(folder: str | Path) -> VideoCodec:
    """Read what `save_codec` wrote, or a folder that diffusers wrote; in evaluation mode, without gradients."""
    folder = Path(folder)
    if not (folder / "codec.json").exists() and (folder / "config.json").exists():
        return load_pretrained(folder)
    codec = build_codec(build(CodecConfig, json.loads((folder / "codec.json").read_text())))
    codec.load_state_dict(load_file(folder / "codec.safetensors"))
    return codec.eval().requires_grad_(False)


def _split(x_BDthw: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Channels last, and the image's latent frame, where there is one, apart from the others."""
    x_BthwD = x_BDthw.movedim(1, -1)
    return x_BthwD[:, :images], x_BthwD[:, images:]


def _per_frame(maps: PatchLinear, image_B1hwP: Tensor, tube_BkhwP: Tensor) -> Tensor:
    """Apply the two maps and join them along time, channels first."""
    return torch.cat([maps.image(image_B1hwP), maps.tube(tube_BkhwP)], dim=1).movedim(-1, 1)
