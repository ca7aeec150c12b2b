"""Measuring files, wherever it is done: fetched by key, measured in a child process, kept in the store by content.

`Measuring` is the work as it travels to the machine that does it. The machine that measured a file keeps the result at
once, so that a crash of the caller loses nothing. `measure_files` chooses what is missing, `assets.decode` distributes
it, and rows of tables `shots` and `signals` are made of the results. A file that could not be measured stays one clip,
without signals and with the reason, so that no check on it passes or fails.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.decode import identity
from assets.decode.executor import Host, Progress, Report, Unfit, is_local, open_executor, run
from assets.decode.probe_pool import digests_key
from assets.decode.process import ChildFailed, Limits
from assets.home import Home
from assets.reasons import DISK_FULL, Code
from assets.signals import detectors, image_quality, shots, single_pass
from assets.signals.detectors import available_scorers
from assets.signals.shots import DETECTOR_VERSION
from assets.signals.single_pass import SIGNALS_VERSION
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
        plugins = available_scorers(home.vendor)
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
        detectors.TEXT_VERSION,
        f"identity-{identity.IDENTITY_VERSION}",
    )
    models = {"faces": faces} | dict(plugins or {})
    named = (f"{name}-{_digest(model) if model else 'none'}" for name, model in models.items())
    return "_".join((*versions, *named))


def _digest(model: Path) -> str:
    card = model.with_suffix(".json")
    return hashlib.sha256(model.read_bytes() + (card.read_bytes() if card.is_file() else b"")).hexdigest()[:8]


# -- all files of a day ----------------------------------------------------------------------------------------------


Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measured:
    """What the pass over one file found: `shots` as `measure` gives them, or why there are none.

    `decoded` says that this call decoded the file, and did not remember it.
    """

    shots: tuple[Mapping[str, Any], ...] = ()
    error: str | None = None
    decoded: bool = True


def accepted(media: Iterable[Row]) -> list[Row]:
    return [row for row in media if row["state"] == "accepted"]


def measure_files(
    home: Home,
    media: Sequence[Row],
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[Progress], None] = lambda now: None,
) -> dict[str, Measured]:
    """The pass over every accepted file of `media`, by `bytes_sha256`; what was measured before is not decoded again.

    It runs where the home's `executor` says. `progress` hears of every file, `say` from time to time. Failures are not
    remembered: another run tries again. Raises Unfit and Unavailable where no file is at fault; what was measured
    until then is kept.
    """
    work = Measuring.of(home)
    measured: dict[str, Measured] = {}
    missing: dict[str, Row] = {}
    for row in accepted(media):
        sha256 = row["bytes_sha256"]
        if home.store.exists(result_key(work.version, sha256)):
            measured[sha256] = _stored(home, work, sha256, decoded=False)
        else:
            missing[sha256] = row
    if not missing:
        return measured
    longest_first = sorted(missing, key=lambda sha256: (-(missing[sha256]["duration_s"] or 0), sha256))
    files = [File(sha256, missing[sha256]["media_key"]) for sha256 in longest_first]
    report = Report(len(files), say, progress)
    with open_executor(home.executor, home.store) as executor:
        for file, reason in run(executor, work, files):
            measured[file.sha256] = Measured(error=reason) if reason else _stored(home, work, file.sha256)
            report(failed=bool(reason))
    return measured


def _stored(home: Home, work: Measuring, sha256: str, decoded: bool = True) -> Measured:
    answer = json.loads(home.store.get(result_key(work.version, sha256)))
    return Measured(tuple(answer["shots"]), decoded=decoded)


def shot_rows(media: Iterable[Row], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows of table `shots`. A file that could not be measured is one clip over all its frames."""
    rows = []
    for row in accepted(media):
        file = measured[row["bytes_sha256"]]
        for index, shot in enumerate(file.shots or [_whole(row)]):
            named = {key: row[key] for key in ("item_id", "received_day", "bytes_sha256", "media_key")}
            fields = ("clip_id", "start_frame", "end_frame", "start_s", "end_s", "boundary")
            made_by = {"detector_version": DETECTOR_VERSION, "not_measured": file.error}
            rows.append(named | {key: shot[key] for key in fields} | {"shot_index": index} | made_by)
    return rows


def _whole(media: Row) -> dict[str, Any]:
    return {
        "clip_id": media["frames_sha256"],
        "start_frame": 0,
        "end_frame": media["frames_decoded"],
        "start_s": 0.0,
        "end_s": media["duration_s"],
        "boundary": "end",
    }


def signal_rows(media: Iterable[Row], measured: Mapping[str, Measured]) -> list[dict[str, Any]]:
    """Rows of table `signals`, for the clips that could be measured."""
    rows = []
    for row in accepted(media):
        for index, shot in enumerate(measured[row["bytes_sha256"]].shots):
            rows.append(
                {
                    "clip_id": shot["clip_id"],
                    "item_id": row["item_id"],
                    "shot_index": index,
                    "received_day": row["received_day"],
                    "width": row["width"],
                    "height": row["height"],
                    "duration_s": round(shot["end_s"] - shot["start_s"], 6),
                    "fps": row["fps"],
                    "signals_version": SIGNALS_VERSION,
                }
                | shot["signals"]
            )
    return rows
