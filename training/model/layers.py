"""The layers written out here: attention over packed segments, and RMSNorm.

Every token sequence is packed: segments lie end to end and attend only within themselves.

`attend` takes queries and keys with their own segment lengths (equal lists for self-attention, the captions' lengths for
cross-attention) and picks a backend at call time. All backends compute the same function; tests hold them together,
forward and backward.

  dense   all segments alike: one batched call (flash or cuDNN on CUDA, flash on CPU)
  loop    runs of like segments, one batched call each; exact, differentiable, the CPU's way and the reference
  mask    a block-diagonal mask over everything; quadratic in the pack, for tests
  varlen  CUDA only: torch.nn.attention.varlen (there is no CPU kernel)
  flex    FlexAttention with a mask by segment, compiled on CUDA; on the CPU it has a forward pass alone

A segment without keys yields zeros. `attend(backend=...)` names a backend for one call, `using` for all within a block.

Shape suffixes: N query tokens, M key tokens, H heads, K head width, S segments.
References: Dao, "FlashAttention-2", arXiv 2307.08691; NiT, arXiv 2506.03131 (packing native resolutions);
Zhang & Sennrich, "Root Mean Square Layer Normalization", arXiv 1910.07467.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS = 1e-6


class RmsNorm(nn.Module):
    """Over the last dimension, with a learned scale: [..., K] to [..., K].

    On a CPU, PyTorch puts RMSNorm together from a dozen operations, which cost more than the matrix products around them
    at small widths; `_RmsNorm` takes half the time. On a GPU, and where the model is compiled, the library's own is used.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cpu and x.dtype == self.weight.dtype and not torch.compiler.is_compiling():
            normed = _RmsNorm.apply(x, self.weight)
            assert isinstance(normed, Tensor)
            return normed
        return nn.functional.rms_norm(x.float(), self.weight.shape, self.weight, EPS).to(x.dtype)


class _RmsNorm(torch.autograd.Function):
    """y = h w with h = x r, r = 1 / sqrt(mean(x^2) + eps); dx = r (g w - h mean(g w h)), dw = sum(g h)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_K: Tensor) -> Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        r = square.div_(x.shape[-1]).add_(EPS).rsqrt_()
        h = x * r
        ctx.save_for_backward(h, r, weight_K)
        return h * weight_K

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (g,) = gradients
        h, r, weight_K = ctx.saved_tensors
        gh = g * h
        mean = (gh @ weight_K).div_(-h.shape[-1])[..., None]
        return torch.addcmul(g * weight_K, h, mean).mul_(r), gh.flatten(0, -2).sum(0)


@dataclass(frozen=True)
class Segments:
    """Lengths of the sequences that lie end to end in one pack."""

    lengths: tuple[int, ...]

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Start of each segment, and the total at the end."""
        return (0, *accumulate(self.lengths))

    @property
    def total(self) -> int:
        return self.offsets[-1]

    @property
    def uniform(self) -> bool:
        return len(set(self.lengths)) <= 1

    def cu_seqlens(self, device: torch.device) -> Tensor:
        """`offsets` as int32 [S + 1], as the CUDA kernels want it; copied once, not in every layer."""
        if device not in self._copied:
            self._copied[device] = torch.tensor(self.offsets, dtype=torch.int32, device=device)
        return self._copied[device]

    @cached_property
    def _copied(self) -> dict[torch.device, Tensor]:
        return {}

    def index(self, device: torch.device | None = None) -> Tensor:
        """The segment of each token, int64 [N]."""
        lengths = torch.tensor(self.lengths, device=device)
        segments = torch.arange(len(self.lengths), device=device)
        return torch.repeat_interleave(
            segments, lengths, output_size=self.total
        )  # with it, a GPU need not be waited for


@torch.compiler.disable  # a pack's lengths are plain numbers: compiled, each pack would be compiled anew
def attend(
    q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments, backend: str = "auto"
) -> Tensor:
    """Softmax attention within segments: segment s of the queries sees segment s of the keys. Returns [N, H, K].

    Raises ValueError when the segment lists do not fit the tensors or each other.
    """
    if len(queries.lengths) != len(keys.lengths) or queries.total != len(q_NHK) or keys.total != len(k_MHK):
        raise ValueError(
            f"segments do not fit: {len(queries.lengths)} and {len(keys.lengths)} segments over "
            f"{queries.total} of {len(q_NHK)} queries and {keys.total} of {len(k_MHK)} keys"
        )
    if backend == "auto":
        backend = _named[-1] if _named else _choose(q_NHK, queries, keys)
    if backend not in BACKENDS:
        raise ValueError(f"no attention backend {backend!r}; there are {', '.join(BACKENDS)}")
    return BACKENDS[backend](q_NHK, k_MHK, v_MHK, queries, keys)


_named: list[str] = []  # by `using`, the innermost last


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Every call that leaves the choice takes this backend inside the block: to compare and to measure them."""
    _named.append(backend)
    try:
        yield
    finally:
        _named.pop()


def _choose(q_NHK: Tensor, queries: Segments, keys: Segments) -> str:
    if queries.uniform and keys.uniform:
        return "dense"
    half = q_NHK.dtype in (torch.float16, torch.bfloat16)
    return "varlen" if q_NHK.is_cuda and half else "loop"


def dense(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments) -> Tensor:
    if not (queries.uniform and keys.uniform):
        raise ValueError("dense attention needs segments of one length")
    return _batched(q_NHK, k_MHK, v_MHK, len(queries.lengths))


def loop(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments) -> Tensor:
    outputs = []
    for first, last in _runs(queries, keys):
        q = slice(queries.offsets[first], queries.offsets[last])
        k = slice(keys.offsets[first], keys.offsets[last])
        outputs.append(_batched(q_NHK[q], k_MHK[k], v_MHK[k], last - first))
    return torch.cat(outputs)


def mask(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments) -> Tensor:
    device = q_NHK.device
    same_NM = queries.index(device)[:, None] == keys.index(device)[None, :]
    q_1HNK, k_1HMK, v_1HMK = (x.transpose(0, 1)[None] for x in (q_NHK, k_MHK, v_MHK))
    return F.scaled_dot_product_attention(q_1HNK, k_1HMK, v_1HMK, attn_mask=same_NM)[0].transpose(0, 1)


def varlen(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # Seven positional arguments only: what comes after them changed name between torch 2.10 and 2.13.
    out = varlen_attn(
        q_NHK,
        k_MHK,
        v_MHK,
        queries.cu_seqlens(q_NHK.device),
        keys.cu_seqlens(q_NHK.device),
        max(queries.lengths),
        max(keys.lengths),
    )
    assert isinstance(out, Tensor)
    return out


def flex(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, queries: Segments, keys: Segments) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask

    device = q_NHK.device
    query_N, key_M = queries.index(device), keys.index(device)

    def same_segment(_b: Tensor, _h: Tensor, n: Tensor, m: Tensor) -> Tensor:
        return query_N[n] == key_M[m]

    blocks = create_block_mask(same_segment, None, None, len(q_NHK), len(k_MHK), device=device)
    q_1HNK, k_1HMK, v_1HMK = (x.transpose(0, 1)[None] for x in (q_NHK, k_MHK, v_MHK))
    out_NHK = _flex(q_NHK.is_cuda)(q_1HNK, k_1HMK, v_1HMK, block_mask=blocks)[0].transpose(0, 1)
    # A row with no key has no softmax: compiled with dynamic shapes it came out as NaN (pytorch issue 186775).
    keys_S = torch.tensor(keys.lengths, device=device)
    return out_NHK.masked_fill((keys_S == 0)[query_N][:, None, None], 0)


@cache
def _flex(compiled: bool) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True) if compiled else flex_attention


BACKENDS = {"dense": dense, "loop": loop, "mask": mask, "varlen": varlen, "flex": flex}


def _batched(q_NHK: Tensor, k_MHK: Tensor, v_MHK: Tensor, batch: int) -> Tensor:
    """Attention over `batch` segments of one length each, as one call on [B, H, n, K]."""
    q, k, v = (x.unflatten(0, (batch, -1)).transpose(1, 2) for x in (q_NHK, k_MHK, v_MHK))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(0, 1)


def _runs(queries: Segments, keys: Segments) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of each run of neighbouring segments with equal lengths on both sides."""
    pairs = list(zip(queries.lengths, keys.lengths, strict=True))
    first = 0
    for i in range(1, len(pairs) + 1):
        if i == len(pairs) or pairs[i] != pairs[first]:
            yield first, i
            first = i
