"""LPIPS on real footage: what the published network says, and what it is as a loss."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.data.video import read_frames
from training.networks import NetworkError
from training.networks.lpips import FILE, LEAST_SIDE, Lpips

VENDOR = Path(__file__).parents[3] / ".vendor"
NETWORKS = VENDOR / "networks"
pytestmark = pytest.mark.skipif(not (NETWORKS / FILE).exists(), reason="run `make setup`")


@pytest.fixture(scope="module")
def street() -> torch.Tensor:
    """Two frames of different shots, 640x272, [2, 3, H, W] in -1..1."""
    frames, _ = read_frames(VENDOR / "footage" / "bikes.mp4")
    return torch.from_numpy(frames[[0, 100]]).movedim(-1, 1) / 127.5 - 1


@pytest.fixture(scope="module")
def lpips() -> Lpips:
    return Lpips.load(NETWORKS)


def noisy(x: torch.Tensor, levels: float) -> torch.Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    return (x + noise * levels / 127.5).clamp(-1, 1)


def test_the_distance_is_that_of_the_published_network(lpips: Lpips, street: torch.Tensor) -> None:
    first, other = street[:1], street[1:]
    assert float(lpips(first, first)) == 0
    assert float(lpips(first, noisy(first, 20))) == pytest.approx(0.9239, abs=1e-3)  # as another implementation says
    assert float(lpips(first, other)) == pytest.approx(0.7523, abs=1e-3)
    assert float(lpips(first, other)) == pytest.approx(float(lpips(other, first)), rel=1e-5)


def test_the_distance_grows_with_every_more_noise(lpips: Lpips, street: torch.Tensor) -> None:
    small = torch.nn.functional.interpolate(street[:1], size=(64, 64), mode="area")
    distances = [float(lpips(small, noisy(small, levels))) for levels in (0, 4, 10, 25, 60)]
    assert distances == sorted(distances)
    assert distances[0] == 0 < distances[1]


def test_as_a_loss_it_pulls_a_picture_to_its_target_and_leaves_its_own_weights(
    lpips: Lpips, street: torch.Tensor
) -> None:
    target = torch.nn.functional.interpolate(street[:1], size=(64, 64), mode="area")
    x = torch.nn.Parameter(noisy(target, 30))
    before, optimizer = float(lpips(x.detach(), target)), torch.optim.Adam([x], lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        lpips(x, target).sum().backward()
        assert bool(x.grad.isfinite().all())
        optimizer.step()
    assert float(lpips(x.detach(), target)) < 0.6 * before
    assert not list(lpips.parameters())
    assert not lpips.state_dict()
    black = torch.nn.Parameter(torch.full((1, 3, 64, 64), -1.0))
    lpips(black, black.detach()).sum().backward()
    assert bool(black.grad.isfinite().all()), "equal pictures have a gradient"


def test_what_is_missing_or_something_else_is_named(lpips: Lpips, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=rf"{FILE} is not in the folder .* `make setup`"):
        Lpips.load(tmp_path)
    torch.save({"trunk": [1]}, tmp_path / FILE)
    with pytest.raises(NetworkError, match="does not hold LPIPS"):
        Lpips.load(tmp_path)
    (tmp_path / FILE).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(NetworkError, match="does not hold LPIPS"):
        Lpips.load(tmp_path)
    with pytest.raises(ValueError, match="32 pixels or more"):
        lpips(torch.zeros(1, 3, LEAST_SIDE - 1, 64), torch.zeros(1, 3, LEAST_SIDE - 1, 64))
