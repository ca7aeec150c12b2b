"""Violated twins of good clips are noticed, each by the evaluators that are there for it; distances tell sets apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from training.data.video import read_frames
from training.evaluate import motion, quality, twins
from training.evaluate.adherence import heldout_trials
from training.evaluate.described import described
from training.evaluate.distribution import frechet, kernel
from training.evaluate.heldout import border_energy, seam_step
from training.evaluate.twins import Good
from training.networks import imagenet
from training.simulate.supply import FPS, pictures

VENDOR = Path(__file__).parents[3] / ".vendor"
NETWORKS = VENDOR / "networks"
SHOTS = (
    *(("bikes.mp4", 0), ("bikes.mp4", 76), ("bikes.mp4", 187), ("city.mpg", 0), ("city.mpg", 116)),
    *(("snow.mp4", 100), ("snow.mp4", 600), ("snow.mp4", 800)),
)


def trials(count: int) -> dict[str, Good]:
    kinds = list(heldout_trials(count, 2.0).items())[1::2]
    return {name: Good(pictures(trial, (64, 64), 17), FPS, 16, trial) for name, trial in kinds}


def shot(name: str, start: int) -> Good:
    """Real footage as a model of 64 pixels has it: 8 frames a second, two seconds or what the shot has of them."""
    frames, fps = read_frames(VENDOR / "footage" / name, start, start + 52, 256)
    step = round(fps / FPS)
    x = torch.from_numpy(frames[::step][:17]).permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(64, 96), mode="area").round().to(torch.uint8)
    return Good(x.permute(0, 2, 3, 1), fps / step, 16)


@pytest.mark.slow
@pytest.mark.skipif(not (NETWORKS / imagenet.FILE).exists(), reason="run `make setup`")
def test_at_least_95_of_100_violated_twins_of_every_kind_are_noticed() -> None:
    goods = trials(8) | {f"{name} {start}": shot(name, start) for name, start in SHOTS}
    rows = {row["slice"]: row for row in twins.noticed(goods, imagenet.EfficientNetLite0.load(NETWORKS)).rows}
    for twin in twins.TWINS:
        row = rows[f"twin={twin}"]
        assert row["n"] >= 8
        assert round(row["value"] * row["n"]) >= int(0.95 * row["n"]), twin
    # what sees what: features of frames are blind to time that runs backwards, signed motion is not
    assert rows["twin=reversed by motion"]["value"] == rows["twin=frozen by motion"]["value"] == 1
    assert rows.get("twin=reversed by subject", {"value": 0})["value"] < 0.2
    assert rows["twin=reversed by adherence"]["value"] == rows["twin=vanishing by adherence"]["value"] == 1
    assert rows["twin=seamed by seams"]["value"] >= 0.9
    assert rows["twin=recoloured by colour"]["value"] >= 0.7


@pytest.mark.slow
def test_noise_that_nobody_minds_alarms_hardly_anybody() -> None:
    row = twins.noticed(trials(8), None).rows[0]
    assert row["metric"] == "twins_false_alarms"
    assert row["value"] <= 0.05


def test_a_video_that_runs_backwards_moves_the_other_way() -> None:
    good = next(iter(trials(1).values()))
    forwards, backwards = (motion.moves(x, FPS) for x in (good.frames_THWC, good.frames_THWC.flip(0)))
    assert motion.agreement(forwards, forwards) == pytest.approx(1)
    assert motion.agreement(backwards, forwards) < -0.3
    assert motion.agreement(torch.zeros_like(forwards), forwards) == 0
    assert motion.agreement(forwards, torch.zeros_like(forwards)) is None, "nothing to agree with"


def test_the_caption_of_a_rendered_trial_is_read_from_its_pixels() -> None:
    named = heldout_trials(4, 2.0).values()
    right = [described(pictures(trial, (64, 64), 17)) == trial.caption() for trial in named]
    assert sum(right) >= 5, right  # two bodies that touch, or one that the pillar never hides, are read otherwise


def test_a_frozen_or_cut_video_is_told_by_its_features() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 64, generator=generator)
    assert quality.consistency(one.expand(5, 64)) == pytest.approx(1)
    assert quality.consistency(torch.stack([one, one, other, other])) < 0.8
    assert quality.consistency(one[None]) is None


def test_seams_are_one_without_cells_and_grow_with_every_step_between_them() -> None:
    good = Good(torch.randint(0, 200, (3, 64, 64, 3), generator=torch.Generator().manual_seed(0)).byte() // 20, 8.0, 16)
    assert border_energy(good.frames_THWC, 16) == pytest.approx(1, abs=0.05)
    assert border_energy(twins.seamed(good), 16) > 3
    assert border_energy(good.frames_THWC, 64) is None, "one cell has no border inside"


def test_a_seam_is_as_many_levels_as_its_cells_differ_by_and_nothing_that_moves_is_one() -> None:
    moving = torch.randint(100, 108, (17, 64, 64, 3), generator=torch.Generator().manual_seed(0)).byte()
    still = moving[:1].expand(17, -1, -1, -1)
    moving[:, :, 31] = 250  # a line that lies along a border in all frames is one line of three
    for frames in (moving, still):
        assert seam_step(frames, 16) == pytest.approx(0, abs=0.5)
        assert seam_step(twins.seamed(Good(frames, 8.0, 16)), 16) == pytest.approx(twins.STEP, abs=2)
    assert seam_step(moving, 64) is None, "one cell has no border inside"


def test_the_frechet_distance_is_what_its_formula_says() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(4000, 3, generator=generator, dtype=torch.float64)
    b = 2 * torch.randn(4000, 3, generator=generator, dtype=torch.float64) + torch.tensor([1.0, 0, 0])
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(1 + 3, rel=0.05)  # |mean|^2 + sum of (2 - 1)^2 over three axes
    assert frechet(a, b) == pytest.approx(frechet(b, a))


def test_the_kernel_distance_has_no_bias_for_few_clips_and_sees_another_set() -> None:
    generator = torch.Generator().manual_seed(0)
    same = [kernel(*torch.randn(2, 12, 20, generator=generator)) for _ in range(200)]
    assert abs(sum(same) / len(same)) < 0.01
    a, b = torch.randn(2, 12, 20, generator=generator)
    assert kernel(a, b + 1) > max(same)
