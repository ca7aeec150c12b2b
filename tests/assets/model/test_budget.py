"""What a training will cost is said before anything starts, and agrees with what is counted and made."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from assets.dataset import renditions
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model import budget
from assets.model.budget import Film
from orchestration.cli import app
from training.consent.times import now_utc
from training.data.video import read_frames
from training.model import cost
from training.model.codec import Codec
from training.model.conditioning import NUMERIC
from training.model.config import LADDER, CodecConfig


def test_ten_thousand_clips_of_720p_are_planned_within_a_second(home: Home) -> None:
    films = [Film(1280, 720, 150 + i % 90, 30.0) for i in range(9990)] + [Film(1280, 720, 3, 0.0)] * 10
    started = time.process_time()
    planned = budget.plan(home, "2B", films, epochs=10)
    assert time.process_time() - started < 1
    assert (planned.clips, planned.unusable) == (9990, 10)
    assert planned.shards == -(-planned.latent_bytes // (256 << 20))
    assert planned.latent_bytes == planned.tokens * 4 * 16 * 2  # four cells a token, 16 values, two bytes
    assert planned.train_gpu_h > planned.encode_gpu_h > 0
    report = planned.report()
    assert "40% are reached" in report["assumed"]
    assert "Not measured" in report["assumed"]
    twice = budget.plan(home, "2B", films, mfu=0.2, epochs=10)
    assert twice.train_gpu_h == pytest.approx(2 * planned.train_gpu_h)


def test_hours_are_the_formulas_operations_over_what_is_assumed(home: Home) -> None:
    planned = budget.plan(home, "B", [Film(1920, 1080, 300, 30.0)] * 7, mfu=0.5, epochs=2)
    t, h, w = 13, 60 // 2, 106 // 2
    assert planned.tokens == 7 * t * h * w
    step = cost.training_flops(LADDER["B"].transformer, cost.Load([t * h * w], [budget.CAPTION_TOKENS], t))
    assert planned.train_gpu_h == pytest.approx(2 * 7 * step / (0.5 * budget.PEAK) / 3600)


def test_a_codecs_operations_are_what_pytorch_counts() -> None:
    config = CodecConfig(width=32, encoder_blocks=2, decoder_blocks=1)
    codec, frames = Codec(config), 33
    pictures = torch.zeros(1, 3, frames, 64, 64)
    with FlopCounterMode(display=False) as counter:
        codec.encode(pictures)
    cells = ((frames - 1) // 4 + 1) * 8 * 8
    assert cost.encoding_flops(config, cells) == pytest.approx(
        counter.get_total_flops(), rel=0.1
    )  # one frame is no tube
    with FlopCounterMode(display=False) as counter:
        codec.decode(codec.encode(pictures)).square().mean().backward()
    assert cost.codec_training_flops(config, cells) == pytest.approx(counter.get_total_flops(), rel=0.1)
    assert len(NUMERIC) == cost.NUMBERS


def test_a_snapshot_is_planned_as_it_is_made(small_world: Any) -> None:
    home: Home = replace(small_world.home, training={"size": "micro"})
    sealed = build(home, now_utc()).sealed
    films = budget.of_snapshot(home)  # in this world nobody noted how large its files are
    assert budget.plan(home, "micro", films).unusable == len(films) == len(sealed.clip_ids)
    sides = (read_frames(home.store.fetch(m["media_key"]), end=1)[0].shape for m in sealed.members)
    films = [replace(film, width=w, height=h) for film, (_, h, w, _) in zip(films, sides, strict=True)]
    planned = budget.plan(home, "micro", films)
    made = [home.store.fetch(key).stat().st_size for key in renditions.keys(home, sealed.clip_ids)]
    assert planned.clips == len(films)
    assert planned.picture_bytes == pytest.approx(sum(made), rel=0.01)
    assert planned.shards == 0


def test_the_command_says_what_was_assumed_and_refuses_other_sizes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_HOME", str(home.state))
    shown = CliRunner().invoke(app, ["plan", "--size", "XL", "--clips", "10000", "--epochs", "3"])
    assert shown.exit_code == 0
    for part in ("GPU hours", "10,000", "81f-16hz-960px-1", "shards", "Not measured"):
        assert part in shown.stdout
    refused = CliRunner().invoke(app, ["plan", "--size", "huge", "--clips", "1"])
    assert isinstance(refused.exception, ValueError)
    assert not list(home.state.glob("frames/*"))
