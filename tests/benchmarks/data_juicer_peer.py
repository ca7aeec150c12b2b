"""Data-Juicer over some files: `<its python> -m tests.benchmarks.data_juicer_peer WORK FILE ...`.

Runs under the peer's own interpreter, and imports nothing of Rushes. Operators are loaded from a recipe and run over a
dataset with one process, as its documentation shows; OpenCV gets one thread, as ours does. `WORK` names one of `RECIPES`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.spent import answer

RECIPES: dict[str, dict[str, Any]] = {
    "duration": {"video_duration_filter": {"video_backend": "av"}},  # its other backend starts a process a file
    "resolution": {"video_resolution_filter": {}},
    "aspect_ratio": {"video_aspect_ratio_filter": {"min_ratio": "1/9", "max_ratio": "9"}},
    # its default keeps the full size; both of these were tried to be fair to it
    "motion_2_a_second": {"video_motion_score_filter": {"min_score": 0, "max_size": 256, "relative": True}},
    "motion_8_a_second": {
        "video_motion_score_filter": {"min_score": 0, "max_size": 256, "relative": True, "sampling_fps": 8}
    },
    "scenes_written": {"video_split_by_scene_mapper": {}},
    "scenes_only_found": {"video_split_by_scene_mapper": {}},
    "duplicates": {"video_deduplicator": {}},
}


def ffmpeg_on_path(folder: Path) -> None:
    """The scene splitter calls `ffmpeg`; a wheel brings one where the machine has none."""
    import shutil

    if shutil.which("ffmpeg") is None:
        from imageio_ffmpeg import get_ffmpeg_exe

        (folder / "ffmpeg").symlink_to(get_ffmpeg_exe())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def main(work: str, files: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")  # or it would know the answers from the run before
        ffmpeg_on_path(folder)
        import av  # noqa: F401
        import cv2
        import scenedetect
        from data_juicer.core.data import NestedDataset
        from data_juicer.ops import load_ops

        cv2.setNumThreads(1)
        if work == "scenes_only_found":
            scenedetect.split_video_ffmpeg = lambda **_: 0
        recipe = RECIPES[work]
        if work.startswith("scenes"):
            recipe = {name: options | {"save_dir": str(folder)} for name, options in recipe.items()}
        (operator,) = load_ops([recipe])
        operator.num_proc = 1

        def run(some: list[str]) -> list[dict[str, Any]]:
            rows = [{"text": "", "videos": [file], "id": at} for at, file in enumerate(some)]
            return operator.run(NestedDataset.from_list(rows)).to_list()

        run(files[:1] * 2)  # starting its machinery takes seconds, which are not the clips'
        answer(lambda: run(files))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
