"""Build the sample world: requests, and deliveries of several contributors over five days, into a home's inbox.

What is delivered is listed in `deliveries`, what must become of it in `story`. This module makes the files, damaged ones
too, and puts each delivery where a contributor's upload would; a delivery that is there already is never touched.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from assets.home import Home
from assets.marks.c2pa import sign_as_ai_generator
from assets.requests.parse import parse_line
from assets.requests.store import Header, add_request
from orchestration.demo.deliveries import (
    DELIVERIES,
    FPS_SIMULATED,
    FRAMES_SIMULATED,
    REQUESTS,
    Clip,
    Delivery,
    scene_of,
)
from orchestration.demo.footage import CUTS, make_clips, source_of
from orchestration.demo.people import ENROLLED_AT, People
from training.data.video import read_frames, write_mp4
from training.simulate import render

SIMULATION_SOURCE = {"name": "simulated scene (training.simulate)", "licence": "Apache-2.0"}
NOTES = "These are my notes for the shoot. The video is on the other card, I will send it later.\n"


@dataclass(frozen=True)
class World:
    """What was built: requests by identity, and deliveries."""

    requests: tuple[str, ...] = ()
    deliveries: tuple[Delivery, ...] = ()

    @property
    def days(self) -> tuple[str, ...]:
        """Received days, in order."""
        return tuple(sorted({delivery.day for delivery in self.deliveries}))


def build_world(home: Home, deliveries: Sequence[Delivery] = DELIVERIES) -> World:
    """Put the sample world into the home. Building it again changes nothing, and completes a build that broke off.

    Needs the footage that `orchestration.demo.fetch` brings; raises FileNotFoundError without it.
    """
    for request_id, (org_id, line) in REQUESTS.items():
        add_request(home.database_url, parse_line(line), ENROLLED_AT, Header(request_id, org_id))
    missing = [delivery for delivery in deliveries if not home.store.exists(_key(delivery, "delivery.json"))]
    clips = [clip for delivery in missing for clip in delivery.clips]
    steps = len(clips) + len({clip.cut for clip in clips if clip.cut}) + sum(clip.cut is None for clip in clips)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns) as progress, tempfile.TemporaryDirectory(dir=home.scratch("sample-world")) as folder:
        task = progress.add_task("cutting and drawing clips", total=steps)
        studio = _Studio(home, Path(folder), missing, lambda: progress.advance(task))
        for delivery in missing:
            progress.update(task, description=f"delivery {delivery.delivery_id}")
            _deliver(home, delivery, studio)
            progress.advance(task, len(delivery.clips))
        progress.update(task, description="the sample world is in the inbox")
    return World(tuple(REQUESTS), tuple(deliveries))


def _key(delivery: Delivery, name: str) -> str:
    return f"inbox/{delivery.day}/{delivery.delivery_id}/{name}"


def _deliver(home: Home, delivery: Delivery, studio: _Studio) -> None:
    """Files and signed consents first, the manifest last: its presence says that the delivery is complete."""
    digests = {}
    for clip in delivery.clips:
        data = studio.files[delivery.delivery_id, clip.file].read_bytes()
        digests[clip.file] = hashlib.sha256(data).hexdigest()
        home.store.put(_key(delivery, clip.file), data)
    papers = People.of(home).papers(delivery, digests)
    home.store.put(_key(delivery, "consent/events.json"), _json(papers))
    home.store.put(_key(delivery, "delivery.json"), _json(manifest(delivery)))


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def manifest(delivery: Delivery) -> dict[str, Any]:
    """`delivery.json` as the contributor's app writes it."""
    return {
        "schema": "rushes.delivery/1",
        "delivery_id": delivery.delivery_id,
        "contributor_id": delivery.contributor_id,
        "request_id": delivery.request_id,
        "received_at": delivery.received_at,
        "clips": [_declared(clip) for clip in delivery.clips],
    }


def _declared(clip: Clip) -> dict[str, Any]:
    assert clip.size is not None
    width, height = clip.size
    common = math.gcd(width, height)
    length_s = CUTS[clip.cut].length_s if clip.cut else FRAMES_SIMULATED / FPS_SIMULATED
    declared: dict[str, Any] = {
        "file": clip.file,
        "subject": clip.subject,
        "location": clip.place.location,
        "time_of_day": clip.place.time_of_day,
        "resolution": f"{width}x{height}",
        "aspect_ratio": clip.aspect_ratio or f"{width // common}:{height // common}",
        "length_s": clip.length_s or length_s,
        "captured_at": clip.place.captured_at,
        "latitude": clip.place.latitude,
        "longitude": clip.place.longitude,
        "device": clip.place.device,
        "persons": [
            {"person_id": person, "identifiable": identifiable, "minor": False} for person, identifiable in clip.persons
        ],
        "source": source_of(CUTS[clip.cut]) if clip.cut else SIMULATION_SOURCE if clip.scene is not None else None,
    }
    return {name: value for name, value in declared.items() if value is not None}


class _Studio:
    """Makes the files of deliveries: `files` by (delivery, file name)."""

    def __init__(self, home: Home, folder: Path, deliveries: list[Delivery], done: Callable[[], None]) -> None:
        self.folder, self.keys = folder, home.state / "demo_people" / "generator"
        clips = [(delivery, clip) for delivery in deliveries for clip in delivery.clips]
        cuts = {clip.cut: CUTS[clip.cut] for _, clip in clips if clip.cut}
        self.cut = make_clips(home.vendor, cuts.values(), folder, lambda _: done())
        self.files = {}
        for delivery, clip in clips:
            self.files[delivery.delivery_id, clip.file] = self._make(delivery, clip)
            if not clip.cut:
                done()

    def _make(self, delivery: Delivery, clip: Clip) -> Path:
        path = self.folder / f"{delivery.delivery_id}-{clip.file}"
        source = self._picture(clip, path)
        match clip.damage:
            case None:
                return source
            case "truncated":
                path.write_bytes(truncated(source.read_bytes()))
            case "overdeclared":
                path.write_bytes(overdeclared(source.read_bytes()))
            case "empty":
                path.write_bytes(b"")
            case "text":
                path.write_text(NOTES, encoding="utf-8")
            case "reencoded":
                frames, fps = read_frames(source, max_side=640)
                write_mp4(path, frames, fps, crf=28)
            case "ai-marked":
                self.keys.mkdir(mode=0o700, parents=True, exist_ok=True)
                sign_as_ai_generator(source, path, self.keys)
            case _:
                raise ValueError(f"unknown damage {clip.damage!r}")
        return path

    def _picture(self, clip: Clip, path: Path) -> Path:
        """The footage or the simulation, before anything is done to it."""
        if clip.cut:
            return self.cut[clip.cut]
        if clip.scene is None:
            return path
        assert clip.size is not None
        frames = render(scene_of(clip), *clip.size, FRAMES_SIMULATED, FPS_SIMULATED)
        return write_mp4(path.with_suffix(".drawn.mp4"), frames, FPS_SIMULATED)


# -- files that are not what they claim to be ---------------------------------------------------------------------------

_CONTAINERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


class DamageError(ValueError):
    """The file is not built as the damage needs it."""


def truncated(data: bytes, share: float = 0.6) -> bytes:
    """The first part of an MP4 whose index comes first: it opens and plays, and then the pictures end."""
    if not 0 <= data.find(b"moov") < data.find(b"mdat"):
        raise DamageError("the index must come before the pictures, or nothing of the file would open")
    return data[: round(len(data) * share)]


def overdeclared(data: bytes, times: int = 2) -> bytes:
    """A whole MP4 whose time-to-sample table and durations promise `times` as many frames as are there."""
    out = bytearray(data)
    boxes = dict(_boxes(data, 0, len(data)))
    for name in (b"mvhd", b"tkhd", b"mdhd", b"stts"):
        if name not in boxes:
            raise DamageError(f"no {name.decode()} box")
    for name, offset in {b"mvhd": 16, b"tkhd": 20, b"mdhd": 16}.items():
        _multiply(out, boxes[name] + offset, times)  # durations of version 0
    entries = struct.unpack_from(">I", out, boxes[b"stts"] + 4)[0]
    for entry in range(entries):
        _multiply(out, boxes[b"stts"] + 8 + 8 * entry, times)
    return bytes(out)


def _multiply(data: bytearray, at: int, times: int) -> None:
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] * times)


def _boxes(data: bytes, start: int, end: int) -> list[tuple[bytes, int]]:
    """(name, where its content begins) of every box, those inside the index's containers too."""
    boxes: list[tuple[bytes, int]] = []
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, start)
        if size < 8:
            break  # sizes of 64 bits do not come up in files of this size
        boxes.append((name, start + 8))
        if name in _CONTAINERS:
            boxes += _boxes(data, start + 8, start + size)
        start += size
    return boxes
