"""What captions say, and on whose word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assets.curation.captions import CAMERAS, TIMES, Facts, camera_words, caption_rows

Row = dict[str, Any]
GOOD = {"time_of_day": "pass", "location": "unmeasurable", "subject": "not_yet"}


def told(shot: Row, item: Row, signals: Row | None, verdicts: dict[str, str] = GOOD) -> dict[str, Row]:
    return {row["kind"]: row for row in caption_rows(Facts(shot, item, signals, verdicts))}


def test_every_clause_names_its_source_and_is_in_the_text(shot: Row, item: Row, signals: Row) -> None:
    for row in told(shot, item, signals).values():
        sources = json.loads(row["sources_json"])
        assert sources
        assert all(source["source"] and source["clause"].lower() in row["text"].lower() for source in sources)


def test_a_time_of_day_is_told_only_when_its_check_passed(shot: Row, item: Row, signals: Row) -> None:
    for verdict, expected in (("pass", True), ("fail", False), ("unmeasurable", False)):
        texts = [row["text"] for row in told(shot, item, signals, GOOD | {"time_of_day": verdict}).values()]
        assert all(any(words in text for words in TIMES["day"]) == expected for text in texts)


def test_a_subject_or_place_that_a_check_refuted_is_not_told(shot: Row, item: Row, signals: Row) -> None:
    text = told(shot, item, signals, {"subject": "fail", "location": "fail"})["long"]["text"]
    assert "bicycle" not in text
    assert "Brussels" not in text


def test_clips_are_phrased_in_several_ways_and_each_always_in_the_same(shot: Row, item: Row, signals: Row) -> None:
    def long(clip_id: str) -> str:
        return told(shot | {"clip_id": clip_id}, item, signals)["long"]["text"]

    texts = {long(f"{number:064x}") for number in range(40)}
    assert len(texts) >= 8
    assert long("a" * 64) == long("a" * 64)


def test_a_simulated_scene_is_told_in_the_words_of_its_own_caption(shot: Row, item: Row, signals: Row) -> None:
    from training.simulate import random_scene

    for seed in range(8):
        scene = random_scene(seed)
        pan = {"static": 0.0, "left": -0.05, "right": 0.05}[scene.camera]
        measured = signals | {"camera_motion": "pan" if pan else "static", "camera_pan_diag_per_s": pan}
        declared = item | {
            "source_name": "simulated scene (training.simulate)",
            "declared_time_of_day": scene.time_of_day,
        }
        assert told(shot, declared | {"declared_subject": scene.subject()}, measured)["long"]["text"] == scene.caption()
        assert told(shot, declared | {"declared_subject": scene.caption()}, measured)["long"]["text"] == scene.caption()


def test_an_unmeasured_clip_is_told_without_camera(shot: Row, item: Row) -> None:
    row = told(shot, item, None)["long"]
    assert not any(words in row["text"].lower() for options in CAMERAS.values() for words in options)


@pytest.mark.parametrize(
    ("move", "value", "expected"),
    [
        ("pan", -0.05, "camera pans left"),
        ("tilt", 0.01, "camera tilts up slowly"),
        ("zoom", 0.3, "camera moves in fast"),
    ],
)
def test_the_cameras_direction_and_pace_are_told(move: str, value: float, expected: str) -> None:
    assert expected in camera_words({"camera_motion": move, f"camera_{move}_diag_per_s": value})
