"""What the covariance decides of a velocity is the best linear guess, and a transformer that corrects it starts there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.test_transformer import CONFIG, A, velocity
from training.model import flow
from training.model.flow import keyed
from training.model.gaussian import GaussianVelocity
from training.model.transformer import Transformer, load_transformer, save_transformer

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
