"""Declared against measured, and what blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.curation.policy import place_and_time
from assets.curation.policy.place_and_time import sun_position
from assets.curation.policy.policy import POLICY
from assets.curation.policy.verdicts import Evidence, blocks, decide, missing_verdicts, parse_ratio

Row = dict[str, Any]


@pytest.fixture
def verdict_on(shot: Row, item: Row, media: Row, signals: Row):
    """The row of one check, with changes to the honest rows: `verdict_on("length", declared_duration_s=9.0)`."""

    def decided(check: str, measured: bool = True, siblings: list[Row] = (), **changes: Any) -> Row:  # type: ignore[assignment]
        rows = [
            {key: changes.get(key, value) for key, value in row.items()} | {"shot_index": 0}
            for row in (item, media, signals)
        ]
        own = rows[2] if measured else None
        evidence = Evidence(shot, rows[0], rows[1], own, [own, *siblings] if own else [])
        return next(row for row in decide(evidence) if row["check"] == check)

    return decided


@pytest.fixture
def honest(shot: Row, item: Row, media: Row, signals: Row) -> Evidence:
    return Evidence(shot, item, media, signals, [signals])


def test_honest_footage_passes_every_check_that_blocks(honest: Evidence) -> None:
    assert [row for row in decide(honest) if blocks(row)] == []


def test_every_check_is_decided_once_and_records_its_version(honest: Evidence) -> None:
    rows = decide(honest)
    assert [row["check"] for row in rows] == [check.name for check in POLICY.checks]
    assert all(row["check_version"].startswith(POLICY.version) for row in rows)
    assert missing_verdicts([honest.shot], rows) == []
    assert missing_verdicts([honest.shot], rows[1:]) == [f"cccccccccccc/{rows[0]['check']}"]


def test_what_the_platform_failed_to_measure_never_passes_and_is_no_reason_against_the_footage(
    honest: Evidence,
) -> None:
    failed = honest.shot | {"not_measured": "media.crashed: the decoder ended with signal SIGSEGV"}
    by_check = {row["check"]: row for row in decide(Evidence(failed, honest.item, honest.media, None))}
    for check in POLICY.checks:
        row = by_check[check.name]
        if check.column or check.name in ("exposure", "time_of_day", "faces", "loudness"):
            assert row["verdict"] == "not_measured", check.name
            assert "signal SIGSEGV" in row["detail"]
            assert blocks(row) == (check.severity != "info")
            assert row["reason"] == "platform.not_measured"
        else:
            assert row["verdict"] in ("pass", "unmeasurable", "not_yet")


def test_a_rule_that_breaks_on_one_clip_leaves_that_check_open_and_decides_the_others(
    honest: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*arguments: object) -> None:
        raise RuntimeError("a rule of ours")

    monkeypatch.setattr(place_and_time, "time_of_day", breaks)
    open_rows = [row for row in decide(honest) if blocks(row)]
    assert [(row["check"], row["verdict"], row["reason"], row["detail"]) for row in open_rows] == [
        ("time_of_day", "not_measured", "platform.not_measured", "RuntimeError: a rule of ours")
    ]


def test_a_scorer_that_is_not_there_says_not_yet_and_blocks_nothing(honest: Evidence) -> None:
    row = next(row for row in decide(honest) if row["check"] == "nsfw")
    assert (row["verdict"], row["severity"]) == ("not_yet", "info")


def test_a_scorer_that_is_there_can_refuse_for_good(honest: Evidence) -> None:
    signals = dict(honest.signals or {}) | {"nsfw": 0.9}
    scored = Evidence(honest.shot, honest.item, honest.media, signals)
    row = next(row for row in decide(scored) if row["check"] == "nsfw")
    assert (row["verdict"], row["severity"], row["reason"]) == ("fail", "fatal", "policy.nsfw")
    assert blocks(row)


@pytest.mark.parametrize(
    ("has_audio", "loudness", "verdict"),
    [
        (False, None, "pass"),
        (True, None, "unmeasurable"),
        (None, None, "unmeasurable"),
        (True, -20.0, "pass"),
        (True, -60.0, "fail"),
        (True, -1.0, "fail"),
    ],
)
def test_silence_is_no_fault_of_a_file_without_sound_alone(
    honest: Evidence, has_audio: bool | None, loudness: float | None, verdict: str
) -> None:
    heard = dict(honest.signals or {}) | {"loudness_lufs": loudness}
    evidence = Evidence(honest.shot, honest.item, {**honest.media, "has_audio": has_audio}, heard)
    assert next(row for row in decide(evidence) if row["check"] == "loudness")["verdict"] == verdict


@pytest.mark.parametrize(
    ("check", "changes", "verdict"),
    [
        ("resolution", {"declared_width": 1920, "declared_height": 1080}, "fail"),
        ("resolution", {"declared_width": 720, "declared_height": 1280}, "fail"),
        ("resolution", {"height": 718}, "pass"),
        ("resolution", {"width": None}, "unmeasurable"),
        ("aspect_ratio", {"declared_aspect_ratio": "4:3"}, "fail"),
        ("aspect_ratio", {"declared_aspect_ratio": "1.78:1"}, "pass"),
        ("aspect_ratio", {"declared_aspect_ratio": "wide"}, "unmeasurable"),
        ("length", {"declared_duration_s": 5.2}, "pass"),
        ("length", {"declared_duration_s": 5.3}, "fail"),
        ("length", {"declared_duration_s": 61.0, "duration_s": 60.0}, "pass"),
        ("length", {"duration_s": None}, "unmeasurable"),
        ("duration", {"duration_s": 0.9}, "fail"),
        ("motion", {"motion_p90_diag_per_s": 0.0}, "fail"),
        ("sharpness", {"sharpness": 2.0}, "fail"),
        ("exposure", {"luma_p95": 0.05}, "fail"),
        ("exposure", {"luma_p05": 0.97, "luma_p95": 1.0}, "fail"),
        ("black", {"black_fraction": 0.9}, "fail"),
        ("freeze", {"freeze_fraction": 0.95}, "fail"),
        ("letterbox", {"letterbox_fraction": 0.24}, "fail"),
        ("faces", {"faces_max": 2}, "fail"),
        ("faces", {"faces_max": 1, "persons_json": json.dumps([{"person_id": "p", "identifiable": True}])}, "pass"),
        ("faces", {"faces_max": None}, "unmeasurable"),
        ("location", {}, "unmeasurable"),
        ("subject", {}, "not_yet"),
    ],
)
def test_a_check_gives_its_verdict(verdict_on, check: str, changes: Row, verdict: str) -> None:
    row = verdict_on(check, **changes)
    assert row["verdict"] == verdict, row
    assert (row["reason"] is not None) == (verdict == "fail" or blocks(row))


def test_a_mismatch_names_both_values(verdict_on) -> None:
    row = verdict_on("length", declared_duration_s=6.0)
    assert "6 s declared" in row["detail"]
    assert "5.000 s measured" in row["detail"]
    assert row["reason"] == "spec.duration"


AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CAMERA = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"


@pytest.mark.parametrize(
    ("state", "source", "verdict"),
    [
        ("absent", None, "pass"),
        ("valid", AI, "fail"),
        ("invalid", AI, "fail"),
        ("trusted", CAMERA, "pass"),
        ("valid", AI.replace("trained", "compositeWithTrained"), "fail"),
        ("valid", AI.replace("trainedAlgorithmic", "algorithmic"), "fail"),
        ("valid", AI.replace("http:", "https:"), "fail"),
        ("absent", AI, "fail"),  # written into the file without a manifest
        ("invalid", CAMERA, "pass"),
        ("unreadable", None, "pass"),
        (None, None, "not_measured"),
    ],
)
def test_an_ai_generators_manifest_is_fatal_and_absence_is_neutral(verdict_on, state, source, verdict) -> None:
    row = verdict_on("synthetic_origin", c2pa_state=state, c2pa_source_type=source)
    assert (row["verdict"], row["severity"]) == (verdict, "fatal")
    assert blocks(row) == (verdict != "pass")


@pytest.mark.parametrize(
    ("state", "source", "verdict", "value"),
    [
        ("trusted", CAMERA, "pass", "trusted capture"),
        ("trusted", None, "pass", "trusted"),
        ("valid", CAMERA, "pass", "valid"),  # whole, and signed by nobody that is known
        ("invalid", CAMERA, "fail", "invalid"),
        ("unreadable", None, "fail", "unreadable"),
        ("absent", None, "unmeasurable", None),
    ],
)
def test_a_broken_manifest_is_noted_and_a_trusted_capture_counts(verdict_on, state, source, verdict, value) -> None:
    row = verdict_on("provenance", c2pa_state=state, c2pa_source_type=source)
    assert (row["verdict"], row["value"], row["severity"]) == (verdict, value, "info")
    assert not blocks(row)


@pytest.mark.parametrize(
    ("log10_p", "verdict"),
    [(0.0, "pass"), (-8.9, "pass"), (-9.1, "fail"), (-300.0, "fail"), (None, "not_measured")],
)
def test_our_own_watermark_is_fatal_beyond_chance(verdict_on, log10_p, verdict) -> None:
    row = verdict_on("own_watermark", watermark_log10_p=log10_p, watermark_payload="0badcafe")
    assert (row["verdict"], row["severity"]) == (verdict, "fatal")
    assert blocks(row) == (verdict != "pass")


def test_a_picture_too_small_for_our_watermark_is_not_held_back(verdict_on) -> None:
    assert verdict_on("own_watermark", watermark_log10_p=None, width=40, height=32)["verdict"] == "pass"


@pytest.mark.parametrize(("peak", "verdict"), [(9.0, "pass"), (35.0, "fail"), (None, "unmeasurable")])
def test_a_spectral_pattern_never_blocks(verdict_on, peak, verdict) -> None:
    row = verdict_on("spectral_pattern", spectral_peak_db=peak)
    assert (row["verdict"], row["unit"]) == (verdict, "dB over the surrounding frequencies")
    assert not blocks(row)


NOON, MIDNIGHT, MORNING, EVENING = (f"2026-09-18T{hour}Z" for hour in ("11:00:00", "23:00:00", "06:30:00", "17:20:00"))
DARK = {"luma_p05": 0.05, "luma_p50": 0.1, "luma_p95": 0.2}
LAMPS = {"luma_p50": 0.25, "luma_p95": 0.82, "shadow_saturation": 0.65}


@pytest.mark.parametrize(
    ("declared", "at", "light", "verdict"),
    [
        ("day", NOON, {}, "pass"),
        ("day", MIDNIGHT, {}, "fail"),
        ("day", NOON, DARK, "fail"),
        ("day", NOON, LAMPS, "fail"),
        ("day", NOON, LAMPS | {"shadow_saturation": 0.1}, "pass"),  # dark things in neutral daylight
        ("day", None, {}, "pass"),
        ("day", None, DARK, "fail"),
        ("night", MIDNIGHT, DARK, "pass"),
        ("night", MIDNIGHT, LAMPS, "pass"),
        ("night", NOON, DARK, "fail"),
        ("night", None, {"luma_p50": 0.7}, "fail"),
        ("morning", MORNING, {}, "pass"),
        ("morning", EVENING, {}, "fail"),
        ("sunset", EVENING, {}, "pass"),
        ("sunset", MORNING, {}, "fail"),
        ("dawn", EVENING, {}, "fail"),
        ("teatime", NOON, {}, "unmeasurable"),
        ("day", "yesterday", {}, "unmeasurable"),
        ("day", "2026-09-18T11:00:00", {}, "unmeasurable"),
        ("day", "2026-09-18", {}, "unmeasurable"),
        ("day", "2026-09-18T23:59:60Z", {}, "unmeasurable"),
        ("day", "2026-09-18T11:00:00+25:00", {}, "unmeasurable"),
        ("day", "0001-01-01T00:00:00+14:00", {}, "unmeasurable"),
        ("day", "2026-09-18t11:00:00z", {}, "pass"),
        ("day", "2026-09-18T11:00:00-11:00", {}, "fail"),  # 22:00 in Greenwich
        ("night", "2026-09-18T11:00:00-11:00", DARK, "pass"),
        # 02:30 stands twice on this night; the zone says which: either is night
        ("night", "2026-10-25T02:30:00+02:00", DARK, "pass"),
        ("night", "2026-10-25T02:30:00+01:00", DARK, "pass"),
    ],
)
def test_a_declared_time_of_day_must_agree_with_sun_and_light(verdict_on, declared, at, light, verdict) -> None:
    row = verdict_on("time_of_day", declared_time_of_day=declared, captured_at=at, **light)
    assert row["verdict"] == verdict, row
    if verdict == "fail":
        assert row["reason"] == "metadata.time_mismatch"


def test_one_dark_shot_contradicts_the_day_declared_for_the_whole_file(verdict_on, signals: Row) -> None:
    assert verdict_on("time_of_day", siblings=[signals | DARK])["verdict"] == "fail"


def test_the_sun_stands_highest_at_solar_noon() -> None:
    height, hour = sun_position(50.85, 4.35, "2026-06-21T11:45:00Z")
    assert height == pytest.approx(62.6, abs=0.5)
    assert hour == pytest.approx(12.0, abs=0.1)


@pytest.mark.parametrize(
    ("declared", "at", "verdict"),
    [
        ("night", "2026-06-21T23:00:00Z", "fail"),  # the midnight sun
        ("day", "2026-06-21T23:00:00Z", "pass"),
        ("day", "2026-12-21T10:45:00Z", "fail"),  # polar night at noon
        ("night", "2026-12-21T22:45:00Z", "pass"),
        ("dusk", "2026-12-21T12:00:00Z", "pass"),
        ("sunset", "2026-05-17T22:50:00Z", "pass"),  # the sun sets after midnight by the sun's own clock
        ("dawn", "2026-05-17T22:30:00Z", "pass"),
        ("morning", "2026-12-21T22:45:00Z", "fail"),
    ],
)
def test_polar_days_and_nights_have_their_own_times_of_day(verdict_on, declared, at, verdict) -> None:
    light = DARK if declared == "night" else {}
    row = verdict_on(
        "time_of_day", declared_time_of_day=declared, captured_at=at, latitude=69.65, longitude=18.96, **light
    )
    assert row["verdict"] == verdict, row


@given(
    st.floats(-90, 90), st.floats(-180, 180), st.datetimes(), st.integers(-14, 14).map(lambda h: timezone(timedelta(hours=h)))
)  # fmt: skip
def test_the_sun_is_somewhere_at_every_place_and_time(latitude, longitude, when, zone) -> None:
    try:
        height, hour = sun_position(latitude, longitude, when.replace(tzinfo=zone).isoformat())
    except ValueError:
        assert not 2 <= when.year <= 9998  # beyond what a calendar in UTC holds
        return
    assert -91 <= height <= 91
    assert 0 <= hour <= 24


@pytest.mark.parametrize(("latitude", "longitude"), [(91, 0), (0, 181), (float("nan"), 0)])
def test_the_sun_stands_nowhere_for_what_is_no_place(latitude, longitude) -> None:
    with pytest.raises(ValueError, match="no place"):
        sun_position(latitude, longitude, NOON)


def test_the_files_own_position_stands_in_for_one_that_is_not_declared(verdict_on) -> None:
    at_brussels = {"latitude": None, "longitude": None, "position": "+50.85+004.35/"}
    row = verdict_on("time_of_day", declared_time_of_day="day", captured_at=MIDNIGHT, **at_brussels)
    assert row["verdict"] == "fail"
    assert "file's own position" in row["detail"]
    assert (
        verdict_on("time_of_day", declared_time_of_day="day", captured_at=MIDNIGHT, latitude=None)["verdict"] == "pass"
    )


@pytest.mark.parametrize(
    ("likenesses", "verdict"),
    [((), "not_yet"), ((None,), "not_yet"), ((0.05,), "fail"), ((0.05, 0.2), "not_yet"), ((0.05, 0.6), "pass")],
)
def test_a_subject_is_decided_by_what_a_captioner_saw_and_else_by_people(honest, likenesses, verdict) -> None:
    seen = [{"likeness": likeness, "captioner": "blip", "text": "a bicycle leans on a wall"} for likeness in likenesses]
    row = next(row for row in decide(replace(honest, seen=seen)) if row["check"] == "subject")
    assert row["verdict"] == verdict
    assert not blocks(row)
    if verdict == "fail":
        assert row["reason"] == "metadata.subject_mismatch"
        assert "a bicycle at a wall declared" in row["detail"]
        assert "saw: a bicycle leans" in row["detail"]


def test_a_place_that_is_not_where_the_file_was_made_names_both(verdict_on) -> None:
    row = verdict_on("location", position="+35.6895+139.6917/")
    assert (row["verdict"], row["value"], row["threshold"]) == ("fail", "9448 km", "Brussels")
    assert "Brussels declared" in row["detail"]
    assert "35.6895, 139.6917" in row["detail"]
    assert row["reason"] == "metadata.place_mismatch"


@pytest.mark.parametrize(
    ("text", "ratio"),
    [
        ("16:9", 16 / 9),
        ("2.35:1", 2.35),
        ("1.78", 1.78),
        ("16/9", 16 / 9),
        ("", None),
        ("0:9", None),
        ("1:2:3", None),
        (None, None),
    ],
)
def test_aspect_ratios_are_read_as_people_write_them(text: str | None, ratio: float | None) -> None:
    assert parse_ratio(text) == (pytest.approx(ratio) if ratio else None)
