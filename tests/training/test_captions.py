"""Which of its captions a clip is seen with, and how often."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.clips import CaptionMix
from training.data.steps import draw_text

MEMBER = {"caption": "facts", "caption_short": "brief", "captions": ["facts", "seen at length", "brief", "seen"]}
ONE = {"caption": "facts", "caption_short": "facts"}


def drawn(mix: CaptionMix, draws: int = 4000) -> dict[str, float]:
    shares = mix.shares(MEMBER)
    counts = Counter(draw_text(MEMBER["captions"], 0, "clip", step, shares) for step in range(draws))
    return {text: count / draws for text, count in counts.items()}


def test_captions_are_drawn_as_often_as_the_mix_says() -> None:
    assert drawn(CaptionMix(structured=1.0)) == {"facts": 1.0}
    assert drawn(CaptionMix(short=1.0)) == pytest.approx({"brief": 0.5, "seen": 0.5}, abs=0.03)
    mixed = drawn(CaptionMix(structured=2.0, long=1.0, short=1.0))
    assert mixed == pytest.approx({"facts": 0.625, "seen at length": 0.125, "brief": 0.125, "seen": 0.125}, abs=0.03)


def test_without_a_mix_every_caption_is_as_likely_and_drawn_as_before_there_was_one() -> None:
    assert CaptionMix().shares(MEMBER) == ()
    assert drawn(CaptionMix()) == pytest.approx(dict.fromkeys(MEMBER["captions"], 0.25), abs=0.03)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 10), st.sampled_from([MEMBER, ONE]))
def test_the_shares_of_a_clips_captions_are_whole_whatever_kinds_it_has(
    structured: float, long: float, short: float, member: dict
) -> None:
    shares = CaptionMix(structured, long, short).shares(member)
    assert not shares or sum(shares) == pytest.approx(1.0)
    assert len(shares) in (0, len(member.get("captions", ("facts",))))
