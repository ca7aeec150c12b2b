"""The feature networks on real footage: each says what the published network says."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from training.data.video import read_frames
from training.networks import NetworkError, i3d, imagenet, sscd

VENDOR = Path(__file__).parents[3] / ".vendor"
NETWORKS = VENDOR / "networks"
pytestmark = pytest.mark.skipif(not (NETWORKS / i3d.FILE).exists(), reason="run `make setup`")


def footage(name: str, start: int, end: int) -> torch.Tensor:
    return torch.from_numpy(read_frames(VENDOR / "footage" / name, start, end, 320)[0])


def test_i3d_gives_the_logits_of_the_published_network() -> None:
    logits = i3d.features(i3d.I3d.load(NETWORKS), footage("snow.mp4", 300, 317))
    best, classes = logits.topk(3)
    assert int(classes[0]) == 308, "one of Kinetics' four kinds of skiing"
    assert best.tolist() == pytest.approx([23.4173, 23.1112, 21.9067], abs=2e-3)  # as the published code says


def test_i3d_asks_for_clips_that_are_long_enough() -> None:
    with pytest.raises(ValueError, match="9 frames of 224 pixels"):
        i3d.features(i3d.I3d(), torch.zeros(8, 16, 16, 3, dtype=torch.uint8))


def test_imagenets_classes_are_those_of_the_pictures() -> None:
    network = imagenet.EfficientNetLite0.load(NETWORKS)
    for name, start, label in (("volcano.mp4", 0, 980), ("snow.mp4", 300, 795), ("bikes.mp4", 100, 829)):
        chances = network.classify(imagenet.features(network, footage(name, start, start + 2))).mean(0)
        assert int(chances.argmax()) == label, "volcano, ski, streetcar"


def test_a_copy_that_was_cropped_blurred_and_brightened_is_near_and_another_shot_is_not() -> None:
    describe = sscd.Sscd.load(NETWORKS)
    frame, other = footage("bikes.mp4", 0, 1), footage("bikes.mp4", 100, 101)
    cropped = frame[:, 10:-10, 20:-20].permute(0, 3, 1, 2).float()
    changed = (F.avg_pool2d(cropped, 3, 1, 1) * 1.1).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    own, copy, another = (describe(x)[0] for x in (frame, changed, other))
    assert float(own @ copy) > 0.7
    assert float(own @ another) < 0.2


class Call:
    """A pickle that would run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return subprocess.check_call, (["touch", "/nowhere/at/all"],)


def test_a_file_of_weights_that_would_run_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / i3d.FILE).write_bytes(pickle.dumps({"params": Call(), "batch_stats": {}}))
    with pytest.raises(NetworkError, match="not allowed in a file of weights"):
        i3d.I3d.load(tmp_path)


@pytest.mark.parametrize("network", [i3d.I3d, imagenet.EfficientNetLite0, sscd.Sscd])
def test_a_missing_file_is_named_and_another_one_refused(network, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"is not in the folder .*; `make setup` fetches it"):
        network.load(tmp_path)
    for module in (i3d, imagenet, sscd):
        (tmp_path / module.FILE).write_bytes(b"not weights at all")
    with pytest.raises(NetworkError, match="does not hold"):
        network.load(tmp_path)
