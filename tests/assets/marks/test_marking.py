"""Nothing leaves unmarked: both marks are on the file, read back from it, or the file does not exist."""

from pathlib import Path

import numpy as np
import pytest

from assets.marks import marking, watermark
from assets.marks.c2pa import sign_video
from assets.marks.marking import MarkError, mark_video, read_marks
from tests.assets.samples import CLAIMS
from training.data.video import read_frames, write_mp4


def test_a_marked_file_carries_both_marks_and_says_which_model_made_it(raw: Path, keys: Path, tmp_path: Path):
    mark_video(raw, tmp_path / "out.mp4", CLAIMS, keys)
    marks = read_marks(tmp_path / "out.mp4", keys)
    assert marks.complete, marks.problems
    assert marks.provenance.claims == CLAIMS
    assert marks.bits == watermark.BITS


def test_the_watermark_outlives_the_manifest_when_a_platform_re_encodes(raw: Path, keys: Path, tmp_path: Path):
    mark_video(raw, tmp_path / "out.mp4", CLAIMS, keys)
    frames, fps = read_frames(tmp_path / "out.mp4")
    again = write_mp4(tmp_path / "shared.mp4", frames, fps, crf=23)
    assert read_marks(again, keys).provenance.state == "absent"
    key = watermark.watermark_key(keys)
    assert watermark.carries(read_frames(again)[0], watermark.payload_of("model-1"), key)


def test_an_unmarked_file_shows_every_problem(raw: Path, keys: Path):
    marks = read_marks(raw, keys)
    assert not marks.complete
    assert any("manifest absent" in problem for problem in marks.problems)
    assert any("watermark" in problem for problem in marks.problems)


def test_a_signed_file_without_watermark_is_not_complete(raw: Path, keys: Path, tmp_path: Path):
    sign_video(raw, tmp_path / "signed.mp4", CLAIMS, keys)
    (problem,) = read_marks(tmp_path / "signed.mp4", keys).problems
    assert "watermark agrees in" in problem


def test_a_watermark_of_another_model_is_not_complete(raw: Path, keys: Path, tmp_path: Path):
    key = watermark.watermark_key(keys)
    frames = watermark.embed(read_frames(raw)[0], watermark.payload_of("model-2"), key, 12.0)
    write_mp4(tmp_path / "other.mp4", frames, 8)
    sign_video(tmp_path / "other.mp4", tmp_path / "signed.mp4", CLAIMS, keys)
    assert not read_marks(tmp_path / "signed.mp4", keys).complete


@pytest.mark.parametrize("lacking", ["model_id", "snapshot_root", "ledger_checkpoint"])
def test_a_file_whose_origin_is_not_known_does_not_leave(lacking: str, raw: Path, keys: Path, tmp_path: Path):
    with pytest.raises(MarkError, match=lacking):
        mark_video(raw, tmp_path / "out.mp4", CLAIMS | {lacking: ""}, keys)
    assert not (tmp_path / "out.mp4").exists()


def test_a_watermark_that_no_strength_saves_keeps_the_file_in(
    raw: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watermark, "embed", lambda frames, payload, key, strength: frames)
    with pytest.raises(MarkError, match="survives"):
        mark_video(raw, tmp_path / "out.mp4", CLAIMS, keys)
    assert not (tmp_path / "out.mp4").exists()


def test_a_file_whose_marks_do_not_read_back_is_taken_away_again(
    raw: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def break_it(src: Path, dst: Path, claims: dict, folder: Path) -> Path:
        sign_video(src, dst, claims, folder)
        data = bytearray(dst.read_bytes())
        data[data.find(b"mdat") + 200] ^= 1
        dst.write_bytes(data)
        return dst

    monkeypatch.setattr(marking, "sign_video", break_it)
    with pytest.raises(MarkError, match="invalid"):
        mark_video(raw, tmp_path / "out.mp4", CLAIMS, keys)
    assert not (tmp_path / "out.mp4").exists()


def test_a_stronger_mark_is_taken_where_the_weakest_does_not_survive(
    raw: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(watermark, "STRENGTHS", (0.01, 12.0))
    assert mark_video(raw, tmp_path / "out.mp4", CLAIMS, keys).complete
    before, after = (read_frames(path)[0].astype(float) for path in (raw, tmp_path / "out.mp4"))
    assert np.mean((before - after) ** 2) > 5  # the strong mark is on it
