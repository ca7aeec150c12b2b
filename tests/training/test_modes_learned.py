"""A tiny model trained for seconds on a world of two rules: a clip is one value throughout, and a number tells which.

What the mask gives must then decide the rest, and the number must decide where nothing is given.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from training.data.packing import Sample, collate
from training.model import flow
from training.model.conditioning import draw_given, give_frames, numbers
from training.model.config import MODES, TransformerConfig
from training.model.transformer import Transformer, positions, to_tokens
from training.sampling.sampler import Request, Sampler, sample

GRID, VALUES, TEXT = (4, 1, 1), 8, torch.zeros(1, 8)
SLOW, FAST = 4.0, 400.0  # the number `motion` of a clip of value -1 and of +1


def clip(value: float, index: int, **numbers_known: float) -> Sample:
    x_NP = torch.full((4, VALUES), value)
    return Sample(f"{index}", x_NP, GRID, positions(GRID, 0.5), TEXT, numbers(numbers_known))


@pytest.fixture(scope="module")
def model() -> Transformer:
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(width=32, layers=1, heads=2, patch=1, channels=VALUES, text_width=8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for step in range(100):
        generator = flow.keyed("modes", step)
        values = (torch.rand(32, generator=generator) * 2 - 1).tolist()
        named = (torch.rand(32, generator=generator) < 0.5).tolist()
        batch = collate(
            [
                clip(round(v) if t else v, i, **({"motion": FAST if v > 0 else SLOW} if t and round(v) else {}))
                for i, (v, t) in enumerate(zip(values, named, strict=True))
            ]
        )
        given_N = torch.cat([draw_given(GRID, dict.fromkeys(MODES, 1.0), generator) for _ in values])
        t_F = torch.sigmoid(torch.randn(32, generator=generator)).repeat_interleave(4)
        e_NP = torch.randn(batch.x_NP.shape, generator=generator)
        t_N = t_F[batch.frame_N].masked_fill(given_N, 0)
        v_NP = model(flow.interpolate(batch.x_NP, e_NP, t_N), t_F, given_N, batch)
        loss = flow.loss_per_sample(v_NP, flow.velocity(batch.x_NP, e_NP), given_N, batch.segments).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval().requires_grad_(False)


def made(model: Transformer, numbers_known: Mapping[str, float], **given: object) -> torch.Tensor:
    """Tokens [8 seeds, 4 frames, P]."""
    requests = [Request(TEXT, GRID, seed, 0.5, numbers(numbers_known), **given) for seed in range(8)]
    return torch.stack([to_tokens(z, 1)[0] for z in sample(model, requests, Sampler(12, guidance=1))])


def test_a_number_decides_what_is_made(model: Transformer) -> None:
    slow, fast = (float(made(model, {"motion": m}).mean()) for m in (SLOW, FAST))
    assert slow < -0.4
    assert fast > 0.4


@pytest.mark.parametrize(
    "frames", [(0,), (3,), (0, 3), (0, 1), (2, 3), (1,)], ids=["first", "last", "ends", "prefix", "suffix", "keyframe"]
)
def test_what_is_given_comes_back_and_decides_the_rest(model: Transformer, frames: tuple[int, ...]) -> None:
    given_N = give_frames(GRID, frames).flatten()
    rest = {}
    for value in (-0.8, 0.8):
        tokens = made(model, {}, given_N=given_N, x_NP=torch.full((4, VALUES), value))
        assert torch.equal(tokens[:, given_N], torch.full_like(tokens[:, given_N], value))
        rest[value] = float(tokens[:, ~given_N].mean())
    assert rest[0.8] - rest[-0.8] > 0.8, rest
