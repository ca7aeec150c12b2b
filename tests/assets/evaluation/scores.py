"""Made-up values of a model by clip and by trial: for tests of the gate and of what feeds it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

CLIPS = tuple(f"clip-{i:02d}" for i in range(12))
EASE = {clip: 0.3 + 0.7 * i / 11 for i, clip in enumerate(CLIPS)}  # losses differ between clips as they do in practice


def losses(level: float, spread: float = 0.0, seed: int = 0, clips: Sequence[str] = CLIPS) -> dict[str, float]:
    """By clip: `level` times the clip's ease, with noise of its own of `spread` of that."""
    rng = random.Random(f"{seed} {level}")
    return {clip: EASE.get(clip, 0.6) * level * (1 + rng.gauss(0, spread)) for clip in clips}


def by_time(level: float) -> dict[str, float]:
    """By time of the flow: lowest in the middle, as means over clips are in practice."""
    return {f"t={t:.1f}": level * (0.6 + (t - 0.6) ** 2) for t in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)}


def verdicts(share: float, first: int, step: int, n: int = 48, turn: int = 0) -> dict[str, float]:
    """By trial: the first `share` of them right, beginning at the trial `turn`."""
    names = [f"trial-{first + step * i}" for i in range(n)]
    right = round(share * n)
    return {name: float((i - turn) % n < right) for i, name in enumerate(names)}


def trials(
    colour: float = 0.95, direction: float = 0.95, side: float = 0.95, at: str = ""
) -> dict[str, dict[str, float]]:
    return {
        f"trial_colour{at}": verdicts(colour, 0, 1, 96),
        f"trial_direction{at}": verdicts(direction, 1, 2),
        f"trial_side{at}": verdicts(side, 0, 2),
    }


def values(level: float = 0.6, obeys: float = 0.95, psnr: float = 25.0, **changes: Any) -> dict[str, dict[str, float]]:
    """A scorecard's values. The references' losses are 1.0 (closed form), 2.0 (untrained) and 0.9 (base)."""
    measured = {
        "heldout_flow_loss": losses(level),
        "heldout_flow_loss@closed_form": losses(1.0),
        "heldout_flow_loss@untrained": losses(2.0),
        "heldout_flow_loss@base": losses(0.9),
        "heldout_flow_loss_by_time": by_time(level),
        "heldout_flow_loss_by_time@base": by_time(0.9),
        "reconstruction_psnr": dict.fromkeys(CLIPS, psnr),
        "reconstruction_ssim": dict.fromkeys(CLIPS, 0.8),
        **trials(obeys, obeys, obeys),
        **trials(at="@base"),
    }
    return measured | changes


def rows(model_key: str, psnr: float = 25.0, copies: int = 0, level: float = 0.6) -> list[dict[str, Any]]:
    """The rows that the gate reads beside the values."""
    measured = (
        ("heldout_flow_loss", level, "lower"), ("reconstruction_psnr", psnr, "higher"), ("memorised_clips", copies, "lower"),
    )  # fmt: skip
    return [
        {"model_key": model_key, "metric": metric, "slice": "all", "value": float(value), "ci_low": float(value),
         "ci_high": float(value), "n": 12, "unit": "1", "better": better, "method": "test", "state": "measured", "why": None}
        for metric, value, better in measured
    ]  # fmt: skip
