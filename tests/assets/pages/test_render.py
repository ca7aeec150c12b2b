"""What a template does with text that somebody else wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from assets.pages.render import LONGEST, environment
from assets.pages.stills import Still


def gallery(*stills: Still) -> str:
    return environment.get_template("macros.html").module.gallery(stills)  # type: ignore[attr-defined]


@given(st.text())
def test_no_text_of_others_becomes_markup_or_stays_invisible(text: str) -> None:
    page = environment.from_string("<p>{{ text }}</p>").render(text=text)
    inner = page.removeprefix("<p>").removesuffix("</p>")
    assert not set(inner) & set("<>\"'")
    assert inner.isprintable()
    assert "<p>" + inner + "</p>" == page


def test_nothing_is_shown_for_none_and_what_is_endless_is_cut() -> None:
    template = environment.from_string("[{{ value }}]")
    assert template.render(value=None) == "[]"
    assert len(template.render(value="x" * 10 * LONGEST)) == LONGEST + 2


def test_a_value_that_a_page_forgot_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        environment.from_string("{{ forgotten }}").render()


def test_a_picture_is_shown_whole_with_its_faces() -> None:
    shown = gallery(Still(7, 0.25, b"x" * 10_000, [[0.1, 0.2, 0.3, 0.4, 0.9]]))
    assert "eHh4" * 3000 in shown
    assert "left:10.00%;top:20.00%;width:30.00%;height:40.00%" in shown
    assert "frame 7 · 0.250000 s · 1 face<" in shown
