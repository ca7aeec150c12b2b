"""Rendered scenes as training clips, without files: drawn, encoded and captioned in memory when a step asks for them.

Simulated scenes are in nobody's ledger: there is no person in them, hence no consent to check. Everything else is the
real training's: the same codec, packing, noise, loss and average. Seeds from HELDOUT on are never trained on.

A clip is a trial before a grey world or a scene in a landscape. Their captions differ: a scene's says what the camera
does, a trial's only where the camera is what is put to the test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from training import device
from training.data.packing import Item, Sample
from training.model.codec import to_unit
from training.model.conditioning import numbers
from training.model.config import CodecConfig, SamplingConfig
from training.model.patches import VideoCodec
from training.model.text import TextEncoder
from training.model.transformer import positions, to_tokens
from training.simulate.render import render, render_trial
from training.simulate.scene import Scene, random_scene
from training.simulate.trial import Trial, random_trial

HELDOUT = 1_000_000_000
FPS = 8.0
SCENES = 10_000_000  # first seed of the scenes: those of the sample world and of evaluation are far below
LANDSCAPE = "scene"  # among KINDS: a scene in a landscape instead of a trial
# What a clip shows, each as likely as the next. Which of two bodies stands left is learned late where pairs are rare.
KINDS = (*("glide", "glide", "fall", "occlude", "collide", "camera"), *("pair", "pair", "pair"), LANDSCAPE, LANDSCAPE)
# Width and height as shares of a size's sides. Trials are drawn for the first two, scenes for all.
ASPECTS = ((1.0, 1.0), (1.0, 0.75), (1.25, 0.75), (0.75, 1.25), (1.5, 0.75))
MULTIPLE = 16  # of a clip's sides in pixels, as renditions of footage have it
KEPT_BYTES = 2 << 30  # of latents that are kept in memory; beyond that a clip is drawn again


def pictures(shown: Trial | Scene, size: tuple[int, int], frames: int) -> Tensor:
    """The rendered trial or scene at (width, height): uint8 [T, H, W, 3], 8 frames a second."""
    draw = render_trial if isinstance(shown, Trial) else render
    return torch.from_numpy(draw(shown, *size, frames, FPS))  # type: ignore[arg-type]


@dataclass(frozen=True)
class RenderedClip:
    """One clip: what it shows and how large it is drawn (width, height)."""

    name: str
    shown: Trial | Scene
    size: tuple[int, int]
    captions: tuple[str, ...]


def rendered_clip(seed: int, sampling: SamplingConfig, patch: int, kinds: Sequence[str] = KINDS) -> RenderedClip:
    """The clip of a seed, always the same one. Its sides are multiples of `patch` pixels."""
    rng = np.random.default_rng([0x5EED, seed])
    kind = str(kinds[int(rng.integers(len(kinds)))])
    landscape = kind == LANDSCAPE
    aspect = 0 if rng.random() < 0.6 else int(rng.integers(len(ASPECTS) if landscape else 2))
    across, down = ASPECTS[aspect]
    size = tuple(max(1, round(side / patch)) * patch for side in (sampling.width * across, sampling.height * down))
    if landscape:
        shown: Trial | Scene = random_scene(SCENES + seed)
    else:
        shown = random_trial(seed, (kind,), (sampling.frames - 1) / FPS)
    return RenderedClip(f"rendered-{seed}", shown, (size[0], size[1]), shown.captions())


class RenderedFrames:
    """`count` clips from seed `first` on, as pictures: under `data.FrameClips`' interface."""

    def __init__(
        self, sampling: SamplingConfig, codec: CodecConfig, count: int, first: int = 0, kinds: Sequence[str] = KINDS
    ) -> None:
        if first < HELDOUT < first + count:
            raise ValueError(f"{count} clips from {first} on reach the held-out seeds, which begin at {HELDOUT}")
        self.frames, self.cell, self.stride = sampling.frames, codec.patch, codec.stride
        made = (
            rendered_clip(seed, sampling, max(MULTIPLE, codec.patch), kinds) for seed in range(first, first + count)
        )
        self.clips = {clip.name: clip for clip in made}
        self.clip_ids = list(self.clips)

    def read(self, clip_id: str) -> tuple[Tensor, float]:
        """Pictures uint8 [T, H, W, 3] and frames per second."""
        clip = self.clips[clip_id]
        return pictures(clip.shown, clip.size, self.frames), FPS

    def read_at(self, clip_id: str, shape: Sequence[int]) -> Tensor:
        """What the clip shows, drawn at another shape (T, H, W), so that it can be stacked with footage."""
        frames, height, width = shape
        return pictures(self.clips[clip_id].shown, (width, height), frames)

    def grid(self, clip_id: str) -> tuple[int, int, int]:
        """Latent cells in time, down and across."""
        width, height = self.clips[clip_id].size
        return (self.frames - 1) // self.stride + 1, height // self.cell, width // self.cell

    def items(self, codec: CodecConfig) -> list[Item]:
        items = []
        for name, clip in self.clips.items():
            t, h, w = self.grid(name)
            items.append(Item(name, t * h * w, (self.frames, clip.size[1], clip.size[0])))
        return items


class RenderedClips:
    """Rendered clips as the transformer reads them, under `data.LatentClips`' interface."""

    def __init__(self, frames: RenderedFrames, codec: VideoCodec, encoder: TextEncoder, patch: int) -> None:
        self.source, self.codec, self.encoder, self.patch = frames, codec, encoder, patch
        self.captions: Mapping[str, tuple[str, ...]] = {name: clip.captions for name, clip in frames.clips.items()}
        self.shares: Mapping[str, Sequence[float]] = {}
        self._kept: dict[str, Tensor] = {}
        self._kept_bytes = 0
        self._texts: dict[str, Tensor] = {}

    @cached_property
    def clip_ids(self) -> list[str]:
        return self.source.clip_ids

    def read(self, clip_id: str, text: str | None = None) -> Sample:
        """The clip with one of its captions, its first unless another is named."""
        x_NP = self._kept.get(clip_id)
        if x_NP is None:
            x_NP = self._encoded(clip_id)
        t, h, w = self.source.grid(clip_id)
        grid = t, h // self.patch, w // self.patch
        place_N3 = positions(grid, self.source.stride / FPS)
        return Sample(
            clip_id, x_NP, grid, place_N3, self._text(text or self.captions[clip_id][0]), numbers({"fps": FPS})
        )

    def items(self) -> list[Item]:
        """What the planner needs."""
        items = []
        for name in self.captions:
            t, h, w = self.source.grid(name)
            items.append(Item(name, t * (h // self.patch) * (w // self.patch), (t, h, w)))
        return items

    @torch.inference_mode()
    def _encoded(self, clip_id: str) -> Tensor:
        frames_THWC, _ = self.source.read(clip_id)
        z_Cthw = self.codec.encode(to_unit(frames_THWC.to(device.of(self.codec)))[None])[0].cpu()
        x_NP = to_tokens(z_Cthw, self.patch)[0].contiguous()
        if (size := x_NP.numel() * x_NP.element_size()) + self._kept_bytes <= KEPT_BYTES:
            self._kept[clip_id] = x_NP
            self._kept_bytes += size
        return x_NP

    def _text(self, text: str) -> Tensor:
        if text not in self._texts:
            self._texts[text] = torch.from_numpy(self.encoder.tokens([text])[0])
        return self._texts[text]
