"""The prompt policy: harmless prompts pass unchanged, refused ones say all reasons, odd letters do not help."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.serving.policy import LONGEST, screen


@pytest.mark.parametrize(
    "prompt",
    [
        "a red ball falls on a table",
        "sunset over Paris, slow pan to the left",
        "children play football",
        "middlesex street",
    ],
)
def test_a_harmless_prompt_passes_as_it_is(prompt: str):
    assert screen(prompt).refused == ()
    assert screen(prompt).text == prompt


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("", "prompt.empty"),
        (" \u200b\n", "prompt.empty"),
        ("x" * (LONGEST + 1), "prompt.too_long"),
        ("nude woman", "policy.sexual"),
        ("ｎｕｄｅ woman", "policy.sexual"),
        ("nu\u200bde woman", "policy.sexual"),
        ("nüde woman", "policy.sexual"),
        ("a beheading in the square", "policy.gore"),
        ("a deepfake of the mayor", "policy.likeness"),
    ],
)
def test_a_refused_prompt_says_why(prompt: str, reason: str):
    assert reason in screen(prompt).refused


def test_all_reasons_are_given():
    assert set(screen("sexual deepfake of a child " + "x" * LONGEST).refused) == {
        "prompt.too_long",
        "policy.minor_sexual",
        "policy.sexual",
        "policy.likeness",
    }


@given(st.text())
def test_the_text_that_passes_is_one_normal_line(prompt: str):
    text = screen(prompt).text
    assert text == " ".join(text.split())
    assert not any(unicodedata.category(c).startswith("C") for c in text)
