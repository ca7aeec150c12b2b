"""The measurable parts of a request line: size, shape, length, count, money, deadline. A rule each, tried in order.

A rule is a pattern and a reader. The reader returns the fields that the words mean, or None if they mean nothing (an unknown
currency, a date that does not exist), so that the words are reported as not understood.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from assets.requests.spec import CURRENCIES, MAX_MINOR

Fields = dict[str, Any]
Reader = Callable[[re.Match[str]], Fields | None]


@dataclass(frozen=True)
class Rule:
    field: str
    pattern: re.Pattern[str]
    read: Reader


# Long and short side of a 16:9 picture under its trade name.
SIZES = {
    **dict.fromkeys(("8k", "4320p"), (7680, 4320)),
    **dict.fromkeys(("4k", "uhd", "2160p"), (3840, 2160)),
    **dict.fromkeys(("1440p", "qhd"), (2560, 1440)),
    **dict.fromkeys(("full hd", "fullhd", "fhd", "1080p"), (1920, 1080)),
    **dict.fromkeys(("720p", "hd"), (1280, 720)),
    **dict.fromkeys(("480p", "sd"), (854, 480)),
}
_SYMBOLS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "euro": "EUR", "euros": "EUR", "dollars": "USD"}
_TO_TWELVE = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NUMBERS = {word: number for number, word in enumerate(_TO_TWELVE, 1)}
_NUMBERS |= {"fifteen": 15, "twenty": 20, "fifty": 50, "hundred": 100}
_SHAPES = {"portrait": "9:16", "vertical": "9:16", "square": "1:1", "widescreen": "16:9", "landscape": "16:9"}
_CLOCK_SAFE = {"16:10", "10:16", "9:16", "9:21", "3:10", "5:12"}  # read as shapes although a clock could show them
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]

_AMOUNT = r"\d{1,3}(?:[,' ]\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_CURRENCY = r"€|\$|£|¥|\beuros?\b|\bdollars\b|\b[A-Z]{3}\b"
_NUMBER = r"\d+(?:\.\d+)?"
_UNIT = r"(?:seconds?|secs?|s|minutes?|mins?)\b"
_CLIP = r"(?:clips?|videos?|shots?|takes?)"


def _money(prefix: str) -> str:
    """A sum with its currency before or after, as groups `<prefix>_{a,b}{c,n}`."""
    return (
        rf"(?:(?P<{prefix}_ac>{_CURRENCY})\s*(?P<{prefix}_an>{_AMOUNT})"
        rf"|(?P<{prefix}_bn>{_AMOUNT})\s*(?P<{prefix}_bc>{_CURRENCY}))"
    )


def minor_units(amount: str, currency: str) -> int | None:
    """`5.50`, `EUR` -> 550; None if the currency is unknown or has no such small part."""
    digits = CURRENCIES.get(currency)
    if digits is None:
        return None
    value = Decimal(re.sub(r"[,' ]", "", amount)).scaleb(digits)
    return int(value) if value == value.to_integral_value() and value <= MAX_MINOR else None


def _sum(field: str) -> Reader:
    def read(match: re.Match[str]) -> Fields | None:
        groups = match.groupdict()
        name = groups["m_ac"] or groups["m_bc"]
        currency = _SYMBOLS.get(name.lower(), name.upper())
        amount = minor_units(groups["m_an"] or groups["m_bn"], currency)
        return None if amount is None else {f"{field}_minor": amount, f"{field}_currency": currency}

    return read


def _size_name(match: re.Match[str]) -> Fields:
    return {"resolution": re.sub(r"[\s-]+", " ", match["name"].lower())}


def _size_pixels(match: re.Match[str]) -> Fields | None:
    a, b = int(match["w"]), int(match["h"])
    return {"resolution": (max(a, b), min(a, b))} if a and b else None


def sides(size: str | tuple[int, int], aspect_ratio: str | None) -> tuple[int, int]:
    """Long and short side of a size at a shape: `4k` is 3840x2160 at 16:9 and 3840x1607 at 2.39:1; pixels stay."""
    if isinstance(size, tuple):
        return size
    long, short = SIZES[size]
    if aspect_ratio is None:
        return long, short
    width, height = (float(part) for part in aspect_ratio.split(":"))
    ratio = max(width, height) / min(width, height)
    return (long, round(long / ratio)) if ratio > long / short else (min(long, round(short * ratio)), short)


def shape(text: str) -> str | None:
    """`1920:1080` -> `16:9`, `2.39:1` as it is; None if it cannot be a picture's shape (`18:30` is a time)."""
    a, b = text.replace("/", ":").split(":")
    if "." not in a + b:
        if len(b) == 2 and int(a) < 24 and int(b) < 60 and f"{a}:{b}" not in _CLOCK_SAFE:
            return None
        if max(int(a), int(b)) > 64 and (divisor := math.gcd(int(a), int(b))):
            a, b = str(int(a) // divisor), str(int(b) // divisor)
    width, height = float(a), float(b)
    return f"{a}:{b}" if width and height and 1 / 10 <= width / height <= 10 else None


def _aspect(match: re.Match[str]) -> Fields | None:
    ratio = shape(re.sub(r"\s", "", match["ratio"]))
    return {"aspect_ratio": ratio} if ratio else None


def _seconds(number: str, unit: str) -> float:
    return float(number) * (60 if unit.lower().startswith("m") else 1)


def _between(match: re.Match[str]) -> Fields:
    unit = match["unit"]
    return {
        "duration_min_s": _seconds(match["low"], match["low_unit"] or unit),
        "duration_max_s": _seconds(match["high"], unit),
    }


def _length(match: re.Match[str]) -> Fields | None:
    seconds = _seconds(match["number"], match["unit"])
    if not seconds:
        return None
    bound = (match["bound"] or "").lower()
    if re.match(r"at least|min|over|longer", bound):
        return {"duration_min_s": seconds}
    if bound:
        return {"duration_max_s": seconds}
    slack = max(0.5, seconds / 15)  # nobody cuts to the frame: 30 s means 28 to 32 s
    return {"duration_min_s": round(seconds - slack, 3), "duration_max_s": round(seconds + slack, 3)}


def _integer(text: str) -> int | None:
    if text.lower() in _NUMBERS:
        return _NUMBERS[text.lower()]
    return int(text) if len(text) <= 9 else None


def _count(field: str) -> Reader:
    def read(match: re.Match[str]) -> Fields | None:
        number = _integer(match["number"])
        return None if number is None else {field: number}

    return read


def _deadline(match: re.Match[str]) -> Fields | None:
    try:
        if match["iso"]:
            day = dt.date.fromisoformat(match["iso"])
        else:
            month = 1 + _MONTHS.index((match["mon1"] or match["mon2"])[:3].lower())
            day = dt.date(int(match["year"]), month, int(match["day1"] or match["day2"]))
        clock = dt.time.fromisoformat(match["clock"]) if match["clock"] else None
    except ValueError:
        return None
    if clock is None:
        clock = dt.time(0, 0, 0) if match["word"].lower() == "before" else dt.time(23, 59, 59)
    return {"deadline_at": dt.datetime.combine(day, clock).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _shape_name(match: re.Match[str]) -> Fields:
    return {"aspect_ratio": _SHAPES[match["shape"].lower()]}


def _rule(field: str, pattern: str, read: Reader) -> Rule:
    return Rule(field, re.compile(pattern, re.IGNORECASE), read)


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sep(?:t(?:ember)?)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_COUNTED = rf"(?P<number>\d+|{'|'.join(_NUMBERS)})"

RULES = (
    _rule(
        "deadline_at",
        r"\b(?P<word>by|before|until|deadline|due|no later than)\b:?\s*(?:on\s+)?"
        rf"(?:(?P<iso>\d{{4}}-\d{{2}}-\d{{2}})|(?P<day1>\d{{1,2}})\s+(?P<mon1>{_MONTH})\s+"
        rf"|(?P<mon2>{_MONTH})\s+(?P<day2>\d{{1,2}}),?\s+)"
        r"(?P<year>(?<=\s)\d{4})?(?:[T ](?P<clock>\d{2}:\d{2}(?::\d{2})?)(?:\s?(?:Z|UTC)\b)?)?",
        _deadline,
    ),
    _rule(
        "max_per_contributor",
        rf"\b(?:max(?:imum)?|at most|no more than|up to)\s+{_COUNTED}(?:\s+{_CLIP})?"
        r"\s*(?:per|a|an|each|/)\s*(?:contributor|person|author)\b",
        _count("max_per_contributor"),
    ),
    _rule(
        "price_minor",
        rf"(?:\b(?:at|for|price|pays?|paying)\b:?\s*)?{_money('m')}\s*(?:(?:per|a|an|/)\s*{_CLIP}\b|each\b)",
        _sum("price"),
    ),
    _rule(
        "budget_minor",
        rf"\b(?:(?:with\s+)?an?\s+)?(?:total\s+)?budget(?:\s+(?:of|is|up to))?:?\s*{_money('m')}",
        _sum("budget"),
    ),
    _rule("budget_minor", rf"{_money('m')}\s*(?:budget|in total|total|overall)\b", _sum("budget")),
    _rule(
        "duration_s",
        rf"\b(?:between\s+)?(?P<low>{_NUMBER})\s*(?P<low_unit>{_UNIT})?\s*(?:-|–|to|and)"
        rf"\s*(?P<high>{_NUMBER})\s*(?P<unit>{_UNIT})(?:\s+(?:long|each)\b)?",
        _between,
    ),
    _rule(
        "duration_s",
        r"(?:\b(?P<bound>at least|min(?:imum)?|over|longer than|up to|at most|max(?:imum)?|under|shorter than)\s+)?"
        rf"(?<![\w.-])(?:\b(?:of|about|lasting)\s+)?(?P<number>{_NUMBER})\s*-?(?P<unit>{_UNIT})(?:\s+(?:long|each)\b)?",
        _length,
    ),
    _rule("target_units", rf"(?<![\w.-]){_COUNTED}\s+{_CLIP}\b(?:\s+of\b)?", _count("target_units")),
    _rule("resolution", r"\b(?:at least\s+|min(?:imum)?\s+)?(?P<w>\d{2,5})\s?[x×]\s?(?P<h>\d{2,5})\b", _size_pixels),
    _rule(
        "resolution",
        r"\b(?:in\s+|at least\s+|min(?:imum)?\s+)?(?P<name>"
        + "|".join(re.escape(n).replace(r"\ ", r"[\s-]+") for n in sorted(SIZES, key=len, reverse=True))
        + r")\b(?:\s+(?:or better|resolution))?",
        _size_name,
    ),
    _rule(
        "aspect_ratio",
        rf"(?<![\d:.])(?P<ratio>{_NUMBER}\s?[:/]\s?{_NUMBER})(?![\d:])(?:\s*(?:aspect ratio|aspect|format)\b)?",
        _aspect,
    ),
    _rule(
        "aspect_ratio",
        rf"(?:(?<=[,;\n])|^)\s*(?P<shape>{'|'.join(_SHAPES)})\s*(?=[,;\n]|$)",
        _shape_name,
    ),
    _rule(
        "aspect_ratio",
        rf"\b(?:in\s+)?(?P<shape>{'|'.join(_SHAPES)})\s+(?:format|orientation|video|aspect(?:\s+ratio)?)\b",
        _shape_name,
    ),
)
