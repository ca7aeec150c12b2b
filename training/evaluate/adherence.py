"""Does a video show what its prompt asked for? On simulated scenes and trials the answer is measured from pixels alone.

`colour_of` names the colour of a scene. `adherence` gives a verdict for each attribute that a trial's caption asks for:
colour, count, shape, direction, side, camera, light, constancy, and the laws of physics. `judged` makes rows of them. The
same verdicts are given on three kinds of video: the model's (the row that counts), the rendered trial
(`reference=rendered`, which must be right) and its reconstruction by the codec (`reference=codec`, a model's ceiling).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from training.evaluate.physics import (
    NAMES,
    SMALLEST,
    Seen,
    axes,
    bounced,
    camera_move,
    gravity_residual,
    look,
    momentum_error,
    permanent,
)
from training.evaluate.rows import Measured, Metric, Row, key
from training.simulate.render import signed_distance
from training.simulate.scene import AREAS, COLOURS, DIRECTIONS, SHAPES
from training.simulate.supply import HELDOUT
from training.simulate.trial import Trial, random_trial

ATTRIBUTES = (
    *("colour", "count", "shape", "direction", "side", "camera", "light"),
    *("constancy", "bounce", "momentum", "permanence"),
)
VERSIONS = {"bounce": 2}  # of the methods that have changed since their first
SHARES = {
    name: Metric(f"trial_{name}", "share", "higher", f"trials, pixels alone, v{VERSIONS.get(name, 1)}")
    for name in ATTRIBUTES
}
GRAVITY = Metric("trial_gravity_residual", "diagonals", "lower", "root mean square from a fall at the world's g, v1")
LOST = 0.25  # diagonals: the residual of a fall without a body, so that a mean over all falls exists
CAMERA_SEEDS = 1_000_000  # seeds of camera trials, from the first held-out one on
METRICS = (*SHARES.values(), GRAVITY)
MOVING = ("glide", "fall", "occlude", "collide")
SPREAD = 25.0  # RGB levels within which a pixel of a scene counts for a colour
LEAST = 0.002  # share of all pixels that must
OTHERS = 0.2  # share of the coloured area that colours nobody asked for may have
MOVED = 0.06  # diagonals that what moves must go
FRAMES = 0.7  # share of frames in which what is counted or compared must be so
CONSTANT = (0.6, 1.5)  # area of what stays itself, over its median
MOMENTUM = 0.25  # relative error of momentum that still counts as kept


def colour_of(frames_THWC: Tensor) -> str | None:
    """Name of the colour that most of a scene's coloured pixels show, or None. No landscape has one of the five."""
    names = sorted(COLOURS)
    palette_KC = torch.tensor([COLOURS[name] for name in names], dtype=torch.float32)
    pixels_NC = frames_THWC.flatten(0, 2).float()
    distance_NK = torch.cdist(pixels_NC, palette_KC)
    weight_K = torch.exp(-(distance_NK**2) / (2 * SPREAD**2)).mean(0)
    best = int(weight_K.argmax())
    return names[best] if weight_K[best] >= LEAST else None


def heldout_trials(count: int, seconds: float) -> dict[str, Trial]:
    """The trials that a model is asked, by name: `count` pairs, which ask for a side, and `count` of what moves, which ask
    for a direction. All ask for colours. The first trials of a longer list are those of a shorter one.
    """
    kinds = [kind for i in range(count) for kind in ("pair", MOVING[i % len(MOVING)])]
    return {f"trial-{HELDOUT + i}": random_trial(HELDOUT + i, (kind,), seconds) for i, kind in enumerate(kinds)}


def camera_trials(count: int, seconds: float) -> dict[str, Trial]:
    """Trials that ask for a move of the camera, by name; the first ones of a longer list are those of a shorter one."""
    seeds = range(HELDOUT + CAMERA_SEEDS, HELDOUT + CAMERA_SEEDS + count)
    return {f"trial-{seed}": random_trial(seed, ("camera",), seconds) for seed in seeds}


def judged(part: str, videos: Sequence[Tensor], trials: Mapping[str, Trial], fps: float) -> Measured:
    """Rows over all the videos, and each trial's verdicts (1 right, 0 wrong) by attribute."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for video, (name, trial) in zip(videos, trials.items(), strict=True):
        for attribute, right in adherence(video, trial, fps).items():
            values[key(SHARES[attribute].name, part)][name] = float(right)
    rows = [
        metric.share(part, [bool(right) for right in values.get(key(metric.name, part), {}).values()])
        for metric in SHARES.values()
    ]
    residuals = [
        min(gravity_residual(look(video), trial.colours[0], fps), LOST)
        for video, trial in zip(videos, trials.values(), strict=True)
        if trial.kind == "fall"
    ]
    rows.append(GRAVITY.row(part, [value for value in residuals if math.isfinite(value)]))
    return Measured(rows, dict(values))


def trial_rows(part: str, videos: Sequence[Tensor], trials: Sequence[Trial], fps: float) -> list[Row]:
    """One row a metric over all the videos that ask for it."""
    return judged(part, videos, {str(i): trial for i, trial in enumerate(trials)}, fps).rows


def adherence(frames_THWC: Tensor, trial: Trial, fps: float) -> dict[str, bool]:
    """The verdict on each attribute that the trial asks for: name to right or wrong."""
    seen = look(frames_THWC)
    first = trial.colours[0]
    verdicts = {
        "colour": colours_right(seen, trial.colours),
        "count": all(count_right(seen, colour, trial.count) for colour in trial.colours),
        "shape": all(
            shape_of(seen, colour) == shape for shape, colour in zip(trial.shapes, trial.colours, strict=True)
        ),
        "light": light_of(seen) == trial.time_of_day,
        "camera": camera_move(seen) == trial.camera,
    }
    if trial.kind in ("glide", "fall", "pair", "collide"):
        verdicts["constancy"] = constant(seen, trial.colours)
    if trial.kind in ("glide", "fall", "occlude", "collide"):
        moving = trial.colours[-1]  # of a collision, what is struck goes on
        verdicts["direction"] = direction_of(seen, moving) == trial.direction
    if trial.kind == "pair":
        verdicts["side"] = side_of(seen, *trial.colours) == trial.direction
    if trial.kind == "fall":
        verdicts["bounce"] = bounced(seen, first)
    if trial.kind == "collide":
        error = momentum_error(seen, first, trial.colours[1], fps)
        verdicts["momentum"] = error is not None and error <= MOMENTUM
    if trial.kind == "occlude":
        verdicts["permanence"] = permanent(seen, first, trial.direction)
    return verdicts


def colours_right(seen: Seen, colours: tuple[str, ...]) -> bool:
    """Whether the asked colours are there, each as a body, and hardly any other."""
    area_K = seen.area_TK.mean(0)
    asked = [NAMES.index(colour) for colour in colours]
    others = float(area_K.sum() - area_K[asked].sum())
    return float(area_K[asked].min()) >= SMALLEST and others <= OTHERS * float(area_K.sum())


def count_right(seen: Seen, colour: str, count: int) -> bool:
    """Whether most of the frames that show bodies of the colour show `count` of them."""
    counts = [sum(body.colour == colour for body in frame) for frame in seen.bodies]
    shown = [n for n in counts if n]
    return len(shown) >= len(counts) / 3 and sum(n == count for n in shown) >= FRAMES * len(shown)


def direction_of(seen: Seen, colour: str) -> str | None:
    """Where the colour's bodies go together between the first frames and the last; None where they hardly move."""
    centre_T2 = seen.centre_TK2[:, NAMES.index(colour)]
    centre_T2 = centre_T2[~centre_T2.isnan().any(1)]
    if len(centre_T2) < 4:
        return None
    start_2, middle_2, end_2 = centre_T2[:2].mean(0), centre_T2[len(centre_T2) // 2], centre_T2[-2:].mean(0)
    fallen_2 = centre_T2[:, 1].max() - start_2[1]
    way_2 = end_2 - start_2
    if float(fallen_2) > float(way_2.abs().max()):  # what fell may have bounced up again
        return "down" if float(fallen_2) >= MOVED and float(middle_2[1]) > float(start_2[1]) else None
    if float(way_2.abs().max()) < MOVED:
        return None
    return max(DIRECTIONS, key=lambda name: float(way_2 @ torch.tensor(DIRECTIONS[name])))


def side_of(seen: Seen, first: str, second: str) -> str | None:
    """`left` or `right`: on which side of the second colour the first one is in most frames."""
    x_T2 = seen.centre_TK2[:, [NAMES.index(first), NAMES.index(second)], 0]
    apart_T = x_T2[:, 1] - x_T2[:, 0]
    for side, holds_T in (("left", apart_T > SMALLEST), ("right", apart_T < -SMALLEST)):
        if float(holds_T.float().mean()) >= FRAMES:
            return side
    return None


def constant(seen: Seen, colours: tuple[str, ...]) -> bool:
    """Whether each asked colour keeps its area, and no other appears, in nearly every frame: nothing fades or turns."""
    asked = [NAMES.index(colour) for colour in colours]
    area_TK = seen.area_TK[:, asked]
    share_TK = area_TK / area_TK.median(0).values.clamp_min(1e-9)
    kept_T = ((share_TK >= CONSTANT[0]) & (share_TK <= CONSTANT[1])).all(1)
    others_T = seen.area_TK.sum(1) - area_TK.sum(1) <= OTHERS * seen.area_TK.sum(1)
    whole = float(area_TK.median(0).values.min()) >= SMALLEST
    return whole and float((kept_T & others_T).float().mean()) >= 0.9


def shape_of(seen: Seen, colour: str) -> str | None:
    """The shape whose silhouette, at each body's place and area, differs least from what the bodies cover."""
    cover_THW = seen.cover_TKHW[:, NAMES.index(colour)]
    x_W, y_H = axes(*cover_THW.shape[1:])
    errors = dict.fromkeys(SHAPES, 0.0)
    largest = max((body.area for frame in seen.bodies for body in frame if body.colour == colour), default=0.0)
    for cover_HW, frame in zip(cover_THW, seen.bodies, strict=True):
        for body in frame:
            if body.colour != colour or body.area < 0.85 * largest:
                continue  # half hidden
            dx = ((x_W - body.x)[None, :] * seen.diagonal).numpy()
            dy = ((y_H - body.y)[:, None] * seen.diagonal).numpy()
            radius = math.sqrt(body.area) * seen.diagonal
            near = torch.from_numpy(abs(dx) + 0 * dy < 2 * radius) & torch.from_numpy(abs(dy) + 0 * dx < 2 * radius)
            for shape, unit_area in AREAS.items():
                distance = signed_distance(shape, dx, dy, radius / math.sqrt(unit_area))
                silhouette_HW = torch.from_numpy(0.5 - distance).clamp(0, 1)
                errors[shape] += float((silhouette_HW - cover_HW)[near].square().sum())
    return min(errors, key=lambda shape: errors[shape]) if largest else None


def light_of(seen: Seen) -> str:
    """Time of day by the world behind the bodies: dark is night, warm is sunset."""
    behind_THW = seen.cover_TKHW.sum(1) == 0
    red, _, blue = seen.frames_THWC[behind_THW].float().mean(0).tolist()
    if red + blue < 2 * 85:
        return "night"
    return "sunset" if red - blue > 8 else "day"
