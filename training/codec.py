"""The video autoencoder: pixels to latents and back, causal in time.

Frames come as T = 4k + 1. Frame 0 becomes latent frame 0 on its own; every later group of four frames becomes one latent
frame. So an image is a video of one frame, and its latent is exactly the first latent of any video that starts with it.

Patchify first (LTX-Video, arXiv 2501.00103): one 8x8 patch of frame 0, or one 4x8x8 tube of later frames, is one vector,
and nothing works at full resolution. Two paths run over these vectors and are added:

  linear   one projection in, its transpose out, initialised by PCA of the training patches: a good codec within seconds
  residual causal 3-D convolution blocks between latent cells, whose last layer starts at zero: training starts from the
           linear codec's quality and learns what neighbouring cells say about each other

The latent is normalised by per-channel statistics that are part of the weights and are always applied. The image latent
has its own statistics: one frame carries less energy than a tube of four.

Shape suffixes: B batch, T frames, H W pixels, t h w latent frames, rows and columns, C latent channels, P patch values,
D features. Pixels are float in [-1, 1].
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training.config import CodecConfig
from training.exposure import Exposure, header


def to_unit(frames_THWC: Tensor) -> Tensor:
    """uint8 [..., T, H, W, 3] to float [..., 3, T, H, W] in [-1, 1]."""
    return (frames_THWC.float() / 127.5 - 1).movedim(-1, -4)


def to_bytes(x_CTHW: Tensor) -> Tensor:
    """float [..., 3, T, H, W] in [-1, 1] to uint8 [..., T, H, W, 3], clipped."""
    return ((x_CTHW.movedim(-4, -1).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


class CausalConv3d(nn.Module):
    """3-D convolution whose output at latent frame i sees frames i - 1 and i only; the missing past is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, kernel_size=(2, 3, 3), padding=(0, 1, 1))

    def forward(self, x_BDthw: Tensor) -> Tensor:
        return self.conv(F.pad(x_BDthw, (0, 0, 0, 0, 1, 0)))


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

    def forward(self, x_BDthw: Tensor) -> Tensor:
        h_BDthw = self.norm(x_BDthw.movedim(1, -1)).movedim(-1, 1)
        return x_BDthw + self.mix(F.silu(self.conv(h_BDthw)))


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


class Codec(nn.Module):
    """`encode` pixels to normalised latents, `decode` them back. See the module's opening."""

    mean_2C1: Tensor
    std_2C1: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        image, tube, c, d = config.image_values, config.tube_values, config.channels, config.width
        self.stem = PatchLinear(image, tube, c, c)
        self.head = PatchLinear(c, c, image, tube)
        self.lift = PatchLinear(image, tube, d, d)
        self.encoder = nn.Sequential(*(ResBlock(d) for _ in range(config.encoder_blocks)))
        self.refine_latent = PatchLinear(d, d, c, c).zero_()
        self.widen = nn.Conv3d(c, d, 1)
        self.decoder = nn.Sequential(*(ResBlock(d) for _ in range(config.decoder_blocks)))
        self.refine_pixels = PatchLinear(d, d, image, tube).zero_()
        self.register_buffer("mean_2C1", torch.zeros(2, c, 1))
        self.register_buffer("std_2C1", torch.ones(2, c, 1))

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """Pixels [B, 3, 4k+1, H, W] to latents [B, C, k+1, H/8, W/8] of about zero mean and unit deviation per channel."""
        patches = self.patchify(x_BCTHW)
        z_BCthw = _per_frame(self.stem, *patches)
        h_BDthw = self.encoder(_per_frame(self.lift, *patches))
        z_BCthw = z_BCthw + _per_frame(self.refine_latent, *_split(h_BDthw))
        return self._affine(z_BCthw, 1 / self.std_2C1, -self.mean_2C1 / self.std_2C1)

    def decode(self, z_BCthw: Tensor) -> Tensor:
        """Latents back to pixels [B, 3, 4(t-1)+1, 8h, 8w]; not clipped."""
        z_BCthw = self._affine(z_BCthw, self.std_2C1, self.mean_2C1)
        h_BDthw = self.decoder(self.widen(z_BCthw))
        z_image, z_tube = _split(z_BCthw)
        h_image, h_tube = _split(h_BDthw)
        return self.unpatchify(
            self.head.image(z_image) + self.refine_pixels.image(h_image),
            self.head.tube(z_tube) + self.refine_pixels.tube(h_tube),
        )

    def patchify(self, x_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to (image patches [B, 1, h, w, 3pp], tube patches [B, k, h, w, 3spp]). ValueError for other sizes."""
        p, s = self.config.patch, self.config.stride
        _, _, frames, height, width = x_BCTHW.shape
        if (frames - 1) % s or height % p or width % p:
            raise ValueError(
                f"codec takes {s}k + 1 frames and sides that are multiples of {p}, got {frames} x {width}x{height}"
            )
        return _cells(x_BCTHW[:, :, :1], 1, p), _cells(x_BCTHW[:, :, 1:], s, p)

    def unpatchify(self, image_B1hwP: Tensor, tube_BkhwP: Tensor) -> Tensor:
        p, s = self.config.patch, self.config.stride
        return torch.cat([_pixels(image_B1hwP, 1, p), _pixels(tube_BkhwP, s, p)], dim=2)

    def _affine(self, z_BCthw: Tensor, scale_2C1: Tensor, shift_2C1: Tensor) -> Tensor:
        """Scale and shift per channel: row 0 for the image latent, row 1 for all after it."""
        row_t = torch.ones(z_BCthw.shape[2], dtype=torch.long, device=z_BCthw.device)
        row_t[0] = 0
        scale_Ct, shift_Ct = scale_2C1[row_t, :, 0].T, shift_2C1[row_t, :, 0].T
        return z_BCthw * scale_Ct[None, :, :, None, None] + shift_Ct[None, :, :, None, None]

    @torch.no_grad()
    def initialise(self, clips: Sequence[Tensor]) -> None:
        """Set the linear path to the principal components of these clips ([3, T, H, W] each), then the statistics.

        Image components are put in the order and sign of the tube components that they resemble (the tube of a frame
        that does not move), so that a channel means the same in every latent frame. Then a Hadamard rotation spreads
        the components evenly over the channels. All channels have one variance, so normalising them keeps the metric of
        pixels. Normalised one by one instead, the faintest component would count like the brightness, and the flow
        would spend itself on noise (even half of that normalisation: held-out flow loss 1.47 instead of 0.74 at step 200).
        """
        image_NP, tube_NP = (torch.cat(parts) for parts in zip(*(self._patch_rows(x) for x in clips), strict=True))
        c, s = self.config.channels, self.config.stride
        tube_mean, tube_basis_PC = principal_components(tube_NP, c)
        image_mean, image_basis_PC = principal_components(image_NP, c)
        still_PC = tube_basis_PC.unflatten(0, (3, s, -1)).sum(1).flatten(0, 1)
        image_basis_PC = aligned(image_basis_PC, still_PC)
        mix_CC = hadamard(c)
        for part, mean, basis_PC in (("image", image_mean, image_basis_PC), ("tube", tube_mean, tube_basis_PC)):
            stem, head = getattr(self.stem, part), getattr(self.head, part)
            basis_PC = basis_PC @ mix_CC
            stem.weight.copy_(basis_PC.T)
            stem.bias.copy_(-basis_PC.T @ mean)
            head.weight.copy_(basis_PC)
            head.bias.copy_(mean)
        self.set_statistics(clips)

    def _patch_rows(self, x_CTHW: Tensor) -> tuple[Tensor, Tensor]:
        image, tube = self.patchify(x_CTHW[None])
        return image.flatten(0, 3), tube.flatten(0, 3)

    @torch.no_grad()
    def set_statistics(self, clips: Iterable[Tensor]) -> None:
        """Measure the latents' mean and deviation per channel over these clips, and store them in the weights."""
        self.mean_2C1.zero_()
        self.std_2C1.fill_(1)
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for x_CTHW in clips:
            z_Cthw = self.encode(x_CTHW[None])[0]
            parts[0].append(z_Cthw[:, :1].flatten(1))
            parts[1].append(z_Cthw[:, 1:].flatten(1))
        for row, part in enumerate(parts):
            z_CN = torch.cat(part, dim=1)
            if z_CN.shape[1] > 1:  # images alone leave the tubes' row as it is
                self.mean_2C1[row] = z_CN.mean(1, keepdim=True)
                self.std_2C1[row] = z_CN.std(1, keepdim=True).clamp_min(1e-4)


def principal_components(x_NP: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean [P] and the `count` leading principal directions [P, count] of the rows, each with a fixed sign."""
    mean_P = x_NP.mean(0)
    x_NP = (x_NP - mean_P).double()
    _, vectors_PP = torch.linalg.eigh(x_NP.T @ x_NP)
    basis_PC = vectors_PP.flip(1)[:, :count]
    largest_C = basis_PC.gather(0, basis_PC.abs().argmax(0, keepdim=True))
    return mean_P, (basis_PC * largest_C.sign()).float()


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


def save_codec(codec: Codec, folder: Path, exposure: Exposure | None = None) -> None:
    """Write codec.safetensors, with what it saw, and codec.json. The caller makes them appear atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in codec.state_dict().items()}
    save_file(weights, folder / "codec.safetensors", header(exposure))
    (folder / "codec.json").write_text(json.dumps(asdict(codec.config), indent=1, sort_keys=True) + "\n")


def load_codec(folder: str | Path) -> Codec:
    """Read what `save_codec` wrote; in evaluation mode, without gradients."""
    folder = Path(folder)
    codec = Codec(CodecConfig(**json.loads((folder / "codec.json").read_text())))
    codec.load_state_dict(load_file(folder / "codec.safetensors"))
    return codec.eval().requires_grad_(False)


def _cells(x_BCTHW: Tensor, s: int, p: int) -> Tensor:
    """[B, 3, T, H, W] to [B, T/s, H/p, W/p, 3 s p p]."""
    x = x_BCTHW.unflatten(4, (-1, p)).unflatten(3, (-1, p)).unflatten(2, (-1, s))  # B C t s h p w q
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def _pixels(x_BthwP: Tensor, s: int, p: int) -> Tensor:
    """The inverse of `_cells`."""
    x = x_BthwP.unflatten(4, (3, s, p, p)).permute(0, 4, 1, 5, 2, 6, 3, 7)  # B C t s h p w q
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _split(x_BDthw: Tensor) -> tuple[Tensor, Tensor]:
    """Channels last, and the first latent frame apart from the others."""
    x_BthwD = x_BDthw.movedim(1, -1)
    return x_BthwD[:, :1], x_BthwD[:, 1:]


def _per_frame(maps: PatchLinear, image_B1hwP: Tensor, tube_BkhwP: Tensor) -> Tensor:
    """Apply the two maps and join them along time, channels first."""
    return torch.cat([maps.image(image_B1hwP), maps.tube(tube_BkhwP)], dim=1).movedim(-1, 1)
