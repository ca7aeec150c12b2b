"""Encoding makes what is missing and asks consent first; generating writes the videos that were asked for."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.training.conftest import TrainingWorld, scene_clip
from training import encode, sample
from training.config import EncodeConfig
from training.data.clips import FrameClips
from training.data.video import read_frames
from training.model.codec import load_codec, to_unit
from training.model.config import LADDER
from training.model.flow import keyed
from training.model.text import TextEncoder, text_key
from training.model.transformer import Transformer, save_transformer

MINILM = Path(__file__).parents[2] / ".vendor" / "minilm"
pytestmark = pytest.mark.skipif(not (MINILM / "model.safetensors").exists(), reason="run `make setup`")


@pytest.fixture
def encoding(world: TrainingWorld) -> EncodeConfig:
    root = world.root
    return EncodeConfig(
        manifest=str(world.manifest),
        snapshot_root=world.snapshot_root,
        database_url=world.people.url,
        frames_dir=str(root / "frames"),
        codec_dir=str(root / "codec"),
        latents_dir=str(root / "fresh-latents"),
        text_dir=str(root / "fresh-texts"),
        text_encoder=str(MINILM),
    )


def command(config: EncodeConfig) -> int:
    path = Path(config.latents_dir).with_suffix(".json")
    path.write_text(json.dumps(asdict(config)))
    return encode.main(["--config", str(path)])


def test_every_clip_and_caption_is_encoded_once(encoding: EncodeConfig) -> None:
    assert command(encoding) == 0
    members = json.loads(Path(encoding.manifest).read_text())["members"]
    for member in members:
        with safe_open(Path(encoding.latents_dir) / f"{member['clip_id']}.safetensors", "np") as file:
            assert file.get_tensor("latent").shape[:2] == (16, 3)
            assert float(file.metadata()["fps"]) == 8
            assert float(file.metadata()["motion"]) > 0
        with safe_open(Path(encoding.text_dir) / f"{text_key(member['caption'])}.safetensors", "np") as file:
            expected = TextEncoder(MINILM).tokens([member["caption"]])[0] if member is members[0] else None
            assert expected is None or np.array_equal(file.get_tensor("tokens"), expected)
    times = {path: path.stat().st_mtime_ns for path in Path(encoding.latents_dir).iterdir()}
    assert encode.encode(encoding) == (0, 0)
    assert times == {path: path.stat().st_mtime_ns for path in Path(encoding.latents_dir).iterdir()}


def test_a_long_clip_is_encoded_in_parts_as_if_whole_and_held_one_part_at_a_time(
    world: TrainingWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = load_codec(world.root / "codec")
    for parameter in codec.parameters():  # what a convolution remembers of the part before must count
        torch.nn.init.normal_(parameter, std=0.1, generator=keyed("encode", parameter.numel()))
    frames = torch.cat([scene_clip(2 * seed) for seed in range(6)])[:53]
    save_file({"frames": frames}, tmp_path / "long.safetensors", {"fps": "8"})
    clips = FrameClips(tmp_path, [{"clip_id": "long"}])
    whole, fps, moved = encode.encode_clip(codec, clips, "long", 1000)
    held: list[int] = []
    encoded = codec.encode
    monkeypatch.setattr(codec, "encode", lambda x, memory: held.append(x.shape[2]) or encoded(x, memory))
    parts, *rest = encode.encode_clip(codec, clips, "long", 8)
    assert held == [9, 8, 8, 8, 8, 8, 4]
    assert rest == [fps, pytest.approx(moved)]
    assert fps == 8
    torch.testing.assert_close(whole, codec.encode(to_unit(frames)[None], None)[0], rtol=0, atol=0)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("few", [True, False])
def test_a_clip_whose_latent_is_not_finite_is_left_out_and_all_of_them_are_the_codecs_fault(
    encoding: EncodeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], few: bool
) -> None:
    clip_ids = [member["clip_id"] for member in json.loads(Path(encoding.manifest).read_text())["members"]]
    real = encode.encode_clip

    def infinite(codec: object, frames: object, clip_id: str) -> object:
        z_Cthw, *rest = real(codec, frames, clip_id)
        return z_Cthw * torch.inf if clip_id == clip_ids[0] or not few else z_Cthw, *rest

    monkeypatch.setattr(encode, "encode_clip", infinite)
    assert command(encoding) == (0 if few else 1)
    made = {path.stem for path in Path(encoding.latents_dir).glob("*.safetensors")}
    assert made == ({*clip_ids[1:]} if few else set())
    assert f"the latent of {clip_ids[0]} is not finite" in capsys.readouterr().out


def test_nothing_is_encoded_without_consent(encoding: EncodeConfig, world: TrainingWorld) -> None:
    world.people.revoke(world.consents[0])
    assert command(encoding) == 3
    assert not Path(encoding.latents_dir).exists()


@pytest.fixture
def model_dir(world: TrainingWorld) -> Path:
    """A codec and an untrained transformer: its videos are decoded noise."""
    folder = world.root / "model"
    shutil.copytree(world.root / "codec", folder)
    shape = replace(LADDER["nano"].transformer, channels=load_codec(folder).config.channels, patch=2)
    save_transformer(Transformer(shape).state_dict(), shape, folder)
    return folder


def test_generate_writes_a_video_for_each_prompt_in_order(model_dir: Path, tmp_path: Path) -> None:
    prompts = ["a red circle", "a blue square"]
    rows = sample.generate(model_dir, MINILM, prompts, tmp_path / "out", [5, 6], steps=2, frames=9, size=(48, 32))
    assert [(row["prompt"], row["seed"], row["width"], row["height"]) for row in rows] == [
        (prompts[0], 5, 48, 32),
        (prompts[1], 6, 48, 32),
    ]
    frames, fps = read_frames(rows[0]["path"])
    assert frames.shape == (9, 32, 48, 3)
    assert fps == 8
    again = sample.generate(model_dir, MINILM, prompts[:1], tmp_path / "again", [5], steps=2, frames=9, size=(48, 32))
    difference = np.abs(read_frames(again[0]["path"])[0].astype(int) - frames)
    assert difference.mean() < 0.1  # alone or beside another: the same up to rounding


def test_the_command_lists_its_samples_and_refuses_what_does_not_fit(model_dir: Path, tmp_path: Path, capsys) -> None:
    config = {
        "model_dir": str(model_dir),
        "text_encoder": str(MINILM),
        "prompts": ["waves"],
        "out": str(tmp_path / "out"),
        "steps": 1,
        "size": [32, 32],
    }
    path = tmp_path / "generate.json"
    path.write_text(json.dumps(config))
    assert sample.main(["--config", str(path)]) == 0
    listed = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert Path(listed[0]["path"]).is_file()
    for bad in ({"frames": 16}, {"size": [32, 40]}, {"seeds": [1, 2]}):
        path.write_text(json.dumps(config | bad))
        assert sample.main(["--config", str(path)]) == 1
    assert "multiples of 16" in capsys.readouterr().err
