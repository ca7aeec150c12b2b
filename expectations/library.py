"""Great Expectations' vocabulary, for the suites. Nothing else belongs here."""

from __future__ import annotations

from typing import Any


def expectations() -> Any:
    """The module with all expectations, imported when a suite is built (it costs seconds).

    Untyped: its annotations refuse the plain words for severities that its documentation and its constructors take.
    """
    import great_expectations.expectations as gxe

    return gxe
