"""The transformer: packing changes nothing, every condition counts, positions are physical."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from training.data.packing import Sample, collate
from training.model.conditioning import NUMERIC, numbers
from training.model.config import LADDER, TransformerConfig
from training.model.transformer import (
    Context,
    Transformer,
    from_tokens,
    load_transformer,
    positions,
    rotate,
    rotations,
    save_transformer,
    to_tokens,
)


def conditions(fps: float, motion: float = float("nan"), **more: float) -> tuple[float, ...]:
    return numbers({"fps": fps, "motion": motion, **more})


CONFIG = TransformerConfig(width=32, layers=2, heads=2, channels=4, text_width=12)


@pytest.fixture(scope="module")
def model() -> Transformer:
    """Random everywhere, so that no branch is still zero."""
    torch.manual_seed(0)
    model = Transformer(CONFIG).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape) * 0.2)
    return model


def sample(name: str, grid: tuple[int, int, int], words: int) -> Sample:
    generator = torch.Generator().manual_seed(len(name) + words)
    tokens = grid[0] * grid[1] * grid[2]
    x = torch.randn(tokens, CONFIG.token_values, generator=generator)
    return Sample(
        name, x, grid, positions(grid, 0.5), torch.randn(words, 12, generator=generator), conditions(8.0, 30.0)
    )


A, B = sample("a", (3, 2, 2), 4), sample("bb", (2, 3, 2), 7)


def velocity(model: Transformer, samples: list[Sample], t: float = 0.4, given: slice = slice(0, 0), **changes):
    batch = replace(collate(samples), **changes)
    mask = torch.zeros(len(batch.x_NP), dtype=torch.bool)
    mask[given] = True
    return model(batch.x_NP, torch.full((len(batch.segment_F),), t), mask, batch)


def test_an_untrained_model_predicts_no_velocity() -> None:
    assert velocity(Transformer(CONFIG), [A]).abs().max() == 0


def test_a_model_predicts_the_velocity_or_the_clip_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="'velocity', 'correction' or 'clip'"):
        Transformer(TransformerConfig(32, 1, 2, predicts="noise"))


def test_a_sample_gets_the_same_velocity_alone_and_packed(model: Transformer) -> None:
    both = velocity(model, [A, B])
    torch.testing.assert_close(both[: len(A.x_NP)], velocity(model, [A]), rtol=0, atol=2e-5)
    torch.testing.assert_close(both[len(A.x_NP) :], velocity(model, [B]), rtol=0, atol=2e-5)


def test_time_caption_numbers_and_given_tokens_all_count(model: Transformer) -> None:
    base = velocity(model, [A])
    others = {
        "time": velocity(model, [A], t=0.5),
        "given": velocity(model, [A], given=slice(0, 4)),
        "caption": velocity(model, [replace(A, text_MT=B.text_MT)]),
        "no caption": velocity(model, [A], text_kept_S=torch.tensor([False])),
        "fps": velocity(model, [replace(A, numeric=conditions(24.0, 30.0))]),
        "motion": velocity(model, [replace(A, numeric=conditions(8.0, 300.0))]),
        "unknown motion": velocity(model, [replace(A, numeric=conditions(8.0))]),
        **{
            name: velocity(model, [replace(A, numeric=conditions(8.0, 30.0, **{name: 0.3}))])
            for name in tuple(NUMERIC)[2:]
        },
        "longer frames": velocity(model, [replace(A, position_N3=positions(A.grid, 1.0))]),
    }
    assert [name for name, v in others.items() if (v - base).abs().max() < 1e-4 or not v.isfinite().all()] == []


@pytest.mark.parametrize("name", ["pan", "tilt", "zoom"])
def test_left_is_not_right_nor_is_it_unknown(model: Transformer, name: str) -> None:
    left, right, still, unknown = (
        velocity(model, [replace(A, numeric=numbers(values))])
        for values in ({name: -0.2}, {name: 0.2}, {name: 0.0}, {})
    )
    for a, b in ((left, right), (left, still), (right, still), (still, unknown)):
        assert (a - b).abs().max() > 1e-4


def test_weights_from_before_the_later_numbers_load_as_the_same_function(model: Transformer, tmp_path) -> None:
    early = model.state_dict()
    early["null_number_Q16"] = early["null_number_Q16"][:2]
    early["embed_number.weight"] = early["embed_number.weight"][:, :32]
    save_transformer(early, CONFIG, tmp_path)
    loaded = load_transformer(tmp_path)
    assert torch.equal(loaded.embed_number.weight[:, :32], early["embed_number.weight"])
    pan, unknown = replace(A, numeric=conditions(8.0, 30.0, pan=0.2)), replace(A, numeric=conditions(8.0, 30.0))
    assert torch.equal(velocity(loaded, [pan]), velocity(loaded, [unknown]))


def test_adaln_zero_starts_every_block_as_the_identity_and_learns_everywhere() -> None:
    model = Transformer(replace(CONFIG, adaln="zero", cross_attention=False))
    x_ND, batch = torch.randn(len(A.x_NP), CONFIG.width), collate([A])
    cond_RD, row_N = torch.randn(2 * len(batch.segment_F), CONFIG.width), 2 * batch.frame_N
    rotation_NK = rotations(batch.position_N3, 16, 256.0)
    out = model.blocks[0](x_ND, Context(cond_RD, None, row_N, rotation_NK, None, batch.segments, batch.text_segments))
    assert torch.equal(out, x_ND)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    velocity(model, [A, replace(B, numeric=numbers({}))], text_kept_S=torch.tensor([True, False])).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


@pytest.mark.parametrize("adaln", ["single", "zero"])
@pytest.mark.parametrize("size", LADDER)
def test_every_size_has_the_shapes_it_should(size: str, adaln: str) -> None:
    shape = replace(LADDER[size].transformer, adaln=adaln, layers=2)  # all layers are alike
    with torch.device("meta"):
        model = Transformer(shape)
    x_NP = torch.zeros(12 + 18, shape.token_values)
    parts = [
        Sample(f"{n}", x_NP[:n], (n // 6, 3, 2), positions((n // 6, 3, 2), 0.5), torch.zeros(n, 384), numbers({}))
        for n in (12, 18)
    ]
    batch = collate(parts).to("meta")
    v_NP = model(batch.x_NP, torch.zeros(5, device="meta"), torch.zeros(30, dtype=torch.bool, device="meta"), batch)
    assert v_NP.shape == x_NP.shape


def test_each_latent_frame_has_its_own_time(model: Transformer) -> None:
    batch = collate([A])
    free = torch.zeros(len(batch.x_NP), dtype=torch.bool)
    same = model(batch.x_NP, torch.tensor([0.4, 0.4, 0.4]), free, batch)
    later = model(batch.x_NP, torch.tensor([0.4, 0.4, 0.9]), free, batch)
    change = (same - later).abs().amax(1).reshape(3, 4).amax(1)
    assert change[2] > change[0]
    assert change[2] > change[1]


def test_every_parameter_learns() -> None:
    model = Transformer(CONFIG)
    for block in model.blocks:
        torch.nn.init.normal_(block.cross.out.weight, std=0.1)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    hidden = replace(B, numeric=numbers({}))
    velocity(model, [A, hidden], text_kept_S=torch.tensor([True, False])).square().sum().backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    # keys' biases shift every score of a query alike; the softmax does not see them
    assert dead == []


def test_attention_sees_relative_time_and_place_alone() -> None:
    q, k = torch.randn(2, 1, 1, 16, generator=torch.Generator().manual_seed(0))
    place, other = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[4.0, 1.0, -2.0]])
    shift = torch.tensor([[5.0, -3.0, 7.0]])

    def score(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (rotate(q, rotations(a, 16, 256.0)) * rotate(k, rotations(b, 16, 256.0))).sum()

    torch.testing.assert_close(score(place, other), score(place + shift, other + shift))
    for axis in range(3):
        moved = other.clone()
        moved[:, axis] += 1
        assert (score(place, other) - score(place, moved)).abs() > 1e-3


def test_positions_are_physical() -> None:
    small, large = positions((2, 4, 4), 0.5), positions((2, 8, 8), 0.5)
    assert small[:16].mean(0).tolist() == [0, 0, 0]
    # the corner of the picture is at the same place at twice the pixels
    assert (small[0, 1] - 32 / 4 / 2).item() == pytest.approx((large[0, 1] - 32 / 8 / 2).item())
    assert positions((2, 4, 4), 0.25)[-1, 0] * 2 == small[-1, 0]


def test_tokens_come_back_as_the_latent() -> None:
    z = torch.randn(4, 3, 4, 6)
    tokens, grid = to_tokens(z, 2)
    assert grid == (3, 2, 3)
    assert torch.equal(from_tokens(tokens, grid, 2), z)
    assert torch.equal(tokens[0], z[:, 0, :2, :2].flatten())
    with pytest.raises(ValueError, match="patches of 2"):
        to_tokens(torch.randn(4, 3, 3, 6), 2)


def test_a_saved_transformer_loads_the_same(model: Transformer, tmp_path) -> None:
    save_transformer(model.state_dict(), CONFIG, tmp_path)
    assert torch.equal(velocity(load_transformer(tmp_path), [A]), velocity(model, [A]))
