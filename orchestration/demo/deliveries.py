"""The sample world's story as data, read from `world.yaml`: requests, cuts of the footage, deliveries, and their cases."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from assets.ingestion.delivery_items import item_id
from training.simulate import Scene, random_scene

EVERYTHING = ("review", "train", "eval", "publish_sample")
FPS_SIMULATED, FRAMES_SIMULATED = 24, 60
# sizes and shapes of the simulated pictures, in turn
_SIZES = ((256, 144), (256, 144), (192, 192), (256, 192), (144, 256), (256, 256), (224, 160))


@dataclass(frozen=True)
class Place:
    """Where and when contributors say that they filmed."""

    location: str
    time_of_day: str
    captured_at: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    device: str | None = None


@dataclass(frozen=True)
class Cut:
    """Frames `start` to `end` (exclusive) of a source, cropped to shares of the picture and scaled to `size`."""

    name: str
    source: str  # file below vendor/footage
    start: int
    end: int
    size: tuple[int, int]  # of the result: width, height, both even
    crop: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)  # x, y, width, height
    to: tuple[float, float] | None = None  # where the window's x and y are by the last frame
    fps: int = 30
    identifiable: int = 0  # people who could be recognised: what an attentive reviewer counts

    @property
    def length_s(self) -> float:
        return round((self.end - self.start) / self.fps, 3)


@dataclass(frozen=True)
class Clip:
    """One delivered file. `cut` names footage; `scene` a simulated scene; neither makes a file that is no video."""

    file: str
    subject: str
    place: Place
    cut: str | None = None
    scene: int | None = None
    size: tuple[int, int] | None = None
    consent: tuple[str, ...] = EVERYTHING  # the scopes granted
    expires_at: str | None = None
    revoked_by: str | None = None  # the delivery that brings the withdrawal
    persons: tuple[tuple[str, bool], ...] = ()  # (person, identifiable) as declared
    damage: str | None = None
    aspect_ratio: str | None = None
    length_s: float | None = None

    @property
    def identifiable(self) -> int:
        """How many people in it could be recognised, which is known because every cut was watched."""
        return CUTS[self.cut].identifiable if self.cut else 0


@dataclass(frozen=True)
class Delivery:
    delivery_id: str
    received_at: str
    contributor_id: str
    clips: tuple[Clip, ...]
    request_id: str | None = None

    @property
    def day(self) -> str:
        return self.received_at[:10]


class Fate(NamedTuple):
    """What a table must say of a clip: its `column` is `value`."""

    table: str
    column: str
    value: str | bool


@dataclass(frozen=True)
class Case:
    """A delivered clip, what is wrong with it, and the reason and fate that it must get."""

    name: str
    clip: str  # delivery/file
    wrong: str
    reason: str
    fate: Fate

    @property
    def item_id(self) -> str:
        delivery_id, _, file = self.clip.partition("/")
        (delivery,) = (delivery for delivery in DELIVERIES if delivery.delivery_id == delivery_id)
        return item_id(delivery_id, [clip.file for clip in delivery.clips].index(file))


def scene_of(clip: Clip) -> Scene:
    """The simulated scene that a clip shows."""
    if clip.scene is None:
        raise ValueError(f"{clip.file} is no simulation")
    return random_scene(clip.scene)


_WORLD = yaml.safe_load(Path(__file__).with_name("world.yaml").read_text("utf-8"))
_FATES = {
    "quarantined": Fate("media", "state", "quarantined"),
    "failed": Fate("verdicts", "verdict", "fail"),
    "duplicate": Fate("duplicates", "verdict", "fail"),
    "ineligible": Fate("eligibility", "eligible", False),
}


def _clip(row: dict[str, Any]) -> dict[str, Any]:
    size = {"size": CUTS[row["cut"]].size} if "cut" in row else {}
    return size | row | {"place": _WORLD["places"][row["place"]]}


def _simulated(seed: int) -> dict[str, Any]:
    scene = random_scene(seed)
    place = {"location": "simulation", "time_of_day": scene.time_of_day}
    clip = {"file": f"scene-{seed:03}.mp4", "subject": scene.subject(), "size": _SIZES[seed % len(_SIZES)]}
    return clip | {"place": place, "scene": seed}


def _delivery(row: dict[str, Any]) -> dict[str, Any]:
    first, count = row.pop("scenes", (0, 0))
    clips = [*map(_clip, row.get("clips", ())), *map(_simulated, range(first, first + count))]
    return row | {"clips": clips}


REQUESTS: dict[str, tuple[str, str]] = {  # identity: who asks, and the line
    request_id: (row["org"], row["line"]) for request_id, row in _WORLD["requests"].items()
}
CUTS = TypeAdapter(dict[str, Cut]).validate_python({name: row | {"name": name} for name, row in _WORLD["cuts"].items()})
DELIVERIES = TypeAdapter(tuple[Delivery, ...]).validate_python(list(map(_delivery, _WORLD["deliveries"])))
CASES = tuple(Case(**row | {"fate": _FATES[row["fate"]]}) for row in _WORLD["cases"])
