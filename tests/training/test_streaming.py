"""Clips of large sizes go from their files to shards of latents, a few pictures at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from training import encode
from training.config import EncodeConfig
from training.data import shards
from training.data.clips import Encoded, LatentClips
from training.data.cut import Stream, cut
from training.data.policy import Portion, choose_moment
from training.data.video import VideoError, write_mp4
from training.model.codec import Codec, load_codec, save_codec, to_unit
from training.model.config import LADDER, CodecConfig

SIZE = "S"
POLICY = LADDER[SIZE].data
FPS = 24.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 frames, 128x72: a ramp that wanders, brighter from frame to frame."""
    across = np.arange(128, dtype=np.int64)[None, None, :, None]
    time = np.arange(90, dtype=np.int64)[:, None, None, None]
    frames = np.broadcast_to((across + 3 * time) % 200, (90, 72, 128, 3)) + np.array([0, 20, 40])
    return write_mp4(tmp_path_factory.mktemp("film") / "film.mp4", frames.astype(np.uint8), FPS)


@pytest.fixture(scope="module")
def codec_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    save_codec(Codec(CodecConfig(width=8, encoder_blocks=1, decoder_blocks=1)), folder, {})
    return folder


def row(film: Path, clip_id: str = "a", **changes: Any) -> dict[str, Any]:
    values = {"clip_id": clip_id, "path": str(film), "start_frame": 0, "end_frame": 90}
    return values | {"source_fps": FPS, "rotation_deg": 0} | changes


@pytest.mark.parametrize("size", LADDER)
def test_a_rung_says_what_its_clips_are_and_is_sampled_alike(size: str) -> None:
    rung = LADDER[size]
    own, policy = rung.sampling, rung.data
    cell = rung.codec.patch * rung.transformer.patch
    for width, height in ((1920, 1080), (1080, 1920), (640, 480), (100, 100)):
        w, h = policy.size(width, height)
        assert w % cell == h % cell == 0
        assert w * h == pytest.approx(policy.side**2, rel=policy.slack)
        assert all(part <= side for part, side in zip(rung.pictures.shape(width, height), (w, h), strict=True))
    assert (own.frames, own.fps) == (policy.frames, policy.fps)
    assert own.width * own.height == pytest.approx(policy.side**2, rel=policy.slack)
    assert (policy.frames - 1) % rung.codec.stride == 0
    assert (rung.crops is None) == (size in ("nano", "micro"))


def test_policies_are_told_apart_by_name_and_nanos_is_what_it_was() -> None:
    policies = {rung.data for rung in LADDER.values()} | {rung.pictures for rung in LADDER.values()}
    assert len({policy.name for policy in policies}) == len(policies)
    assert len({rung.data.name for rung in LADDER.values()}) == len(LADDER)
    assert LADDER["nano"].data.name == "17f-8hz-64px-1"


@settings(deadline=None)
@given(st.integers(16, 4000), st.integers(16, 4000), st.sampled_from(sorted(LADDER)))
def test_a_portion_lies_inside_what_is_scaled_and_keeps_its_aspect(width: int, height: int, size: str) -> None:
    portion = Portion.of(width, height, LADDER[size].pictures)
    assert all(part <= side for part, side in zip(portion.crop, portion.scaled, strict=True))
    assert portion.scaled[0] / portion.scaled[1] == pytest.approx(width / height, rel=0.05)


def test_no_picture_is_made_that_was_not_filmed() -> None:
    assert choose_moment(0, 200, 10.0, LADDER["2B"].data).fps == 10.0
    moment = choose_moment(0, 400, 60.0, LADDER["2B"].data)
    assert (moment.fps, len(moment.indices)) == (24.0, 121)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_what_is_cut_stands_as_the_container_asks_and_is_the_files(film: Path, rotation: int) -> None:
    moment = choose_moment(0, 90, FPS, POLICY)
    pictures = np.stack(list(cut(film, moment, POLICY, rotation)))
    width, height = POLICY.size(72, 128) if rotation % 180 else POLICY.size(128, 72)
    assert pictures.shape == (POLICY.frames, height, width, 3)
    upright = np.rot90(pictures, k=-rotation // 90, axes=(1, 2))
    brightness = upright[:, :, upright.shape[2] // 2].astype(float).mean(axis=(1, 2))
    steps = np.diff(brightness)
    assert np.median(steps) == pytest.approx(3 * FPS / POLICY.fps, abs=1)  # the right frames, in their order
    assert np.median(np.diff(upright[0].astype(float).mean(axis=(0, 2)))) > 0  # not mirrored


def test_a_crop_is_the_middle_of_the_picture(film: Path) -> None:
    crops = LADDER[SIZE].crops
    assert crops is not None
    moment = choose_moment(0, 90, FPS, crops)
    whole, middle = (np.stack(list(cut(film, moment, policy))) for policy in (POLICY, crops))
    _, height, width, _ = whole.shape
    assert middle.shape == (17, crops.crop, crops.crop, 3)
    top, left = (height - crops.crop) // 2, (width - crops.crop) // 2
    expected = whole[:, top : top + crops.crop, left : left + crops.crop].astype(int)
    assert np.abs(middle.astype(int) - expected).mean() < 3


def test_another_process_cuts_the_same_in_parts(film: Path) -> None:
    whole = np.stack(list(cut(film, choose_moment(0, 90, FPS, POLICY), POLICY)))
    with Stream(row(film), SIZE) as stream:
        head = stream.open()
        parts = list(stream.chunks(8))
    assert [len(part) for part in parts] == [9, 8, 8, 8]
    assert (head["frames"], head["height"], head["width"]) == whole.shape[:3]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"path": "nowhere.mp4"}, "nowhere.mp4"),
        ({"end_frame": 200, "start_frame": 80}, "ends before frame"),
        ({"end_frame": 0}, "no frames between"),
        ({"source_fps": "fast"}, "TypeError"),  # a decoder that crashes
    ],
)
def test_a_clip_that_cannot_be_decoded_says_which_and_why(film: Path, changes: Mapping[str, Any], why: str) -> None:
    def read() -> None:
        with Stream(row(film, "clip-7", **changes), SIZE) as stream:
            stream.open()
            list(stream.chunks(8))

    with pytest.raises(VideoError, match=f"clip-7.*{why}"):
        read()


class Work:
    """A configuration of an encoding process, and what it left."""

    def __init__(self, folder: Path, codec_dir: Path, rows: list[dict[str, Any]]) -> None:
        self.latents = folder / "latents"
        (folder / "sources.list").write_text(json.dumps(rows))
        names = dict.fromkeys(
            ("manifest", "snapshot_root", "database_url", "frames_dir", "text_dir", "text_encoder"), ""
        )
        places = {
            "codec_dir": str(codec_dir),
            "latents_dir": str(self.latents),
            "sources": str(folder / "sources.list"),
        }
        self.config = EncodeConfig(**names | places, size=SIZE)
        self.members = [{"clip_id": r["clip_id"], "caption": "a ramp"} for r in rows]

    def encode(self) -> int:
        return encode.encode_sources(self.config, self.members)


def test_shards_hold_what_encoding_at_once_gives_and_readers_take_one_clip(
    tmp_path: Path, film: Path, codec_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 1)  # a shard a clip
    monkeypatch.setattr(encode, "CHUNK_PIXELS", 8 * 336 * 192)  # parts of eight pictures
    work = Work(tmp_path, codec_dir, [row(film, "a"), row(film, "b", path="gone.mp4"), row(film, "c", end_frame=45)])
    assert work.encode() == 2
    assert "left out: clip b: " in capsys.readouterr().out
    assert len(list(work.latents.glob("*.safetensors"))) == 2
    (tmp_path / "texts").mkdir()
    index = shards.read_index(work.latents)
    assert index.keys() == {"a", "c"}
    assert index["a"].fps == POLICY.fps

    pictures = torch.from_numpy(np.stack(list(cut(film, choose_moment(0, 90, FPS, POLICY), POLICY))))
    whole = load_codec(codec_dir).encode(to_unit(pictures)[None])[0]
    with safe_open(index["a"].path, framework="pt") as file:
        kept = file.get_tensor("a")
    assert kept.dtype == torch.float16
    torch.testing.assert_close(kept.float(), whole, rtol=1e-3, atol=2e-3)

    monkeypatch.setattr(
        "training.data.clips.require_files", lambda *_: None
    )  # of captions, which are not looked at here
    clips = LatentClips(Encoded(work.latents, tmp_path / "texts", 2, 4), [{"clip_id": "a", "caption": "a ramp"}])
    (item,) = clips.items()
    assert item.tokens == whole[0].numel() // 4


def test_a_process_that_is_killed_loses_a_shard_at_most(
    tmp_path: Path, film: Path, codec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    monkeypatch.setattr(shards, "SHARD_BYTES", 1)
    work = Work(tmp_path, codec_dir, [row(film, name, end_frame=45) for name in "abc"])
    made: list[str] = []
    whole = encode.encoded

    def until_the_third(*arguments: Any) -> Any:
        if len(made) == 2:
            raise Killed
        made.append("one more")
        return whole(*arguments)

    monkeypatch.setattr(encode, "encoded", until_the_third)
    with pytest.raises(Killed):
        work.encode()
    assert shards.read_index(work.latents).keys() == {"a", "b"}
    torn = next(work.latents.glob("*.json"))
    torn.write_text(torn.read_text()[:10])  # as a full disk leaves it
    monkeypatch.setattr(encode, "encoded", whole)
    assert work.encode() == 2
    assert shards.read_index(work.latents).keys() == {"a", "b", "c"}
    assert work.encode() == 0


def test_a_clip_can_be_taken_out_of_its_shard(tmp_path: Path) -> None:
    writer = shards.Writer(tmp_path / "one")
    for i, name in enumerate("abc"):
        writer.add(name, torch.full((2, 1, 1, 1), float(i)), 8.0, 1.0)
    writer.close()
    (index,) = (tmp_path / "one").glob("*.json")
    made = shards.without(index.with_suffix(".safetensors"), index, "b", tmp_path / "rest")
    rest = shards.read_index(tmp_path / "rest")
    assert rest.keys() == {"a", "c"}
    assert made[-1].suffix == ".json"
    assert made[-1].stem != index.stem
    with safe_open(rest["c"].path, framework="pt") as file:
        assert file.get_tensor("c").flatten().tolist() == [2.0, 2.0]
    alone, row_of = {"a": torch.zeros(1)}, {"a": [[1], 8.0, 0.0]}
    name = shards.write(tmp_path / "alone", alone, row_of)
    assert (
        shards.without(tmp_path / "alone" / f"{name}.safetensors", tmp_path / "alone" / f"{name}.json", "a", tmp_path)
        == []
    )


@pytest.mark.slow
def test_a_clip_of_720p_is_encoded_in_a_small_part_of_its_memory(tmp_path: Path, film: Path, codec_dir: Path) -> None:
    program = """
import sys, json
from pathlib import Path
from training.encode import encoded
from training.data.cut import Stream
from training.model.codec import load_codec
import torch
torch.set_num_threads(1)
def peak():
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)) / 1024
codec = load_codec(sys.argv[1])
encoded(codec, [torch.zeros(5, 64, 64, 3, dtype=torch.uint8)], 8.0)
before = peak()
with Stream(json.loads(sys.argv[2]), "XL") as stream:
    head = stream.open()
    z_Cthw, _ = encoded(codec, (torch.from_numpy(p) for p in stream.chunks(4)), 8.0)
print(list(z_Cthw.shape), peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(codec_dir), json.dumps(row(film))],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},  # what is freed goes at once: the peak is of what is held
    )
    shape, grown = done.stdout.rsplit(" ", 1)
    frames = LADDER["XL"].data.frames
    assert json.loads(shape)[2:] == [90, 160]
    floats = 4 * 3 * 1280 * 720 * min(frames, 57) / 2**20  # of the pictures as numbers: 57 of 81, as the film is short
    assert float(grown) < 0.35 * floats, f"{grown} MiB, the pictures alone take {floats}"
