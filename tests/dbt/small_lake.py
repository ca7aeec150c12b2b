"""A small lake written by hand: each clip is good in every respect but the one that its name says."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from assets.lake import Lake
from assets.tables import TABLES, Int, Real, Text, Texts

DAY = "2026-11-02"
_WHERE = ("clip_id", "item_id", "shot_index", "received_day")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class SmallLake:
    """Rows by table. `clip` adds everything that makes a clip eligible; `without` and changes take parts away."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.seq = 0

    def request(self, request_id: str, **changes: Any) -> None:
        row = {
            "request_id": request_id,
            "org_id": "org-1",
            "title": request_id,
            "status": "open",
            "subject": "city",
            "location": "Brussels",
            "time_of_day": "night",
            "min_width": 1280,
            "min_height": 720,
            "aspect_ratio": "16:9",
            "duration_min_s": 3.0,
            "duration_max_s": 8.0,
            "target_units": 2,
            "max_per_contributor": None,
            "price_minor": 500,
            "budget_minor": 1000,
            "currency": "EUR",
            "opens_at": "2026-11-01T00:00:00Z",
            "deadline_at": "2026-12-31T23:59:59Z",
            "origin": "human",
            "origin_ref": None,
            "criteria_json": "[]",
            "not_understood": [],
        }
        self.rows["requests"].append(row | changes)

    def clip(
        self,
        name: str,
        *,
        contributor: str = "c-1",
        request: str | None = None,
        hour: int = 8,
        without: tuple[str, ...] = (),
        against: tuple[str, ...] = (),
        persons: tuple[tuple[str, bool, bool], ...] = (),
        faces: int | None = 0,
        duration_s: float = 5.0,
        verdicts: tuple[dict[str, Any], ...] = (),
        duplicate: dict[str, Any] | None = None,
        reviews: tuple[tuple[str, str, bool], ...] = (("v-1", "approve", True), ("v-2", "approve", True)),
    ) -> str:
        item = f"i-{name}"
        key = {"clip_id": digest(f"clip {name}"), "item_id": item, "shot_index": 0}
        day = {"received_day": DAY}
        self._delivered(name, item, contributor, request, hour, persons)
        self._probed(name, item, duration_s)
        self.rows["shots"].append(
            key | day | {"bytes_sha256": digest(f"bytes {name}"), "media_key": f"media/{name}.mp4"}
            | {"start_frame": 0, "end_frame": 125, "start_s": 0.0, "end_s": duration_s, "boundary": "end"}
            | {"detector_version": "1"}
        )  # fmt: skip
        self.rows["signals"].append(key | day | signals_row(duration_s, faces))
        self.rows["clip_classes"].append(key | classes_row(contributor, duration_s))
        self.rows["captions"].append(
            key
            | day
            | {"kind": "short", "variant": 0, "text": name, "sources_json": "[]"}
            | {"captioner": "structured/1", "refused": []}
        )
        if "verdicts" not in without:
            for number, verdict in enumerate(({}, *verdicts)):
                self.rows["verdicts"].append(key | day | verdict_row(f"check-{number}") | verdict)
        if "duplicates" not in without:
            self.rows["duplicates"].append(key | duplicate_row(key["clip_id"], item) | (duplicate or {}))
        for reviewer, verdict, valid in () if "reviews" in without else reviews:
            self.rows["reviews"].append(key | review_row(reviewer, verdict, valid))
        if "consent" not in without:
            self.grant(contributor, "contributor", ["train"], digest(f"bytes {name}"), f"k-{name}")
        if "decision" not in without:
            self.rows["eligibility"].append(
                key | {"purpose": "train", "eligible": not against, "reasons": list(against)}
                | {"consent_ids": [] if against else [f"k-{name}"], "decision_digest": digest(name)}
            )  # fmt: skip
        return key["clip_id"]

    def grant(self, party: str, role: str, scopes: list[str], asset: str, consent_id: str, **changes: Any) -> None:
        event = {
            "seq": self.seq,
            "event_id": f"e-{self.seq}",
            "consent_id": consent_id,
            "type": "grant",
            "party_id": party,
            "role": role,
            "actor": party,
            "issued_at": "2026-11-01T00:00:00Z",
            "effective_at": "2026-11-01T00:00:00Z",
            "recorded_at": "2026-11-01T00:00:00Z",
            "expires_at": None,
            "scopes": scopes,
            "territories": ["*"],
            "recipients": ["*"],
            "assets": [asset],
            "leaf_hash": digest(str(self.seq)),
        }
        self.rows["consent_events"].append(event | changes)
        self.seq += 1

    def revoke(self, party: str, consent_id: str) -> None:
        """A revocation, and the decisions that rested on the consent as the rules decide them anew."""
        self.grant(
            party, "contributor", [], "", consent_id, type="revoke", assets=[], recorded_at="2026-11-19T10:00:00Z"
        )
        for row in self.rows["eligibility"]:
            if consent_id in row["consent_ids"]:
                row |= {"eligible": False, "reasons": ["consent.revoked"], "consent_ids": []}

    def quarantined(self, name: str) -> None:
        """A file that the probe refused: an item and media row, and no shot."""
        item = f"i-{name}"
        self._delivered(name, item, "c-1", None, 9, ())
        self._probed(name, item, None)

    def write(self, lake: Lake) -> None:
        for table, rows in self.rows.items():
            lake.write(table, rows, DAY if "received_day" in rows[0] else None)

    def _delivered(
        self, name: str, item: str, contributor: str, request: str | None, hour: int, persons: tuple[Any, ...]
    ) -> None:
        delivery = {"delivery_id": f"d-{name}", "received_day": DAY}
        common = delivery | {"contributor_id": contributor, "request_id": request, "state": "accepted", "reasons": []}
        self.rows["deliveries"].append(
            common | {"received_at": f"{DAY}T{hour:02}:00:00Z", "folder": name, "items_declared": 1}
            | {"manifest_sha256": digest(name)}
        )  # fmt: skip
        listed = [{"person_id": p, "identifiable": i, "minor": m} for p, i, m in persons]
        self.rows["delivery_items"].append(
            common | {"item_id": item, "position": 0, "file_name": f"{name}.mp4", "declared_subject": "city"}
            | {"declared_location": "Brussels, Belgium", "declared_time_of_day": "night"}
            | {"persons_json": json.dumps(listed)}
        )  # fmt: skip

    def _probed(self, name: str, item: str, duration_s: float | None) -> None:
        row = {"item_id": item, "received_day": DAY, "size_bytes": 1000, "probe_version": "1"}
        if duration_s is None:
            row |= {"state": "quarantined", "reasons": ["media.truncated: the file ends early"]}
        else:
            row |= {"state": "accepted", "reasons": [], "width": 1280, "height": 720, "duration_s": duration_s}
            row |= {"bytes_sha256": digest(f"bytes {name}"), "frames_sha256": digest(f"frames {name}"), "fps": 25.0}
        self.rows["media"].append(row)


def signals_row(duration_s: float, faces: int | None) -> dict[str, Any]:
    """Unremarkable signals of a clip, without its key and day."""
    usual: dict[Any, Any] = {Real: 0.1, Int: 1, Text: "[]", Texts: ["0" * 16]}
    columns = (column for column in TABLES["signals"].columns if not column.nullable)
    row = {column.name: usual[column.type] for column in columns if column.name not in _WHERE}
    row |= {"width": 1280, "height": 720, "duration_s": duration_s, "fps": 25.0, "camera_motion": "pan"}
    return row | {"faces_max": faces, "signals_version": "1"}


def classes_row(contributor: str, length_s: float) -> dict[str, Any]:
    """The classes of a clip of the city at night."""
    row = {"subject": "city", "place": "brussels", "country": "belgium", "time_of_day": "night", "motion": "lively"}
    row |= {"camera_motion": "pan", "aspect": "landscape", "length": "over 10 s" if length_s >= 10 else "3 to 10 s"}
    return row | {"contributor": contributor, "length_s": length_s, "classes_version": "classes/2"}


def verdict_row(check: str) -> dict[str, Any]:
    return {"check": check, "check_version": "1", "verdict": "pass", "severity": "fatal", "reason": None}


def duplicate_row(clip_id: str, item: str) -> dict[str, Any]:
    row = {"dup_group": clip_id, "original_item_id": item, "kind": "unique", "distance": None}
    return row | {"verdict": "pass", "reason": None, "duplicates_version": "1"}


def review_row(reviewer: str, verdict: str, valid: bool) -> dict[str, Any]:
    row = {"reviewer_id": reviewer, "round": 1, "digest": digest(reviewer), "verdict": verdict, "valid": valid}
    row |= {"reasons": [] if verdict == "approve" else ["quality.focus"]}
    row |= {"organisation": f"org-{reviewer}", "independent": True, "counts": valid, "fit_for_catalogue": True}
    return row | {"persons_counted": 0, "non_identifiable": 0, "reviewed_at": "2026-11-05T00:00:00Z"}


def cases() -> SmallLake:
    """Every clip is good in all respects but the one that its name says."""
    lake = SmallLake()
    lake.request("r-night")
    lake.request("r-quota", target_units=5, max_per_contributor=1, price_minor=0, budget_minor=0)
    lake.request("r-empty")
    lake.clip("good", request="r-night", hour=8)
    lake.clip("second", request="r-night", hour=9, contributor="c-2")
    lake.clip("too-late-for-a-slot", request="r-night", hour=10)
    lake.clip("too-long", request="r-night", hour=7, duration_s=30.0)
    lake.clip("quota-1", request="r-quota", hour=8)
    lake.clip("quota-2", request="r-quota", hour=9)
    lake.clip("no-decision", without=("decision",))
    lake.clip("decided-no", against=("consent.expires", "dispute.open"))
    lake.clip("no-verdicts", without=("verdicts",))
    lake.clip("no-duplicate-row", without=("duplicates",))
    lake.clip("no-reviews", without=("reviews",))
    lake.clip("no-consent", without=("consent",), against=("consent.none",))
    lake.clip("unmeasurable", verdicts=({"verdict": "unmeasurable"},))
    ours = {"verdict": "not_measured", "severity": "quality", "reason": "platform.not_measured"}
    lake.clip("not-measured", verdicts=(ours,), request="r-quota", hour=12, contributor="c-9")
    lake.clip("failed-quality", verdicts=({"verdict": "fail", "severity": "quality", "reason": "quality.focus"},))
    lake.clip("generated", verdicts=({"verdict": "fail", "reason": "policy.ai_generated"},))
    lake.clip("copy", duplicate={"kind": "near", "verdict": "fail", "reason": "dup.other_owner"})
    lake.clip("void-review", reviews=(("v-1", "approve", True), ("v-2", "approve", False)))
    rejected = (("v-1", "approve", True), ("v-2", "approve", True), ("v-3", "reject", True))
    lake.clip("rejected", reviews=rejected)
    lake.clip("rejected-for-good", reviews=rejected)
    lake.rows["reviews"][-1] |= {"reasons": ["legal.privacy", "quality.focus"], "fit_for_catalogue": False}
    lake.clip("one-organisation")
    same = lake.rows["reviews"][-2]["organisation"].upper()
    lake.rows["reviews"][-1] |= {"organisation": same, "counts": False, "why_not": "review.same_organisation"}
    lake.clip("payer-judges", request="r-empty")
    lake.rows["reviews"][-1] |= {"independent": False, "counts": False, "why_not": "review.not_independent"}
    lake.clip("no-signals", faces=None, verdicts=(ours,))
    lake.clip("unreleased", persons=(("p-1", True, False),), against=("legal.missing_model_release",))
    lake.clip("revoked", request="r-quota", contributor="c-3", hour=8)
    lake.revoke("c-3", "k-revoked")
    lake.clip("eval-only", without=("consent",), against=("consent.scope",))
    lake.grant("c-1", "contributor", ["eval"], digest("bytes eval-only"), "k-e")
    lake.quarantined("broken")
    return lake
