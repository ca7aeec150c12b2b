"""Rows of a scorecard on trials: what share of videos is right in each attribute, and how far falls are from gravity.

The same verdicts are given on three kinds of video: the model's (the row that counts), the rendered trial
(`reference=rendered`, which must be right) and its reconstruction by the codec (`reference=codec`, a model's ceiling).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from torch import Tensor

from training.evaluate import physics
from training.evaluate.attributes import adherence
from training.evaluate.objects import look
from training.evaluate.rows import Metric, Row
from training.simulate.trial import Trial

ATTRIBUTES = (
    *("colour", "count", "shape", "direction", "side", "camera", "light"),
    *("constancy", "bounce", "momentum", "permanence"),
)
METHOD = "trials, pixels alone, v1"
SHARES = {name: Metric(f"trial_{name}", "share", "higher", METHOD) for name in ATTRIBUTES}
GRAVITY = Metric("trial_gravity_residual", "diagonals", "lower", "root mean square from a fall at the world's g, v1")
LOST = 0.25  # diagonals: the residual of a fall without a body, so that a mean over all falls exists
METRICS = (*SHARES.values(), GRAVITY)


def trial_rows(part: str, videos: Sequence[Tensor], trials: Sequence[Trial], fps: float) -> list[Row]:
    """One row a metric over all the videos that ask for it."""
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for video, trial in zip(videos, trials, strict=True):
        for name, right in adherence(video, trial, fps).items():
            verdicts[name].append(right)
    residuals = [
        min(physics.gravity_residual(look(video), trial.colours[0], fps), LOST)
        for video, trial in zip(videos, trials, strict=True)
        if trial.kind == "fall"
    ]
    rows = [metric.share(part, verdicts[name]) for name, metric in SHARES.items()]
    return [*rows, GRAVITY.row(part, [value for value in residuals if math.isfinite(value)])]
