"""Sampling: the same seed gives the same latent in any company, guidance and given tokens act, the line is followed."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.conftest import TrainingWorld
from tests.training.test_fit import run
from training.config import GenerateConfig, TrainConfig
from training.model import flow
from training.model.conditioning import numbers
from training.model.config import ConfigError, SamplingConfig, TransformerConfig, build, read_sampling
from training.model.transformer import Transformer, load_transformer, to_tokens
from training.sample import generate
from training.sampling import sampler as sampling
from training.sampling.sampler import Request, Sampler, _conditions, sample, times

CONFIG = TransformerConfig(width=32, layers=2, heads=2, channels=4, text_width=12)
GRID = (3, 2, 2)


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return model


def request(seed: int = 1, **changes) -> Request:
    text = torch.randn(5, 12, generator=torch.Generator().manual_seed(9))
    return replace(Request(text, GRID, seed, 0.5, numbers({"fps": 8.0})), **changes)


@pytest.mark.parametrize("method", ["euler", "heun"])
def test_the_same_seed_gives_the_same_latent_whatever_is_sampled_beside_it(model: Transformer, method: str) -> None:
    sampler = Sampler(steps=4, method=method)
    alone = sample(model, [request(1)], sampler)[0]
    assert torch.equal(alone, sample(model, [request(1)], sampler)[0])
    others = sample(model, [request(2, grid=(1, 2, 4)), request(1), request(3)], sampler)
    torch.testing.assert_close(others[1], alone, rtol=0, atol=1e-4)
    assert (others[2] - alone).abs().max() > 0.1
    assert others[0].shape == (4, 1, 4, 8)


def test_a_model_that_knows_the_velocity_arrives_at_the_clip_in_any_number_of_steps(monkeypatch) -> None:
    target = torch.randn(12, 16, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(12, 16, generator=flow.keyed("sample", 1))
    model = Transformer(CONFIG)
    monkeypatch.setattr(model, "forward", lambda x, t, given, batch: noise - target)
    for sampler in (Sampler(1), Sampler(7), Sampler(5, method="heun"), Sampler(3, guidance=1)):
        tokens, _ = to_tokens(sample(model, [request(1)], sampler)[0], 2)
        torch.testing.assert_close(tokens, target, rtol=0, atol=1e-4)


def test_a_model_that_predicts_the_clip_arrives_at_the_clip_that_it_predicts() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(CONFIG, predicts="clip")).eval().requires_grad_(False)
    clip = torch.randn(CONFIG.token_values)
    model.out.bias.copy_(clip)  # whatever it sees: an untrained head adds nothing
    for sampler in (Sampler(1), Sampler(6, noise_shift=0.8), Sampler(5, method="heun")):
        tokens, _ = to_tokens(sample(model, [request(1)], sampler)[0], 2)
        torch.testing.assert_close(tokens, clip.expand_as(tokens), rtol=0, atol=1e-3)


def test_guidance_and_negative_prompts_change_the_result(model: Transformer) -> None:
    base = sample(model, [request()], Sampler(4, guidance=3))[0]
    plain = sample(model, [request()], Sampler(4, guidance=1))[0]
    negative = sample(model, [request(negative_MT=torch.ones(3, 12))], Sampler(4, guidance=3))[0]
    same = sample(model, [request(negative_MT=request().text_MT)], Sampler(4, guidance=3))[0]
    assert (base - plain).abs().max() > 1e-3
    assert (base - negative).abs().max() > 1e-3
    torch.testing.assert_close(same, plain, rtol=0, atol=1e-4)  # what is asked for and avoided alike cancels out


def test_given_tokens_stay_exactly_as_they_are(model: Transformer) -> None:
    given = torch.zeros(12, dtype=torch.bool)
    given[:4] = True
    values = torch.randn(12, 16)
    latent = sample(model, [request(given_N=given, x_NP=values)], Sampler(4))[0]
    tokens, _ = to_tokens(latent, 2)
    assert torch.equal(tokens[:4], values[:4])
    assert (tokens[4:] - values[4:]).abs().min() > 0


def test_times_fall_from_one_to_zero_and_stay_longer_at_noise_for_larger_clips() -> None:
    small, large = times(10, 80), times(10, 4096)
    for t in (small, large):
        assert (t[0], t[-1]) == (1, 0)
        assert (t.diff() < 0).all()
    assert (large[1:-1] > small[1:-1]).all()


def test_a_shift_towards_noise_delays_every_time_between_the_ends() -> None:
    plain, shifted = times(6, 64), times(6, 64, noise_shift=0.8)
    assert (shifted[1:-1] > plain[1:-1] + 0.05).all()
    assert torch.equal(shifted[[0, -1]], plain[[0, -1]])


def test_a_sampler_that_cannot_step_is_refused() -> None:
    for bad in ({"steps": 0}, {"method": "magic"}):
        with pytest.raises(ValueError, match="euler or heun"):
            Sampler(**bad)


def test_euler_steps_are_those_of_the_flow_matching_scheduler(model: Transformer) -> None:
    """x_next = x + (sigma_next - sigma) v, sigmas evenly spaced and shifted exponentially by mu = the training's mean."""
    steps, mu = 6, flow.timestep_mean(12)
    sigmas = [1 - i / steps for i in range(steps)]
    sigmas = [math.exp(mu) / (math.exp(mu) + (1 / s - 1)) for s in sigmas] + [0.0]
    torch.testing.assert_close(times(steps, 12), torch.tensor(sigmas), rtol=0, atol=1e-6)
    big = [math.exp(flow.timestep_mean(4096)) / (math.exp(flow.timestep_mean(4096)) + (1 / s - 1)) for s in (0.9, 0.5)]
    torch.testing.assert_close(times(10, 4096)[[1, 5]], torch.tensor(big), rtol=0, atol=1e-6)

    wanted = request()
    batch, _ = _conditions([wanted], CONFIG.token_values)
    x = torch.randn(12, CONFIG.token_values, generator=flow.keyed("sample", wanted.seed))
    for sigma, following in pairwise(sigmas):
        t = torch.full((GRID[0],), sigma)
        x = x + (following - sigma) * model(x, t, torch.zeros(12, dtype=torch.bool), batch)
    tokens, _ = to_tokens(sample(model, [wanted], Sampler(steps, guidance=1))[0], 2)
    torch.testing.assert_close(tokens, x, rtol=0, atol=1e-5)


def test_euler_agrees_with_diffusers_step_for_step(model: Transformer) -> None:
    diffusers = pytest.importorskip("diffusers", reason="an optional extra, here the oracle")
    steps, mu = 6, flow.timestep_mean(4096)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)], mu=mu)
    torch.testing.assert_close(times(steps, 4096), scheduler.sigmas.cpu().float(), rtol=0, atol=1e-6)
    x = ours = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    for t, (now, following) in zip(scheduler.timesteps, pairwise(times(steps, 4096)), strict=True):
        x, ours = scheduler.step(torch.sin(x), t, x).prev_sample, ours + (following - now) * torch.sin(ours)
        torch.testing.assert_close(ours, x, rtol=0, atol=1e-6)


def test_heun_follows_a_bent_path_closer_than_euler(monkeypatch) -> None:
    model = Transformer(CONFIG)
    monkeypatch.setattr(model, "forward", lambda x, t, given, batch: -x)  # dx/dt = -x: x(0) = e x(1)
    noise = torch.randn(12, 16, generator=flow.keyed("sample", 1))
    errors = {}
    for sampler in (Sampler(16), Sampler(16, method="heun")):
        tokens, _ = to_tokens(sample(model, [request()], sampler)[0], 2)
        errors[sampler.method] = float((tokens - math.e * noise).abs().max())
    assert errors["heun"] < errors["euler"] / 3


def test_a_source_is_left_the_further_the_greater_the_strength(model: Transformer) -> None:
    source = torch.randn(12, 16, generator=torch.Generator().manual_seed(5))
    distances = []
    for strength in (0.05, 0.3, 0.6, 0.9, 1.0):
        latent = sample(model, [request(x_NP=source, strength=strength)], Sampler(6, guidance=1))[0]
        distances.append(float((to_tokens(latent, 2)[0] - source).square().mean()))
    assert distances == sorted(distances)
    assert distances[0] < 0.05 * distances[-1]
    alone = sample(model, [request()], Sampler(6, guidance=1))[0]
    whole = sample(model, [request(x_NP=source, strength=1.0)], Sampler(6, guidance=1))[0]
    assert torch.equal(alone, whole)  # at strength 1 nothing of the source is left
    assert times(6, 4096, 0.4)[0] == pytest.approx(0.4)


def test_a_strength_without_a_source_is_refused() -> None:
    for bad in ({"strength": 0.5}, {"strength": 0.0}, {"strength": 1.5}, {"given_N": torch.ones(12, dtype=torch.bool)}):
        with pytest.raises(ValueError, match="strength"):
            request(**bad)


def test_guidance_acts_inside_its_interval_alone(model: Transformer) -> None:
    plain, whole = (sample(model, [request()], Sampler(6, guidance=g))[0] for g in (1, 5))
    late = sample(model, [request()], Sampler(6, guidance=5, interval=(0.0, 0.4)))[0]
    nowhere = sample(model, [request()], Sampler(6, guidance=5, interval=(0.001, 0.002)))[0]
    assert torch.equal(nowhere, plain)
    assert 1e-4 < (late - plain).abs().mean() < (whole - plain).abs().mean()
    for bad in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match="between two times"):
            Sampler(interval=bad)


def test_rescaling_brings_back_the_deviation_that_guidance_inflates(monkeypatch) -> None:
    model = Transformer(CONFIG)
    conditional = torch.randn(12, 16, generator=torch.Generator().manual_seed(2))
    unconditional = torch.randn(12, 16, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(
        model, "forward", lambda x, t, given, batch: conditional if bool(batch.text_kept_S.all()) else unconditional
    )
    noise = torch.randn(12, 16, generator=flow.keyed("sample", 1))

    def deviation(rescale: float) -> float:
        latent = sample(model, [request()], Sampler(1, guidance=6, rescale=rescale))[0]
        return float((noise - to_tokens(latent, 2)[0]).std())  # one step: x = noise - v

    assert deviation(1) == pytest.approx(float(conditional.std()), rel=1e-4)
    assert deviation(0) > deviation(0.5) > deviation(1)


OWN = {"guidance": 2.0, "steps": 3, "width": 48, "height": 32, "frames": 9, "fps": 4.0}


class Words:
    """A text encoder that knows no words."""

    def __init__(self, *_: Any) -> None: ...

    def tokens(self, texts: Any) -> list[np.ndarray]:
        return [np.full((2, 384), len(text) / 10, np.float32) for text in texts]


@pytest.fixture
def model_dir(world: TrainingWorld) -> Path:
    """A trained model that leaves its size's sampling in everything."""
    config = world.flow_config(steps=1, noise_shift=0.8, sampling_shape=OWN)
    assert run(config)[0] == 0
    for file in (world.root / "codec").iterdir():
        shutil.copy(file, config.run_dir)
    return Path(config.run_dir)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Sampler]:
    """The samplers that were used."""
    samplers: list[Sampler] = []
    real = sampling.sample

    def noted(model: Any, requests: Any, sampler: Sampler) -> Any:
        samplers.append(sampler)
        return real(model, requests, sampler)

    monkeypatch.setattr(sampling, "sample", noted)
    monkeypatch.setattr(sampling, "TextEncoder", Words)
    return samplers


def test_training_writes_how_its_model_is_sampled(model_dir: Path) -> None:
    assert (
        read_sampling(model_dir)
        == SamplingConfig(noise_shift=0.8, deblock=True, **OWN)
        == load_transformer(model_dir).sampling
    )


def test_a_model_that_does_not_say_is_sampled_as_always_and_one_that_says_nonsense_is_named(model_dir: Path) -> None:
    path = model_dir / "transformer.json"
    described = json.loads(path.read_text())
    few = "steps should be greater than or equal to 1"
    for values, why in (({"steps": 0}, few), ({"stepz": 1}, "unknown key 'stepz'"), (7, "int")):
        path.write_text(json.dumps(described | {"sampling": values}))
        with pytest.raises(ConfigError, match=rf"transformer\.json: .*{why}"):
            read_sampling(model_dir)
    del described["sampling"]
    path.write_text(json.dumps(described))
    assert load_transformer(model_dir).sampling == read_sampling(model_dir) == SamplingConfig()


def test_a_video_is_made_the_models_own_way_unless_told_otherwise(
    model_dir: Path, used: list[Sampler], tmp_path: Path
) -> None:
    (own,) = generate(model_dir, "none", ["waves"], tmp_path / "own")
    assert {name: own[name] for name in ("width", "height", "frames", "fps")} == {
        name: OWN[name] for name in ("width", "height", "frames", "fps")
    }
    changed = {"steps": 2, "guidance": 1.0, "frames": 5, "size": (32, 32), "numbers": {"fps": 8.0}}
    (other,) = generate(model_dir, "none", ["waves"], tmp_path / "other", **changed)
    assert (other["width"], other["height"], other["frames"], other["fps"]) == (32, 32, 5, 8.0)
    assert [(s.steps, s.guidance, s.noise_shift) for s in used] == [(3, 2.0, 0.8), (2, 1.0, 0.8)]
    assert not np.allclose(times(3, 18, noise_shift=0.8), times(3, 18))


def test_no_caller_can_set_the_noise_shift() -> None:
    values = {"model_dir": "m", "text_encoder": "t", "prompts": ["p"], "out": "o"}
    with pytest.raises(ConfigError, match="unknown key 'noise_shift'"):
        build(GenerateConfig, values | {"noise_shift": 0.0})


def test_a_negative_prompt_is_refused_where_the_model_is_not_guided(
    model_dir: Path, used: list[Sampler], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="guidance, which is 1: off"):
        generate(model_dir, "none", ["waves"], tmp_path, negative_prompt="blue", guidance=1.0)
    assert generate(model_dir, "none", ["waves"], tmp_path, negative_prompt="blue")


def test_a_size_that_the_codec_cannot_make_is_refused_before_anything_is_trained(world: TrainingWorld) -> None:
    config = world.flow_config(sampling_shape={"width": 40})
    code, result = run(config)
    assert code == 1
    assert "see sampling_shape" in result["stopped"]
    assert "multiples of 16" in result["stopped"]
    assert not (Path(config.run_dir) / "checkpoints").exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"fps": 0.5}, "fps should be greater than or equal to 1"),
        ({"frames": 0}, "frames should be greater than or equal to 1"),
        ({"guidance": float("nan")}, "guidance should be a finite number"),
        ({"noise_shift": 0.5}, "set noise_shift itself"),
        ({"speed": 1}, "unknown key 'speed'"),
    ],
)
def test_a_sampling_that_cannot_be_is_refused(world: TrainingWorld, change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        world.flow_config(sampling_shape=change)


def test_the_smallest_size_is_guided_less_and_has_its_tiles_evened_out() -> None:
    values = {"run_dir": "r", "manifest": "m", "snapshot_root": "0", "database_url": "d", "frames_dir": "f"}
    assert TrainConfig(task="codec", **values).sampling == SamplingConfig(guidance=1.5, deblock=True)
    assert TrainConfig(task="codec", size="S", **values).sampling == SamplingConfig(
        width=256, height=256, frames=33, fps=12
    )
