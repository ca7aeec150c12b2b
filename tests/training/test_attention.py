"""The attention backends are one function, forward and backward."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model.layers import Segments, attend, using


def inputs(queries: list[int], keys: list[int]) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    sizes = (sum(queries), sum(keys), sum(keys))
    return tuple(torch.randn(n, 2, 8, generator=generator, requires_grad=True) for n in sizes)


def results(backend: str, queries: list[int], keys: list[int]) -> list[torch.Tensor]:
    """The output and the gradients of q, k and v."""
    q, k, v = inputs(queries, keys)
    out = attend(q, k, v, Segments(tuple(queries)), Segments(tuple(keys)), backend)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    return [out.detach(), *torch.autograd.grad((out * weight).sum(), (q, k, v))]


pairs = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=6)


@settings(deadline=None, max_examples=30)
@given(pairs)
def test_loop_equals_mask_forward_and_backward(lengths: list[tuple[int, int]]) -> None:
    queries, keys = [q for q, _ in lengths], [k for _, k in lengths]
    for a, b in zip(results("loop", queries, keys), results("mask", queries, keys), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["loop", "mask", "auto"])
def test_dense_equals_the_others_where_all_segments_are_alike(backend: str) -> None:
    for a, b in zip(results("dense", [6, 6, 6], [4, 4, 4]), results(backend, [6, 6, 6], [4, 4, 4]), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_a_segment_does_not_see_its_neighbour() -> None:
    q, k, v = inputs([3, 4], [3, 4])
    segments = Segments((3, 4))
    before = attend(q, k, v, segments, segments)
    changed = v.detach().clone()
    changed[3:] += 5
    after = attend(q, k, changed, segments, segments)
    assert torch.equal(before[:3], after[:3])
    assert not torch.equal(before[3:], after[3:])


def test_segments_that_do_not_fit_are_refused() -> None:
    q, k, v = inputs([3, 4], [3, 4])
    with pytest.raises(ValueError, match="segments do not fit"):
        attend(q, k, v, Segments((3, 3)), Segments((3, 4)))
    with pytest.raises(ValueError, match="one length"):
        attend(q, k, v, Segments((3, 4)), Segments((3, 4)), "dense")


@pytest.mark.parametrize(
    ("queries", "keys"), [([3, 70, 1], [5, 2, 9]), ([1], [1]), ([130, 1, 129], [130, 1, 129]), ([4, 4], [6, 6])]
)
def test_flex_equals_mask_forward(queries: list[int], keys: list[int]) -> None:
    """On the CPU FlexAttention refuses even to begin where a gradient could be asked for."""
    q, k, v = (x.detach() for x in inputs(queries, keys))
    segments = Segments(tuple(queries)), Segments(tuple(keys))
    flex, mask = (attend(q, k, v, *segments, backend) for backend in ("flex", "mask"))
    torch.testing.assert_close(flex, mask, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", ["loop", "mask", "flex"])
def test_a_segment_without_keys_yields_zeros_and_leaves_the_others(backend: str) -> None:
    q, k, v = (x.detach() for x in inputs([3, 4, 2], [5, 0, 2]))
    out = attend(q, k, v, Segments((3, 4, 2)), Segments((5, 0, 2)), backend)
    assert torch.equal(out[3:7], torch.zeros(4, 2, 8))
    alone = attend(q[[0, 1, 2, 7, 8]], k, v, Segments((3, 2)), Segments((5, 2)), "mask")
    torch.testing.assert_close(out[[0, 1, 2, 7, 8]], alone, rtol=0, atol=1e-5)


def test_a_backend_can_be_named_for_a_block_of_calls() -> None:
    q, k, v = inputs([3, 4], [3, 4])
    segments = Segments((3, 4))
    with using("dense"), pytest.raises(ValueError, match="one length"):
        attend(q, k, v, segments, segments)
    assert attend(q, k, v, segments, segments).shape == q.shape
    with pytest.raises(ValueError, match="no attention backend 'fast'; there are dense, loop"):
        attend(q, k, v, segments, segments, "fast")


needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a GPU: varlen has no CPU kernel, flex no CPU backward"
)


@needs_gpu
@pytest.mark.parametrize("backend", ["varlen", "flex"])
def test_the_gpu_backends_equal_loop_forward_and_backward(backend: str) -> None:
    def on_gpu(name: str) -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(n, 2, 64, generator=generator).cuda().bfloat16().requires_grad_() for n in (74, 16, 16))
        out = attend(q, k, v, Segments((3, 70, 1)), Segments((5, 2, 9)), name)
        return [out.detach(), *torch.autograd.grad(out.float().square().sum(), (q, k, v))]

    for a, b in zip(on_gpu(backend), on_gpu("loop"), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-2, atol=2e-2)
