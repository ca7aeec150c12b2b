"""What it costs to measure files in bounded processes, on this machine or on Ray, beyond measuring them at all.

The same small films (small, so that what is not measuring shows) are measured in this process, through the local
executor and through a Ray cluster of this machine, all with empty caches in one run. Wall time is told from the
opening of the executor, from its first result, and a file; processor time is that of all processes together.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from assets.decode.executor import Progress
from assets.home import Home
from assets.ingestion.inbox import sha256_of
from assets.signals.measure import measure
from assets.signals.rows import measure_files
from assets.signals.task import Measuring
from training.data.video import write_mp4

FILES = 40
FRAMES, HEIGHT, WIDTH, FPS = 48, 360, 640, 24.0
SETTINGS = ("local:2", "ray")


def film(path: Path, seed: int) -> Path:
    """Two seconds of a pan over noise that no codec makes nothing of."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (HEIGHT // 8, (WIDTH + 4 * FRAMES) // 8, 3), np.uint8)
    wide = small.repeat(8, axis=0).repeat(8, axis=1)
    return write_mp4(path, np.stack([wide[:, 4 * index : 4 * index + WIDTH] for index in range(FRAMES)]), FPS)


def cpu_seconds() -> float:
    """Of this process and all that it started, ended ones included."""
    me = psutil.Process()
    used = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            used += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return used


def in_this_process(home: Home, films: list[Path]) -> dict[str, float]:
    faces = Measuring.of(home).faces
    measure(films[0], faces)  # imports and weights
    began, used = time.monotonic(), cpu_seconds()
    for path in films:
        measure(path, faces)
    return {"wall_s": round(time.monotonic() - began, 2), "cpu_s": round(cpu_seconds() - used, 2)}


def through(setting: str, folder: Path, films: list[Path]) -> tuple[dict[str, float], dict[str, bytes]]:
    """What it cost, and what it left in the store."""
    home = Home.local(folder, vendor=Path(".vendor"), executor=setting)
    media = []
    for path in films:
        sha256 = sha256_of(path)
        home.store.put(key := f"media/{sha256}.mp4", path)
        media.append({"state": "accepted", "bytes_sha256": sha256, "media_key": key, "duration_s": FRAMES / FPS})
    seen: list[Progress] = []
    spent: list[float] = []

    def note(progress: Progress) -> None:
        seen.append(progress)
        if progress.done in (1, progress.total):
            spent.append(cpu_seconds())

    used = cpu_seconds()
    found = measure_files(home, media, progress=note)
    assert all(one.error is None for one in found.values())
    figures = {
        "wall_s": round(seen[-1].elapsed_s, 2),
        "until_first_result_s": round(seen[0].elapsed_s, 2),
        "wall_ms_a_file_after_it": round((seen[-1].elapsed_s - seen[0].elapsed_s) / (len(seen) - 1) * 1000, 1),
        "cpu_s": round(spent[-1] - used, 2),
        "cpu_ms_a_file_after_first": round((spent[-1] - spent[0]) / (len(seen) - 1) * 1000, 1),
    }
    return figures, {key: home.store.get(key) for key in home.store.list("cache")}


def executors() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = [film(folder / f"{number}.mp4", number) for number in range(FILES)]
        figures: dict[str, Any] = {"files": FILES, "processors": len(os.sched_getaffinity(0))}
        figures["in_this_process"] = in_this_process(Home.local(folder / "here", vendor=Path(".vendor")), films)
        kept = []
        for setting in SETTINGS:
            figures[setting], results = through(setting, folder / setting.replace(":", "-"), films)
            kept.append(results)
        figures["same_bytes"] = kept[0] == kept[1]
    local, ray = (figures[setting] for setting in SETTINGS)
    figures["ray_cpu_over_local"] = round(ray["cpu_s"] / local["cpu_s"], 2)
    figures["ray_cpu_over_local_after_first"] = round(
        ray["cpu_ms_a_file_after_first"] / local["cpu_ms_a_file_after_first"], 2
    )
    return figures
