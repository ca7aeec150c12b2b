"""The scorecard that people read: few numbers, in words, beside what they compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from assets.evaluation.report import NUMBERS, all_scores, headline, not_measured, scores_page
from assets.pages.plots import beside


def row(metric: str, part: str = "all", value: float | None = 0.5, **more: Any) -> dict[str, Any]:
    found = {
        "metric": metric, "slice": part, "value": value, "ci_low": None, "ci_high": None, "n": 48, "unit": "share",
        "better": "higher", "method": "t/1", "state": "measured" if value is not None else "not_measured", "why": None,
    }  # fmt: skip
    return found | more


def test_a_number_stands_beside_its_references() -> None:
    rows = [
        row("trial_colour", value=0.9, ci_low=0.78, ci_high=0.96),
        row("trial_colour", "reference=base", 0.85),
        row("trial_colour", "reference=codec", 0.98),
        row("trial_colour", "reference=rendered", 1.0),
        row("heldout_flow_loss", value=0.3, unit="squared error", better="lower"),
        row("heldout_flow_loss", "reference=closed_form", 0.597, unit="squared error", better="lower"),
        row("heldout_flow_loss", "aspect=square", 0.2, unit="squared error", better="lower"),
    ]
    flow, colour = headline(rows)
    assert colour["what"] == "colour as asked ↑"
    assert colour["this model"] == "90 % (78–96)"
    assert (colour["base"], colour["best possible"]) == ("85 %", "98 %")
    assert (flow["this model"], flow["untrained"], flow["best possible"]) == ("0.3", "0.597", "")
    assert "real clips" not in flow, "a column that nothing fills is not shown"


def test_the_table_has_a_line_for_each_of_a_dozen_numbers_and_no_other() -> None:
    rows = [row(metric) for metric in NUMBERS] + [row("forward_speed"), row("reconstruction_ssim")]
    assert [line["metric"] for line in headline(rows)] == list(NUMBERS)
    assert "forward" in all_scores(rows)


def test_what_was_not_measured_is_one_line_for_each_reason() -> None:
    absent = [row(name, value=None, why="no feature network") for name in ("subject_consistency", "video_distance")]
    unasked = [row(f"trial_{n}", value=None, why="no trials were asked for") for n in range(12)]
    rows = [row("prompt_colour"), *absent, *unasked]
    assert not_measured(rows) == [
        "Not measured, no feature network: subject consistency, video distance.",
        "Not measured, no trials were asked for: trial 0, trial 1, trial 2 and 9 more.",
    ]
    assert scores_page(rows).lower().count("not measured") == 2
    assert "not measured" not in all_scores(rows)


def test_two_videos_stand_side_by_side_at_one_height() -> None:
    left, right = np.zeros((17, 64, 64, 3), np.uint8), np.full((9, 32, 64, 3), 200, np.uint8)
    both = beside(left, right)
    assert both.shape == (9, 64, 64 + 4 + 128, 3)
    assert both[:, :, :64].max() == 0
    assert both[:, :, 68:].min() == 200
