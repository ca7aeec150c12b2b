"""What it costs to decide a corpus again under another policy, beside what decoding it would cost.

`python -m tests.benchmarks replay --clips 100000`. The corpus is rows only: there is no film that could be decoded. The
cost of decoding is that of one pass over a real clip of 5 s at 1080p, in the same run, times the number of clips.
"""

from __future__ import annotations

import resource
import tempfile
from pathlib import Path
from typing import Any

from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import tuned
from assets.curation.policy.replay import replay as decide
from assets.home import Home
from assets.signals.measure import measure
from tests.assets.curation.corpus import write_corpus
from tests.benchmarks.curation_pass import encode
from tests.benchmarks.spent import timed

CLIPS, CLIPS_A_DAY = 100_000, 1_000
STRICTER = {"sharpness": {"low": 20}, "motion": {"low": 0.002}}


def replay(clips: int = CLIPS) -> dict[str, Any]:
    """Figures over a corpus of `clips`, `CLIPS_A_DAY` a day."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.local(Path(folder) / "home")
        days = write_corpus(home, clips // CLIPS_A_DAY, CLIPS_A_DAY)
        first, deciding = timed(lambda: decide(home, POLICY, write=True))
        seen, looking = timed(lambda: decide(home, tuned(STRICTER)))
        _, changing = timed(lambda: decide(home, tuned(STRICTER), write=True))
        back, returning = timed(lambda: decide(home, POLICY, write=True))
        peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of writing the corpus and of all replays
        film = encode("volcano.mp4", 0, 150, Path(folder) / "film.mp4")
        _, decoding = timed(lambda: measure(film, None))
    decode_s = decoding["cpu_s"] * clips
    return {
        "clips": clips,
        "days": len(days),
        "checks": len(POLICY.checks),
        "deciding_for_the_first_time": deciding,
        "what_would_change": looking | {"changed": {one.check: one.newly_failing for one in seen.checks}},
        "changing_it": changing,
        "going_back": returning | {"tables_as_at_first": back.days_written == first.days_written},
        "decoding_instead_cpu_s": round(decode_s),
        "decoding_over_looking": round(decode_s / looking["cpu_s"]),
        "peak_mib": round(peak_mib),
    }
