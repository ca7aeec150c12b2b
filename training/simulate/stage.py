"""Draw a trial: flat bodies before a grey world whose light says the time of day and whose texture shows camera moves.

The world is nearly colourless on purpose: colour then belongs to bodies alone and can be measured without a network.
"""

from __future__ import annotations

import math

import numpy as np

from training.simulate.render import blend, draw_shape, edge, waves
from training.simulate.scene import COLOURS, GROUND
from training.simulate.trial import PILLAR, Trial

# sky, ground, pillar
_LIGHT = {
    "day": ((206, 212, 218), (150, 149, 147), (84, 84, 86)),
    "sunset": ((166, 148, 138), (110, 101, 95), (62, 58, 56)),
    "night": ((44, 46, 54), (26, 27, 32), (92, 92, 96)),
}
_TEXTURE = 0x57A6E


def render_trial(trial: Trial, width: int, height: int, frames: int, fps: float) -> np.ndarray:
    """Pictures of the trial: uint8 [frames, height, width, 3], RGB. The same arguments give the same bytes."""
    if min(width, height, frames) < 1 or not fps > 0:
        raise ValueError(f"cannot draw {frames} frames of {width}x{height} at {fps} frames per second")
    diagonal = math.hypot(width, height)
    times = np.arange(frames) / fps
    looks, zooms = trial.view(times)
    centres = (trial.positions(times) - looks[:, None]) * zooms[:, None, None] * diagonal
    out = np.empty((frames, height, width, 3), np.uint8)
    backdrop = None
    for index, (look, zoom) in enumerate(zip(looks, zooms, strict=True)):
        if backdrop is None or trial.kind == "camera":
            backdrop = _backdrop(trial, width, height, look, float(zoom))
        picture = backdrop.copy()
        for (shape, colour, size), (x, y) in zip(trial.bodies(), centres[index], strict=True):
            draw_shape(picture, shape, COLOURS[colour], width / 2 + x, height / 2 + y, size * diagonal * zoom)
        if trial.kind == "occlude":
            x = np.abs((np.arange(width) + 0.5 - width / 2) / diagonal)
            blend(picture, np.array(_LIGHT[trial.time_of_day][2], np.float32), edge(PILLAR - x, 1 / diagonal)[None])
        out[index] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return out


def _backdrop(trial: Trial, width: int, height: int, look: np.ndarray, zoom: float) -> np.ndarray:
    """Sky and ground of one fixed world, seen by a camera that looks at `look` (diagonals): f32 [H, W, 3]."""
    pixel = 1 / math.hypot(width, height)
    x = ((np.arange(width) + 0.5 - width / 2) * pixel) / zoom + look[0]
    y = ((np.arange(height) + 0.5 - height / 2)[:, None] * pixel) / zoom + look[1]
    sky, ground, _ = (np.array(colour, np.float32) for colour in _LIGHT[trial.time_of_day])
    picture = np.broadcast_to(sky, (height, width, 3)).copy()
    blend(picture, ground, edge(y - GROUND, pixel / zoom))
    rng = np.random.default_rng(_TEXTURE)
    return picture * (1 + 0.12 * waves(rng, x, y)[..., None])
