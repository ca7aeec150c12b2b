"""The closed lists of words for footage: what a manifest may declare, a signal may say and a class may be called.

Everything written in Python takes them from here, and the expectation suites are given them. A test compares what cannot:
the schema of manifests, the variables of the dbt project, and the tables of phrases and rules that have one entry a word.
"""

from __future__ import annotations

from collections.abc import Sequence

TIMES_OF_DAY = ("night", "dawn", "morning", "day", "evening", "sunset", "dusk")
DAYLIGHT = ("morning", "day")  # when "low light" would be a contradiction
# pairs of times of day: nothing is of one of both
OPPOSITES = ((("night",), DAYLIGHT), (("dawn", "morning"), ("evening", "sunset", "dusk")))
CAMERA_MOVES = ("pan", "tilt", "zoom", "roll")  # each with a direction and a speed
CAMERA_MOTIONS = ("static", *CAMERA_MOVES, "handheld")
MOTIONS = ("still", "calm", "moderate", "lively", "fast")
ASPECTS = ("portrait", "square", "landscape", "wide")
LENGTHS = ("under 3 s", "3 to 10 s", "over 10 s")

# dimensions whose classes are known before any clip is
CLOSED = {
    "time_of_day": TIMES_OF_DAY,
    "motion": MOTIONS,
    "camera_motion": CAMERA_MOTIONS,
    "aspect": ASPECTS,
    "length": LENGTHS,
}


def either(words: Sequence[str]) -> str:
    """`static, pan or tilt`"""
    return f"{', '.join(words[:-1])} or {words[-1]}"
