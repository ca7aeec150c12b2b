"""Trials: scenes that each put one thing to the test, with exact facts and the sentence that asks for them.

    glide    one to three equal bodies move in a direction            pair     one body stands left or right of another
    fall     a body falls and bounces                                 collide  a moving body hits one at rest, elastically
    occlude  a body passes behind a pillar and comes out              camera   the camera pans, tilts or zooms past a body

Lengths are in frame diagonals, times in seconds, as in `scene`; what happens is centred on the middle of a clip of
`seconds`, so that the event is inside a clip of any length. A fall keeps its own pace: gravity is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.simulate.scene import (
    AREAS,
    COLOURS,
    DIRECTIONS,
    GROUND,
    NUMBERS,
    SHAPES,
    TIME_PHRASES,
    TIMES_OF_DAY,
    bounce_height,
)

KINDS = ("glide", "pair", "fall", "collide", "occlude", "camera")
CAMERA_MOVES = {
    "pans left": (-1.0, 0.0, 0.0),
    "pans right": (1.0, 0.0, 0.0),
    "tilts up": (0.0, -1.0, 0.0),
    "tilts down": (0.0, 1.0, 0.0),
    "zooms in": (0.0, 0.0, 1.0),
    "zooms out": (0.0, 0.0, -1.0),
}
PILLAR = 0.1  # half the width of the occluder: wider than any body that passes behind it
APART = 3.2  # distance between the centres of gliding bodies, in radii
GAP = 0.34  # between the two bodies of a pair
CONTACT = 0.4  # share of the clip after which bodies collide
# Training draws `reach` between the middle two; evaluation out of distribution draws outside of them.
REACH = (0.26, 0.34)
OTHER_REACH = ((0.2, 0.25), (0.35, 0.4))
LONGER = {"occlude": 0.1, "collide": -0.08}  # what these kinds add to it: a pillar to pass, a second body to push


@dataclass(frozen=True)
class Trial:
    """One event. `shapes` and `colours` name one body or two; `count` bodies of a glide are alike.

    `direction` is left, right, up or down for what moves, and for a pair the side of the second body on which the first
    one stands. ValueError for facts that nothing draws.
    """

    kind: str
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    count: int = 1
    direction: str = ""
    camera: str = "static"
    time_of_day: str = "day"
    sizes: tuple[float, ...] = (0.07,)  # radii
    reach: float = 0.3  # how far a body, or the camera, goes while the clip lasts (a zoom: log of the factor)
    place: tuple[float, float] = (0.0, 0.0)
    drop: float = 0.3
    seconds: float = 1.5

    def __post_init__(self) -> None:
        bodies = 2 if self.kind in ("pair", "collide") else 1
        moves = {"camera": ("",), "fall": ("down",), "glide": tuple(DIRECTIONS)}.get(self.kind, ("left", "right"))
        checks = (
            ("kind", self.kind in KINDS),
            ("shapes", len(self.shapes) == bodies and set(self.shapes) <= set(SHAPES)),
            ("colours", len(set(self.colours)) == bodies and set(self.colours) <= set(COLOURS)),
            ("sizes", len(self.sizes) == bodies and min(self.sizes) > 0),
            ("count", self.count in NUMBERS if self.kind == "glide" else self.count == 1),
            ("direction", self.direction in moves),
            ("camera", self.camera in CAMERA_MOVES if self.kind == "camera" else self.camera == "static"),
            ("time_of_day", self.time_of_day in TIMES_OF_DAY),
            ("seconds", self.seconds > 0),
        )
        if wrong := [name for name, right in checks if not right]:
            raise ValueError(f"no {self.kind!r} trial can be drawn with this {wrong[0]}: {getattr(self, wrong[0])!r}")

    def bodies(self) -> list[tuple[str, str, float]]:
        """Shape, colour and radius of each body, in the order of `positions`."""
        each = list(zip(self.shapes, self.colours, self.sizes, strict=True))
        return each * self.count

    def positions(self, times: np.ndarray) -> np.ndarray:
        """World positions of the bodies' centres: f64 [T, bodies, 2] for `times` f64 [T] in seconds."""
        times = np.asarray(times, float)
        x0, y0 = self.place
        middle = times - self.seconds / 2
        if self.kind == "fall":
            track = np.stack([np.full(len(times), x0), GROUND - self.sizes[0] - bounce_height(times, self.drop)], -1)
            return track[:, None]
        if self.kind == "collide":
            return self._collision(times)
        if self.kind == "pair":
            side = DIRECTIONS[self.direction][0] * GAP / 2
            still = np.array([[x0 + side, y0], [x0 - side, y0]])
            return np.broadcast_to(still, (len(times), 2, 2))
        if self.kind == "camera":
            return np.broadcast_to(np.array([[x0, y0]]), (len(times), 1, 2))
        towards = np.array(DIRECTIONS[self.direction])
        across = np.abs(towards[::-1])
        beside = (np.arange(self.count) - (self.count - 1) / 2) * APART * self.sizes[0]
        lane = np.array(self.place) * across + beside[:, None] * across
        return (self.reach / self.seconds * middle)[:, None, None] * towards + lane

    def speeds(self) -> tuple[float, float, float]:
        """Of a collision, diagonals/s along its direction: the striker's before, both bodies' after. Mass goes with area."""
        first, second = (AREAS[shape] * size**2 for shape, size in zip(self.shapes, self.sizes, strict=True))
        speed = self.reach / self.seconds
        return speed, speed * (first - second) / (first + second), speed * 2 * first / (first + second)

    def _collision(self, times: np.ndarray) -> np.ndarray:
        before, striker, struck = self.speeds()
        since = times - CONTACT * self.seconds
        touching = sum(self.sizes) / 2
        first = -touching + np.where(since < 0, before, striker) * since
        second = touching + np.where(since < 0, 0.0, struck) * since
        sign = DIRECTIONS[self.direction][0]
        x = self.place[0] + sign * np.stack([first, second], -1)
        return np.stack([x, np.full_like(x, self.place[1])], -1)

    def view(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the camera looks, [T, 2] in diagonals, and how far it is zoomed in, [T] (1: not)."""
        share = np.asarray(times, float) / self.seconds - 0.5
        across, down, zoom = CAMERA_MOVES.get(self.camera, (0.0, 0.0, 0.0))
        return self.reach * share[:, None] * np.array([across, down]), np.exp(zoom * self.reach * share)

    def caption(self) -> str:
        """One sentence that says every fact a model can be asked for."""
        first, last = (f"one {colour} {shape}" for shape, colour in (self._things[0], self._things[-1]))
        sentence = {
            "glide": f"{NUMBERS[self.count]} {self._alike} moving {self.direction}",
            "pair": f"{first} {self.direction} of {last}",
            "fall": f"{first} falling and bouncing",
            "collide": f"{first} moving {self.direction} hits {last}",
            "occlude": f"{first} moving {self.direction} behind a pillar",
            "camera": f"{first}, camera {self.camera}",
        }[self.kind]
        return f"{sentence} {TIME_PHRASES[self.time_of_day][0]}"

    def prompt(self) -> str:
        """The same in other words, as people write prompts, without the time of day."""
        first, last = (f"a {colour} {shape}" for shape, colour in (self._things[0], self._things[-1]))
        several = f"{NUMBERS[self.count]} {self._alike} move"
        return {
            "glide": f"{several if self.count > 1 else f'{first} moves'} {self.direction}",
            "pair": f"{first} {self.direction} of {last}",
            "fall": f"{first} falls and bounces",
            "collide": f"{first} moves {self.direction} and hits {last}",
            "occlude": f"{first} moves {self.direction} behind a pillar",
            "camera": f"{first}, the camera {self.camera}",
        }[self.kind]

    def captions(self) -> tuple[str, ...]:
        """What training says of it: the caption, as often as the other wordings together."""
        return self.caption(), self.caption(), self.prompt(), f"{self.prompt()} {TIME_PHRASES[self.time_of_day][1]}"

    @property
    def _things(self) -> list[tuple[str, str]]:
        return list(zip(self.shapes, self.colours, strict=True))

    @property
    def _alike(self) -> str:
        return f"{self.colours[0]} {self.shapes[0]}{'s' if self.count > 1 else ''}"


def random_trial(
    seed: int, kinds: Sequence[str] = KINDS, seconds: float = 1.5, reaches: Sequence[tuple[float, float]] = (REACH,)
) -> Trial:
    """The trial of a seed: always the same one, of one of the kinds (a kind listed twice comes twice as often).

    All bodies stay inside the picture while the clip lasts, at aspect ratios from 1:1 to 4:3; only what a heavier body
    struck may end partly over the edge of a square picture.
    """
    rng = np.random.default_rng([0x741A1, seed])
    kind = str(kinds[int(rng.integers(len(kinds)))])
    count = int(rng.integers(1, 4)) if kind == "glide" else 1
    pair = kind in ("pair", "collide")
    colours = rng.permutation(list(COLOURS))[: 2 if pair else 1]
    shapes = rng.choice(SHAPES, 2 if pair else 1)
    side = str(rng.choice(["left", "right"]))
    low, high = reaches[int(rng.integers(len(reaches)))]
    sizes = rng.uniform(0.058, 0.064, 1) if count == 3 else rng.uniform(0.066, 0.078, len(shapes))
    spread = 0.01 if kind == "collide" else 0.03
    direction = {"glide": str(rng.choice(list(DIRECTIONS))), "fall": "down", "camera": ""}.get(kind, side)
    return Trial(
        kind=kind,
        shapes=tuple(map(str, shapes)),
        colours=tuple(map(str, colours)),
        count=count,
        direction=direction,
        camera=str(rng.choice(list(CAMERA_MOVES))) if kind == "camera" else "static",
        time_of_day=str(rng.choice(TIMES_OF_DAY)),
        sizes=tuple(round(float(size), 3) for size in sizes),
        reach=round(float(rng.uniform(low, high)) + LONGER.get(kind, 0.0), 3),
        place=(round(float(rng.uniform(-1, 1)) * spread, 3), round(float(rng.uniform(-1, 1)) * spread, 3)),
        drop=round(float(rng.uniform(0.24, 0.3)), 3),
        seconds=seconds,
    )
