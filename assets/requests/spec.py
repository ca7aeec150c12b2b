"""A footage request as a typed record: limits on the clip, terms of the order, and the list of criteria.

Lengths are pixels and seconds, money is whole minor units (cents), times are RFC 3339 in UTC. `parse` reads a record from
text, `document` from YAML, `store` keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assets.vocabulary import TIMES_OF_DAY

# ISO 4217 code -> decimal digits of its minor unit
CURRENCIES = {
    **dict.fromkeys(
        ("EUR", "USD", "GBP", "CHF", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK", "PLN", "CZK", "INR", "BRL", "ZAR"), 2
    ),
    **dict.fromkeys(("JPY", "KRW", "CLP", "ISK"), 0),
    **dict.fromkeys(("BHD", "KWD", "TND"), 3),
}

MAX_UNITS = 1_000_000
MAX_MINOR = 2**53 - 1  # largest integer that canonical JSON carries exactly


@dataclass(frozen=True)
class Spec:
    """One request. `min_width` is the long side and `min_height` the short one, so that portrait needs no own rule."""

    subject: str | None = None
    location: str | None = None
    time_of_day: str | None = None
    min_width: int | None = None
    min_height: int | None = None
    aspect_ratio: str | None = None
    duration_min_s: float | None = None
    duration_max_s: float | None = None
    target_units: int = 1
    max_per_contributor: int | None = None
    price_minor: int = 0
    budget_minor: int = 0
    currency: str = "EUR"
    deadline_at: str | None = None

    def criteria(self) -> list[dict[str, Any]]:
        """What a clip must be: {field, op, value, hard, check}; `check` says who can tell: probe, model or reviewer."""
        limits = [
            ("subject", "=", self.subject, "reviewer"),
            ("location", "=", self.location, "reviewer"),
            ("time_of_day", "=", self.time_of_day, "model"),
            ("long_side", ">=", self.min_width, "probe"),
            ("short_side", ">=", self.min_height, "probe"),
            ("aspect_ratio", "=", self.aspect_ratio, "probe"),
            ("duration_s", ">=", self.duration_min_s, "probe"),
            ("duration_s", "<=", self.duration_max_s, "probe"),
        ]
        return [
            {"field": field, "op": op, "value": value, "hard": True, "check": check}
            for field, op, value, check in limits
            if value is not None
        ]


def problems(spec: Spec) -> list[str]:
    """Every reason why this cannot be ordered; empty if it can."""
    faults = []
    if not spec.criteria():
        faults.append("it asks for nothing: name a subject, a place, a time of day, a size, a shape or a length")
    if not 1 <= spec.target_units <= MAX_UNITS:
        faults.append(f"{spec.target_units} clips: ask for 1 to {MAX_UNITS}")
    if spec.max_per_contributor is not None and spec.max_per_contributor < 1:
        faults.append("a contributor must be allowed at least one clip")
    if spec.time_of_day is not None and spec.time_of_day not in TIMES_OF_DAY:
        faults.append(f"time of day {spec.time_of_day!r} is not one of {', '.join(TIMES_OF_DAY)}")
    for name in ("min_width", "min_height", "duration_min_s", "duration_max_s"):
        value = getattr(spec, name)
        if value is not None and not value > 0:
            faults.append(f"{name} must be above zero, not {value}")
    low, high = spec.duration_min_s, spec.duration_max_s
    if low is not None and high is not None and low > high:
        faults.append(f"the shortest length, {low} s, is above the longest, {high} s")
    return faults + money_problems(spec.price_minor, spec.budget_minor, spec.currency)


def money_problems(price_minor: Any, budget_minor: Any, currency: str) -> list[str]:
    """Why these sums in whole minor units cannot be paid; empty if they can."""
    faults = []
    for name, amount in (("price", price_minor), ("budget", budget_minor)):
        if isinstance(amount, bool) or not isinstance(amount, int):
            faults.append(f"{name} must be whole minor units, not {amount!r}")
        elif not 0 <= amount <= MAX_MINOR:
            faults.append(f"{name} must be 0 to {MAX_MINOR} minor units, not {amount}")
    if currency not in CURRENCIES:
        faults.append(f"currency {currency!r} is not one of {', '.join(sorted(CURRENCIES))}")
    if not faults and budget_minor < price_minor:
        faults.append(f"a budget of {budget_minor} does not pay for one clip at {price_minor}")
    return faults
