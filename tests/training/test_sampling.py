"""Sampling: the same seed gives the same latent in any company, guidance and given tokens act, the line is followed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training import flow
from training.config import TransformerConfig
from training.sampling import Request, Sampler, sample, times
from training.transformer import Transformer, to_tokens

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
    return replace(Request(text, GRID, seed, 0.5, (8.0, float("nan"))), **changes)


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


def test_a_sampler_that_cannot_step_is_refused() -> None:
    for bad in ({"steps": 0}, {"method": "magic"}):
        with pytest.raises(ValueError, match="euler or heun"):
            Sampler(**bad)
