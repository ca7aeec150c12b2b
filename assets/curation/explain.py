"""Why a clip is where it is: everything measured, decided and written about it, as plain values and as one page.

Rows are gathered and shown; nothing is measured or decided here. `find_shot` finds the clip that people name. The page
is laid out in `explain.html`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assets.curation.policy.policy import Policy
from assets.curation.policy.policy_overrides import policy_of
from assets.curation.policy.verdicts import NOT_MEASURED, blocks
from assets.home import Home
from assets.pages.render import render
from assets.pages.stills import Still
from assets.reasons import in_words
from assets.signals.files import CachedResults
from assets.withheld import withheld

Row = Mapping[str, Any]
# declared field, its columns, and the check that holds it against what was measured
DECLARED = (
    ("subject", ("declared_subject",), "subject"),
    ("location", ("declared_location",), "location"),
    ("time of day", ("declared_time_of_day",), "time_of_day"),
    ("resolution", ("declared_width", "declared_height"), "resolution"),
    ("aspect ratio", ("declared_aspect_ratio",), "aspect_ratio"),
    ("length in s", ("declared_duration_s",), "length"),
)
CURVES = {  # name, unit and the top of the axis where that is always the same
    "luma_mean": ("light", "mean luma", 1.0),
    "motion_diag_per_s": ("motion", "frame diagonals per second", None),
    "sharpness": ("sharpness", "variance of the Laplacian at 256 px", None),
}


@dataclass(frozen=True)
class Explanation:
    """Plain values, so that it can be printed as JSON as it is."""

    clip: dict[str, Any]  # identity, file, delivery, place in the file
    policy: str  # that decides now
    decided_by: str | None  # the policy that the verdicts were made by
    good: bool | None  # nothing that blocks stands against it; None where that is not decided yet
    checks: list[dict[str, Any]]
    declared: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]  # of its group, without itself
    duplicate_kind: str | None
    captions: list[dict[str, Any]]
    eligibility: list[dict[str, Any]]
    withdrawn: str | None  # the withdrawal that holds it
    pictures: str | None  # why there are none; None where there are
    curves: dict[str, list[list[float]]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(home: Home, name: str, shot_index: int | None = None) -> Explanation:
    """All that is known of a clip. Raises LookupError as `find_shot` does, PolicyError for a policy file that is wrong."""
    policy = policy_of(home)
    shot = find_shot(home, name, shot_index)
    day = shot["received_day"]
    item = next(row for row in home.lake.rows("delivery_items", day) if row["item_id"] == shot["item_id"])
    rows = _of(home.lake.rows("verdicts", day), shot)
    withdrawn = withheld(home.database_url, [shot["clip_id"]]).get(shot["clip_id"])
    hidden = _no_pictures(home, shot, withdrawn)
    kind, group = _group(home, shot)
    return Explanation(
        clip=_identity(shot, item),
        policy=policy.name,
        decided_by=rows[0]["check_version"].partition("/")[0] if rows else None,
        good=judged_good(rows),
        checks=_checks(policy, rows),
        declared=_declared(item, rows),
        duplicates=group,
        duplicate_kind=kind,
        captions=[] if withdrawn else _captions(_of(home.lake.rows("captions", day), shot)),
        eligibility=_eligibility(_of(home.lake.rows("eligibility"), shot)),
        withdrawn=withdrawn,
        pictures=hidden,
        curves={} if hidden else CachedResults(home).curves(shot),
    )


def judged_good(rows: Sequence[Row]) -> bool | None:
    """What the platform failed to measure leaves it open."""
    against = {row["verdict"] for row in rows if blocks(row)}
    return None if not rows or against == {NOT_MEASURED} else not against


def _identity(shot: Row, item: Row) -> dict[str, Any]:
    of_shot = ("clip_id", "item_id", "shot_index", "received_day", "media_key", "bytes_sha256")
    place = ("start_frame", "end_frame", "start_s", "end_s", "boundary")
    of_item = ("file_name", "delivery_id", "contributor_id", "request_id")
    return {name: shot[name] for name in (*of_shot, *place)} | {name: item[name] for name in of_item}


def _of(rows: Iterable[Row], shot: Row) -> list[Row]:
    names = ("clip_id", "item_id", "shot_index")
    return [row for row in rows if all(row[name] == shot[name] for name in names)]


def _no_pictures(home: Home, shot: Row, withdrawn: str | None) -> str | None:
    if withdrawn:
        return (
            f"the clip stands withdrawn ({withdrawn}): what was made of it is deleted or sealed, and nothing is shown"
        )
    if not home.store.exists(shot["media_key"]):
        return "the file is not in the store any more: it was sealed or removed"
    return None


def _checks(policy: Policy, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Verdicts in the policy's order, each with what it asks; a check that is new to the policy is not decided yet."""
    stored = {row["check"]: row for row in rows}
    fields = ("value", "unit", "threshold", "check_version", "verdict", "severity", "reason", "detail")
    checks = []
    for check in policy.checks:
        row = stored.get(check.name, {"verdict": "not_decided", "severity": check.severity, "unit": check.unit})
        checks.append(
            {"check": check.name, "asks": check.asks}
            | {field: row.get(field) for field in fields}
            | {"blocks": check.name in stored and blocks(row)}
        )
    return checks


def _declared(item: Row, rows: Sequence[Row]) -> list[dict[str, Any]]:
    stored = {row["check"]: row for row in rows}
    compared, of_check = [], ("verdict", "severity", "detail")
    for field, columns, check in DECLARED:
        values, row = [item[column] for column in columns], stored.get(check, {})
        claim = {"field": field, "declared": None if None in values else "x".join(map(str, values))}
        compared.append(claim | {"measured": row.get("value")} | {name: row.get(name) for name in of_check})
    return compared


def _group(home: Home, shot: Row) -> tuple[str | None, list[dict[str, Any]]]:
    """What kind of duplicate the clip is, and the others of its group."""
    rows = home.lake.rows("duplicates")
    own = next(iter(_of(rows, shot)), None)
    if own is None:
        return None, []
    others = [row for row in rows if row["dup_group"] == own["dup_group"] and row is not own]
    fields = ("clip_id", "item_id", "shot_index", "kind", "distance", "reason")
    return own["kind"], [{field: row[field] for field in fields} for row in others]


def _captions(rows: Iterable[Row]) -> list[dict[str, Any]]:
    plain = {"clip_id", "item_id", "shot_index", "received_day", "sources_json"}
    return [
        {name: value for name, value in row.items() if name not in plain} | {"sources": json.loads(row["sources_json"])}
        for row in rows
    ]


def _eligibility(rows: Iterable[Row]) -> list[dict[str, Any]]:
    return [
        {
            "purpose": row["purpose"],
            "eligible": row["eligible"],
            "reasons": [{"code": code, "says": in_words(code)} for code in row["reasons"]],
            "consent_ids": row["consent_ids"],
        }
        for row in rows
    ]


# -- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """One signal over the clip's time, drawn in a box from zero upwards; `bound` is the least that the policy accepts."""

    name: str
    unit: str
    values: Sequence[Sequence[float]]  # (second, value)
    length_s: float
    bound: float | None
    fixed_top: float | None
    width: int = 380
    height: int = 120

    @property
    def end(self) -> float:
        return max(self.length_s, self.values[-1][0]) or 1.0

    @property
    def top(self) -> float:
        return self.fixed_top or 1.08 * max(self.bound or 0.0, *(value for _, value in self.values)) or 1.0

    @property
    def points(self) -> str:
        """For an SVG polyline."""
        return " ".join(f"{self.width * second / self.end:.1f},{self.y(value):.1f}" for second, value in self.values)

    def y(self, value: float) -> float:
        return self.height * (1 - value / self.top)


def page(explanation: Explanation, policy: Policy, stills: Sequence[Still]) -> str:
    """The explanation as HTML. `stills` are the clip's frames, empty where nothing may be shown."""
    length_s = explanation.clip["end_s"] - explanation.clip["start_s"]
    lowest = {check.column: check.low for check in reversed(policy.checks)}
    curves = [
        Curve(*CURVES[column][:2], values, length_s, lowest.get(column), CURVES[column][2])
        for column, values in explanation.curves.items()
        if column in CURVES and len(values) > 1
    ]
    return render("explain.html", explanation=explanation, stills=stills, curves=curves)


# -- finding the clip -----------------------------------------------------------------------------------------------

SHORTEST = 4  # characters of an identity that may name a clip
CANDIDATES = 5


def find_shot(home: Home, name: str, shot_index: int | None = None) -> dict[str, Any]:
    """The row of `shots` that a clip's or an item's identity (or the start of one) or a file's name means.

    Where the same pictures came more than once, it is the original. Raises LookupError for none, and for several, with
    what it could be.
    """
    items = {row["item_id"]: row for row in home.lake.rows("delivery_items")}
    shots = home.lake.rows("shots")
    matches = [shot for shot in shots if _is_called(shot, items.get(shot["item_id"], {}), name)]
    if not matches and len(name) >= SHORTEST:
        matches = [shot for shot in shots if shot["clip_id"].startswith(name) or shot["item_id"].startswith(name)]
    if not matches:
        raise LookupError(_unknown(name, items, shots))
    chosen = [shot for shot in matches if shot_index in (None, shot["shot_index"])]
    if not chosen:
        raise LookupError(f"{name!r} has shots {', '.join(str(s['shot_index']) for s in matches)}, not {shot_index}")
    if len({shot["clip_id"] for shot in chosen}) > 1:
        raise LookupError(f"{name!r} could be {_listed(chosen, items)}; give more of it, or --shot")
    originals = {(row["clip_id"], row["item_id"]) for row in home.lake.rows("duplicates") if row["verdict"] == "pass"}
    return min(chosen, key=lambda shot: ((shot["clip_id"], shot["item_id"]) not in originals, shot["received_day"]))


def _is_called(shot: Row, item: Row, name: str) -> bool:
    file = item.get("file_name")
    return name in (shot["clip_id"], shot["item_id"], file, f"{item.get('delivery_id')}/{file}")


def _unknown(name: str, items: Mapping[str, Row], shots: Sequence[Row]) -> str:
    for item in items.values():
        if name in (item["item_id"], item["file_name"]) and item["state"] != "accepted":
            return f"{name!r} was quarantined and has no clips: {'; '.join(item['reasons'])}"
    files = sorted({item["file_name"] for item in items.values()})
    if near := difflib.get_close_matches(name, files, 3):
        return f"no clip or file {name!r}; did you mean {', '.join(near)}?"
    return f"no clip or file {name!r}; there are " + (_listed(shots, items) if shots else "none yet")


def _listed(shots: Sequence[Row], items: Mapping[str, Row]) -> str:
    named = [
        f"{shot['clip_id'][:12]} (shot {shot['shot_index']} of {items.get(shot['item_id'], {}).get('file_name')})"
        for shot in shots[:CANDIDATES]
    ]
    more = len(shots) - CANDIDATES
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
