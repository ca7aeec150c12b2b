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
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from training.model.config import MODES

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


def drawn_frames(mode: str, t: int, generator: torch.Generator) -> Iterable[int]:
    """The latent frames that a mode gives of a clip of `t`, drawn by `generator`; negative ones count from the end."""
    match mode:
        case "text":  # text-to-video
            return ()
        case "last":  # what leads up to a picture
            return (-1,)
        case "ends" if t > 2:
            return (0, -1)
        case "prefix":  # extension forward: between one and all but one
            return range(_drawn(1, t - 1, generator))
        case "suffix":  # extension backward
            return range(-_drawn(1, t - 1, generator), 0)
        case "between" if t > 2:  # in-betweening: some at the start and some at the end, at least one between them free
            before = _drawn(1, t - 2, generator)
            return (*range(before), *range(-_drawn(1, t - 1 - before, generator), 0))
        case "keyframes":  # anywhere, at most half
            count = _drawn(1, t // 2, generator)
            return torch.randperm(t, generator=generator)[:count].tolist()
        case "first" | "ends" | "between":  # image-to-video: the first latent frame is exactly the first picture
            return (0,)
    raise ValueError(f"no mode {mode!r}; there are {', '.join(MODES)}")


def give_frames(grid: Grid, frames: Iterable[int]) -> Tensor:
    """A mask bool [t, h, w] of these latent frames. A clip of one frame gives none: nothing would be left to make."""
    given_thw = torch.zeros(grid, dtype=torch.bool)
    if grid[0] > 1:
        given_thw[list(frames)] = True
    return given_thw


def draw_given(grid: Grid, weights: Mapping[str, float], generator: torch.Generator) -> Tensor:
    """One mask, flattened to [N], by a mode drawn from `weights` (mode to relative frequency)."""
    names = sorted(weights)
    chosen = torch.multinomial(torch.tensor([float(weights[name]) for name in names]), 1, generator=generator)
    return give_frames(grid, drawn_frames(names[int(chosen)], grid[0], generator)).flatten()


def _drawn(least: int, most: int, generator: torch.Generator) -> int:
    """A whole number from `least` to `most`, both included; `least` where there is no room."""
    return int(torch.randint(least, max(least, most) + 1, (), generator=generator))


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
