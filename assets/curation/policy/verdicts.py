"""From declared and measured facts to a typed verdict for every check of the policy, on every clip.

What belongs here: pure functions of stored rows; nothing is decoded and no clock is read. A check that cannot be
computed from what is there is `unmeasurable` and says why; one that the platform failed at is `not_measured` and has the
error's own words. Neither passes, and the latter is no reason against the footage. Declared facts concern the file, so
resolution, aspect ratio and length are compared with the whole file, and a time of day has to hold for every shot of it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.curation.policy import origin, place_and_time
from assets.curation.policy.policy import POLICY, Check, Finding, Policy
from assets.home import Home
from assets.reasons import printable
from assets.tables import TABLES

Row = Mapping[str, Any]
Key = tuple[str, int]  # item_id, shot_index
NOT_MEASURED, OURS = "not_measured", "platform.not_measured"  # the verdict, and the code that goes with it
BLOCKING_VERDICTS = frozenset({"fail", "unmeasurable", NOT_MEASURED, "not_yet"})
BLOCKING_SEVERITIES = frozenset({"fatal", "quality"})
FREE_LENGTH_S = 0.25  # declared lengths are rounded; on short clips that is more than the relative tolerance


@dataclass(frozen=True)
class Evidence:
    """All that is known about a clip: rows of `shots`, `delivery_items`, `media` and, where measured, `signals`.

    `siblings` are the signals of all shots of the same file, the clip's own among them; `seen` are the rows of
    `visual_captions` that a model which looked at the pictures may be believed on.
    """

    shot: Row
    item: Row
    media: Row
    signals: Row | None
    siblings: Sequence[Row] = ()
    seen: Sequence[Row] = ()


def decide(evidence: Evidence, policy: Policy = POLICY) -> list[dict[str, Any]]:
    """Rows of table `verdicts`: one for every check of the policy, in its order."""
    return [_row(evidence.shot, policy, check, _decide_one(check, evidence)) for check in policy.checks]


def blocks(row: Row) -> bool:
    """Whether this verdict keeps a clip from counting as good."""
    return row["verdict"] in BLOCKING_VERDICTS and row["severity"] in BLOCKING_SEVERITIES


def missing_verdicts(shots: Iterable[Row], verdicts: Iterable[Row], policy: Policy = POLICY) -> list[str]:
    """`clip/check` for every check without a verdict; empty when all is decided."""
    have = {(row["item_id"], row["shot_index"], row["check"]) for row in verdicts}
    return [
        f"{shot['clip_id'][:12]}/{check.name}"
        for shot in shots
        for check in policy.checks
        if (shot["item_id"], shot["shot_index"], check.name) not in have
    ]


def _row(shot: Row, policy: Policy, check: Check, finding: Finding) -> dict[str, Any]:
    named = {key: shot[key] for key in ("clip_id", "item_id", "shot_index", "received_day")}
    row = named | {
        "check": check.name,
        "check_version": f"{policy.name}/{check.name}-{check.version}",
        "value": finding.value,
        "unit": check.unit,
        "threshold": finding.threshold,
        "verdict": finding.verdict,
        "severity": "info" if check.plugin and finding.verdict == "not_yet" else check.severity,
        "reason": None,
        "detail": finding.detail,
    }
    if finding.verdict == NOT_MEASURED:
        return row | {"reason": OURS}
    return row | {"reason": check.reason if finding.verdict == "fail" or blocks(row) else None}


def _decide_one(check: Check, evidence: Evidence) -> Finding:
    try:
        if check.column is not None:
            return _in_range(check, evidence)
        return _SPECIAL[check.name](check, evidence)
    except Exception as error:  # facts that a rule is not prepared for decide nothing, and stop no other clip
        return Finding(NOT_MEASURED, None, check.threshold, printable(f"{type(error).__name__}: {error}"))


def _unmeasurable(why: str, threshold: str | None = None) -> Finding:
    return Finding("unmeasurable", None, threshold, why)


def _passed(ok: bool) -> str:
    return "pass" if ok else "fail"


def _not_measured(evidence: Evidence, threshold: str | None = None) -> Finding:
    """Of a clip without signals: it was accepted, so its pictures are there, and it was us who failed."""
    why = evidence.shot.get("not_measured") or "its signals are missing"
    return Finding(NOT_MEASURED, None, threshold, f"the pictures could not be measured: {why}")


def _in_range(check: Check, evidence: Evidence) -> Finding:
    if (signals := evidence.signals) is None:
        return _not_measured(evidence, check.threshold)
    if (value := signals.get(check.column or "")) is None:
        if check.plugin:
            return Finding("not_yet", None, check.threshold, "no scorer for this is installed")
        return _unmeasurable(f"{check.column} could not be measured on this clip", check.threshold)
    ok = (check.low is None or value >= check.low) and (check.high is None or value <= check.high)
    return Finding(_passed(ok), f"{value:.6g}", check.threshold, f"{value:.4g} measured; {check.threshold} asked")


def _resolution(check: Check, evidence: Evidence) -> Finding:
    declared = evidence.item["declared_width"], evidence.item["declared_height"]
    measured = evidence.media["width"], evidence.media["height"]
    if None in (*declared, *measured):
        return _unmeasurable("declared or measured size is missing")
    worst = max(abs(a - b) / b for a, b in zip(declared, measured, strict=True))
    return Finding(
        _passed(worst <= (check.high or 0)),
        "{}x{}".format(*measured),
        "{}x{}".format(*declared),
        "{}x{} declared, {}x{} measured".format(*declared, *measured),
    )


def parse_ratio(text: str | None) -> float | None:
    """`16:9`, `16/9`, `2.35:1` or `1.78` as a number; None for anything else."""
    parts = (text or "").replace("/", ":").split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    if len(numbers) > 2 or any(not 0 < number < 1e5 for number in numbers):
        return None
    return numbers[0] / (numbers[1] if len(numbers) == 2 else 1.0)


def _aspect_ratio(check: Check, evidence: Evidence) -> Finding:
    text = evidence.item["declared_aspect_ratio"]
    declared = parse_ratio(text)
    width, height = evidence.media["width"], evidence.media["height"]
    if declared is None or not width or not height:
        return _unmeasurable(f"declared aspect ratio {text!r} or measured size is missing or not understood", text)
    measured = width / height
    return Finding(
        _passed(abs(declared / measured - 1) <= (check.high or 0)),
        f"{measured:.4f}",
        text,
        f"{text} = {declared:.4f} declared, {width}x{height} = {measured:.4f} measured",
    )


def _length(check: Check, evidence: Evidence) -> Finding:
    declared, measured = evidence.item["declared_duration_s"], evidence.media["duration_s"]
    if declared is None or measured is None:
        return _unmeasurable("declared or measured length is missing")
    allowed = max(FREE_LENGTH_S, (check.high or 0) * measured)
    return Finding(
        _passed(abs(declared - measured) <= allowed),
        f"{measured:.3f} s",
        f"{declared:g} s",
        f"{declared:g} s declared, {measured:.3f} s measured; {allowed:.2f} s of difference allowed",
    )


def _time_of_day(check: Check, evidence: Evidence) -> Finding:
    if evidence.signals is None:
        return _not_measured(evidence, evidence.item["declared_time_of_day"])
    place = evidence.media.get("position")
    return place_and_time.time_of_day(evidence.item, place, evidence.siblings or [evidence.signals])


def _exposure(check: Check, evidence: Evidence) -> Finding:
    threshold = f"95th percentile {check.low:g} or more, 5th {check.high:g} or less"
    if evidence.signals is None:
        return _not_measured(evidence, threshold)
    dark, bright = evidence.signals["luma_p95"], evidence.signals["luma_p05"]
    ok = dark >= (check.low or 0) and bright <= (check.high or 1)
    value = f"{dark:.3f} and {bright:.3f}"
    return Finding(_passed(ok), value, threshold, f"95th and 5th percentile of luma {value}")


def _faces(check: Check, evidence: Evidence) -> Finding:
    people = json.loads(evidence.item["persons_json"])
    declared = sum(bool(person.get("identifiable")) for person in people)
    if evidence.signals is None:
        return _not_measured(evidence, str(declared))
    if (faces := evidence.signals["faces_max"]) is None:
        return _unmeasurable("no face detector was there", str(declared))
    detail = f"at most {faces} faces in a sampled frame, {declared} identifiable people declared"
    return Finding(_passed(faces <= declared), str(faces), str(declared), detail)


def _loudness(check: Check, evidence: Evidence) -> Finding:
    if evidence.media.get("has_audio") is False:
        return Finding("pass", None, check.threshold, "the file has no sound")
    if evidence.signals is None:
        return _not_measured(evidence, check.threshold)
    if (loudness := evidence.signals.get("loudness_lufs")) is None:
        return _unmeasurable("the clip's sound could not be measured", check.threshold)
    ok = (check.low or 0) <= loudness <= (check.high or 0)
    return Finding(_passed(ok), f"{loudness:.1f}", check.threshold, f"{loudness:.1f} LUFS; {check.threshold} asked")


def _subject(check: Check, evidence: Evidence) -> Finding:
    """What a captioner that looks at the pictures saw is compared; else, and where it is not clear, people decide."""
    declared = evidence.item["declared_subject"]
    alike = [row for row in evidence.seen if row["likeness"] is not None]
    if not alike or not declared:
        return Finding("not_yet", None, declared, "a reviewer decides whether this is what is seen")
    best = max(alike, key=lambda row: row["likeness"])
    value = f"{best['likeness']:.3f}"
    captions = f"{declared} declared; {best['captioner']} saw: {best['text'][:200]}; likeness {value}"
    if best["likeness"] >= (check.high or 1.0):
        return Finding("pass", value, declared, captions)
    if all(row["likeness"] < (check.low or 0.0) for row in alike):
        return Finding("fail", value, declared, captions)
    return Finding("not_yet", value, declared, f"{captions}; a reviewer decides")


_SPECIAL: dict[str, Callable[[Check, Evidence], Finding]] = {
    "synthetic_origin": lambda check, evidence: origin.synthetic_origin(evidence.media),
    "own_watermark": lambda check, evidence: origin.own_watermark(evidence.media, check.low or 0.0),
    "provenance": lambda check, evidence: origin.provenance(evidence.media),
    "spectral_pattern": lambda check, evidence: origin.spectral_pattern(evidence.media, check.high or 0.0),
    "resolution": _resolution,
    "aspect_ratio": _aspect_ratio,
    "length": _length,
    "time_of_day": _time_of_day,
    "exposure": _exposure,
    "faces": _faces,
    "loudness": _loudness,
    "location": lambda check, evidence: place_and_time.location(
        evidence.item, evidence.media.get("position"), check.high or 0.0
    ),
    "subject": _subject,
}


# the longest columns of `signals` by far: no check asks for them, and a replay of a corpus would only read them
UNASKED = frozenset({"frame_phashes", "faces_json"})


def by_clip(rows: Sequence[Row]) -> dict[Key, Row]:
    """Rows of a day by (item_id, shot_index)."""
    return {(row["item_id"], row["shot_index"]): row for row in rows}


def rows_by_clip(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """The same for tables with several rows a clip; none is an empty list."""
    by_clip: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        by_clip[row["item_id"], row["shot_index"]].append(row)
    return by_clip


def read_evidence(home: Home, day: str) -> Iterator[Evidence]:
    """The evidence on every clip of a day, in the order of table `shots`."""
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
    media = {row["item_id"]: row for row in home.lake.rows("media", day)}
    asked = [column.name for column in TABLES["signals"].columns if column.name not in UNASKED]
    measured = by_clip(home.lake.read("signals", day, asked).to_pylist())
    siblings: dict[str, list[Row]] = defaultdict(list)
    for (item_id, _), row in measured.items():
        siblings[item_id].append(row)
    seen = rows_by_clip(home.lake.rows("visual_captions", day))
    for shot in home.lake.rows("shots", day):
        yield Evidence(
            shot=shot,
            item=items[shot["item_id"]],
            media=media[shot["item_id"]],
            signals=measured.get((shot["item_id"], shot["shot_index"])),
            siblings=siblings[shot["item_id"]],
            seen=seen[shot["item_id"], shot["shot_index"]],
        )
