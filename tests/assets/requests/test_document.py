"""Requests as YAML: the same rules, named fields, nothing dropped, nothing executed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.requests.document import MAX_BYTES, parse_document
from assets.requests.parse import RequestError

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
