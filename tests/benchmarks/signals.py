"""The pass that measures a file: its cost beyond decoding, and how well it tells camera moves."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from assets.decode.decoder import open_container, video_stream
from assets.decode.process import Limits
from assets.signals.detectors import face_finder
from assets.signals.frames import Frame, read
from assets.signals.motion import FLOW_SIDE, FlowMeter, summarise
from assets.signals.single_pass import SAMPLES_PER_S, Pass, measure, shots_of
from assets.signals.worker import judged_and_measured
from assets.vocabulary import CAMERA_MOTIONS
from tests.benchmarks.harness import answer_of, cpu_of
from training.data.video import write_mp4

VENDOR = Path(".vendor")
FOOTAGE, FACES = VENDOR / "footage", VENDOR / "yunet.onnx"


def encode(source: str, start: int, count: int, path: Path, size: tuple[int, int] = (1920, 1080)) -> Path:
    """`count` frames of real footage as H.264, as a camera's or a web encoder's; longer than the source, it repeats."""
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=30, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        written = 0
        while written < count:
            with av.open(str(FOOTAGE / source)) as container:
                for index, picture in enumerate(container.decode(video=0)):
                    if index < start or written >= count:
                        continue
                    frame = picture.reformat(*size, "yuv420p")
                    frame.pts, frame.time_base = written, Fraction(1, 30)
                    target.mux(stream.encode(frame))
                    written += 1
        target.mux(stream.encode(None))
    return path


# -- the pass beside a bare decode-and-scale of the same file, on one core, in one run -----------------------------------

ROUNDS = 5
DONE = object()
FILES = {"smoke": ("volcano.mp4", 0, 180), "snow": ("snow.mp4", 1010, 180)}
MEMORY = (
    "import sys; from assets.decode.process import Limits; from assets.signals.worker import judged_and_measured; "
    "from tests.benchmarks.harness import peak_mib; "
    "request = {'path': sys.argv[1], 'faces': sys.argv[2], 'plugins': {}}; "
    "assert judged_and_measured(request, Limits(), lambda: None)[1]; print(peak_mib())"
)


def curation_pass() -> dict[str, Any]:
    """The bare decode-and-scale is the cheapest known: PyAV, and one bilinear resize of the luma plane to 256 pixels.

    Beside it are all signals, those without the face detector (a neural network), and all with the identity of the clip,
    the SHA-256 of every decoded pixel, which the pass takes only where the probe left no digests. The whole file is its
    probe alone, and its probe and pass in one decode, as a delivered file is read. Memory is that of a fresh process
    which does both over a 4K file, at two lengths.
    """
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {
            name: ratios(encode(*parts, folder / f"{name}.mp4"))  # type: ignore[arg-type]
            for name, parts in FILES.items()
        }
        memory = {}
        for count in (60, 180):
            film = encode("volcano.mp4", 0, count, folder / f"{count}.mp4", (3840, 2160))
            memory[f"{count}_frames"] = answer_of([sys.executable, "-c", MEMORY, str(film), str(FACES)])
    return {
        "flow_samples_a_second": SAMPLES_PER_S,
        "files_1080p": files,
        "accepted_all_signals": 1.2,
        "peak_mib_4k": memory,
        "accepted_peak_mib": 600,
    }


def decode_and_scale(path: Path) -> Iterator[None]:
    with open_container(path) as container:
        for picture in container.decode(video_stream(container)):
            plane = picture.planes[0]
            luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]  # type: ignore[call-overload]
            cv2.resize(luma, (256, 144), interpolation=cv2.INTER_LINEAR)
            yield


def measuring(path: Path, faces: bool, identity: bool) -> Iterator[None]:
    run = Pass(face_finder(FACES) if faces else None, identify=Frame.digest if identity else None)
    for frame in read(path, run.open_sound):
        run.add(frame)
        yield
    shots_of(run)


WORK: dict[str, Callable[[Path], Iterator[None]]] = {
    "decode_and_scale": decode_and_scale,
    "signals_without_faces": lambda path: measuring(path, faces=False, identity=False),
    "all_signals": lambda path: measuring(path, faces=True, identity=False),
    "all_signals_and_identity": lambda path: measuring(path, faces=True, identity=True),
}


def ratios(path: Path) -> dict[str, Any]:
    """Medians over rounds; the first warms up."""
    rounds = [side_by_side(path) for _ in range(ROUNDS + 1)][1:]
    bare = "decode_and_scale"
    return {
        "decode_and_scale_cpu_s": round(statistics.median(spent[bare] for spent in rounds), 3),
        "whole_file_over_decode_and_scale": whole_file(path),
        "over_decode_and_scale": {
            name: round(statistics.median(spent[name] / spent[bare] for spent in rounds), 3)
            for name in WORK
            if name != bare
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
    probe = {"path": str(path)}
    requests = {"probe": probe, "probe_and_pass": probe | {"faces": str(FACES), "plugins": {}}}
    times: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(ROUNDS):
        bare = cpu_of(lambda: list(decode_and_scale(path)))
        for name, request in requests.items():
            spent = cpu_of(lambda request=request: judged_and_measured(request, Limits(), lambda: None))
            times[name].append(spent / bare)
    return {name: round(statistics.median(each), 3) for name, each in times.items()}


# -- camera moves of known kind and speed over real pictures --------------------------------------------------------------

STILLS = {
    "bikes.mp4": (10, 60, 160),
    "city.mpg": (20, 150),
    "crew.mp4": (100, 280, 520),
    "park.mp4": (40,),
    "snow.mp4": (100, 420, 800),
    "volcano.mp4": (30,),
}
VIEW = (360, 640)
SAMPLES = 17  # two seconds
REPEATS = 3


def camera() -> dict[str, Any]:
    """How often the class is right, and how far the speed drifts at other sizes and rates, through the whole pass.

    Each film is a window that moves over a still of real footage (so nothing but the camera moves), with the subpixel
    jitter of a tripod and the sensor's noise.
    """
    pictures = stills()
    confusion: dict[str, Counter[str]] = {kind: Counter() for kind in CAMERA_MOTIONS}
    for number, still in enumerate(pictures):
        for index, kind in enumerate(CAMERA_MOTIONS):
            for repeat in range(REPEATS):
                confusion[kind][classed(still, kind, np.random.default_rng([number, index, repeat]))] += 1
    right = sum(counts[kind] for kind, counts in confusion.items())
    total = sum(sum(counts.values()) for counts in confusion.values())
    drifts = [drift(pictures[number], number) for number in (0, 9)]
    return {
        "films": total,
        "right": round(right / total, 4),
        "accepted_right": 0.95,
        "confusion": {kind: dict(counts) for kind, counts in confusion.items()},
        "motion_over_720p30": drifts,
        "worst_drift": round(max(abs(value - 1) for speeds in drifts for value in speeds.values()), 3),
        "accepted_drift": 0.2,
    }


def stills() -> list[np.ndarray]:
    """Pictures at 1.6 times the view, so that a window can move inside."""
    pictures = []
    for name, wanted in STILLS.items():
        with av.open(str(FOOTAGE / name)) as container:
            for index, picture in enumerate(container.decode(video=0)):
                if index in wanted:
                    rgb = picture.to_ndarray(format="rgb24")
                    pictures.append(cv2.resize(rgb, (1024, 576), interpolation=cv2.INTER_AREA))
                if index >= max(wanted):
                    break
    return pictures


def path_of(kind: str, rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """[n, 4]: x, y in pixels of the view, zoom factor, degrees."""
    diagonal = float(np.hypot(*VIEW))
    sign = rng.choice([-1.0, 1.0])
    speed = float(rng.uniform(0.02, 0.12)) * diagonal  # pixels a second
    steady = np.zeros((len(seconds), 4))
    steady[:, 2] = 1
    steady[:, :2] += rng.normal(0, 0.05, (len(seconds), 2))
    middle = seconds - seconds[-1] / 2
    if kind == "pan":
        steady[:, 0] += sign * speed * middle
    elif kind == "tilt":
        steady[:, 1] += sign * speed * middle * 0.7
    elif kind == "zoom":
        steady[:, 2] = np.exp(sign * rng.uniform(0.08, 0.25) * middle)
    elif kind == "roll":
        steady[:, 3] = sign * rng.uniform(4, 14) * middle
    elif kind == "handheld":  # a hand's tremor: a few hertz, some thousandths of the picture
        phases = rng.uniform(0, 2 * np.pi, (2, 3))
        sway = sum(np.sin(2 * np.pi * hertz * seconds + phases[:, [k]]) for k, hertz in enumerate((1.3, 2.1, 3.3)))
        steady[:, :2] += rng.uniform(0.004, 0.01) * diagonal * sway.T
    return steady


def view(still: np.ndarray, place: np.ndarray, size: tuple[int, int] = VIEW) -> np.ndarray:
    """uint8 [h, w, 3]: what the camera sees from `place`."""
    height, width = size
    x, y, zoom, degrees = place
    matrix = cv2.getRotationMatrix2D((still.shape[1] / 2 + x, still.shape[0] / 2 + y), degrees, zoom * width / VIEW[1])
    matrix[:, 2] += np.array([width / 2, height / 2]) - [still.shape[1] / 2 + x, still.shape[0] / 2 + y]
    return cv2.warpAffine(still, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)


def classed(still: np.ndarray, kind: str, rng: np.random.Generator) -> str:
    meter, pairs, before = FlowMeter(), [], None
    for place in path_of(kind, rng, np.arange(SAMPLES) / SAMPLES_PER_S):
        gray = cv2.cvtColor(view(still, place), cv2.COLOR_RGB2GRAY).astype(np.float32)
        noisy = np.clip(gray + rng.normal(0, 2, gray.shape), 0, 255).astype(np.uint8)
        small = cv2.resize(noisy, (FLOW_SIDE, FLOW_SIDE * VIEW[0] // VIEW[1]), interpolation=cv2.INTER_AREA)
        if before is not None:
            pairs.append(meter.between(before, small, 1 / SAMPLES_PER_S))
        before = small
    return str(summarise(pairs)["camera_motion"])


def drift(still: np.ndarray, seed: int) -> dict[str, float]:
    """The motion signal of one pan at other sizes and rates, over that at 720p and 30 frames a second."""
    speeds = {}
    with tempfile.TemporaryDirectory() as folder:
        for height, fps in ((720, 30), (360, 30), (540, 30), (1080, 30), (720, 24), (720, 60)):
            fine = path_of("pan", np.random.default_rng(seed), np.arange(121) / 60)
            places = fine[np.round(np.arange(2 * fps) * 60 / fps).astype(int)]
            frames = np.stack([view(still, place, (height, height * 16 // 9)) for place in places])
            (shot,) = measure(write_mp4(Path(folder) / "a.mp4", frames, float(fps)), None)["shots"]
            speeds[f"{height}p{fps}"] = shot["signals"]["motion_diag_per_s"]
    return {name: round(value / speeds["720p30"], 3) for name, value in speeds.items()}
