"""Requests as lines and as YAML: what is understood, and that nothing is ever dropped."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.requests.document import MAX_BYTES, parse_document
from assets.requests.parse import MAX_TEXT, Parsed, RequestError, parse_line


def fields(line: str) -> dict[str, Any]:
    """The fields of the spec that differ from what an empty line gives."""
    empty = vars(parse_line("").spec)
    return {name: value for name, value in vars(parse_line(line).spec).items() if value != empty[name]}


def test_the_line_of_the_documentation_is_understood_whole() -> None:
    parsed = parse_line("sunset over Paris, 4K, 16:9, 30 seconds, 20 clips").checked()
    assert fields(parsed.text) == {
        "subject": "sunset",
        "location": "Paris",
        "time_of_day": "sunset",
        "min_width": 3840,
        "min_height": 2160,
        "aspect_ratio": "16:9",
        "duration_min_s": 28.0,
        "duration_max_s": 32.0,
        "target_units": 20,
    }
    assert parsed.not_understood == ()
    assert "no price was given: nothing is paid per clip" in parsed.assumed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1080p", {"min_width": 1920, "min_height": 1080}),
        ("full HD", {"min_width": 1920, "min_height": 1080}),
        ("720p, portrait", {"min_width": 1280, "min_height": 720, "aspect_ratio": "9:16"}),
        ("4K, 2.39:1", {"min_width": 3840, "min_height": 1607, "aspect_ratio": "2.39:1"}),
        ("at least 640x272", {"min_width": 640, "min_height": 272}),
        ("1920:1080", {"aspect_ratio": "16:9"}),
        ("square format", {"aspect_ratio": "1:1"}),
        ("3 to 8 seconds", {"duration_min_s": 3.0, "duration_max_s": 8.0}),
        ("3-8s", {"duration_min_s": 3.0, "duration_max_s": 8.0}),
        ("2 min", {"duration_min_s": 112.0, "duration_max_s": 128.0}),
        ("at least 5 seconds", {"duration_min_s": 5.0}),
        ("up to 1.5 minutes", {"duration_max_s": 90.0}),
        ("twelve shots", {"target_units": 12}),
        ("max 3 clips per contributor", {"max_per_contributor": 3}),
        ("EUR 5 per clip, 4 clips", {"price_minor": 500, "budget_minor": 2000, "target_units": 4}),
        ("€5.50 each", {"price_minor": 550, "budget_minor": 550}),
        ("1,200 JPY a clip", {"price_minor": 1200, "budget_minor": 1200, "currency": "JPY"}),
        ("with a budget of 1'000.50 CHF", {"budget_minor": 100050, "currency": "CHF"}),
        ("budget 500 EUR", {"budget_minor": 50000}),
        ("by 2026-12-31", {"deadline_at": "2026-12-31T23:59:59Z"}),
        ("before 2026-12-31", {"deadline_at": "2026-12-31T00:00:00Z"}),
        ("by 31 December 2026", {"deadline_at": "2026-12-31T23:59:59Z"}),
        ("until Dec 5, 2026", {"deadline_at": "2026-12-05T23:59:59Z"}),
        ("rain in New York at night", {"subject": "rain", "location": "New York", "time_of_day": "night"}),
        ("fog, at dawn, near Île de Ré", {"subject": "fog", "time_of_day": "dawn", "location": "Île de Ré"}),
        ("golden hour in Rome", {"subject": "golden hour", "location": "Rome", "time_of_day": "sunset"}),
        ("portrait of a woman", {"subject": "portrait of a woman"}),
        ("a bear in the forest by day", {"subject": "a bear in the forest", "time_of_day": "day"}),
        ("20 clips of dogs", {"target_units": 20, "subject": "dogs"}),
    ],
)
def test_terms_mean_what_a_reader_would_take_them_for(line: str, expected: dict[str, Any]) -> None:
    assert fields(line) == expected
    assert parse_line(line).not_understood == ()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("fog, slow motion, 4K", ("slow motion",)),
        ("fog, 4K, 1080p", ("1080p",)),
        ("fog, 640x272, HD", ("HD",)),
        ("fog, EUR 5.005 per clip", ("EUR 5.005 per clip",)),
        ("fog, 7 XYZ per clip", ("7 XYZ per clip",)),
        ("fog, by 2026-02-30", ("by 2026-02-30",)),
        ("fog, at 18:30", ("at 18:30",)),
        ("fog, 0 seconds", ("0 seconds",)),
        ("we need fog and", ("we need", "and")),
        ("fog, 4 clips, 日本", ("日本",)),
    ],
)
def test_what_means_nothing_or_contradicts_is_said_back(line: str, left: tuple[str, ...]) -> None:
    parsed = parse_line(line)
    assert parsed.not_understood == left
    assert parsed.spec.subject == "fog"


@pytest.mark.parametrize("line", ["", "   ", "20 clips", "please"])
def test_a_line_that_asks_for_nothing_is_refused(line: str) -> None:
    with pytest.raises(RequestError, match="asks for nothing"):
        parse_line(line).checked()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("fog, 0 clips", "ask for 1 to"),
        ("fog, 8 to 3 seconds", "above the longest"),
        ("fog, EUR 5 per clip, budget EUR 4", "does not pay for one clip"),
    ],
)
def test_an_order_that_cannot_be_filled_is_refused_with_the_reason(line: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        parse_line(line).checked()


def test_two_currencies_in_one_request_are_refused() -> None:
    with pytest.raises(RequestError, match="different currencies"):
        parse_line("fog, EUR 5 per clip, budget 500 USD")


def test_a_line_has_an_end() -> None:
    with pytest.raises(RequestError, match="at most"):
        parse_line("x" * (MAX_TEXT + 1))


VOCABULARY = """
    fog Paris over in at night sunset 4K 1080p 16:9 18:30 30 seconds 20 clips EUR 5 per clip budget 500 by 2026-12-31
    portrait square slow motion please and of 3 to 8 min max contributor 日本 Île – a the day
"""
WORDS = st.sampled_from(VOCABULARY.split())
LINES = st.one_of(
    st.text(max_size=80),
    st.lists(st.tuples(WORDS, st.sampled_from([" ", ", ", "; ", "\n"])), max_size=14).map(
        lambda pairs: "".join(word + gap for word, gap in pairs)
    ),
)


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


@given(LINES)
def test_every_word_is_understood_or_said_back(line: str) -> None:
    try:
        parsed = parse_line(line)
    except RequestError:
        return
    assert words(line) == _accounted(parsed)


def _accounted(parsed: Parsed) -> Counter[str]:
    """Words of both lists; a word of the subject that also names the time of day stands once in the text."""
    understood = dict(parsed.understood)
    time, subject = understood.get("time_of_day"), understood.get("subject", "")
    if time and words(time) <= words(subject):
        del understood["time_of_day"]
    return sum((words(part) for part in (*understood.values(), *parsed.not_understood)), Counter())


@given(st.sampled_from(["fog", "dogs running on a beach"]), st.integers(1, 999), st.integers(1, 9999))
def test_numbers_survive_the_reading(subject: str, clips: int, cents: int) -> None:
    spec = parse_line(f"{subject}, {clips} clips, EUR {cents // 100}.{cents % 100:02} per clip").checked().spec
    assert (spec.subject, spec.target_units, spec.price_minor) == (subject, clips, cents)
    assert spec.budget_minor == clips * cents


@pytest.mark.parametrize("amount", ["-5 clips", "1.5 clips", "1e400 seconds", "-30 seconds"])
def test_a_number_that_is_not_meant_is_not_read_out_of_another(amount: str) -> None:
    parsed = parse_line(f"sunset over Paris, {amount}")
    assert parsed.not_understood == (amount,)
    assert parsed.spec.target_units == 1
    assert parsed.spec.duration_min_s is None


# -- YAML documents ----------------------------------------------------------------------------------------------------


FULL = """
request_id: r-bread
org_id: org-bakery
title: Bread dough
opens_at: 2026-11-01
subject: bread dough
location: Brussels
time_of_day: day
resolution: 4K
aspect_ratio: 16:9
duration: [3, 8]
count: 20
max_per_contributor: 4
price: EUR 5
budget: EUR 90
deadline: 2026-12-31
mood: calm
"""


def test_every_field_is_read_and_an_unknown_one_is_said_back() -> None:
    document = parse_document(FULL)
    spec, header = document.parsed.spec, document.header
    assert (header.request_id, header.org_id, header.title) == ("r-bread", "org-bakery", "Bread dough")
    assert header.opens_at == "2026-11-01T00:00:00Z"
    assert (spec.subject, spec.location, spec.time_of_day) == ("bread dough", "Brussels", "day")
    assert (spec.min_width, spec.min_height, spec.aspect_ratio) == (3840, 2160, "16:9")
    assert (spec.duration_min_s, spec.duration_max_s, spec.target_units) == (3.0, 8.0, 20)
    assert (spec.price_minor, spec.budget_minor, spec.max_per_contributor) == (500, 9000, 4)
    assert spec.deadline_at == "2026-12-31T23:59:59Z"
    assert document.parsed.not_understood == ("mood: calm",)


def test_a_whole_line_may_stand_in_a_document_and_fields_add_to_it() -> None:
    spec = parse_document("request: fog over Paris, 4K\ncount: 3").parsed.spec
    assert (spec.subject, spec.location, spec.target_units) == ("fog", "Paris", 3)


def test_a_value_that_no_rule_reads_whole_is_said_back() -> None:
    parsed = parse_document("subject: fog\nresolution: 4K or so\ntime_of_day: brunch").parsed
    assert parsed.not_understood == ("resolution: 4K or so", "time_of_day: brunch")
    assert parsed.spec.min_width is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "mapping"),
        ("- a\n- b", "mapping"),
        ("subject: {a: b}", "one plain value"),
        ("subject: [fog", "not readable"),
        ("subject: fog\nbudget_minor: 1.5", "no int"),
        ("subject: fog\nopens_at: 2026-11-01T10:00:00", "no time zone"),
        ("subject: fog\nrequest_id: ../../etc", "request_id"),
        ("a: " + "x" * MAX_BYTES, "at most"),
        ("count: 3", "asks for nothing"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(RequestError, match=why):
        parse_document(text)


def test_tags_are_not_obeyed() -> None:
    with pytest.raises(RequestError, match="plain value"):
        parse_document('subject: !!python/object/apply:os.system ["true"]')
    assert parse_document("subject: !!python/name:os.system fog").parsed.spec.subject == "fog"


@given(st.text(max_size=200))
def test_any_text_gives_a_request_or_a_typed_error(text: str) -> None:
    with contextlib.suppress(RequestError):
        parse_document(text)
