"""What the model is told besides noise: given tokens, captions, and numbers.

One mechanism carries every mode of use: a mask over a clip's tokens says which are *given*. A given token enters clean,
with timestep 0, and has no part in the loss; all others are noised and learned. Text-to-video gives none, image-to-video
the first latent frame, extension a prefix. Later modes (last frame, keyframes, regions) are further rules in MODES.

Reference: LTX-Video, arXiv 2501.00103, section 2.4 (per-token timesteps for image conditioning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

NUMERIC = (
    "fps",
    "motion",
)  # frames per second of the clip; mean absolute change of the picture, in grey levels a second

Grid = tuple[int, int, int]  # tokens in time, down, across


def give_nothing(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Text-to-video: bool [t, h, w], all False."""
    return torch.zeros(grid, dtype=torch.bool)


def give_first(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Image-to-video: the first latent frame, which is exactly the first picture."""
    return give_frames(grid, 1)


def give_prefix(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Extension: between one and all but one of the latent frames, drawn by `generator`."""
    longest = max(1, grid[0] - 1)
    return give_frames(grid, int(torch.randint(1, longest + 1, (), generator=generator)))


def give_frames(grid: Grid, count: int) -> Tensor:
    """The first `count` latent frames. A clip of one frame gives none: nothing would be left to make."""
    given_thw = torch.zeros(grid, dtype=torch.bool)
    if grid[0] > 1:
        given_thw[:count] = True
    return given_thw


MODES: dict[str, Callable[..., Tensor]] = {"text": give_nothing, "first": give_first, "prefix": give_prefix}


def draw_given(grid: Grid, weights: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """One mask, flattened to [N], by a mode drawn from `weights` (mode to relative frequency)."""
    names = sorted(weights)
    chosen = torch.multinomial(torch.tensor([float(weights[name]) for name in names]), 1, generator=generator)
    return MODES[names[int(chosen)]](grid, generator).flatten()


def motion(frames_THWC: Tensor, fps: float) -> float:
    """How much moves in a clip: mean |change| of grey levels (0 to 255) a second. A still picture: 0."""
    if len(frames_THWC) < 2:
        return 0.0
    grey_THW = frames_THWC.float().mean(-1)
    return float((grey_THW[1:] - grey_THW[:-1]).abs().mean() * fps)
