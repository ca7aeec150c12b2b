"""Build the sample world: requests, and deliveries of several contributors over five days, into a home's inbox.

`world.yaml` lists what is delivered and what must become of it. This module makes the files, also damaged ones, and puts
each delivery where a contributor's upload would. A delivery that is there already is never touched.
"""

from __future__ import annotations

import hashlib
import json
import math
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
    CUTS,
    DELIVERIES,
    FPS_SIMULATED,
    FRAMES_SIMULATED,
    REQUESTS,
    Clip,
    Delivery,
    scene_of,
)
from orchestration.demo.footage import make_clips, overdeclared, source_of, truncated
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
    papers = People(home).papers(delivery, digests)
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
