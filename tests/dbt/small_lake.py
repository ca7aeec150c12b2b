"""A small lake written by hand: each clip is good in every respect but the one that its name says."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from typing import Any

from assets.lake import Lake
from tests.rows import DAY, row


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class SmallLake:
    """Rows by table. `clip` adds everything that makes a clip eligible; `without` and changes take parts away."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def add(self, table: str, **values: Any) -> None:
        self.rows[table].append(row(table, **values))

    def request(self, request_id: str, **changes: Any) -> None:
        order = {"target_units": 2, "price_minor": 500, "budget_minor": 1000, "currency": "EUR", "status": "open"}
        clip = {"subject": "city", "location": "Brussels", "time_of_day": "night", "min_width": 1280, "min_height": 720}
        clip |= {"aspect_ratio": "16:9", "duration_min_s": 3.0, "duration_max_s": 8.0, "criteria_json": "[]"}
        open_ = {"opens_at": "2026-11-01T00:00:00Z", "deadline_at": "2026-12-31T23:59:59Z", "origin": "human"}
        self.add(
            "requests", request_id=request_id, title=request_id, **{"org_id": "org-1"} | order | clip | open_ | changes
        )

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
        key = {"clip_id": digest(f"clip {name}"), "item_id": f"i-{name}", "shot_index": 0}
        self._delivered(name, contributor, request, hour, persons)
        self._probed(name, duration_s)
        place = {"bytes_sha256": digest(f"bytes {name}"), "media_key": f"media/{name}.mp4", "end_s": duration_s}
        self.add("shots", **key, **place)
        self.add("signals", **key, duration_s=duration_s, faces_max=faces)
        self.add(
            "clip_classes", **key, subject="city", place="brussels", country="belgium", time_of_day="night",
            motion="lively", camera_motion="pan", aspect="landscape", contributor=contributor, length_s=duration_s,
            length="over 10 s" if duration_s >= 10 else "3 to 10 s",
        )  # fmt: skip
        self.add("captions", **key, kind="short", text=name)
        for number, verdict in enumerate(() if "verdicts" in without else ({}, *verdicts)):
            self.add("verdicts", **key, **{"check": f"check-{number}"} | verdict)
        if "duplicates" not in without:
            unique = {"dup_group": key["clip_id"], "original_item_id": key["item_id"]}
            self.add("duplicates", **key, **unique, **duplicate or {})
        for reviewer, verdict, valid in () if "reviews" in without else reviews:
            self.add(
                "reviews", **key, reviewer_id=reviewer, organisation=f"org-{reviewer}", round=1, digest=digest(reviewer),
                verdict=verdict, reasons=[] if verdict == "approve" else ["quality.focus"], valid=valid, counts=valid,
                independent=True, fit_for_catalogue=True, reviewed_at="2026-11-05T00:00:00Z",
            )  # fmt: skip
        if "consent" not in without:
            self.grant(contributor, "contributor", ["train"], digest(f"bytes {name}"), f"k-{name}")
        if "decision" not in without:
            consents = [] if against else [f"k-{name}"]
            decision = {"eligible": not against, "reasons": list(against), "consent_ids": consents}
            self.add("eligibility", **key, purpose="train", decision_digest=digest(name), **decision)
        return key["clip_id"]

    def grant(self, party: str, role: str, scopes: list[str], asset: str, consent_id: str, **changes: Any) -> None:
        seq = len(self.rows["consent_events"])
        event = {"type": "grant", "party_id": party, "role": role, "actor": party, "scopes": scopes, "assets": [asset]}
        event |= dict.fromkeys(("issued_at", "effective_at", "recorded_at"), "2026-11-01T00:00:00Z")
        event |= {"territories": ["*"], "recipients": ["*"], "leaf_hash": digest(str(seq))} | changes
        self.add("consent_events", seq=seq, event_id=f"e-{seq}", consent_id=consent_id, **event)

    def revoke(self, party: str, consent_id: str) -> None:
        """A revocation, and the decisions that rested on the consent as the rules decide them anew."""
        self.grant(
            party, "contributor", [], "", consent_id, type="revoke", assets=[], recorded_at="2026-11-19T10:00:00Z"
        )
        for decision in self.rows["eligibility"]:
            if consent_id in decision["consent_ids"]:
                decision |= {"eligible": False, "reasons": ["consent.revoked"], "consent_ids": []}

    def quarantined(self, name: str) -> None:
        """A file that the probe refused: an item and media row, and no shot."""
        self._delivered(name, "c-1", None, 9, ())
        self._probed(name, None)

    def write(self, lake: Lake) -> None:
        for table, rows in self.rows.items():
            lake.write(table, rows, DAY if "received_day" in rows[0] else None)

    def _delivered(self, name: str, contributor: str, request: str | None, hour: int, persons: tuple[Any, ...]) -> None:
        delivery = {"delivery_id": f"d-{name}", "contributor_id": contributor, "request_id": request}
        received = f"{DAY}T{hour:02}:00:00Z"
        self.add("deliveries", **delivery, received_at=received, folder=name, items_declared=1, state="accepted")
        listed = [{"person_id": p, "identifiable": i, "minor": m} for p, i, m in persons]
        declared = {
            "declared_subject": "city",
            "declared_location": "Brussels, Belgium",
            "declared_time_of_day": "night",
        }
        self.add(
            "delivery_items", **delivery, **declared, item_id=f"i-{name}", file_name=f"{name}.mp4",
            persons_json=json.dumps(listed),
        )  # fmt: skip

    def _probed(self, name: str, duration_s: float | None) -> None:
        if duration_s is None:
            refused = {"state": "quarantined", "reasons": ["media.truncated: the file ends early"]}
            refused |= dict.fromkeys(("width", "height", "fps", "duration_s"))
            self.add("media", item_id=f"i-{name}", **refused)
        else:
            digests = {"bytes_sha256": digest(f"bytes {name}"), "frames_sha256": digest(f"frames {name}")}
            self.add("media", item_id=f"i-{name}", duration_s=duration_s, **digests)


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
    unmeasured = {"verdict": "not_measured", "severity": "quality", "reason": "platform.not_measured"}
    lake.clip("not-measured", verdicts=(unmeasured,), request="r-quota", hour=12, contributor="c-9")
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
    lake.clip("no-signals", faces=None, verdicts=(unmeasured,))
    lake.clip("unreleased", persons=(("p-1", True, False),), against=("legal.missing_model_release",))
    lake.clip("revoked", request="r-quota", contributor="c-3", hour=8)
    lake.revoke("c-3", "k-revoked")
    lake.clip("eval-only", without=("consent",), against=("consent.scope",))
    lake.grant("c-1", "contributor", ["eval"], digest("bytes eval-only"), "k-e")
    lake.quarantined("broken")
    return lake
