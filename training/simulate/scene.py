"""What a scene is: its facts, the motion that follows from them, and the sentence that describes it.

Lengths are in frame diagonals and speeds in diagonals per second, so that a scene means the same at every size and
aspect ratio. x grows to the right and y downwards; the origin is the centre of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle")
AREAS = {"circle": math.pi, "square": (2 * 0.86) ** 2, "triangle": 3 * math.sqrt(3) / 4}  # at radius 1
COLOURS = {
    "red": (222, 45, 45),
    "green": (40, 168, 72),
    "blue": (48, 92, 240),
    "yellow": (248, 214, 48),
    "purple": (160, 64, 200),
}
DIRECTIONS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
CAMERAS = {"static": 0.0, "left": -1.0, "right": 1.0}
TIMES_OF_DAY = ("day", "sunset", "night")
# how captions say a time of day: the usual words first
TIME_PHRASES = {
    "day": ("by day", "in daylight"),
    "sunset": ("at sunset", "as the sun sets"),
    "night": ("at night", "by night"),
}
NUMBERS = {1: "one", 2: "two", 3: "three"}

GROUND = 0.17  # where the ground begins below the centre, in diagonals
GRAVITY = 0.9  # diagonals per second squared
RESTITUTION = 0.75  # share of the speed that a bounce keeps


@dataclass(frozen=True)
class Scene:
    """`count` equal shapes that glide or fall, seen by a camera that stands or pans.

    Gliding shapes move at `speed` (diagonals/s) in `direction` and are nearest the centre after `half_s` seconds.
    Falling shapes are let go at rest `drop` diagonals above the ground and bounce; their direction is down.
    """

    shape: str
    colour: str
    count: int
    motion: str  # glide or fall
    direction: str
    speed: float
    camera: str
    camera_speed: float
    time_of_day: str
    size: float  # radius in diagonals
    lane: float  # offset of the middle shape across its direction, in diagonals
    drop: float = 0.25
    half_s: float = 1.25
    texture: int = 0  # seed of the landscape

    def __post_init__(self) -> None:
        choices = {
            "shape": (self.shape, SHAPES),
            "colour": (self.colour, COLOURS),
            "count": (self.count, NUMBERS),
            "motion": (self.motion, ("glide", "fall")),
            "direction": (self.direction, DIRECTIONS),
            "camera": (self.camera, CAMERAS),
            "time_of_day": (self.time_of_day, TIMES_OF_DAY),
        }
        for name, (value, allowed) in choices.items():
            if value not in allowed:
                raise ValueError(f"{name} must be one of {list(allowed)}, not {value!r}")
        if self.motion == "fall" and self.direction != "down":
            raise ValueError("what falls moves down")

    def positions(self, times: np.ndarray) -> np.ndarray:
        """World positions of the shapes' centres in diagonals: f64 [T, count, 2] for `times` f64 [T] in seconds."""
        apart = np.arange(self.count) - (self.count - 1) / 2
        beside = self.lane + apart * 2.6 * self.size  # [count]
        if self.motion == "fall":
            x = np.broadcast_to(beside, (len(times), self.count))
            y = np.broadcast_to((GROUND - self.size - bounce_height(times, self.drop))[:, None], x.shape)
            return np.stack([x, y], axis=-1)
        towards = np.array(DIRECTIONS[self.direction])
        across = np.array([towards[1], towards[0]])
        along = self.speed * (np.asarray(times, float) - self.half_s)
        return along[:, None, None] * towards + beside[None, :, None] * np.abs(across)

    def camera_x(self, times: np.ndarray) -> np.ndarray:
        """Where the camera looks, in diagonals to the right of the world's centre: [T]."""
        return CAMERAS[self.camera] * self.camera_speed * (np.asarray(times, float) - self.half_s)

    def subject(self) -> str:
        """What is seen and what it does: `two red circles moving left`."""
        things = f"{NUMBERS[self.count]} {self.colour} {self.shape}{'s' if self.count > 1 else ''}"
        return f"{things} {'falling and bouncing' if self.motion == 'fall' else f'moving {self.direction}'}"

    def caption(self) -> str:
        """One sentence that says every fact a model can be asked for."""
        seen = "static camera" if self.camera == "static" else f"camera pans {self.camera}"
        return f"{self.subject()} {TIME_PHRASES[self.time_of_day][0]}, {seen}"

    def captions(self) -> tuple[str, ...]:
        """The caption, and what it says without time and camera, as short captions of footage have it."""
        return self.caption(), self.caption(), self.subject()


def bounce_height(times: np.ndarray, drop: float) -> np.ndarray:
    """Height above rest of something let go `drop` diagonals above it, in diagonals: [T]. Each bounce loses speed."""
    left = np.array(times, float)
    fall = math.sqrt(2 * drop / GRAVITY)
    height = np.where(left < fall, drop - GRAVITY * left**2 / 2, 0.0)
    left, speed = left - fall, RESTITUTION * GRAVITY * fall
    while speed > 0.02:
        hop = 2 * speed / GRAVITY
        height = np.where((left >= 0) & (left < hop), speed * left - GRAVITY * left**2 / 2, height)
        left, speed = left - hop, RESTITUTION * speed
    return height


def random_scene(seed: int) -> Scene:
    """The scene of a seed: always the same one. Facts are drawn independently, except that what falls moves down.

    For the first 2.5 s everything is inside the picture at aspect ratios from 1:1 to 16:9.
    """
    rng = np.random.default_rng([0x5CE9E, seed])
    motion = "fall" if rng.random() < 0.25 else "glide"
    direction = "down" if motion == "fall" else str(rng.choice(list(DIRECTIONS)))
    count = int(rng.choice(list(NUMBERS)))
    size = float(rng.uniform(0.05, 0.075) if count < 3 else rng.uniform(0.04, 0.055))
    return Scene(
        shape=str(rng.choice(SHAPES)),
        colour=str(rng.choice(list(COLOURS))),
        count=count,
        motion=motion,
        direction=direction,
        speed=round(float(rng.uniform(0.08, 0.12)), 3),
        camera=str(rng.choice(["static", "static", "left", "right"])),
        camera_speed=round(float(rng.uniform(0.03, 0.05)), 3),
        time_of_day=str(rng.choice(TIMES_OF_DAY)),
        size=round(size, 3),
        lane=round(float(rng.uniform(-1, 1)) * (0.06 if count < 3 else 0.04), 3),
        drop=round(float(rng.uniform(0.18, 0.26)), 3),
        texture=seed,
    )
