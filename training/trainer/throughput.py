"""How fast a run is: tokens a second, the share of the machine's arithmetic that is used, what is lost, and memory.

Operations are those of matrix products alone, two for each multiplication and addition, exact for packed segments:

    forward of a layer   8 N D^2                    queries, keys, values and output of self-attention
                       + 4 D sum(n_i^2)             its two products, within each segment and in both directions
                       + 4 N D^2 + 4 M D^2          cross-attention: queries and output, keys and values of the text
                       + 4 D sum(n_i m_i)           its two products
                       + 4 r N D^2                  MLP of ratio r
                       + 12 R D^2                   modulation, where each layer has its own (adaLN-Zero)
    once                 4 N P D + 96 N D           patches in and out, absolute places
                       + 2 M T D + 2 S T D          text tokens, captions
                       + 32 S Q D                   numeric conditions
                       + 2 R (128 D + D^2)          timesteps
                       + 12 R D^2                   modulation, where the layers share it (adaLN-single)
                       + 4 N P^2                    what the covariance decides, where it does; not backward
    a training step      3 times the forward pass   (the backward pass computes two products for each, but
                                                    one for the patches in, which need no gradient)

for N tokens in segments of n_i, M text tokens in segments of m_i, S samples, R rows of modulation (two for each latent
frame), D width, P values a token, T text width, Q numeric conditions. Norms, softmax, rotations, the optimiser and what
activation checkpointing repeats are not counted, so that utilisation is of useful work (model FLOP utilisation).

Counts elsewhere differ: PaLM's 12 L H Q T (arXiv 2204.02311, appendix B) is this one's attention, torchtitan's FLUX has
half of it, as if it were causal. Lightning's ThroughputMonitor is not used: its peak rate of an H200 is twice the real one
(it counts structured sparsity), and it does not tell a wait for data from work.
"""

from __future__ import annotations

import resource
import time
from functools import cache

import torch

from training.data.packing import Batch
from training.model.conditioning import NUMERIC
from training.model.config import TransformerConfig

# Dense peak rates in operations a second, tensor cores at bf16. NVIDIA's data sheets print the double, with sparsity.
PEAKS = {"H200": 989e12, "H100": 989e12, "GH200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


class Meter:
    """Call `begins` and `ends` around each step, `pause` once what follows it is done; `read` gives and resets.

    Measuring and saving between steps count neither as work nor as a wait for data.
    """

    def __init__(self, device: torch.device, budget: int) -> None:
        self.device, self.budget = device, budget
        self.tokens = self.flops = self.steps = self.offered = 0
        self.working = self.waiting = 0.0
        self.mark = time.perf_counter()

    def begins(self) -> None:
        """The step's data are here."""
        self.waiting += self._lap()

    def ends(self, tokens: int, flops: int) -> None:
        """The step is done, with its tokens and operations (0: not counted)."""
        self.working += self._lap()
        self.tokens, self.flops, self.steps = self.tokens + tokens, self.flops + flops, self.steps + 1
        self.offered += max(tokens, self.budget)

    def pause(self) -> None:
        """What was done since the step is not the step's."""
        self._lap()

    def read(self) -> dict[str, float]:
        """The figures since the last reading; empty before a step is done."""
        if not self.steps:
            return {}
        seconds = max(self.working + self.waiting, 1e-9)
        figures = {
            "train/tokens_per_s": self.tokens / seconds,
            "train/padding": 1 - self.tokens / self.offered,  # of the token budget, what no clip filled
            "train/waiting": self.waiting / seconds,  # for data
            "train/memory_gb": self._memory(),
        }
        if self.flops:
            figures["train/mfu"] = self.flops / seconds / peak_flops(self.device)
        self.tokens = self.flops = self.steps = self.offered = 0
        self.working = self.waiting = 0.0
        return figures

    def _lap(self) -> float:
        before, self.mark = self.mark, time.perf_counter()
        return self.mark - before

    def _memory(self) -> float:
        """The most that was held so far: on the GPU, or by this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def forward_flops(config: TransformerConfig, batch: Batch) -> int:
    """Operations of one forward pass over a pack. The formula stands above."""
    return _learned(config, batch) + _gaussian(config, batch)


def step_flops(config: TransformerConfig, batch: Batch) -> int:
    """Operations of one training step: forward, and twice as many backward through what is learned."""
    patches_in = 2 * batch.segments.total * config.token_values * config.width
    return 3 * _learned(config, batch) - patches_in + _gaussian(config, batch)


def _gaussian(config: TransformerConfig, batch: Batch) -> int:
    return 4 * batch.segments.total * config.token_values**2 if config.predicts == "correction" else 0


def _learned(config: TransformerConfig, batch: Batch) -> int:
    c, d = config, config.width
    n, m, s, r = batch.segments.total, batch.text_segments.total, len(batch.clip_ids), 2 * len(batch.segment_F)
    pairs = sum(length**2 for length in batch.segments.lengths)
    text_pairs = sum(a * b for a, b in zip(batch.segments.lengths, batch.text_segments.lengths, strict=True))
    layer = (8 + 4 * c.mlp_ratio) * n * d**2 + 4 * d * pairs
    if c.cross_attention:
        layer += 4 * (n + m) * d**2 + 4 * d * text_pairs
    modulation = 12 * r * d**2 * (c.layers if c.adaln == "zero" else 1)
    text = (m if c.cross_attention else 0) + s
    once = 4 * n * c.token_values * d + 96 * n * d + 2 * text * c.text_width * d
    once += 32 * s * len(NUMERIC) * d + 2 * r * (128 * d + d**2)
    return c.layers * layer + modulation + once


@cache
def peak_flops(device: torch.device) -> float:
    """What the device could do in a second: a GPU's dense bf16 peak, else what a large fp32 product reaches here, once.

    A GPU that is not in PEAKS is measured like a CPU, by a bf16 product.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if peaks := [peak for part, peak in PEAKS.items() if part in name.split()]:
            return peaks[0]
        return matmul_flops(8192, torch.bfloat16, device)
    return matmul_flops(1024, torch.float32, device)


def matmul_flops(size: int, dtype: torch.dtype, device: torch.device, repeats: int = 3) -> float:
    """Operations a second of a square product: the best of some runs."""
    generator = torch.Generator(device).manual_seed(0)  # the process's own random state stays as it is
    a, b = torch.randn(2, size, size, generator=generator, device=device, dtype=dtype).unbind()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
