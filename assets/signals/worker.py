"""The child process that measures files: `python -m assets.signals.worker [--probe] '<limits as JSON>'`.

It reads `{"path": ..., "faces": ..., "plugins": ..., "digests": ...}` lines and answers each with one JSON line: the result
of `measure`, or `{"error": <reason>}`. `assets.decode.process` bounds it.

With `--probe` it judges and measures a file in one decode: it reads `{"path": ..., "anchors": ..., "faces": ...,
"plugins": ...}` lines and answers `{"probe": <JSON of a ProbeResult>, "beside": <result of measure> or null}`. The verdict
is the probe's alone: a failed measurement gives null, and says why when the file is measured by itself later. A request
without weights asks for the verdict alone.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.decode.probe import judge, prepare
from assets.decode.probe_pool import ProbeResult, machine_made
from assets.decode.process import Limits, serve
from assets.reasons import Code, printable
from assets.signals.detectors import BadScorer, Scorer, load_scorers
from assets.signals.frames import Streams
from assets.signals.single_pass import Pass, measure, shots_of

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


def weights_of(request: Mapping[str, Any]) -> tuple[Path | None, tuple[Scorer, ...]]:
    """The model of faces and the loaded plugins that a request names. Raises BadScorer."""
    plugins = load_scorers({name: Path(model) for name, model in request["plugins"].items()})
    return Path(request["faces"]) if request["faces"] else None, plugins


def measured(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """The result of `measure`; an ordinary failure as `error`."""
    import av

    try:
        faces, plugins = weights_of(request)
        digests = Path(request["digests"]).read_bytes() if request.get("digests") else None
        return measure(Path(request["path"]), faces, plugins, pulse, limits.pixels, digests)
    except (MemoryError, av.error.MemoryError):
        reason = Code.OUT_OF_MEMORY.because(f"more than {limits.memory_bytes} bytes were needed")
    except av.error.FFmpegError as error:
        reason = Code.DECODE_ERRORS.because(error.strerror or type(error).__name__)
    except BadScorer as error:  # no file's fault
        reason = f"plugin.unusable: {printable(str(error))}"
    except Exception as error:  # whatever else a file provokes in a library is a fact about this file alone
        reason = Code.CRASHED.because(f"{type(error).__name__}: {error}")
    return {"error": reason}


class PassWatcher:
    """Runs the pass on what a probe decodes: a `decoder.Watcher`. It gives up at its first failure."""

    def __init__(self, run: Pass) -> None:
        run.identify = None  # the probe takes the digests
        self._run: Pass | None = run
        self._streams: Streams | None = None

    def _try(self, work: Callable[[Pass], Any]) -> Any:
        """What `work` returns; None from the first failure on, whatever a file provoked in a library."""
        if self._run is None:
            return None
        try:
            return work(self._run)
        except Exception:
            self._run = self._streams = None
            return None

    def start(self, container: InputContainer, stream: VideoStream) -> None:
        self._streams = self._try(lambda run: Streams(container, stream, run.open_sound))

    def add_frame(self, picture: av.VideoFrame) -> None:
        if streams := self._streams:
            self._try(lambda run: run.add(streams.frame(picture)))

    def add_packet(self, packet: av.Packet) -> None:
        if streams := self._streams:
            self._try(lambda run: streams.add_packet(packet))

    def result(self, digests: bytes) -> dict[str, Any] | None:
        """The shots and their signals, given the frames' digests."""
        return self._try(lambda run: {"shots": shots_of(run, digests)}) if self._streams else None


def watcher_of(request: Mapping[str, Any]) -> PassWatcher | None:
    """None where nothing is to be measured, or cannot be with these weights."""
    if "plugins" not in request:
        return None
    try:
        return PassWatcher(Pass.of(*weights_of(request)))
    except Exception:  # measuring the file by itself says what is wrong with them
        return None


def judged_and_measured(
    request: Mapping[str, Any], limits: Limits, pulse: Callable[[], None]
) -> tuple[ProbeResult, dict[str, Any] | None]:
    """The verdict on a file and, where it is accepted and nothing failed in measuring, the result of `measure`."""
    watcher = watcher_of(request)
    result = judge(request, limits, pulse, watcher)
    if watcher and machine_made(result):  # perhaps because of what measuring took
        watcher = None
        result = judge(request, limits, pulse)
    if watcher is None or result.reasons:
        return result, None
    return result, watcher.result(base64.b64decode(result.frame_digests))


def probed(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    result, shots = judged_and_measured(request, limits, pulse)
    return {"probe": asdict(result), "beside": shots}


if __name__ == "__main__":
    if "--probe" in sys.argv:
        prepare()
        serve(probed)
    else:
        serve(measured)
