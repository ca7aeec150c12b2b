"""Rows of a scorecard on trials: what share of videos is right in each attribute, and how far falls are from gravity.

The same verdicts are given on three kinds of video: the model's (the row that counts), the rendered trial
(`reference=rendered`, which must be right) and its reconstruction by the codec (`reference=codec`, a model's ceiling).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

from training.evaluate import physics
from training.evaluate.attributes import adherence
from training.evaluate.measured import Measured, key
from training.evaluate.objects import look
from training.evaluate.rows import Metric, Row
from training.simulate.supply import HELDOUT
from training.simulate.trial import Trial, random_trial

ATTRIBUTES = (
    *("colour", "count", "shape", "direction", "side", "camera", "light"),
    *("constancy", "bounce", "momentum", "permanence"),
)
METHOD = "trials, pixels alone, v1"
SHARES = {name: Metric(f"trial_{name}", "share", "higher", METHOD) for name in ATTRIBUTES}
GRAVITY = Metric("trial_gravity_residual", "diagonals", "lower", "root mean square from a fall at the world's g, v1")
LOST = 0.25  # diagonals: the residual of a fall without a body, so that a mean over all falls exists
METRICS = (*SHARES.values(), GRAVITY)


MOVING = ("glide", "fall", "occlude", "collide")


def heldout_trials(count: int, seconds: float) -> dict[str, Trial]:
    """The trials that a model is asked, by name: `count` pairs, which ask for a side, and `count` of what moves, which ask
    for a direction. All ask for colours. The first trials of a longer list are those of a shorter one.
    """
    kinds = [kind for i in range(count) for kind in ("pair", MOVING[i % len(MOVING)])]
    return {f"trial-{HELDOUT + i}": random_trial(HELDOUT + i, (kind,), seconds) for i, kind in enumerate(kinds)}


def judged(part: str, videos: Sequence[Tensor], trials: Mapping[str, Trial], fps: float) -> Measured:
    """Rows over all the videos, and each trial's verdicts (1 right, 0 wrong) by attribute."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for video, (name, trial) in zip(videos, trials.items(), strict=True):
        for attribute, right in adherence(video, trial, fps).items():
            values[key(SHARES[attribute].name, part)][name] = float(right)
    rows = [
        metric.share(part, [bool(right) for right in values.get(key(metric.name, part), {}).values()])
        for metric in SHARES.values()
    ]
    residuals = [
        min(physics.gravity_residual(look(video), trial.colours[0], fps), LOST)
        for video, trial in zip(videos, trials.values(), strict=True)
        if trial.kind == "fall"
    ]
    rows.append(GRAVITY.row(part, [value for value in residuals if math.isfinite(value)]))
    return Measured(rows, dict(values))


def trial_rows(part: str, videos: Sequence[Tensor], trials: Sequence[Trial], fps: float) -> list[Row]:
    """One row a metric over all the videos that ask for it."""
    return judged(part, videos, {str(i): trial for i, trial in enumerate(trials)}, fps).rows
