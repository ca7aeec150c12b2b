"""Our curation beside Data-Juicer and PySceneDetect: the same real clips, the signals that both have, in one run.

Each piece of work (`curation_work`) runs in a process of its own, by turns, after a first run over one file that is not
counted. The table gives processor seconds with and without imports and that first run, wall time, peak memory, and how
far the answers agree. Ours is everything that ingestion and curation do with a file: it cannot be answer_of for less.

Data-Juicer has to be installed apart, because its requirements and ours exclude each other, and is *not measured* where
it is not. It also needs `ffmpeg` and installs more by itself when an operator is first used, so run it once before:

    python -m venv PEER && PEER/bin/pip install py-data-juicer aiohttp av==13.1.0 opencv-python-headless \\
        scenedetect imageio-ffmpeg
    python -m tests.benchmarks curation --data-juicer PEER/bin/python

`make bench` takes the interpreter from the variable `DATA_JUICER_PYTHON`.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.benchmarks.corpus import growth
from tests.benchmarks.curation_work import RECIPES
from tests.benchmarks.harness import answer_of
from tests.benchmarks.signals import encode

ROUNDS = 3
CLIPS = {  # source in the folder of footage, first frame, frames, size
    "smoke-1080p": ("volcano.mp4", 0, 120, (1920, 1080)),
    "snow-1080p": ("snow.mp4", 1010, 120, (1920, 1080)),
    "snow-720p": ("snow.mp4", 24, 180, (1280, 720)),
    "crew-480p": ("crew.mp4", 0, 240, (852, 480)),
    "bikes-272p": ("bikes.mp4", 0, 200, (640, 272)),
    "city-720p": ("city.mpg", 0, 150, (1280, 720)),
    "park-720p": ("park.mp4", 0, 150, (1280, 720)),
}
SMALLER = ("park-720p", ("park.mp4", 0, 150, (640, 360)))  # coded again at half the size
COPIED, REMUXED = "snow-720p", "bikes-272p"
SAME_CUT = 2  # frames
FACTS = ("duration", "resolution", "aspect_ratio", "duplicates")
TOTALS = {  # what it takes to have the signals of both
    "as_documented": (*FACTS, "motion_2_a_second", "scenes_written"),
    "without_writing_scenes": (*FACTS, "motion_2_a_second", "scenes_only_found"),
    "with_our_flow_rate": (*FACTS, "motion_8_a_second", "scenes_only_found"),
}
Files = Mapping[str, Path]


def clips(folder: Path) -> dict[str, Path]:
    """Seven films of real footage, a copy of one, another in another container, and a third coded again smaller.

    None is Matroska, because the peer's operator for lengths stops with an error there.
    """
    files = {name: encode(*parts[:3], folder / f"{name}.mp4", parts[3]) for name, parts in CLIPS.items()}
    files["copy"] = Path(shutil.copy(files[COPIED], folder / "copy.mp4"))
    files["remuxed"] = remux(files[REMUXED], folder / "remuxed.mov")
    files["smaller"] = encode(*SMALLER[1][:3], folder / "smaller.mp4", SMALLER[1][3])
    return files


def remux(source: Path, target: Path) -> Path:
    with av.open(str(source)) as taken, av.open(str(target), "w") as given:
        stream = given.add_stream_from_template(taken.streams.video[0])
        for packet in taken.demux(taken.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                given.mux(packet)
    return target


def measured(peer: str | None, files: Files, rounds: int) -> dict[str, list[dict[str, Any]]]:
    """The answers of every piece of work, so many times by turns."""
    work = {"ours": sys.executable, "scenedetect": sys.executable} | (dict.fromkeys(RECIPES, peer) if peer else {})
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, python in work.items():
            command = [python, "-m", "tests.benchmarks.curation_work", name, *map(str, files.values())]
            answers[name].append(answer_of(command, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1"))
    return answers


def table(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians."""
    columns = ("cpu_s", "cpu_with_imports_s", "wall_s", "peak_mib")
    return {
        name: {column: round(statistics.median(answer[column] for answer in rounds), 3) for column in columns}
        for name, rounds in answers.items()
    }


def totals(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Data-Juicer's operators added up, and how many times ours that is: the median of the rounds' ratios."""
    figures = {}
    for name, parts in TOTALS.items():
        rounds = zip(*(answers[part] for part in parts), strict=True)
        sums = [sum(answer["cpu_s"] for answer in together) for together in rounds]
        ratios = [spent / answer["cpu_s"] for spent, answer in zip(sums, answers["ours"], strict=True)]
        figures[name] = {"cpu_s": round(statistics.median(sums), 1), "over_ours": round(statistics.median(ratios), 2)}
    return figures


def agreement(names: Sequence[str], last: Mapping[str, Any]) -> dict[str, Any]:
    """How far the last round's answers are the same."""
    ours = last["ours"]["files"]
    figures: dict[str, Any] = {"scenedetect": same_cuts([file["cuts"] for file in ours], last["scenedetect"])}
    figures["our_copies"] = [[names[original], names[copy]] for original, copy in last["ours"]["copies"]]
    if "motion_2_a_second" not in last:
        return figures

    def stats(work: str, key: str) -> list[Any]:
        return [row["__dj__stats__"][key][0] for row in last[work]]

    kept = {row["id"] for row in last["duplicates"]}
    sizes = list(zip(stats("resolution", "video_width"), stats("resolution", "video_height"), strict=True))
    durations = zip([file["duration_s"] for file in ours], stats("duration", "video_duration"), strict=True)
    motions = {name: stats(name, "video_motion_score") for name in ("motion_2_a_second", "motion_8_a_second")}
    return figures | {
        "files": len(ours),
        "same_resolution": sum(tuple(file["size"]) == size for file, size in zip(ours, sizes, strict=True)),
        "largest_difference_of_durations_s": round(max(abs(a - b) for a, b in durations), 4),
        "rank_correlation_of_motion": {
            name: round(spearman([file["motion"] for file in ours], scores), 3) for name, scores in motions.items()
        },
        "same_number_of_scenes": sum(
            file["shots"] == len(row["videos"]) for file, row in zip(ours, last["scenes_written"], strict=True)
        ),
        "copies_that_the_peer_drops": [name for at, name in enumerate(names) if at not in kept],
    }


def same_cuts(ours: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> dict[str, int]:
    pairs = zip(ours, theirs, strict=True)
    both = sum(any(abs(cut - other) <= SAME_CUT for other in b) for a, b in pairs for cut in a)
    return {"cuts_of_both": both, "ours": sum(map(len, ours)), "theirs": sum(map(len, theirs))}


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def curation(data_juicer: str | None = os.environ.get("DATA_JUICER_PYTHON"), rounds: int = ROUNDS) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        files = clips(Path(folder))
        answers = measured(data_juicer, files, rounds)
    last = {name: each[-1]["found"] for name, each in answers.items()}
    return {
        "clips": {name: path.suffix for name, path in files.items()},
        "rounds": rounds,
        "table": table(answers),
        "our_stages_cpu_s": last["ours"]["stages_cpu_s"],
        "data_juicer": totals(answers) if data_juicer else "not measured",
        "accepted_over_ours": 10,
        "agreement": agreement(list(files), last),
        "cpu_ms_a_clip_by_number_of_clips": growth(),
    }
