"""What an installation costs: loading the code location, the demo from an empty home, and measuring in child processes."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from assets.decode.executor import Progress
from assets.home import Home
from assets.signals.files import Measuring, measure_files
from assets.signals.single_pass import measure
from orchestration.settings import Settings, open_home
from orchestration.status import Status, read_status
from tests.benchmarks.harness import wall_of
from training.consent.canonical import file_sha256
from training.data.video import write_mp4

VENDOR = Path(".vendor")
FILES, FRAMES, HEIGHT, WIDTH, FPS = 40, 48, 360, 640, 24.0
EXECUTORS = ("local:2", "ray")

# -- the code location, beside what Dagster and dagster-dbt alone cost in the same run --------------------------------


def code_location() -> dict[str, Any]:
    load_cpu_s("import orchestration.definitions", runs=1)  # the first one may parse the dbt project
    ours, dagster = load_cpu_s("import orchestration.definitions"), load_cpu_s("import dagster, dagster_dbt")
    return {
        "load_cpu_s": round(ours, 2),
        "dagster_and_dagster_dbt_alone_cpu_s": round(dagster, 2),
        "ratio": round(ours / dagster, 2),
        "accepted_cpu_s": 6.0,
    }


def load_cpu_s(code: str, runs: int = 5) -> float:
    """Median CPU time of a fresh process that runs `code`."""
    code = f"import resource; {code}; u = resource.getrusage(resource.RUSAGE_SELF); print(u.ru_utime + u.ru_stime)"
    outputs = (subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(runs))
    return statistics.median(map(float, outputs))


# -- the demo: how long it takes, what it learns, and how long the second time takes ------------------------------------


def demo() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        (first, before), (second, after) = run_demo(Path(folder) / "home"), run_demo(Path(folder) / "home")
    assert before.snapshot
    assert after.snapshot
    flow, psnr = before.losses["transformer flow_loss"], before.losses["codec psnr_db"]
    return {
        "first_s": round(first),
        "accepted_first_s": 12 * 60,
        "second_s": round(second),
        "second_over_first": round(second / first, 2),
        "same_snapshot_root": before.snapshot["root"] == after.snapshot["root"],
        "clips": before.clips,
        "eligible": before.eligible,
        "heldout_flow_loss_start": round(flow[0], 4),
        "heldout_flow_loss_end": round(flow[1], 4),
        "heldout_flow_loss_end_over_start": round(flow[1] / flow[0], 3),
        "heldout_psnr_db": round(psnr[1], 2),
    }


def run_demo(home: Path) -> tuple[float, Status]:
    """Wall seconds of one demo, and what it left."""
    command = [sys.executable, "-m", "orchestration.cli", "demo"]
    env = os.environ | {"RUSHES_HOME": str(home)}
    seconds = wall_of(lambda: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL))
    return seconds, read_status(open_home(Settings.load(home=str(home))))


# -- what bounded processes, on this machine or on Ray, cost beyond measuring files at all ------------------------------


def executors() -> dict[str, Any]:
    """The same small films (small, so that what is not measuring shows) in this process and through each executor.

    All with empty caches in one run. Wall time is given from the opening of the executor, from its first result, and a
    file; processor time is that of all processes together.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = [film(folder / f"{number}.mp4", number) for number in range(FILES)]
        figures: dict[str, Any] = {"files": FILES, "processors": len(os.sched_getaffinity(0))}
        figures["in_this_process"] = in_this_process(Home.local(folder / "here", vendor=VENDOR), films)
        stored = []
        for setting in EXECUTORS:
            figures[setting], results = through(setting, folder / setting.replace(":", "-"), films)
            stored.append(results)
        figures["same_bytes"] = stored[0] == stored[1]
    local, ray = (figures[setting] for setting in EXECUTORS)
    after_first = ray["cpu_ms_a_file_after_first"] / local["cpu_ms_a_file_after_first"]
    figures["ray_cpu_over_local"] = round(ray["cpu_s"] / local["cpu_s"], 2)
    return figures | {"ray_cpu_over_local_after_first": round(after_first, 2)}


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
    used = cpu_seconds()
    wall = wall_of(lambda: [measure(path, faces) for path in films])
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu_seconds() - used, 2)}


def through(setting: str, folder: Path, films: list[Path]) -> tuple[dict[str, float], dict[str, bytes]]:
    """What measuring through an executor cost, and what it left in the store."""
    home = Home.local(folder, vendor=VENDOR, executor=setting)
    media = []
    for path in films:
        sha256 = file_sha256(path)
        home.store.put(key := f"media/{sha256}.mp4", path)
        media.append({"state": "accepted", "bytes_sha256": sha256, "media_key": key, "duration_s": FRAMES / FPS})
    seen: list[Progress] = []
    spent: list[float] = []

    def note(progress: Progress) -> None:
        seen.append(progress)
        if progress.done in (1, progress.total):
            spent.append(cpu_seconds())

    used = cpu_seconds()
    results = measure_files(home, media, progress=note)
    assert all(result.error is None for result in results.values())
    files = len(seen) - 1
    figures = {
        "wall_s": round(seen[-1].elapsed_s, 2),
        "until_first_result_s": round(seen[0].elapsed_s, 2),
        "wall_ms_a_file_after_it": round((seen[-1].elapsed_s - seen[0].elapsed_s) / files * 1000, 1),
        "cpu_s": round(spent[-1] - used, 2),
        "cpu_ms_a_file_after_first": round((spent[-1] - spent[0]) / files * 1000, 1),
    }
    return figures, {key: home.store.get(key) for key in home.store.list("cache")}
