"""What a size of model sees of a clip: which moment, at what rate, in how many pixels. Needs no torch.

A rung of the ladder (`model.config.LADDER`) names its policy, and the policy's name is part of the key of what is made by it:
pictures (`frames/<name>/`) and latents. Sizes are buckets: few of them, so that clips of one shape meet in a step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

MULTIPLE = 16  # of both sides, as codec and transformer together divide them
WIDEST = 2.0  # aspect ratios beyond 2:1 either way are cropped
ASPECTS = (1 / 2, 9 / 16, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 16 / 9, 2.0)
SLOWEST = 8.0  # frames a second: what was filmed at fewer shows some of them twice


class RenditionError(ValueError):
    """A member's pictures cannot be made."""


@dataclass(frozen=True)
class DataPolicy:
    """Clips as about `side` x `side` pixels, `frames` of them (4k + 1, as a causal autoencoder wants) at `fps` a second.

    With a `crop`, only the middle square of so many pixels of that picture.
    """

    side: int
    frames: int
    fps: float  # at most: no picture is made that was not filmed
    slack: float = 0.05  # share of the area by which a size may differ where its aspect ratio is nearer
    aspects: tuple[float, ...] = ASPECTS  # one size for each; none: every size that fits
    crop: int = 0
    version: int = 1  # change it whenever a pixel may change

    @property
    def name(self) -> str:
        crop = f"-crop{self.crop}" if self.crop else ""
        return f"{self.frames}f-{self.fps:g}hz-{self.side}px{crop}-{self.version}"

    @property
    def seconds(self) -> float:
        return (self.frames - 1) / self.fps

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what a clip is scaled to: the bucket nearest to its aspect ratio. Before the crop."""
        return _nearest(self, width / height)

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the pictures."""
        return (self.crop, self.crop) if self.crop else self.size(width, height)


@cache
def _buckets(policy: DataPolicy) -> tuple[tuple[int, int], ...]:
    area, sides = policy.side**2, range(2 * MULTIPLE, 2 * policy.side + 1, MULTIPLE)
    fitting = ((w, h) for w in sides for h in sides if 1 - policy.slack <= w * h / area <= 1 + policy.slack)
    sizes = tuple((w, h) for w, h in fitting if 1 / WIDEST <= w / h <= WIDEST)
    return tuple(dict.fromkeys(_closest(sizes, aspect, area) for aspect in policy.aspects)) or sizes


def _closest(sizes: Iterable[tuple[int, int]], aspect: float, area: int) -> tuple[int, int]:
    return min(sizes, key=lambda size: (abs(math.log(size[0] / size[1] / aspect)), abs(size[0] * size[1] - area), size))


@cache
def _nearest(policy: DataPolicy, aspect: float) -> tuple[int, int]:
    return _closest(_buckets(policy), min(WIDEST, max(1 / WIDEST, aspect)), policy.side**2)


@dataclass(frozen=True)
class Moment:
    """Which source frames make the rendition: `indices` count from the start of the file."""

    indices: tuple[int, ...]
    fps: float

    @property
    def first(self) -> int:
        return self.indices[0]

    @property
    def end(self) -> int:
        return self.indices[-1] + 1


def choose_moment(start_frame: int, end_frame: int, source_fps: float, policy: DataPolicy) -> Moment:
    """The middle of the range at about the policy's rate; fewer frames (4k + 1) if the clip has fewer.

    A clip that is shorter than the policy wants is sampled evenly over its whole length, at the resulting rate.
    """
    available = end_frame - start_frame
    if available < 1 or not source_fps > 0:
        raise RenditionError(f"no frames between {start_frame} and {end_frame} at {source_fps} frames per second")
    rate = min(policy.fps, max(SLOWEST, source_fps))
    count = min(policy.frames, max(5, 4 * ((available - 1) // 4) + 1))
    span = min((count - 1) * source_fps / rate, available - 1)
    first = start_frame + (available - 1 - span) / 2
    steps = [first + span * step / (count - 1) for step in range(count)]
    indices = tuple(min(end_frame - 1, math.floor(step + 0.5)) for step in steps)
    return Moment(indices, round((count - 1) * source_fps / span, 3) if span else rate)


@dataclass(frozen=True)
class Portion:
    """Of a picture of `width` x `height`, the middle `crop` of what is scaled to `scaled`, both as (width, height)."""

    scaled: tuple[int, int]
    crop: tuple[int, int]

    @classmethod
    def of(cls, width: int, height: int, policy: DataPolicy) -> Portion:
        target = policy.size(width, height)
        scale = max(target[0] / width, target[1] / height)
        scaled = max(target[0], round(width * scale)), max(target[1], round(height * scale))
        return cls(scaled, policy.shape(width, height))
