"""Draw scenes and trials with NumPy alone. The same arguments give the same bytes.

A scene is a landscape that the camera can move over, with anti-aliased shapes before it. A trial shows flat bodies before
a grey world whose light says the time of day and whose texture shows camera moves: colour then belongs to bodies alone and
can be measured without a network.
"""

from __future__ import annotations

import math

import numpy as np

from training.simulate.scene import COLOURS, GROUND, Scene
from training.simulate.trial import PILLAR, Trial

# sky at the top, sky at the horizon, ground, hills
_LIGHT = {
    "day": ((120, 176, 232), (206, 226, 240), (150, 148, 140), (118, 134, 138)),
    "sunset": ((96, 84, 140), (246, 156, 92), (96, 80, 84), (84, 66, 92)),
    "night": ((14, 18, 48), (42, 46, 96), (44, 44, 56), (24, 27, 58)),
}
# of trials: sky, ground, pillar
_GREY = {
    "day": ((206, 212, 218), (150, 149, 147), (84, 84, 86)),
    "sunset": ((166, 148, 138), (110, 101, 95), (62, 58, 56)),
    "night": ((44, 46, 54), (26, 27, 32), (92, 92, 96)),
}
_TEXTURE = 0x57A6E
_POST = 0.11  # distance between the posts on the ground, in diagonals: they make a pan visible


def render(scene: Scene, width: int, height: int, frames: int, fps: float) -> np.ndarray:
    """Pictures of the scene: uint8 [frames, height, width, 3], RGB. The same arguments give the same bytes."""
    if min(width, height, frames) < 1 or not fps > 0:
        raise ValueError(f"cannot draw {frames} frames of {width}x{height} at {fps} frames per second")
    diagonal = math.hypot(width, height)
    times = np.arange(frames) / fps
    centres = scene.positions(times) - np.stack([scene.camera_x(times), np.zeros(frames)], axis=-1)[:, None, :]
    out = np.empty((frames, height, width, 3), np.uint8)
    backdrop = None
    for index in range(frames):
        if backdrop is None or scene.camera != "static":
            backdrop = _landscape(scene, width, height, float(scene.camera_x(times[index : index + 1])[0]))
        picture = backdrop.copy()
        for x, y in centres[index] * diagonal:
            draw_shape(
                picture, scene.shape, COLOURS[scene.colour], width / 2 + x, height / 2 + y, scene.size * diagonal
            )
        out[index] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return out


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
            blend(picture, np.array(_GREY[trial.time_of_day][2], np.float32), edge(PILLAR - x, 1 / diagonal)[None])
        out[index] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return out


def _backdrop(trial: Trial, width: int, height: int, look: np.ndarray, zoom: float) -> np.ndarray:
    """Sky and ground of one fixed world, seen by a camera that looks at `look` (diagonals): f32 [H, W, 3]."""
    pixel = 1 / math.hypot(width, height)
    x = ((np.arange(width) + 0.5 - width / 2) * pixel) / zoom + look[0]
    y = ((np.arange(height) + 0.5 - height / 2)[:, None] * pixel) / zoom + look[1]
    sky, ground, _ = (np.array(colour, np.float32) for colour in _GREY[trial.time_of_day])
    picture = np.broadcast_to(sky, (height, width, 3)).copy()
    blend(picture, ground, edge(y - GROUND, pixel / zoom))
    rng = np.random.default_rng(_TEXTURE)
    return picture * (1 + 0.12 * waves(rng, x, y)[..., None])


def _landscape(scene: Scene, width: int, height: int, camera_x: float) -> np.ndarray:
    """Sky with clouds, a line of hills and a ground with posts, seen from `camera_x` (diagonals): f32 [H, W, 3]."""
    diagonal = math.hypot(width, height)
    pixel = 1 / diagonal
    x = (np.arange(width) + 0.5 - width / 2) * pixel + camera_x
    y = (np.arange(height) + 0.5 - height / 2)[:, None] * pixel
    top, horizon, ground, hills = (np.array(colour, np.float32) for colour in _LIGHT[scene.time_of_day])
    rng = np.random.default_rng([0x1A4D, scene.texture])

    sky = np.clip((y + 0.4) / (0.4 + GROUND), 0, 1).astype(np.float32)[..., None]
    picture = np.broadcast_to(top + (horizon - top) * sky, (height, width, 3)).copy()
    picture *= 1 + 0.22 * waves(rng, x, y)[..., None]
    ridge = GROUND - rng.uniform(0.03, 0.16) - 0.07 * waves(rng, x, 0.0)
    blend(picture, hills, edge(y - ridge, pixel))
    blend(picture, ground, edge(y - GROUND, pixel))
    post = np.abs((x / _POST + rng.random()) % 1.0 - 0.5) * _POST  # distance to the middle between two posts
    blend(picture, hills * 0.7, edge(0.012 - post, pixel) * edge(y - GROUND - 0.02, pixel))
    return picture


def waves(rng: np.random.Generator, x: np.ndarray, y: np.ndarray | float) -> np.ndarray:
    """A smooth random field of about -1 to 1, the same for the same generator: a place has its clouds and hills."""
    field = np.zeros(np.broadcast_shapes(x.shape, np.shape(y)), np.float32)
    for reach, amplitude in ((5, 0.5), (11, 0.35), (23, 0.15)):
        angle, phase = rng.uniform(-0.9, 0.9), rng.uniform(0, 2 * math.pi)
        across, down = reach * math.cos(angle) * x, reach * math.sin(angle) * y + phase
        # sin(across + down), taken apart so that no sine is computed a pixel
        field += (amplitude * np.sin(across)).astype(np.float32) * np.cos(down).astype(np.float32)
        field += (amplitude * np.cos(across)).astype(np.float32) * np.sin(down).astype(np.float32)
    return field


def edge(inside: np.ndarray, pixel: float) -> np.ndarray:
    """Coverage 0 to 1 of a region from the signed distance to its border, positive inside."""
    return np.clip(inside / pixel + 0.5, 0, 1).astype(np.float32)


def blend(picture: np.ndarray, colour: np.ndarray, coverage: np.ndarray) -> None:
    coverage = np.broadcast_to(coverage, picture.shape[:2])
    rows = slice(int(np.argmax(coverage.any(axis=1))), None)  # what is covered lies at the bottom
    picture[rows] += (colour - picture[rows]) * coverage[rows, :, None]


def draw_shape(
    picture: np.ndarray, shape: str, colour: tuple[int, int, int], x: float, y: float, radius: float
) -> None:
    """Draw one shape of `radius` pixels around (x, y), shaded a little from above; what lies outside is cut off."""
    height, width = picture.shape[:2]
    left, right = max(0, math.floor(x - radius - 1)), min(width, math.ceil(x + radius + 2))
    upper, lower = max(0, math.floor(y - radius - 1)), min(height, math.ceil(y + radius + 2))
    if left >= right or upper >= lower:
        return
    dx = np.arange(left, right)[None, :] + 0.5 - x
    dy = np.arange(upper, lower)[:, None] + 0.5 - y
    coverage = np.clip(0.5 - signed_distance(shape, dx, dy, radius), 0, 1).astype(np.float32)[..., None]
    shade = (1.06 - 0.16 * np.clip(dy / radius, -1, 1)).astype(np.float32)[..., None]
    part = picture[upper:lower, left:right]
    part += (np.minimum(np.array(colour, np.float32) * shade, 255) - part) * coverage


def signed_distance(shape: str, dx: np.ndarray, dy: np.ndarray, radius: float) -> np.ndarray:
    """Signed distance in pixels to the shape's outline, negative inside."""
    if shape == "circle":
        return np.hypot(dx, dy) - radius
    if shape == "square":
        return np.maximum(np.abs(dx), np.abs(dy)) - 0.86 * radius
    slant = np.abs(dx) * math.cos(math.pi / 6) - (dy + radius) * math.sin(
        math.pi / 6
    )  # two sides of an equilateral triangle
    return np.maximum(slant, dy - radius / 2)
