"""The child process that judges a file and measures it, in one decode.

`python -m assets.signals.beside_probe '<limits as JSON>'` reads `{"path": ..., "anchors": ..., "faces": ...,
"plugins": ...}` lines and answers each with `{"probe": <JSON of a ProbeResult>, "beside": <what signals.measure gives> or
null}`. The verdict is the probe's alone: whatever fails in measuring gives null, and `worker` says why when it opens the
file anew. A request without weights is for the verdict alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.decode.limits import Limits, ProbeResult
from assets.decode.probe import judge, prepare
from assets.decode.probe_pool import machine_made
from assets.decode.worker import serve
from assets.signals.frames import Film
from assets.signals.plugins import load
from assets.signals.single_pass import Pass

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream


class PassWatcher:
    """Runs the pass on what a probe decodes: a `decode_pass.Watcher`. At its first failure it gives up."""

    def __init__(self, run: Pass) -> None:
        run.identify = None  # the probe takes the digests
        self._run: Pass | None = run
        self._film: Film | None = None

    def _try(self, work: Callable[[Pass], Any]) -> Any:
        """What `work` gives; None from the first failure on, whatever a file provoked in a library."""
        if self._run is None:
            return None
        try:
            return work(self._run)
        except Exception:
            self._run = self._film = None
            return None

    def opened(self, container: InputContainer, stream: VideoStream) -> None:
        self._film = self._try(lambda run: Film(container, stream, run.hear))

    def see(self, picture: av.VideoFrame) -> None:
        if film := self._film:
            self._try(lambda run: run.add(film.frame(picture)))

    def hear(self, packet: av.Packet) -> None:
        if film := self._film:
            self._try(lambda run: film.listen(packet))

    def found(self, digests: bytes) -> dict[str, Any] | None:
        """The shots and their signals, given the frames' digests."""
        return self._try(lambda run: run.result(digests)) if self._film else None


def watcher_of(request: Mapping[str, Any]) -> PassWatcher | None:
    """None where nothing is to be measured, or cannot be with these weights."""
    if "plugins" not in request:
        return None
    try:
        plugins = load({name: Path(model) for name, model in request["plugins"].items()})
        return PassWatcher(Pass.of(Path(request["faces"]) if request["faces"] else None, plugins))
    except Exception:  # `worker` says what is wrong with them
        return None


def judged_and_measured(
    request: Mapping[str, Any], limits: Limits, pulse: Callable[[], None]
) -> tuple[ProbeResult, dict[str, Any] | None]:
    """The verdict on a file and, where it is accepted and nothing failed in measuring, what `signals.measure` gives."""
    watcher = watcher_of(request)
    result = judge(request, limits, pulse, watcher)
    if watcher and machine_made(result):  # perhaps for what measuring took
        watcher = None
        result = judge(request, limits, pulse)
    found = watcher.found(base64.b64decode(result.frame_digests)) if watcher and not result.reasons else None
    return result, found


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    result, found = judged_and_measured(request, limits, pulse)
    return {"probe": asdict(result), "beside": found}


if __name__ == "__main__":
    prepare()
    serve(answer)
