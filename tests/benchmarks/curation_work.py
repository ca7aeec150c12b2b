"""The pieces of work that `curation` compares, each a process: `PYTHON -m tests.benchmarks.curation_work WORK FILE ...`.

Ours is what ingestion and curation do with a file: one full decode for the probe with its digests and for the pass with
all signals; and the search for duplicates among all of them. Data-Juicer's operators run under its own interpreter, with
nothing of Rushes: loaded from a recipe and run over a dataset with one process, as its documentation shows. OpenCV gets
one thread everywhere.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import answer, cpu_s

Work = Callable[[Sequence[str]], Any]
FACES = Path(".vendor/yunet.onnx")
RECIPES: dict[str, dict[str, Any]] = {
    "duration": {"video_duration_filter": {"video_backend": "av"}},  # its other backend starts a process a file
    "resolution": {"video_resolution_filter": {}},
    "aspect_ratio": {"video_aspect_ratio_filter": {"min_ratio": "1/9", "max_ratio": "9"}},
    # its default keeps the full size; both of these were tried to be fair to it
    "motion_2_a_second": {"video_motion_score_filter": {"min_score": 0, "max_size": 256, "relative": True}},
    "motion_8_a_second": {
        "video_motion_score_filter": {"min_score": 0, "max_size": 256, "relative": True, "sampling_fps": 8}
    },
    "scenes_only_found": {"video_split_by_scene_mapper": {}},
    "scenes_written": {"video_split_by_scene_mapper": {}},
    "duplicates": {"video_deduplicator": {}},
}


def ours(files: Sequence[str]) -> dict[str, Any]:
    """Facts and shots of every file, near and exact copies, and the cost of each stage."""
    from assets.curation.dedup.groups import HashedClip, find_duplicates
    from assets.decode.process import Limits
    from assets.signals.phash import pack
    from assets.signals.worker import judged_and_measured

    judged, clips, began = [], [], cpu_s()
    for at, file in enumerate(files):
        facts, measured = judged_and_measured(
            {"path": file, "faces": str(FACES), "plugins": {}}, Limits(), lambda: None
        )
        assert measured is not None, f"{file}: {facts.reasons}"
        judged.append(comparable(facts, measured["shots"]))
        for index, shot in enumerate(measured["shots"]):
            order, hashes = ("", "", "", at), pack(shot["signals"]["frame_phashes"])
            clips.append(HashedClip(shot["clip_id"], str(at), index, None, order, hashes))
    read = cpu_s()
    rows = find_duplicates(clips).rows
    copies = {(int(row["original_item_id"]), int(row["item_id"])) for row in rows if row["verdict"] == "fail"}
    stages = {"probe_and_pass": round(read - began, 3), "duplicates": round(cpu_s() - read, 3)}
    return {"files": judged, "copies": sorted(copies), "stages_cpu_s": stages}


def comparable(facts: Any, shots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a peer can be compared with; motion is that of the shots, by their length."""
    lengths = [shot["end_s"] - shot["start_s"] for shot in shots]
    motions = [length * shot["signals"]["motion_diag_per_s"] for length, shot in zip(lengths, shots, strict=True)]
    return {
        "duration_s": facts.duration_s,
        "size": (facts.width, facts.height),
        "motion": sum(motions) / sum(lengths),
        "cuts": [shot["end_frame"] for shot in shots[:-1] if shot["boundary"] == "cut"],
        "shots": len(shots),
        "reasons": facts.reasons,
    }


def scenedetect(files: Sequence[str]) -> list[list[int]]:
    """The cuts in every file, by PySceneDetect's default detector and thresholds."""
    import scenedetect as sd

    return [[scene[0].frame_num for scene in sd.detect(file, sd.ContentDetector())[1:]] for file in files]


@contextmanager
def data_juicer(name: str) -> Iterator[Work]:
    """One of Data-Juicer's operators."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"  # or it would know the answers from the run before
        ffmpeg_on_path(Path(folder))
        import scenedetect as sd
        from data_juicer.core.data import NestedDataset
        from data_juicer.ops import load_ops

        if name == "scenes_only_found":
            sd.split_video_ffmpeg = lambda **_: 0
        place = {"save_dir": folder} if name.startswith("scenes") else {}
        (operator,) = load_ops([{key: options | place for key, options in RECIPES[name].items()}])
        operator.num_proc = 1

        def run(files: Sequence[str]) -> list[dict[str, Any]]:
            rows = [{"text": "", "videos": [file], "id": at} for at, file in enumerate(files)]
            return operator.run(NestedDataset.from_list(rows)).to_list()

        yield run


def ffmpeg_on_path(folder: Path) -> None:
    """Data-Juicer's scene splitter calls `ffmpeg`; a wheel brings one where the machine has none."""
    import shutil

    if shutil.which("ffmpeg") is None:
        from imageio_ffmpeg import get_ffmpeg_exe

        (folder / "ffmpeg").symlink_to(get_ffmpeg_exe())
        os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


@contextmanager
def work_named(name: str) -> Iterator[Work]:
    if name in RECIPES:
        with data_juicer(name) as run:
            yield run
    else:
        yield {"ours": ours, "scenedetect": scenedetect}[name]


def main(name: str, files: Sequence[str]) -> None:
    with work_named(name) as work:
        import av  # noqa: F401
        import cv2

        cv2.setNumThreads(1)
        work(files[:1] * 2)  # starting the machinery takes seconds, which are not the clips'
        answer(lambda: work(files))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
