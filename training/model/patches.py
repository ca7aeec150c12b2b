"""What all codecs of this package share: pixels as patches in causal time, latents with known statistics, and streams.

A codec says how patches become latents and back (`to_latent`, `to_patches`); around it stand here the cutting into
patches, the per-channel statistics that are part of the weights and always applied, and the memory with which a long
video goes through chunk by chunk and comes out as if it had gone through whole.

Shape suffixes: as in codec.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.config import CodecConfig


class Memory:
    """What a codec carries from one chunk of a stream to the next: whether it began, and each convolution's past."""

    def __init__(self) -> None:
        self.begun = False
        self.past: dict[nn.Module, Tensor] = {}


class VideoCodec(nn.Module, ABC):
    """`encode` pixels to normalised latents, `decode` them back. Frames come as T = sk + 1, the first on its own."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def encode(self, x_BCTHW: Tensor) -> Tensor: ...

    @abstractmethod
    def decode(self, z_BCthw: Tensor) -> Tensor: ...

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Latents of a video that comes in chunks, the first of sk + 1 frames, the others of sk: at once, unless the
        codec can do better."""
        yield self.encode(torch.cat(list(chunks), dim=2))

    def check_size(self, x_BCTHW: Tensor, images: int = 1) -> None:
        """Raise ValueError for lengths and sides that this codec cannot take."""
        p, s = self.config.patch, self.config.stride
        _, _, frames, height, width = x_BCTHW.shape
        if frames < images or (frames - images) % s or height % p or width % p:
            length = f"{s}k + 1 frames" if images else f"{s}k further frames"
            raise ValueError(
                f"codec takes {length} and sides that are multiples of {p}, got {frames} x {width}x{height}"
            )


class PatchCodec(VideoCodec):
    """A codec of this package: whole, or with a `Memory` in chunks."""

    mean_2C1: Tensor
    std_2C1: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__(config)
        self.register_buffer("mean_2C1", torch.zeros(2, config.channels, 1))
        self.register_buffer("std_2C1", torch.ones(2, config.channels, 1))

    @abstractmethod
    def to_latent(self, image_BfhwP: Tensor, tube_BkhwP: Tensor, memory: Memory) -> Tensor:
        """Patches of the image (f is 1 where a video begins, else 0) and of the tubes to [B, C, f + k, h, w]."""

    @abstractmethod
    def to_patches(self, z_BCthw: Tensor, images: int, memory: Memory) -> tuple[Tensor, Tensor]:
        """The inverse; the first `images` (1 or 0) latent frames are the image's."""

    def finish(self, x_BCTHW: Tensor) -> Tensor:
        """What is done to the pixels that patches were put together to; frame by frame."""
        return x_BCTHW

    def encode(self, x_BCTHW: Tensor, memory: Memory | None = None) -> Tensor:
        """Pixels [B, 3, sk+1, H, W] to latents [B, C, k+1, H/p, W/p] of about zero mean and unit deviation per channel.

        With a memory that has begun, pixels [B, 3, sk, H, W] to the k latents that come next.
        """
        memory = memory or Memory()
        images = 0 if memory.begun else 1
        z_BCthw = self.to_latent(*self.patchify(x_BCTHW, images), memory)
        memory.begun = True
        return self._affine(z_BCthw, 1 / self.std_2C1, -self.mean_2C1 / self.std_2C1, images)

    def decode(self, z_BCthw: Tensor, memory: Memory | None = None) -> Tensor:
        """Latents back to pixels [B, 3, s(t-1)+1, ph, pw], or [B, 3, st, ph, pw] where a stream goes on; not clipped."""
        memory = memory or Memory()
        images = 0 if memory.begun else 1
        z_BCthw = self._affine(z_BCthw, self.std_2C1, self.mean_2C1, images)
        x_BCTHW = self.finish(self.unpatchify(*self.to_patches(z_BCthw, images, memory)))
        memory.begun = True
        return x_BCTHW

    def encode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """As each chunk comes, and as if whole."""
        memory = Memory()
        return (self.encode(x_BCTHW, memory) for x_BCTHW in chunks)

    def decode_stream(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Pixels of latents that come in chunks of any number of latent frames."""
        memory = Memory()
        return (self.decode(z_BCthw, memory) for z_BCthw in chunks)

    def patchify(self, x_BCTHW: Tensor, images: int = 1) -> tuple[Tensor, Tensor]:
        """Pixels to (image patches [B, 1, h, w, 3pp], tube patches [B, k, h, w, 3spp]). ValueError for other sizes."""
        self.check_size(x_BCTHW, images)
        p, s = self.config.patch, self.config.stride
        return cells(x_BCTHW[:, :, :images], 1, p), cells(x_BCTHW[:, :, images:], s, p)

    def unpatchify(self, image_BfhwP: Tensor, tube_BkhwP: Tensor) -> Tensor:
        p, s = self.config.patch, self.config.stride
        return torch.cat([pixels(image_BfhwP, 1, p), pixels(tube_BkhwP, s, p)], dim=2)

    def _affine(self, z_BCthw: Tensor, scale_2C1: Tensor, shift_2C1: Tensor, images: int) -> Tensor:
        """Scale and shift per channel: row 0 for the image latent, row 1 for all after it."""
        row_t = torch.ones(z_BCthw.shape[2], dtype=torch.long, device=z_BCthw.device)
        row_t[:images] = 0
        scale_Ct, shift_Ct = scale_2C1[row_t, :, 0].T, shift_2C1[row_t, :, 0].T
        return z_BCthw * scale_Ct[None, :, :, None, None] + shift_Ct[None, :, :, None, None]

    @torch.no_grad()
    def set_statistics(self, clips: Iterable[Tensor]) -> None:
        """Measure the latents' mean and deviation per channel over these clips, and store them in the weights."""
        self.mean_2C1.zero_()
        self.std_2C1.fill_(1)
        parts: tuple[list[Tensor], list[Tensor]] = ([], [])
        for x_CTHW in clips:
            z_Cthw = self.encode(x_CTHW[None].to(self.mean_2C1.device))[0]
            parts[0].append(z_Cthw[:, :1].flatten(1))
            parts[1].append(z_Cthw[:, 1:].flatten(1))
        for row, part in enumerate(parts):
            z_CN = torch.cat(part, dim=1)
            if z_CN.shape[1] > 1:  # images alone leave the tubes' row as it is
                self.mean_2C1[row] = z_CN.mean(1, keepdim=True)
                self.std_2C1[row] = z_CN.std(1, keepdim=True).clamp_min(1e-4)


def cells(x_BCTHW: Tensor, s: int, p: int) -> Tensor:
    """[B, 3, T, H, W] to [B, T/s, H/p, W/p, 3 s p p]."""
    b, c, t, h, w = x_BCTHW.shape
    x = x_BCTHW.reshape(b, c, t // s, s, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def pixels(x_BthwP: Tensor, s: int, p: int) -> Tensor:
    """The inverse of `cells`."""
    x = x_BthwP.unflatten(4, (3, s, p, p)).permute(0, 4, 1, 5, 2, 6, 3, 7)  # B C t s h p w q
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def deblock(x_CTHW: Tensor, cell: int, limit: float = 0.4) -> Tensor:
    """Pixels [C, T, H, W] in [-1, 1] with the steps between neighbouring cells of `cell` pixels a side evened out.

    Tokens are predicted one by one, so flat areas come out a little lighter in one cell than in the next. A step that is
    alike along the border and smaller than `limit` is spread over half a cell on each side; a larger one is taken for an
    edge of what is shown, and stays. After the deblocking filter of H.264: List et al., IEEE TCSVT 13 (2003).
    """
    reach = cell // 2
    share_K = 0.5 * (1 - (torch.arange(reach, dtype=x_CTHW.dtype, device=x_CTHW.device) + 0.5) / reach)
    for axis in (2, 3):
        x = x_CTHW.movedim(axis, -1).clone()
        for border in range(cell, x.shape[-1], cell):
            before, after = x[..., border - 2 : border], x[..., border : border + 2]
            slope = ((before[..., 1] - before[..., 0]) + (after[..., 1] - after[..., 0])) / 2
            step = F.avg_pool1d(
                (after[..., 0] - before[..., 1] - slope).flatten(0, 1), 5, 1, 2, count_include_pad=False
            )
            step = step.unflatten(0, x.shape[:2])
            kept = ((limit - step.abs().amax(0, keepdim=True)) * 2 / limit).clamp(0, 1)
            change = (step * kept)[..., None] * share_K
            x[..., border - reach : border] += change.flip(-1)
            x[..., border : border + reach] -= change
        x_CTHW = x.movedim(-1, axis)
    return x_CTHW
