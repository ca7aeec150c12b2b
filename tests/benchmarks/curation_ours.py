"""Rushes, and PySceneDetect alone, over some files: `python -m tests.benchmarks.curation_ours WORK FILE ...`.

Ours is what ingestion and curation do with a file: one full decode for the probe with its digests and for the pass with
all signals; and the search for duplicates among all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.spent import answer, cpu_s

FACES = Path(".vendor/yunet.onnx")


def ours(files: Sequence[str]) -> dict[str, Any]:
    """Facts and shots of every file, near and exact copies, and what each stage took."""
    from assets.decode.limits import Limits
    from assets.signals.worker import judged_and_measured

    request = {"faces": str(FACES), "plugins": {}}
    found = []
    began = cpu_s()
    for file in files:
        facts, measured = judged_and_measured(request | {"path": file}, Limits(), lambda: None)
        assert measured is not None, f"{file}: {facts.reasons}"
        found.append({"facts": facts, "shots": measured["shots"]})
    read = cpu_s()
    copies = copies_among(found)
    stages = {"probe_and_pass": read - began, "duplicates": cpu_s() - read}
    return {
        "files": [told(one["facts"], one["shots"]) for one in found],
        "copies": copies,
        "stages_cpu_s": {name: round(spent, 3) for name, spent in stages.items()},
    }


def copies_among(found: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """(original, copy) by the files' positions."""
    from assets.curation.dedup.groups import HashedClip, find_duplicates
    from assets.signals.phash import pack

    clips = [
        HashedClip(shot["clip_id"], str(at), index, None, ("", "", "", at), pack(shot["signals"]["frame_phashes"]))
        for at, one in enumerate(found)
        for index, shot in enumerate(one["shots"])
    ]
    rows = find_duplicates(clips).rows
    pairs = {(int(row["original_item_id"]), int(row["item_id"])) for row in rows if row["verdict"] == "fail"}
    return sorted(pairs)


def told(facts: Any, shots: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a peer can be compared with; motion is that of the shots, by their length."""
    lengths = [shot["end_s"] - shot["start_s"] for shot in shots]
    motion = sum(t * shot["signals"]["motion_diag_per_s"] for t, shot in zip(lengths, shots, strict=True)) / sum(
        lengths
    )
    return {
        "duration_s": facts.duration_s,
        "size": (facts.width, facts.height),
        "motion": motion,
        "cuts": [shot["end_frame"] for shot in shots[:-1] if shot["boundary"] == "cut"],
        "shots": len(shots),
        "reasons": facts.reasons,
    }


def scenedetect(files: Sequence[str]) -> list[list[int]]:
    """The cuts in every file, by the detector and the thresholds that PySceneDetect takes by itself."""
    import scenedetect as sd

    return [[scene[0].frame_num for scene in sd.detect(file, sd.ContentDetector())[1:]] for file in files]


WORK: dict[str, Callable[[Sequence[str]], Any]] = {"ours": ours, "scenedetect": scenedetect}


def main(work: str, files: Sequence[str]) -> None:
    import av  # noqa: F401
    import cv2

    cv2.setNumThreads(1)
    WORK[work](files[:1])  # warms up, as the peer does
    answer(lambda: WORK[work](files))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
