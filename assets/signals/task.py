"""Measuring one file, wherever it is done: fetched by its key, measured in a child process, kept in the store.

This module has the work as it travels to the machine that does it, and the keys of its results. The machine that
measured a file keeps the result at once, so that a crash of the caller loses nothing. `rows` chooses the files,
`assets.decode` distributes them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.decode import identity
from assets.decode.executor import is_local
from assets.decode.limits import Limits
from assets.decode.probe_pool import digests_key
from assets.decode.process import ChildFailed
from assets.decode.work import Host, Unfit
from assets.home import Home
from assets.reasons import DISK_FULL, Code
from assets.signals import image_quality, shots, single_pass, text_detection
from assets.signals.plugins import available
from assets.store import Store

LIMITS = Limits()
COMMAND = (sys.executable, "-m", "assets.signals.worker")
BESIDE = (*COMMAND, "--probe")


@dataclass(frozen=True)
class File:
    """One file to measure: its content's SHA-256, and where it is in the store."""

    sha256: str
    media_key: str


@dataclass(frozen=True)
class Measuring:
    """The same for all files of a run. Weights have the same path on every machine.

    `version` names what results depend on besides the file, as the machine that asks sees it.
    """

    version: str
    faces: Path | None
    plugins: tuple[tuple[str, Path], ...]
    limits: Limits = LIMITS
    command: tuple[str, ...] = COMMAND

    @classmethod
    def of(cls, home: Home) -> Measuring:
        """With what the home has of weights."""
        faces = home.face_detector if home.face_detector.is_file() else None
        plugins = available(home.vendor)
        return cls(pass_version(faces, plugins), faces, tuple(plugins.items()))

    def check(self) -> None:
        """Raises Unfit where this machine has other code or other weights than the one that asks."""
        try:
            version = pass_version(self.faces, dict(self.plugins))
        except OSError as error:
            version = f"nothing ({error})"
        if version != self.version:
            raise Unfit(
                f"{platform.node()} would measure as {version}, and {self.version} is asked for:"
                " install the same Rushes there, with the same weights under the same path"
            )

    def do(self, host: Host, item: File) -> str | None:
        """Measure one file, unless that was done before; the reason why it cannot be measured, if it cannot."""
        key = result_key(self.version, item.sha256)
        if host.store.exists(key):
            return None
        try:
            path = host.store.fetch(item.media_key)
            frames_key = digests_key(item.sha256)
            digests = host.store.fetch(frames_key) if host.store.exists(frames_key) else None
        except OSError as error:
            if error.errno in DISK_FULL:  # of the copy of what is in an object store
                return Code.NO_ROOM.because("the disk was full before the file was fetched")
            return Code.FILE_GONE.because(str(error))
        request = {"path": str(path), "digests": str(digests) if digests else None}
        try:
            answer = host.children.ask(request | self.weights())
        except ChildFailed as failure:
            return failure.reason
        if "error" in answer:
            return answer["error"]
        try:
            keep(host.store, key, answer)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            return Code.NO_ROOM.because("the disk was full when the result was kept")
        return None

    def weights(self) -> dict[str, Any]:
        """What a request to a child says of them."""
        return {
            "faces": str(self.faces) if self.faces else None,
            "plugins": {name: str(model) for name, model in self.plugins},
        }


@dataclass(frozen=True)
class BesideProbe:
    """The same measurements, taken of the frames that a probe decodes: an `assets.decode.probe_pool.Beside`.

    Whatever it has not measured is measured by `Measuring` later, which then opens the file again.
    """

    measuring: Measuring
    command: tuple[str, ...] = BESIDE

    def request(self) -> Mapping[str, Any]:
        return self.measuring.weights()

    def is_missing(self, store: Store, sha256: str) -> bool:
        return not store.exists(result_key(self.measuring.version, sha256))

    def keep(self, store: Store, sha256: str, result: Mapping[str, Any]) -> None:
        keep(store, result_key(self.measuring.version, sha256), result)


def beside_probe(home: Home) -> BesideProbe | None:
    """None where files are measured on other machines than the one that takes them in."""
    return BesideProbe(Measuring.of(home)) if is_local(home.executor) else None


class CachedResults:
    """What the pass left behind for people: a thumbnail of each clip, and curves of its signals. Decodes nothing."""

    def __init__(self, home: Home) -> None:
        self._store, self._version = home.store, Measuring.of(home).version

    def _shot(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        key = result_key(self._version, row["bytes_sha256"])
        if not self._store.exists(key):
            return {}
        shots = json.loads(self._store.get(key))["shots"]
        return next((shot for shot in shots if shot["clip_id"] == row["clip_id"]), {})

    def thumbnail(self, row: Mapping[str, Any]) -> str | None:
        """A JPEG (base64) of the middle of a clip, a row of table `shots`."""
        return self._shot(row).get("thumbnail")

    def curves(self, row: Mapping[str, Any]) -> dict[str, list[list[float]]]:
        """[seconds from the clip's start, value] by signal."""
        return self._shot(row).get("curves", {})


def keep(store: Store, key: str, answer: Mapping[str, Any]) -> None:
    store.put(key, json.dumps(answer, sort_keys=True).encode())


def result_key(version: str, sha256: str) -> str:
    return f"cache/curation/{version}/{sha256[:2]}/{sha256}.json"


def pass_version(faces: Path | None, plugins: Mapping[str, Path] | None = None) -> str:
    """Names everything that a stored result depends on besides the file: each step's version, each model's digest.

    A result holds signals, shots, scores and clip ids, so the version of each of them is part of the name.
    """
    versions = (
        single_pass.SIGNALS_VERSION,
        shots.DETECTOR_VERSION,
        image_quality.QUALITY_VERSION,
        text_detection.TEXT_VERSION,
        f"identity-{identity.IDENTITY_VERSION}",
    )
    models = {"faces": faces} | dict(plugins or {})
    named = (f"{name}-{_digest(model) if model else 'none'}" for name, model in models.items())
    return "_".join((*versions, *named))


def _digest(model: Path) -> str:
    card = model.with_suffix(".json")
    return hashlib.sha256(model.read_bytes() + (card.read_bytes() if card.is_file() else b"")).hexdigest()[:8]
