"""The evaluators say yes to rendered trials and no to spoiled ones, from pixels alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from training.evaluate import physics
from training.evaluate.adherence import ATTRIBUTES, METRICS, adherence, heldout_trials, judged, trial_rows
from training.evaluate.physics import NAMES, Seen, look, regions
from training.evaluate.rows import wilson
from training.simulate.render import render_trial
from training.simulate.trial import Trial, random_trial

HELDOUT = 5_000_000  # seeds that no constant of the evaluators was set on
FPS = 8.0


def film(trial: Trial, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    return torch.from_numpy(render_trial(trial, *size, 13, FPS))


def some(kind: str, count: int = 6, first: int = 0) -> list[Trial]:
    return [random_trial(seed, (kind,)) for seed in range(first, first + count)]


def shares(size: tuple[int, int], seeds: range) -> dict[str, float]:
    verdicts = defaultdict(list)
    for seed in seeds:
        trial = random_trial(HELDOUT + seed)
        for name, right in adherence(film(trial, size), trial, FPS).items():
            verdicts[name].append(right)
    assert set(verdicts) == set(ATTRIBUTES)
    return {name: sum(right) / len(right) for name, right in verdicts.items()}


def test_rendered_trials_are_right_in_every_attribute() -> None:
    assert min(shares((32, 32), range(40)).values()) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "seeds"),
    [((32, 32), range(120)), ((64, 64), range(120, 240)), ((64, 48), range(120)), ((36, 48), range(120, 240))],
)
def test_rendered_trials_of_held_out_seeds_are_right_at_every_size_and_aspect(
    size: tuple[int, int], seeds: range
) -> None:
    assert {name: share for name, share in shares(size, seeds).items() if share < 0.98} == {}


@cache
def right(kind: str) -> list[tuple[Trial, torch.Tensor, dict[str, bool]]]:
    """Trials of a kind with their videos and the verdicts on these."""
    return [(trial, film(trial), adherence(film(trial), trial, FPS)) for trial in some(kind)]


def recoloured(video: torch.Tensor) -> torch.Tensor:
    return video.roll(1, -1)


def faded(video: torch.Tensor) -> torch.Tensor:
    left = torch.linspace(1, 0, len(video))[:, None, None, None]
    grey = video.float().mean(-1, keepdim=True)
    return (grey + (video - grey) * left).to(torch.uint8)


def frozen(video: torch.Tensor) -> torch.Tensor:
    return video[:1].expand_as(video)


def vanished(video: torch.Tensor) -> torch.Tensor:
    """What went behind the pillar never comes out."""
    hidden = int(look(video).area_TK.sum(1).argmin())
    return torch.cat([video[:hidden], video[hidden : hidden + 1].expand_as(video[hidden:])])


def doubled(video: torch.Tensor) -> torch.Tensor:
    """A copy of everything coloured, a third of the picture away along the diagonal."""
    covered = look(video).cover_TKHW.sum(1) > 0
    moved, where = (x.roll((11, 11), (1, 2)) for x in (video, covered))
    return torch.where(where[..., None], moved, video)


@pytest.mark.parametrize(
    ("attribute", "kind", "spoil"),
    [
        ("colour", "glide", recoloured),
        ("colour", "pair", recoloured),
        ("count", "fall", doubled),
        ("constancy", "glide", faded),
        ("direction", "glide", frozen),
        ("direction", "glide", lambda video: video.flip(0)),
        ("direction", "occlude", lambda video: video.flip(2)),
        ("bounce", "fall", frozen),
        ("momentum", "collide", frozen),
        ("side", "pair", lambda video: video.flip(2)),
        ("permanence", "occlude", vanished),
        ("permanence", "occlude", frozen),
        ("permanence", "occlude", lambda video: video.flip(0)),
        ("permanence", "occlude", faded),
        ("camera", "camera", frozen),
        ("camera", "camera", lambda video: video.flip(0)),
        ("light", "glide", lambda video: 255 - video),
    ],
)
def test_a_spoiled_video_is_told_from_a_right_one(attribute: str, kind: str, spoil) -> None:
    for trial, video, verdicts in right(kind):
        assert verdicts[attribute]
        assert not adherence(spoil(video.clone()), trial, FPS)[attribute]


def test_another_shape_is_told_from_the_asked_one() -> None:
    for trial in some("glide", 8):
        other = {"circle": "triangle", "square": "circle", "triangle": "square"}[trial.shapes[0]]
        assert not adherence(film(replace(trial, shapes=(other,))), trial, FPS)["shape"]


def test_another_count_is_told_from_the_asked_one() -> None:
    for trial in some("glide", 8):
        assert not adherence(film(replace(trial, count=trial.count % 3 + 1)), trial, FPS)["count"]


def test_what_passes_before_the_pillar_was_not_behind_it() -> None:
    for trial in some("occlude"):
        before = film(replace(trial, kind="glide"))
        assert not physics.permanent(look(before), trial.colours[0], trial.direction)


def test_a_struck_body_that_goes_on_too_fast_for_its_mass_breaks_momentum() -> None:
    for trial in some("collide"):
        seen = look(film(trial))
        assert physics.momentum_error(seen, *trial.colours, FPS) < 0.2
        assert physics.momentum_error(replace_area(seen, trial.colours[1], 1.8), *trial.colours, FPS) > 0.25


def replace_area(seen: Seen, colour: str, factor: float) -> Seen:
    """What is seen, with the coverage of one colour scaled: its places stay, its mass does not."""
    cover = seen.cover_TKHW.clone()
    cover[:, NAMES.index(colour)] *= factor
    return replace(seen, cover_TKHW=cover)


def test_a_real_fall_has_the_worlds_gravity_and_another_motion_has_not() -> None:
    for trial in some("fall"):
        video, colour = film(trial), trial.colours[0]
        real = physics.gravity_residual(look(video), colour, FPS)
        assert real < 0.004
        fall_N = physics.free_fall(look(video), colour)
        assert fall_N is not None
        assert 2 * np.polyfit(np.arange(len(fall_N)) / FPS, fall_N, 2)[0] == pytest.approx(0.9, rel=0.15)
        slow = torch.from_numpy(render_trial(trial, 32, 32, 13, 2 * FPS))  # shown at half its pace
        steady = film(replace(random_trial(1, ("glide",)), direction="down", colours=(colour,), count=1))
        for spoiled in (slow, steady, frozen(video)):
            assert physics.gravity_residual(look(spoiled), colour, FPS) > 3 * real
            assert physics.gravity_residual(look(spoiled), colour, FPS) > 0.008


def test_a_fall_whose_lowest_place_is_the_clips_end_has_bounced_and_one_that_stays_down_has_not() -> None:
    judgements = []
    for seed in range(12):
        trial = random_trial(HELDOUT + seed, ("fall",), 2.0)  # 17 frames: as long as it takes to land again
        video, colour = torch.from_numpy(render_trial(trial, 32, 32, 17, FPS)), trial.colours[0]
        y_T = look(video).centre_TK2[:, NAMES.index(colour), 1]
        landed = int(y_T[:9].argmax())
        stays = torch.cat([video[: landed + 1], video[landed : landed + 1].expand_as(video[landed + 1 :])])
        assert physics.bounced(look(video), colour)
        assert not physics.bounced(look(stays), colour)
        assert not physics.bounced(look(video[: landed + 1]), colour)
        judgements.append(int(y_T.argmax()) == len(y_T) - 1)
    assert any(judgements), "none of these clips ends at its lowest place"


def test_a_body_that_is_lost_for_a_frame_of_its_fall_is_measured_without_an_error() -> None:
    trial = some("fall", 1)[0]
    video = film(trial)
    whole = physics.free_fall(look(video), trial.colours[0])
    assert whole is not None
    assert len(whole) > 5
    video[5] = 120  # grey all over
    assert physics.free_fall(look(video), trial.colours[0]) is None
    assert physics.gravity_residual(look(video), trial.colours[0], FPS) > 0.1


def test_a_video_without_bodies_is_right_in_nothing_but_light_and_camera() -> None:
    for kind in ("glide", "fall", "pair", "collide", "occlude"):
        trial = random_trial(3, (kind,))
        empty = torch.full((13, 32, 32, 3), 120, dtype=torch.uint8)
        verdicts = adherence(empty, trial, FPS)
        assert not any(right for name, right in verdicts.items() if name not in ("light", "camera"))


def test_regions_touch_along_edges_and_not_at_corners() -> None:
    solid = torch.tensor([[[1, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]]]).bool()
    labels = regions(solid)[0]
    assert len(labels[labels > 0].unique()) == 3
    assert labels[1, 2] == labels[2, 3]
    assert (labels[~solid[0]] == 0).all()


def test_a_wilson_interval_is_what_its_formula_says_and_stays_inside_0_and_1() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(10, 10)[1] == 1
    assert wilson(0, 5)[0] == 0
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    with pytest.raises(ValueError, match="no share"):
        wilson(1, 0)


def test_trial_rows_say_each_metric_with_its_interval_and_what_was_not_asked() -> None:
    trials = some("glide", 4)
    rows = {row["metric"]: row for row in trial_rows("all", [film(trial) for trial in trials], trials, FPS)}
    assert set(rows) == {metric.name for metric in METRICS}
    assert (rows["trial_colour"]["value"], rows["trial_colour"]["n"]) == (1.0, 4)
    assert 0.4 < rows["trial_colour"]["ci_low"] < rows["trial_colour"]["ci_high"] == 1
    assert rows["trial_permanence"]["state"] == rows["trial_gravity_residual"]["state"] == "not_measured"
    assert {name for name, row in rows.items() if not row["method"].endswith("v1")} == {"trial_bounce"}


def test_every_question_is_asked_as_often_and_a_longer_list_begins_like_a_shorter_one() -> None:
    asked = heldout_trials(4, 1.5)
    assert [trial.kind for trial in asked.values()].count("pair") == 4
    assert [trial.kind for trial in asked.values() if trial.kind != "pair"] == ["glide", "fall", "occlude", "collide"]
    assert list(heldout_trials(9, 1.5).items())[:8] == list(asked.items())
    values = judged("reference=base", [film(trial) for trial in asked.values()], asked, FPS).values
    assert values["trial_colour@base"] == dict.fromkeys(asked, 1.0)
    assert [len(values[f"trial_{name}@base"]) for name in ("side", "direction")] == [4, 4]
