"""What conditions the model besides noise: given tokens, captions, and numbers.

One mechanism carries every mode of use: a mask over a clip's tokens says which are *given*. A given token enters clean,
with timestep 0, and has no part in the loss; all others are noised and learned. Text-to-video gives none, image-to-video
the first latent frame, extension a prefix or a suffix. Training draws one of MODES for each clip and step; sampling gives
what the user has (sampling/references.py). Video-to-video gives nothing: its tokens begin somewhere between a source and
noise (`sampler.Request.strength`).

References: LTX-Video, arXiv 2501.00103, section 2.4 (per-token timesteps for image conditioning); Open-Sora-Plan,
arXiv 2412.00131 (training on a mixture of masks).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

# What may be known of a clip by number, each with its typical size. Any may be absent: nan, a learned "unknown".
NUMERIC = {
    "fps": 8.0,  # frames per second
    "motion": 64.0,  # mean absolute change of the picture, in grey levels a second; see `motion`
    "pan": 0.1,  # the camera's turn to the right, in frame diagonals a second; negative to the left
    "tilt": 0.1,  # its turn upwards; negative downwards
    "zoom": 0.1,  # the mean outward speed that zooming in causes; negative for zooming out
    "quality": 0.5,  # technical quality of the pictures, 0 to 1
}

Grid = tuple[int, int, int]  # tokens in time, down, across


def give_nothing(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Text-to-video: bool [t, h, w], all False."""
    return torch.zeros(grid, dtype=torch.bool)


def give_first(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Image-to-video: the first latent frame, which is exactly the first picture."""
    return give_frames(grid, (0,))


def give_last(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """What leads up to a picture: the last latent frame."""
    return give_frames(grid, (-1,))


def give_ends(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """First and last frame; of a clip with nothing between them, the first."""
    return give_frames(grid, (0, -1) if grid[0] > 2 else (0,))


def give_prefix(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Extension forward: between one and all but one of the latent frames, drawn by `generator`."""
    return give_frames(grid, range(_drawn(1, grid[0] - 1, generator)))


def give_suffix(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Extension backward: as many at the end."""
    return give_frames(grid, range(-_drawn(1, grid[0] - 1, generator), 0))


def give_between(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """In-betweening: some at the start and some at the end, at least one between them free."""
    if grid[0] < 3:
        return give_first(grid)
    before = _drawn(1, grid[0] - 2, generator)
    after = _drawn(1, grid[0] - 1 - before, generator)
    return give_frames(grid, (*range(before), *range(-after, 0)))


def give_keyframes(grid: Grid, generator: torch.Generator | None = None) -> Tensor:
    """Key frames anywhere: at most half of the latent frames."""
    count = _drawn(1, grid[0] // 2, generator)
    return give_frames(grid, torch.randperm(grid[0], generator=generator)[:count].tolist())


def give_frames(grid: Grid, frames: Iterable[int]) -> Tensor:
    """These latent frames, negative ones counted from the end. A clip of one frame gives none: nothing would be left
    to make."""
    given_thw = torch.zeros(grid, dtype=torch.bool)
    if grid[0] > 1:
        given_thw[list(frames)] = True
    return given_thw


def _drawn(least: int, most: int, generator: torch.Generator | None) -> int:
    """A whole number from `least` to `most`, both included; `least` where there is no room."""
    return int(torch.randint(least, max(least, most) + 1, (), generator=generator))


MODES: dict[str, Callable[..., Tensor]] = {
    "text": give_nothing,
    "first": give_first,
    "last": give_last,
    "ends": give_ends,
    "prefix": give_prefix,
    "suffix": give_suffix,
    "between": give_between,
    "keyframes": give_keyframes,
}


def draw_given(grid: Grid, weights: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """One mask, flattened to [N], by a mode drawn from `weights` (mode to relative frequency)."""
    names = sorted(weights)
    chosen = torch.multinomial(torch.tensor([float(weights[name]) for name in names]), 1, generator=generator)
    return MODES[names[int(chosen)]](grid, generator).flatten()


def numbers(values: Mapping[str, float]) -> tuple[float, ...]:
    """The numeric conditions in their order; nan where a value is unknown. ValueError for other names."""
    if unknown := sorted(set(values) - set(NUMERIC)):
        raise ValueError(f"no numeric condition {', '.join(unknown)}; there are {', '.join(NUMERIC)}")
    floats = {name: float(value) for name, value in values.items()}
    if endless := [name for name, value in floats.items() if math.isinf(value)]:
        raise ValueError(f"{endless[0]} must be finite, or absent where it is unknown")
    return tuple(floats.get(name, math.nan) for name in NUMERIC)


def read_numbers(path: str | Path) -> dict[str, dict[str, float]]:
    """What was measured of clips, from a JSON file {clip_id: {name: number}}. ValueError names what does not fit."""
    try:
        by_clip = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(by_clip, dict):
        raise ValueError(f"{path}: must hold an object of clips, not {type(by_clip).__name__}")
    for clip_id, values in by_clip.items():
        try:
            numbers(values)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: of clip {clip_id}: {error}") from error
    return by_clip


def changes(frames_THWC: Tensor) -> Tensor:
    """Mean |change| of grey levels (0 to 255) from each picture to the next, [T - 1]."""
    grey_THW = frames_THWC.float().mean(-1)
    return (grey_THW[1:] - grey_THW[:-1]).abs().mean(dim=(1, 2))


def motion(changes_T: Tensor, fps: float) -> float:
    """How much moves in a clip, by the `changes` of all its pictures: grey levels a second. A still picture: 0."""
    return float(changes_T.mean() * fps) if len(changes_T) else 0.0
