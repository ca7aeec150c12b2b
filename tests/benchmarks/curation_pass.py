"""What the curation pass costs beyond a bare decode-and-scale of the same file, on one core, in one run.

The bare decode-and-scale is the cheapest that is known: PyAV, and one bilinear resize of the luma plane to 256 pixels.
Three passes are set against it: all signals; those without the face detector, which is a neural network; and all
signals together with the identity of the clip, the SHA-256 of every decoded pixel. That is no signal: the pass takes it
only of a file whose probe left no digests. What a file takes altogether is told too: its probe alone, and its probe and
its pass in one decode, as a delivered file is read. Memory is that of a fresh process which does both over a 4K file, at
two lengths.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from assets.decode.decoder import open_container, video_stream
from assets.signals.faces import face_finder
from assets.signals.frames import Frame, read
from assets.signals.measure import shots_of
from assets.signals.single_pass import SAMPLES_PER_S, Pass

VENDOR = Path(".vendor")
ROUNDS = 5
DONE = object()
FILES = {"smoke": ("volcano.mp4", 0, 180), "snow": ("snow.mp4", 1010, 180)}
MEMORY = (  # VmHWM: unlike ru_maxrss it does not begin with what the parent held
    "import sys; from assets.signals.worker import judged_and_measured; "
    "from assets.decode.limits import Limits; "
    "request = {'path': sys.argv[1], 'faces': sys.argv[2], 'plugins': {}}; "
    "assert judged_and_measured(request, Limits(), lambda: None)[1]; "
    "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
)


def encode(source: str, start: int, count: int, path: Path, size: tuple[int, int] = (1920, 1080)) -> Path:
    """`count` frames of real footage as H.264, as a camera's or a web encoder's; longer than the source, it repeats."""
    import av

    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        written = 0
        while written < count:
            with av.open(str(VENDOR / "footage" / source)) as container:
                for index, picture in enumerate(container.decode(video=0)):
                    if index < start or written >= count:
                        continue
                    frame = picture.reformat(*size, "yuv420p")
                    frame.pts, frame.time_base = written, Fraction(1, 30)
                    target.mux(stream.encode(frame))
                    written += 1
        target.mux(stream.encode(None))
    return path


def decode_and_scale(path: Path) -> Iterator[None]:
    import cv2
    import numpy as np

    with open_container(path) as container:
        for picture in container.decode(video_stream(container)):
            plane = picture.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]  # type: ignore[call-overload]
            cv2.resize(luma, (256, 144), interpolation=cv2.INTER_LINEAR)
            yield


def everything(path: Path, faces: bool, identity: bool) -> Iterator[None]:
    run = Pass(face_finder(VENDOR / "yunet.onnx") if faces else None, identify=Frame.digest if identity else None)
    for frame in read(path, hear=run.hear):
        run.add(frame)
        yield
    shots_of(run)


WORK: dict[str, Callable[[Path], Iterator[None]]] = {
    "decode_and_scale": decode_and_scale,
    "signals_without_faces": lambda path: everything(path, faces=False, identity=False),
    "all_signals": lambda path: everything(path, faces=True, identity=False),
    "all_signals_and_identity": lambda path: everything(path, faces=True, identity=True),
}


def ratios(path: Path) -> dict[str, Any]:
    """Medians over rounds; the first warms up."""
    rounds = [side_by_side(path) for _ in range(ROUNDS + 1)][1:]
    times = {name: [one[name] for one in rounds] for name in WORK}
    bare = times["decode_and_scale"]
    return {
        "decode_and_scale_cpu_s": round(statistics.median(bare), 3),
        "whole_file_over_decode_and_scale": whole_file(path),
        "over_decode_and_scale": {
            name: round(statistics.median(one / two for one, two in zip(spent, bare, strict=True)), 3)
            for name, spent in times.items()
            if name != "decode_and_scale"
        },
    }


def side_by_side(path: Path) -> dict[str, float]:
    """CPU seconds of every kind of work, a frame of each in turn, so that a busy machine hits all alike."""
    spent = dict.fromkeys(WORK, 0.0)
    running = {name: work(path) for name, work in WORK.items()}
    while running:
        for name, work in list(running.items()):
            started = time.process_time()
            if next(work, DONE) is DONE:
                del running[name]
            spent[name] += time.process_time() - started
    return spent


def whole_file(path: Path) -> dict[str, float]:
    """The probe alone, and the probe with the pass beside it, over a bare decode and scale in the same round."""
    from assets.decode.limits import Limits
    from assets.signals.worker import judged_and_measured

    probe = {"path": str(path)}
    both = probe | {"faces": str(VENDOR / "yunet.onnx"), "plugins": {}}
    ratios: dict[str, list[float]] = {"probe": [], "probe_and_pass": []}
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in decode_and_scale(path):
            pass
        before = time.process_time()
        bare = before - started
        for name, request in zip(ratios, (probe, both), strict=True):
            judged_and_measured(request, Limits(), lambda: None)
            now = time.process_time()
            ratios[name].append((now - before) / bare)
            before = now
    return {name: round(statistics.median(each), 3) for name, each in ratios.items()}


def peak_mib(path: Path) -> float:
    command = [sys.executable, "-c", MEMORY, str(path), str(VENDOR / "yunet.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(int(done.stdout) / 1024, 1)


def curation_pass() -> dict[str, Any]:
    import cv2

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            name: ratios(encode(*parts, folder / f"{name}.mp4"))  # type: ignore[arg-type]
            for name, parts in FILES.items()
        }
        short, long = (encode("volcano.mp4", 0, n, folder / f"{n}.mp4", (3840, 2160)) for n in (60, 180))
        memory = {"60_frames": peak_mib(short), "180_frames": peak_mib(long)}
    return {
        "flow_samples_a_second": SAMPLES_PER_S,
        "files_1080p": files,
        "accepted_all_signals": 1.2,
        "peak_mib_4k": memory,
        "accepted_peak_mib": 600,
    }
