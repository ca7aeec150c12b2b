"""How far the videos of a model are from real ones as a whole: FVD, and the kernel distance over the same features.

FVD is the Fréchet distance between two normal distributions fitted to I3D's logits. It falls with the number of clips even
between real ones, so it says nothing without its floor: real clips against other real clips, as many. The kernel distance has
no such bias, so it is shown beside it. Intervals come from resampling the clips of both sides; resampled sets lie further apart
than the sets themselves, so the spread around the resamples' mean is laid around the value.

References: Unterthiner et al. (arXiv 1812.01717); Bińkowski et al., "Demystifying MMD GANs" (arXiv 1801.01401) for the kernel.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.evaluate.rows import Metric, Row
from training.model.flow import keyed

FVD = Metric("fvd", "1", "lower", "Frechet distance of I3D's logits (Kinetics-400), 224 px, v1")
KVD = Metric("kernel_video_distance", "1", "lower", "unbiased cubic MMD of I3D's logits (Kinetics-400), 224 px, v1")
DRAWS = 200
LEAST = 4  # clips on each side: with fewer, neither a distance nor its spread says anything

Distance = Callable[[Tensor, Tensor], float]


def frechet(a_ND: Tensor, b_MD: Tensor) -> float:
    """|mean difference|² + tr(A + B - 2 (A B)^½) of the two covariances A and B.

    The trace of the root is the sum of the singular values of what the two sets share, which is exact also where there are
    fewer clips than features; where there are more, triangles with the same covariances stand for them.
    """
    a, b = a_ND.double(), b_MD.double()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    share = [torch.linalg.qr(x, mode="r").R if len(x) > x.shape[1] else x for x in (a, b)]
    return float(apart + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(share[0] @ share[1].T).sum())


def kernel(a_ND: Tensor, b_MD: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)³; it may fall below 0."""
    a, b = a_ND.double(), b_MD.double()

    def similar(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        table = similar(x, x)
        return (table.sum() - table.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * similar(a, b).mean())


def distance_rows(part: str, a_ND: Tensor, b_MD: Tensor) -> list[Row]:
    """FVD and the kernel distance of two sets of features, with their intervals; n is the smaller side."""
    count = min(len(a_ND), len(b_MD))
    if count < LEAST:
        return [metric.missing(f"fewer than {LEAST} clips on a side", part) for metric in (FVD, KVD)]
    rows = []
    for metric, distance in ((FVD, frechet), (KVD, kernel)):
        value = distance(a_ND, b_MD)
        low, high = _interval(distance, a_ND, b_MD, value)
        rows.append(metric.exact(part, value, count) | {"ci_low": low, "ci_high": high})
    return rows


def _interval(distance: Distance, a_ND: Tensor, b_MD: Tensor, value: float) -> tuple[float, float]:
    draws = []
    for draw in range(DRAWS):
        generator = keyed("distance", draw)
        picks = [x[torch.randint(len(x), (len(x),), generator=generator)] for x in (a_ND, b_MD)]
        draws.append(distance(*picks))
    drawn = torch.tensor(draws, dtype=torch.float64)
    low, high = (drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)) - drawn.mean()).tolist()
    return value + low, value + high
