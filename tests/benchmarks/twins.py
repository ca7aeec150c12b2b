"""How many violated twins are noticed of clips that no limit was chosen on, and how often a good clip raises an alarm.

Clips are rendered trials of seeds that the tests never draw, and single shots of the sample footage, whole and cropped, at 64
pixels and 8 frames a second. Footage is split as for `shots`: limits may be chosen on `train`, and `test` judges them.

python -m tests.benchmarks twins
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from tests.benchmarks.shots import FOOTAGE, PIECES
from training.data.video import read_frames
from training.evaluate.adherence import MOVING
from training.evaluate.rows import Row
from training.evaluate.twins import Good, noticed
from training.networks.imagenet import EfficientNetLite0
from training.simulate.supply import FPS, HELDOUT, pictures
from training.simulate.trial import random_trial

NETWORKS = Path(".vendor/networks")
FIRST = {"train": HELDOUT + 600_000, "test": HELDOUT + 650_000}  # seeds of the trials
FRAMES, LEAST, CELL, SIDE = 17, 12, 16, 64


def shots(part: str) -> Iterator[tuple[str, Good]]:
    """Each piece in parts of two seconds, whole and as its middle half."""
    for film, pieces in PIECES[part].items():
        frames, fps = read_frames(FOOTAGE / film, max_side=512)
        step = round(fps / FPS)
        for first, last in pieces:
            for start in range(first, last, FRAMES * step):
                window = torch.from_numpy(frames[start : min(last, start + FRAMES * step) : step])
                if len(window) < LEAST:
                    continue
                _, height, width, _ = window.shape
                middle = window[:, height // 4 : -(height // 4), width // 4 : -(width // 4)]
                for name, part_THWC in (("whole", window), ("middle", middle)):
                    yield f"{film} {start} {name}", Good(small(part_THWC), fps / step, CELL)


def small(frames_THWC: torch.Tensor) -> torch.Tensor:
    """`SIDE` pixels high and as wide as whole cells allow."""
    _, height, width, _ = frames_THWC.shape
    size = SIDE, max(1, round(SIDE * width / height / CELL)) * CELL
    x_TCHW = F.interpolate(frames_THWC.movedim(-1, 1).float(), size=size, mode="area")
    return x_TCHW.movedim(1, -1).round().to(torch.uint8)


def trials(part: str, count: int) -> Iterator[tuple[str, Good]]:
    for i in range(count):
        trial = random_trial(FIRST[part] + i, (MOVING[i % len(MOVING)],), (FRAMES - 1) / FPS)
        yield f"trial {i}", Good(pictures(trial, (SIDE, SIDE), FRAMES), FPS, CELL, trial)


def twins(count: int = 60, part: str = "test") -> dict[str, Any]:
    network = EfficientNetLite0.load(NETWORKS)
    found: dict[str, Any] = {}
    for kind, goods in (("trials", dict(trials(part, count))), ("footage", dict(shots(part)))):
        rows = noticed(goods, network).rows
        found[kind] = {"clips": len(goods)} | {_name(row): _figures(row) for row in rows}
    return {"part": part, **found}


def _name(row: Row) -> str:
    return f"{row['metric']} {row['slice']}"


def _figures(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("value", "ci_low", "ci_high", "n")}
