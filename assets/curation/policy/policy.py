"""What is asked of every clip: the one place for thresholds, with units, severities and rejection codes.

What belongs here: numbers and names. How a check is decided is in `verdicts`, how an installation changes a number
without touching the code in `policy_overrides`. Every verdict records the threshold it was made with and the policy's `name`,
which changes with any number, so a corpus can be decided again from the stored signals without decoding anything.

Severity `fatal` means never eligible, `quality` means not good enough or not what was declared, `info` never blocks.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from assets.vocabulary import DAYLIGHT

Severity = Literal["fatal", "quality", "info"]


@dataclass(frozen=True)
class Check:
    """One question. `low` and `high` bound the value where the check is a range; `column` is then its signal.

    `plugin` says that the signal is that of a scorer which need not be there: without it the verdict is `not_yet`, at
    severity `info`.
    """

    name: str
    asks: str
    unit: str | None
    severity: Severity
    reason: str  # rejection code when it fails
    low: float | None = None
    high: float | None = None
    column: str | None = None
    version: str = "1"
    plugin: bool = False

    @functools.cached_property
    def threshold(self) -> str | None:
        """The bounds in words."""
        bounds = (("at least", self.low), ("at most", self.high))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None) or None


class Finding(NamedTuple):
    """What a check says of a clip: pass, fail, unmeasurable, not_measured (an error of ours) or not_yet, and why."""

    verdict: str
    value: str | None
    threshold: str | None
    detail: str


@dataclass(frozen=True)
class SunRule:
    """Where the sun may stand, in degrees above the horizon and hours of solar time, for a declared time of day."""

    low_deg: float = -90.0
    high_deg: float = 90.0
    from_hour: float = 0.0
    to_hour: float = 24.0


@dataclass(frozen=True)
class LightRule:
    """What pictures of a declared time of day cannot look like. Lumas and saturations 0 to 1.

    By day even dark ground is above `darkest_p50`. A median below `lit_p50` with bright spots `lit_rise` above it and
    strongly coloured shadows is a place lit by lamps and windows. By night no picture is bright through and through.
    """

    darkest_p50: float | None = None
    lit_p50: float | None = None
    lit_rise: float = 0.5
    lit_shadow_saturation: float = 0.45
    brightest_p50: float | None = None


SUN: dict[str, SunRule] = {
    "night": SunRule(high_deg=-4),
    "dawn": SunRule(low_deg=-18, high_deg=6, to_hour=12),
    "morning": SunRule(low_deg=-3, to_hour=12.5),
    "day": SunRule(low_deg=-1),
    "evening": SunRule(low_deg=-18, high_deg=40, from_hour=12),
    "sunset": SunRule(low_deg=-8, high_deg=15, from_hour=12),
    "dusk": SunRule(low_deg=-18, high_deg=4, from_hour=12),
}
LIGHT: dict[str, LightRule] = {
    "night": LightRule(brightest_p50=0.5),
    **dict.fromkeys(DAYLIGHT, LightRule(darkest_p50=0.15, lit_p50=0.3)),
}


@dataclass(frozen=True)
class Policy:
    version: str
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check:
        return next(check for check in self.checks if check.name == name)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 over everything that a verdict depends on: what is asked, and the rules of sun and light."""
        checks = [asdict(check) | {"asks": None} for check in self.checks]
        rules = [{name: asdict(rule) for name, rule in rules.items()} for rules in (SUN, LIGHT)]
        return hashlib.sha256(json.dumps([checks, *rules], sort_keys=True).encode()).hexdigest()

    @functools.cached_property
    def name(self) -> str:
        """Version and digest: two policies of one name decide alike."""
        return f"{self.version}+{self.digest[:8]}"


# fmt: off
POLICY = Policy("curation-2", (
    Check("synthetic_origin", "does the file, or anything it was made of, declare an algorithm as its author?",
          None, "fatal", "policy.ai_generated", version="2"),
    Check("own_watermark", "are the pictures free of our own watermark?",
          "log10 of the chance of a false alarm, at most", "fatal", "policy.ai_generated",
          # one in a thousand million; marked films read -37 or less at CRF 28, and the weakest are lost at CRF 33
          low=-9.0),
    Check("resolution", "are the pictures as large as declared?",
          "relative difference of a side", "quality", "spec.resolution", high=0.01),
    Check("aspect_ratio", "do the pictures have the declared aspect ratio?",
          "relative difference", "quality", "spec.aspect", high=0.02),
    Check("length", "is the file as long as declared?",
          "relative difference (a quarter of a second is free)", "quality", "spec.duration", high=0.03),
    Check("time_of_day", "do the sun and the pictures' light allow the declared time of day?",
          None, "quality", "metadata.time_mismatch"),
    Check("duration", "is the clip long enough to show anything?",
          "s", "quality", "spec.duration", low=1.0, column="duration_s"),
    Check("motion", "does anything move, and not everything at once?",
          "diagonals/s, 90th percentile", "quality", "quality.stability",
          low=0.0005, high=2.0, column="motion_p90_diag_per_s"),
    Check("sharpness", "is anything in focus?",
          "variance of the Laplacian at 256 px", "quality", "quality.focus", low=6.0, column="sharpness"),
    Check("exposure", "is there light between black and burnt out?",
          "luma, 95th and 5th percentile", "quality", "quality.exposure", low=0.08, high=0.92),
    Check("black", "is the clip free of black frames?",
          "share of frames", "quality", "quality.artefacts", high=0.5, column="black_fraction"),
    Check("freeze", "does the clip not stand still?",
          "share of frames", "quality", "quality.artefacts", high=0.8, column="freeze_fraction"),
    Check("letterbox", "is the picture free of black borders?",
          "share of the picture", "quality", "quality.framing", high=0.05, column="letterbox_fraction"),
    Check("faces", "are there no more faces than declared identifiable people?",
          "faces", "info", "legal.missing_model_release"),
    Check("provenance", "is the file's signed provenance whole, and does a trusted device vouch for the capture?",
          None, "info", "metadata.provenance_broken"),
    Check("spectral_pattern", "is there no regular pattern in the pictures' high frequencies?",
          "dB over the surrounding frequencies", "info", "review.spectral_pattern",
          high=20.0),  # sample footage has 5 to 16, a faint checkerboard of upsampling 30 to 40
    Check("detail", "do the pictures use the resolution that they have, or were they enlarged?",
          "share of the pixel grid's resolution", "info", "spec.upscaled", column="detail_fraction",
          low=0.7),  # native footage has 0.8 and more, enlarged twice 0.4 to 0.85, three times 0.35 to 0.7
    Check("text_overlay", "is the picture free of rows of letters?",
          "share of the picture", "info", "policy.watermark_or_text", high=0.02, column="text_fraction"),
    Check("flicker", "is the light steady?",
          "mean change of luma between frames, share of full range", "info", "quality.artefacts",
          high=0.03, column="flicker"),
    Check("loudness", "is the sound, where there is any, neither inaudible nor distorted by its level?",
          "LUFS", "info", "spec.audio", low=-45.0, high=-5.0),
    Check("technical_quality", "are the pictures technically usable, all in all?",
          "0 to 1", "info", "quality.artefacts", low=0.3, column="technical_quality"),
    Check("aesthetic", "do the pictures look good to the aesthetics scorer?",
          "the scorer's units", "info", "quality.framing", low=4.5, column="aesthetic", plugin=True),
    Check("nsfw", "does the unsafe-content scorer find nothing sexual?",
          "probability", "fatal", "policy.nsfw", high=0.5, column="nsfw", plugin=True),
    Check("location", "does the file's own position agree with the declared place?",
          "km from the declared place", "info", "metadata.place_mismatch", version="2",
          high=50.0),  # a city's name is used for what lies around it
    Check("subject", "is the declared subject what is seen?",
          "likeness of what a captioner saw, cosine", "info", "metadata.subject_mismatch", version="2",
          low=0.1,  # words that are less alike contradict: sentences that fit have 0.28 and more
          high=0.4),  # words that are more alike confirm: sentences that do not have 0.38 and less; people decide between
))
# fmt: on
