"""Each measurement tells a real video from a spoiled one, and says what it could not measure."""

from __future__ import annotations

import pytest
import torch

from training.evaluate import samples
from training.evaluate.adherence import colour_of
from training.evaluate.heldout import psnr, ssim
from training.evaluate.rows import Metric, interval
from training.simulate import random_scene, render

METRIC = Metric("m", "1", "higher", "by hand")


def video(seed: int) -> torch.Tensor:
    return torch.from_numpy(render(random_scene(seed), 48, 48, 17, 8.0))


def noisy(frames: torch.Tensor, levels: float) -> torch.Tensor:
    noise = torch.randn(frames.shape, generator=torch.Generator().manual_seed(0)) * levels
    return (frames.float() + noise).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_reconstruction_falls_with_every_more_noise(measure) -> None:
    clean = video(1)
    scores = [measure(clean, noisy(clean, levels)) for levels in (2, 8, 30)]
    assert scores == sorted(scores, reverse=True)
    assert measure(clean, clean) == pytest.approx(100 if measure is psnr else 1)


def test_psnr_is_what_its_formula_says() -> None:
    black, grey = torch.zeros(1, 8, 8, 3, dtype=torch.uint8), torch.full((1, 8, 8, 3), 51, dtype=torch.uint8)
    assert psnr(black, grey) == pytest.approx(13.979, abs=1e-3)  # 20 log10(255 / 51)


@pytest.mark.parametrize("measure", [samples.flicker, samples.smoothness])
def test_real_motion_is_smoother_than_shuffled_frames_and_noise(measure) -> None:
    order = torch.randperm(17, generator=torch.Generator().manual_seed(1))
    for seed in range(4):
        real = video(seed)
        assert measure(real) > measure(real[order])
        assert measure(real) > measure(noisy(real, 20))


def test_a_frozen_video_is_not_dynamic_and_a_moving_one_is() -> None:
    moving = video(3)
    assert samples.dynamic(moving, 8.0) == 1.0
    assert samples.dynamic(moving[:1].expand(17, -1, -1, -1), 8.0) == 0.0
    assert samples.dynamic(moving[:1], 8.0) is None


def test_a_nearly_exact_repetition_is_a_copy_and_an_unseen_clip_is_none() -> None:
    train, heldout = (
        torch.stack([samples.descriptor(video(s)) for s in seeds]) for seeds in (range(20), range(20, 30))
    )
    repeated = samples.descriptor(noisy(video(7), 10))
    unseen = [samples.descriptor(video(seed)) for seed in range(40, 50)]
    assert samples.copied([repeated, *unseen], train, heldout) == [True] + [False] * 10


def test_the_copy_ratio_is_about_one_for_unseen_clips_and_far_below_for_repeated_ones() -> None:
    train, heldout, unseen = (
        torch.stack([samples.descriptor(video(s)) for s in seeds])
        for seeds in (range(20), range(20, 40), range(40, 60))
    )
    fair = samples.copy_ratios(unseen, train, heldout)
    assert sum(fair) / len(fair) == pytest.approx(1, abs=0.15)
    assert max(samples.copy_ratios(train[:5], train, heldout)) < 0.01


def test_the_colour_of_every_rendered_scene_is_read_right() -> None:
    wrong = [seed for seed in range(50) if colour_of(video(seed)) != random_scene(seed).colour]
    assert wrong == []


def test_a_landscape_without_shapes_has_no_colour() -> None:
    assert colour_of(torch.full((2, 16, 16, 3), 120, dtype=torch.uint8)) is None


def test_an_interval_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [float(i % 7) for i in range(40)]
    low, high = interval(values, "m")
    assert low < sum(values) / 40 < high
    assert (low, high) == interval(values, "m")
    wide = interval(values[:5], "m")
    assert wide[1] - wide[0] > high - low


def test_rows_say_what_was_measured_and_why_something_was_not() -> None:
    values = {"a": 1.0, "b": 3.0, "c": 5.0}
    rows = METRIC.slices(values, {"all": ["a", "b", "c"], "aspect=square": ["a", "b"], "aspect=portrait": ["c"]})
    assert [(r["slice"], r["value"], r["n"], r["state"]) for r in rows] == [
        ("all", 3.0, 3, "measured"),
        ("aspect=square", 2.0, 2, "measured"),
    ]
    missing = METRIC.missing("no weights")
    assert (missing["value"], missing["n"], missing["state"], missing["why"]) == (None, 0, "not_measured", "no weights")
    assert missing.keys() == rows[0].keys()
