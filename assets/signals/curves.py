"""How a clip's cheapest signals run over its time: kept beside the clip's signals for people who ask why it was refused.

A curve is a list of [seconds from the clip's start, value], at most `POINTS` long. No check asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from assets.signals.shots import Shot
    from assets.signals.single_pass import Pass

POINTS = 240
Curve = list[list[float]]


def curves_of(run: Pass, shot: Shot) -> dict[str, Curve]:
    """The curves of a shot, by the signal that they belong to; one that was not measured is empty."""
    start_s = run.features.pts_s[shot.start]
    inside = [sample for sample in run.samples if shot.start <= sample.index < shot.end]

    def curve(points: Iterable[tuple[int, float]]) -> Curve:
        found = [[round(run.features.pts_s[index] - start_s, 3), round(value, 5)] for index, value in points]
        return found[:: -(-len(found) // POINTS) or 1]

    return {
        "luma_mean": curve((at, run.features.luma_mean[at] / 255) for at in range(shot.start, shot.end)),
        "motion_diag_per_s": curve((one.index, one.motion.magnitude) for one in inside[1:] if one.motion),
        "sharpness": curve((one.index, one.scores.sharpness) for one in inside if one.scores),
    }
