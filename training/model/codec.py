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
in patches.py. `HaarCodec` has no parameters and loses nothing: it is for exact tests.

Shape suffixes: B batch, T frames, H W pixels, t h w latent frames, rows and columns, C latent channels, P patch values,
D features. Pixels are float in [-1, 1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.model.config import CodecConfig, ConfigError, build
from training.model.exposure import Exposure, header
from training.model.patches import Memory, PatchCodec, VideoCodec
from training.model.pretrained import load_pretrained, restored


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


class Smoother(nn.Module):
    """Takes the borders of patches out of the pixels: a small network at full resolution, frame by frame.

    Patches are decoded as vectors, so what each gets wrong ends at its border, and the eye finds a step of one grey level
    along a straight line. The network sees a pixel's place in its patch, reaches 7 pixels, and starts as the identity.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        widths = [3 + 2, width, width, 3]
        self.convs = nn.ModuleList(
            nn.Conv2d(into, out, 3, padding=2**i, dilation=2**i) for i, (into, out) in enumerate(pairwise(widths))
        )
        nn.init.zeros_(self.convs[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[-1].bias)  # type: ignore[arg-type]

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        b, _, t, h, w = x_BCTHW.shape
        x_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
        place_P = (torch.arange(self.patch, device=x_NCHW.device, dtype=x_NCHW.dtype) + 0.5) / self.patch * 2 - 1
        down_HW = place_P.repeat(h // self.patch)[:, None].expand(h, w)
        across_HW = place_P.repeat(w // self.patch)[None, :].expand(h, w)
        y = torch.cat([x_NCHW, torch.stack([down_HW, across_HW]).expand(b * t, -1, -1, -1)], dim=1)
        for conv in self.convs[:-1]:
            y = F.silu(conv(y))
        return x_BCTHW + self.convs[-1](y).unflatten(0, (b, t)).transpose(1, 2)


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
        self.smoother = Smoother(config.patch, config.smoothing) if config.smoothing else None

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

    def finish(self, x_BCTHW: Tensor) -> Tensor:
        return x_BCTHW if self.smoother is None else self.smoother(x_BCTHW)

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
    described = json.loads((folder / "codec.json").read_text())
    if described.get("kind") == "pretrained":
        return restored(folder, described)
    codec = build_codec(build(CodecConfig, described))
    codec.load_state_dict(load_file(folder / "codec.safetensors"))
    return codec.eval().requires_grad_(False)


def _split(x_BDthw: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Channels last, and the image's latent frame, where there is one, apart from the others."""
    x_BthwD = x_BDthw.movedim(1, -1)
    return x_BthwD[:, :images], x_BthwD[:, images:]


def _per_frame(maps: PatchLinear, image_B1hwP: Tensor, tube_BkhwP: Tensor) -> Tensor:
    """Apply the two maps and join them along time, channels first."""
    return torch.cat([maps.image(image_B1hwP), maps.tube(tube_BkhwP)], dim=1).movedim(-1, 1)


class HaarCodec(PatchCodec):
    """The orthonormal Haar transform of every patch; channels are the 3 s p p values of a tube.

    Frame 0 counts as a tube of frames that do not move: all of its channels but the first in time are zero. Whatever a
    model trained on these latents gets wrong is its own, not the codec's. Cosmos, arXiv 2501.03575, has it as a stem.
    """

    space_PP: Tensor
    tube_PP: Tensor
    still_P: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        p, s = config.patch, config.stride
        space_PP = torch.kron(torch.eye(3), torch.kron(haar(p), haar(p)))
        # as `cells` lays a patch out: colour, time, down, across
        tube_PP = torch.kron(torch.eye(3), torch.kron(haar(s), torch.kron(haar(p), haar(p))))
        still_P = torch.zeros(3, s, p * p, dtype=torch.bool)
        still_P[:, 0] = True  # what is alike in all frames of a tube
        self.register_buffer("space_PP", space_PP, persistent=False)
        self.register_buffer("tube_PP", tube_PP, persistent=False)
        self.register_buffer("still_P", still_P.flatten(), persistent=False)

    def to_latent(self, image_BfhwP: Tensor, tube_BkhwP: Tensor, memory: Memory) -> Tensor:
        still = image_BfhwP.new_zeros(*image_BfhwP.shape[:4], self.config.channels)
        still[..., self.still_P] = image_BfhwP @ self.space_PP.T * math.sqrt(self.config.stride)
        return torch.cat([still, tube_BkhwP @ self.tube_PP.T], dim=1).movedim(-1, 1)

    def to_patches(self, z_BCthw: Tensor, images: int, memory: Memory) -> tuple[Tensor, Tensor]:
        z_BthwC = z_BCthw.movedim(1, -1)
        image = z_BthwC[:, :images][..., self.still_P] @ self.space_PP / math.sqrt(self.config.stride)
        return image, z_BthwC[:, images:] @ self.tube_PP


def haar(size: int) -> Tensor:
    """The orthonormal Haar matrix [size, size], coarsest row first. ValueError unless `size` is a power of two."""
    if size < 1 or size & (size - 1):
        raise ValueError(f"the Haar codec's patch and stride must be powers of two, got {size}")
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        coarse = torch.kron(matrix, torch.tensor([[1.0, 1.0]]))
        fine = torch.kron(torch.eye(len(matrix)), torch.tensor([[1.0, -1.0]]))
        matrix = torch.cat([coarse, fine]) / math.sqrt(2)
    return matrix
