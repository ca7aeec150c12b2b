"""The objective: ends of the line, its slope, times that shift with size, and noise that belongs to the clip."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from tests.training.conftest import TrainingWorld
from tests.training.test_transformer import CONFIG, A, velocity
from training.data.clips import Encoded, LatentClips, read_members, texts_of
from training.data.packing import Cursor
from training.data.steps import FlowStep, Share, draw, draw_text, flow_steps
from training.model import flow
from training.model.conditioning import changes, draw_given, give_frames, motion
from training.model.config import MODES, ConfigError, TransformerConfig
from training.model.flow import GaussianVelocity, keyed
from training.model.layers import Segments
from training.model.text import text_key
from training.model.transformer import Transformer, load_transformer, save_transformer
from training.trainer.learner import TransformerLearner


def test_the_line_runs_from_the_clip_to_the_noise_and_the_target_is_its_slope() -> None:
    x, e = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.equal(flow.interpolate(x, e, torch.zeros(5)), x)
    assert torch.equal(flow.interpolate(x, e, torch.ones(5)), e)
    low, high = (flow.interpolate(x, e, torch.full((5,), t)) for t in (0.25, 0.75))
    torch.testing.assert_close((high - low) / 0.5, flow.velocity(x, e))


def test_larger_clips_meet_more_noise() -> None:
    assert flow.timestep_mean(1024) == pytest.approx(0.95)
    assert flow.timestep_mean(4096) == pytest.approx(2.05)
    assert flow.timestep_mean(80) == 0.0
    drawn = [[flow.draw_timestep(n, flow.keyed(n, i)) for i in range(400)] for n in (80, 4096)]
    means = [sum(ts) / len(ts) for ts in drawn]
    assert means[0] == pytest.approx(0.5, abs=0.05)
    assert means[1] > 0.8
    assert all(0 < t < 1 for ts in drawn for t in ts)


def test_a_shift_moves_the_times_of_all_clips_towards_noise() -> None:
    plain, shifted = ([flow.draw_timestep(80, flow.keyed(i), shift) for i in range(100)] for shift in (0.0, 0.8))
    logits = (torch.tensor(shifted).logit() - torch.tensor(plain).logit()).tolist()
    assert logits == pytest.approx([0.8] * 100, abs=1e-3)


def test_given_tokens_have_no_part_in_the_loss_and_samples_count_alike() -> None:
    target = torch.zeros(6, 2)
    predicted = torch.ones(6, 2)
    predicted[0] = 100  # given
    predicted[2:] = 3
    given = torch.tensor([True, False, False, False, False, False])
    assert flow.loss_per_sample(predicted, target, given, Segments((2, 4))).tolist() == [1.0, 9.0]


def test_a_clip_meets_the_same_noise_and_time_whatever_is_packed_with_it(world: TrainingWorld) -> None:
    def steps(batch_tokens: int, rank: int, processes: int) -> dict:
        config = world.flow_config(batch_tokens=batch_tokens)
        members = read_members(config.manifest, "train")
        clips = LatentClips(Encoded(config.latents_dir, config.text_dir, 2, 4), members)
        step = next(iter(flow_steps(config, clips, Cursor(), 1, Share(rank, processes))))
        noise = step.e_NP.split(step.batch.segments.lengths)
        times = [float(step.t_F[step.batch.segment_F == i][0]) for i in range(len(noise))]
        return {clip: (n, t) for clip, n, t in zip(step.clip_ids, noise, times, strict=True)}

    whole, parted = steps(10_000, 0, 1), steps(10_000, 0, 2) | steps(10_000, 1, 2)
    alone = steps(1, 0, 1)
    assert whole.keys() == parted.keys()
    assert len(alone) == 1
    for clip, (noise, time) in (parted | alone).items():
        assert torch.equal(noise, whole[clip][0])
        assert time == whole[clip][1]


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(processes=st.integers(2, 7), first=st.integers(1, 50))
def test_a_clips_loss_does_not_depend_on_what_is_packed_with_it(
    world: TrainingWorld, processes: int, first: int
) -> None:
    config = world.flow_config(batch_tokens=10_000, steps=99)
    clips = LatentClips(Encoded(config.latents_dir, config.text_dir, 2, 4), read_members(config.manifest, "train"))
    learner = TransformerLearner(config, TransformerConfig(width=16, layers=1, heads=2), [])
    for index, parameter in enumerate(learner.model.parameters()):
        torch.nn.init.normal_(parameter, std=0.1, generator=flow.keyed("weights", index))

    def losses(rank: int, of: int) -> dict[str, float]:
        step = next(iter(flow_steps(config, clips, Cursor(), first, Share(rank, of))))
        with torch.no_grad():
            return dict(zip(step.clip_ids, learner.losses(step).tolist(), strict=True))

    together = losses(0, 1)
    apart = {clip: loss for rank in range(processes) for clip, loss in losses(rank, processes).items()}
    assert apart.keys() == together.keys()
    assert len(set(together.values())) == len(together)
    for clip, loss in apart.items():
        assert loss == pytest.approx(together[clip], rel=1e-5)


def by_clip(step: FlowStep) -> dict[str, torch.Tensor]:
    """Each clip's time and noise: in the pack clips lie by their lengths, so captions change their order."""
    times = [step.t_F[step.batch.segment_F == i][:1] for i in range(len(step.clip_ids))]
    noise = step.e_NP.split(step.batch.segments.lengths)
    return {clip: torch.cat([t, e.flatten()]) for clip, t, e in zip(step.clip_ids, times, noise, strict=True)}


def test_a_step_draws_one_of_a_clips_phrasings_and_the_same_one_again(world: TrainingWorld, tmp_path: Path) -> None:
    config = world.flow_config(batch_tokens=10_000, steps=12)
    members = read_members(config.manifest, "train")
    phrased = [
        m | {"captions": [m["caption"], *(f"phrasing {n} of {m['clip_id']}" for n in range(3))]} for m in members
    ]
    texts = Path(shutil.copytree(config.text_dir, tmp_path / "phrased"))
    for number, text in enumerate(text for m in phrased for text in m["captions"][1:]):
        save_file({"tokens": torch.full((2, 384), float(number))}, texts / f"{text_key(text)}.safetensors")

    def drawn(of: list) -> list[tuple]:
        clips = LatentClips(Encoded(config.latents_dir, texts, 2, 4), of)
        return [(step.batch.text_MT.clone(), by_clip(step)) for step in flow_steps(config, clips, Cursor(), 1)]

    several, again, single = drawn(phrased), drawn(phrased), drawn(members)
    assert all(torch.equal(step[0], other[0]) for step, other in zip(several, again, strict=True))
    assert len({tuple(text.flatten().tolist()) for text, _ in several}) > 6
    for (_, step), (_, other) in zip(several, single, strict=True):  # time and noise do not depend on the words
        assert step.keys() == other.keys()
        for clip in step:
            assert torch.equal(step[clip], other[clip])


def test_every_phrasing_is_drawn_about_as_often() -> None:
    texts = ("a", "b", "c", "d")
    counts = Counter(draw_text(texts, 0, "clip", step) for step in range(800))
    assert min(counts.values()) > 150
    assert draw_text(texts, 0, "clip", 7) == draw_text(texts, 0, "clip", 7)
    assert texts_of({"caption": "alone"}) == ("alone",)


def test_two_processes_weigh_a_pack_like_one() -> None:
    pack = ("a", "b", "c")
    total = {}
    for rank in range(4):
        for clip, weight in zip(*Share(rank, 4).of(pack), strict=True):
            total[clip] = total.get(clip, 0) + float(weight) / 4
    assert total == pytest.approx(dict.fromkeys(pack, 1 / 3))


def test_seeds_steps_and_clips_all_change_the_draw(world: TrainingWorld) -> None:
    config, other = world.flow_config(), world.flow_config(seed=1)
    grid = (3, 2, 2)
    drawn = {draw(config, "a", grid, 1).t, draw(config, "a", grid, 2).t, draw(config, "b", grid, 1).t}
    assert len(drawn | {draw(other, "a", grid, 1).t}) == 4
    assert draw(config, "a", grid, 1).t == draw(config, "a", grid, 1).t


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_gives_everything(mode: str) -> None:
    for grid in ((1, 2, 2), (2, 2, 3), (5, 4, 4)):
        given = draw_given(grid, {mode: 1.0}, flow.keyed(mode, grid)).reshape(grid)
        assert not given.all()
        assert (given.flatten(1).all(1) == given.flatten(1).any(1)).all()  # whole frames
        assert mode == "text" or grid[0] == 1 or given.any()


def drawn_frames(mode: str, frames: int = 6) -> set[tuple[int, ...]]:
    """Which latent frames a mode gives, over many draws."""
    masks = (draw_given((frames, 1, 1), {mode: 1.0}, flow.keyed(mode, i)) for i in range(200))
    return {tuple(mask.nonzero().flatten().tolist()) for mask in masks}


def test_each_mode_gives_its_own_frames() -> None:
    assert drawn_frames("text") == {()}
    assert drawn_frames("first") == {(0,)}
    assert drawn_frames("last") == {(5,)}
    assert drawn_frames("ends") == {(0, 5)}
    assert drawn_frames("prefix") == {tuple(range(n)) for n in range(1, 6)}
    assert drawn_frames("suffix") == {tuple(range(n, 6)) for n in range(1, 6)}
    between = {(*range(a), *range(6 - b, 6)) for a in range(1, 5) for b in range(1, 6 - a)}
    assert drawn_frames("between") == between
    keyframes = drawn_frames("keyframes")
    assert {len(frames) for frames in keyframes} == {1, 2, 3}
    assert len(keyframes) > 20


def test_modes_are_drawn_as_often_as_the_configuration_says(world: TrainingWorld) -> None:
    config = world.flow_config()
    assert config.modes.keys() == set(MODES)
    assert sum(config.modes.values()) == pytest.approx(1)
    given = [draw(config, "clip", (6, 1, 1), step).given_N.tolist() for step in range(2000)]
    assert given.count([False] * 6) / 2000 == pytest.approx(config.text_mode, abs=0.04)
    only_first = given.count([True] + [False] * 5) / 2000
    assert only_first == pytest.approx(
        config.first_mode + config.prefix_mode / 5 + config.keyframes_mode / 18, abs=0.03
    )
    off = world.flow_config(text_mode=0.0, **{f"{mode}_mode": 0.0 for mode in MODES if mode not in ("text", "last")})
    assert off.modes == {"last": off.last_mode}
    with pytest.raises(ConfigError, match="one must be positive"):
        world.flow_config(**{f"{mode}_mode": 0.0 for mode in MODES})


def test_a_still_picture_does_not_move_and_a_faster_one_moves_more() -> None:
    frames = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 2, 2, 3) * 10
    assert motion(changes(frames[:1]), 8) == 0
    assert motion(changes(frames), 8) == pytest.approx(80)
    assert motion(changes(frames), 16) == pytest.approx(160)
    assert give_frames((1, 2, 2), (0,)).sum() == 0


VALUES = 6


def tokens(count: int = 20_000) -> Tensor:
    """Normal draws whose variances go from 9 to 0.01, in directions that are no axes."""
    spread = torch.logspace(0.5, -1, VALUES)
    turn, _ = torch.linalg.qr(torch.randn(VALUES, VALUES, generator=keyed("turn")))
    return torch.randn(count, VALUES, generator=keyed("tokens")) * spread @ turn.T


@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 0.98])
def test_it_is_the_best_linear_guess_of_the_velocity(t: float) -> None:
    x_NP = tokens()
    model = GaussianVelocity(VALUES)
    model.fit([x_NP[:1000], x_NP[1000:]])
    e_NP = torch.randn(x_NP.shape, generator=keyed("noise"))
    t_N = torch.full((len(x_NP),), t)
    noisy_NP, target_NP = flow.interpolate(x_NP, e_NP, t_N), flow.velocity(x_NP, e_NP)
    best_NP = noisy_NP @ torch.linalg.lstsq(noisy_NP, target_NP).solution
    error, least = ((guess - target_NP).square().mean() for guess in (model(noisy_NP, t_N), best_NP))
    assert least <= error <= 1.01 * least
    isotropic = (GaussianVelocity(VALUES)(noisy_NP, t_N) - target_NP).square().mean()
    assert isotropic > error


def test_a_transformer_that_corrects_it_starts_with_it_and_keeps_it_with_its_weights(tmp_path: Path) -> None:
    shape = replace(CONFIG, predicts="correction")
    model = Transformer(shape)
    assert model.gaussian is not None
    model.gaussian.fit([torch.randn(500, shape.token_values, generator=keyed("fit")) * 2])
    start = velocity(model, [A])
    torch.testing.assert_close(start, model.gaussian(A.x_NP, torch.full((len(A.x_NP),), 0.4)))
    save_transformer(model.state_dict(), shape, tmp_path)
    torch.testing.assert_close(velocity(load_transformer(tmp_path), [A]), start, rtol=0, atol=0)
