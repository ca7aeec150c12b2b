"""Trials as training clips, without files: rendered, encoded and captioned in memory, under `data.LatentClips`' interface.

Simulated scenes are in nobody's ledger: there is no person in them, hence no consent to check. Everything else is the
real training's: the same codec, packing, noise, loss and average. Seeds from HELDOUT on are never trained on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.codec import Codec, to_unit
from training.conditioning import numbers
from training.packing import Item, Sample
from training.simulate.stage import render_trial
from training.simulate.trial import KINDS, Trial, random_trial
from training.transformer import positions, to_tokens

HELDOUT = 1_000_000_000
FPS = 8.0


def pictures(trial: Trial, size: tuple[int, int], frames: int) -> Tensor:
    """The rendered trial at (width, height): uint8 [T, H, W, 3], 8 frames a second."""
    return torch.from_numpy(render_trial(trial, *size, frames, FPS))


class TrialClips:
    """`count` trials from `first` on as samples. `texts` holds the caption tokens of every caption that occurs.

    Latents are kept in the file `cache`, if one is given: it is the caller's to have one for each codec and kind of clip.
    """

    def __init__(
        self,
        codec: Codec,
        texts: Mapping[str, Tensor],
        count: int,
        first: int = 0,
        size: tuple[int, int] = (32, 32),
        frames: int = 13,
        kinds: Sequence[str] = KINDS,
        cache: Path | None = None,
    ) -> None:
        if first < HELDOUT < first + count:
            raise ValueError(f"{count} trials from {first} on reach the held-out seeds, which begin at {HELDOUT}")
        seconds = (frames - 1) / FPS
        self.texts = texts
        self.captions: dict[str, tuple[str, ...]] = {}
        self.latents: dict[str, Tensor] = load_file(cache) if cache is not None and cache.exists() else {}
        encoded = 0
        for seed in range(first, first + count):
            trial, name = random_trial(seed, kinds, seconds), f"trial-{seed}"
            self.captions[name] = (trial.caption(),)
            if name not in self.latents:
                with torch.inference_mode():
                    z_Cthw = codec.encode(to_unit(pictures(trial, size, frames))[None])[0]
                self.latents[name], encoded = to_tokens(z_Cthw, 1)[0].contiguous(), encoded + 1
        if cache is not None and encoded:
            partial = cache.with_name(f".{cache.name}.partial")
            save_file(self.latents, partial)
            os.replace(partial, cache)
        c = codec.config
        grid = (frames - 1) // c.stride + 1, size[1] // c.patch, size[0] // c.patch
        self.grid, self.place_N3 = grid, positions(grid, codec.config.stride / FPS)

    def read(self, clip_id: str, text: str | None = None) -> Sample:
        """The clip with its caption."""
        text_MT = self.texts[text or self.captions[clip_id][0]]
        return Sample(clip_id, self.latents[clip_id], self.grid, self.place_N3, text_MT, numbers({"fps": FPS}))

    def items(self) -> list[Item]:
        """What the planner needs; captions of one length end up beside each other, where attention is one call."""
        return [
            Item(name, len(self.latents[name]), (len(self.texts[texts[0]]),)) for name, texts in self.captions.items()
        ]
